"""A plan in which several processes train each net together: `run --parallel data` under torchrun.

For a net too large or too slow for one GPU; many small runs go faster side by side. The first rank
decides, measures and writes; the others lend their GPUs.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from snlib import results, runner, worker
from snlib.deadlines import Until
from snlib.results import Store
from snlib.runner import Outcome, Plan
from snlib.runs import Run
from snlib.team import Team


def execute(
    plan: Plan,
    where: Store,
    team: Team,
    *,
    data_root: Path | None = None,
    deadline: float | None = None,
    least: Mapping[Run, float] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    on_done: Callable[[Run, str], None] | None = None,
) -> Outcome:
    """Train and measure every missing run of a plan, one after another, all ranks on each.

    Args:
        plan, data_root, deadline, least, on_progress, on_done: as in `runner.execute`, the same
            plan on every rank.
        where: the store, read and written by the first rank alone.
        team: this rank among the others.

    Returns:
        What became of the runs, on every rank.

    Raises:
        UserError: on the rank that it concerns; torchrun then ends the others. On every rank if
            no run of the plan has data.
    """
    torch.set_num_threads(1)
    todo = worker.missing(plan, where) if team.first else {}
    names = json.loads(team.given(json.dumps([run.name for run in todo]).encode()))
    runs = {run.name: run for run in plan}
    todo, outcome = {runs[name]: plan[runs[name]] for name in names}, Outcome()
    todo = runner.left_with_data(plan, todo, _without_data(todo, team, data_root), outcome, on_done)
    with tempfile.TemporaryDirectory(prefix="snlib-") as folder:
        store = where if team.first else Store(Path(folder))
        for run, suites in todo.items():
            late = deadline is not None and time.time() + (least or {}).get(run, 0.0) > deadline
            if team.decide(late):
                outcome.note(run, "unfinished", on_done)
                continue
            status = _one(run, suites, store, team, data_root, deadline, on_progress)
            outcome.note(run, status, on_done)
    return outcome


def _without_data(todo: Plan, team: Team, data_root: Path | None) -> dict[Run, str]:
    """`runner.without_data` of all ranks together, for they may have other disks."""
    own = runner.without_data(todo, data_root)
    lacking = team.anywhere([run in own for run in todo])
    elsewhere = "another process cannot load its data set"
    return {run: own.get(run, elsewhere) for run, lacks in zip(todo, lacking, strict=True) if lacks}


def _one(
    run: Run,
    suites: frozenset[str],
    where: Store,
    team: Team,
    data_root: Path | None,
    deadline: float | None,
    on_progress: Callable[[str, float], None] | None,
) -> str:
    """One run; returns its status, the same on every rank."""

    until = Until(deadline)

    def on_epoch(fraction: float) -> bool:
        if on_progress is not None:
            on_progress(run.name, fraction)
        return until.over()

    with contextlib.ExitStack() as lock:
        held = team.first and lock.enter_context(worker.sole_worker(where, run, deadline))
        if not team.decide(held):
            return "unfinished"
        if not team.decide(team.first and bool(worker.missing({run: suites}, where))):
            return "done"
        checkpoint = worker.checkpoint_of(where, run.name)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        suites = suites | worker.measured(run, where)
        data = worker.load_data(run, data_root)
        record = worker.record_of(
            run, suites, data, checkpoint, device=str(team.device), on_epoch=on_epoch, team=team
        )
        if record is not None:
            about = record["provenance"]
            about["device"] = f"{team.size} x {about['device']}"
            results.save_record(record, where)
            checkpoint.unlink(missing_ok=True)
        status = "unfinished" if record is None else "diverged" if record["diverged"] else "done"
        return team.given(status.encode() if team.first else None).decode()
