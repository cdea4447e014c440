"""Fully connected nets: MLP1, MLP2 and the softmax (multinomial logistic) layer.

Parameters at width 1 on (3, 28, 28) and (1, 28, 28): MLP1 1,209,866 and 407,050; MLP2 1,472,522
and 669,706; softmax 23,530 and 7,850.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from snlib.models.fast import ELU
from snlib.models.layers import widen

SIDES = (1, math.inf)


def mlp(
    in_shape: tuple[int, int, int],
    classes: int,
    width: float,
    seed: int,
    *,
    hidden: int = 1,
    activation: type[nn.Module] = ELU,
) -> nn.Sequential:
    """`hidden` layers of 512 units, then the logits.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies 512.
        seed: unused; every family takes the same arguments.
        hidden: number of hidden layers; 0 is the softmax layer.
        activation: ELU as published, or ReLU.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    units = math.prod(in_shape)
    for index in range(1, hidden + 1):
        parts[f"fc{index}"] = nn.Linear(units, widen(512, width))
        parts[f"act{index}"] = activation()
        units = widen(512, width)
    parts[f"fc{hidden + 1}"] = nn.Linear(units, classes)
    return nn.Sequential(parts)
