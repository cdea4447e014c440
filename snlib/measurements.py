"""What is measured of a trained network, as rows: suite, split, attack, quantity, x, value."""

from __future__ import annotations

import math

import torch
from torch import nn

from snlib import robustness, spectral
from snlib.attacks import Attack
from snlib.bounds import layer_norms, margins
from snlib.datasets import Data
from snlib.evaluation import accuracy, batch_of, gradient_norms, norm_gain
from snlib.robustness import evaluation_radius
from snlib.runs import OF_TRAINING, Run
from snlib.training import Fitted, attack_of, box_of

COLUMNS = ("suite", "split", "attack", "quantity", "x", "value")

LEVELS = tuple(round(level / 100, 2) for level in range(101))
"""Levels of the quantiles that stand for a distribution."""

KAPPA_LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
MARGIN_LEVELS = tuple(round(level / 20, 2) for level in range(21))
"""Levels of the few quantiles of suite `bounds`, whose tables have many runs."""

SPLITS = ("train", "validation", "test")

DISTRIBUTION_IMAGES = 10_000
"""Images of a split, at most, over which distributions are taken (the first ones)."""


ON_TEST_IMAGES = {
    "robustness": robustness.curves,
    "checks": robustness.checks,
    "targeted": robustness.targeted,
    "autoattack": robustness.under_autoattack,
}
"""Suites taken on the first test images, and what measures each."""

SUITES = ("history", "accuracy", "distributions", "spectrum", "bounds", "standard")
SUITES += ("runtime", *ON_TEST_IMAGES)

PROTOCOLS = {
    "pgm15_predicted": {"labels": "predicted", "loss": "cross_entropy"},
    "pgm15_true": {"labels": "true", "loss": "cross_entropy"},
    "pgm15_log_odds": {"labels": "true", "loss": "log_odds"},
}
"""Suite `standard`: from how the authors' code aims PGM-15 to the standard protocol, one change at
a time."""

NORMS = (
    "lower",
    "upper",
    "reshaped",
    "frobenius",
    "stable_rank",
    "kernel_frobenius",
    "norm21",
    "inputs",
    "outputs",
)
"""What is recorded of a layer, as `bounds.layer_norms` names it."""


class Rows:
    """Rows of measurements, column by column, as a record stores them."""

    def __init__(self) -> None:
        self.columns: dict[str, list] = {column: [] for column in COLUMNS}

    def add(self, suite, quantity, value, *, split="", attack="", x=math.nan) -> None:
        """Append one row. A value that is not finite is kept: it says that the run diverged."""
        for column, entry in zip(
            COLUMNS, (suite, split, attack, quantity, float(x), float(value)), strict=True
        ):
            self.columns[column].append(entry)

    def add_quantiles(
        self, suite, quantity, values: torch.Tensor, *, levels=LEVELS, **place
    ) -> None:
        """Append the quantiles of a sample at `levels`."""
        values = values.detach().double().cpu()
        found = torch.quantile(values, torch.tensor(levels, dtype=torch.float64)).tolist()
        for level, value in zip(levels, found, strict=True):
            self.add(suite, quantity, value, x=level, **place)


def measure(
    run: Run, fitted: Fitted, data: Data, suites: set[str], device: str | torch.device = "cpu"
) -> dict[str, list]:
    """Measure a trained network.

    Suites: `history` (accuracy by epoch, batchwise on the training set under the training attack,
    and on the validation images), `accuracy` (clean and under the training attack, three splits),
    `distributions` (margins, norm gain, input-gradient norms, as quantiles), `spectrum` (the
    operator norm of every layer), `bounds` (what the theorems need of the training images, in a few
    quantiles), `standard` (every net under PGM-15 at x = `evaluation_radius`, in
    its own norm, else l2: `PROTOCOLS`), `runtime` (seconds of each pass over the training images),
    and those of `ON_TEST_IMAGES`.
    A network that diverged has a history and an accuracy, and nothing else; one of which nothing is
    wanted but what its training left (`OF_TRAINING`) has no accuracy.

    Returns:
        dict of equally long lists, the columns of `COLUMNS`.
    """
    rows = Rows()
    _history(rows, fitted)
    if "runtime" in suites:
        passes = zip(fitted.history["epoch"], fitted.history["pass_seconds"], strict=True)
        for epoch, value in passes:
            rows.add("runtime", "seconds", value, split="train", attack="training", x=epoch)
    if suites <= OF_TRAINING:
        return rows.columns
    net = fitted.net.eval()
    attack = attack_of(run, data)
    if fitted.diverged:  # no attack can follow its gradient: its clean accuracy stands for both
        attack = Attack(kind="none")
    images = {split: _Images(net, attack, *_split(run, data, split, device)) for split in SPLITS}
    _accuracy(rows, net, images)
    if fitted.diverged:
        return rows.columns
    if "distributions" in suites:
        _distributions(rows, net, images)
    if "spectrum" in suites:
        _spectrum(rows, net, data)
    if "bounds" in suites:
        _bounds(rows, net, images["train"])
    if "standard" in suites:
        _standard(rows, net, images, run, data)
    for suite, function in ON_TEST_IMAGES.items():
        if suite in suites:
            test = images["test"]
            for name, quantity, x, value in function(net, test.x, test.y, run, data):
                rows.add(suite, quantity, value, split="test", attack=name, x=x)
    return rows.columns


