"""Layers of the AlexNets with gradients written by hand, where autograd's cost more.

Values and gradients are those of the torch.nn layers to rounding. A second derivative goes through
torch's own formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snlib.functions import Function


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
        x, window, power, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: let autograd see p and s
            power, inverse = _powers(_summed(x * x, window) * ctx.scale + ctx.k, ctx.beta)
        factor = -2 * ctx.scale * ctx.beta
        return _response_pulled(grad, x, window, power, inverse, factor), None, None, None, None


def _response_pulled(
    grad: Tensor, x: Tensor, window: Tensor, power: Tensor, inverse: Tensor, factor: float
) -> Tensor:
    """grad p + factor x (sum over the window of grad x p / s), with factor = -2 scale beta."""
    if _channels_last(x) and not _channels_last(grad):
        grad = _to_channels_last(grad)
    direct = grad * power
    through = _summed(direct * x * inverse, window.T)
    return direct.addcmul(through, x, value=factor)


class ResponseNorm(nn.LocalResponseNorm):
    """Local response normalization, x / (k + alpha/size * sum of squares in a window)^beta.

    The values of nn.LocalResponseNorm to rounding, at an eighth of its time on a CPU: the sum over
    a window of channels is a product with a banded matrix in place of a 3d pooling.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__(size, alpha, beta, k)
        # By precision, device and channels, and none is ever let go: a recorded CUDA graph of a
        # step in bfloat16 reads its own while validation goes by another in float32.
        self._windows: dict[tuple[torch.dtype, torch.device, int], Tensor] = {}

    def window(self, x: Tensor) -> Tensor:
        """The banded matrix (C, C) for x (N, C, ...): row c holds ones where c's window is."""
        channels = x.shape[1]
        kept = self._windows.get((x.dtype, x.device, channels))
        if kept is not None:
            return kept
        channel = torch.arange(channels, device=x.device)
        offset = channel - channel[:, None]  # input channel minus output channel
        low, high = self.size // 2, (self.size - 1) // 2
        made = ((offset >= -low) & (offset <= high)).to(x.dtype)
        if not (x.is_meta or made.is_inference()):
            # a plain attribute: no part of the state, not moved with the net
            self._windows[x.dtype, x.device, channels] = made
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (N, C, H, W)."""
        settings = self.window(x), self.alpha / self.size, self.k, self.beta
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):  # meta knows no autocast
            return _Response.call(x, *settings)[0]
        with torch.autocast(x.device.type, enabled=False):  # all of it in the precision of x
            return _Response.call(x, *settings)[0]

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x, and the function that pulls a gradient in it back to x."""
        window, scale = self.window(x), self.alpha / self.size
        y, power, inverse = _Response.forward(x, window, scale, self.k, self.beta)
        factor = -2 * scale * self.beta
        return y, lambda grad: _response_pulled(grad, x, window, power, inverse, factor)


# -------------------------------------------------------------------------------------- activation


class _Elu(Function):
    """max(x, exp(min(x, 0)) - 1), with its slope read off the result."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(max=0).exp_().sub_(1).maximum(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            return grad * x.clamp(max=0).exp()
        return _elu_pulled(grad, y)


def _elu_pulled(grad: Tensor, y: Tensor) -> Tensor:
    """grad times the slope, which is 1 + min(y, 0) at the output y."""
    return y.clamp(max=0).add_(1).mul_(grad)


class ELU(nn.ELU):
    """nn.ELU with alpha 1, to the rounding of 1: torch's expm1 takes ten times as long as exp."""

    lipschitz = 1.0

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """x where positive, else exp(x) - 1."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        return _Elu.call(x)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x, and the function that pulls a gradient in it back to x."""
        y = _Elu.forward(x)
        return y, lambda grad: _elu_pulled(grad, y)


# ---------------------------------------------------------------------------- flattening of images


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
            return _Flattened.call(x)
        return super().forward(x)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x, and the function that pulls a gradient in it back to x."""
        if _channels_last(x) and x.shape[2] * x.shape[3] > 1:
            return x.flatten(1), lambda grad: _to_channels_last(grad.reshape(x.shape))
        return x.flatten(1), lambda grad: grad.reshape(x.shape)
