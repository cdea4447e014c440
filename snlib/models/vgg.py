"""The VGG of the draft of spring 2018, with batch norm.

At width 1 on (3, 28, 28) it has 4,953,162 parameters and 3,840 of batch norm.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from snlib.models.layers import widen

SIDES = (1, 32)  # poolings keep a last odd pixel; made for 28


def vgg(in_shape: tuple[int, int, int], classes: int, width: float, seed: int) -> nn.Sequential:
    """Four pairs of 3x3 convolutions with pooling between, a mean, two linear layers.

    The linear layers have no activation between them. How the authors' 2x2 pooling treats an odd
    side is not recorded; here it keeps the last pixel (TensorFlow's SAME): 28, 14, 7, 4, 2.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies 64, 128, 256 and 512.
        seed: unused; every family takes the same arguments.
    """
    channels = in_shape[0]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, base in enumerate((64, 128, 256, 512), start=1):
        for conv in (1, 2):
            out, name = widen(base, width), f"{stage}_{conv}"
            parts[f"conv{name}"] = nn.Conv2d(channels, out, 3, padding=1)
            parts[f"bn{name}"] = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)
            parts[f"act{name}"] = nn.ReLU()
            channels = out
        parts[f"pool{stage}"] = nn.MaxPool2d(2, 2, ceil_mode=True)
    parts["mean"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["fc1"] = nn.Linear(channels, widen(512, width))
    parts["fc2"] = nn.Linear(widen(512, width), classes)
    return nn.Sequential(parts)
