"""Statistics of the experiment `gap`: gaps, gains, clean accuracy. One number a seed each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.choice import chosen
from snlib.statistics import accuracies

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
    budgets = chosen(accuracies(table), ["scheme"], "beta", least=2)
    return _by_scheme(accuracies(table, attack).merge(budgets), column)


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


PUBLISHED_GAINS = {"fgm": 0.0842, "pgm": 0.1116, "wrm": 0.0410}
"""Gains of the paper's AlexNet on CIFAR-10, Table 1."""


def gains_less_published(table: pd.DataFrame) -> pd.DataFrame:
    """`gains` minus the paper's, a part a scheme: 0 is an exact reproduction."""
    return (gains(table) - pd.Series(PUBLISHED_GAINS)).rename(columns=str.upper)
