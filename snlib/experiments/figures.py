"""The experiments behind the paper's figures of AlexNet on CIFAR-10."""

from __future__ import annotations

import math

from snlib.experiments.grid import BETAS, PUBLISHED_BETA, SCHEMES, Experiment, grid
from snlib.runs import Run


def _gap(base, seeds):
    return grid(base, seeds, beta=BETAS, scheme=SCHEMES)


def _curves(base, seeds):
    free = grid(base, seeds, scheme=("fgm", "pgm", "wrm"), beta=math.inf)
    capped = [
        run
        for scheme in ("fgm", "pgm", "wrm")
        for run in grid(base, seeds, scheme=scheme, beta=PUBLISHED_BETA[scheme])
    ]
    return sorted(free + capped, key=lambda run: run.seed)


def _gain(base, seeds):
    return sorted(
        grid(base, seeds, scheme="erm", beta=BETAS) + grid(base, seeds, scheme=SCHEMES, beta=1.3),
        key=lambda run: run.seed,
    )


def _margins(base, seeds):
    erm = grid(base, seeds, scheme="erm", beta=(math.inf, 1.3), labels=("true", "random"))
    adversarial = grid(base, seeds, scheme=("fgm", "pgm"), beta=(math.inf, 1.6))
    return sorted(erm + adversarial, key=lambda run: run.seed)


def _protocols(base, seeds):
    return grid(base, seeds, beta=(math.inf, 1.6), scheme=SCHEMES)


def _overshoot(base, seeds):
    # A third of the epochs: the overshoot is there long before the end of training.
    epochs = base.get("epochs", Run.epochs) // 3
    axes = dict(scheme="erm", beta=1.0, tracker=("power", "krylov"), epochs=epochs)
    adam = dict(optimizer="adam", learning_rate=0.001)
    runs = grid(base, seeds, **axes) + grid({**base, **adam}, seeds, **axes)
    return sorted(runs, key=lambda run: run.seed)


EXPERIMENTS = (
    Experiment(
        "gap",
        "generalization gap against the norm budget, four training schemes",
        "04",
        _gap,
        frozenset({"accuracy", "images"}),
    ),
    Experiment(
        "curves",
        "accuracy by epoch under the training attack, with and without SN",
        "05",
        _curves,
        frozenset({"running_accuracy", "last_batch_accuracy", "validation_accuracy"}),
    ),
    Experiment(
        "gain",
        "norm gain ||f(x)||/||x|| and input-gradient norms against the norm budget",
        "03",
        _gain,
        frozenset({"norm_gain", "gradient_norm", "lower", "upper", "reshaped"}),
    ),
    Experiment(
        "margins",
        "margin distributions, raw and normalized, true and random labels",
        "06",
        _margins,
        frozenset(
            {"margin", "gradient_norm", "accuracy", "lower", "upper", "stable_rank"}
            | {"frobenius", "kernel_frobenius", "inputs"}
        ),
    ),
    Experiment(
        "overshoot",
        "how far trained layers exceed the budget: one power iteration a step, or the default",
        "01",
        _overshoot,
        frozenset({"accuracy", "lower", "upper", "reshaped"}),
        frozenset({"history", "accuracy", "spectrum"}),
    ),
    Experiment(
        "protocols",
        "accuracy under attack by the authors' protocol and by the standard one",
        "02",
        _protocols,
        frozenset({"accuracy", "images"}),
        frozenset({"history", "accuracy", "distributions", "spectrum", "standard"}),
    ),
)
