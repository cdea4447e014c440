"""What is measured of a trained network, as rows: suite, split, attack, quantity, x, value."""

from __future__ import annotations

import math

import torch
from torch import nn

from snlib import robustness
from snlib.attacks import Attack
from snlib.bounds import layer_norms, margins
from snlib.datasets import Data
from snlib.evaluation import accuracy, gradient_norms, norm_gain
from snlib.robustness import evaluation_radius
from snlib.runs import Run
from snlib.training import Fitted, attack_of, box_of

COLUMNS = ("suite", "split", "attack", "quantity", "x", "value")

LEVELS = tuple(round(level / 100, 2) for level in range(101))
"""Levels of the quantiles that stand for a distribution."""

DISTRIBUTION_IMAGES = 10_000
"""Images of a split, at most, over which distributions are taken (the first ones)."""


ON_TEST_IMAGES = {
    "robustness": robustness.curves,
    "checks": robustness.checks,
    "autoattack": robustness.under_autoattack,
}
"""Suites taken on the first test images, and what measures each."""

SUITES = ("history", "accuracy", "distributions", "spectrum", "standard", *ON_TEST_IMAGES)

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

    def add_quantiles(self, suite, quantity, values: torch.Tensor, **place) -> None:
        """Append the quantiles of a sample at `LEVELS`."""
        values = values.detach().double().cpu()
        levels = torch.tensor(LEVELS, dtype=torch.float64)
        for level, value in zip(LEVELS, torch.quantile(values, levels).tolist(), strict=True):
            self.add(suite, quantity, value, x=level, **place)


def measure(
    run: Run, fitted: Fitted, data: Data, suites: set[str], device: str | torch.device = "cpu"
) -> dict[str, list]:
    """Measure a trained network.

    Suites: `history` (accuracy by epoch, batchwise on the training set under the training attack,
    and on the validation images), `accuracy` (clean and under the training attack, three splits),
    `distributions` (margins, norm gain, input-gradient norms, as quantiles), `spectrum` (the
    operator norm of every layer), `standard` (every net under PGM-15 at x = `evaluation_radius`, in
    its own norm, else l2: `PROTOCOLS`), and those of `ON_TEST_IMAGES`.
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
    # No attack can follow the gradient of a net that diverged: its clean accuracy stands for both.
    _accuracy(rows, net, splits, Attack(kind="none") if fitted.diverged else attack, boxes)
    if fitted.diverged:
        return rows.columns
    if "distributions" in suites:
        _distributions(rows, net, splits, attack, boxes)
    if "spectrum" in suites:
        _spectrum(rows, net, data)
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
        low, high = boxes[split] or (None, None)
        attacked = []
        for part in torch.arange(len(x)).split(500):
            clip = None if low is None else (low[part], high[part])
            attacked.append(attack(net, x[part], y[part], clip=clip))
        attacked = margins(net, torch.cat(attacked), y)
        rows.add_quantiles("distributions", "margin", attacked, split=split, attack="training")


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
