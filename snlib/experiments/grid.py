"""What an experiment is: a named grid of runs at three scales.

A scale is `quick`, `laptop` or `paper`. `paper@cifar10_jpeg` is the paper's protocol with another
data set in CIFAR-10's place; its results are never mixed with those on CIFAR-10.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from snlib import errors
from snlib.runs import Run

SCALES = ("quick", "laptop", "paper")

SCHEMES = ("erm", "fgm", "pgm", "wrm")

BETAS = (math.inf, 1.6, 1.3, 1.0, 2.0, 4.0)
"""The budgets of the paper's AlexNet grid, those that it chose first."""

PUBLISHED_BETA = {"erm": 2.0, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""The budget that the paper chose by validation for AlexNet on CIFAR-10."""

BASE: dict[str, dict[str, object]] = {
    # 200 of scikit-learn's digits and an eighth of the ELU-AlexNet: small enough for minutes, and
    # overfitted enough for a gap to show. Digits of 8x8 pixels are easy, hence the larger radius.
    "quick": dict(
        data="digits",
        train_size=200,
        net="elu_alexnet",
        width=0.125,
        eps_ratio=0.15,
        wrm_gamma_ratio=0.25,
        steps=5,
        learning_rate=0.05,
        decay=1.0,
        batch_size=50,
        epochs=90,
        stop_accuracy=2.0,
    ),
    # Attacks of five steps cost a third of fifteen; 40 epochs fit all images without SN.
    "laptop": dict(data="cifar10_jpeg", train_size=2000, width=0.25, steps=5, epochs=40),
    "paper": dict(data="cifar10"),
}
"""What a scale changes of the paper's settings, which are the defaults of `Run`."""

SEEDS = {"quick": (0, 1, 2), "laptop": (0, 1, 2), "paper": (0, 1, 2)}


@dataclass(frozen=True)
class Experiment:
    """A named set of runs, and what its table keeps of their records.

    Args:
        name: as the command line knows it.
        title: one line for people.
        notebook: the first two digits of the notebook that shows it.
        runs: from a scale's base settings and seeds to its runs, in order of priority.
        quantities: the measurements that its table keeps.
        suites: what must have been measured of each run.
        scales: where it exists.
    """

    name: str
    title: str
    notebook: str
    runs: Callable[[dict[str, object], tuple[int, ...]], list[Run]]
    quantities: frozenset[str]
    suites: frozenset[str] = frozenset({"history", "accuracy", "distributions", "spectrum"})
    scales: tuple[str, ...] = SCALES

    def at(self, scale: str) -> list[Run]:
        """The runs at a scale, in order of priority, each once.

        Raises:
            UserError: if there is no such scale, or not for this experiment.
        """
        base, seeds = settings_of(scale)
        errors.one_of(f"scale of {self.name}", scale.partition("@")[0], self.scales)
        return list(dict.fromkeys(self.runs(base, seeds)))


def settings_of(scale: str) -> tuple[dict[str, object], tuple[int, ...]]:
    """The base settings and the seeds of a scale, `paper@<data set>` included.

    Raises:
        UserError: if there is no such scale.
    """
    name, at, data = scale.partition("@")
    errors.one_of("scale", name, SCALES)
    errors.require(
        bool(data) or not at, f"scale is {scale!r}; name a data set after the @, as paper@mnist."
    )
    return {**BASE[name], **({"data": data} if at else {})}, SEEDS[name]


def grid(base: dict[str, object], seeds: tuple[int, ...], **axes: object) -> list[Run]:
    """Runs over the product of those `axes` that are tuples, one seed after the other.

    Settings that a run does not use are left out of it, so one grid may hold several schemes.
    """
    fixed = {key: value for key, value in axes.items() if not isinstance(value, tuple)}
    varied = {key: value for key, value in axes.items() if isinstance(value, tuple)}
    return [
        Run.of(**{**base, **fixed, **dict(zip(varied, values, strict=True)), "seed": seed})
        for seed in seeds
        for values in itertools.product(*varied.values())
    ]
