"""The experiments on robustness: error against eps, and the order of budgets by strong attacks."""

from __future__ import annotations

import math

from snlib.experiments.grid import BETAS, SCHEMES, Experiment, grid

SN = (math.inf, 1.6)
"""The budgets of the paper's figure, every panel alike."""

SHORTER = {"digits": dict(epochs=60)}
"""What a data set changes of its scale's settings for the linf nets, which no other experiment
shares."""


def _robustness(base, seeds):
    runs = grid(base, seeds, scheme=SCHEMES, beta=SN)
    inf = {**base, **SHORTER.get(base["data"], {})}
    runs += grid(inf, seeds, scheme="pgm", norm=math.inf, eps=0.1, beta=SN)
    return sorted(runs, key=lambda run: run.seed)


def _ranks(base, seeds):
    return grid(base, seeds, scheme="pgm", beta=BETAS)


CHECKED = frozenset({"accuracy", "zero_gradient", "broken"})

EXPERIMENTS = (
    Experiment(
        "robustness",
        "error against eps for every pair of training scheme and attack, with and without SN",
        "09",
        _robustness,
        CHECKED | {"unit"},
        frozenset({"history", "accuracy", "robustness", "checks"}),
    ),
    Experiment(
        "ranks",
        "order of the norm budgets by the authors' protocol and by stronger attacks, PGM training",
        "09",
        _ranks,
        CHECKED,
        frozenset({"history", "accuracy", "checks"}),
    ),
    Experiment(
        "autoattack",
        "the same order by the standard AutoAttack (needs pyautoattack), PGM training",
        "09",
        _ranks,
        CHECKED,
        frozenset({"history", "accuracy", "checks", "autoattack"}),
        scales=("laptop", "paper"),
    ),
)
