"""Densities and modes of distributions that are recorded as quantiles."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.errors import require

POINTS = 1000
"""Points that stand for a distribution: its quantile function at the levels (i + 1/2) / 1000."""


def points(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A sample of `POINTS` numbers with these quantiles, evenly spread between neighbours.

    Args:
        levels: (q,) from 0 to 1, ascending.
        values: (q,) quantiles at these levels, not descending.

    Raises:
        UserError: levels that do not run from 0 to 1, or values that descend.
    """
    levels, values = np.asarray(levels, dtype=float), np.asarray(values, dtype=float)
    ends = len(levels) > 1 and levels[0] == 0 and levels[-1] == 1
    require(
        bool(ends and (np.diff(levels) > 0).all()),
        f"levels are {levels[:3]} ... {levels[-3:]}; they must ascend from 0 to 1.",
    )
    require(
        bool((np.diff(values) >= 0).all() and np.isfinite(values).all()),
        "the quantiles descend or are not finite; they must be those of one distribution.",
    )
    return np.interp((np.arange(POINTS) + 0.5) / POINTS, levels, values)


def bandwidth(sample: np.ndarray, count: int = 100) -> float:
    """Silverman's rule, 0.9 min(sd, IQR / 1.34) count ** (-1/5).

    Args:
        sample: (n,).
        count: what is known of the distribution, 100 steps between quantiles, not the n points.
    """
    low, high = np.quantile(sample, [0.25, 0.75])
    spread = [width for width in (sample.std(), (high - low) / 1.34) if width > 0]
    return 0.9 * min(spread, default=1.0) * count**-0.2


def density(sample: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel estimate of the density of `sample` (n,) on `grid` (m,)."""
    width = bandwidth(sample)
    steps = (np.asarray(grid)[:, None] - sample[None]) / width
    return np.exp(-(steps**2) / 2).mean(axis=1) / (width * np.sqrt(2 * np.pi))


def mode(sample: np.ndarray) -> float:
    """Where the estimated density of `sample` is highest."""
    grid = np.linspace(sample.min(), sample.max(), 801)
    return float(grid[density(sample, grid).argmax()])


def of(rows: pd.DataFrame) -> np.ndarray:
    """The points of one distribution from its rows, columns x (levels) and value.

    Raises:
        UserError: more than one distribution in the rows, or none.
    """
    require(
        len(rows) > 0 and not rows["x"].duplicated().any(),
        f"{len(rows)} rows hold several distributions or none; choose one run, split and attack.",
    )
    rows = rows.sort_values("x")
    return points(rows["x"].to_numpy(), rows["value"].to_numpy())


def quantile(rows: pd.DataFrame, level: float) -> float:
    """One recorded quantile of one distribution's rows.

    Raises:
        UserError: a level that is not recorded.
    """
    chosen = rows.loc[np.isclose(rows["x"], level), "value"]
    require(
        len(chosen) == 1, f"level {level} is recorded {len(chosen)} times; hundredths are, once."
    )
    return float(chosen.iloc[0])
