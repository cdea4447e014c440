"""A convolution of stride 1 that is faster on a CPU while its weight is held, as in attacks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snlib.functions import Function

NARROW = 4
"""Input channels up to which the gradient in the input goes by `_blocks`."""
DENSE = 2**17
"""Entries up to which a convolution of few pixels is computed as a matrix."""


def _blocks(grad: Tensor, weight: Tensor, padding: int, size: tuple[int, int]) -> Tensor:
    """The gradient of a convolution in its input, a block of b x b pixels at a time.

    It is a convolution with the turned kernel, whose few output channels (one of grey images) leave
    most of a vector register idle. With the pixels of a block as channels it is one of stride b,
    with a kernel k + b - 1 wide that holds the turned one b^2 times, shifted: ((k + b - 1) / k)^2
    times the arithmetic at up to b^2 times the speed.

    Args:
        grad: (N, out, H, W).
        weight: (out, in, k, k).
        padding: of the convolution, which has stride 1.
        size: height and width of its input.

    Returns:
        (N, in, *size).
    """
    out, channels, k, _ = weight.shape
    b = 4 if channels == 1 else 2
    wide = k + b - 1
    kernel = weight.new_zeros(channels, b, b, wide, wide, out)
    steps = kernel.stride()
    # kernel[c, i, j, i + u, j + v, o] = turned[c, u, v, o]: the diagonals are strides as well.
    diagonal = (steps[0], steps[1] + steps[3], steps[2] + steps[4], *steps[3:])
    turned = weight.flip(2, 3).permute(1, 2, 3, 0)
    kernel.as_strided((channels, b, b, k, k, out), diagonal).copy_(turned[:, None, None])
    kernel = kernel.view(-1, wide, wide, out).permute(0, 3, 1, 2)
    below, right = (-length % b for length in size)
    if below or right:
        grad = F.pad(grad, (0, right, 0, below))
    found = F.conv2d(grad, kernel, stride=b, padding=k - 1 - padding)
    return F.pixel_shuffle(found, b)[:, :, : size[0], : size[1]]


class _Narrow(Function):
    """A convolution of stride 1 with a constant weight; its gradient by `_blocks`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, _, ctx.padding = inputs
        ctx.size, ctx.dtype = x.shape[2:], x.dtype
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight = ctx.saved_tensors[0].to(grad.dtype)  # autocast ran in grad's precision
        if torch.is_grad_enabled():  # a second derivative is wanted
            found = F.conv_transpose2d(grad, weight, padding=ctx.padding)
        else:
            found = _blocks(grad, weight, ctx.padding, ctx.size)
        return found.to(ctx.dtype), None, None, None


class Conv2d(nn.Conv2d):
    """nn.Conv2d of stride 1 that is faster on a CPU while its weight is held, as in attacks.

    A map of few pixels is then one product with its matrix; of few channels, the gradient in the
    input goes by `_blocks`. `forward` is nn.Conv2d's own, and so the layer counts as a plain
    convolution everywhere.
    """

    def __init__(self, channels: int, out: int, kernel: int, padding: int) -> None:
        super().__init__(channels, out, kernel, padding=padding)
        self._dense: tuple[Tensor, int, tuple[int, ...], Tensor] | None = None

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        held = x.device.type == "cpu" and x.dim() == 4 and not weight.requires_grad
        if not held or weight.is_inference() or torch.compiler.is_compiling():
            return super()._conv_forward(x, weight, bias)
        height, width = x.shape[2:]
        rows, columns = (
            length + 2 * pad - k + 1
            for length, pad, k in zip((height, width), self.padding, self.kernel_size, strict=True)
        )
        entries = self.in_channels * height * width * self.out_channels * rows * columns
        if entries <= DENSE and height * width <= 3 * math.prod(self.kernel_size):
            matrix = self._matrix(x, weight)
            flat = x.permute(0, 2, 3, 1).flatten(1)
            shift = None if bias is None else bias.repeat(rows * columns)
            found = F.linear(flat, matrix, shift)
            return found.view(len(x), rows, columns, self.out_channels).permute(0, 3, 1, 2)
        if x.requires_grad and self.in_channels <= NARROW:
            return _Narrow.call(x, weight, bias, self.padding[0])
        return super()._conv_forward(x, weight, bias)

    @torch.no_grad()
    def _matrix(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer as a matrix (H' W' out, H W in), kept for as long as the weight stays."""
        kept, shape = self._dense, tuple(x.shape[1:])
        known = kept is not None and kept[0] is weight and kept[1] == weight._version
        if known and kept[2] == shape:
            return kept[3]
        channels, height, width = shape
        units = torch.eye(channels * height * width, dtype=weight.dtype, device=weight.device)
        units = units.view(-1, height, width, channels).permute(0, 3, 1, 2)
        images = super()._conv_forward(units, weight, None)
        matrix = images.permute(0, 2, 3, 1).reshape(len(units), -1).T
        self._dense = weight, weight._version, shape, matrix
        return matrix
