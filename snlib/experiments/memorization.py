"""The experiment behind the paper's figure of random labels: who can learn them by heart?"""

from __future__ import annotations

import math

from snlib.experiments.grid import BETAS, Experiment, grid

PANEL_BETA = {"erm": 1.6, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""The budgets of the paper's figure."""

SMALLER = {
    # At the radius of the other experiments no net learns random labels by heart, with or without a
    # budget; at the paper's own ratio, with half of the images, the free ones do.
    "digits": dict(train_size=100, eps_ratio=0.05, wrm_gamma_ratio=2.0, epochs=80),
}
"""What a data set changes of its scale's settings, chosen by training accuracy without SN."""


def _random_labels(base, seeds):
    base = {**base, **SMALLER.get(base["data"], {})}
    runs = []
    for scheme, beta in PANEL_BETA.items():
        axes = dict(scheme=scheme)
        runs += grid(base, seeds, **axes, labels="random", beta=(math.inf, beta))
        runs += grid(base, seeds, **axes, labels="true", beta=beta)
    # the probe: one scheme, every budget
    runs += grid(base, seeds, scheme="erm", labels=("random", "true"), beta=BETAS)
    return sorted(runs, key=lambda run: run.seed)


EXPERIMENTS = (
    Experiment(
        "random_labels",
        "accuracy by epoch on random and on true training labels, with and without SN",
        "08",
        _random_labels,
        frozenset(
            {"running_accuracy", "accuracy", "lower", "frobenius", "kernel_frobenius", "inputs"}
        ),
        frozenset({"history", "accuracy", "spectrum"}),
    ),
)
