"""The grids: one named experiment per figure or table, at three scales.

A file here holds the experiments of one theme as `EXPERIMENTS`; this one puts them together.
"""

from __future__ import annotations

from snlib import errors
from snlib.experiments import (
    bounds,
    curves,
    extensions,
    figures,
    memorization,
    rivals,
    robustness,
    runtimes,
    table1,
)
from snlib.experiments.grid import (
    BASE,
    BETAS,
    PUBLISHED_BETA,
    SCALES,
    SCHEMES,
    SEEDS,
    Experiment,
    grid,
    settings_of,
)
from snlib.runs import Run

__all__ = [
    "BASE",
    "BETAS",
    "EXPERIMENTS",
    "PUBLISHED_BETA",
    "SCALES",
    "SCHEMES",
    "SEEDS",
    "Experiment",
    "experiment",
    "grid",
    "plan",
    "settings_of",
]

THEMES = (
    figures,
    curves,
    memorization,
    robustness,
    bounds,
    table1,
    runtimes,
    rivals,
    extensions,
)
"""The files, in the order in which `python -m snlib list` shows their experiments."""

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for theme in THEMES for experiment in theme.EXPERIMENTS
}


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UserError: suggesting the nearest name.
    """
    return EXPERIMENTS[errors.one_of("experiment", name, EXPERIMENTS)]


def plan(names: list[str], scale: str) -> dict[Run, frozenset[str]]:
    """Every run that these experiments need, once, in order of priority, and what to measure of it.

    The first seed of all experiments comes before the second of any.
    """
    wanted: dict[Run, frozenset[str]] = {}
    for name in names:
        for run in experiment(name).at(scale):
            wanted[run] = wanted.get(run, frozenset()) | experiment(name).suites
    return dict(sorted(wanted.items(), key=lambda item: item[0].seed))
