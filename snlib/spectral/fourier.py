"""A rigorous upper bound on a convolution's norm from a circulant operator that contains it.

A zero-padded convolution is a submatrix of the block-circulant one on any torus of N points an axis
that is long enough for nothing to alias, N >= size + before and N >= (rows - 1) stride + k - before
(k the dilated kernel); with N a multiple of the stride, the strided circulant splits into one
small matrix a frequency, whose columns are the aliased frequencies side by side (Sedghi, Gupta and
Long 2019 for stride 1; Senderovich et al. 2022 for the folding). Circular padding is the torus of
size N = size itself, so the bound is the norm. FFT at N = size is no bound under zero padding.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from snlib.spectral.geometry import Axis, Geometry

CHUNK_ENTRIES = 2**22
ROUNDING = 1e-10


def _torus(axis: Axis) -> tuple[int, int, float]:
    """(points, stride, squared norm of what embeds the axis into the torus)."""
    size, before, after = axis.size, axis.before, int(axis.padded().max()) - axis.size + 1
    if axis.mode == "circular":
        # Rows o * stride modulo the size are the multiples of the common divisor.
        stride = math.gcd(size, axis.stride)
        rows = torch.arange(axis.rows) * axis.stride % size
        return size, stride, float(torch.bincount(rows).max())
    factor = 1.0
    if axis.mode in ("reflect", "replicate"):
        # Valid convolution of the extended input; extending repeats an entry this many times.
        index = Axis(size, size + before + max(after, 0), 1, 1, 1, before, axis.mode).positions()
        factor = float(torch.bincount(index.flatten()).max())
        size, before, after = len(index), 0, 0
    points = max(size + max(before, after, 0), axis.rows * axis.stride)
    return -(-points // axis.stride) * axis.stride, axis.stride, factor


def cost(geometry: Geometry, weight: Tensor) -> float:
    """Roughly the multiplications of `upper_bound`, to decide whether it is worth them."""
    tori = [_torus(axis) for axis in geometry.axes]
    folds = math.prod(stride for _, stride, _ in tori)
    frequencies = math.prod(points // stride for points, stride, _ in tori) / 2
    rows, columns = weight.shape[0] // geometry.groups, weight.shape[1] * folds
    short, long = min(rows, columns), max(rows, columns)
    return frequencies * geometry.groups * short * short * (long + 10 * short)


def upper_bound(geometry: Geometry, weight: Tensor) -> float:
    """At least the operator norm, up to 8 % above it (zero padding), equal to it (circular).

    Args:
        geometry: of the convolution.
        weight: (out, in / groups, *taps), float64.
    """
    tori = [_torus(axis) for axis in geometry.axes]
    folded = [points // stride for points, stride, _ in tori]
    frequencies = torch.cartesian_prod(
        *(
            # The weight is real: negative frequencies of one axis repeat the positive ones.
            torch.arange(count // 2 + 1 if i == len(folded) - 1 else count)
            for i, count in enumerate(folded)
        )
    ).reshape(-1, len(folded))
    aliases = torch.tensor(list(product(*(range(stride) for _, stride, _ in tori))))
    aliases = aliases * torch.tensor(folded)
    taps = torch.cartesian_prod(*(torch.arange(axis.taps) for axis in geometry.axes))
    taps = taps.reshape(-1, len(geometry.axes)) * torch.tensor(
        [axis.dilation for axis in geometry.axes]
    )
    points = torch.tensor([float(points) for points, _, _ in tori], dtype=torch.float64)
    kernel = weight.reshape(geometry.groups, -1, weight.shape[1], len(taps))
    kernel = kernel.to(torch.complex128)
    per_frequency = weight.shape[0] * weight.shape[1] * len(aliases)
    largest = 0.0
    for chunk in frequencies.split(max(1, CHUNK_ENTRIES // per_frequency)):
        waves = (chunk[:, None] + aliases[None]).double() / points  # (F, S, axes)
        phases = torch.polar(
            torch.ones((), dtype=torch.float64), -2 * math.pi * (waves @ taps.double().T)
        ).to(weight.device)
        # (groups, out, in, taps) x (F, S, taps) -> (F, groups, out, in S)
        blocks = torch.einsum("goit,fst->fgois", kernel, phases).flatten(-2)
        if blocks.shape[-2] > blocks.shape[-1]:
            blocks = blocks.mT
        gram = blocks @ blocks.mH
        largest = max(largest, float(torch.linalg.eigvalsh(gram)[..., -1].max()))
    factor = math.prod(factor for _, _, factor in tori) / len(aliases)
    return math.sqrt(max(largest, 0.0) * factor) * (1 + ROUNDING)
