"""The experiment behind Table 2: what the budget costs in time, by runs of 40 epochs.

Every row of Table 1 that the paper prints, once without SN and once under the first budget of its
grid, for the cost of a budget does not depend on its size. Only ratios of runs that had the machine
for themselves mean anything: `room.turns` has them go one by one, after all others.
"""

from __future__ import annotations

import dataclasses
import math

from snlib.experiments import table1
from snlib.experiments.grid import Experiment
from snlib.runs import OF_TRAINING, Run

EPOCHS = {"laptop": 4, "paper": 40}
"""Epochs by scale; the authors took 40."""

NEVER = 2.0
"""An accuracy that no training reaches, so that both runs of a pair have all their epochs."""


def _runtimes(base, seeds):
    subset = "train_size" in base
    epochs = EPOCHS["laptop" if subset else "paper"]
    runs = table1.cifar10(base, seeds) + table1.mnist(base, seeds)
    if not subset:
        runs += table1.svhn(base, seeds)
    printed = {one for one in table1.published_configurations() if one.printed}
    first: dict[tuple[object, int], float] = {}
    timed = []
    for run in runs:
        row = table1.configuration_of(run, printed=True)
        if row not in printed:
            continue
        if not math.isinf(run.beta) and first.setdefault((row, run.seed), run.beta) != run.beta:
            continue
        timed.append(dataclasses.replace(run, epochs=epochs, stop_accuracy=NEVER))
    return sorted(timed, key=_seed)


def _seed(run: Run) -> int:
    return run.seed


EXPERIMENTS = (
    Experiment(
        "runtimes",
        "Table 2: seconds of an epoch with and without SN, by data, network and training scheme",
        "11",
        _runtimes,
        frozenset({"seconds"}),
        OF_TRAINING,
        scales=("laptop", "paper"),
    ),
)
