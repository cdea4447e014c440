"""The state of a training: what it has seen so far, saved and resumed to the last bit."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from snlib.errors import UserError
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


def save(
    path: Path,
    run: Run,
    fitted: Fitted,
    optimizer: torch.optim.Optimizer,
    shuffle: torch.Generator,
) -> None:
    """Write a checkpoint that replaces the one before only when it is whole."""
    buffer = io.BytesIO()
    state = {
        "run": run.name,
        "history": json.dumps(fitted.history),
        "diverged": fitted.diverged,
        "net": fitted.net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "shuffle": shuffle.get_state(),
        "best": None if fitted.best is None else vars(fitted.best),
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def look(path: Path, name: str) -> int:
    """How many epochs a checkpoint of run `name` holds; nothing in it is executed.

    Raises:
        UserError: if the file is damaged or hostile, or another run's.
    """
    try:
        # The file may come from anywhere: plain tensors, numbers and text, or an error.
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner, epochs = state["run"], len(json.loads(state["history"])["epoch"])
    except Exception as error:
        raise UserError(f"checkpoint {path} cannot be read ({type(error).__name__}).") from error
    if owner != name:
        raise UserError(f"checkpoint {path} belongs to run {owner}, not {name}.")
    return epochs


def resume(
    path: Path,
    run: Run,
    fitted: Fitted,
    optimizer: torch.optim.Optimizer,
    shuffle: torch.Generator,
) -> None:
    """Put the state of a checkpoint into a net, its history, its optimizer and the image order.

    Raises:
        UserError: if the file is damaged or hostile (it is never executed) or another run's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner = state["run"]
        if owner == run.name:
            fitted.net.load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
            shuffle.set_state(state["shuffle"])
            fitted.history.update(json.loads(state["history"]))
            fitted.diverged = bool(state["diverged"])
            if state["best"] is not None:
                fitted.best = Best(**state["best"])
    except Exception as error:  # torch reports a damaged or hostile file in many ways
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); delete it to start this "
            "run afresh."
        ) from error
    if owner != run.name:
        raise UserError(f"checkpoint {path} belongs to run {owner}, not {run.name}; delete it.")
