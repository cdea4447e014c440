"""What runs on the nodes: a task that makes one record, and the mailbox it reports to."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snlib import devices, worker
from snlib.cluster import versions
from snlib.datasets import Data
from snlib.runs import Run

REPORT_SECONDS = 1.0
"""Least time between two reports of one run; each costs a message there and back."""

WAIT_SECONDS = 30.0
"""How long a run that is started again waits for its checkpoint from the driver."""


class Mailbox:
    """An actor between the tasks and the driver: it passes on, and keeps as little as it can.

    Ray starts it again if its node is lost. It has then forgotten which runs had begun, so that
    those start from the checkpoint that they were given first, or afresh.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.begun: Counter[str] = Counter()
        self.fractions: dict[str, float] = {}
        self.checkpoints: dict[str, bytes] = {}
        self.wanted: set[str] = set()
        self.given: dict[str, bytes | None] = {}

    def begin(self, name: str) -> tuple[bool, bool]:
        """A task starts on a run. Returns: whether to stop at once, whether it is a second try."""
        self.begun[name] += 1
        again = self.begun[name] > 1
        if again:
            self.given.pop(name, None)
            self.wanted.add(name)
        return self.stopping, again

    def answer(self, name: str) -> tuple[bool, bytes | None]:
        """Whether the driver has answered a second try, and the checkpoint that it gave."""
        if name not in self.given:
            return False, None
        return True, self.given.pop(name)

    def report(self, name: str, fraction: float, checkpoint: bytes | None = None) -> bool:
        """Progress of a run, and its newest checkpoint. Returns: whether it is to stop."""
        self.fractions[name] = fraction
        if checkpoint is not None:
            self.checkpoints[name] = checkpoint
        return self.stopping

    def take(self) -> tuple[dict[str, float], dict[str, bytes], set[str]]:
        """All that came since the last call: progress, checkpoints, runs that want theirs."""
        mail = self.fractions, self.checkpoints, self.wanted
        self.fractions, self.checkpoints, self.wanted = {}, {}, set()
        return mail

    def give(self, name: str, checkpoint: bytes | None) -> None:
        """The driver's answer to a run that wants its checkpoint."""
        self.given[name] = checkpoint

    def stop(self) -> None:
        """Tell every run to leave a checkpoint and end."""
        self.stopping = True


def train(
    driver: dict[str, str],
    settings: dict[str, object],
    suites: list[str],
    images: dict[str, object],
    checkpoint: bytes | None,
    mailbox,
    device: str,
    checkpoint_seconds: float,
) -> dict[str, object]:
    """One run, as a Ray task.

    Everything it is given is plain data, so that another snlib is met by a clear refusal.

    Args:
        driver: the versions that the driver has.
        settings: of the run.
        suites: what to measure.
        images: its data set, as `packed` made it.
        checkpoint: where to go on from, if there is one at home.
        mailbox: the actor that reports go to.
        device: "cpu" or "cuda".
        checkpoint_seconds: least time between two checkpoints.

    Returns:
        {"record": the record or None if stopped, "checkpoint": of a stopped run}.

    Raises:
        UserError: another snlib or torch here; whatever the run itself refuses.
    """
    import ray

    versions.require_same(driver, versions.here())
    devices.check(device)
    torch.set_num_threads(1)  # as at home: a result must not depend on how many there are
    run = Run.from_settings(settings)
    stop, again = ray.get(mailbox.begin.remote(run.name))
    if stop:
        return {"record": None, "checkpoint": None}
    if again:
        checkpoint = _asked(ray, mailbox, run.name) or checkpoint
    with tempfile.TemporaryDirectory(prefix="snlib-") as folder:
        path = Path(folder) / f"{run.name}.pt"
        if checkpoint is not None:
            path.write_bytes(checkpoint)
        record = worker.record_of(
            run,
            frozenset(suites),
            unpacked(images),
            path,
            device=device,
            on_epoch=_Reporter(ray, mailbox, run.name, path, checkpoint_seconds),
            checkpoint_seconds=checkpoint_seconds,
        )
        left = path.read_bytes() if record is None and path.exists() else None
    return {"record": record, "checkpoint": left}


def _asked(ray, mailbox, name: str) -> bytes | None:
    """The newest checkpoint that the driver has of a run, None if it has none or is silent."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        answered, checkpoint = ray.get(mailbox.answer.remote(name))
        if answered:
            return checkpoint
        time.sleep(0.2)
    return None


class _Reporter:
    """Called after each epoch: posts progress and new checkpoints, says whether to stop."""

    def __init__(self, ray, mailbox, name: str, path: Path, checkpoint_seconds: float) -> None:
        self.ray, self.mailbox, self.name, self.path = ray, mailbox, name, path
        self.every = min(REPORT_SECONDS, checkpoint_seconds)
        self.sent = self._stamp()
        self.reported = time.monotonic()

    def _stamp(self) -> int | None:
        return self.path.stat().st_mtime_ns if self.path.exists() else None

    def __call__(self, fraction: float) -> bool:
        if time.monotonic() - self.reported < self.every:
            return False
        self.reported = time.monotonic()
        stamp, checkpoint = self._stamp(), None
        if stamp != self.sent:
            checkpoint, self.sent = self.path.read_bytes(), stamp
        # A mailbox that cannot be reached costs the report, not the run.
        with contextlib.suppress(self.ray.exceptions.RayError):
            return self.ray.get(self.mailbox.report.remote(self.name, fraction, checkpoint))
        return False


def packed(data: Data) -> dict[str, object]:
    """A data set as plain arrays, which Ray keeps once a node."""
    return {field.name: _plain(getattr(data, field.name)) for field in dataclasses.fields(data)}


def unpacked(images: dict[str, object]) -> Data:
    """The inverse of `packed`; the tensors are copies, for Ray's own are read-only."""
    return Data(**{name: _tensors(value) for name, value in images.items()})


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value


def _tensors(value: object) -> object:
    if isinstance(value, dict):
        return {key: _tensors(entry) for key, entry in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value
