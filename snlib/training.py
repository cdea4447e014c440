"""Fit a run: the paper's training loop, with the attack inside and the budget on every layer."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from snlib import checkpoints, datasets, devices, models, precision, spectral
from snlib.attacks import Attack, Clip
from snlib.checkpoints import HISTORY, Best, Fitted
from snlib.datasets import Data
from snlib.errors import NotFinite, require
from snlib.runs import Run
from snlib.steps import Step, epoch_of
from snlib.team import Team

STOP_WINDOW = 5
"""Epochs over which the authors' stopping rule averages the running training accuracy."""


class Stopped(Exception):
    """Training was broken off on request; its checkpoint holds what was done."""


def data_of(run: Run, root: Path | None = None) -> Data:
    """The images that a run trains on and is measured on; the last few sets are remembered.

    Args:
        run: the settings.
        root: folder of the data sets; None means the repository's `data/`.

    Raises:
        UserError: the data set is unknown, or cannot be had.
    """
    return _images(run.data, run.train_size, run.labels, run.validation, root)


@functools.lru_cache(maxsize=4)
def _images(name: str, train_size: int | None, labels: str, validation: str, root: Path | None):
    return datasets.load(
        name, root=root, train_size=train_size, labels=labels, validation=validation
    )


def attack_of(run: Run, data: Data) -> Attack:
    """The attack that a run trains against, with its size computed from the data.

    l2 radius eps = eps_ratio * E||x||_2; WRM eps = 1 / (2 gamma) with gamma = wrm_gamma_ratio *
    E||x||_2; the mean is over the preprocessed training images. The box of a run that clips is not
    in it: each image has its own, see `box_of`.
    """
    if run.scheme == "erm":
        return Attack(kind="none")
    if run.scheme == "wrm":
        eps = 1 / (2 * run.wrm_gamma_ratio * data.mean_norm)
        return Attack(kind="wrm", eps=eps, steps=run.steps, labels=run.attack_labels)
    eps = run.eps if run.eps is not None else run.eps_ratio * data.mean_norm
    if run.scheme == "trades":
        return Attack(kind="trades", eps=eps, norm=run.norm, steps=run.steps)
    options = {}
    if run.scheme == "pgm":
        options = dict(steps=run.steps, random_start=run.random_start, restarts=run.restarts)
    return Attack(kind=run.scheme, eps=eps, norm=run.norm, labels=run.attack_labels, **options)


def box_of(run: Run, data: Data, split: str) -> Clip:
    """Where the attacked images of a split must stay: None, or (low, high), each (N, 1, 1, 1).

    Raises:
        UserError: if the run clips and the images lie outside, so that their range is not known.
    """
    if not run.clip:
        return None
    low, high = data.pixel_box(split)
    x = getattr(data, f"x_{split}")
    slack = 1e-4 * (high - low)
    require(
        bool(((x >= low - slack) & (x <= high + slack)).all()),
        f"clip is True, but {split} images of {data.name!r} lie outside the range of their pixels; "
        "give the data set its whitening (mean, scale), or use clip=False.",
    )
    return low, high


def network_of(run: Run, data: Data) -> nn.Module:
    """The run's network at its initial weights, on the CPU, under its budget.

    It computes in the precision of the images, and so are its norms followed.
    """
    net = models.build(
        run.net, in_shape=data.in_shape, classes=data.classes, width=run.width, seed=run.seed
    ).to(data.x_train.dtype)
    if run.temperature != 1:
        net = models.divided(net, run.temperature)
    if math.isinf(run.beta):
        return net
    method = {"method": "power", "steps": 1} if run.tracker == "power" else {}
    return spectral.constrain(
        net,
        run.beta,
        data.in_shape,
        kind=run.norm_kind,
        gradient=run.sigma_gradient,
        seed=run.seed,
        **method,
    )


