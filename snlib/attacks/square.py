"""Attacks that see no gradient of ours: a small Square attack, and AutoAttack from its library."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snlib.attacks import balls
from snlib.attacks.objectives import check_inputs, check_logits
from snlib.attacks.path import radius, whole
from snlib.attacks.projected import violation
from snlib.attacks.state import Net, untouched
from snlib.errors import UserError, fitting, one_of, positive


def square(
    net: Net,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    norm: float = 2,
    queries: int = 200,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random search over square windows: needs the logits only, so no gradient can mislead it.

    Every query moves the perturbation's mass into one random window per sample, with random signs
    per channel, and keeps it where the margin got worse. Windows shrink with the queries. The
    perturbation always has full size: eps everywhere (inf), or total norm eps (2 and 1).

    Source: after Andriushchenko et al. 2020, with one simple proposal for all norms; a sanity
    check, not a substitute for the 5,000 queries of AutoAttack.

    Args:
        net, x, y, eps, norm: as for `pgm`; x (N, C, H, W), or (N, D) searched along D.
        queries: forward passes per sample.
        generator: source of the windows; None means a fresh one seeded 0.

    Returns:
        x_adv as x, detached, with ||x_adv - x|| <= eps in float64.

    Raises:
        UserError: as `pgm`.
    """
    norm = balls.as_norm(norm)
    whole("queries", queries)
    check_inputs(x, y, "true")
    generator = generator or torch.Generator().manual_seed(0)
    size = radius("eps", eps, x)
    images = x.detach().clone()
    images = images if x.ndim == 4 else images.reshape(len(x), 1, 1, -1)
    with untouched(net, x.device), torch.no_grad(), fitting(net, x.shape, x.dtype):
        check_logits(net(x), x, y)
        signs = _signs((*images.shape[:2], 1, images.shape[3]), images, generator)
        delta = _resize(signs.expand_as(images), size, norm, x)
        best = violation(net, x + delta, y)
        for query in range(queries):
            window = _window(images, query / queries, generator)
            signs = _signs((*images.shape[:2], 1, 1), images, generator)
            trial = _move(delta.reshape_as(images), window, signs, norm)
            trial = _resize(trial, size, norm, x)
            found = violation(net, x + trial, y)
            better = found > best
            delta = torch.where(balls.per_sample(better, x), trial, delta)
            best = torch.where(better, found, best)
        if norm == balls.INF:
            low, high = balls.border(x, size)
            return torch.maximum(torch.minimum(x + delta, high), low)
        return balls.enforce(x, x + delta, size, norm)


def _signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    draw = torch.randint(0, 2, shape, generator=generator, device=generator.device)
    return (2 * draw - 1).to(like)


def _window(images: Tensor, progress: float, generator: torch.Generator) -> Tensor:
    """One window per sample as a mask (N, 1, H, W); its area falls from 0.4 to 0.01 of the map."""
    n, _, height, width = images.shape
    area = 0.4 * 0.025**progress
    tall = max(1, min(height, round(math.sqrt(area) * height)))
    wide = max(1, min(width, round(math.sqrt(area) * width if height > 1 else area * width)))

    def cover(length: int, extent: int) -> Tensor:
        start = torch.randint(0, length - extent + 1, (n, 1), generator=generator,
                              device=generator.device).to(images.device)  # fmt: skip
        place = torch.arange(length, device=images.device)
        return (place >= start) & (place < start + extent)

    return cover(height, tall)[:, None, :, None] & cover(width, wide)[:, None, None, :]


def _move(delta: Tensor, window: Tensor, signs: Tensor, norm: float) -> Tensor:
    """Fill the window with one value per channel; for norms 2 and 1 it gets half of the mass."""
    if norm == balls.INF:
        return torch.where(window, signs, delta.sign())
    outside = delta * ~window
    rest = balls.sizes(outside, norm)
    cells = window.sum((1, 2, 3), keepdim=True) * delta.shape[1]
    mass = torch.where(rest > 0, rest, torch.ones_like(rest))
    value = mass / cells.double() ** (1.0 / norm)
    return outside + (window * signs) * value.to(delta.dtype)


def _resize(delta: Tensor, size: float | Tensor, norm: float, x: Tensor) -> Tensor:
    """The perturbation at full size, in the shape of x."""
    delta = delta.reshape(x.shape)
    if norm == balls.INF:
        return (delta * size).to(x.dtype)
    return (delta * (size / balls.sizes(delta, norm))).to(x.dtype)


def autoattack(
    net: Net,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    norm: float = 2,
    version: str = "standard",
    parts: tuple[str, ...] | None = None,
    square_queries: int = 5000,
    batch_size: int = 250,
    seed: int = 0,
) -> Tensor:
    """AutoAttack (Croce and Hein 2020) on inputs of any range, through the package `pyautoattack`.

    The package clamps to [0, 1], so x is mapped to z = x / S + 1/2 with a power of two S so large
    that no point of the ball touches the box. What it returns is projected back to the ball of
    x: its own results exceed eps by up to 2e-4 (relative). Random states are restored.

    Args:
        net, x, y, norm: as for `pgm`; x in float32 with 4 dimensions.
        eps: one radius for all, in units of x.
        version: "standard", "plus" or "rand".
        parts: instead of a version, some of "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t",
            "square".
        square_queries: of its Square attack.
        batch_size, seed: as the package's.

    Returns:
        x_adv as x; samples that withstood are x itself. Costs about 300 PGM-15 runs in full.

    Raises:
        UserError: if the package is missing, and as `pgm`.
    """
    norm = balls.as_norm(norm)
    one_of("version", version, ("standard", "plus", "rand"))
    eps = positive("eps", eps)
    check_inputs(x, y, "true")
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise UserError(
            "autoattack needs the package pyautoattack; install it with pip install snlib[audit]."
        ) from None
    x = x.detach()
    span = 2.0 ** math.ceil(math.log2(2.0 * (float(x.abs().max()) + eps) + 1e-6))

    def boxed(z: Tensor) -> Tensor:
        return net((z - 0.5) * span)

    with torch.inference_mode(False), untouched(net, x.device):
        with torch.no_grad():
            check_logits(net(x), x, y)
        names = {2: "L2", 1: "L1", balls.INF: "Linf"}
        kind = {"version": version} if parts is None else {"version": "custom",
                                                           "attacks": list(parts)}  # fmt: skip
        attack = AutoAttack(boxed, norm=names[norm], eps=eps / span, device=str(x.device),
                            seed=seed, **kind)  # fmt: skip
        attack.square.n_queries = square_queries
        z = (x.float() / span + 0.5).contiguous()
        with torch.enable_grad():
            found, _ = attack.run_standard_evaluation(z, y, batch_size=batch_size)
        moved = (found != z).flatten(1).any(1)
        x_adv = torch.where(balls.per_sample(moved, x), ((found - 0.5) * span).to(x.dtype), x)
        if norm == balls.INF:
            low, high = balls.border(x, eps)
            return torch.maximum(torch.minimum(x_adv, high), low)
        inside = x + balls.project(x_adv - x, balls.inner_radius(eps, x.dtype), norm)
        return balls.enforce(x, inside, eps, norm).detach()
