"""Carry out a plan: train and measure what is missing, in worker processes, and keep every record.

Whatever ends it (Ctrl-C, kill -9, a full disk), finished records stay whole, unfinished runs leave
a checkpoint, and the same call goes on from there. Each worker computes with one thread, so that a
result does not depend on how many workers there were.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snlib import devices, interrupts, worker
from snlib.errors import UserError, require
from snlib.results import Store
from snlib.runs import Run
from snlib.worker import missing

Plan = Mapping[Run, frozenset[str]]

CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
CRASHES |= {signal.SIGBUS} if hasattr(signal, "SIGBUS") else set()  # not on Windows
"""What ends a process that went wrong by itself."""

GRACE = 2.0
"""Seconds after the deadline in which runs that stop may still write their checkpoints."""

MANAGER_SECONDS = 10.0
"""How long the end of a pool is waited for, once all its processes are killed."""


@dataclass
class Outcome:
    """What became of a plan's runs, by record name."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def note(
        self, run: Run, status: str, on_done: Callable[[Run, str], None] | None = None
    ) -> None:
        """Take down how a run ended: "done", "diverged", "unfinished" or "failed: why"."""
        if status.startswith("failed"):
            self.failed[run.name] = status.removeprefix("failed: ")
        elif status == "unfinished":
            self.unfinished.append(run.name)
        else:
            self.done.append(run.name)
        if on_done is not None:
            on_done(run, status)


def cost(run: Run, images: int | None = None) -> float:
    """Arithmetic of a run relative to one epoch of ERM over 1,000 images.

    A step of ERM is forward, backward to weights and backward to activations: 3 units; each input
    gradient of an attack adds 2.
    """
    gradients = {"erm": 0, "fgm": 1, "pgm": run.steps, "wrm": (run.steps or 0) + 1}
    passes = 3 + 2 * gradients.get(run.scheme, (run.steps or 0) + 1)
    return passes / 3 * run.epochs * (run.train_size or images or 50_000) / 1000


def execute(
    plan: Plan,
    where: Store,
    *,
    device: str = "cpu",
    workers: int | None = None,
    data_root: Path | None = None,
    deadline: float | None = None,
    least: Mapping[Run, float] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    on_done: Callable[[Run, str], None] | None = None,
    capture: bool = False,
    keep_nets: bool = False,
) -> Outcome:
    """Train and measure every missing run of a plan.

    Args:
        plan: the runs, in order of priority, and the suites to measure of each.
        where: the store that receives the records.
        device: "cpu", "cuda" or "cuda:1".
        workers: processes at work side by side; None means what `room.turns` finds best.
        data_root: folder of the data sets; None means the repository's `data/`.
        deadline: time.time() by which to have stopped cleanly, with checkpoints. Runs stop before
            an epoch that would not end by then; what is still measured or in an epoch when it comes
            is ended, and goes on from a checkpoint that is half a minute old at most, or one epoch.
        least: seconds of an epoch by run; one for which the deadline comes sooner is not begun.
        on_progress: called with a run's name and the fraction of its epochs done.
        on_done: called with each run and how it ended ("done", "diverged", "failed: ...").
        capture: whether training steps are recorded and replayed as CUDA graphs.
        keep_nets: whether trained nets are kept (`snlib.nets`); then a run without one is trained,
            even if it has a record, which gives way to that of the kept net. In any case nets that
            were kept are measured without training, unless how long that takes is wanted.

    Raises:
        UserError: CUDA asked for and absent, data that can be had for no run, no space left, a
            worker that crashed or was killed from outside.
    """
    devices.check(device)
    require(workers is None or workers >= 1, f"workers is {workers}; it must be an integer >= 1.")
    todo, outcome = missing(plan, where, nets=keep_nets), Outcome()
    todo = left_with_data(plan, todo, without_data(todo, data_root), outcome, on_done)
    if not todo:
        return outcome
    from snlib import room  # it needs torch, as the load of the data did

    options = capture, keep_nets
    for part, there in room.turns(device, todo, workers):
        jobs = [
            (run, suites, where, device, data_root, deadline, (least or {}).get(run, 0.0), *options)
            for run, suites in part.items()
        ]
        _side_by_side(jobs, there.workers, outcome, deadline, on_progress, on_done)
    return outcome


