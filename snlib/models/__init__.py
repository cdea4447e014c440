"""The paper's networks and the later ones, by name.

    net = build("alexnet", in_shape=(3, 28, 28), classes=10)

Every convolution and linear layer is a module of its own, so that a norm budget can be put on each
of them without an edit of the net. A budget is no part of a net: see `snlib.spectral`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from snlib import errors
from snlib.models import (
    alexnet,
    densenet,
    elu_net,
    inception,
    mlp,
    resnet,
    vgg,
    wide_resnet,
)
from snlib.models.layers import SameConv2d, glorot_, he_

__all__ = ["NAMES", "SameConv2d", "build"]


@dataclass(frozen=True)
class _Family:
    """How a net is made: constructor, its options, the smallest image side, the initial weights."""

    construct: Callable[..., nn.Module]
    smallest: int
    options: dict[str, object] = field(default_factory=dict)
    initialize: Callable[[nn.Module, torch.Generator], None] = glorot_


_FAMILIES = {
    "alexnet": _Family(alexnet.alexnet, alexnet.SMALLEST),
    "elu_alexnet": _Family(alexnet.alexnet, alexnet.SMALLEST, {"activation": nn.ELU}),
    "alexnet_bn": _Family(alexnet.alexnet, alexnet.SMALLEST, {"batch_norm": True}),
    "alexnet_dropout": _Family(alexnet.alexnet, alexnet.SMALLEST, {"drop": 0.2}),
    "alexnet_nolrn": _Family(alexnet.alexnet, alexnet.SMALLEST, {"lrn": False}),
    "elu_net": _Family(elu_net.elu_net, elu_net.SMALLEST),
    "mlp1": _Family(mlp.mlp, mlp.SMALLEST, {"hidden": 1}),
    "mlp2": _Family(mlp.mlp, mlp.SMALLEST, {"hidden": 2}),
    "mlp1_relu": _Family(mlp.mlp, mlp.SMALLEST, {"hidden": 1, "activation": nn.ReLU}),
    "mlp2_relu": _Family(mlp.mlp, mlp.SMALLEST, {"hidden": 2, "activation": nn.ReLU}),
    "softmax": _Family(mlp.mlp, mlp.SMALLEST, {"hidden": 0}),
    "inception": _Family(inception.inception, inception.SMALLEST),
    "resnet": _Family(resnet.resnet, resnet.SMALLEST, {}, resnet.initialize),
    "resnet_narrow": _Family(  # what the authors meant: 64 channels in the last stage, not 128
        resnet.resnet, resnet.SMALLEST, {"widths": (16, 32, 64)}, resnet.initialize
    ),
    "vgg": _Family(vgg.vgg, vgg.SMALLEST),
    # Beyond the paper:
    "densenet": _Family(densenet.densenet, densenet.SMALLEST, {}, he_),
    "densenet_40": _Family(densenet.densenet, densenet.SMALLEST, {"depth": 40}, he_),
    "wide_resnet": _Family(wide_resnet.wide_resnet, wide_resnet.SMALLEST, {}, he_),
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
        UserError: unknown name, an image too small for the net, or an argument out of range.
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
    side = min(in_shape[1:])
    errors.require(
        side >= family.smallest,
        f"in_shape is {in_shape}; {name} takes images of {family.smallest}x{family.smallest} "
        f"pixels or more. Nets for this size: {', '.join(_fitting(side))}.",
    )
    # On the meta device the constructors allocate nothing and draw no random numbers.
    with torch.device("meta"):
        net = family.construct(in_shape, classes, width, seed, **family.options)
    net.to_empty(device="cpu")
    with torch.no_grad():
        family.initialize(net, torch.Generator().manual_seed(seed))
    return net


def _fitting(side: int) -> list[str]:
    """Names of the nets that take images of this side."""
    return [name for name, family in _FAMILIES.items() if family.smallest <= side]


def _checked_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """`in_shape` as a tuple of three positive integers."""
    shape = tuple(in_shape) if isinstance(in_shape, tuple | list | torch.Size) else ()
    errors.require(
        len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape),
        f"in_shape is {in_shape!r}; it must be three positive integers (channels, height, width).",
    )
    return shape
