"""What is measured of a trained net under many attacks: curves over eps, and how sound they are.

Every function yields rows (attack, quantity, x, value), taken on the first test images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from snlib.attacks import Attack, autoattack, balls, pgm, square
from snlib.datasets import Data
from snlib.evaluation import accuracy, curve
from snlib.models.layers import Temperature
from snlib.runs import Run
from snlib.spectral import frozen

Row = tuple[str, str, float, float]

EPS_RATIO = {"digits": 0.15}
"""Radius at which every net on a data set is attacked, as a share of E||x||_2; else `PAPER_EPS`.

ERM and WRM nets have no radius of their own, and are compared at that of the FGM and PGM nets."""

WRM_GAMMA_RATIO = {"digits": 0.25, "mnist": 0.04}
"""WRM's gamma of the training on a data set, as a share of E||x||_2; else `PAPER_WRM_GAMMA`."""

PAPER_EPS, PAPER_WRM_GAMMA = 0.05, 0.002

INF_EPS = 0.1
"""The paper's linf radius of training, in units of the input, as on every data set here."""

IMAGES = {"digits": 150}
"""Test images, at most, of the curves over eps; else `MANY_IMAGES`."""

CHECKED_IMAGES = {"digits": 100}
"""Test images, at most, on which attacks are checked; else `SOME_IMAGES`."""

MANY_IMAGES, SOME_IMAGES = 2_000, 1_000

PAPER_UNITS = ("cifar10", "cifar10_jpeg", "svhn")
"""Data whose curves are taken at the radii 0 to 5 of the paper's figure: whitened, 28x28."""

