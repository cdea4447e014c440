"""status: what is done, unfinished and missing."""

from __future__ import annotations

import argparse

from snlib import experiments, results, runner
from snlib.commands import options as shared


def add(commands) -> None:
    """Declare the command."""
    status = commands.add_parser("status", help="what is done, unfinished and missing")
    shared.add_experiments(status)
    shared.add_scale(status)
    shared.add_store(status)
    status.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print the state of the runs asked for."""
    scale, where = shared.scale(options), results.store(options.store)
    plan = experiments.plan(shared.names(options), scale)
    todo = runner.missing(plan, where)
    begun = [run for run in todo if (where.work / f"{run.name}.pt").exists()]
    records = [results.load_record(run.name, where) for run in plan if run not in todo]
    diverged = sum(bool(record["diverged"]) for record in records)
    hours = sum(record["provenance"]["seconds"] for record in records) / 3600
    done_cost = sum(runner.cost(run) for run in plan if run not in todo)
    left = sum(runner.cost(run) for run in todo)
    print(f"scale       {scale}")
    print(
        f"done        {len(records)} of {len(plan)} runs ({diverged} diverged), {hours:.2f} hours"
    )
    print(f"unfinished  {len(begun)} with a checkpoint")
    print(f"missing     {len(todo) - len(begun)}")
    if done_cost:
        print(f"left        about {hours * left / done_cost:.2f} hours of one such worker")
    return 0
