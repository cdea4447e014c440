"""One training step, and one pass over the training images."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings

import torch
from torch import nn

from snlib import precision, spectral
from snlib.attacks import Attack, Clip
from snlib.attacks.pullbacks import suits
from snlib.augmentation import augmented
from snlib.capture import Captured, Recorder, cuda_graph, obstacle
from snlib.errors import NotFinite
from snlib.evaluation import accuracy
from snlib.learning import learner_of
from snlib.runs import Run
from snlib.team import Team


class Step:
    """One training step, with what does not change from step to step looked up once."""

    def __init__(
        self,
        run: Run,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        attack: Attack,
        device: torch.device,
        generator: torch.Generator,
        team: Team | None = None,
        *,
        capture: bool = False,
        record: Recorder = cuda_graph,
    ) -> None:
        self.team = team
        self.net, self.optimizer, self.generator = net, optimizer, generator
        self.weights = list(net.parameters())
        self.attack = attack.replace(restarts=1)  # more of them measure the trained net
        self.draws = attack.kind == "trades" or attack.random_start
        self.trades_weight = run.trades_weight
        self.budgeted = bool(spectral.constrained_layers(net))
        self.autocast = functools.partial(precision.autocast, run.precision, device)
        self.products = functools.partial(precision.products, run.precision, device)
        self.gradient = self._gradient
        if capture:
            reason = obstacle(net, device, draws=self.draws, team=team is not None)
            if record is not cuda_graph or reason is None:
                self.gradient = Captured(self._gradient, net, record)
            else:
                warnings.warn(f"training is not captured: {reason}.", stacklevel=2)

    def __call__(
        self, x: torch.Tensor, y: torch.Tensor, clip: Clip = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns: how many images of the attacked batch are classified as `y`, and the loss."""
        with self.products():
            if self.team is None:
                right, loss = self.gradient(x, y, clip)
            else:
                compute = functools.partial(self._gradient, clip=self._shared(clip))
                right, loss = self.team.gradient(self.net, compute, x, y)
        self.optimizer.step()
        if self.budgeted:
            spectral.refresh(self.net)
        if self.team is not None:
            self.team.agree(self.net)
        return right, loss

    def _gradient(
        self, x: torch.Tensor, y: torch.Tensor, clip: Clip = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attack, forward and backward; leaves the gradient of the mean loss in the parameters."""
        # The attack and the pass that learns see the same weights: sigma is computed once a step.
        once = spectral.shared(self.net) if self.budgeted else contextlib.nullcontext()
        with once, self.autocast():
            x_adv = x
            if self.attack.kind != "none":
                generator = self.generator
                if self.team is not None and self.draws:
                    generator = self.team.own(generator)  # it draws where it starts
                with spectral.frozen(self.net):
                    x_adv = self.attack(self.net, x, y, generator, clip=clip, check=False)
            learn = None
            if self.attack.kind != "trades" and suits(x_adv):
                learn = learner_of(self.net)
            for weight in self.weights:
                weight.grad = None
            if learn is not None:
                logits, loss = learn(x_adv, y)
            else:
                logits = self.net(x_adv)
                loss = self._loss(logits, x, y)
        if learn is None:
            loss.backward()
        return (logits.detach().argmax(1) == y).sum(), loss.detach()

    def accuracy(self, x: torch.Tensor, y: torch.Tensor, clip: Clip = None) -> float:
        """The net's accuracy under its training attack."""
        clip = self._shared(clip)

        def of(x: torch.Tensor, y: torch.Tensor) -> float:
            with self.products():
                return accuracy(self.net, x, y, self.attack, clip=clip)

        return of(x, y) if self.team is None else self.team.mean(of, x, y)

    def _shared(self, clip: Clip) -> Clip:
        """This process's part of the images' boxes."""
        if clip is None or self.team is None:
            return clip
        return tuple(self.team.share(side) for side in clip)

    def _loss(self, logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.attack.kind != "trades":
            return nn.functional.cross_entropy(logits, y)
        # TRADES (Zhang et al. 2019, eq. 5): clean cross-entropy + weight * KL(clean || adversarial)
        clean = self.net(x)
        divergence = nn.functional.kl_div(
            logits.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean"
        )
        return nn.functional.cross_entropy(clean, y) + self.trades_weight * divergence


def rate_of(run: Run, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0."""
    if run.schedule == "piecewise":
        return run.learning_rate * 0.1 ** sum(epoch >= share * run.epochs for share in (0.5, 0.75))
    return run.learning_rate * run.decay ** (epoch / 390)


def epoch_of(
    run: Run, step: Step, x: torch.Tensor, y: torch.Tensor, epoch: int, shuffle: torch.Generator,
    box: Clip, mirror: bool,
) -> dict[str, float]:  # fmt: skip
    """One pass over the shuffled images; a last partial batch is dropped."""
    for group in step.optimizer.param_groups:
        group["lr"] = rate_of(run, epoch)
    step.net.train()
    order = torch.randperm(len(x), generator=shuffle).to(x.device)
    size = min(run.batch_size, len(x))
    batches = len(x) // size
    correct, right, loss_sum = 0, 0, 0.0
    for index in range(batches):
        chosen = order[index * size : (index + 1) * size]
        images = augmented(x[chosen], shuffle, mirror=mirror) if run.augment else x[chosen]
        clip = {} if box is None else {"clip": (box[0][chosen], box[1][chosen])}
        try:
            right, loss = step(images, y[chosen], **clip)
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