def _split(run: Run, data: Data, split: str, device: str | torch.device) -> tuple:
    """The images, labels and pixel box of a split, on the device."""
    box = box_of(run, data, split)
    x, y = (getattr(data, f"{part}_{split}").to(device) for part in "xy")
    return x, y, box and tuple(side.to(device) for side in box)


class _Images:
    """The images of a split, and the first of them under the training attack, made once.

    Attributes:
        x, y: all of them.
        clean_accuracy, accuracy: over all of them, without and under the training attack.
        first: the first `DISTRIBUTION_IMAGES`, and their labels.
        attacked: the same under the training attack; None without one.
    """

    def __init__(
        self, net: nn.Module, attack: Attack, x: torch.Tensor, y: torch.Tensor, box: tuple | None
    ) -> None:
        self.x, self.y, self.attack = x, y, attack
        self.clean_accuracy = self.accuracy = accuracy(net, x, y)
        self.first, self.attacked = (x[:DISTRIBUTION_IMAGES], y[:DISTRIBUTION_IMAGES]), None
        if attack.kind == "none":
            return
        kept, right, generator = [], 0, torch.Generator().manual_seed(0)
        with spectral.frozen(net):
            for part in torch.arange(len(x), device=x.device).split(batch_of(x)):
                clip = box and tuple(side[part] for side in box)
                found = attack(net, x[part], y[part], generator, clip=clip)
                right += round(accuracy(net, found, y[part]) * len(part))
                kept.append(found[: max(0, DISTRIBUTION_IMAGES - int(part[0]))])
        self.accuracy, self.attacked = right / len(x), torch.cat(kept)


def _history(rows: Rows, fitted: Fitted) -> None:
    for quantity, split in (
        ("running_accuracy", "train"),
        ("last_batch_accuracy", "train"),
        ("validation_accuracy", "validation"),
        ("loss", "train"),
    ):
        entries = zip(fitted.history["epoch"], fitted.history[quantity], strict=True)
        for epoch, value in entries:
            if not (quantity == "validation_accuracy" and math.isnan(value)):
                rows.add("history", quantity, value, split=split, attack="training", x=epoch)
    if fitted.best is not None:
        rows.add("history", "best_epoch", fitted.best.epoch, split="validation", attack="training")


def _accuracy(rows: Rows, net: nn.Module, images: dict[str, _Images]) -> None:
    for split, part in images.items():
        rows.add("accuracy", "accuracy", part.clean_accuracy, split=split, attack="none")
        rows.add("accuracy", "accuracy", part.accuracy, split=split, attack="training")
        rows.add("accuracy", "images", len(part.x), split=split)


def _distributions(rows: Rows, net: nn.Module, images: dict[str, _Images]) -> None:
    for split in ("train", "test"):
        (x, y), attacked = images[split].first, images[split].attacked
        place = {"split": split, "attack": "none"}
        rows.add_quantiles("distributions", "margin", margins(net, x, y), **place)
        rows.add_quantiles("distributions", "norm_gain", norm_gain(net, x), **place)
        rows.add_quantiles("distributions", "gradient_norm", gradient_norms(net, x, y), **place)
        if attacked is not None:
            place = {"split": split, "attack": "training"}
            rows.add_quantiles("distributions", "margin", margins(net, attacked, y), **place)


def _bounds(rows: Rows, net: nn.Module, train: _Images) -> None:
    """What the theorems need of the training images.

    Attacked images are points of the ball, all over which kappa bounds the gradient norms.
    """
    largest = float(train.x.double().flatten(1).norm(dim=1).max())
    rows.add("bounds", "input_norm", largest, split="train")
    rows.add("bounds", "attack_size", train.attack.eps, split="train")
    x, y = train.first
    points = {"none": x}
    if train.attacked is not None:
        points["training"] = train.attacked
    for name, some in points.items():
        place = {"split": "train", "attack": name, "levels": KAPPA_LEVELS}
        rows.add_quantiles("bounds", "gradient_norm", gradient_norms(net, some, y), **place)
    place = {"split": "train", "attack": "training", "levels": MARGIN_LEVELS}
    rows.add_quantiles("bounds", "margin", margins(net, some, y), **place)


def _spectrum(rows: Rows, net: nn.Module, data: Data) -> None:
    table = layer_norms(net, data.in_shape)
    for index, layer in enumerate(table.to_dict("records")):
        for quantity in NORMS:
            rows.add("spectrum", quantity, layer[quantity], split=layer["layer"], x=index)


def _standard(rows: Rows, net: nn.Module, images: dict[str, _Images], run: Run, data: Data) -> None:
    eps = evaluation_radius(run, data)
    for split, part in images.items():
        for name, options in PROTOCOLS.items():
            attack = Attack(kind="pgm", eps=eps, norm=run.norm or 2.0, steps=15, **options)
            value = accuracy(net, *part.first, attack)
            rows.add("standard", "accuracy", value, split=split, attack=name, x=eps)
