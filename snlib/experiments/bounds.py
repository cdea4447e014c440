"""The experiment behind the bounds: nets that differ in more than their budget.

The budget is part of every capacity, so a capacity that falls with the gap over budgets alone shows
little. Here the width, the depth, the number of training images and (for ERM) the labels vary too,
each over two values and all combinations, on fully connected nets, which are cheap; the AlexNets of
`gap` stand beside them, over budgets alone. WRM has budgets small enough for Theorem 4.
"""

from __future__ import annotations

import math

from snlib.experiments.grid import BETAS, SCHEMES, Experiment, grid

FULL = 50_000
"""Training images where the scale takes all of them."""

ADAM = dict(optimizer="adam", learning_rate=0.001, stop_accuracy=0.999)
"""The authors' optimizer of MLPs, on CIFAR-10 as on MNIST, and their stopping rule."""

QUICK = dict(optimizer="adam", learning_rate=0.01, stop_accuracy=0.999, epochs=40)
"""The same where there are few images, and so few steps."""


def _bounds(base, seeds):
    images = base.get("train_size") or FULL
    small = {**base, **(QUICK if images < 1000 else ADAM)}
    wide = 0.25 if images < 1000 else 1.0
    axes = dict(
        net=("mlp1", "mlp2"),
        width=(wide, wide / 4),
        train_size=(images, images // 4),
        beta=(math.inf, 1.0),
    )
    runs = grid(base, seeds, beta=BETAS, scheme=SCHEMES)
    runs += grid(small, seeds, scheme="erm", labels=("true", "random"), **axes)
    runs += grid(small, seeds, scheme="fgm", **axes)
    # Theorem 4 needs P S < lambda: at beta 0.4 it holds on every data set, at 0.8 on some.
    wrm = dict(scheme="wrm", net="mlp1", width=wide, train_size=images)
    runs += grid(small, seeds, beta=(math.inf, 1.0, 0.8, 0.4), **wrm)
    return sorted(runs, key=lambda run: run.seed)


EXPERIMENTS = (
    Experiment(
        "bounds",
        "every bound of every net, and whether it ranks them by their gap",
        "07",
        _bounds,
        frozenset(
            {"accuracy", "images", "margin", "gradient_norm", "input_norm", "attack_size"}
            | {"upper", "lower", "frobenius", "kernel_frobenius", "norm21", "inputs", "outputs"}
        ),
        frozenset({"history", "accuracy", "spectrum", "bounds"}),
    ),
)
