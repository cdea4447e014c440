"""A budget of time: what it has room for, when runs must have stopped, the bundle at its end."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from snlib import results
from snlib.errors import require
from snlib.results import Store
from snlib.room import Turns
from snlib.runs import Run
from snlib.speed import Speed

CLOSING = 0.05, 60.0
"""Share of the budget, and seconds at most, that are kept for tables and the bundle."""


@dataclass(frozen=True)
class Allowance:
    """What a budget leaves for runs.

    Attributes:
        deadline: the time.time() by which they must have stopped.
        least: seconds of an epoch, by run; one that has less left is not begun.
        finish: how many runs, in their order, it has room for, by the estimate.
    """

    deadline: float
    least: dict[Run, float]
    finish: int


def allow(budget: float, begun: float, turns: Turns, speed: Speed) -> Allowance:
    """Share out a budget.

    Args:
        budget: seconds, from `begun` on.
        begun: time.time() at which the command was given.
        turns: what is missing, in the parts that go one after the other, see `room.turns`.
        speed: of the device, one run at a time.

    Raises:
        UserError: not even one epoch of any run fits.
    """
    # A worker imports what this process has imported, and takes about as long.
    start = time.process_time()
    share, most = CLOSING
    closing = min(share * budget, most)
    least = {run: speed.epoch(run) for part, _ in turns for run in part}
    quickest = min(least, key=least.__getitem__)
    needed = (start + least[quickest]) / (1 - share)
    require(
        budget >= needed,
        f"--budget is {budget:.0f}s, too short for any run: a worker starts in about "
        f"{start:.0f} s, and an epoch takes at least {least[quickest]:.2g} s (run {quickest.name}: "
        f"{quickest.net}, {quickest.data}, {quickest.scheme.upper()}); give {needed:.0f}s or more.",
    )
    end, finish = begun + start, 0
    for part, there in turns:
        free = [end] * there.workers
        for run, suites in part.items():
            first = min(range(there.workers), key=free.__getitem__)
            free[first] += speed.seconds(run, suites)
            if free[first] > begun + budget - closing:
                return Allowance(begun + budget - closing, least, finish)
            finish += 1
        end = max(free)
    return Allowance(begun + budget - closing, least, finish)


def add_bundle(run: argparse.ArgumentParser) -> None:
    """`--bundle` and, with it, `--split`."""
    from snlib.commands.bundle import add_split

    run.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="put records and checkpoints into this file at the end, whatever was reached "
        "(with --budget: STORE/bundle.SCALE.TIME.zip unless named)",
    )
    add_split(run)


def bundle_path(options: argparse.Namespace, where: Store, scale: str) -> Path | None:
    """Where the bundle goes; None for none.

    Unless named it has a name of its own, the time, so that it takes the place of none that was
    left here before or carried here.

    Raises:
        UserError: --split without a bundle to cut.
    """
    path = options.bundle
    if path is None and options.budget is not None:
        path = where.root / f"bundle.{scale}.{time.strftime('%Y%m%d-%H%M%S')}.zip"
    require(
        path is not None or options.split is None,
        "--split goes with --bundle FILE or --budget: it says how large a file of it may be.",
    )
    return path


def finished_records(runs: Collection[Run], where: Store) -> dict[Run, dict]:
    """The records that there are of these runs, without their rows."""
    found = {}
    for run in runs:
        record = results.load_record(run.name, where)
        if record is not None:
            found[run] = {key: value for key, value in record.items() if key != "rows"}
    return found
