"""The layers of the AlexNets with gradients written by hand, where autograd's cost more.

Values and gradients are those of the torch.nn layers to rounding. A second derivative goes through
torch's own formulas.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NARROW = 4
"""Input channels up to which a convolution's gradient in its input goes by `_blocks`."""
DENSE = 2**17
"""Entries up to which a convolution of few pixels is computed as a matrix."""


class Function(torch.autograd.Function):
    """An autograd function that is not asked for its signature anew at each call."""

    generate_vmap_rule = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # torch binds default arguments by `inspect.signature`, 40 us a call unless it is kept.
        cls.forward.__signature__ = inspect.signature(cls.forward)


def _channels_last(x: Tensor) -> bool:
    """Whether the channels of x (N, C, H, W) lie side by side; vmap allows no finer question."""
    return x.dim() == 4 and x.stride(1) == 1 and x.shape[1] > 1


def _to_channels_last(x: Tensor) -> Tensor:
    """A copy of x (N, C, H, W) in that format, in words that vmap understands."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


# --------------------------------------------------------------------------- response normalization


def _powers(base: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """base ** -beta and 1 / base."""
    if beta == 0.75:  # a third of the time of a general power
        root = base.rsqrt()
        return root.sqrt().mul(root), root * root
    return base**-beta, base.reciprocal()


def _summed(x: Tensor, window: Tensor) -> Tensor:
    """x (N, C, ...) times a matrix (C, C) over its channels: sum_d window[c, d] x[:, d]."""
    if _channels_last(x):  # then the sum is one plain matrix product
        n, c, h, w = x.shape
        product = x.permute(0, 2, 3, 1).reshape(-1, c) @ window.T
        return product.view(n, h, w, c).permute(0, 3, 1, 2)
    return F.conv2d(x, window[:, :, None, None])


class _Response(Function):
    """x p with p = s ** -beta, s = k + scale * (sum of x^2 over a window of channels)."""

    @staticmethod
    def forward(
        x: Tensor, window: Tensor, scale: float, k: float, beta: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, H, W), (C, C) -> y, and p and 1 / s for the gradient."""
        base = _summed(x * x, window).mul_(scale).add_(k)
        power, inverse = _powers(base, beta)
        return x * power, power, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        x, window, ctx.scale, ctx.k, ctx.beta = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, window, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """grad p - 2 scale beta x (sum over the window of grad x p / s)."""
        x, window, power, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: let autograd see p and s
            power, inverse = _powers(_summed(x * x, window) * ctx.scale + ctx.k, ctx.beta)
        if _channels_last(x) and not _channels_last(grad):
            grad = _to_channels_last(grad)
        direct = grad * power
        through = _summed(direct * x * inverse, window.T) * x
        return direct.add(through, alpha=-2 * ctx.scale * ctx.beta), None, None, None, None


class ResponseNorm(nn.LocalResponseNorm):
    """Local response normalization, x / (k + alpha/size * sum of squares in a window)^beta.

    The values of nn.LocalResponseNorm to rounding, at an eighth of its time on a CPU: the sum over
    a window of channels is a product with a banded matrix in place of a 3d pooling.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__(size, alpha, beta, k)
        self._window: Tensor | None = None

    def window(self, x: Tensor) -> Tensor:
        """The banded matrix (C, C) for x (N, C, ...): row c holds ones where c's window is."""
        kept, channels = self._window, x.shape[1]
        fits = kept is not None and kept.dtype == x.dtype and kept.device == x.device
        if fits and len(kept) == channels:
            return kept
        channel = torch.arange(channels, device=x.device)
        offset = channel - channel[:, None]  # input channel minus output channel
        low, high = self.size // 2, (self.size - 1) // 2
        made = ((offset >= -low) & (offset <= high)).to(x.dtype)
        if not (x.is_meta or made.is_inference()):
            self._window = made  # a plain attribute: no part of the state, not moved with the net
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (N, C, H, W)."""
        settings = self.window(x), self.alpha / self.size, self.k, self.beta
        if not torch.is_autocast_enabled(x.device.type):
            return _Response.apply(x, *settings)[0]
        with torch.autocast(x.device.type, enabled=False):  # all of it in the precision of x
            return _Response.apply(x, *settings)[0]


# ------------------------------------------------------------------------------ flattening of images


class _Flattened(Function):
    """x.flatten(1) whose gradient comes back in the memory format of x."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.flatten(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _to_channels_last(grad.reshape(ctx.shape))


class Flatten(nn.Flatten):
    """nn.Flatten, kind to channels_last.

    The gradient of a flattened image is laid out channel by channel, and the layers below would
    all run in that format, with copies.
    """

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C H W)."""
        if x.requires_grad and _channels_last(x) and x.shape[2] * x.shape[3] > 1:
            return _Flattened.apply(x)
        return super().forward(x)


# --------------------------------------------------------------- convolutions of few input channels


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
            flat = x.permute(0, 2, 3, 1).reshape(len(x), -1)
            shift = None if bias is None else bias.repeat(rows * columns)
            found = F.linear(flat, matrix, shift)
            return found.view(-1, rows, columns, self.out_channels).permute(0, 3, 1, 2)
        if x.requires_grad and self.in_channels <= NARROW:
            return _Narrow.apply(x, weight, bias, self.padding[0])
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