def optimizer_of(run: Run, net: nn.Module) -> torch.optim.Optimizer:
    """Momentum SGD or Adam over the net's own (unnormalized) weights."""
    # Fused: one kernel for all weights, on a CPU at 0.3 to 0.5 of the time of one after another.
    options = {"lr": run.learning_rate, "weight_decay": run.weight_decay, "fused": True}
    if run.optimizer == "adam":
        optimizer = torch.optim.Adam(net.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(net.parameters(), momentum=0.9, **options)
    optimizer.register_step_post_hook(_tell)
    return optimizer


def _tell(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Count the change in the weights' versions, which fused optimizers forget.

    That a weight lies inside its budget is kept with its version.
    """
    for group in optimizer.param_groups:
        torch.autograd.graph.increment_version(group["params"])


def fit(
    run: Run,
    data: Data,
    *,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_epoch: Callable[[Fitted], bool | None] | None = None,
    team: Team | None = None,
    capture: bool = False,
) -> Fitted:
    """Train as the run says.

    A step: attack the batch, one forward and backward on what the attack returns (no clean term,
    no gradient through the attack), one optimizer step, one refresh of the layers' norms. Training
    stops when the mean running accuracy of the last five epochs reaches `run.stop_accuracy`, after
    `run.epochs`, or when loss, weights or logits are no longer finite (recorded as diverged). With
    `run.select` "best" the net is then put back to its best epoch, unless it diverged.

    Args:
        run: the settings.
        data: its images, from `datasets.load`; the net computes in their precision.
        device: where to train; the data are moved there whole.
        checkpoint: a file to resume from and to write to; resuming gives, on a CPU, bit for bit the
            result of an uninterrupted run.
        checkpoint_seconds: least time between two checkpoints.
        on_epoch: called with the state after each epoch; if it returns True, training is
            checkpointed and broken off.
        team: the processes that train this net together, each called with the same arguments;
            None trains alone.
        capture: whether to record the step once and replay it as a CUDA graph (`snlib.capture`):
            the same numbers to rounding. Where that cannot be, a warning says why, and training
            goes on without.

    Raises:
        Stopped: if `on_epoch` asked for it.
        UserError: if the device is out of memory, or the checkpoint belongs to another run.
    """
    device = torch.device(device)
    precision.check(run.precision, device)
    smaller = (
        f"lower batch_size (now {run.batch_size}), width (now {run.width}) or --workers, or take a "
        "larger device"
    )
    with devices.memory(device, smaller):
        # Channels last: the same numbers to rounding, and faster convolutions on CPUs and GPUs.
        net = network_of(run, data).to(device, memory_format=torch.channels_last)
        optimizer = optimizer_of(run, net)
        shuffle = torch.Generator().manual_seed(1_000_003 * (run.seed + 1))
        fitted = Fitted(net)
        if team is not None:
            team.check(net, min(run.batch_size, len(data.x_train), len(data.x_validation)))
            if checkpoint is not None:
                team.fetch(checkpoint)
        if checkpoint is not None and checkpoint.exists():
            checkpoints.resume(checkpoint, run, fitted, optimizer, shuffle)
        step = Step(
            run, net, optimizer, attack_of(run, data), device, shuffle, team, capture=capture
        )
        x = data.x_train.to(device, memory_format=torch.channels_last)
        y = data.y_train.to(device)
        validation = data.x_validation.to(device), data.y_validation.to(device)
        boxes = [
            clip and tuple(side.to(device) for side in clip)
            for clip in (box_of(run, data, "train"), box_of(run, data, "validation"))
        ]
        # Where the training set is small, watching it by validation must not cost more than
        # training.
        stride = math.ceil(6 * len(data.x_validation) / len(data.x_train))
        saved = time.monotonic()
        while fitted.epochs < run.epochs and not fitted.diverged and not _fits(run, fitted):
            begun = time.monotonic()
            entry = epoch_of(run, step, x, y, fitted.epochs, shuffle, boxes[0], data.mirror)
            entry["pass_seconds"] = time.monotonic() - begun
            fitted.diverged = not (math.isfinite(entry["loss"]) and _finite(net))
            entry["validation_accuracy"] = math.nan
            if entry["epoch"] % stride == 0 or entry["epoch"] == run.epochs:
                try:
                    if not fitted.diverged:
                        entry["validation_accuracy"] = step.accuracy(*validation, boxes[1])
                except NotFinite:
                    fitted.diverged = True
            entry["seconds"] = time.monotonic() - begun
            for key in HISTORY:
                fitted.history[key].append(entry[key])
            _keep_the_best(run, fitted)
            stop = on_epoch is not None and on_epoch(fitted)
            if team is not None:
                stop = team.decide(bool(stop))
            due = stop or time.monotonic() - saved > checkpoint_seconds
            if checkpoint is not None and due and (team is None or team.first):
                checkpoints.save(checkpoint, run, fitted, optimizer, shuffle)
                saved = time.monotonic()
            if stop:
                raise Stopped(f"stopped after epoch {fitted.epochs}")
        if fitted.best is not None and not fitted.diverged:
            net.load_state_dict(fitted.best.net)
    net.eval()
    return fitted


def _keep_the_best(run: Run, fitted: Fitted) -> None:
    """Remember the net if its validation accuracy is above that of all earlier epochs."""
    value = fitted.history["validation_accuracy"][-1]
    if run.select == "last" or math.isnan(value):
        return
    if fitted.best is None or value > fitted.best.accuracy:
        fitted.best = Best(fitted.epochs, value, copy.deepcopy(fitted.net.state_dict()))


def _fits(run: Run, fitted: Fitted) -> bool:
    recent = fitted.history["running_accuracy"][-STOP_WINDOW:]
    return len(recent) == STOP_WINDOW and sum(recent) / STOP_WINDOW >= run.stop_accuracy


def _finite(net: nn.Module) -> bool:
    return all(bool(weight.isfinite().all()) for weight in net.parameters())
