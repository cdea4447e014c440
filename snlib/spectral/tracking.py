"""Largest singular value of a slowly moving operator: warm Rayleigh-Ritz on a kept subspace.

A budgeted layer pushes down exactly the singular direction it tracks, so the others rise, the top
of the spectrum flattens and modes keep crossing. One remembered vector then loses the top: it
converges, to what is no longer the largest. So a few Ritz vectors are kept from step to step, and
each refresh enlarges their span in two directions at once: by residuals of the leading pair (for a
fixed operator: thick-restarted Lanczos), and by a Krylov sequence of a fresh random vector, the
scout, which alone can see a mode that is orthogonal to all that is kept. That happens: an operator
that nearly commutes with shifts hardly couples frequencies, least of all with few channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snlib.spectral.operators import Operator, ReshapedKernel, check_finite

MEMORY = 4  # Ritz vectors kept from one refresh to the next, the last of them for the scout
MOST = 12  # block products with A^T A in one refresh
GROWTH = 1e-3  # relative growth of the Ritz value below which a refresh stops
DRIFT = 3e-3  # change of the Ritz value between refreshes that asks for more products
COLD = 40  # block products of a cold start


@dataclass
class Track:
    """What one refresh found: sigma = <u, A v> with unit u (1, m) and v (1, n).

    Attributes:
        basis: (p, n) Ritz vectors to start from next time; None where the result is exact.
        products: block products with A^T A spent.
        growth: the relative growth of sigma at the last product; nan for power iteration.
    """

    sigma: float
    u: Tensor
    v: Tensor
    basis: Tensor | None
    products: int
    growth: float


def fewest_products(operator: Operator | ReshapedKernel, drift: float) -> int:
    """Block products before a refresh may stop, enough for an overshoot below 1e-2 in training.

    A first layer's few channels hardly couple its frequencies, so it needs more than
    others. Where the tracked value moves fast, so do the hidden ones.

    Args:
        operator: the layer's linear map.
        drift: relative change of the tracked value since the last refresh, before any product.
    """
    calm = 6 if not operator.linear and operator.in_shape[0] <= 4 else 3
    return calm if drift < DRIFT else 2 * calm


def random_basis(rows: int, size: int, like: Tensor, seed: int) -> Tensor:
    """Orthonormal rows (rows, size) from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, min(rows, size), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(start).Q.T.to(like)


def _eigh(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, largest last; small, so always on the CPU in float64."""
    return torch.linalg.eigh(gram.to("cpu", torch.float64))


def _orthonormal(new: Tensor, rows: Tensor) -> Tensor:
    """Rows spanning what `new` adds to the orthonormal `rows`; fewer where it adds nothing."""
    sizes = torch.linalg.vector_norm(new, dim=1, keepdim=True)
    new = new / sizes.clamp_min_(torch.finfo(new.dtype).tiny)
    # Twice, because once loses orthogonality in float32 when little is left.
    new = torch.addmm(new, new @ rows.T, rows, alpha=-1)
    new = torch.addmm(new, new @ rows.T, rows, alpha=-1)
    values, vectors = _eigh(new @ new.T)
    if float(values[0]) <= 1e-12:
        values, vectors = values[values > 1e-12], vectors[:, values > 1e-12]
    new = (vectors / values.sqrt()).T.to(new) @ new
    return torch.addmm(new, new @ rows.T, rows, alpha=-1)


def krylov(
    operator: Operator | ReshapedKernel,
    weight: Tensor,
    basis: Tensor,
    scout: Tensor,
    *,
    tracked: float = 0.0,
    steps: int | None = None,
) -> Track:
    """Enlarge span(basis, scout) by block products until the leading Ritz value stalls.

    Args:
        operator: the layer's linear map.
        weight: its weight, detached.
        basis: (p + 1, n) orthonormal rows: p leaders and what the last scout found.
        scout: (1, n) a random row.
        tracked: sigma of the last refresh, from which the drift is told.
        steps: block products with A^T A; None adapts: at least `fewest_products`, then until one
            raises the Ritz value of sigma by less than 1e-3, at most 12.
    """
    inputs = basis.shape[1]
    kept = len(basis) - 1 if len(basis) < inputs else inputs
    rows = basis[:kept]
    if kept < inputs:
        # Half of the scout is what it had found, so that its sequence goes on over refreshes.
        scout = basis[kept:] + scout / scout.norm()
        rows = torch.cat([rows, _orthonormal(scout, rows)])
    images = operator.forward(rows, weight)
    gram = (images @ images.T).to("cpu", torch.float64)
    products, previous, increase = 0, 0.0, 0.0
    fewest = most = steps
    while True:
        check_finite(gram, operator.name)
        values, vectors = _eigh(gram)
        value = float(values[-1])
        if value <= 0.0:
            break
        if fewest is None:
            drift = abs(value**0.5 / tracked - 1) if tracked > 0 else float("inf")
            fewest, most = fewest_products(operator, drift), MOST
        increase = (value - previous) / (2 * value)
        previous = value
        size = len(gram)
        if products >= most or size == inputs or (products >= fewest and increase < GROWTH):
            break
        # The leader, and the best of what is not kept: the last column, and `kept` before it.
        first = size - 1 if size <= kept or size + 1 == inputs else size - 1 - kept
        pairs = vectors[:, first :: max(kept, 1)].T.to(rows)
        new = _orthonormal(operator.adjoint(pairs @ images, weight), rows)
        products += 1
        if not len(new):
            break
        added = operator.forward(new, weight)
        rows, images = torch.cat([rows, new]), torch.cat([images, added])
        border = (images @ added.T).to("cpu", torch.float64)
        gram = torch.cat([torch.cat([gram, border[:size]], 1), border.T])
    ritz = vectors[:, -len(basis) :].flip(1).T.to(rows)
    basis = ritz @ rows
    image = ritz[:1] @ images
    u = image / image.norm().clamp_min(torch.finfo(image.dtype).tiny)
    return Track(max(previous, 0.0) ** 0.5, u, basis[:1], basis, products, increase)


def power(operator: Operator | ReshapedKernel, weight: Tensor, basis: Tensor, steps: int) -> Track:
    """Power iteration as in the paper's code: sigma = <A v, u> with u from before v moved."""
    v = basis
    tiny = torch.finfo(v.dtype).tiny
    sigma = torch.zeros(())
    for _ in range(steps):
        u = operator.forward(v, weight)
        u = u / u.norm().clamp_min(tiny)
        moved = operator.adjoint(u, weight)
        sigma = moved.norm()
        # A zero map leaves the vector where it was, so that it can grow again.
        v = torch.where(sigma > 0, moved / sigma.clamp_min(tiny), v)
    check_finite(sigma, operator.name)
    return Track(float(sigma), u, v, v, steps, float("nan"))
