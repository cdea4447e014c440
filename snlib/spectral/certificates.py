"""Intervals that contain a layer's operator norm, and how sure they are.

Three certificates, all in float64:

* dense: the unrolled matrix and its singular values, for small maps; rigorous up to rounding.
* fft: a zero-padded convolution is a submatrix of a (strided) block-circulant one on a larger
  torus, whose norm is that of small matrices, one a frequency; rigorous, loose by 0-8 %.
* lanczos: Golub-Kahan-Lanczos from a random start; its largest Ritz value is a lower bound, and the
  Lanczos polynomial an upper bound that fails with a stated probability over the start vector
  (van Dorsselaer, Hochstenbach and van der Vorst 2000, https://ir.cwi.nl/pub/4505).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snlib import errors
from snlib.spectral import fourier
from snlib.spectral.geometry import geometry_of
from snlib.spectral.operators import (
    Operator,
    ReshapedKernel,
    check_finite,
    dense_matrix,
    plain_class,
)

FAILURE_PROBABILITY = 1e-6
ROUNDING = 1e-10  # generous against float64 rounding in the factorizations used here
DENSE_SIDE, DENSE_ENTRIES = 640, 2**22
LONGEST = 160  # Lanczos steps
FOURIER_COST = 2e10  # multiplications, about ten seconds on one core


class Interval(NamedTuple):
    """lower <= true norm <= upper.

    Attributes:
        lower: a Rayleigh quotient, always below the true norm.
        upper: above it, always (failure_probability 0) or but with that probability.
        method: "dense", "fft", "lanczos" or "exact" (the zero map).
        failure_probability: of the upper end, over the random start; 0.0 = rigorous.
    """

    lower: float
    upper: float
    method: str
    failure_probability: float


def dense_interval(matrix: Tensor) -> Interval:
    """The largest singular value of a float64 matrix, widened by its rounding error."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    value = float(torch.linalg.eigvalsh(short @ short.T)[-1].clamp_min(0.0)) ** 0.5
    return Interval(value * (1 - ROUNDING), value * (1 + ROUNDING), "dense", 0.0)


def lanczos(
    operator: Operator | ReshapedKernel,
    weight: Tensor,
    *,
    tolerance: float = 1e-2,
    seed: int = 0,
    failure_probability: float = FAILURE_PROBABILITY,
) -> Interval:
    """Golub-Kahan-Lanczos from a fresh random start, until the interval is narrow enough.

    The k-th Lanczos polynomial p_k satisfies |p_k(lambda_1)| |xi| <= 1, where xi is the start's
    component along the leading eigenvector, and grows beyond its largest zero. A start uniform on
    the sphere in R^n has P(|xi| < delta) <= delta sqrt(2 n / pi), so the root of
    p_k = 1 / delta bounds lambda_1 but with that probability.

    Args:
        operator: the linear map.
        weight: float64 weight.
        tolerance: stop when upper / lower - 1 is below this, or after 160 steps.
        seed: of the start vector; a fresh one, never the tracked singular vector.
        failure_probability: of the upper end.
    """
    size = operator.inputs
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(size, generator=generator, dtype=torch.float64).to(weight.device)
    v = v / v.norm()
    # xi^2 has the law of the start's component: P(|xi| < delta) <= delta sqrt(2 n / pi).
    log_limit = -math.log(failure_probability * math.sqrt(math.pi / (2 * size)))
    limit = min(LONGEST, size)
    right, left = weight.new_empty(limit, size), weight.new_empty(limit, operator.outputs)
    alphas: list[float] = []
    betas: list[float] = []
    lower, upper = 0.0, math.inf
    for k in range(limit):
        right[k] = v
        u = operator.forward(v[None], weight)[0]
        for _ in range(2):
            u = u - (left[:k] @ u) @ left[:k]
        alpha = float(u.norm())
        if alpha <= 1e-14 * max(alphas, default=0.0):
            # The images span an invariant subspace: the Ritz values are singular values.
            if alphas:
                lower = upper = math.sqrt(float(_ritz(alphas, betas, wide=True)[-1]))
            break
        left[k] = u / alpha
        w = operator.adjoint(left[k][None], weight)[0]
        for _ in range(2):
            w = w - (right[: k + 1] @ w) @ right[: k + 1]
        beta = float(w.norm())
        alphas.append(alpha)
        betas.append(beta)
        broke = beta <= 1e-14 * max(alphas)
        if broke or (k + 1) % 5 == 0 or k + 1 == limit:
            ritz = _ritz(alphas, betas)
            lower = math.sqrt(float(ritz[-1]))
            # An invariant subspace: p_k is infinite beyond its largest zero.
            upper = lower if broke else math.sqrt(_root(ritz, alphas, betas, log_limit))
            if broke or upper <= lower * (1 + tolerance):
                break
        v = w / beta
    if upper == 0.0 or not alphas:
        return Interval(0.0, 0.0, "exact", 0.0)
    return Interval(lower * (1 - ROUNDING), upper * (1 + ROUNDING), "lanczos", failure_probability)


