"""Norm balls around each sample: steepest directions, projections, uniform points, exact borders.

Everywhere `x` and `delta` are (N, ...), norms are taken per sample, and `eps` is a float or a
float64 tensor that broadcasts against `x` (N, 1, ..., 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snlib import capturing
from snlib.errors import UserError

INF = math.inf
NORMS = {2: 2, 1: 1, INF: INF, "inf": INF}

# Two float64 sums of the same numbers in another order differ by a few 1e-15; this margin keeps
# ||delta|| <= eps true whichever way a reader adds up.
_SUM_SLACK = 2.0**-44
BLIND_PASSES = 3


def as_norm(norm: object) -> float:
    """Return 2, 1 or math.inf ("inf" is accepted too, as JSON has no infinity).

    Raises:
        UserError: for any other norm.
    """
    try:
        return NORMS[norm]  # type: ignore[index]
    except (KeyError, TypeError):
        message = f"norm is {norm!r}; allowed are 2, 1 and math.inf (in JSON the word inf)."
        raise UserError(message) from None


def sample_dims(x: Tensor) -> tuple[int, ...]:
    """All dimensions but the first."""
    return tuple(range(1, x.ndim))


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, ..., 1) so that it broadcasts against `x`."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def sizes(delta: Tensor, norm: float) -> Tensor:
    """Norm of each sample in float64, so that float32 squares cannot underflow. (N, 1, ..., 1)."""
    return torch.linalg.vector_norm(
        delta, ord=norm, dim=sample_dims(delta), keepdim=True, dtype=torch.float64
    )


def inner_radius(eps: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """The radius used while iterating: a hair inside eps, so that rounding rarely leaves it."""
    return eps * (1.0 - max(4.0 * torch.finfo(dtype).eps, 2.0 * _SUM_SLACK))


def steepest(gradient: Tensor, norm: float, l1: str = "steepest") -> Tensor:
    """Unit-norm direction of steepest ascent; 0 where the gradient is 0. May overwrite `gradient`.

    2: g / ||g||_2. inf: sign(g). 1, "steepest": the coordinate of largest |g|, shared equally
    between ties. 1, "gradient": g / ||g||_1, as in the authors' code (not steepest).
    """
    if norm == INF:
        return gradient.sign_()
    if norm == 1 and l1 == "steepest":
        size = gradient.abs()
        top = size == size.amax(dim=sample_dims(gradient), keepdim=True)
        share = top.sum(dim=sample_dims(gradient), keepdim=True)
        return gradient.sign_().mul_(top).div_(share)
    return unit(gradient, sizes(gradient, norm))


def unit(gradient: Tensor, size: Tensor) -> Tensor:
    """gradient / size in place; 0 where the size is 0."""
    size = size.to(gradient.dtype)
    # A zero gradient over 1 stays zero: no floor that would shorten confident samples.
    return gradient.div_(size.masked_fill_(size == 0, 1.0))


def project(delta: Tensor, radius: float | Tensor, norm: float, l1: str = "steepest") -> Tensor:
    """Nearest point of the ball (norms 2, and 1 with "steepest"); in place where possible.

    For norm 1 with "gradient" the perturbation is scaled back radially, as in the authors' code.
    """
    size = sizes(delta, norm)
    if norm == 1 and l1 == "steepest":
        return _project_l1(delta, size, radius)
    return shrink(delta, size, radius)


def shrink(delta: Tensor, size: Tensor, radius: float | Tensor) -> Tensor:
    """Scale delta in place to at most `radius` where its `size` is larger."""
    # The floor only turns 0 / 0 into 0: no float has a smaller norm than 1e-300 but 0 itself.
    return delta.mul_((radius / size.clamp_(min=1e-300)).clamp_(max=1.0).to(delta.dtype))


def _project_l1(delta: Tensor, size: Tensor, radius: float | Tensor) -> Tensor:
    """Euclidean projection onto the l1 ball (Duchi et al. 2008): soft thresholding."""
    outside = size > radius
    if not capturing.active() and not bool(outside.any()):
        return delta
    magnitude = delta.abs().flatten(1).double().sort(dim=1, descending=True).values
    excess = magnitude.cumsum(dim=1) - (
        radius.reshape(-1, 1) if isinstance(radius, Tensor) else radius
    )
    rank = torch.arange(1, magnitude.shape[1] + 1, device=delta.device, dtype=torch.float64)
    last = (magnitude * rank > excess).sum(dim=1, keepdim=True).clamp_(min=1)
    threshold = (excess.gather(1, last - 1) / last).clamp_(min=0.0)
    threshold = per_sample(threshold[:, 0], delta).masked_fill_(~outside, 0.0).to(delta.dtype)
    return delta.sign() * (delta.abs() - threshold).clamp_(min=0.0)


def uniform(x: Tensor, radius: float | Tensor, norm: float, generator: torch.Generator) -> Tensor:
    """A perturbation drawn uniformly from each sample's ball (by volume, not by radius)."""
    made = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    if norm == INF:
        unit = torch.rand(x.shape, **made).mul_(2.0).sub_(1.0)
    else:
        unit = torch.randn(x.shape, **made)
        if norm == 1:  # i.i.d. Laplace coordinates: uniform direction of the l1 sphere
            unit = unit.sign() * -torch.rand(x.shape, **made).clamp_(min=1e-300).log_()
        dimension = max(x[0].numel(), 1) if len(x) else 1
        length = torch.rand(len(x), **made).pow_(1.0 / dimension)
        unit = unit.div_(sizes(unit, norm)).mul_(per_sample(length, x))
    start = torch.empty_like(x)
    return start.copy_(unit.to(x.device) * radius)


