"""status: what is done, running, queued and failed; how fast it goes and how long it will take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping

from snlib import devices, experiments, files, journal, results, runner
from snlib.commands import budget
from snlib.commands import options as shared
from snlib.results import Store
from snlib.runs import Run


def add(commands) -> None:
    """Declare the command."""
    text = "what is done, running, queued and failed, speed and time left"
    status = commands.add_parser("status", help=text)
    shared.add_experiments(status)
    shared.add_scale(status)
    status.add_argument("--device", default="cpu", help="whose time is left (default cpu)")
    shared.add_store(status)
    status.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print the state of the runs asked for."""
    scale, where = shared.scale(options), results.store(options.store)
    names = shared.names(options)
    shared.know_data(names, (scale,), where)
    plan = experiments.plan(names, scale)
    todo = runner.missing(plan, where)
    records = budget.finished_records([run for run in plan if run not in todo], where)
    running = [run for run in todo if files.locked(where.lock_path(run.name))]
    failed = {
        run: reason
        for run in todo
        if run not in running and (reason := journal.failure(run.name, where)) is not None
    }
    queued = [run for run in todo if run not in running and run not in failed]
    begun = sum(where.checkpoint_path(run.name).exists() for run in queued)
    diverged = sum(bool(record["diverged"]) for record in records.values())
    hours = sum(record["provenance"]["seconds"] for record in records.values()) / 3600
    print(f"scale    {scale}")
    print(f"done     {len(records)} of {len(plan)} runs ({diverged} diverged), {hours:.2f} hours")
    print(f"running  {len(running)}")
    for run in running:
        print(f"           {_words(run)}: {_progress(run, where)}")
    print(f"queued   {len(queued)} ({begun} with a checkpoint)")
    print(f"failed   {len(failed)}")
    for run, reason in failed.items():
        print(f"           {_words(run)}: {reason}")
    if todo:
        _print_time_left(options.device, todo, records, where)
    return 0


def _print_time_left(
    device: str, todo: runner.Plan, records: Mapping[Run, dict], where: Store
) -> None:
    from snlib import listing, room, speed

    devices.check(device)
    known, turns = speed.learned(records, device), room.turns(device, todo)
    left = room.wall(
        turns, lambda run, suites: known.seconds(run, suites) * (1 - _fraction(run, where))
    )
    pace = sum(known.epoch(run) for run in todo) / len(todo)
    print(f"speed    {listing.time(pace)} an epoch in the middle, on {known.source(todo)}")
    print(
        f"left     about {listing.time(left)}, {turns[0][1].workers} side by side on this machine"
    )


def _words(run: Run) -> str:
    """A run in a few words."""
    beta = "no SN" if math.isinf(run.beta) else f"beta {run.beta:g}"
    return f"{run.name} {run.net}, {run.data}, {run.scheme.upper()}, {beta}, seed {run.seed}"


def _fraction(run: Run, where: Store) -> float:
    """The share of its epochs that an unfinished run has done, as far as it is noted."""
    noted = journal.progress(run.name, where)
    return 0.0 if noted is None else noted.fraction


def _progress(run: Run, where: Store) -> str:
    from snlib import listing

    noted = journal.progress(run.name, where)
    if noted is None:
        return "no epoch yet"
    if math.isnan(noted.left):
        return f"{100 * noted.fraction:.0f} %"
    rest = listing.time(noted.left) if noted.fraction < 1 else "measuring"
    return f"{100 * noted.fraction:.0f} %, {rest}" + (" left" if noted.fraction < 1 else "")
