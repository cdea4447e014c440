"""A convolution of stride 1 that is faster on a CPU while its weight is held, as in attacks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snlib.functions import Function
from snlib.spectral.entries import Entries, convolution_entries

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


def _through(grad: Tensor, matrix: Tensor, shape: torch.Size) -> Tensor:
    """The gradient (N, out, H', W') of a convolution by its matrix, pulled back to (N, C, H, W)."""
    n, channels, height, width = shape
    found = grad.permute(0, 2, 3, 1).reshape(n, len(matrix)) @ matrix
    return found.view(n, height, width, channels).permute(0, 3, 1, 2)


def _out_size(
    size: tuple[int, ...], kernel: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[int, ...]:
    """Height and width of a convolution's output, of stride 1."""
    return tuple(n + 2 * p - k + 1 for n, k, p in zip(size, kernel, padding, strict=True))


@functools.lru_cache(maxsize=16)
def _entries(
    in_shape: tuple[int, int, int], shape: torch.Size, padding: tuple[int, int],
    kept: tuple[int, int],
) -> Entries:  # fmt: skip
    """The entries of the matrix (H' W' out, H W C) of images with the channels last.

    Of the output the first `kept` rows and columns are H' and W'.
    """
    first = convolution_entries(in_shape, shape, ((1, 1), padding, (1, 1), False, (0, 0), 1))

    def matrix_of(weight: Tensor) -> Tensor:
        size = _out_size(in_shape[1:], shape[2:], padding)
        blocks = first.matrix(weight).view(shape[0], *size, *in_shape)
        blocks = blocks[:, : kept[0], : kept[1]].permute(1, 2, 0, 4, 5, 3)
        return blocks.reshape(math.prod(blocks.shape[:3]), -1)

    return Entries(matrix_of, shape)


class _Dense(NamedTuple):
    """A convolution as a matrix, with copies of the weight and bias that it was made from."""

    weight: Tensor
    bias: Tensor | None
    shape: tuple[int, ...]
    matrix: Tensor
    shift: Tensor | None

    def of(self, weight: Tensor, bias: Tensor | None, shape: tuple[int, ...]) -> bool:
        """Whether these are its weight and bias, and its inputs and outputs.

        By value, which costs next to nothing beside the product: neither memory nor version tells
        a weight from itself after a step of a fused optimizer, or after a change of its `.data`.
        """
        return self.shape == shape and _same(self.weight, weight) and _same(self.bias, bias)


def _same(kept: Tensor | None, now: Tensor | None) -> bool:
    if kept is None or now is None:
        return kept is now
    return kept.dtype == now.dtype and torch.equal(kept, now)


class Conv2d(nn.Conv2d):
    """nn.Conv2d of stride 1 that is faster on a CPU while its weight is held, as in attacks.

    A map of few pixels is then one product with its matrix; of few channels, the gradient in the
    input goes by `_blocks`. `forward` is nn.Conv2d's own, and so the layer counts as a plain
    convolution everywhere.
    """

    crops = True  # see `pullback`

    def __init__(self, channels: int, out: int, kernel: int, padding: int) -> None:
        super().__init__(channels, out, kernel, padding=padding)
        self._dense: _Dense | None = None

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        held = not weight.requires_grad and (bias is None or not bias.requires_grad)
        held = held and x.device.type == "cpu" and x.dim() == 4 and not weight.is_inference()
        # Neither a compiler nor vmap can ask whether a weight is the one that is kept.
        if not held or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return super()._conv_forward(x, weight, bias)
        rows, columns = _out_size(x.shape[2:], self.kernel_size, self.padding)
        if self._is_small(x, rows * columns):
            return self._as_matrix(x, weight, bias, rows, columns)[0]
        if x.requires_grad and self.in_channels <= NARROW:
            return _Narrow.call(x, weight, bias, self.padding[0])
        return super()._conv_forward(x, weight, bias)

    def pullback(
        self, x: Tensor, read: Callable[[int, int], tuple[int, int]] | None = None
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x (N, C, H, W), and the function that pulls a gradient in it back to x.

        Args:
            x: the input.
            read: from rows and columns of the output to how many of them what follows looks at;
                the output may leave out the rest. None: all.
        """
        weight, bias, padding = self.weight.detach(), self.bias, self.padding[0]
        if x.dim() == 4 and not weight.is_inference():
            rows, columns = _out_size(x.shape[2:], self.kernel_size, self.padding)
            if self._is_small(x, rows * columns):
                if read is not None:
                    rows, columns = read(rows, columns)
                y, matrix = self._as_matrix(x, weight, bias, rows, columns)
                return y, lambda grad: _through(grad, matrix, x.shape)
        y = super()._conv_forward(x, weight, bias)
        if x.dim() == 4 and self.in_channels <= NARROW:
            return y, lambda grad: _blocks(grad, weight, padding, x.shape[2:])
        options = self.stride, self.padding, self.dilation, False, (0, 0), self.groups
        back = torch.ops.aten.convolution_backward
        return y, lambda grad: back(grad, x, weight, None, *options, [True, False, False])[0]

    def filled(self, grad: Tensor, x: Tensor) -> Tensor:
        """A gradient in what `pullback` gave for x, with zeros for what that left out."""
        rows, columns = _out_size(x.shape[2:], self.kernel_size, self.padding)
        missing = columns - grad.shape[3], rows - grad.shape[2]
        return F.pad(grad, (0, missing[0], 0, missing[1])) if any(missing) else grad

    def _is_small(self, x: Tensor, pixels: int) -> bool:
        """Whether one product with a matrix is faster, for x (N, C, H, W) and `pixels` put out."""
        entries = self.in_channels * x.shape[2] * x.shape[3] * self.out_channels * pixels
        return entries <= DENSE and x.shape[2] * x.shape[3] <= 3 * math.prod(self.kernel_size)

    def _as_matrix(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, rows: int, columns: int
    ) -> tuple[Tensor, Tensor]:
        """The first rows and columns of the convolution of x (N, C, H, W) by its matrix, and that
        (rows columns out, H W C)."""
        shape = *x.shape[1:], rows, columns
        held = self._dense
        if not (held and held.of(weight, bias, shape)):
            with torch.no_grad():
                shift = None if bias is None else bias.expand(rows * columns, -1).reshape(-1)
                entries = _entries(shape[:3], weight.shape, self.padding, shape[3:])
                matrix = entries.matrix(weight)
                copies = [
                    None if part is None else part.detach().clone() for part in (weight, bias)
                ]
            held = self._dense = _Dense(*copies, shape, matrix, shift)
        found = F.linear(x.permute(0, 2, 3, 1).flatten(1), held.matrix, held.shift)
        return found.view(len(x), rows, columns, self.out_channels).permute(0, 3, 1, 2), held.matrix
