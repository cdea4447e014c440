"""Two named protocols, the authors' and the usual one, and which of them a run follows.

    grid(base, seeds, scheme="pgm", **STANDARD)
    protocol_of(run)             "paper", "standard" or "custom (attack_labels=true, ...)"

A protocol is how a net is trained and attacked, not which net, on what, or under which budget. How
sigma is followed is no part of it either: the authors' single power iteration is `tracker="power"`,
the default keeps the budget more closely.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from snlib.runs import Run

PAPER: dict[str, object] = dict(
    validation="test",
    attack_labels="predicted",
    random_start=False,
    restarts=1,
    clip=False,
    eps_ratio=0.05,
    wrm_gamma_ratio=0.002,
    steps=15,
    optimizer="sgd",
    learning_rate=0.01,
    decay=0.95,
    schedule="constant",
    weight_decay=0.0,
    batch_size=128,
    epochs=200,
    stop_accuracy=0.999,
    select="last",
    augment=False,
    temperature=1.0,
    precision="float32",
)
"""The authors' code, as it ran on CIFAR-10 and SVHN; `paper_settings` has its exceptions."""

STANDARD: dict[str, object] = dict(
    validation="train",
    attack_labels="true",
    random_start=True,
    restarts=5,
    clip=True,
    schedule="piecewise",
    stop_accuracy=2.0,
    select="best",
    augment=True,
)
"""What the usual protocol changes: a validation set that is no part of the test set, attacks that
know the true label, start at random, try again and stay in the range of pixels, a falling rate, no
end before the last epoch (an accuracy of 2 is never reached), early stopping, augmented images."""

GREY = ("mnist", "fashion_mnist")  # not digits: at scale quick they stand in for CIFAR-10
ADAM = dict(optimizer="adam", learning_rate=0.001)
INF_RADII = (0.1, 0.3)
"""The authors' radii of linf attacks, in units of the whitened or raw input."""


def paper_settings(run: Run) -> dict[str, object]:
    """The authors' settings for the data, net and attack of a run.

    Images with one channel and MLPs were trained with Adam, ELU-Net was read at epoch 25, and WRM's
    gamma is 0.04 E||x|| on grey images.
    """
    settings = dict(PAPER)
    if run.data in GREY:
        settings |= ADAM | dict(wrm_gamma_ratio=0.04)
    if run.net.startswith(("mlp", "softmax")):
        settings |= ADAM
    if run.net == "elu_net":
        settings |= dict(epochs=25)
    return settings | dict(eps=run.eps if run.norm == math.inf and run.eps in INF_RADII else None)


def departures(run: Run, scale: Mapping[str, object] | None = None) -> dict[str, object]:
    """The settings of a run's protocol that are not the authors', with the values it has.

    Args:
        run: any run.
        scale: settings that are the scale's, such as its number of epochs, and so no departure.
    """
    found = _differences(run, {**paper_settings(run), **(scale or {})})
    return ({"scheme": "trades"} if run.scheme == "trades" else {}) | found


def protocol_of(run: Run, scale: Mapping[str, object] | None = None) -> str:
    """ "paper", "standard", or "custom (...)" naming every departure from the paper's.

    Args:
        run: any run.
        scale: as for `departures`; None compares with the authors' own numbers.
    """
    found = departures(run, scale)
    if not found:
        return "paper"
    usual = {**paper_settings(run), **(scale or {}), **STANDARD}
    if run.labels == "random":  # true validation labels cannot choose among epochs
        usual["select"] = "last"
    if not _differences(run, usual):
        return "standard"
    return f"custom ({', '.join(f'{name}={value}' for name, value in found.items())})"


def _differences(run: Run, protocol: Mapping[str, object]) -> dict[str, object]:
    """Where a run differs from its like under a protocol, as far as both use a setting."""
    names = [*PAPER, "eps"]
    fields = dataclasses.asdict(run)
    like = Run.of(**{**fields, **{name: protocol[name] for name in names}})
    found = {name: fields[name] for name in names if fields[name] != getattr(like, name)}
    if {"optimizer", "schedule"} & set(found):
        found.pop("decay", None)  # it goes with them
    if "eps" in found and found.get("eps_ratio") is None:
        found.pop("eps_ratio", None)  # the radius took its place
    return found
