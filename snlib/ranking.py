"""Does a measure rank runs as their gaps do? Rank correlations over tables, a row a run.

* `kendall`: tau-b over all pairs.
* `granulated`: Jiang et al., "Fantastic generalization measures and where to find them" (ICLR
  2020), section 3.2: psi_i is Kendall's tau over the values of setting i with all others held
  fixed, averaged over what the others can be; Psi is the mean of the psi_i. A measure that only
  follows one setting scores there alone.
* `sign_errors`: Dziugaite et al., "In search of robust measures of generalization" (NeurIPS 2020).
  An environment is a pair of configurations that differ in one setting; its error is the share of
  pairs of runs that the measure puts in the wrong order (a tie is half), pairs weighted by how sure
  it is that their gaps differ at all. The measure is as good as its worst environment. Weight,
  cut-off and least effective number of pairs are those of the authors' code
  (nitarshan/robust-generalization-measures), their 12 pairs as a parameter: three seeds give 9.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from snlib.errors import require

CUT = 0.5
"""Pairs of runs with a weight up to this are left out, as in the authors' code."""


def kendall(first: Sequence[float], second: Sequence[float], *, ties: bool = True) -> float:
    """Kendall's rank correlation of two lists of numbers.

    Args:
        first, second: (n,) each, finite.
        ties: True: tau-b, which leaves ties out of its denominators, NaN if one list is constant.
            False: tau-a, a tie counting as neither right nor wrong, as Jiang et al. have it.

    Raises:
        UserError: lists of different length, fewer than two numbers, NaN or inf.
    """
    values = [np.asarray(part, dtype=float) for part in (first, second)]
    require(
        values[0].ndim == 1 and values[0].shape == values[1].shape and len(values[0]) > 1,
        f"the lists have shapes {values[0].shape} and {values[1].shape}; they must be (n,), n > 1.",
    )
    require(
        all(np.isfinite(part).all() for part in values),
        "the lists hold NaN or inf; choose the runs for which both numbers exist.",
    )
    upper = np.triu_indices(len(values[0]), 1)
    order, other = (np.sign(part[upper[0]] - part[upper[1]]) for part in values)
    concordance = float((order * other).sum())
    if not ties:
        return concordance / len(order)
    untied = float(np.abs(order).sum()) * float(np.abs(other).sum())
    return concordance / untied**0.5 if untied else float("nan")


def granulated(
    runs: pd.DataFrame, measure: str, target: str, settings: Sequence[str]
) -> dict[str, float]:
    """psi of each setting: mean tau over its values, all other settings held fixed.

    Args:
        runs: one row a run, one run a configuration (choose a seed first).
        measure, target: columns that are compared.
        settings: the columns that make a configuration.

    Returns:
        setting -> psi in [-1, 1]; NaN where no two runs differ in that setting alone.

    Raises:
        UserError: a column that is missing, two runs with one configuration.
    """
    _check(runs, [measure, target, *settings])
    require(
        not runs.duplicated(list(settings)).any(),
        f"two runs have the same {', '.join(settings)}; give one run a configuration.",
    )
    first, second = (runs[column].to_numpy(float) for column in (measure, target))
    found = {}
    for setting in settings:
        others = [name for name in settings if name != setting]
        group_of = np.zeros(len(runs), int)
        if others:
            group_of = runs.groupby(others, dropna=False).ngroup().to_numpy()
        groups = [np.flatnonzero(group_of == number) for number in np.unique(group_of)]
        taus = [
            kendall(first[group], second[group], ties=False) for group in groups if len(group) > 1
        ]
        found[setting] = float(np.mean(taus)) if taus else float("nan")
    return found


def by_seed(runs: pd.DataFrame, measure: str, target: str, settings: Sequence[str]) -> pd.DataFrame:
    """Overall and granulated taus of each seed: one row a seed and setting.

    Args:
        runs: one row a run, with the column seed.

    Returns:
        DataFrame seed, setting, tau; settings are "all" (tau-b over all runs of the seed), the
        given ones (psi) and "mean" (Psi, over those settings that vary).
    """
    rows = []
    for seed, part in runs.groupby("seed"):
        taus = granulated(part, measure, target, settings)
        overall = kendall(part[measure], part[target])
        known = [tau for tau in taus.values() if tau == tau]
        mean = float(np.mean(known)) if known else float("nan")
        for setting, tau in {"all": overall, **taus, "mean": mean}.items():
            rows.append((seed, setting, tau))
    return pd.DataFrame(rows, columns=["seed", "setting", "tau"])


def weight(difference: float, images: int) -> float:
    """How sure it is that two gaps, each measured on `images` test images, differ; in [0, 1].

    max(0, 1 - 2 exp(-2 n (difference / 2)^2))^2, from Hoeffding's inequality, as in the authors'
    code.
    """
    return max(0.0, 1 - 2 * float(np.exp(-2 * images * (difference / 2) ** 2))) ** 2


def sign_errors(
    runs: pd.DataFrame,
    measure: str,
    target: str,
    settings: Sequence[str],
    *,
    images: int,
    least: float = 3.0,
) -> pd.DataFrame:
    """The sign error of each environment, over all pairs of seeds.

    Args:
        runs: one row a run, all seeds together.
        measure, target: columns that are compared.
        settings: the columns that make a configuration.
        images: test images behind each target.
        least: effective number of pairs of runs, (sum w)^2 / sum w^2, that an environment needs.

    Returns:
        DataFrame setting, low, high (its two values), the other settings, error in [0, 1], pairs
        (effective number). Empty if no gap is surely different.

    Raises:
        UserError: a column that is missing, or images < 1.
    """
    _check(runs, [measure, target, *settings])
    require(images >= 1, f"images is {images!r}; it must be an integer >= 1.")
    rows = []
    for setting in settings:
        others = [name for name in settings if name != setting]
        groups = runs.groupby(others, dropna=False) if others else [((), runs)]
        for key, group in groups:
            fixed = dict(zip(others, key, strict=True))
            values = sorted(group.groupby(setting), key=lambda item: item[0])
            for (low, first), (high, second) in itertools.combinations(values, 2):
                error, pairs = _error(first, second, measure, target, images)
                if pairs >= least:
                    place = {"setting": setting, "low": low, "high": high}
                    rows.append({**place, **fixed, "error": error, "pairs": pairs})
    columns = ["setting", "low", "high", *settings, "error", "pairs"]
    return pd.DataFrame(rows, columns=columns)


def _error(
    first: pd.DataFrame, second: pd.DataFrame, measure: str, target: str, images: int
) -> tuple[float, float]:
    """Weighted sign error over all pairs of runs, and the effective number of pairs."""
    errors, weights = [], []
    for one, other in itertools.product(
        first[[measure, target]].to_numpy(float), second[[measure, target]].to_numpy(float)
    ):
        sure = weight(one[1] - other[1], images)
        weights.append(sure - CUT if sure > CUT else 0.0)
        errors.append((1 - np.sign(one[0] - other[0]) * np.sign(one[1] - other[1])) / 2)
    # Rounded once each, so that a measure that errs in every pair has an error of exactly 1.
    total = math.fsum(weights)
    if total == 0:
        return float("nan"), 0.0
    wrong = math.fsum(e * w for e, w in zip(errors, weights, strict=True))
    return float(wrong / total), float(total**2 / np.dot(weights, weights))


def _check(runs: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in runs]
    require(not missing, f"the table has no column {', '.join(missing)}.")
