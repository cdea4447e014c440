"""run: compute what is missing of experiments, the evidence that decides most claims first."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from snlib import devices, experiments, results, runner, tables
from snlib.commands import budget, engines
from snlib.commands import options as shared
from snlib.commands.progress import Progress
from snlib.errors import require
from snlib.results import Store


def add(commands) -> None:
    """Declare the command."""
    run = commands.add_parser("run", help="compute what is missing of experiments")
    run.add_argument("experiment", nargs="+", help="names as `list` shows them, or: all")
    run.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default cpu)")
    run.add_argument(
        "--workers",
        type=int,
        help="runs side by side (default: as many as the device does best; those of `runtimes` "
        "one by one)",
    )
    run.add_argument(
        "--budget",
        help="be done after this time, such as 90s, 25m or 2h: stop with checkpoints, write a "
        "bundle",
    )
    run.add_argument("--first", type=int, metavar="N", help="only the first N runs of the plan")
    budget.add_bundle(run)
    engines.add(run)
    shared.add_scale(run)
    run.add_argument("--data-root", type=Path, help="folder of the data sets (default: data/)")
    shared.add_store(run)
    run.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Compute, write the tables and say what failed or is left."""
    begun = time.time()
    scale, names = shared.scale(options), shared.names(options)
    where, seconds = results.store(options.store), shared.seconds("--budget", options.budget)
    require(
        options.workers is None or options.workers >= 1,
        f"--workers is {options.workers}; it must be an integer >= 1.",
    )
    require(
        options.first is None or options.first >= 1,
        f"--first is {options.first}; it must be an integer >= 1.",
    )
    bundle, part_bytes = budget.bundle_path(options, where, scale), shared.size(options.split)
    from snlib import priority

    plan = priority.ordered(experiments.plan(names, scale), scale)
    if options.first is not None:
        plan = dict(list(plan.items())[: options.first])
    todo = runner.missing(plan, where, nets=options.keep_nets)
    limits: dict[str, object] = {}
    speaks = engines.speaks(options)
    terminal = speaks and sys.stderr.isatty()
    if terminal:
        print(f"{len(plan)} runs, {len(todo)} to compute at scale {scale}.", file=sys.stderr)
    # Of torchrun's processes the first measures, on its own GPU, and decides; the others need no
    # deadline: they stop where it does.
    if seconds is not None and todo and speaks:
        allowance, words = _allowance(options, seconds, begun, plan, todo, where)
        limits = {"deadline": allowance.deadline, "least": allowance.least}
        if terminal:
            print(words, file=sys.stderr)
    with Progress(todo, quiet=not terminal) as progress:
        outcome = engines.execute(
            options, plan, where, on_progress=progress.epoch, on_done=progress.done, **limits
        )
    if not speaks:  # a status of its own would have torchrun end the first one, which still writes
        return 0
    _close(plan, names, scale, where, bundle, part_bytes)
    for name, reason in outcome.failed.items():
        print(f"snlib: run {name} failed: {reason}", file=sys.stderr)
    if outcome.unfinished:
        print(
            f"snlib: runs not finished: {len(outcome.unfinished)}; the same command goes on.",
            file=sys.stderr,
        )
    return 1 if outcome.failed else 0


def _allowance(
    options: argparse.Namespace,
    seconds: float,
    begun: float,
    plan: runner.Plan,
    todo: runner.Plan,
    where: Store,
) -> tuple[budget.Allowance, str]:
    """What a budget leaves, and in words what it has room for."""
    from snlib import room, speed

    if options.cluster is not None:  # whose nodes nobody has measured before it answers
        known, found = speed.assumed(options.device), room.Room(1, "one at least on the cluster")
    else:
        devices.check(options.device)
        done = [run for run in plan if run not in todo]
        known = speed.learned(budget.finished_records(done, where), options.device)
        found = room.Room(1, "one run over all processes")
    turns = [(todo, found)]
    if options.workers is not None or (options.cluster is None and options.parallel is None):
        turns = room.turns(options.device, todo, options.workers)
    allowance = budget.allow(seconds, begun, turns, known)
    beside = ", then ".join(f"{there.workers} side by side ({there.reason})" for _, there in turns)
    return allowance, (
        f"Room for about {allowance.finish} of {len(todo)} runs, {beside}, at the speed of "
        f"{known.source(todo)}."
    )


def _close(
    plan: runner.Plan,
    names: list[str],
    scale: str,
    where: Store,
    bundle: Path | None,
    part_bytes: int | None,
) -> None:
    """Write the tables and the bundle, and print their files."""
    from snlib.commands.bundle import pack

    for name in experiments.EXPERIMENTS:  # others may share the runs just recorded
        if name not in names and not where.table_path(name, scale).exists():
            continue
        path = tables.write(name, scale, where)
        if path is not None:
            print(path)
    if bundle is not None:
        pack(bundle, where, [run.name for run in plan], names, scale, part_bytes)
