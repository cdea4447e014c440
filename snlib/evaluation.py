"""Accuracy clean and under attack, curves over eps with intervals, norm gain, gradient norms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from statistics import NormalDist

import pandas as pd
import torch
from torch import Tensor, nn

from snlib.attacks import Attack, Clip, Net, untouched
from snlib.attacks.balls import sizes
from snlib.attacks.objectives import (
    check_labels,
    check_logits,
    input_gradient,
    log_odds,
    slope_of,
)
from snlib.errors import NotFinite, fitting, positive, require
from snlib.spectral import frozen


def accuracy(
    net: Net,
    x: Tensor,
    y: Tensor,
    attack: Attack | None = None,
    *,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    clip: Clip = None,
) -> float:
    """Share of samples classified as y, in [0, 1], after `attack` if one is given.

    The net is scored in evaluation mode, in the precision of x whatever precision the attack
    ran in, and left as found.

    Args:
        net: module or function from (N, ...) to (N, K) logits.
        x: (N, ...) inputs.
        y: (N,) int64 true labels; the attack itself may use predicted ones.
        attack: settings, or None for the clean accuracy.
        batch_size: samples at a time; None takes `batch_of`.
        generator: for attacks with a random start; None means seed 0.
        clip: replaces the attack's box, also by one per image, (N, 1, 1, 1).

    Raises:
        UserError: for empty or unequal x and y, labels outside the logits, and as the attacks do.
            Without attack NaN logits are scored as torch.argmax reads them: a run that diverged
            is recorded so.
    """
    batch_size = _check_pairs(x, y, batch_size)
    generator = generator or _seeded()
    everyone = torch.arange(len(x), device=x.device)
    with _held(net, x):
        hits = [
            _survives(net, x, y, rows, attack, None, clip, generator)
            for rows in everyone.split(batch_size)
        ]
    return int(torch.cat(hits).sum()) / len(x)


def curve(
    net: Net,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    eps: Sequence[float],
    *,
    batch_size: int | None = None,
    level: float = 0.95,
    skip: bool = True,
    generator: torch.Generator | None = None,
    clip: Clip = None,
) -> pd.DataFrame:
    """Accuracy under the attack at many radii, each with a Wilson interval.

    With labels="true" and a ball (FGM, PGM, TRADES) a sample counts as right at eps only if it
    is right without attack and survives every radius of the list up to eps: what was found in a
    smaller ball also lies in the larger one. Broken samples need not be attacked again, which
    changes no number and saves about two thirds of the work. With labels="predicted" (as in the
    paper's figures) and for WRM, whose eps is no radius, every eps stands alone.

    Args:
        net, x, y, batch_size, generator, clip: as for `accuracy`.
        attack: its eps is replaced by each of the list. For attacks in bfloat16, set
            `precision="bfloat16"`; the score stays in the precision of x.
        eps: numbers >= 0 in units of x, in any order.
        level: confidence of the intervals.
        skip: False attacks everyone at every radius, for a check: same accuracies. (A random
            start draws other numbers then.)

    Returns:
        One row per eps, ascending: eps, accuracy, lower, upper (in [0, 1]), n, gradients (input
        gradients computed for this row).

    Raises:
        UserError: for an empty or negative eps, empty or unequal x and y, and as the attacks do.
    """
    batch_size = _check_pairs(x, y, batch_size)
    require(len(eps) > 0, f"eps is {list(eps)!r}; give at least one number >= 0.")
    radii = sorted(positive("eps", value, zero=True) for value in eps)
    generator = generator or _seeded()
    nested = attack.labels == "true" and attack.kind in ("fgm", "pgm", "trades")
    everyone = torch.arange(len(x), device=x.device)
    right = torch.ones(len(x), dtype=torch.bool, device=x.device)
    rows = []
    with _held(net, x):
        if nested:
            clean = [
                _survives(net, x, y, part, None, None, clip, generator)
                for part in everyone.split(batch_size)
            ]
            right = torch.cat(clean)
        for radius in radii:
            attacked = everyone[right] if nested and skip else everyone
            now = torch.zeros_like(right)
            for part in attacked.split(batch_size):
                used = attack if radius > 0 and attack.kind != "none" else None
                now[part] = _survives(net, x, y, part, used, radius, clip, generator)
            right = right & now if nested else now
            low, high = wilson(int(right.sum()), len(x), level)
            work = attack.gradients_per_sample * len(attacked) if radius > 0 else 0
            rows.append((radius, int(right.sum()) / len(x), low, high, len(x), work))
    return pd.DataFrame(rows, columns=["eps", "accuracy", "lower", "upper", "n", "gradients"])


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a proportion of `correct` out of `n` (Wilson 1927).

    It holds its level also near 0 and 1, where the normal approximation fails.

    Raises:
        UserError: unless 0 <= correct <= n, n >= 1 and 0 < level < 1.
    """
    require(n >= 1 and 0 <= correct <= n, f"correct is {correct} of n {n}; need 0 <= correct <= n.")
    require(0 < level < 1, f"level is {level}; it must lie between 0 and 1, e.g. 0.95.")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The exact ends of none and all are 0 and 1; rounding must not move them.
    low = 0.0 if correct == 0 else max(centre - half, 0.0)
    high = 1.0 if correct == n else min(centre + half, 1.0)
    return low, high


def norm_gain(net: Net, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """||f(x)||_2 / ||x||_2 for each sample, (N,) float64: how much the net stretches its input.

    Source: the paper's figure of norm gains (bounded by the product of operator norms for nets
    without biases). A zero input gives inf or NaN.
    """
    batch_size = batch_of(x) if batch_size is None else batch_size
    with _held(net, x), torch.no_grad():
        parts = [_norms(net(part)) / _norms(part) for part in x.split(batch_size)]
        gains = torch.cat(parts)
        if bool(gains.isnan().any()) and bool(x.flatten(1).any(1).all()):
            raise NotFinite("net gives NaN for a finite x; look for NaN or inf in its weights.")
    return gains


def gradient_norms(net: Net, x: Tensor, y: Tensor, *, batch_size: int | None = None) -> Tensor:
    """||grad_x cross_entropy(f(x), y)||_2 for each sample, (N,) float64.

    The kappa of Theorems 2 and 3 is the minimum over the data. Computed as sigmoid(m) ||grad m||
    with m = logsumexp_{j != y} z_j - z_y, because the plain float32 gradient of a confident
    sample rounds to zero, which would make kappa 0 by rounding alone.
    """
    batch_size = _check_pairs(x, y, batch_size)
    parts = []
    with torch.enable_grad(), _held(net, x):
        for some_x, some_y in zip(x.split(batch_size), y.split(batch_size), strict=True):
            seen: list[Tensor] = []

            def inspect(logits: Tensor, x: Tensor = some_x, y: Tensor = some_y) -> None:
                check_logits(logits, x, y)
                seen.append(logits)  # noqa: B023 - called before the next turn

            gradient = input_gradient(net, slope_of("log_odds", some_y), inspect)
            slope = _norms(gradient(some_x.detach().clone()))
            parts.append(slope * log_odds(seen[0].double(), some_y).sigmoid())
    return torch.cat(parts)


@contextmanager
def _held(net: Net, x: Tensor) -> Iterator[None]:
    """Evaluation mode, restored afterwards; budgeted weights are computed once for all passes."""
    budget = frozen(net) if isinstance(net, nn.Module) else nullcontext()
    with untouched(net, x.device), budget, fitting(net, x.shape, x.dtype):
        yield


def _survives(
    net: Net, x: Tensor, y: Tensor, rows: Tensor, attack: Attack | None, eps: float | None,
    clip: Clip, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Which of the samples `rows` are classified as y after the attack, (len(rows),) bool."""
    some_x, some_y = x[rows], y[rows]
    if attack is not None:
        if clip is not None:  # a box per image goes with its image
            clip = tuple(
                side[rows] if isinstance(side, Tensor) and side.ndim and len(side) == len(x)
                else side
                for side in clip
            )  # fmt: skip
        some_x = attack(net, some_x, some_y, generator, eps=eps, clip=clip)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        logits = net(some_x)
    check_labels(some_y, logits.shape[1])
    return logits.argmax(1) == some_y


def _norms(values: Tensor) -> Tensor:
    """l2 norm per sample in float64, (N,)."""
    return sizes(values, 2).reshape(-1)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _check_pairs(x: Tensor, y: Tensor, batch_size: int | None) -> int:
    """The batch size to take."""
    require(len(x) > 0, f"x has shape {tuple(x.shape)}; give at least one sample.")
    require(
        y.shape == (len(x),),
        f"y has shape {tuple(y.shape)}; it must be ({len(x)},), one label per sample of x.",
    )
    batch_size = batch_of(x) if batch_size is None else batch_size
    require(batch_size >= 1, f"batch_size is {batch_size!r}; it must be a whole number >= 1.")
    return batch_size


def batch_of(x: Tensor) -> int:
    """How many of the samples x (N, ...) to evaluate at a time.

    500, and on a CPU fewer of larger images: allocations above 32 MiB go back to the system at
    once, and the next pass pays for them page by page.
    """
    if x.is_cuda or not len(x):
        return 500
    return max(32, min(500, 100_000 // max(x[0].numel(), 1)))
