"""Table 1: its configurations, published and measured, row by row; and the statistics over them.

A **configuration** is a data set, a network, a training scheme and a norm and radius of its attack.
Its row of the table has two networks: without SN, and with the budget that validation chose, which
may be none. Accuracies are under the training attack.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from snlib.choice import chosen
from snlib.claims.rule import LEAST_SEEDS
from snlib.errors import require
from snlib.results import ROOT

KEY = ["data", "net", "scheme", "norm", "eps"]
"""What names a configuration. `norm` is 0 for ERM, 2, or inf; `eps` is 0 but for linf."""

NETS = {"alexnet_elu": "elu_alexnet", "elunet": "elu_net", "mlp1_elu": "mlp1", "mlp2_elu": "mlp2"}
"""The authors' names of networks that have another one here."""

NORMS = {"none": 0.0, "l2": 2.0, "wrm_l2sq": 2.0, "linf": math.inf}

ADVERSARIAL = ("fgm", "pgm", "wrm")

COLUMNS = ["beta", "free_train", "free_test", "sn_train", "sn_test", "gain", "rise", "reduction"]
"""Of a row: the chosen budget; train and test accuracy without SN and with; the gain in test
accuracy, which is the rise in train accuracy plus the reduction of the gap."""


@functools.lru_cache(maxsize=1)
def _published() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "data" / "paper" / "table1.csv")
    linf = table["norm"] == "linf"
    keyed = pd.DataFrame(
        {
            "data": table["dataset"],
            "net": table["architecture"].replace(NETS),
            "scheme": table["training"],
            "norm": table["norm"].map(NORMS),
            "eps": np.where(linf, table["eps"], 0.0),
            "in_table": table["in_published_table"].astype(bool),
        }
    )
    values = table[["setting", "beta", "train_acc", "val_acc", "test_acc"]]
    both = keyed.join(values)
    sides = [
        both[both["setting"] == setting]
        .set_index([*KEY, "in_table"])
        .drop(columns="setting")
        .add_prefix(prefix)
        .rename(columns=lambda name: name.removesuffix("_acc"))
        for setting, prefix in (("no_sn", "free_"), ("sn", "sn_"))
    ]
    wide = sides[0].join(sides[1]).drop(columns="free_beta").rename(columns={"sn_beta": "beta"})
    return _with_parts(wide.reset_index())


