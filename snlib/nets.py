"""Trained nets kept beside their records, to look at or to measure more of, without training.

    python -m snlib run gap --keep-nets --store build/mine
    net = nets.trained(run, "build/mine")       # at its trained weights, under its budget

A kept net is the state of the network, its history, and where, when and by which code it was
trained. What is measured of it later says both in its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from snlib import checkpoints, devices, results, training
from snlib.checkpoints import Best, Fitted
from snlib.datasets import Data
from snlib.errors import require
from snlib.provenance import MADE
from snlib.results import Store
from snlib.runs import Run


def keep(path: Path, run: Run, fitted: Fitted, about: Mapping[str, str]) -> None:
    """Write a trained net to a file, which holds the whole of it or what it held before.

    Args:
        path: the file.
        run: its settings.
        fitted: what `training.fit` returned.
        about: device, software, commit and date of the training.

    Raises:
        UserError: the disk is full.
    """
    best = None if fitted.best is None else [fitted.best.epoch, fitted.best.accuracy]
    checkpoints.write(path, run, fitted, best=best, about=dict(about))


def load(
    path: Path, run: Run, data: Data, device: str | torch.device = "cpu"
) -> tuple[Fitted, dict[str, str]]:
    """What `training.fit` returned, and where that was; nothing in the file is executed.

    Args:
        path: a file of `keep`.
        run: whose net it should be.
        data: the run's images, which give the net its shape.
        device: where the net is put.

    Raises:
        UserError: the file is damaged or hostile, or another run's; the device is out of memory.
    """
    remedy = "; delete it to train this run again"
    with devices.memory(device, "take a larger device, or lower --workers"):
        net = training.network_of(run, data).to(device, memory_format=torch.channels_last)
        fitted = Fitted(net.eval())
        with checkpoints.opened(path, run.name, "kept net", remedy) as state:
            checkpoints.put_back(fitted, state)
            if state["best"] is not None:
                fitted.best = Best(*state["best"], net=net.state_dict())
            return fitted, {key: str(state["about"][key]) for key in MADE}


def trained(
    run: Run,
    where: str | Path | Store = "recorded",
    *,
    data_root: Path | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """The trained net of a run, in evaluation mode.

    Args:
        run: its settings, such as one of `experiments.plan(["gap"], "laptop")`.
        where: the store beside whose records it was kept.
        data_root: folder of the data sets; None means the repository's `data/`.
        device: where to put it.

    Raises:
        UserError: no net of this run was kept, its file is damaged, or its data cannot be had.
    """
    path = results.store(where).net_path(run.name)
    require(
        path.exists(),
        f"run is {run.name} ({run.net}, {run.scheme}, beta {run.beta:g}, seed {run.seed}), and "
        f"{path.parent} has no net of it; `python -m snlib run ... --keep-nets` keeps those that "
        "it trains.",
    )
    return load(path, run, training.data_of(run, data_root), device)[0].net
