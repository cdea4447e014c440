"""A run: the settings of one training, complete enough that two equal runs give equal numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
from dataclasses import dataclass

from snlib import errors
from snlib.results import ENGINE, name_of

SCHEMES = ("erm", "fgm", "pgm", "wrm", "trades")

CHOICES: dict[str, tuple[object, ...]] = {
    "labels": ("true", "random"),
    "validation": ("test", "train"),
    "norm": (2.0, math.inf, 1.0),
    "attack_labels": ("predicted", "true"),
    "norm_kind": ("operator", "reshaped"),
    "tracker": ("krylov", "power"),
    "sigma_gradient": ("exact", "detached"),
    "precision": ("float32", "bfloat16"),
    "augment": (False, True),
}
POSITIVE = ("width", "wrm_gamma_ratio", "learning_rate", "decay", "stop_accuracy")
NOT_NEGATIVE = ("eps", "eps_ratio", "trades_weight", "weight_decay")
LATER: dict[str, object] = {}
"""Settings that came after records existed, and the value that those runs had: at it they are left
out of a record's settings, so that older records keep their names."""

COUNTS = {"train_size": 1, "steps": 1, "batch_size": 1, "epochs": 1, "seed": 0, "engine": 1}
"""Whole numbers, and the least that each may be."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings of one training. Defaults are the paper's protocol (FACTS: one CIFAR-10 AlexNet).

    Settings that a scheme does not use are set to None, so that, say, two ERM runs that differ only
    in an unused radius are one run.

    Args:
        data: name of the data set, as `datasets.load` knows it.
        train_size: number of training images; None takes all.
        labels: "true", or "random" for labels drawn once, uniformly (section on memorization).
        validation: "test" takes the validation images from the test set, as the authors did;
            "train" takes them from the training set.
        net, width: the network's name and width multiplier.
        scheme: "erm", or the attack trained against: "fgm", "pgm", "wrm", "trades".
        norm: the norm of the attack, 2, inf or 1.
        eps: attack radius in units of the preprocessed input; None means `eps_ratio * mean_norm`.
        eps_ratio: radius as a share of the mean input norm E||x||_2 (paper: 0.05).
        wrm_gamma_ratio: WRM's gamma as a share of the mean input norm (0.002, on MNIST 0.04).
        trades_weight: 1/lambda of TRADES, the weight of its KL term.
        steps: iterations of PGM, WRM and TRADES.
        attack_labels: "predicted", as the authors coded it, or "true".
        beta: cap on every layer's operator norm; inf leaves the weights free.
        norm_kind: "operator", the norm of the convolution; "reshaped", Miyato's.
        tracker: how sigma follows the weights, "krylov", or "power": one iteration, as the authors.
        sigma_gradient: "exact", through sigma, or "detached".
        optimizer: "sgd" (momentum 0.9) or "adam".
        learning_rate: constant up to `decay`.
        decay: factor d in learning_rate * d ** (epoch / 390), the authors' schedule.
        weight_decay: coefficient of ||w||^2 / 2 in the loss.
        batch_size: images in a step; a last partial batch is dropped.
        epochs: passes over the training set, at most.
        stop_accuracy: stop when the mean running training accuracy of five epochs reaches it.
        augment: random crops and flips of the training images.
        precision: "float32", or "bfloat16" for autocast.
        seed: of the initial weights and of the order of the images.
    """

    data: str = "cifar10"
    train_size: int | None = None
    labels: str = "true"
    validation: str = "test"
    net: str = "alexnet"
    width: float = 1.0
    scheme: str = "erm"
    norm: float | None = 2.0
    eps: float | None = None
    eps_ratio: float | None = 0.05
    wrm_gamma_ratio: float | None = 0.002
    trades_weight: float | None = 6.0
    steps: int | None = 15
    attack_labels: str | None = "predicted"
    beta: float = math.inf
    norm_kind: str | None = "operator"
    tracker: str | None = "krylov"
    sigma_gradient: str | None = "exact"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    decay: float = 0.95
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 200
    stop_accuracy: float = 0.999
    augment: bool = False
    precision: str = "float32"
    seed: int = 0
    engine: int = ENGINE

    def __post_init__(self) -> None:
        errors.one_of("scheme", self.scheme, SCHEMES)
        errors.one_of("optimizer", self.optimizer, ("sgd", "adam"))
        self._set("beta", errors.positive("beta", self.beta, infinite=True))
        for name in self._unused():
            self._set(name, 1.0 if name == "decay" else None)
        if self.scheme in ("fgm", "pgm", "trades"):
            errors.require(
                self.eps is not None or self.eps_ratio is not None,
                f"eps and eps_ratio are None for scheme {self.scheme!r}; give one of them.",
            )
        idle = {*self._unused(), "train_size", "eps", "eps_ratio"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                self._set(field.name, _checked(field.name, value))
            elif field.name not in idle:
                raise errors.UserError(
                    f"{field.name} is None; scheme {self.scheme!r} with beta {self.beta} needs it."
                )
        errors.require(
            self.scheme != "wrm" or self.norm == 2.0,
            f"norm is {self.norm!r} for scheme 'wrm'; WRM is defined for norm 2 only.",
        )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _unused(self) -> list[str]:
        """The settings that have no effect beside the others."""
        unused = {
            "erm": "norm eps eps_ratio wrm_gamma_ratio trades_weight steps attack_labels",
            "fgm": "wrm_gamma_ratio trades_weight steps",
            "pgm": "wrm_gamma_ratio trades_weight",
            "wrm": "eps eps_ratio trades_weight",
            "trades": "wrm_gamma_ratio attack_labels",
        }[self.scheme].split()
        if self.eps is not None:
            unused.append("eps_ratio")
        if math.isinf(self.beta):
            unused += ["norm_kind", "tracker", "sigma_gradient"]
        if self.optimizer == "adam":
            unused.append("decay")
        return unused

    def settings(self) -> dict[str, object]:
        """Every field and its value, for a record; those of `LATER` only where they differ."""
        settings = dataclasses.asdict(self)
        return {
            name: value
            for name, value in settings.items()
            if name not in LATER or value != LATER[name]
        }

    @property
    def name(self) -> str:
        """The name of this run's record."""
        return name_of(self.settings())

    @classmethod
    def from_settings(cls, settings: dict[str, object]) -> Run:
        """The run with these settings, as a record holds them."""
        return cls(**settings)


def _checked(name: str, value: object) -> object:
    """The value of a setting in the one form in which it is hashed: 1 and 1.0 are one run."""
    if name in POSITIVE or name in NOT_NEGATIVE:
        return errors.positive(name, value, zero=name in NOT_NEGATIVE)
    if name in COUNTS:
        try:
            number = operator.index(value)
        except TypeError:
            number = -1
        errors.require(
            COUNTS[name] <= number < 2**32,
            f"{name} is {value!r}; it must be an integer >= {COUNTS[name]}.",
        )
        return number
    if name == "norm":
        with contextlib.suppress(TypeError, ValueError):
            value = float(value)
    if name in CHOICES:
        errors.one_of(name, value, CHOICES[name])
    return value
