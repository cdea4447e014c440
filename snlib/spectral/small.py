"""Largest singular value of a small operator, from the Gram matrix of its shorter side.

All eigenvectors of a Gram matrix cost more than the rest of a refresh once it has some 40 rows. But
the leading ones of the last refresh are known, and products with the matrix are cheap: a block of
them and one coordinate vector, another each time, is filtered by the fourth power of the matrix
until the Ritz value stalls. Every sixteenth refresh, and where it does not stall, all are computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snlib.spectral.operators import Operator, ReshapedKernel, check_finite
from snlib.spectral.tracking import Track

SMALL_MATRIX, SMALL_INPUT = 64, 128  # shorter side, inputs of a convolution: above, Krylov is best
LEADERS = 7  # eigenvectors kept from one refresh to the next
WARM = 40  # rows of the Gram matrix from which keeping them pays
STALLED = 1e-4  # growth of the Ritz value of sigma^2 below which the filter stops
ROUNDS = 5
RENEWED = 16  # refreshes between two that compute all eigenvectors


def is_small(operator: Operator | ReshapedKernel) -> bool:
    """Whether `exact` is cheaper than tracking."""
    if operator.linear:
        return min(operator.outputs, operator.inputs) <= SMALL_MATRIX
    return operator.inputs <= SMALL_INPUT


def shorter_side(operator: Operator | ReshapedKernel) -> int:
    """Rows of the Gram matrix."""
    return min(operator.outputs, operator.inputs)


def leaders(operator: Operator | ReshapedKernel) -> int:
    """How many eigenvectors are kept."""
    return LEADERS if shorter_side(operator) >= WARM else 0


def exact(
    operator: Operator | ReshapedKernel, weight: Tensor, kept: Tensor, count: int = 0
) -> Track:
    """The leading singular triple.

    Args:
        operator: the layer's linear map.
        weight: its weight, detached.
        kept: (p, shorter side) orthonormal leaders of the last refresh; p = 0 for none.
        count: number of this refresh; multiples of 16 compute all eigenvectors.
    """
    matrix = operator.matrix(weight)
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    trace = gram.trace()  # the sum of the squares of all entries: one that is not finite shows in
    check_finite(trace, operator.name)  # it
    found = _filtered(gram, float(trace), kept, count) if len(kept) and count % RENEWED else None
    value, vectors = _all(gram, max(1, len(kept))) if found is None else found
    short = vectors[:1]
    long = short @ matrix if wide else short @ matrix.T
    long = long / long.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    u, v = (short, long) if wide else (long, short)
    sigma = max(value, 0.0) ** 0.5
    return Track(sigma, u if sigma else torch.zeros_like(u), v, vectors[: len(kept)], 1, 0.0)


def _all(gram: Tensor, count: int) -> tuple[float, Tensor]:
    """The largest eigenvalue, and the `count` leading eigenvectors as rows, leader first."""
    values, vectors = torch.linalg.eigh(gram)
    return float(values[-1]), vectors[:, -count:].flip(1).T


def _filtered(gram: Tensor, scale: float, kept: Tensor, count: int) -> tuple[float, Tensor] | None:
    """The same by a filtered block; None where it does not settle."""
    if not scale > 0:
        return None
    gram = gram / scale
    squared = gram @ gram
    coordinate = torch.zeros_like(kept[:1])
    coordinate[0, count * 37 % gram.shape[0]] = 1.0
    rows, before = torch.cat([kept, coordinate]), 0.0
    for _ in range(ROUNDS):
        basis = torch.linalg.qr((rows @ squared @ squared).T).Q
        values, vectors = torch.linalg.eigh(basis.T @ gram @ basis)
        rows = vectors.flip(1).T @ basis.T
        value = float(values[-1])
        if abs(value - before) <= STALLED * value:
            return value * scale, rows[: len(kept)]
        before = value
    return None
