"""The paper's small Inception, without batch norm as in its published runs.

At width 1 on (3, 28, 28) it has 1,810,682 parameters in 19 convolutions and one linear layer.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from snlib.models.layers import SameMaxPool2d, same_conv, same_size, widen

SIDES = (1, 32)  # every layer pads; the linear layer has an input for each pixel of the last map


class _Incept(nn.Module):
    """A 1x1 and a 3x3 convolution side by side, each with ReLU."""

    def __init__(self, channels: int, narrow: int, wide: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv1x1 = same_conv(channels, narrow, 1, size=size)
        self.conv3x3 = same_conv(channels, wide, 3, size=size)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.act(self.conv1x1(x)), self.act(self.conv3x3(x))], 1)


class _Down(nn.Module):
    """A 3x3/2 convolution with ReLU beside a 3x3/2 max-pooling, both SAME."""

    def __init__(self, channels: int, out: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = same_conv(channels, out, 3, 2, size=size)
        self.pool = SameMaxPool2d(3, 2, size=size)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.act(self.conv(x)), self.pool(x)], 1)


# Widths of the (1x1, 3x3) branches of each block, or of the convolution of a block that halves.
_BLOCKS = (
    (32, 32),
    (32, 48),
    80,
    (112, 48),
    (96, 64),
    (80, 80),
    (48, 96),
    96,
    (176, 160),
    (176, 160),
)


def inception(
    in_shape: tuple[int, int, int], classes: int, width: float, seed: int
) -> nn.Sequential:
    """A convolution, ten blocks, an average over 7x7 windows at every pixel, one linear layer.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies the channels of every convolution.
        seed: unused; every family takes the same arguments.
    """
    channels, size = widen(96, width), in_shape[1:]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv1"] = same_conv(in_shape[0], channels, 3, size=size)
    parts["act1"] = nn.ReLU()
    for index, block in enumerate(_BLOCKS, start=1):
        if isinstance(block, tuple):
            narrow, wide = (widen(branch, width) for branch in block)
            parts[f"incept{index}"] = _Incept(channels, narrow, wide, size)
            channels = narrow + wide
        else:
            out = widen(block, width)
            parts[f"down{index}"] = _Down(channels, out, size)
            channels, size = channels + out, same_size(size, 2)
    # Stride 1 and SAME: the map stays 7x7, and TensorFlow averages over the pixels inside only.
    parts["pool"] = nn.AvgPool2d(7, 1, 3, count_include_pad=False)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(channels * size[0] * size[1], classes)
    return nn.Sequential(parts)
