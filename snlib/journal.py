"""What a command notes of its runs beside their checkpoints, for `status` to read.

In the store's `.work/`, a small file a run: `<name>.progress` while it is computed, `<name>.failed`
with the reason if it failed. They are notes: no result depends on them, a full disk costs only
them, and a run that is tried again or done has no failure any more. Whether a run is at work now is
not noted but seen, by its lock, which ends with the process that holds it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snlib.errors import UserError
from snlib.files import write_atomically
from snlib.results import Store
from snlib.runs import Run

EVERY_SECONDS = 2.0
"""Least time between two notes of one run's progress."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: the share of its epochs that is done, and seconds for the rest of them (NaN
    until two epochs have been timed)."""

    fraction: float
    left: float


class Journal:
    """Notes progress and failures of one command's runs, and passes both on."""

    def __init__(
        self,
        where: Store,
        on_progress: Callable[[str, float], None] | None = None,
        on_done: Callable[[Run, str], None] | None = None,
    ) -> None:
        self.where, self.on_progress, self.on_done = where, on_progress, on_done
        self.first: dict[str, tuple[float, float]] = {}
        self.noted: dict[str, float] = {}

    def progress(self, name: str, fraction: float) -> None:
        """A run has done this fraction of its epochs; what earlier commands noted of it is over."""
        now = time.time()
        if name not in self.first:
            _forget(self.where, name)
            self.first[name] = now, fraction
        if now - self.noted.get(name, 0.0) >= EVERY_SECONDS:
            self.noted[name] = now
            since, at = self.first[name]
            note = {"fraction": fraction, "time": now, "since": since, "at": at}
            _write(_path(self.where, name, "progress"), note)
        if self.on_progress is not None:
            self.on_progress(name, fraction)

    def done(self, run: Run, status: str) -> None:
        """A run has ended, and how: "done", "diverged", "unfinished" or "failed: why"."""
        if status != "unfinished":
            _forget(self.where, run.name)
        if status.startswith("failed"):
            reason = {"reason": status.removeprefix("failed: "), "time": time.time()}
            _write(_path(self.where, run.name, "failed"), reason)
        if self.on_done is not None:
            self.on_done(run, status)


def failure(name: str, where: Store) -> str | None:
    """Why the last try of a run failed; None if it did not."""
    note = _read(_path(where, name, "failed"))
    return None if note is None else str(note.get("reason", "no reason noted"))


def progress(name: str, where: Store) -> Progress | None:
    """How far a run is that is at work; None if nothing is noted yet."""
    note = _read(_path(where, name, "progress"))
    try:
        fraction, done = float(note["fraction"]), float(note["fraction"]) - float(note["at"])
        seconds = float(note["time"]) - float(note["since"])
    except (TypeError, KeyError, ValueError):
        return None
    left = (1 - fraction) * seconds / done if done > 0 else float("nan")
    return Progress(fraction, left)


def _path(where: Store, name: str, kind: str) -> Path:
    return where.work / f"{name}.{kind}"


def _forget(where: Store, name: str) -> None:
    for kind in ("progress", "failed"):
        with contextlib.suppress(OSError):
            _path(where, name, kind).unlink(missing_ok=True)


def _write(path: Path, note: dict[str, object]) -> None:
    with contextlib.suppress(UserError, OSError):
        write_atomically(path, json.dumps(note).encode())


def _read(path: Path) -> dict | None:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None
