"""One worker process: train a run, measure it, write its record."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from snlib import provenance, results
from snlib.deadlines import Until
from snlib.results import Store
from snlib.runs import TIMED, Run

if TYPE_CHECKING:  # both import torch, which a process at the command line can do without
    from snlib.datasets import Data
    from snlib.team import Team

Plan = Mapping[Run, frozenset[str]]

_reports = None

MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""What glibc reads when a process starts. By default it gives the memory of every large tensor back
to the system and asks for it again a moment later: 5,500 page faults in a gradient of a thin
AlexNet, instead of 160. Other C libraries do not look at it."""


@contextlib.contextmanager
def keeping_memory():
    """Processes started inside keep their memory (`MEMORY`), unless the user has decided that."""
    added = [name for name in MEMORY if name not in os.environ]
    os.environ.update({name: MEMORY[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def start(reports) -> None:
    """Prepare this process: one thread, deaf to Ctrl-C, no longer alive than its parent."""
    global _reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    _reports = reports


def _follow_parent() -> None:
    """End this process with the command that started it, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def missing(plan: Plan, where: Store, *, nets: bool = False) -> dict[Run, frozenset[str]]:
    """The part of a plan that has no record, or a record that lacks a suite of measurements.

    Args:
        nets: whether a run of which no net was kept is missing, too.
    """
    absent = {}
    for run, suites in plan.items():
        record = results.load_record(run.name, where)
        unkept = nets and not where.net_path(run.name).exists()
        if unkept or record is None or not suites <= set(record["suites"]):
            absent[run] = suites
    return absent


def load_data(run: Run, root: Path | None = None) -> Data:
    """`training.data_of`, for processes that do without torch until then."""
    from snlib import training

    return training.data_of(run, root)


def images_of(run: Run) -> tuple:
    """What decides which images a run uses."""
    return run.data, run.train_size, run.labels, run.validation


def work_alone(
    run: Run,
    suites: frozenset[str],
    where: Store,
    device: str,
    data_root: Path | None,
    deadline: float | None,
    least: float = 0.0,
    capture: bool = False,
    keep_net: bool = False,
) -> str:
    """As `work`, unless another process has the record ready, or the deadline comes too soon: in
    less than `least` seconds, those of one epoch of the run."""
    if deadline is not None and time.time() + least > deadline:
        return "unfinished"
    with sole_worker(where, run, deadline) as alone:
        if not alone:
            return "unfinished"
        if not missing({run: suites}, where, nets=keep_net):
            return "done"
        for path in (where.record_path(run.name), checkpoint_of(where, run.name)):
            results.sweep(path)
        return work(run, suites, where, device, data_root, deadline, capture, keep_net)


@contextlib.contextmanager
def sole_worker(where: Store, run: Run, deadline: float | None):
    """Wait until no other process works on this run, or give up (False) at the deadline."""
    while deadline is None or time.time() < deadline:
        with results.lock(where, run.name) as alone:
            if alone:  # a killed process has set its lock free
                yield True
                return
        time.sleep(0.2)
    yield False


def checkpoint_of(where: Store, name: str) -> Path:
    """Where the checkpoint of a run lies."""
    return where.work / f"{name}.pt"


def work(
    run: Run,
    suites: frozenset[str],
    where: Store,
    device: str = "cpu",
    data_root: Path | None = None,
    deadline: float | None = None,
    capture: bool = False,
    keep_net: bool = False,
) -> str:
    """Train and measure one run and write its record, as `record_of` makes it.

    Returns:
        "done", "diverged", or "unfinished" if the deadline came first (a checkpoint is left).
    """
    until = Until(deadline)

    def on_epoch(fraction: float) -> bool:
        if _reports is not None:
            _reports.put((run.name, fraction))
        return until.over()

    checkpoint = checkpoint_of(where, run.name)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    suites = suites | measured(run, where)
    data = load_data(run, data_root)
    options = {"capture": capture, "net": where.net_path(run.name), "keep_net": keep_net}
    record = record_of(run, suites, data, checkpoint, device=device, on_epoch=on_epoch, **options)
    if record is None:
        return "unfinished"
    results.save_record(record, where)
    checkpoint.unlink(missing_ok=True)
    return "diverged" if record["diverged"] else "done"


def measured(run: Run, where: Store) -> frozenset[str]:
    """The suites that a run's record holds, if there is one."""
    earlier = results.load_record(run.name, where)
    return frozenset(earlier["suites"] if earlier is not None else ())


def record_of(
    run: Run,
    suites: frozenset[str],
    data: Data,
    checkpoint: Path,
    *,
    device: str = "cpu",
    on_epoch: Callable[[float], bool] | None = None,
    checkpoint_seconds: float = 30.0,
    team: Team | None = None,
    capture: bool = False,
    net: Path | None = None,
    keep_net: bool = False,
) -> dict | None:
    """Train and measure one run.

    Args:
        run: its settings.
        suites: what to measure.
        data: its images.
        checkpoint: a file to go on from and to write to; the caller removes it.
        device: where to compute.
        on_epoch: called with the fraction of the epochs done; True breaks off, with a checkpoint.
        checkpoint_seconds: least time between two checkpoints.
        team: the processes that train this net together; the first of them measures.
        capture: as `training.fit` takes it.
        net: the file of the run's kept net (`snlib.nets`). If it is there it is measured without
            training, unless how long that takes is wanted.
        keep_net: whether to keep there a net that was trained.

    Returns:
        The record, not yet written; None if broken off, and to all of a team but the first.

    Raises:
        UserError: as `training.fit` and `nets.load`; the device is out of memory while it measures.
    """
    from snlib import devices, nets, precision, training
    from snlib.measurements import measure

    begun = time.monotonic()

    def after(fitted) -> bool:
        return on_epoch is not None and on_epoch(fitted.epochs / run.epochs)

    elsewhere = {}
    kept = net is not None and net.exists() and TIMED not in suites
    if kept:
        fitted, elsewhere["trained"] = nets.load(net, run, data, device)
    else:
        try:
            fitted = training.fit(
                run,
                data,
                device=device,
                checkpoint=checkpoint,
                checkpoint_seconds=checkpoint_seconds,
                on_epoch=after,
                team=team,
                capture=capture,
            )
        except training.Stopped:
            return None
        if team is not None and not team.first:
            return None
        if keep_net:
            nets.keep(net, run, fitted, provenance.made(device))
    smaller = f"lower width (now {run.width}) or --workers, or take a larger device"
    with devices.memory(device, smaller), precision.products("float32", device):
        rows = measure(run, fitted, data, suites, device)
    trained, spent = sum(fitted.history["seconds"]), time.monotonic() - begun
    return {
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
            "seconds": round(trained + spent if kept else max(trained, spent), 1),
            **provenance.made(device),
            **elsewhere,
        },
    }
