"""The state of a training: what it has seen so far, saved and resumed to the last bit."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from snlib import devices
from snlib.errors import UserError, require
from snlib.results import write_atomically
from snlib.runs import Run

HISTORY = (
    "epoch",
    "running_accuracy",
    "last_batch_accuracy",
    "validation_accuracy",
    "loss",
    "seconds",
    "pass_seconds",
)
"""Columns of a history, a row an epoch: `pass_seconds` is the time of the pass over the training
images alone, `seconds` that with its validation."""


@dataclass
class Best:
    """The epoch with the best validation accuracy so far (the first of equals), and its net."""

    epoch: int
    accuracy: float
    net: dict[str, object]


@dataclass
class Fitted:
    """What training left: the network, its history by epoch, whether it diverged, its best epoch.

    `best` is kept only if the run selects by validation; `net` is then that of the best epoch once
    training is over.
    """

    net: nn.Module
    history: dict[str, list[float]] = field(default_factory=lambda: {key: [] for key in HISTORY})
    diverged: bool = False
    best: Best | None = None

    @property
    def epochs(self) -> int:
        return len(self.history["epoch"])


def write(path: Path, run: Run, fitted: Fitted, **more: object) -> None:
    """Write what training left so far, and more; it replaces the file before only when it is whole.

    Raises:
        UserError: the disk is full.
    """
    buffer = io.BytesIO()
    state = {
        "run": run.name,
        "history": json.dumps(fitted.history),
        "diverged": fitted.diverged,
        "net": fitted.net.state_dict(),
    }
    torch.save(state | more, buffer)
    write_atomically(path, buffer.getvalue())


@contextlib.contextmanager
def opened(path: Path, name: str, what: str, remedy: str = "") -> Iterator[dict]:
    """What `write` put into a file; whatever goes wrong inside is the file's fault.

    Want of memory is not: it is passed on as torch or Python report it.

    Args:
        path: the file, which may come from anywhere: plain tensors, numbers and text, or an error.
        name: of the run that it should be of.
        what: the file is, for the message.
        remedy: what to do, for the message.

    Raises:
        UserError: if the file is damaged or hostile (it is never executed) or another run's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner = state["run"]
        require(owner == name, f"{what} {path} belongs to run {owner}, not {name}{remedy}.")
        yield state
    except UserError:
        raise
    except Exception as error:  # torch reports a damaged or hostile file in many ways
        if devices.is_shortage(error):
            raise
        raise UserError(
            f"{what} {path} cannot be read ({type(error).__name__}){remedy}."
        ) from error


def put_back(fitted: Fitted, state: dict) -> None:
    """Give a net and its history what `opened` found."""
    fitted.net.load_state_dict(state["net"])
    fitted.history.update(json.loads(state["history"]))
    fitted.diverged = bool(state["diverged"])


def save(
    path: Path,
    run: Run,
    fitted: Fitted,
    optimizer: torch.optim.Optimizer,
    shuffle: torch.Generator,
) -> None:
    """Write a checkpoint, from which training goes on."""
    more = {"optimizer": optimizer.state_dict(), "shuffle": shuffle.get_state()}
    more["best"] = None if fitted.best is None else vars(fitted.best)
    write(path, run, fitted, **more)


def look(path: Path, name: str) -> int:
    """How many epochs a checkpoint of run `name` holds.

    Raises:
        UserError: as `opened`, or the file asks for more memory than there is.
    """
    larger = f"checkpoint {path} does not fit; use a machine with more"
    with devices.memory("cpu", larger), opened(path, name, "checkpoint") as state:
        return len(json.loads(state["history"])["epoch"])


def resume(
    path: Path,
    run: Run,
    fitted: Fitted,
    optimizer: torch.optim.Optimizer,
    shuffle: torch.Generator,
) -> None:
    """Put the state of a checkpoint into a net, its history, its optimizer and the image order.

    Raises:
        UserError: as `opened`.
    """
    with opened(path, run.name, "checkpoint", "; delete it to start this run afresh") as state:
        put_back(fitted, state)
        optimizer.load_state_dict(state["optimizer"])
        shuffle.set_state(state["shuffle"])
        if state["best"] is not None:
            fitted.best = Best(**state["best"])
