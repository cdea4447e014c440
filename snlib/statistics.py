"""Summaries of tables: intervals over seeds, accuracies and gaps by run, the validated budget."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from snlib import choice
from snlib.errors import require

SCHEMES = ("erm", "fgm", "pgm", "wrm", "trades")
"""The training schemes in the paper's order."""


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float]:
    """Mean and half-width of Student's t interval over seeds; half-width NaN for one seed."""
    from scipy import stats

    count = len(values)
    if count < 2:
        return float(values.mean()), math.nan
    half = stats.t.ppf(0.5 + level / 2, count - 1) * values.std(ddof=1) / math.sqrt(count)
    return float(values.mean()), float(half)


def means(table: pd.DataFrame, by: list[str], value: str = "value") -> pd.DataFrame:
    """Mean, 95 % half-width and number of seeds of `value` in each group."""
    rows = []
    for keys, group in table.groupby(by, sort=True, dropna=False):
        mean, half = interval(group[value])
        rows.append((*np.atleast_1d(np.array(keys, dtype=object)), mean, half, len(group)))
    return pd.DataFrame(rows, columns=[*by, "mean", "half", "seeds"])


def accuracies(table: pd.DataFrame, attack: str = "training") -> pd.DataFrame:
    """One row a run: its accuracies on the three splits, and their gap.

    Args:
        table: of the experiment `gap`, or any with its columns.
        attack: "training", the attack that the run was trained against, or "none".

    Returns:
        DataFrame with columns scheme, beta, seed, train, validation, test, gap; gap is train minus
        test accuracy. Accuracies are shares in [0, 1]. Schemes come in the paper's order, budgets
        from the tightest to none.

    Raises:
        UserError: if the table has no accuracy under that attack, or a run has two of a split.
    """
    rows = table[(table["quantity"] == "accuracy") & (table["attack"] == attack)]
    require(
        len(rows) > 0,
        f"table has no accuracy under attack {attack!r}; give the table of the experiment gap.",
    )
    keys = ["scheme", "beta", "seed"]
    twice = rows[rows.duplicated([*keys, "split"])]
    require(
        twice.empty,
        f"table has two runs with {', '.join(keys)} = {_first(twice, keys)}; "
        "choose the rows of one setting first.",
    )
    wide = rows.pivot(index=keys, columns="split", values="value").reset_index()
    wide.columns.name = None
    wide["gap"] = wide["train"] - wide["test"]
    order = wide["scheme"].map({name: place for place, name in enumerate(SCHEMES)})
    wide = wide.assign(order=order).sort_values(["order", "beta", "seed"])
    return wide[[*keys, "train", "validation", "test", "gap"]].reset_index(drop=True)


def _first(rows: pd.DataFrame, keys: list[str]) -> str:
    return ", ".join(str(rows.iloc[0][key]) for key in keys) if len(rows) else ""


def chosen(runs: pd.DataFrame) -> dict[str, float]:
    """The budget of each scheme with the best mean validation accuracy, no budget (inf) included.

    The paper chooses so, of one run a budget. Of equally good budgets the larger one is taken, so
    that a tie never speaks for the budget; of a grid half recorded the whole seeds choose.

    Args:
        runs: as `accuracies` returns it.
    """
    found = choice.chosen(runs, ["scheme"], "beta").set_index("scheme")["beta"]
    return {scheme: float(found[scheme]) for scheme in dict.fromkeys(runs["scheme"])}


def texts(means: pd.DataFrame, form: str) -> pd.Series:
    """`with_half` of every row of `means`, in its columns mean and half."""
    pairs = means[["mean", "half"]].to_numpy(float)
    return pd.Series([with_half(*pair, form) for pair in pairs], means.index, dtype=object)


def with_half(mean: float, half: float, form: str) -> str:
    """ "0.12 ± 0.03" by a format such as ".2f"; no half where one seed has none, "" for no mean."""
    if math.isnan(mean):
        return ""
    text = format(mean, form)
    return text if math.isnan(half) else f"{text} ± {format(half, form.lstrip('+'))}"


def with_halves(table: pd.DataFrame, form: str) -> pd.DataFrame:
    """`with_half` of each column x that has a column "x half" beside it; no other column."""
    named = [name for name in table if f"{name} half" in table]
    texts = {
        name: [
            with_half(*pair, form) for pair in zip(table[name], table[f"{name} half"], strict=True)
        ]
        for name in named
    }
    return pd.DataFrame(texts, table.index)


def overhead(table: pd.DataFrame) -> pd.DataFrame:
    """How much longer an epoch takes under a budget: one row a pair of runs.

    Args:
        table: of the experiment `runtimes`.

    Returns:
        DataFrame: data, net, scheme, norm (0 for ERM), seed, free and capped (median seconds of an
        epoch without SN and with), ratio (of these), fastest (ratio of the fastest epochs, which
        other work on the machine disturbs least). Pairs that are not both there are left out.
    """
    rows = table[table["quantity"] == "seconds"]
    common = table.attrs.get("provenance", {}).get("settings", {})
    keys = ["data", "net", "scheme", "norm", "seed"]
    named = {key: rows[key] if key in rows else common.get(key) for key in keys}
    rows = rows.assign(**named, capped=np.isfinite(rows["beta"]))
    rows["norm"] = rows["norm"].astype(float).fillna(0.0)
    seconds = rows.groupby([*keys, "capped"], dropna=False)["value"].agg(["median", "min"])
    both = pd.MultiIndex.from_product([["median", "min"], [False, True]])
    wide = seconds.unstack("capped").reindex(columns=both).dropna()
    pairs = pd.DataFrame(
        {
            "free": wide["median", False],
            "capped": wide["median", True],
            "ratio": wide["median", True] / wide["median", False],
            "fastest": wide["min", True] / wide["min", False],
        }
    )
    return pairs.reset_index()
