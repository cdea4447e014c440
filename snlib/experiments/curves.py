"""The experiments behind the paper's figures of training curves, but for AlexNet's (`curves`)."""

from __future__ import annotations

import math

from snlib.experiments.grid import Experiment, grid

ELU = {"fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""Budgets of the figure of ELU-AlexNet, which are not those of its rows in Table 1."""

LARGER = {("inception", "pgm"): 1.6, ("inception", "wrm"): 1.0}
LARGER |= {("resnet", "pgm"): 2.5, ("resnet", "wrm"): 1.6}
"""Budgets of the figure of Inception and ResNet, by net and training scheme."""

INF = {("fgm", 0.1): 1.3, ("pgm", 0.1): 1.6, ("fgm", 0.3): 1.3, ("pgm", 0.3): 1.3}
"""Budgets of the figure of AlexNet under linf attacks, by scheme and radius."""


def _with_and_without(base, seeds, panels: list[dict[str, object]]):
    """Each panel's run without SN and with its budget, panel after panel, seed after seed."""
    runs = []
    for panel in panels:
        runs += grid(base, seeds, **{**panel, "beta": (math.inf, panel["beta"])})
    return sorted(runs, key=lambda run: run.seed)


def _elu(base, seeds):
    panels = [dict(net="elu_alexnet", scheme=scheme, beta=beta) for scheme, beta in ELU.items()]
    return _with_and_without(base, seeds, panels)


def _inception_resnet(base, seeds):
    panels = [dict(net=net, scheme=scheme, beta=beta) for (net, scheme), beta in LARGER.items()]
    return _with_and_without(base, seeds, panels)


def _linf(base, seeds):
    panels = [
        dict(net="alexnet", scheme=scheme, norm=math.inf, eps=eps, beta=beta)
        for (scheme, eps), beta in INF.items()
    ]
    return _with_and_without(base, seeds, panels)


def _experiment(name: str, nets: str, runs) -> Experiment:
    return Experiment(
        name,
        f"accuracy by epoch under the training attack, with and without SN: {nets}",
        "05",
        runs,
        frozenset({"running_accuracy", "last_batch_accuracy", "validation_accuracy"}),
        frozenset({"history", "accuracy"}),
        scales=("laptop", "paper"),
    )


EXPERIMENTS = (
    _experiment("curves_elu", "ELU-AlexNet", _elu),
    _experiment("curves_inception_resnet", "Inception, ResNet", _inception_resnet),
    _experiment("curves_linf", "AlexNet, linf attacks", _linf),
)
