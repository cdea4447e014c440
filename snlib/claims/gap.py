"""Statistics of the experiment `gap`: gaps, gains, clean accuracy. One number a seed each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.statistics import accuracies, chosen

ADVERSARIAL = ("fgm", "pgm", "wrm")
SCHEMES = ("erm", *ADVERSARIAL)


def complete(by_seed: pd.DataFrame) -> pd.Series:
    """The mean over columns of the seeds that have all of them."""
    return by_seed.dropna().mean(axis=1)


def free(table: pd.DataFrame, column: str, attack: str = "training") -> pd.DataFrame:
    """A column of `accuracies` of the nets without SN, seed by scheme."""
    runs = accuracies(table, attack)
    chosen_runs = runs[np.isinf(runs["beta"])]
    return _by_scheme(chosen_runs, column)


def at_choice(table: pd.DataFrame, column: str, attack: str = "training") -> pd.DataFrame:
    """The same at the budget that validation under the training attack chose."""
    budgets = chosen(whole(accuracies(table)))
    runs = accuracies(table, attack)
    return _by_scheme(runs[runs["beta"] == runs["scheme"].map(budgets)], column)


def whole(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of those seeds that have the whole grid of a scheme, as far as it is recorded.

    While a grid is being computed its seeds differ in budgets; a budget must not be chosen for
    having been run with a lucky seed alone.
    """
    counts = runs.groupby(["scheme", "seed"])["beta"].transform("size")
    return runs[counts == counts.groupby(runs["scheme"]).transform("max")]


def _by_scheme(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    return runs.pivot(index="seed", columns="scheme", values=column).reindex(columns=SCHEMES)


def adversarial_gap(table: pd.DataFrame) -> pd.Series:
    """Gap of FGM, PGM and WRM training minus that of ERM, without SN."""
    gaps = free(table, "gap")
    return complete(gaps[list(ADVERSARIAL)].sub(gaps["erm"], axis=0))


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy under the training attack with SN minus without: a column a scheme."""
    return (at_choice(table, "test") - free(table, "test"))[list(ADVERSARIAL)]


def test_gain(table: pd.DataFrame) -> pd.Series:
    """The mean of `gains`."""
    return complete(gains(table))


def clean_gain(table: pd.DataFrame) -> pd.Series:
    """Clean test accuracy with SN minus without, mean of four schemes."""
    return complete(at_choice(table, "test", "none") - free(table, "test", "none"))


def gap_reduction(table: pd.DataFrame) -> pd.Series:
    """Gap without SN minus gap with, mean of FGM, PGM and WRM."""
    return complete((free(table, "gap") - at_choice(table, "gap"))[list(ADVERSARIAL)])
