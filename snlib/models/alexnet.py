"""The paper's small AlexNet and its variants.

At width 1 on (3, 28, 28) it has 4,237,130 parameters; batch norm adds 704.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from snlib.models.convolution import Conv2d
from snlib.models.fast import Flatten, ResponseNorm
from snlib.models.layers import AlwaysOnDropout, TrainingDropout, valid_size, widen

# Two 3x3/2 poolings without padding: 7 -> 3 -> 1. Beyond 32 pixels fc1 outgrows the paper's net.
SIDES = (7, 32)


def alexnet(
    in_shape: tuple[int, int, int],
    classes: int,
    width: float,
    seed: int,
    *,
    activation: type[nn.Module] = nn.ReLU,
    lrn: bool = True,
    batch_norm: bool = False,
    drop: float = 0.0,
    always: bool = True,
) -> nn.Sequential:
    """Two 5x5 convolutions with overlapping max-pooling and response norm, three linear layers.

    Args:
        in_shape: (C, H, W) of one image.
        classes: number of logits.
        width: multiplies 96, 256, 384 and 192.
        seed: of the dropout masks, where there are any.
        activation: ReLU, or ELU in ELU-AlexNet.
        lrn: local response normalization (radius 4, alpha 0.001/9, beta 0.75) after each pooling.
        batch_norm: before the activation of each convolution (momentum .99, eps 1e-3).
        drop: probability of dropping an entry after each response norm.
        always: whether to drop in evaluation and in attacks too, as the authors did.
    """
    channels, size = in_shape[0], in_shape[1:]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for index, out in enumerate((widen(96, width), widen(256, width)), start=1):
        parts[f"conv{index}"] = Conv2d(channels, out, 5, padding=2)
        if batch_norm:  # PyTorch's momentum is TensorFlow's decay seen from the other end
            parts[f"bn{index}"] = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)
        # The paper pools after the activation. That never falls, so the other way round gives the
        # same numbers, with the activation of a quarter of the entries.
        parts[f"pool{index}"] = nn.MaxPool2d(3, 2)
        parts[f"act{index}"] = activation()
        if lrn:  # PyTorch divides alpha by the window's size, TensorFlow does not
            parts[f"lrn{index}"] = ResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)
        if drop:
            kind = AlwaysOnDropout if always else TrainingDropout
            parts[f"drop{index}"] = kind(drop, seed * 2 + index)
        channels, size = out, valid_size(size, 3, 2)
    units = (channels * size[0] * size[1], widen(384, width), widen(192, width), classes)
    parts["flatten"] = Flatten()
    for index in (1, 2, 3):
        parts[f"fc{index}"] = nn.Linear(units[index - 1], units[index])
        if index < 3:
            parts[f"act{index + 2}"] = activation()
    return nn.Sequential(parts)
