"""Published and measured rows of Table 1 side by side, as notebook 10 prints and draws them."""

from __future__ import annotations

import math

import pandas as pd

from snlib import tables
from snlib.claims.table1 import KEY, accuracies, measured, published, stands_for
from snlib.errors import UserError, require
from snlib.statistics import interval, with_half

TABLES = ("table1_cifar10", "table1_mnist", "table1_svhn", "table1_digits")

ACCURACIES = {
    **{"train": "free_train", "test": "free_test"},
    **{"train SN": "sn_train", "test SN": "sn_test"},
}
"""Accuracies without and with SN: heading and column."""

SHOWN = [*ACCURACIES.values(), "gain"]


def load(scale: str = "quick", store: str = "recorded") -> list[pd.DataFrame]:
    """The tables of Table 1 that are recorded at a scale.

    Raises:
        UserError: if none is, with the command that makes one.
    """
    found, reasons = [], []
    for name in TABLES:
        try:
            found.append(tables.load(name, scale=scale, store=store))
        except UserError as error:
            reasons.append(str(error))
    told = [reason for reason in reasons if "Compute it" in reason or "Record it" in reason]
    require(bool(found), (told or reasons)[0] if reasons else "")
    return found


def rows(loaded: list[pd.DataFrame]) -> pd.DataFrame:
    """`table1.measured` of several tables."""
    return pd.concat([measured(table) for table in loaded], ignore_index=True)


def side_by_side(ours: pd.DataFrame) -> pd.DataFrame:
    """Every published configuration with ours where there is one.

    Args:
        ours: of `rows`. Rows on other data, or on a part of the paper's, meet no published one.

    Returns:
        DataFrame, a row a configuration: `published`, and of ours beta_here, the means over seeds
        of `SHOWN` ending in `_here`, `difference` (our gain minus the published), `half` (of its
        95 % interval over seeds; the published number is one run, taken as it is), seeds.
    """
    return (
        published()
        .merge(means(ours).drop(columns="half_reduction"), on=KEY, how="left")
        .assign(
            seeds=lambda found: found["seeds"].fillna(0).astype(int),
            difference=lambda found: found["gain_here"] - found["gain"],
        )
    )


def analogues(ours: pd.DataFrame) -> pd.DataFrame:
    """Our rows on a part of the paper's data, or on recompressed images, beside the paper's own.

    The same net (perhaps thinner) and training, on fewer or other images: never the same setting.

    Args:
        ours: of `rows`.

    Returns:
        DataFrame, a row a configuration: the columns of `KEY` (ours), those of `published` but
        `KEY`, and of ours as in `means`.
    """
    mine = means(ours)
    theirs = published().rename(columns={"data": "like"})
    mine = mine.assign(like=mine["data"].map(stands_for))[~mine["data"].isin(set(theirs["like"]))]
    return mine.merge(theirs, on=["like", *KEY[1:]]).drop(columns="like")


def nearer(store: str = "recorded") -> dict[str, list[pd.DataFrame]]:
    """The tables of Table 1 at every scale nearer to the paper than quick, nearest first."""
    found: dict[str, list[pd.DataFrame]] = {}
    for name in TABLES:
        for scale, table in tables.nearer(name, store).items():
            found.setdefault(scale, []).append(table)
    return {scale: found[scale] for scale in sorted(found, key=tables.farness)}


def means(ours: pd.DataFrame) -> pd.DataFrame:
    """A row a configuration: `SHOWN`, rise, reduction (means over seeds, `_here`), half, seeds."""
    found = []
    for key, group in ours.groupby(KEY, sort=False):
        numbers = {f"{name}_here": group[name].mean() for name in (*SHOWN, "rise", "reduction")}
        found.append(
            dict(zip(KEY, key, strict=True))
            | {"beta_here": group["beta"].iloc[0], "budgets": group["budgets"].max(), **numbers}
            | {"half": interval(group["gain"])[1], "seeds": len(group)}
            | {"half_reduction": interval(group["reduction"])[1]}
        )
    columns = [*KEY, "beta_here", "budgets"]
    columns += [f"{name}_here" for name in (*SHOWN, "rise", "reduction")]
    return pd.DataFrame(found, columns=[*columns, "half", "seeds", "half_reduction"])


def alone(loaded: list[pd.DataFrame]) -> pd.DataFrame:
    """What a single run would have reported: the budget chosen by each seed's own validation.

    Returns:
        DataFrame, a row a configuration and seed: `KEY`, seed, beta, gain (in test accuracy),
        validation_gain (the same number on the images by which the budget was chosen).
    """
    found = []
    for table in loaded:
        for (*key, seed), runs in accuracies(table).groupby([*KEY, "seed"]):
            free = runs[runs["beta"] == math.inf]
            if free.empty or len(runs) < 2:
                continue
            best = runs.sort_values(["validation", "beta"]).iloc[-1]
            found.append(
                dict(zip(KEY, key, strict=True))
                | {"seed": seed, "beta": best["beta"]}
                | {"gain": best["test"] - free["test"].iloc[0]}
                | {"validation_gain": best["validation"] - free["validation"].iloc[0]}
            )
    return pd.DataFrame(found, columns=[*KEY, "seed", "beta", "gain", "validation_gain"])


# ------------------------------------------------------------------------------------- as printed


