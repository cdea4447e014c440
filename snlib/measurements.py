"""What is measured of a trained network, as rows: suite, split, attack, quantity, x, value."""

from __future__ import annotations

import math

import torch
from torch import nn

from snlib.attacks import Attack
from snlib.bounds import layer_norms, margins
from snlib.datasets import Data
from snlib.evaluation import accuracy, curve, gradient_norms, norm_gain
from snlib.runs import Run
from snlib.training import Fitted, attack_of

COLUMNS = ("suite", "split", "attack", "quantity", "x", "value")

LEVELS = tuple(round(level / 100, 2) for level in range(101))
"""Levels of the quantiles that stand for a distribution."""

DISTRIBUTION_IMAGES = 10_000
"""Images of a split, at most, over which distributions are taken (the first ones)."""

SUITES = ("history", "accuracy", "distributions", "spectrum", "robustness", "standard")


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
    operator norm of every layer), `robustness` (accuracy against eps under four attacks, by the
    authors' protocol), `standard` (PGM with true labels and log-odds loss at the training radius).
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
    _history(rows, fitted)
    # No attack can follow the gradient of a net that diverged: its clean accuracy stands for both.
    _accuracy(rows, net, splits, Attack(kind="none") if fitted.diverged else attack)
    if fitted.diverged:
        return rows.columns
    if "distributions" in suites:
        _distributions(rows, net, splits, attack)
    if "spectrum" in suites:
        _spectrum(rows, net, data)
    if "robustness" in suites:
        _robustness(rows, net, splits["test"], data)
    if "standard" in suites:
        _standard(rows, net, splits, run, data)
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


def _accuracy(rows: Rows, net: nn.Module, splits: dict, attack: Attack) -> None:
    for split, (x, y) in splits.items():
        clean = accuracy(net, x, y)
        attacked = clean if attack.kind == "none" else accuracy(net, x, y, attack)
        rows.add("accuracy", "accuracy", clean, split=split, attack="none")
        rows.add("accuracy", "accuracy", attacked, split=split, attack="training")
        rows.add("accuracy", "images", len(x), split=split)


def _distributions(rows: Rows, net: nn.Module, splits: dict, attack: Attack) -> None:
    for split in ("train", "test"):
        x, y = (part[:DISTRIBUTION_IMAGES] for part in splits[split])
        place = {"split": split, "attack": "none"}
        rows.add_quantiles("distributions", "margin", _margins(net, x, y), **place)
        rows.add_quantiles("distributions", "norm_gain", norm_gain(net, x), **place)
        rows.add_quantiles("distributions", "gradient_norm", gradient_norms(net, x, y), **place)
        if attack.kind == "none":
            continue
        attacked = torch.cat(
            [
                _margins(net, attack(net, x[i : i + 500], y[i : i + 500]), y[i : i + 500])
                for i in range(0, len(x), 500)
            ]
        )
        rows.add_quantiles("distributions", "margin", attacked, split=split, attack="training")


def _margins(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cat([margins(net, x[i : i + 500], y[i : i + 500]) for i in range(0, len(x), 500)])


def _spectrum(rows: Rows, net: nn.Module, data: Data) -> None:
    table = layer_norms(net, data.in_shape)
    for index, layer in enumerate(table.to_dict("records")):
        for quantity in NORMS:
            rows.add("spectrum", quantity, layer[quantity], split=layer["layer"], x=index)


def _robustness(rows: Rows, net: nn.Module, test: tuple, data: Data) -> None:
    x, y = (part[:2000] for part in test)
    unit = 0.05 * data.mean_norm  # the paper's training radius; its axis ends at about twice that
    radii = [unit * step / 3 for step in range(7)]
    attacks = {
        "fgm": (Attack(kind="fgm", eps=unit, labels="predicted"), radii),
        "pgm": (Attack(kind="pgm", eps=unit, labels="predicted"), radii),
        "pgm_inf": (
            Attack(kind="pgm", eps=0.1, norm=math.inf, labels="predicted"),
            [0.1 * step for step in range(6)],
        ),
    }
    for name, (attack, sizes) in attacks.items():
        for _, row in curve(net, x, y, attack, eps=sizes).iterrows():
            rows.add(
                "robustness", "accuracy", row["accuracy"], split="test", attack=name, x=row["eps"]
            )


def _standard(rows: Rows, net: nn.Module, splits: dict, run: Run, data: Data) -> None:
    ratio = 0.05 if run.eps_ratio is None else run.eps_ratio  # ERM and WRM have no radius
    eps = run.eps if run.eps is not None else ratio * data.mean_norm
    attack = Attack(
        kind="pgm", eps=eps, norm=run.norm or 2.0, steps=15, labels="true", loss="log_odds"
    )
    for split, (x, y) in splits.items():
        rows.add(
            "standard", "accuracy", accuracy(net, x, y, attack), split=split, attack="pgm_true"
        )
