"""Fit a run: the paper's training loop, with the attack inside and the budget on every layer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from snlib import checkpoints, models, spectral
from snlib.attacks import Attack
from snlib.checkpoints import HISTORY, Fitted
from snlib.datasets import Data
from snlib.errors import NotFinite, UserError
from snlib.evaluation import accuracy
from snlib.runs import Run

STOP_WINDOW = 5
"""Epochs over which the authors' stopping rule averages the running training accuracy."""


class Stopped(Exception):
    """Training was broken off on request; its checkpoint holds what was done."""


def attack_of(run: Run, data: Data) -> Attack:
    """The attack that a run trains against, with its size computed from the data.

    l2 radius eps = eps_ratio * E||x||_2; WRM eps = 1 / (2 gamma) with gamma = wrm_gamma_ratio *
    E||x||_2; the mean is over the preprocessed training images.
    """
    if run.scheme == "erm":
        return Attack(kind="none")
    if run.scheme == "wrm":
        eps = 1 / (2 * run.wrm_gamma_ratio * data.mean_norm)
        return Attack(kind="wrm", eps=eps, steps=run.steps, labels=run.attack_labels)
    eps = run.eps if run.eps is not None else run.eps_ratio * data.mean_norm
    if run.scheme == "trades":
        return Attack(kind="trades", eps=eps, norm=run.norm, steps=run.steps)
    steps = {"steps": run.steps} if run.scheme == "pgm" else {}
    return Attack(kind=run.scheme, eps=eps, norm=run.norm, labels=run.attack_labels, **steps)


def network_of(run: Run, data: Data) -> nn.Module:
    """The run's network at its initial weights, on the CPU, under its budget."""
    net = models.build(
        run.net, in_shape=data.in_shape, classes=data.classes, width=run.width, seed=run.seed
    )
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
    options = {"lr": run.learning_rate, "weight_decay": run.weight_decay}
    if run.optimizer == "adam":
        return torch.optim.Adam(net.parameters(), **options)
    return torch.optim.SGD(net.parameters(), momentum=0.9, **options)


def fit(
    run: Run,
    data: Data,
    *,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_epoch: Callable[[Fitted], bool | None] | None = None,
) -> Fitted:
    """Train as the run says.

    A step: attack the batch, one forward and backward on what the attack returns (no clean term,
    no gradient through the attack), one optimizer step, one refresh of the layers' norms. Training
    stops when the mean running accuracy of the last five epochs reaches `run.stop_accuracy`, after
    `run.epochs`, or when loss, weights or logits are no longer finite (recorded as diverged).

    Args:
        run: the settings.
        data: its images, from `datasets.load`.
        device: where to train; the data are moved there whole.
        checkpoint: a file to resume from and to write to; resuming gives, on a CPU, bit for bit the
            result of an uninterrupted run.
        checkpoint_seconds: least time between two checkpoints.
        on_epoch: called with the state after each epoch; if it returns True, training is
            checkpointed and broken off.

    Raises:
        Stopped: if `on_epoch` asked for it.
        UserError: if the device is out of memory, or the checkpoint belongs to another run.
    """
    device = torch.device(device)
    # Channels last: the same numbers to rounding, and faster convolutions on CPUs and GPUs.
    net = network_of(run, data).to(device, memory_format=torch.channels_last)
    optimizer = optimizer_of(run, net)
    shuffle = torch.Generator().manual_seed(1_000_003 * (run.seed + 1))
    fitted = Fitted(net)
    if checkpoint is not None and checkpoint.exists():
        checkpoints.resume(checkpoint, run, fitted, optimizer, shuffle)
    step = _Step(run, net, optimizer, attack_of(run, data), device, shuffle)
    x = data.x_train.to(device, memory_format=torch.channels_last)
    y = data.y_train.to(device)
    validation = data.x_validation.to(device), data.y_validation.to(device)
    # Where the training set is small, watching it by validation must not cost more than training.
    stride = math.ceil(6 * len(data.x_validation) / len(data.x_train))
    saved = time.monotonic()
    try:
        while fitted.epochs < run.epochs and not fitted.diverged and not _fits(run, fitted):
            begun = time.monotonic()
            entry = _epoch(run, step, x, y, fitted.epochs, shuffle)
            fitted.diverged = not (math.isfinite(entry["loss"]) and _finite(net))
            entry["validation_accuracy"] = math.nan
            if entry["epoch"] % stride == 0 or entry["epoch"] == run.epochs:
                try:
                    if not fitted.diverged:
                        entry["validation_accuracy"] = accuracy(net, *validation, step.attack)
                except NotFinite:
                    fitted.diverged = True
            entry["seconds"] = time.monotonic() - begun
            for key in HISTORY:
                fitted.history[key].append(entry[key])
            stop = on_epoch is not None and on_epoch(fitted)
            if checkpoint is not None and (stop or time.monotonic() - saved > checkpoint_seconds):
                checkpoints.save(checkpoint, run, fitted, optimizer, shuffle)
                saved = time.monotonic()
            if stop:
                raise Stopped(f"stopped after epoch {fitted.epochs}")
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory on {device}: lower batch_size (now {run.batch_size}), width (now "
            f"{run.width}) or --workers, or take a larger device."
        ) from error
    net.eval()
    return fitted


