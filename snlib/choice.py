"""Which setting validation chose, while a grid may still be growing."""

from __future__ import annotations

import pandas as pd


def whole(runs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The runs of those seeds that have the whole grid of a group, as far as it is recorded.

    While a grid is being computed its seeds differ in settings; a setting must not be chosen for
    having been run with a lucky seed alone.

    Args:
        runs: one row a run, with a column seed.
        by: the columns that name a group.
    """
    counts = runs.groupby([*by, "seed"], dropna=False)["seed"].transform("size")
    widest = counts.groupby([runs[key] for key in by], dropna=False).transform("max")
    return runs[counts == widest]


def chosen(runs: pd.DataFrame, by: list[str], setting: str, least: int = 1) -> pd.DataFrame:
    """The setting of each group with the best mean validation accuracy over its whole seeds.

    Of equally good ones the largest: of budgets the loosest, so that a tie never speaks for SN.

    Args:
        runs, by: as in `whole`, with a column validation.
        setting: the column to choose from.
        least: settings that a group must have to be a choice; groups with fewer are left out.

    Returns:
        DataFrame: the columns `by` and `setting`, one row a group.
    """
    means = whole(runs, by).groupby([*by, setting])["validation"].mean().round(9).reset_index()
    means = means[means.groupby(by)[setting].transform("size") >= least]
    best = means.sort_values(["validation", setting]).groupby(by).tail(1)
    return best[[*by, setting]].reset_index(drop=True)
