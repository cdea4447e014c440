"""The paper's ResNet-32: pre-activation blocks without batch norm and without conv biases.

The widths of its stages are 16, 32 and 128: the authors' code doubles and then quadruples, where
the usual net has 64. At width 1 on (3, 28, 28) it has 1,481,146 parameters in 34 convolutions and
one linear layer; with 64 it has 464,698.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from snlib.models.layers import Projection, glorot_, widen

SIDES = (1, 32)  # every convolution pads; made for 28, with no stem that would halve larger images


class _Block(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))), or a 1x1 projection of ReLU(x) in place of x."""

    def __init__(self, channels: int, out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.projection = Projection(channels, out, stride) if project else None
        # With a stride the authors pad one pixel on every side, not as SAME would.
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        active = self.act(x)
        skip = x if self.projection is None else self.projection(active)
        return skip + self.conv2(self.act(self.conv1(active)))


def resnet(
    in_shape: tuple[int, int, int],
    classes: int,
    width: float,
    seed: int,
    *,
    widths: tuple[int, int, int] = (16, 32, 128),
) -> nn.Sequential:
    """A convolution, three stages of five blocks with strides 1, 2, 2, a mean, one linear layer.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies the channels of every stage.
        seed: unused; every family takes the same arguments.
        widths: channels of the stages.
    """
    channels = widen(widths[0], width)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv1"] = nn.Conv2d(in_shape[0], channels, 3, padding=1, bias=False)
    for stage, (base, stride) in enumerate(zip(widths, (1, 2, 2), strict=True), start=1):
        out = widen(base, width)
        for block in range(5):
            first = block == 0
            name = f"stage{stage}_block{block + 1}"
            parts[name] = _Block(channels, out, stride if first else 1, first)
            channels = out
    parts["act"] = nn.ReLU()
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(parts)


def initialize(net: nn.Module, generator: torch.Generator) -> None:
    """Convolutions from a normal cut at two deviations with variance 1/fan_in, the rest Glorot.

    TensorFlow's `variance_scaling_initializer`. Its later versions divide the deviation by that of
    the cut normal (0.8796), so that the variance is exact; so does this. Whether the version that
    the authors ran did is not known.
    """
    glorot_(net, generator)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            deviation = math.sqrt(1 / module.weight[0].numel()) / 0.87962566103423978
            nn.init.trunc_normal_(
                module.weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
            )
