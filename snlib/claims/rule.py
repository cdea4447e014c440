"""What a claim is, what evidence of it is, and the one rule by which it is judged.

The rule was written before the data, and is one for all claims and scales. A statistic is one
number a seed, and the claim says in which range it lies: above `low`, and below `high` if that is
finite. A statistic may have several **parts**, say one a training scheme, each with such numbers;
the claim is about all of them.

* A part is **supported** if the 95 % Student interval of its mean over seeds lies inside the range,
  **not supported** if it lies outside, else **undecided**; undecided also with fewer than three
  seeds. A value of -inf stands for a counterexample to what is claimed of every network: one is
  enough for not supported.
* A claim is **supported** if each part is, **not supported** if any part is not, else
  **undecided**. A part that nothing is recorded of leaves it undecided at best.
* A claim of which nothing is recorded, or that is not about the setting of a scale, is
  **not testable** there, and says why.

That every part must hold keeps the error of "supported" at that of one interval, however many parts
there are; "not supported" has no such guard, nor has the reading of eighteen verdicts at once. So
each verdict is also given at the level 1 - 0.05/18 (Bonferroni), as `strict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from snlib.statistics import interval

LEAST_SEEDS = 3

LEVEL = 0.95

SUPPORTED, AGAINST, UNDECIDED, NOT_TESTABLE = (
    "supported",
    "not supported",
    "undecided",
    "not testable",
)

SCALES = ("quick", "laptop", "paper", "paper@cifar10_jpeg")
"""The scales at which claims are judged. The last is the paper's protocol on recompressed images:
an analogue, labelled as such, never the paper's setting."""

FULL = SCALES[2:]
LARGE = SCALES[1:]
"""The scales with the paper's networks at full width, and those with natural images."""

Statistic = Callable[[pd.DataFrame], "pd.Series | pd.DataFrame"]
"""table -> one number a seed: a Series indexed by seed, or a DataFrame with a column a part. Its
`attrs["over"]`, if set, says over what the interval is; else it is over seeds. A `UserError` says
why there is none."""


@dataclass(frozen=True)
class Evidence:
    """Where a claim is decided, and by which number.

    Args:
        statistic: what is computed, in words.
        experiment: whose table it reads.
        compute: see `Statistic`.
        scales: where it counts.
        decides: False for what stands beside the verdict and is not counted in it.
        published: by part, the same number from the paper's data (one run each); the part of a
            Series is "".
        low, high: the range that is claimed, where it is not the claim's own.
    """

    statistic: str
    experiment: str
    compute: Statistic
    scales: tuple[str, ...] = SCALES
    decides: bool = True
    published: dict[str, float] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, in our words.

    Args:
        number: as in the list of claims.
        sentence: what is claimed.
        published: what the paper's own numbers say, one run each.
        trust: how far these are to be trusted: "exact" (printed by the authors), "read off" a
            figure, "recalled" from memory, confirmed by no text, or "none".
        evidence: what decides it, and what stands beside that.
        low, high: the claim says that the statistic lies between them.
        why: for a claim without evidence at a scale, the reason.
    """

    number: int
    sentence: str
    published: str
    trust: str
    evidence: tuple[Evidence, ...] = ()
    low: float = 0.0
    high: float = math.inf
    why: str = "no experiment of this scale is about it"

    def at(self, scale: str) -> list[Evidence]:
        """The evidence that counts at a scale, or stands beside it."""
        return [one for one in self.evidence if scale in one.scales]


def verdict(
    values: pd.Series, low: float = 0.0, high: float = math.inf, *, level: float = LEVEL
) -> tuple[str, float, float]:
    """The verdict on one part.

    Args:
        values: one number a seed.
        low, high: what is claimed of them.
        level: of the interval.

    Returns:
        The word, the mean, and the half-width of the interval (NaN with fewer than two seeds).
    """
    if np.isneginf(values.to_numpy(dtype=float)).any():
        return AGAINST, -math.inf, math.nan
    mean, half = interval(values, level)
    if len(values) < LEAST_SEEDS or not math.isfinite(half):
        return UNDECIDED, mean, half
    if mean - half > low and mean + half < high:
        return SUPPORTED, mean, half
    outside = mean + half <= low or mean - half >= high
    return (AGAINST if outside else UNDECIDED), mean, half


def together(words: Iterable[str]) -> str:
    """The verdict on a claim from those on its parts."""
    words = list(words)
    if not words or set(words) == {NOT_TESTABLE}:
        return NOT_TESTABLE
    if AGAINST in words:
        return AGAINST
    return SUPPORTED if set(words) == {SUPPORTED} else UNDECIDED


def wanted(low: float, high: float) -> str:
    """The claimed range in words: 'above 0', 'below 0.1', 'within ±0.02'."""
    if math.isinf(high):
        return f"above {low:g}"
    if math.isinf(low):
        return f"below {high:g}"
    return f"within ±{high:g}" if low == -high else f"from {low:g} to {high:g}"
