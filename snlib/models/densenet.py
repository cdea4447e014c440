"""DenseNet-BC (Huang et al. 2017) for small images: beyond the paper.

The blocks are torchvision's; the stem is that for CIFAR, one 3x3 convolution, with stride 2 for
images of 48 pixels or more. Growth 12 and depth 100: 769,162 parameters at width 1 on (3, 32, 32)
with 10 classes; depth 40: 176,122.
"""

from __future__ import annotations

import math

from torch import nn

from snlib.models.layers import stem_stride, widen

SIDES = (4, math.inf)  # two halvings: 4 -> 2 -> 1


def densenet(
    in_shape: tuple[int, int, int],
    classes: int,
    width: float,
    seed: int,
    *,
    depth: int = 100,
) -> nn.Module:
    """Three dense blocks with bottlenecks, channels halved between them.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies the growth of 12 channels a layer.
        seed: unused; every family takes the same arguments.
        depth: number of layers, 4 more than a multiple of 6.
    """
    from torchvision.models import DenseNet  # takes as long to import as torch, for this net alone

    growth = widen(12, width)
    net = DenseNet(
        growth_rate=growth,
        block_config=((depth - 4) // 6,) * 3,
        num_init_features=2 * growth,
        num_classes=classes,
    )
    stride = stem_stride(in_shape)
    net.features.conv0 = nn.Conv2d(in_shape[0], 2 * growth, 3, stride, padding=1, bias=False)
    del net.features.norm0, net.features.relu0, net.features.pool0  # of the stem for ImageNet
    return net