PAPER_RADII = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
SHARES = {"ball": (0.0, 0.4, 0.8, 1.2, 1.6, 2.0), "penalty": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
"""The same radii on other data, as multiples of the training radius and of WRM's step there: the
paper's axis ends at 2.06 times the one and at 0.97 times the other."""

SQUARE_QUERIES = 200
SHARP, TARGETS = 100.0, 9
HUGE = 20.0
"""Multiple of the radius at which no image can be told from any other."""


def unit(run: Run, data: Data, kind: str) -> float:
    """The radius of training on these data: of "l2", of "inf", or the step of the "penalty".

    The l2 radius and the step are those of the run's own training, if that had one.
    """
    if kind == "inf":
        return INF_EPS
    if kind == "l2":
        return _usual_radius(run, data) if run.norm == math.inf else evaluation_radius(run, data)
    ratio = run.wrm_gamma_ratio
    if ratio is None:
        ratio = WRM_GAMMA_RATIO.get(run.data, PAPER_WRM_GAMMA)
    return 1.0 / (2.0 * ratio * data.mean_norm)


def evaluation_radius(run: Run, data: Data) -> float:
    """Radius at which a net is attacked by the standard protocol, in units of the input.

    That of its own training if it has one, else that of the FGM and PGM nets on these data.
    """
    if run.eps is not None:
        return run.eps
    if run.eps_ratio is not None:
        return run.eps_ratio * data.mean_norm
    return _usual_radius(run, data)


def _usual_radius(run: Run, data: Data) -> float:
    """The l2 radius of the FGM and PGM nets on the data of a run that has none of its own."""
    return EPS_RATIO.get(run.data, PAPER_EPS) * data.mean_norm


def radii(run: Run, data: Data, kind: str) -> list[float]:
    """The radii at which a curve is taken, in units of the input; of a penalty its steps."""
    if kind == "inf":
        return [INF_EPS * step for step in range(6)]
    if run.data in PAPER_UNITS:
        return list(PAPER_RADII)
    shares = SHARES["penalty" if kind == "penalty" else "ball"]
    return [share * unit(run, data, kind) for share in shares]


def curves(net: nn.Module, x: Tensor, y: Tensor, run: Run, data: Data) -> Iterator[Row]:
    """Accuracy against x = eps under the paper's four attacks by the authors' protocol, and under
    PGM-15 with true labels and log-odds in the net's own norm, else l2 (`pgm_log_odds`).

    Quantity `unit` is the radius (or step) of training on these data, by which eps is to be read.
    """
    count = IMAGES.get(run.data, MANY_IMAGES)
    x, y = x[:count], y[:count]
    own = "inf" if run.norm == math.inf else "l2"
    norm = math.inf if own == "inf" else 2
    tried = {
        "fgm": (Attack("fgm", labels="predicted"), "l2"),
        "pgm": (Attack("pgm", labels="predicted"), "l2"),
        "pgm_inf": (Attack("pgm", norm=math.inf, labels="predicted"), "inf"),
        "wrm": (Attack("wrm", labels="predicted"), "penalty"),
        "pgm_log_odds": (Attack("pgm", norm=norm, labels="true", loss="log_odds"), own),
    }
    for name, (attack, kind) in tried.items():
        yield name, "unit", math.nan, unit(run, data, kind)
        for row in curve(net, x, y, attack, eps=radii(run, data, kind)).itertuples():
            yield name, "accuracy", row.eps, row.accuracy


def checks(net: nn.Module, x: Tensor, y: Tensor, run: Run, data: Data) -> Iterator[Row]:
    """Accuracy at the evaluation radius under attacks from weak to strong, all on the same images.

    `noise` is a random direction, `one_step` FGM with true labels and log-odds, `huge` PGM-15 at 20
    times the radius; `pgm15_predicted` is the authors' protocol, `pgm15_true` has true labels,
    `pgm15_log_odds` the log-odds too. What is left by that meets, one after the other, two random
    starts (`restarts`), PGM-15 towards the margin of each of up to nine other classes (`targeted`),
    and 200 queries of random search (`strongest`): an image counts if it survived all so far.
    Quantity `zero_gradient` is the share of images at which a gradient was exactly zero, `broken`
    the share that random search alone broke.
    """
    count = CHECKED_IMAGES.get(run.data, SOME_IMAGES)
    with frozen(net):  # the weights under a budget are computed once
        yield from _checks(net, x[:count], y[:count], evaluation_radius(run, data), run.norm or 2.0)


def _checks(net: nn.Module, x: Tensor, y: Tensor, eps: float, norm: float) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    yield "none", "accuracy", 0.0, accuracy(net, x, y)
    direction = torch.randn(x.shape, generator=generator).to(x)
    noise = x + eps * balls.steepest(direction, norm, "gradient")
    yield "noise", "accuracy", eps, accuracy(net, noise, y)
    strong = Attack("pgm", eps, norm, loss="log_odds")
    tried = {
        "one_step": Attack("fgm", eps, norm, loss="log_odds"),
        "huge": strong.replace(eps=HUGE * eps),
        "pgm15_predicted": Attack("pgm", eps, norm, labels="predicted"),
        "pgm15_true": Attack("pgm", eps, norm),
        "pgm15_log_odds": strong,
    }
    for name, attack in tried.items():
        found, zeros = _attacked(net, x, y, attack)
        yield name, "accuracy", attack.eps, accuracy(net, found, y)
        yield name, "zero_gradient", attack.eps, zeros
    left = _left(net, x, y, found)
    again = strong.replace(random_start=True, restarts=2)
    left = _after(net, *left, lambda x, y: again(net, x, y, generator))
    yield "restarts", "accuracy", eps, len(left[0]) / len(x)
    left = each_class(net, *left, eps, norm)
    yield "targeted", "accuracy", eps, len(left[0]) / len(x)
    before = len(left[0])
    options = dict(norm=norm, queries=SQUARE_QUERIES, generator=generator)
    left = _after(net, *left, lambda x, y: square(net, x, y, eps, **options))
    yield "square", "broken", eps, (before - len(left[0])) / len(x)
    yield "strongest", "accuracy", eps, len(left[0]) / len(x)


def each_class(
    net: nn.Module, x: Tensor, y: Tensor, eps: float, norm: float = 2
) -> tuple[Tensor, Tensor]:
    """The images, with their labels, that survive PGM-15 towards each other class by itself.

    At most nine classes are tried, likely ones first. Images that are wrong anyhow do not survive.

    Near-uniform probabilities, which a tight budget makes, let the log-odds follow all other
    classes at once, and the attack go nowhere. Of logits times 100 the log-odds of a class are its
    distance to the largest logit alone, as in AutoAttack's targeted part.
    """
    if not len(x):
        return x, y

    sharp = nn.Sequential(net, Temperature(1 / SHARP))
    with torch.no_grad():
        order = torch.cat([net(part) for part in x.split(500)]).scatter(1, y[:, None], -math.inf)
    order = order.argsort(1, descending=True)
    kept = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for target in order[:, : min(TARGETS, order.shape[1] - 1)].T:
        options = dict(norm=norm, loss="log_odds", targeted=True)
        found = [
            pgm(sharp, some_x, some_target, eps, **options)
            for some_x, some_target in zip(x[kept].split(500), target[kept].split(500), strict=True)
        ]
        kept[kept.clone()] = _right(net, torch.cat(found), y[kept])
        if not kept.any():
            break
    return x[kept], y[kept]


def targeted(net: nn.Module, x: Tensor, y: Tensor, run: Run, data: Data) -> Iterator[Row]:
    """Accuracy at the evaluation radius under PGM-15 with true labels and log-odds, on all images,
    and what then survives PGM-15 towards each other class (`targeted`).

    The second does not depend on the scale of the logits: to compare nets that differ in it, as
    budgets and temperatures make them, the first alone is not enough.
    """
    eps, norm = evaluation_radius(run, data), run.norm or 2.0
    strong = Attack("pgm", eps, norm, loss="log_odds")
    with frozen(net):
        left = _after(net, x, y, lambda x, y: strong(net, x, y))
        yield "pgm15_log_odds", "accuracy", eps, len(left[0]) / len(x)
        left = each_class(net, *left, eps, norm)
        yield "targeted", "accuracy", eps, len(left[0]) / len(x)


def under_autoattack(net: nn.Module, x: Tensor, y: Tensor, run: Run, data: Data) -> Iterator[Row]:
    """Accuracy under the standard AutoAttack at the evaluation radius, on the images of `checks`.

    Raises:
        UserError: if the package pyautoattack is missing.
    """
    count = CHECKED_IMAGES.get(run.data, SOME_IMAGES)
    x, y = x[:count], y[:count]
    eps = evaluation_radius(run, data)
    found = autoattack(net, x, y, eps, norm=run.norm or 2.0)
    yield "autoattack", "accuracy", eps, accuracy(net, found, y)


def _attacked(net: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> tuple[Tensor, float]:
    """Attacked images, and the share of those at which some gradient was zero."""
    parts = [
        attack(net, some_x, some_y, return_info=True)
        for some_x, some_y in zip(x.split(500), y.split(500), strict=True)
    ]
    zeros = torch.cat([info.zero_gradient for _, info in parts])
    return torch.cat([found for found, _ in parts]), float((zeros > 0).double().mean())


def _right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether each of x is classified as y, (N,) bool."""
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in x.split(500)]) == y


def _left(net: nn.Module, x: Tensor, y: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The images x that the net still classifies as y at the points `found`."""
    kept = _right(net, found, y)
    return x[kept], y[kept]


def _after(
    net: nn.Module, x: Tensor, y: Tensor, attack: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The images that survive one attack more; none if none are left."""
    if not len(x):
        return x, y
    parts = zip(x.split(500), y.split(500), strict=True)
    return _left(net, x, y, torch.cat([attack(*part) for part in parts]))
