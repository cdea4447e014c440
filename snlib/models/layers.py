"""Layers that PyTorch lacks: TensorFlow's SAME padding, dropout that never sleeps, widths.

With a stride, TensorFlow's SAME pads more below and right than above and left. PyTorch's layers
pad both sides alike, so such a layer pads explicitly before it convolves or pools.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def widen(channels: int, width: float) -> int:
    """Channels (or units) of a layer under the width multiplier, at least 1."""
    return max(1, round(channels * width))


def same_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width of a map after a SAME layer: ceil(size / stride)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def valid_size(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int]:
    """Height and width of a map after an unpadded (VALID) layer."""
    return (size[0] - kernel) // stride + 1, (size[1] - kernel) // stride + 1


def same_padding(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's SAME padding as (left, right, top, bottom) for a map of `size` (H, W).

    The total is max((ceil(n/stride) - 1) stride + kernel - n, 0); the odd pixel goes right and
    below.
    """
    sides = []
    for length, out in zip(reversed(size), reversed(same_size(size, stride)), strict=True):
        total = max((out - 1) * stride + kernel - length, 0)
        sides += [total // 2, total - total // 2]
    return tuple(sides)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, for maps of one size.

    `padding` stays 0, because the padding happens in `forward`; `same_padding` holds it as
    (left, right, top, bottom). The layer is affine, so its operator norm is that of padding and
    convolution together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        size: tuple[int, int],
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)
        self.same_padding = same_padding(size, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H/stride), ceil(W/stride))."""
        return super().forward(F.pad(x, self.same_padding))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, same_padding={self.same_padding}"


def same_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    size: tuple[int, int],
    bias: bool = True,
) -> nn.Conv2d:
    """A SAME convolution for maps of `size`: a plain `nn.Conv2d` where the padding is symmetric."""
    left, right, top, bottom = same_padding(size, kernel_size, stride)
    if left == right and top == bottom:
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, (top, left), bias=bias)
    return SameConv2d(in_channels, out_channels, kernel_size, stride, size=size, bias=bias)


class Projection(nn.Conv2d):
    """A 1x1 convolution without bias that takes every `stride`-th pixel first, and then mixes.

    The sums are those of `nn.Conv2d`, whose gradient in the weight cannot be had safely: with a
    stride, channels last and fewer channels than a vector register holds (8 with AVX2), oneDNN as
    of torch 2.14.1 writes past its memory, which ends the process or gives wrong numbers
    (uxlfoundation/oneDNN issue 6035).
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__(channels, out, 1, stride, bias=False)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[..., ::down, ::right], weight, bias)


class SameMaxPool2d(nn.Module):
    """Max-pooling with TensorFlow's SAME padding; the padded pixels never win."""

    def __init__(self, kernel_size: int, stride: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.same_padding = same_padding(size, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H/stride), ceil(W/stride))."""
        padded = F.pad(x, self.same_padding, value=-torch.inf)
        return F.max_pool2d(padded, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, same_padding={self.same_padding}"


class AlwaysOnDropout(nn.Module):
    """Dropout that also acts in evaluation and in attacks, as in the authors' code.

    The masks come from a seed and a count of the calls, never from a global generator; the count
    travels in the state, so that a resumed run draws the masks it would have drawn.
    """

    def __init__(self, drop: float, seed: int) -> None:
        super().__init__()
        self.drop, self.seed, self.calls = drop, seed, 0

    def forward(self, x: Tensor) -> Tensor:
        """Zero each entry of x with probability `drop` and scale the rest by 1 / (1 - drop)."""
        if x.is_meta:  # asked for its shape, which has no random numbers
            return x
        return x * self._mask(x) / (1 - self.drop)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x, and the function that pulls a gradient in it back to x."""
        mask = self._mask(x)
        return x * mask / (1 - self.drop), lambda grad: grad / (1 - self.drop) * mask

    def _mask(self, x: Tensor) -> Tensor:
        """The next mask: ones where x is kept, else zeros."""
        generator = torch.Generator(x.device).manual_seed(self.seed * 1_000_003 + self.calls)
        self.calls += 1
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.drop
        return kept.to(x.dtype)

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = int(state["calls"])

    def extra_repr(self) -> str:
        return f"drop={self.drop}, seed={self.seed}"


class TrainingDropout(AlwaysOnDropout):
    """The usual dropout: it acts in training mode alone, not in attacks or in evaluation."""

    lipschitz = 1.0  # of the trained net, in evaluation mode

    def forward(self, x: Tensor) -> Tensor:
        """As `AlwaysOnDropout` in training mode, else x itself."""
        return super().forward(x) if self.training else x

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output at x, and the function that pulls a gradient in it back to x."""
        return super().pullback(x) if self.training else (x, lambda grad: grad)


class Temperature(nn.Module):
    """Divides the logits by a fixed number.

    Layer norms and capacities know nothing of it: against P, a margin of such a net counts
    `temperature` times as much.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature, self.lipschitz = temperature, 1 / temperature

    def forward(self, logits: Tensor) -> Tensor:
        """Map (N, K) to (N, K)."""
        return logits / self.temperature

    def pullback(self, logits: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output, and the function that pulls a gradient in it back to the logits."""
        return logits / self.temperature, lambda grad: grad / self.temperature

    def extra_repr(self) -> str:
        return f"{self.temperature:g}"


def glorot_(net: nn.Module, generator: torch.Generator) -> None:
    """Fill every conv and linear weight with U(-a, a), a = sqrt(6 / (fan_in + fan_out)); biases 0.

    Fans of a convolution are kernel area times channels (Glorot & Bengio 2010), as in TensorFlow's
    `xavier_initializer`. Batch norms start at scale 1, shift 0.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _uniform_(module.weight, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _uniform_(weight: Tensor, generator: torch.Generator) -> None:
    """The draws of nn.init.xavier_uniform_, scaled in float64: the same bits on every processor."""
    outputs, inputs, *kernel = weight.shape
    bound = math.sqrt(6 / ((outputs + inputs) * math.prod(kernel)))
    draws = torch.rand(weight.shape, generator=generator, device=weight.device)
    with torch.no_grad():
        weight.copy_((2 * draws.double() - 1) * bound)


def he_(net: nn.Module, generator: torch.Generator) -> None:
    """Fill convolutions with N(0, 2 / fan_in) (He et al. 2015), linear layers as `glorot_` does."""
    glorot_(net, generator)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)


def stem_stride(in_shape: tuple[int, int, int]) -> int:
    """Stride of the first convolution of the nets for two sizes: 2 from 48 pixels on, else 1."""
    return 2 if min(in_shape[1:]) >= 48 else 1
