"""Statistics of the benchmark `perturbation`: the inequalities behind Theorems 1 to 4."""

from __future__ import annotations

import math

import pandas as pd

INEQUALITIES = ("a outputs", "b gradients", "c FGM", "d WRM", "e PGM")


def slack(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest log10(right / left side) over a seed's random nets, a part an inequality.

    -inf where a net violates it: one counterexample is enough.
    """
    rows = table[table["contestant"].isin(INEQUALITIES)]
    wide = rows.pivot(index=["contestant", "seed"], columns="quantity", values="value")
    slacks = wide["smallest log10 slack"].where(wide["violations"] == 0, -math.inf)
    return slacks.unstack("contestant")
