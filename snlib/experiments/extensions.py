"""The experiments beyond the paper: does the gain of SN survive other protocols, other ground?"""

from __future__ import annotations

import math

from snlib.experiments.grid import PUBLISHED_BETA, Experiment, grid
from snlib.protocols import STANDARD

EXTENSION = "extension: from a summary of the paper, not from the paper"
"""What every output of the experiment `extensions` says of itself."""

FACTORS: dict[str, tuple[object, object]] = {
    "select": ("last", "best"),
    "schedule": ("constant", "piecewise"),
    "augment": (False, True),
    "attack_labels": ("predicted", "true"),
}
"""What the factorial varies, from the authors' way to the usual one: early stopping, a falling
learning rate, augmented images, training attacks that know the true label."""

SMALLER: dict[str, dict[str, object]] = {
    # A small MLP and 100 images: the nets of quick that overfit most for their seconds, so that
    # early stopping, augmentation and SN have something to mend. 72 epochs hold four checks of the
    # validation images.
    "digits": dict(net="mlp2", width=0.25, train_size=100, epochs=72),
}
"""What a data set changes of its scale's settings."""

SCHEME = {"digits": "fgm"}
"""How the nets of the factorial are trained, where that is not by PGM."""

SN = {"digits": 2.0}
"""The budget of the factorial, where it is not the paper's for PGM: of 1.3, 1.6 and 2.0 the best on
validation images over the four combinations of augmentation and true labels. With both at work the
tighter ones do not learn in the time that they have."""

TEMPERATURES = (8.0, 4.0, 12.0)

SCALE_BETAS = (math.inf, 2.0, 1.6, 1.3)
"""Budgets whose nets have outputs about as small as those of nets at `TEMPERATURES`."""

BETAS = (math.inf, 1.6, 2.0)

ELSEWHERE: tuple[dict[str, object], ...] = (
    dict(net="wide_resnet"),
    dict(net="densenet"),
    dict(data="cifar100"),
    dict(data="fashion_mnist"),
    dict(data="tiny_imagenet", net="wide_resnet"),
)
"""The networks and data sets that stand beside a scale's own."""

NEARBY: tuple[dict[str, object], ...] = (
    dict(net="wide_resnet"),
    dict(net="densenet_40"),
    dict(data="fashion_mnist"),
    dict(data="tiny_imagenet_subset", net="wide_resnet", train_size=None),
)
"""The same where a scale takes a part of its training images."""


def _small(base):
    return {**base, **SMALLER.get(base["data"], {})}


def _beyond(base, seeds):
    small, scheme = _small(base), SCHEME.get(base["data"], "pgm")
    betas = (math.inf, SN.get(base["data"], PUBLISHED_BETA["pgm"]))
    runs = grid(small, seeds, scheme="pgm", beta=betas)
    runs += grid({**small, **STANDARD}, seeds, scheme="pgm", beta=betas)
    runs += grid(small, seeds, scheme=scheme, beta=betas, **FACTORS)
    return sorted(runs, key=lambda run: run.seed)


def _temperature(base, seeds):
    axes = dict(scheme=SCHEME.get(base["data"], "pgm"))
    runs = grid(_small(base), seeds, **axes, beta=SCALE_BETAS)
    runs += grid(_small(base), seeds, **axes, temperature=TEMPERATURES)
    return sorted(runs, key=lambda run: run.seed)


def _elsewhere(base):
    if base["data"] in SMALLER:
        return ()
    return NEARBY if "train_size" in base else ELSEWHERE


def _extensions(base, seeds):
    runs = grid(_small(base), seeds, scheme=("trades", "pgm"), beta=BETAS)
    for change in _elsewhere(base):
        runs += grid({**base, **change}, seeds, scheme="pgm", beta=BETAS)
    return sorted(runs, key=lambda run: run.seed)


MEASURED = frozenset({"history", "accuracy", "targeted"})
"""Not `standard`, whose last attack is the first of `targeted`: a budget and a temperature change
the scale of the logits, and log-odds alone then flatter the nets with small ones."""

EXPERIMENTS = (
    Experiment(
        "beyond",
        "gain of SN under early stopping, a falling rate, augmentation, true-label attacks",
        "12",
        _beyond,
        frozenset({"accuracy"}),
        MEASURED,
    ),
    Experiment(
        "temperature",
        "accuracy against the size of the outputs: under a budget, and divided by a number",
        "12",
        _temperature,
        frozenset({"accuracy", "norm_gain"}),
        MEASURED | {"distributions"},
    ),
    Experiment(
        "extensions",
        f"TRADES, other data sets and networks with and without SN ({EXTENSION})",
        "12",
        _extensions,
        frozenset({"accuracy", "images"}),
        MEASURED,
    ),
)
