"""Largest singular value of a slowly moving operator: warm Rayleigh-Ritz on a kept subspace.

A budgeted layer pushes down exactly the singular direction it tracks, so the others rise, the top
of the spectrum flattens and modes keep crossing. One remembered vector then loses the top. Here a
few Ritz vectors are kept from step to step, and each refresh enlarges their span by residuals of
the leading pair (for a fixed operator: thick-restarted Lanczos) until the Ritz value stops growing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snlib.errors import UserError
from snlib.spectral.operators import Operator, ReshapedKernel

MEMORY = 3  # Ritz vectors kept from one refresh to the next
FEWEST, MOST = 3, 12  # products with A^T A in one refresh
COLD = 40  # products of a cold start
GROWTH = 1e-3  # relative growth of the Ritz value below which a refresh stops
GRAM = 32  # matrices with a side up to this are solved exactly by their Gram matrix


@dataclass
class Track:
    """What one refresh found: sigma = <u, A v> with unit u (1, m) and v (1, n)."""

    sigma: float
    u: Tensor
    v: Tensor
    basis: Tensor | None
    products: int
    growth: float


def random_basis(rows: int, size: int, like: Tensor, seed: int) -> Tensor:
    """Orthonormal rows (rows, size) from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, min(rows, size), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(start).Q.T.to(like)


def _leading(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, largest last; small, so always on the CPU in float64."""
    return torch.linalg.eigh(gram.to("cpu", torch.float64))


def _check(value: float, name: str) -> None:
    if not value < float("inf"):  # NaN fails too
        raise UserError(
            f"the weight of {name} holds NaN or inf; its norm is undefined; "
            "lower the learning rate or load an earlier checkpoint."
        )


def krylov(
    operator: Operator | ReshapedKernel,
    weight: Tensor,
    basis: Tensor,
    *,
    fewest: int = FEWEST,
    most: int = MOST,
    growth: float = GROWTH,
) -> Track:
    """Enlarge span(basis) by residuals of its leading Ritz pair until the Ritz value stalls.

    Args:
        operator: the layer's linear map.
        weight: its weight, detached.
        basis: (p, n) orthonormal rows.
        fewest: products with A^T A before stopping is considered.
        most: products at which it stops anyway.
        growth: stop when a product raises the Ritz value of sigma by less than this fraction.
    """
    kept = basis.shape[0]
    total = min(kept + most, basis.shape[1])
    rows = basis.new_empty(total, basis.shape[1])
    rows[:kept] = basis
    images = basis.new_empty(total, operator.outputs)
    images[:kept] = operator.forward(basis, weight)
    gram = torch.zeros(total, total, dtype=torch.float64)
    gram[:kept, :kept] = images[:kept] @ images[:kept].T
    size, products, previous, increase = kept, 0, 0.0, float("inf")
    while True:
        values, vectors = _leading(gram[:size, :size])
        value = float(values[-1])
        _check(value, operator.name)
        if value <= 0.0:
            break
        increase = (value - previous) / (2 * value)
        previous = value
        if size == total or (products >= fewest and increase < growth):
            break
        lead = vectors[:, -1].to(rows)
        back = operator.adjoint((lead @ images[:size])[None], weight)[0]
        products += 1
        # Twice, because once loses orthogonality in float32 when the residual is small.
        scale = float(back.norm())
        back = back - (rows[:size] @ back) @ rows[:size]
        back = back - (rows[:size] @ back) @ rows[:size]
        length = float(back.norm())
        if length <= 1e-6 * scale:
            break
        rows[size] = back / length
        images[size : size + 1] = operator.forward(rows[size : size + 1], weight)
        border = images[: size + 1] @ images[size]
        gram[size, : size + 1] = border
        gram[: size + 1, size] = border
        size += 1
    ritz = vectors[:, -kept:].flip(1).T.to(rows)
    basis = ritz @ rows[:size]
    image = ritz[:1] @ images[:size]
    length = image.norm()
    sigma = max(previous, 0.0) ** 0.5
    u = image / length.clamp_min(torch.finfo(image.dtype).tiny)
    return Track(sigma, u, basis[:1], basis, products, increase)


def gram(operator: ReshapedKernel, weight: Tensor) -> Track:
    """Exact, for matrices with a short side: the eigenvectors of the small Gram matrix."""
    matrix = operator.matrix(weight)
    wide = matrix.shape[0] <= matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    sigma = float(values[-1].clamp_min(0)) ** 0.5
    _check(sigma, operator.name)
    short = vectors[:, -1:].T
    long = short @ matrix if wide else short @ matrix.T
    long = long / long.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    u, v = (short, long) if wide else (long, short)
    if sigma == 0.0:
        u = torch.zeros_like(u)
    return Track(sigma, u, v, None, 1, 0.0)


def power(
    operator: Operator | ReshapedKernel, weight: Tensor, basis: Tensor, steps: int
) -> Track:
    """Power iteration as in the paper's code: sigma = <A v, u> with u from before v moved."""
    v = basis[:1]
    tiny = torch.finfo(v.dtype).tiny
    for _ in range(steps):
        u = operator.forward(v, weight)
        u = u / u.norm().clamp_min(tiny)
        v = operator.adjoint(u, weight)
        sigma = float(v.norm())
        v = v / v.norm().clamp_min(tiny)
    _check(sigma, operator.name)
    return Track(sigma, u, v, v if sigma > 0 else basis[:1], steps, float("nan"))
