"""Which images a net takes, and the variants of AlexNet: dropout on and off, temperature."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snlib import models
from snlib.errors import UserError

GREY = (1, 28, 28)
ALEXNETS = {name for name in models.NAMES if "alexnet" in name}
LARGE = {"mlp1", "mlp2", "mlp1_relu", "mlp2_relu", "softmax", "densenet", "densenet_40"}
LARGE |= {"wide_resnet"}
FITTING = {  # by side: the nets made for such images, written down independently
    8: set(models.NAMES) - {"elu_net"},
    28: set(models.NAMES),
    32: set(models.NAMES),
    56: LARGE,  # 64x64 images after the crop
    64: LARGE,
}


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("side", FITTING)
def test_a_net_is_built_for_images_that_fit_it_and_refuses_others_by_size(name, side):
    if name not in FITTING[side]:
        with pytest.raises(UserError) as refused:
            models.build(name, (3, side, side), width=0.1)
        line = str(refused.value)
        low = 27 if name == "elu_net" else 7 if name in ALEXNETS else 1
        assert f"in_shape is (3, {side}, {side}); {name} takes images of " in line
        assert f"{low}x{low} to 32x32 pixels" in line and "\n" not in line
        named = line.partition("Nets for this size: ")[2].rstrip(".").split(", ")
        assert set(named) == FITTING[side]
        return
    net = models.build(name, (1, side, side), classes=7, width=0.06)
    x = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    logits = net(x)
    assert logits.shape == (3, 7) and logits.dtype == torch.float32
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert any(p.grad.any() for p in net.parameters())


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", models.NAMES)
def test_smallest_size_is_the_smallest(name):
    family = models._FAMILIES[name]
    side = family.sides[0]
    models.build(name, (1, side, side), width=0.1)(torch.rand(2, 1, side, side))
    if side > 1:
        with pytest.raises(RuntimeError), torch.device("cpu"):
            net = family.construct((1, side - 1, side - 1), 10, 0.1, 0, **family.options)
            net(torch.rand(2, 1, side - 1, side - 1))


def test_the_later_nets_take_large_images_whole():
    for name in ("densenet", "wide_resnet", "densenet_40"):
        sizes = models._FAMILIES[name].sizes()
        assert "pixels or more" in sizes
    with pytest.raises(
        UserError, match=r"in_shape is \(3, 28, 64\); resnet takes images of 1x1 to"
    ):
        models.build("resnet", (3, 28, 64))


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_a_temperature_divides_the_logits_and_moves_no_layer():
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in ("mlp1", "densenet_40"):
        plain = models.build(name, (3, 32, 32), width=0.1).eval()
        other = models.divided(models.build(name, (3, 32, 32), width=0.1), 4.0).eval()
        torch.testing.assert_close(other(x), plain(x) / 4)
        assert count(other) == count(plain)
    chain = models.divided(models.build("mlp1", GREY), 4.0)
    assert [name for name, _ in chain.named_parameters()] == [
        name for name, _ in models.build("mlp1", GREY).named_parameters()
    ]


def test_dropout_of_training_alone_and_dropout_that_never_sleeps():
    x = torch.rand(4, *GREY, generator=torch.Generator().manual_seed(0))
    plain, usual, always = (
        models.build(f"elu_alexnet{kind}", GREY, width=0.2)
        for kind in ("", "_dropout_train", "_dropout")
    )
    for net in (usual, always):
        assert not torch.equal(net(x), net(x))
    for net in (plain, usual, always):
        net.eval()
    assert torch.equal(usual(x), usual(x)) and torch.equal(usual(x), plain(x))
    assert not torch.equal(always(x), always(x))
