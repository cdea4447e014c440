"""run: compute what is missing of experiments."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from snlib import experiments, results, runner, tables
from snlib.commands import engines
from snlib.commands import options as shared
from snlib.commands.progress import Progress
from snlib.errors import require


def add(commands) -> None:
    """Declare the command."""
    run = commands.add_parser("run", help="compute what is missing of experiments")
    run.add_argument("experiment", nargs="+", help="names as `list` shows them, or: all")
    run.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default cpu)")
    run.add_argument("--workers", type=int, help="runs side by side (default: one a core)")
    run.add_argument("--budget", help="stop cleanly after this time, such as 90s, 25m or 2h")
    run.add_argument("--first", type=int, metavar="N", help="only the first N runs of the plan")
    engines.add(run)
    shared.add_scale(run)
    run.add_argument("--data-root", type=Path, help="folder of the data sets (default: data/)")
    shared.add_store(run)
    run.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Compute, write the tables and say what failed or is left."""
    scale, names = shared.scale(options), shared.names(options)
    where, budget = results.store(options.store), shared.seconds("--budget", options.budget)
    require(
        options.workers is None or options.workers >= 1,
        f"--workers is {options.workers}; it must be an integer >= 1.",
    )
    require(
        options.first is None or options.first >= 1,
        f"--first is {options.first}; it must be an integer >= 1.",
    )
    plan = experiments.plan(names, scale)
    if options.first is not None:
        plan = dict(list(plan.items())[: options.first])
    todo = runner.missing(plan, where)
    terminal = engines.speaks(options) and sys.stderr.isatty()
    if terminal:
        print(f"{len(plan)} runs, {len(todo)} to compute at scale {scale}.", file=sys.stderr)
    with Progress(todo, quiet=not terminal) as progress:
        outcome = engines.execute(
            options,
            plan,
            where,
            deadline=time.time() + budget if budget is not None else None,
            on_progress=progress.epoch,
            on_done=progress.done,
        )
    if not engines.speaks(options):
        return 1 if outcome.failed else 0
    for name in experiments.EXPERIMENTS:  # others may share the runs just recorded
        if name not in names and not where.table_path(name, scale).exists():
            continue
        path = tables.write(name, scale, where)
        if path is not None:
            print(path)
    for name, reason in outcome.failed.items():
        print(f"snlib: run {name} failed: {reason}", file=sys.stderr)
    if outcome.unfinished:
        print(
            f"snlib: runs not finished: {len(outcome.unfinished)}; the same command goes on.",
            file=sys.stderr,
        )
    return 1 if outcome.failed else 0
