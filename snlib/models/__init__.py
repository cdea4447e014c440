"""The paper's networks and the later ones, by name.

    net = build("alexnet", in_shape=(3, 28, 28), classes=10)

Every convolution and linear layer is a module of its own, so that a norm budget can be put on each
of them without an edit of the net. A budget is no part of a net: see `snlib.spectral`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from snlib import errors
from snlib.models import (
    alexnet,
    densenet,
    elu_net,
    fast,
    inception,
    mlp,
    resnet,
    vgg,
    wide_resnet,
)
from snlib.models.layers import SameConv2d, Temperature, glorot_, he_

__all__ = ["NAMES", "SameConv2d", "build", "divided", "outline"]


@dataclass(frozen=True)
class _Family:
    """How a net is made: constructor, the image sides it takes, options, the initial weights."""

    construct: Callable[..., nn.Module]
    sides: tuple[int, float]
    options: dict[str, object] = field(default_factory=dict)
    initialize: Callable[[nn.Module, torch.Generator], None] = glorot_

    def takes(self, in_shape: tuple[int, int, int]) -> bool:
        """Whether the net is made for images of this height and width."""
        return self.sides[0] <= min(in_shape[1:]) and max(in_shape[1:]) <= self.sides[1]

    def sizes(self) -> str:
        """The sizes of images that the net takes, in words."""
        low, high = self.sides
        end = "pixels or more" if math.isinf(high) else f"to {high}x{high} pixels"
        return f"{low}x{low} {end}"


_ELU = {"activation": fast.ELU}
_RELU = {"activation": nn.ReLU}

_FAMILIES = {
    "alexnet": _Family(alexnet.alexnet, alexnet.SIDES),
    "elu_alexnet": _Family(alexnet.alexnet, alexnet.SIDES, _ELU),
    # The paper's rivals: batch norm; dropout as the authors had it, never off, and as it is usual,
    # off in evaluation and in attacks; no response norm. Each with ReLU and with ELU.
    "alexnet_bn": _Family(alexnet.alexnet, alexnet.SIDES, {"batch_norm": True}),
    "alexnet_dropout": _Family(alexnet.alexnet, alexnet.SIDES, {"drop": 0.2}),
    "alexnet_dropout_train": _Family(
        alexnet.alexnet, alexnet.SIDES, {"drop": 0.2, "always": False}
    ),
    "alexnet_nolrn": _Family(alexnet.alexnet, alexnet.SIDES, {"lrn": False}),
    "elu_alexnet_bn": _Family(alexnet.alexnet, alexnet.SIDES, {"batch_norm": True, **_ELU}),
    "elu_alexnet_dropout": _Family(alexnet.alexnet, alexnet.SIDES, {"drop": 0.2, **_ELU}),
    "elu_alexnet_dropout_train": _Family(
        alexnet.alexnet, alexnet.SIDES, {"drop": 0.2, "always": False, **_ELU}
    ),
    "elu_alexnet_nolrn": _Family(alexnet.alexnet, alexnet.SIDES, {"lrn": False, **_ELU}),
    "elu_net": _Family(elu_net.elu_net, elu_net.SIDES),
    "mlp1": _Family(mlp.mlp, mlp.SIDES, {"hidden": 1}),
    "mlp2": _Family(mlp.mlp, mlp.SIDES, {"hidden": 2}),
    "mlp1_relu": _Family(mlp.mlp, mlp.SIDES, {"hidden": 1, **_RELU}),
    "mlp2_relu": _Family(mlp.mlp, mlp.SIDES, {"hidden": 2, **_RELU}),
    "softmax": _Family(mlp.mlp, mlp.SIDES, {"hidden": 0}),
    "inception": _Family(inception.inception, inception.SIDES),
    "resnet": _Family(resnet.resnet, resnet.SIDES, {}, resnet.initialize),
    # what the authors meant: 64 channels in the last stage, not 128
    "resnet_narrow": _Family(
        resnet.resnet, resnet.SIDES, {"widths": (16, 32, 64)}, resnet.initialize
    ),
    "vgg": _Family(vgg.vgg, vgg.SIDES),
    # Beyond the paper:
    "densenet": _Family(densenet.densenet, densenet.SIDES, {}, he_),
    "densenet_40": _Family(densenet.densenet, densenet.SIDES, {"depth": 40}, he_),
    "wide_resnet": _Family(wide_resnet.wide_resnet, wide_resnet.SIDES, {}, he_),
}

NAMES = tuple(_FAMILIES)


def build(
    name: str,
    in_shape: tuple[int, int, int],
    classes: int = 10,
    width: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """Build a net by name, with initial weights that depend on nothing but the arguments.

    Args:
        name: one of `NAMES`.
        in_shape: (C, H, W) of one image, without the batch.
        classes: number of logits K.
        width: multiplies the channels and units of every hidden layer; 1.0 is the published net.
        seed: of the initial weights (and of dropout masks), an integer >= 0.

    Returns:
        A module from images (N, C, H, W) to logits (N, K), in float32 on the CPU, in training mode.

    Raises:
        UserError: unknown name, an image too small or too large for the net (naming the sizes that
            do, and the nets for this one), or an argument out of range.
    """
    net = outline(name, in_shape, classes, width, seed).to_empty(device="cpu")
    with torch.no_grad():
        _FAMILIES[name].initialize(net, torch.Generator().manual_seed(seed))
    return net


def outline(
    name: str,
    in_shape: tuple[int, int, int],
    classes: int = 10,
    width: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """The net of `build` on the meta device: its layers and shapes, without any number in it.

    Raises:
        UserError: as `build`.
    """
    errors.one_of("name", name, NAMES)
    family = _FAMILIES[name]
    in_shape = _checked_shape(in_shape)
    errors.positive("width", width)
    errors.require(
        isinstance(classes, int) and classes >= 2,
        f"classes is {classes!r}; it must be an integer >= 2.",
    )
    errors.require(
        isinstance(seed, int) and seed >= 0, f"seed is {seed!r}; it must be an integer >= 0."
    )
    errors.require(
        family.takes(in_shape),
        f"in_shape is {in_shape}; {name} takes images of {family.sizes()}. Nets for this size: "
        f"{', '.join(other for other in NAMES if _FAMILIES[other].takes(in_shape))}.",
    )
    # On the meta device the constructors allocate nothing and draw no random numbers.
    with torch.device("meta"):
        return family.construct(in_shape, classes, width, seed, **family.options)


def divided(net: nn.Module, temperature: float) -> nn.Module:
    """The net with its logits divided by a fixed number; its layers keep their names."""
    if isinstance(net, nn.Sequential):
        net.add_module("temperature", Temperature(temperature))
        return net
    return nn.Sequential(OrderedDict(net=net, temperature=Temperature(temperature)))


def _checked_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """`in_shape` as a tuple of three positive integers."""
    shape = tuple(in_shape) if isinstance(in_shape, tuple | list | torch.Size) else ()
    errors.require(
        len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape),
        f"in_shape is {in_shape!r}; it must be three positive integers (channels, height, width).",
    )
    return shape
