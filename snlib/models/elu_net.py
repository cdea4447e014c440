"""ELU-Net of Sinha, Namkoong & Duchi (2018), the paper's convolutional net for MNIST.

At width 1 on (1, 28, 28) it has 710,218 parameters.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from snlib.models.fast import ELU
from snlib.models.layers import same_conv, same_size, valid_size, widen

SIDES = (27, 32)  # 8x8/2 SAME, 6x6/2 and 5x5 without padding: 27 -> 14 -> 5 -> 1; made for 28


def elu_net(in_shape: tuple[int, int, int], classes: int, width: float, seed: int) -> nn.Sequential:
    """Convolutions 8x8/2 SAME, 6x6/2 and 5x5 VALID with ELU, then one linear layer.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies 64, 128 and 128.
        seed: unused; every family takes the same arguments.
    """
    channels, size = in_shape[0], in_shape[1:]
    first, second, third = widen(64, width), widen(128, width), widen(128, width)
    end = valid_size(valid_size(same_size(size, 2), 6, 2), 5, 1)
    return nn.Sequential(
        OrderedDict(
            conv1=same_conv(channels, first, 8, 2, size=size),
            act1=ELU(),
            conv2=nn.Conv2d(first, second, 6, 2),
            act2=ELU(),
            conv3=nn.Conv2d(second, third, 5),
            act3=ELU(),
            flatten=nn.Flatten(),
            fc=nn.Linear(third * end[0] * end[1], classes),
        )
    )
