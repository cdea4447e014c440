"""What is measured of a trained network, as rows: suite, split, attack, quantity, x, value."""

from __future__ import annotations

import math

import torch
from torch import nn

from snlib import robustness
from snlib.attacks import Attack
from snlib.bounds import layer_norms, margins
from snlib.datasets import Data
from snlib.evaluation import accuracy, batch_of, gradient_norms, norm_gain
from snlib.robustness import evaluation_radius
from snlib.runs import Run
from snlib.training import Fitted, attack_of, box_of

COLUMNS = ("suite", "split", "attack", "quantity", "x", "value")

LEVELS = tuple(round(level / 100, 2) for level in range(101))
"""Levels of the quantiles that stand for a distribution."""

KAPPA_LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
MARGIN_LEVELS = tuple(round(level / 20, 2) for level in range(21))
"""Levels of the few quantiles of suite `bounds`, whose tables have many runs."""

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
    A network that diverged has a history and an accuracy, and nothing else.

    Returns:
        dict of equally long lists, the columns of `COLUMNS`.
    """
    net = fitted.net.eval()
    attack = attack_of(run, data)
    splits = {
        "train": (data.x_train.to(device), data.y_train.to(device)),
        "validation": (data.x_validation.to(device), data.y_validation.to(device)),
        "test": (data.x_test.to(device), data.y_test.to(device)),
    }
    rows = Rows()
    boxes = {
        split: clip and tuple(side.to(device) for side in clip)
        for split in splits
        for clip in [box_of(run, data, split)]
    }
    _history(rows, fitted)
    if "runtime" in suites:
        passes = zip(fitted.history["epoch"], fitted.history["pass_seconds"], strict=True)
        for epoch, value in passes:
            rows.add("runtime", "seconds", value, split="train", attack="training", x=epoch)
    # No attack can follow the gradient of a net that diverged: its clean accuracy stands for both.
    _accuracy(rows, net, splits, Attack(kind="none") if fitted.diverged else attack, boxes)
    if fitted.diverged:
        return rows.columns
    if "distributions" in suites:
        _distributions(rows, net, splits, attack, boxes)
    if "spectrum" in suites:
        _spectrum(rows, net, data)
    if "bounds" in suites:
        _bounds(rows, net, splits["train"], attack, boxes["train"])
    if "standard" in suites:
        _standard(rows, net, splits, run, data)
    for suite, function in ON_TEST_IMAGES.items():
        if suite in suites:
            for attack, quantity, x, value in function(net, *splits["test"], run, data):
                rows.add(suite, quantity, value, split="test", attack=attack, x=x)
    return rows.columns


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


def _accuracy(rows: Rows, net: nn.Module, splits: dict, attack: Attack, boxes: dict) -> None:
    for split, (x, y) in splits.items():
        clean = accuracy(net, x, y)
        attacked = clean
        if attack.kind != "none":
            attacked = accuracy(net, x, y, attack, clip=boxes[split])
        rows.add("accuracy", "accuracy", clean, split=split, attack="none")
        rows.add("accuracy", "accuracy", attacked, split=split, attack="training")
        rows.add("accuracy", "images", len(x), split=split)


def _distributions(rows: Rows, net: nn.Module, splits: dict, attack: Attack, boxes: dict) -> None:
    for split in ("train", "test"):
        x, y = (part[:DISTRIBUTION_IMAGES] for part in splits[split])
        place = {"split": split, "attack": "none"}
        rows.add_quantiles("distributions", "margin", margins(net, x, y), **place)
        rows.add_quantiles("distributions", "norm_gain", norm_gain(net, x), **place)
        rows.add_quantiles("distributions", "gradient_norm", gradient_norms(net, x, y), **place)
        if attack.kind == "none":
            continue
        attacked = margins(net, _attacked(net, x, y, attack, boxes[split]), y)
        rows.add_quantiles("distributions", "margin", attacked, split=split, attack="training")


def _attacked(net: nn.Module, x: torch.Tensor, y: torch.Tensor, attack: Attack, box: tuple | None):
    """The attacked images, as many as x."""
    low, high = box or (None, None)
    found = []
    for part in torch.arange(len(x)).split(batch_of(x)):
        clip = None if low is None else (low[part], high[part])
        found.append(attack(net, x[part], y[part], clip=clip))
    return torch.cat(found)


def _bounds(rows: Rows, net: nn.Module, train: tuple, attack: Attack, box: tuple | None) -> None:
    """What the theorems need of the training images.

    Attacked images are points of the ball, all over which kappa bounds the gradient norms.
    """
    largest = float(train[0].double().flatten(1).norm(dim=1).max())
    rows.add("bounds", "input_norm", largest, split="train")
    rows.add("bounds", "attack_size", attack.eps, split="train")
    x, y = (part[:DISTRIBUTION_IMAGES] for part in train)
    images = {"none": x}
    if attack.kind != "none":
        images["training"] = _attacked(net, x, y, attack, box)
    for name, points in images.items():
        place = {"split": "train", "attack": name, "levels": KAPPA_LEVELS}
        rows.add_quantiles("bounds", "gradient_norm", gradient_norms(net, points, y), **place)
    place = {"split": "train", "attack": "training", "levels": MARGIN_LEVELS}
    rows.add_quantiles("bounds", "margin", margins(net, points, y), **place)


def _spectrum(rows: Rows, net: nn.Module, data: Data) -> None:
    table = layer_norms(net, data.in_shape)
    for index, layer in enumerate(table.to_dict("records")):
        for quantity in NORMS:
            rows.add("spectrum", quantity, layer[quantity], split=layer["layer"], x=index)


def _standard(rows: Rows, net: nn.Module, splits: dict, run: Run, data: Data) -> None:
    eps = evaluation_radius(run, data)
    for split, (x, y) in splits.items():
        x, y = x[:DISTRIBUTION_IMAGES], y[:DISTRIBUTION_IMAGES]
        for name, options in PROTOCOLS.items():
            attack = Attack(kind="pgm", eps=eps, norm=run.norm or 2.0, steps=15, **options)
            value = accuracy(net, x, y, attack)
            rows.add("standard", "accuracy", value, split=split, attack=name, x=eps)
