"""Which input each tap of a convolution meets: the facts that Fourier bounds and norms need.

Along each axis an output row o and a tap t meet padded position o * stride + t * dilation - before,
which the padding mode turns into an input index or into nothing. A transposed convolution is
described by its adjoint, which is a convolution from its output to its input space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from snlib.spectral.operators import TRANSPOSED, Operator, is_plain

PROBE_ENTRIES = 2**24


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution.

    Attributes:
        size: inputs along the axis.
        rows: outputs along it.
        taps: kernel size.
        before: padding in front of the first input.
        mode: zeros, circular, reflect or replicate.
    """

    size: int
    rows: int
    taps: int
    stride: int
    dilation: int
    before: int
    mode: str

    def padded(self) -> Tensor:
        """(rows, taps): positions counted from the first input, negative in front of it."""
        rows = torch.arange(self.rows)[:, None] * self.stride
        return rows + torch.arange(self.taps)[None] * self.dilation - self.before

    def positions(self) -> Tensor:
        """(rows, taps): the input index met, -1 where the tap meets a zero."""
        index = self.padded()
        if self.mode == "circular":
            return index % self.size
        if self.mode == "replicate":
            return index.clamp(0, self.size - 1)
        if self.mode == "reflect":
            index = index.abs()
            return torch.where(index >= self.size, 2 * (self.size - 1) - index, index)
        return torch.where((index >= 0) & (index < self.size), index, -1)

    def coincidences(self) -> Tensor:
        """(taps, taps): in how many rows two taps meet the same input."""
        index = self.positions()
        same = (index[:, :, None] == index[:, None, :]) & (index >= 0)[:, :, None]
        return same.sum(0).double()


@dataclass(frozen=True)
class Geometry:
    """All axes of a convolution, and its number of groups."""

    axes: tuple[Axis, ...]
    groups: int

    def frobenius(self, weight: Tensor) -> float:
        """The Frobenius norm of the operator, exact under padding and stride.

        Args:
            weight: (out, in / groups, *taps), float64.
        """
        kernel = weight.reshape(-1, math.prod(axis.taps for axis in self.axes))
        counts = torch.ones(1, 1, dtype=torch.float64)
        for axis in self.axes:
            counts = torch.kron(counts, axis.coincidences())
        return float(((kernel.T @ kernel) * counts.to(kernel.device)).sum().clamp_min(0)) ** 0.5

    def multiplicity(self) -> int:
        """In how many (row, tap) pairs the most used input appears: ||A||^2 <= this ||W||_F^2."""
        most = 1
        for axis in self.axes:
            index = axis.positions()
            most *= int(torch.bincount(index[index >= 0], minlength=1).max())
        return most

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution by gathering patches: x (C, *sizes) -> (out, *rows)."""
        patches = x
        for i, axis in enumerate(self.axes):
            index = axis.positions().to(x.device)
            dim = 1 + 2 * i  # every axis becomes a (rows, taps) pair
            gathered = patches.index_select(dim, index.clamp_min(0).flatten())
            gathered = gathered.unflatten(dim, index.shape)
            mask = (index >= 0).to(x).reshape(*index.shape, *[1] * (gathered.dim() - dim - 2))
            patches = gathered * mask
        count = len(self.axes)
        rows = [1 + 2 * i for i in range(count)]
        taps = [2 + 2 * i for i in range(count)]
        patches = patches.permute(0, *taps, *rows).reshape(
            self.groups, -1, math.prod(axis.rows for axis in self.axes)
        )
        kernel = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        return (kernel @ patches).reshape(weight.shape[0], *(axis.rows for axis in self.axes))


def _before(operator: Operator, layer: nn.Module) -> tuple[int, ...] | None:
    """The padding in front, found by sending an impulse through single taps."""
    weight = torch.zeros_like(layer.weight, dtype=torch.float64)
    spatial = operator.in_shape[1:]
    x = torch.zeros(operator.in_shape, dtype=torch.float64, device=weight.device)
    centre = tuple(size // 2 for size in spatial)
    x[(slice(None), *centre)] = 1.0
    for tap in product(
        *(range(min(k, s)) for k, s in zip(layer.kernel_size, layer.stride, strict=True))
    ):
        weight.zero_()
        weight[(slice(None), slice(None), *tap)] = 1.0
        out = operator.forward(x.reshape(1, -1), weight).reshape(operator.out_shape)
        hits = out.sum(0).nonzero()
        if len(hits) == 1:
            return tuple(
                int(hit) * s + t * d - c
                for hit, s, t, d, c in zip(
                    hits[0], layer.stride, tap, layer.dilation, centre, strict=True
                )
            )
    return None


def _agrees(geometry: Geometry, operator: Operator, layer: nn.Module) -> bool:
    """Whether the layer's forward is this convolution, at a random input and kernel.

    Both are bilinear in the two, so agreement at a generic point is agreement everywhere.
    """
    taps = math.prod(axis.taps * axis.rows for axis in geometry.axes)
    if operator.in_shape[0] * taps > PROBE_ENTRIES:
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(operator.in_shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
    x, weight = x.to(layer.weight.device), weight.to(layer.weight.device)
    out = operator.forward(x.reshape(1, -1), weight).reshape(operator.out_shape)
    return bool(torch.allclose(geometry.apply(x, weight), out, rtol=1e-9, atol=1e-9))


def geometry_of(operator: Operator, layer: nn.Module) -> Geometry | None:
    """The geometry of a convolution; None where the layer's own forward is not one.

    A subclass with a forward of its own is believed to be a zero-padded convolution only after its
    padding was found by an impulse and the whole was checked at a random point.
    """
    plain = is_plain(layer)
    if not plain and isinstance(layer, TRANSPOSED):
        return None
    inner, outer = operator.in_shape[1:], operator.out_shape[1:]
    count = len(layer.kernel_size)
    if len(inner) != count or len(outer) != count:
        return None
    mode = layer.padding_mode if plain else "zeros"
    if isinstance(layer, TRANSPOSED):
        inner, outer = outer, inner
    if not plain:
        before = _before(operator, layer)
        if before is None:
            return None
    elif layer.padding == "valid":
        before = (0,) * count
    elif layer.padding == "same":
        before = tuple(
            d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        )
    else:
        before = tuple(layer.padding)
    axes = tuple(
        Axis(*facts, mode=mode)
        for facts in zip(
            inner, outer, layer.kernel_size, layer.stride, layer.dilation, before, strict=True
        )
    )
    geometry = Geometry(axes, layer.groups)
    return geometry if plain or _agrees(geometry, operator, layer) else None