def _ritz(alphas: Sequence[float], betas: Sequence[float], wide: bool = False) -> Tensor:
    """Squared singular values, ascending, of the upper bidiagonal k x k (wide: k x k+1) matrix."""
    size = len(alphas)
    bidiagonal = torch.zeros(size, size + 1, dtype=torch.float64)
    bidiagonal[range(size), range(size)] = torch.tensor(alphas, dtype=torch.float64)
    bidiagonal[range(size), range(1, size + 1)] = torch.tensor(betas, dtype=torch.float64)
    bidiagonal = bidiagonal if wide else bidiagonal[:, :size]
    return torch.linalg.svdvals(bidiagonal).square().flip(0)


def _root(ritz: Tensor, alphas: Sequence[float], betas: Sequence[float], log_limit: float) -> float:
    """The t > max(ritz) at which log p_k(t) = log_limit, by bisection from above."""
    top = float(ritz[-1])
    scale = sum(math.log(a) + math.log(b) for a, b in zip(alphas, betas, strict=True))

    def excess(step: float) -> float:
        gaps = torch.log((top - ritz) / top + step) + math.log(top)
        return float(gaps.sum()) - scale - log_limit

    low, high = 0.0, 1e-12
    while excess(high) < 0:
        low, high = high, high * 4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return top * (1 + high)


def operator_norm(
    layer: nn.Module,
    in_shape: Sequence[int],
    *,
    certificate: str = "auto",
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Interval:
    """An interval around the operator norm of a layer (its effective weight, without the bias).

    Args:
        layer: Linear, Conv1d/2d/3d, ConvTranspose1d/2d/3d or a subclass with its own forward.
        in_shape: shape of one input of the layer, without the batch.
        certificate: "dense", "fft" or "lanczos"; "auto" takes the cheapest rigorous one that is
            narrow enough, else Lanczos.
        tolerance: the relative width at which to stop.
        seed: of the random start of Lanczos.

    Raises:
        UserError: an unknown certificate, a NaN weight or a shape that does not fit.
    """
    errors.one_of("certificate", certificate, ("auto", "fft", "lanczos", "dense"))
    errors.positive("tolerance", tolerance)
    operator = Operator(layer, in_shape)
    check_finite(layer.weight.detach(), "layer")
    weight = layer.weight.detach().double()
    if operator.linear:
        # Every position of a Linear layer's input meets the same matrix.
        operator = ReshapedKernel(layer, in_shape)
    if not bool(weight.any()):
        return Interval(0.0, 0.0, "exact", 0.0)
    sides = sorted((operator.inputs, operator.outputs))
    small = sides[0] <= DENSE_SIDE and sides[0] * sides[1] <= DENSE_ENTRIES
    if certificate == "dense" or (certificate == "auto" and small):
        matrix = operator.matrix(weight) if operator.linear else dense_matrix(layer, in_shape)
        return dense_interval(matrix)
    geometry = None
    if not operator.linear and certificate != "lanczos":
        geometry = geometry_of(operator, layer)
    errors.require(
        certificate != "fft" or geometry is not None,
        f"certificate is 'fft', but the forward of this {plain_class(layer).__name__} is no "
        "convolution that it can embed in a circulant one; use 'lanczos' or 'dense'.",
    )
    found = lanczos(operator, weight, tolerance=tolerance, seed=seed)
    affordable = geometry is not None and fourier.cost(geometry, weight) < FOURIER_COST
    if certificate == "fft" or (certificate == "auto" and affordable):
        upper = fourier.upper_bound(geometry, weight)
        narrow = upper <= found.lower * (1 + tolerance)
        if certificate == "fft" or narrow or upper <= found.upper:
            return Interval(found.lower, upper, "fft", 0.0)
    return found