def without_data(todo: Plan, data_root: Path | None = None) -> dict[Run, str]:
    """The runs whose images cannot be loaded, and why.

    Each data set is fetched here once, before workers ask for it. One of its runs stands for the
    others, unless it fails: the next may ask for fewer images.
    """
    there: set[str] = set()
    reasons: dict[tuple, str] = {}
    for run in todo:
        if run.data in there or worker.images_of(run) in reasons:
            continue
        try:
            worker.load_data(run, data_root)
            there.add(run.data)
        except Exception as error:  # one data set's mishap must not end the runs on others
            reasons[worker.images_of(run)] = _reason(error)
    found = {run: reasons.get(worker.images_of(run)) for run in todo}
    return {run: reason for run, reason in found.items() if reason is not None}


def left_with_data(
    plan: Plan,
    todo: Plan,
    lacking: Mapping[Run, str],
    outcome: Outcome,
    on_done: Callable[[Run, str], None] | None = None,
) -> Plan:
    """What is left to do of a plan; the runs that lack their data are noted as failed.

    Args:
        plan: all runs.
        todo: those of them that are missing.
        lacking: those of `todo` without data, and why, as `without_data` finds them.
        outcome, on_done: told of the failed ones.

    Raises:
        UserError: no run of the plan has data.
    """
    if lacking and len(lacking) == len(plan):
        raise UserError(next(iter(lacking.values())))
    for run, reason in lacking.items():
        outcome.note(run, f"failed: {reason}", on_done)
    return {run: suites for run, suites in todo.items() if run not in lacking}


def _side_by_side(
    jobs: list[tuple],
    workers: int,
    outcome: Outcome,
    deadline: float | None,
    on_progress: Callable[[str, float], None] | None,
    on_done: Callable[[Run, str], None] | None,
) -> None:
    """Carry out runs, each with the arguments of `worker.work_alone`, and note how they end."""
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=context,
        initializer=worker.start,
        initargs=(reports,),
    )
    tasks = {}
    with interrupts.noted() as check:
        try:
            with interrupts.kept_from_children(), worker.keeping_memory():
                for job in jobs:
                    tasks[pool.submit(worker.work_alone, *job)] = job[0]
            while tasks:
                check()
                if deadline is not None and time.time() > deadline + GRACE:
                    for run in tasks.values():
                        outcome.note(run, "unfinished", on_done)
                    break
                ready, _ = concurrent.futures.wait(
                    tasks, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
                )
                while not reports.empty():
                    name, fraction = reports.get()
                    if on_progress is not None:
                        on_progress(name, fraction)
                for task in ready:
                    _collect(tasks.pop(task), task, outcome, on_done)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(_how_broken(*_parts(pool))) from error
        finally:
            processes, manager = _parts(pool)
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            if manager is not None:
                # An interpreter that ends meanwhile writes into a pipe that this thread closes.
                manager.join(MANAGER_SECONDS)


def _parts(pool: concurrent.futures.ProcessPoolExecutor) -> tuple[list, threading.Thread | None]:
    """A pool's processes and its thread; one that is shut down has none."""
    return list((pool._processes or {}).values()), pool._executor_manager_thread


def _how_broken(
    processes: list[multiprocessing.process.BaseProcess], manager: threading.Thread | None
) -> str:
    """In words how the first of a pool's processes ended; the pool then terminates the others."""
    if manager is not None:
        # It reaps them. Whoever asks between that and its note of how one ended is told nothing.
        manager.join(MANAGER_SECONDS)
    for process in processes:
        process.join(10)
    numbers = {-code for process in processes if (code := process.exitcode) and code < 0}
    crashes = sorted(number for number in numbers if number in CRASHES)
    if not crashes:
        return (
            "a worker process was killed from outside, most likely for want of memory. "
            "Finished records are whole; give the same command again with fewer --workers."
        )
    names = ", ".join(signal.Signals(number).name for number in crashes)
    return (
        f"a worker process crashed ({names}): a fault of torch or below it, or of this processor, "
        "not of the settings. Finished records are whole. PYTHONFAULTHANDLER=1 before the same "
        "command shows where it crashes; other experiments can be run without it."
    )


def _collect(run: Run, task, outcome: Outcome, on_done) -> None:
    try:
        status = task.result()
    except UserError as error:
        if "no space left" in str(error):
            raise
        status = f"failed: {_reason(error)}"
    except concurrent.futures.process.BrokenProcessPool:
        raise
    except Exception as error:  # one run's mishap must not end the others
        status = f"failed: {_reason(error)}"
    outcome.note(run, status, on_done)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