def published() -> pd.DataFrame:
    """The 62 configurations that the authors computed, one run each, a row a configuration.

    Returns:
        DataFrame: the columns of `KEY`, in_table (whether it is among the 42 printed), and
        `COLUMNS`, free_val and sn_val.
    """
    return _published().copy()


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Our rows of Table 1, a row a configuration and seed.

    The budget of a configuration is the one with the best mean validation accuracy over the seeds
    that have its whole grid, none (inf) included; of equally good ones the larger.

    Args:
        table: of an experiment table1_*, or any with its columns.

    Returns:
        DataFrame: the columns of `KEY`, seed, `COLUMNS`, budgets (how many were tried, none
        included). A configuration is left out while it lacks a run without SN, or every other.
    """
    rows = accuracies(table)
    free = rows[np.isinf(rows["beta"])].set_index([*KEY, "seed"])
    capped = rows.merge(chosen(rows, KEY, "beta", least=2)).set_index([*KEY, "seed"])
    wide = pd.DataFrame(
        {
            "beta": capped["beta"],
            **{f"sn_{split}": capped[split] for split in ("train", "validation", "test")},
        }
    ).join(free[["train", "validation", "test"]].add_prefix("free_"), how="inner")
    wide = wide.join(rows.groupby([*KEY, "seed"]).size().rename("budgets"))
    return _with_parts(wide.reset_index())


def _with_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the gain and what it is made of."""
    gaps = {side: rows[f"{side}_train"] - rows[f"{side}_test"] for side in ("free", "sn")}
    return rows.assign(
        gain=rows["sn_test"] - rows["free_test"],
        rise=rows["sn_train"] - rows["free_train"],
        reduction=gaps["free"] - gaps["sn"],
    )


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: `KEY`, beta, seed, train, validation, test."""
    rows = table[(table["quantity"] == "accuracy") & (table["attack"] == "training")]
    common = table.attrs.get("provenance", {}).get("settings", {})
    norm = _column(rows, common, "norm").astype(float).fillna(0.0)
    eps = _column(rows, common, "eps").astype(float).fillna(0.0)
    keyed = pd.DataFrame(
        {
            "data": _named(rows, common),
            "net": _column(rows, common, "net"),
            "scheme": rows["scheme"],
            "norm": norm.where(rows["scheme"] != "erm", 0.0),
            "eps": eps.where(np.isinf(norm), 0.0),
        }
    ).join(rows[["beta", "seed", "split", "value"]])
    wide = keyed.pivot(index=[*KEY, "beta", "seed"], columns="split", values="value")
    return wide.reset_index().rename_axis(columns=None)


def _column(rows: pd.DataFrame, common: dict, name: str) -> pd.Series:
    """A setting of every row, whether it varies in the table or not."""
    if name in rows:
        return rows[name]
    value = common.get(name)
    return pd.Series(math.nan if value is None else value, rows.index)


def _named(rows: pd.DataFrame, common: dict) -> pd.Series:
    """The data set of every row; a part of one says so, and is another one."""
    names = _column(rows, common, "data").astype(str)
    return names + _column(rows, common, "train_size").map(
        lambda count: "" if pd.isna(count) else f", {count:g} images"
    )


def compare(ours: pd.DataFrame) -> pd.DataFrame:
    """The published configurations with the published test accuracies and gain beside ours.

    Args:
        ours: of `measured`.

    Returns:
        DataFrame, a row a published configuration and seed, NaN where nothing is measured: as
        `published`, with seed and, ending in `_here`, `COLUMNS`.
    """
    columns = [*KEY, "seed", *COLUMNS]
    return published().merge(ours[columns], on=KEY, how="left", suffixes=("", "_here"))


# -------------------------------------------------------------------------------------- statistics


def by_seed(rows: pd.DataFrame, column: str) -> pd.Series:
    """The mean over configurations of a column, one number a seed.

    Configurations count that have three seeds or more, and seeds that have all of these; while no
    configuration has three seeds, every seed counts with what it has. `attrs["whole"]` is the
    number of those that have.
    """
    if rows.empty:
        return pd.Series(dtype=float)
    wide = rows.pivot_table(index="seed", columns=KEY, values=column)
    several = wide.loc[:, wide.notna().sum() >= LEAST_SEEDS]
    used = several.dropna() if several.shape[1] else wide
    values = used.mean(axis=1)
    values.attrs["over"] = f"seeds, {used.shape[1]} rows"
    values.attrs["whole"] = several.shape[1]
    return values


def stands_for(data: str) -> str:
    """The data set of the paper that its part, or recompressed images, are taken for."""
    return str(data).partition(",")[0].removesuffix("_jpeg")


def _rows(table: pd.DataFrame, schemes: tuple[str, ...], norms: tuple[float, ...]) -> pd.DataFrame:
    """Our rows of those schemes and norms, as far as the paper printed such a configuration.

    A stand-in for a data set, such as recompressed images, is taken for it here; data that the
    paper does not have keep all rows.
    """
    ours, theirs = measured(table), published()
    keys = theirs.loc[theirs["in_table"], KEY].rename(columns={"data": "like"})
    ours = ours.assign(like=ours["data"].map(stands_for))
    known = ours["like"].isin(theirs["data"])
    printed = (
        ours.merge(keys, on=["like", *KEY[1:]], how="left", indicator=True)["_merge"] == "both"
    )
    ours = ours[~known | printed.to_numpy()]
    return ours[ours["scheme"].isin(schemes) & ours["norm"].isin(norms)]


def gain(table: pd.DataFrame) -> pd.Series:
    """Gain in test accuracy, mean of the configurations trained on attacks."""
    return by_seed(_rows(table, ADVERSARIAL, (2.0, math.inf)), "gain")


def gain_on(data: str) -> Callable[[pd.DataFrame], pd.Series]:
    """`gain` as a statement about what the paper printed of a data set.

    The function raises a UserError while fewer than half of those configurations have three seeds:
    which ones come first would decide.
    """

    def statistic(table: pd.DataFrame) -> pd.Series:
        values, theirs = gain(table), published()
        there = theirs["in_table"] & (theirs["data"] == data) & theirs["scheme"].isin(ADVERSARIAL)
        have = values.attrs.get("whole", 0)
        require(
            2 * have >= there.sum(),
            f"{have} of the {there.sum()} adversarial rows that the paper printed of {data} have "
            f"{LEAST_SEEDS} seeds; their mean needs half of them",
        )
        return values

    return statistic


def gap_reduction(table: pd.DataFrame) -> pd.Series:
    """Gap without SN minus gap with, mean of all configurations."""
    return by_seed(_rows(table, ("erm", *ADVERSARIAL), (0.0, 2.0, math.inf)), "reduction")


def linf_gain(table: pd.DataFrame) -> pd.Series:
    """Gain in test accuracy, mean of the configurations trained on linf attacks."""
    return by_seed(_rows(table, ADVERSARIAL, (math.inf,)), "gain")


def adversarial_gap(table: pd.DataFrame) -> pd.Series:
    """Gap of adversarial training minus that of ERM on the same net, no SN, mean of both."""
    rows = _rows(table, ("erm", *ADVERSARIAL), (0.0, 2.0))
    rows = rows.assign(gap=rows["free_train"] - rows["free_test"])
    erm = rows[rows["scheme"] == "erm"].set_index(["data", "net", "seed"])["gap"].rename("erm")
    paired = rows[rows["scheme"] != "erm"].join(erm, on=["data", "net", "seed"])
    return by_seed(paired.assign(excess=paired["gap"] - paired["erm"]), "excess")
