"""A run: the settings of one training, complete enough that two equal runs give equal numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
from collections.abc import Mapping
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
    "precision": ("float32", "tf32", "bfloat16"),
    "augment": (False, True),
    "random_start": (False, True),
    "clip": (False, True),
    "select": ("last", "best"),
    "schedule": ("constant", "piecewise"),
}
POSITIVE = ("width", "wrm_gamma_ratio", "learning_rate", "decay", "stop_accuracy", "temperature")
NOT_NEGATIVE = ("eps", "eps_ratio", "trades_weight", "weight_decay")
LATER: dict[str, object] = {
    "random_start": False,
    "restarts": 1,
    "clip": False,
    "select": "last",
    "schedule": "constant",
    "temperature": 1.0,
}
"""Settings that came after records existed, and the value that those runs had: at it they are left
out of a record's settings, so that older records keep their names."""

COUNTS = {"train_size": 1, "steps": 1, "batch_size": 1, "epochs": 1, "seed": 0, "engine": 1}
COUNTS |= {"restarts": 1}
"""Whole numbers, and the least that each may be."""

UNUSED = {
    "erm": "norm eps eps_ratio wrm_gamma_ratio trades_weight steps attack_labels random_start "
    "restarts clip",
    "fgm": "wrm_gamma_ratio trades_weight steps random_start restarts",
    "pgm": "wrm_gamma_ratio trades_weight",
    "wrm": "eps eps_ratio trades_weight random_start restarts",
    "trades": "wrm_gamma_ratio attack_labels random_start restarts",
}
"""Settings without effect on a scheme. TRADES always starts at random and asks no label."""

OF_TRAINING = frozenset({"history", "runtime"})
"""Suites of measurements that training itself leaves."""

TIMED = "runtime"
"""The suite for which a run needs the machine for itself."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings of one training. Defaults are the paper's protocol (FACTS: one CIFAR-10 AlexNet).

    Settings that a scheme does not use are set to None (later ones to their default), so that, say,
    an ERM run has no radius. To give one an effectless value is refused; `Run.of` leaves it out.

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
        random_start: whether PGM begins at a random point of its ball (authors: at the image).
        restarts: random starts that PGM tries when it measures the trained net, each image keeping
            its worst; in training and in each epoch's validation it takes one.
        clip: whether attacked images stay in the range of pixels, whitened image by image.
        beta: cap on every layer's operator norm; inf leaves the weights free.
        norm_kind: "operator", the norm of the convolution; "reshaped", Miyato's.
        tracker: how sigma follows the weights, "krylov", or "power": one iteration, as the authors.
        sigma_gradient: "exact", through sigma, or "detached".
        optimizer: "sgd" (momentum 0.9) or "adam".
        learning_rate: constant up to `decay`.
        decay: factor d in learning_rate * d ** (epoch / 390), the authors' schedule.
        schedule: "constant", which is the authors' but for `decay`; "piecewise": a tenth of the
            rate after half of the epochs, a hundredth after three quarters.
        weight_decay: coefficient of ||w||^2 / 2 in the loss.
        batch_size: images in a step; a last partial batch is dropped.
        epochs: passes over the training set, at most.
        stop_accuracy: stop when the mean running training accuracy of five epochs reaches it.
        select: the net that is kept: "last", as the authors did, or "best": that of the epoch
            with the best validation accuracy under the training attack (early stopping). Small
            training sets are validated every few epochs only.
        augment: random shifts of the training images, and mirror images where they mean the same.
        temperature: number by which the logits are divided, in training and after; 1 is off.
        precision: of training: "float32"; "tf32", the shortened float32 products of CUDA, refused
            elsewhere; "bfloat16" for autocast. Measurements are in float32 whatever it is.
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
    random_start: bool = False
    restarts: int = 1
    clip: bool = False
    select: str = "last"
    schedule: str = "constant"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        errors.one_of("scheme", self.scheme, SCHEMES)
        errors.one_of("optimizer", self.optimizer, ("sgd", "adam"))
        self._set("beta", errors.positive("beta", self.beta, infinite=True))
        unused = _unused(vars(self))
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, reason in unused.items():
            value = getattr(self, name)
            errors.require(
                value is None or value == defaults[name] or value == IDLE.get(name),
                f"{name} is {value!r}, but {reason} does not use it; leave it out.",
            )
            self._set(name, IDLE.get(name))
        if self.scheme in ("fgm", "pgm", "trades"):
            errors.require(
                self.eps is not None or self.eps_ratio is not None,
                f"eps and eps_ratio are None for scheme {self.scheme!r}; give one of them.",
            )
        idle = {*unused, "train_size", "eps", "eps_ratio"}
        for name in defaults:
            value = getattr(self, name)
            if value is not None:
                self._set(name, _checked(name, value))
            elif name not in idle:
                raise errors.UserError(
                    f"{name} is None; scheme {self.scheme!r} with beta {self.beta} needs it."
                )
        errors.require(
            self.scheme != "wrm" or self.norm == 2.0,
            f"norm is {self.norm!r} for scheme 'wrm'; WRM is defined for norm 2 only.",
        )
        errors.require(
            self.restarts == 1 or self.random_start,
            f"restarts is {self.restarts} without random_start, which repeats one attack; set "
            "random_start=True or restarts=1.",
        )
        errors.require(
            self.select == "last" or self.labels == "true",
            f"select is {self.select!r} with labels {self.labels!r}; the validation labels are "
            "true, so they cannot choose among epochs of learning by heart. Use select='last'.",
        )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def settings(self) -> dict[str, object]:
        """Every field and its value, for a record; those of `LATER` only where they differ."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in LATER or value != LATER[name]
        }

    @property
    def name(self) -> str:
        """The name of this run's record."""
        return name_of(self.settings())

    @classmethod
    def of(cls, **settings: object) -> Run:
        """The run with these settings, those without effect beside the others left out.

        For settings that several schemes share: a scale's base, an experiment's grid.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        unused = _unused(defaults | settings)
        return cls(**{name: value for name, value in settings.items() if name not in unused})

    @classmethod
    def from_settings(cls, settings: dict[str, object]) -> Run:
        """The run with these settings, as a record holds them."""
        return cls(**settings)


IDLE = {"decay": 1.0, **LATER}
"""What a setting without effect is set to, where that is not None."""


def _unused(settings: Mapping[str, object]) -> dict[str, str]:
    """The settings that have no effect beside the others, and what does not use them."""
    scheme, beta, optimizer = (settings[name] for name in ("scheme", "beta", "optimizer"))
    unused = dict.fromkeys(UNUSED.get(scheme, "").split(), f"scheme {scheme!r}")
    if settings["eps"] is not None and scheme in ("fgm", "pgm", "trades"):
        unused["eps_ratio"] = f"eps {settings['eps']!r}, which replaces it,"
    if beta in (math.inf, "inf"):
        free = ("norm_kind", "tracker", "sigma_gradient")
        unused |= dict.fromkeys(free, "beta inf, which leaves the weights free,")
    if optimizer == "adam":
        unused["decay"] = "optimizer 'adam', whose rate is constant,"
    if settings["schedule"] == "piecewise":
        unused["decay"] = "schedule 'piecewise'"
    return unused


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
        if CHOICES[name] == (False, True):
            return bool(value)
    return value