def training(rows: pd.DataFrame) -> pd.Series:
    """The training of each row as tables show it: 'FGM', 'PGM linf 0.1'."""
    linf = rows["norm"] == math.inf
    radius = " linf " + rows["eps"].map("{:g}".format).astype(str)
    return rows["scheme"].str.upper() + radius.where(linf, "")


def printed(both: pd.DataFrame) -> pd.DataFrame:
    """`side_by_side` in words: the published row, and below it ours where there is one.

    `train` and `test` are without SN, `beta` is the budget that validation chose, `budgets` among
    how many. Behind our gain stand half of its interval, and what it is less the published one.
    """
    theirs = pd.DataFrame(
        {
            **_named_rows(both),
            "of": "paper",
            "beta": both["beta"].map("{:g}".format),
            **{name: _two(both[column]) for name, column in ACCURACIES.items()},
            "gain": _signed(both["gain"]),
        }
    )
    measured = both[both["seeds"] > 0]
    ours = pd.DataFrame(
        {
            **_named_rows(measured),
            "of": "here",
            "beta": measured["beta_here"].map("{:g}".format),
            **{name: _two(measured[f"{column}_here"]) for name, column in ACCURACIES.items()},
            "gain": _signed(measured["gain_here"]),
            "±": measured["half"].map("{:.3f}".format).where(measured["half"].notna(), ""),
            "less": _signed(measured["difference"]),
            "seeds": measured["seeds"].astype(str),
            "budgets": measured["budgets"].astype(int).astype(str),
        }
    )
    if ours.empty:
        return theirs.drop(columns="of")
    found = pd.concat([theirs, ours]).sort_index(kind="stable").fillna("")
    found.loc[found["of"] == "here", ["net", "training"]] = ""
    return found


def printed_in_words(both: pd.DataFrame) -> str:
    """`printed` as text, a table for each data set below its name, and how many are measured."""
    measured = f"{(both['seeds'] > 0).sum()} of {len(both)} rows are measured."
    return f"{_by_data(printed(both))}\n\n{measured}"


def counted(rows: pd.DataFrame) -> str:
    """The mean gain of rows, how many gain, lose and tie, and in how many the gap shrinks."""
    gain, shrinks = rows["gain"], (rows["reduction"] > 0).sum()
    signs = f"+{(gain > 0).sum()} -{(gain < 0).sum()} ={(gain == 0).sum()}"
    return f"{len(rows):3} rows, gain {gain.mean():+.3f}, {signs}, gap shrinks {shrinks}"


def printed_analogues(found: pd.DataFrame) -> pd.DataFrame:
    """`analogues` in words: ours, `|`, the paper's; `rise` is that of training accuracy."""
    return (
        _ours(found)
        .drop(columns=["train SN", "test SN", "reduction"])
        .assign(
            **{
                "| beta": found["beta"].map("{:g}".format),
                "train ": _two(found["free_train"]),
                "test ": _two(found["free_test"]),
                "gain ": _signed(found["gain"]),
                "rise ": _signed(found["rise"]),
            }
        )
    )


def analogues_in_words(found: pd.DataFrame) -> str:
    """`printed_analogues` as text, a table for each data set below its name."""
    return _by_data(printed_analogues(found), " | the paper's rows")


def _by_data(shown: pd.DataFrame, end: str = "") -> str:
    parts = [
        f"{data}{end}\n{rows.drop(columns='data').to_string(index=False)}"
        for data, rows in shown.groupby("data", sort=False)
    ]
    return "\n\n".join(parts)


def stand_ins(ours: pd.DataFrame) -> pd.DataFrame:
    """Our rows that are none of the paper's, in words: other data, or a part of the paper's."""
    known = set(published()["data"])
    return _ours(means(ours[~ours["data"].isin(known)]))


def stand_ins_in_words(ours: pd.DataFrame) -> str:
    """`stand_ins` as text, a table for each data set below its name."""
    return _by_data(stand_ins(ours))


def _ours(rows: pd.DataFrame) -> pd.DataFrame:
    """What `means` says of our rows, in words."""
    return pd.DataFrame(
        {
            **_named_rows(rows),
            "beta": rows["beta_here"].map("{:g}".format),
            **{name: _two(rows[f"{column}_here"]) for name, column in ACCURACIES.items()},
            "gain": _signed(rows["gain_here"], rows["half"]),
            "rise": _signed(rows["rise_here"]),
            "reduction": _signed(rows["reduction_here"], rows["half_reduction"]),
        }
    )


def _named_rows(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns that say which row it is."""
    return {"data": rows["data"].map(named), "net": rows["net"], "training": training(rows)}


def named(data: str) -> str:
    """Recompressed images are never called by the name of the original ones."""
    return data.replace("cifar10_jpeg", "CIFAR-10 (JPEG)")


def _two(values: pd.Series) -> pd.Series:
    return values.map(lambda value: "" if pd.isna(value) else f"{value:.2f}")


def _signed(values: pd.Series, halves: pd.Series | None = None) -> pd.Series:
    """'+0.080', or '+0.080 ± 0.020' with half-widths; no ± where there is one seed."""
    rounded = values.round(3) + 0.0  # no -0.000
    halves = pd.Series(math.nan, values.index) if halves is None else halves
    texts = [with_half(*pair, "+.3f") for pair in zip(rounded, halves, strict=True)]
    return pd.Series(texts, values.index, dtype=object)
