"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from snlib import bundles, experiments
from snlib.errors import one_of, require
from snlib.results import Store


def add_experiments(command: argparse.ArgumentParser) -> None:
    """The names of experiments, none or several."""
    command.add_argument("experiment", nargs="*", help="only these")


def add_scale(command: argparse.ArgumentParser, default: str | None = "quick") -> None:
    """`--scale` and `--data`; without a default, None stands for all scales."""
    usual = "all scales" if default is None else default
    command.add_argument(
        "--scale",
        default=default,
        help=f"quick, laptop, paper or paper@DATASET (default: {usual})",
    )
    command.add_argument(
        "--data", metavar="DATASET", help="put this data set in the place of the scale's own"
    )


def add_store(command: argparse.ArgumentParser) -> None:
    """`--store`."""
    command.add_argument(
        "--store", default="recorded", help="recorded (data/results), workbook, or a folder"
    )


def scale(options: argparse.Namespace) -> str:
    """The scale asked for, its data set included.

    Raises:
        UserError: if there is no such scale.
    """
    name = f"{options.scale}@{options.data}" if options.data else options.scale
    experiments.settings_of(name)
    return name


def know_data(names: Sequence[str], scales: Sequence[str], where: Store) -> None:
    """Refuse a data set in place of a scale's own that nobody knows of.

    `run` hears that from what reads the images; this is for commands that read none. Images of runs
    that the store holds something of may lie elsewhere: these are known.

    Raises:
        UserError: suggesting the nearest name.
    """
    data = scales[0].partition("@")[2]
    if not data or _begun(names, scales, where):
        return
    from snlib import costs, datasets  # for their names alone: torch would slow every command

    one_of("data", data, dict.fromkeys([*datasets.names(), *costs.DATA, *datasets.folders.TITLES]))


def _begun(names: Sequence[str], scales: Sequence[str], where: Store) -> bool:
    """Whether the store holds anything of a run of these experiments at these scales."""
    return any(
        where.record_path(run.name).exists() or any(where.work.glob(f"{run.name}.*"))
        for one in map(experiments.experiment, names)
        for scale in scales
        if scale.partition("@")[0] in one.scales
        for run in one.at(scale)
    )


def names(options: argparse.Namespace) -> list[str]:
    """The experiments asked for; all of the scale where none is named.

    Raises:
        UserError: suggesting the nearest name.
    """
    if not options.experiment or "all" in options.experiment:
        name = options.scale.partition("@")[0]
        return [key for key, one in experiments.EXPERIMENTS.items() if name in one.scales]
    return [experiments.experiment(name).name for name in options.experiment]


def seconds(option: str, text: str | None) -> float | None:
    """A time such as 90s, 25m or 2h, in seconds.

    Raises:
        UserError: naming the option and what is allowed.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    require(match is not None, f"{option} is {text!r}; allowed are times such as 90s, 25m or 2h.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def size(text: str | None) -> int | None:
    """A size such as 500K or 16M in bytes.

    Raises:
        UserError: saying what is allowed, before hours are spent on what cannot be cut so small.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip().upper())
    require(match is not None, f"--split is {text!r}; allowed are sizes such as 500K or 16M.")
    found = int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]
    least = bundles.LEAST_PART_BYTES
    require(found >= least, f"--split is {text!r}; it must be at least {least // 2**10}K.")
    return found
