"""Wide ResNet (Zagoruyko & Komodakis 2016) for small images: beyond the paper.

WRN-16-4 at width 1: 2,748,890 parameters on (3, 32, 32) with 10 classes. The first convolution has
stride 2 for images of 48 pixels or more. Torchvision has Wide ResNets with bottlenecks for
ImageNet only, so the blocks are here.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from snlib.models.layers import Projection, stem_stride, widen

SIDES = (1, math.inf)  # every convolution pads


class _Block(nn.Module):
    """Batch norm, ReLU, convolution, twice; a 1x1 projection where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        same = channels == out and stride == 1
        self.projection = None if same else Projection(channels, out, stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        active = self.act(self.bn1(x))
        skip = x if self.projection is None else self.projection(active)
        return skip + self.conv2(self.act(self.bn2(self.conv1(active))))


def wide_resnet(
    in_shape: tuple[int, int, int],
    classes: int,
    width: float,
    seed: int,
    *,
    depth: int = 16,
    factor: int = 4,
) -> nn.Sequential:
    """A convolution with 16 channels, three stages of blocks, a mean, one linear layer.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies the factor by which the net is wide, so 2.0 gives WRN-16-8.
        seed: unused; every family takes the same arguments.
        depth: number of convolutions, 4 more than a multiple of 6.
        factor: how much wider than a ResNet with stages of 16, 32 and 64 channels.
    """
    channels = 16
    stride = stem_stride(in_shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv1"] = nn.Conv2d(in_shape[0], channels, 3, stride, padding=1, bias=False)
    for stage, base in enumerate((16, 32, 64), start=1):
        out = widen(base * factor, width)
        for block in range((depth - 4) // 6):
            stride = 2 if stage > 1 and block == 0 else 1
            parts[f"stage{stage}_block{block + 1}"] = _Block(channels, out, stride)
            channels = out
    parts["bn"] = nn.BatchNorm2d(channels)
    parts["act"] = nn.ReLU()
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(parts)