def _fits(run: Run, fitted: Fitted) -> bool:
    recent = fitted.history["running_accuracy"][-STOP_WINDOW:]
    return len(recent) == STOP_WINDOW and sum(recent) / STOP_WINDOW >= run.stop_accuracy


def _finite(net: nn.Module) -> bool:
    return all(bool(weight.isfinite().all()) for weight in net.parameters())


class _Step:
    """One training step, with what does not change from step to step looked up once."""

    def __init__(
        self,
        run: Run,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        attack: Attack,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        self.net, self.optimizer, self.attack, self.generator = net, optimizer, attack, generator
        self.trades_weight = run.trades_weight
        self.budgeted = bool(spectral.constrained_layers(net))
        self.precision = torch.autocast(
            device.type, torch.bfloat16, enabled=run.precision == "bfloat16"
        )

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns: how many images of the attacked batch are classified as `y`, and the loss."""
        with self.precision:
            x_adv = x
            if self.attack.kind != "none":
                with spectral.frozen(self.net):
                    x_adv = self.attack(self.net, x, y, generator=self.generator, check=False)
            logits = self.net(x_adv)
            loss = self._loss(logits, x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.budgeted:
            spectral.refresh(self.net)
        return (logits.detach().argmax(1) == y).sum(), loss.detach()

    def _loss(self, logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.attack.kind != "trades":
            return nn.functional.cross_entropy(logits, y)
        # TRADES (Zhang et al. 2019, eq. 5): clean cross-entropy + weight * KL(clean || adversarial)
        clean = self.net(x)
        divergence = nn.functional.kl_div(
            logits.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean"
        )
        return nn.functional.cross_entropy(clean, y) + self.trades_weight * divergence


def _epoch(
    run: Run, step: _Step, x: torch.Tensor, y: torch.Tensor, epoch: int, shuffle: torch.Generator
) -> dict[str, float]:
    """One pass over the shuffled images; a last partial batch is dropped."""
    for group in step.optimizer.param_groups:
        group["lr"] = run.learning_rate * run.decay ** (epoch / 390)
    step.net.train()
    order = torch.randperm(len(x), generator=shuffle).to(x.device)
    size = min(run.batch_size, len(x))
    batches = len(x) // size
    correct, right, loss_sum = 0, 0, 0.0
    for index in range(batches):
        chosen = order[index * size : (index + 1) * size]
        images = _augmented(x[chosen], shuffle) if run.augment else x[chosen]
        try:
            right, loss = step(images, y[chosen])
        except NotFinite:  # the step before made the net useless: no attack, no norm
            right, loss_sum = 0, math.nan
            break
        correct, loss_sum = correct + right, loss_sum + loss
    return {
        "epoch": epoch + 1,
        "running_accuracy": float(correct) / (batches * size),
        "last_batch_accuracy": float(right) / size,
        "loss": float(loss_sum) / batches,
    }


def _augmented(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image flipped with probability 1/2 and moved by up to an eighth of its size."""
    count, _, height, width = x.shape
    pad = max(height // 8, 1)
    flip = torch.rand(count, generator=generator) < 0.5
    move = torch.randint(2 * pad + 1, (2, count), generator=generator)
    flipped = torch.where(flip.to(x.device)[:, None, None, None], x.flip(3), x)
    padded = nn.functional.pad(flipped, (pad, pad, pad, pad))
    rows = (move[0][:, None] + torch.arange(height)).to(x.device)
    columns = (move[1][:, None] + torch.arange(width)).to(x.device)
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )
