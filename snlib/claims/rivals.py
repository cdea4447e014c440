"""Statistics of the experiment `rivals`: SN by the operator norm against its alternatives.

A rival is known by its settings: Miyato's norm (`norm_kind` reshaped), weight decay, or a network
with dropout or batch norm. Each stands at the setting that validation chose, under the training
attack; so does SN.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from snlib.choice import chosen

OPERATOR, RESHAPED = "operator", "reshaped"

REGULARIZERS = ("weight decay", "dropout", "batch norm")

VARIANT = r"(_bn|_wd|_dropout(_train)?)$"
"""What the names of networks with a regularizer end in."""

NEAR = 0.05
"""How far beyond its ends, in log10 of the norm of a layer, a rival's range still counts as met."""


def kind(settings: pd.DataFrame) -> pd.Series:
    """Which contestant each row is: operator, reshaped, one of `REGULARIZERS`, or plain."""
    beta = settings["beta"].astype(float)
    net = _text(settings, "net")
    kinds = [
        (np.isfinite(beta) & (_text(settings, "norm_kind") == "reshaped"), RESHAPED),
        (np.isfinite(beta), OPERATOR),
        (net.str.endswith("_bn"), "batch norm"),
        (net.str.contains("_dropout"), "dropout"),
        (net.str.endswith("_wd") | (_number(settings, "weight_decay") > 0), "weight decay"),
    ]
    return pd.Series(np.select([k for k, _ in kinds], [n for _, n in kinds], "plain"), beta.index)


def _text(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name].astype(str) if name in rows else pd.Series("", rows.index)


def _number(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name].astype(float).fillna(0.0) if name in rows else pd.Series(0.0, rows.index)


def contestants(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run, with its accuracies under the training attack.

    Returns:
        DataFrame: run, kind, setting (what tells it from others of its kind), case (scheme and
        plain network, such as "PGM alexnet"), seed, train, validation, test, and `size`, the mean
        over its layers of log10 of their true norm (NaN where no norm is recorded).
    """
    rows = table[(table["quantity"] == "accuracy") & (table["attack"] == "training")]
    wide = rows.pivot(index="run", columns="split", values="value")
    about = rows.drop_duplicates("run").set_index("run")
    setting = (
        about["beta"].map("{:g}".format)
        + " "
        + _number(about, "weight_decay").map("{:g}".format)
        + " "
        + _text(about, "net")
    )
    plain = _text(about, "net").str.replace(VARIANT, "", regex=True)
    norms = table[table["quantity"] == "upper"]
    size = np.log10(norms["value"]).groupby(norms["run"]).mean()
    return pd.DataFrame(
        {
            "kind": kind(about),
            "setting": setting,
            "case": (about["scheme"].str.upper() + " " + plain).str.strip(),
            "seed": about["seed"],
            "train": wide["train"],
            "validation": wide["validation"],
            "test": wide["test"],
            "size": size.reindex(about.index),
        }
    ).reset_index()


def at_choice(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of each case at the setting with the best mean validation accuracy over seeds."""
    return runs.merge(chosen(runs, ["case"], "setting"))


def _by_case(runs: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    return runs.pivot(index="seed", columns="case", values=column)


def against_regularizers(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of SN minus that of the best rival among `REGULARIZERS`: a part a case.

    The best rival, kind and strength, is the one with the best mean validation accuracy.
    """
    runs = contestants(table)
    ours = _by_case(at_choice(runs[runs["kind"] == OPERATOR]))
    theirs = _by_case(at_choice(runs[runs["kind"].isin(REGULARIZERS)]))
    return ours[theirs.columns.intersection(ours.columns)] - theirs


def against_reshaped(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of SN minus that of SN by Miyato's norm, each at its own validated budget."""
    runs = contestants(table)
    ours, theirs = (_by_case(at_choice(runs[runs["kind"] == one])) for one in (OPERATOR, RESHAPED))
    return ours - theirs


def matched_by_norm(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of SN minus that of SN by Miyato's norm at equal true norms: a part a case.

    SN stands at its validated budget. The rival's accuracy is interpolated between its budgets, at
    the same mean of log10 of the true layer norms; where its range does not come near, the seed
    does not count.
    """
    runs = contestants(table)
    ours = at_choice(runs[runs["kind"] == OPERATOR])
    rivals = runs[runs["kind"] == RESHAPED]
    differences = []
    for run in ours.to_dict("records"):
        same = rivals[(rivals["case"] == run["case"]) & (rivals["seed"] == run["seed"])]
        same = same.dropna(subset=["size"]).sort_values("size")
        size, low, high = run["size"], same["size"].min(), same["size"].max()
        met = len(same) > 0 and low - NEAR <= size <= high + NEAR
        other = np.interp(size, same["size"], same["test"]) if met else math.nan
        differences.append((run["seed"], run["case"], run["test"] - other))
    columns = ["seed", "case", "difference"]
    return _by_case(pd.DataFrame(differences, columns=columns), "difference")
