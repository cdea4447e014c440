"""Carry out a plan: train and measure what is missing, in worker processes, and keep every record.

Whatever ends it (Ctrl-C, kill -9, a full disk), finished records stay whole, unfinished runs leave
a checkpoint, and the same call goes on from there. Each worker computes with one thread, so that a
result does not depend on how many workers there were.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snlib import results
from snlib.errors import UserError, require
from snlib.results import Store
from snlib.runs import Run

Plan = Mapping[Run, frozenset[str]]


@dataclass
class Outcome:
    """What became of a plan's runs, by record name."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def missing(plan: Plan, where: Store) -> dict[Run, frozenset[str]]:
    """The part of a plan that has no record, or a record that lacks a suite of measurements."""
    absent = {}
    for run, suites in plan.items():
        record = results.load_record(run.name, where)
        if record is None or not suites <= set(record["suites"]):
            absent[run] = suites
    return absent


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
    on_progress: Callable[[str, float], None] | None = None,
    on_done: Callable[[Run, str], None] | None = None,
) -> Outcome:
    """Train and measure every missing run of a plan.

    Args:
        plan: the runs, in order of priority, and the suites to measure of each.
        where: the store that receives the records.
        device: "cpu", "cuda" or "cuda:1".
        workers: processes at work side by side; None means one a core (on a GPU: four).
        data_root: folder of the data sets; None means the repository's `data/`.
        deadline: time.time() at which to stop cleanly, with checkpoints.
        on_progress: called with a run's name and the fraction of its epochs done.
        on_done: called with each run and how it ended ("done", "diverged", "failed: ...").

    Raises:
        UserError: CUDA asked for and absent, a data set that cannot be had, no space left, a worker
            killed from outside.
    """
    check_device(device)
    todo = missing(plan, where)
    outcome = Outcome()
    if not todo:
        return outcome
    load_data(next(iter(todo)), data_root)  # fetched once, here, and its errors shown plainly
    workers = min(workers or default_workers(device), len(todo))
    require(workers >= 1, f"workers is {workers}; it must be an integer >= 1.")
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(os.getpid(), reports)
    )
    tasks = {
        pool.submit(_work, run, suites, where, device, data_root, deadline): run
        for run, suites in todo.items()
    }
    processes = list(pool._processes.values())
    try:
        while tasks:
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
        raise UserError(
            "a worker process was killed from outside, most likely for want of memory. Finished "
            "records are whole; give the same command again with fewer --workers."
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
    return outcome


def _collect(run: Run, task, outcome: Outcome, on_done) -> None:
    try:
        status = task.result()
    except UserError as error:
        if "no space left" in str(error):
            raise
        status = f"failed: {error}"
    if status.startswith("failed"):
        outcome.failed[run.name] = status.removeprefix("failed: ")
    elif status == "unfinished":
        outcome.unfinished.append(run.name)
    else:
        outcome.done.append(run.name)
    if on_done is not None:
        on_done(run, status)


def default_workers(device: str) -> int:
    """One worker a core; on a GPU four, since one small net does not fill it."""
    return 4 if device.startswith("cuda") else max(len(os.sched_getaffinity(0)), 1)


def check_device(device: str) -> None:
    """Raise a UserError unless `device` names something that torch can compute on here."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UserError(f"device is {device!r}; allowed are cpu, cuda, cuda:0, ...") from None
    require(
        kind != "cuda" or torch.cuda.is_available(),
        f"device is {device!r}, but torch sees no CUDA GPU here; use --device cpu.",
    )


# ----------------------------------------------------------------------------- in a worker process

_reports = None
_parent = 0


def _start(parent: int, reports) -> None:
    global _reports, _parent
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    torch.set_num_threads(1)
    _reports, _parent = reports, parent


@functools.lru_cache(maxsize=4)
def _data(name: str, train_size: int | None, labels: str, validation: str, root: Path | None):
    from snlib import datasets

    return datasets.load(
        name, root=root, train_size=train_size, labels=labels, validation=validation
    )


def load_data(run: Run, root: Path | None = None):
    """The images that a run trains on and is measured on."""
    return _data(run.data, run.train_size, run.labels, run.validation, root)


def _work(
    run: Run,
    suites: frozenset[str],
    where: Store,
    device: str,
    data_root: Path | None,
    deadline: float | None,
) -> str:
    if deadline is not None and time.time() > deadline:
        return "unfinished"
    with _sole_worker(where, run):
        if not missing({run: suites}, where):
            return "done"
        return work(run, suites, where, device, data_root, deadline)


@contextlib.contextmanager
def _sole_worker(where: Store, run: Run):
    """Wait until no other process works on this run; a killed process frees its lock by itself."""
    while True:
        with results.lock(where, run.name) as alone:
            if alone:
                yield
                return
        time.sleep(1.0)


def work(
    run: Run,
    suites: frozenset[str],
    where: Store,
    device: str = "cpu",
    data_root: Path | None = None,
    deadline: float | None = None,
) -> str:
    """Train and measure one run and write its record.

    Returns:
        "done", "diverged", or "unfinished" if the deadline came first (a checkpoint is left).
    """
    from snlib import training
    from snlib.measurements import measure

    data = load_data(run, data_root)
    checkpoint = where.work / f"{run.name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()

    def on_epoch(fitted) -> bool:
        if _parent and os.getppid() != _parent:
            os._exit(1)  # the command that asked for this run is gone
        if _reports is not None:
            _reports.put((run.name, fitted.epochs / run.epochs))
        return deadline is not None and time.time() > deadline

    try:
        fitted = training.fit(run, data, device=device, checkpoint=checkpoint, on_epoch=on_epoch)
    except training.Stopped:
        return "unfinished"
    earlier = results.load_record(run.name, where)
    if earlier is not None:
        suites = suites | set(earlier["suites"])
    rows = measure(run, fitted, data, suites, device)
    trained = sum(fitted.history["seconds"])
    record = {
        "settings": run.settings(),
        "diverged": fitted.diverged,
        "suites": sorted(suites),
        "epochs": fitted.epochs,
        "parameters": sum(parameter.numel() for parameter in fitted.net.parameters()),
        "eps": training.attack_of(run, data).eps,
        "mean_norm": data.mean_norm,
        "rows": rows,
        "provenance": {
            "data": data.title,
            "device": _device_name(device),
            "software": _software(),
            "commit": _commit(),
            "seconds": round(max(trained, time.monotonic() - begun), 1),
            "finished": time.strftime("%Y-%m-%d", time.gmtime()),
        },
    }
    results.save_record(record, where)
    checkpoint.unlink(missing_ok=True)
    return "diverged" if fitted.diverged else "done"


def _device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"CPU ({name}, one thread)"


def _software() -> str:
    import torch

    return f"Python {platform.python_version()}, torch {torch.__version__}"


@functools.lru_cache(maxsize=1)
def _commit() -> str:
    """The commit of the code, with a + where files differ from it; "unknown" outside git."""
    try:
        git = functools.partial(
            subprocess.run, cwd=results.ROOT, capture_output=True, text=True, timeout=10, check=True
        )
        changed = git(["git", "status", "--porcelain", "--", "snlib"]).stdout.strip()
        return git(["git", "rev-parse", "--short=10", "HEAD"]).stdout.strip() + (
            "+" if changed else ""
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