def border(x: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor]:
    """The outermost numbers of x's own dtype within eps of each x, as (low, high)."""
    exact = x.double()

    def outermost(offset: float | Tensor) -> Tensor:
        edge = (exact + offset).to(x.dtype)
        beyond = (edge.double() - exact).abs() > eps
        return torch.where(beyond, toward(edge, x), edge)

    return outermost(-eps), outermost(eps)


def toward(value: Tensor, target: Tensor) -> Tensor:
    """The next number of this dtype from `value` towards `target`."""
    if value.dtype in (torch.float32, torch.float64, torch.bfloat16):
        return torch.nextafter(value, target)
    step = value.abs().float() * torch.finfo(value.dtype).eps + torch.finfo(value.dtype).tiny
    return (value.float() + step * (target.float() - value.float()).sign()).to(value.dtype)


def enforce(x: Tensor, x_adv: Tensor, eps: float | Tensor, norm: float) -> Tensor:
    """Shrink towards x until ||x_adv - x|| <= eps holds in float64, for every sample.

    Pass k aims at (1 - 2^k u) eps, with u a quarter of the dtype's precision; usually nothing is
    left to do, and the last pass returns x itself, so that the loop always ends. Recorded for
    replay, when it cannot be seen whether anything is left, it is three passes and that last one.
    """
    exact = x.double()
    unit = max(torch.finfo(x.dtype).eps / 4.0, _SUM_SLACK)
    target = eps * (1.0 - _SUM_SLACK)
    blind = capturing.active()
    for attempt in range(BLIND_PASSES if blind else 2 + math.ceil(-math.log2(unit))):
        size = sizes(x_adv.double() - exact, norm)
        beyond = size > target
        if not blind and not bool(beyond.any()):
            return x_adv
        keep = (eps / size.clamp(min=1e-300)) * max(1.0 - 2.0 ** (attempt + 1) * unit, 0.0)
        nearer = exact + (x_adv.double() - exact) * keep
        x_adv = torch.where(beyond, nearer.to(x.dtype), x_adv)
    if blind:
        beyond = sizes(x_adv.double() - exact, norm) > target
    return torch.where(beyond, x, x_adv)
