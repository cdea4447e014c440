"""The networks: published sizes, TensorFlow's paddings by definition, seeds, errors."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from snlib import models
from snlib.errors import UserError
from snlib.models import layers

COLOUR, GREY = (3, 28, 28), (1, 28, 28)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "in_shape", "published"),
    [
        ("alexnet", COLOUR, 4_237_130),
        ("elu_alexnet", COLOUR, 4_237_130),
        ("alexnet_bn", COLOUR, 4_237_130 + 704),
        ("alexnet_dropout", COLOUR, 4_237_130),
        ("alexnet_nolrn", COLOUR, 4_237_130),
        ("elu_net", GREY, 710_218),
        ("mlp1", COLOUR, 1_209_866),
        ("mlp1", GREY, 407_050),
        ("mlp2", COLOUR, 1_472_522),
        ("mlp2", GREY, 669_706),
        ("mlp1_relu", GREY, 407_050),
        ("mlp2_relu", COLOUR, 1_472_522),
        ("softmax", COLOUR, 23_530),
        ("softmax", GREY, 7_850),
    ],
)
def test_published_parameter_counts(name, in_shape, published):
    assert parameters(models.build(name, in_shape)) == published


def test_alexnet_has_the_published_layers():
    net = models.build("alexnet", COLOUR)
    assert [parameters(layer) for layer in net if parameters(layer)] == [
        7_296,
        614_656,
        3_539_328,
        73_920,
        1_930,
    ]
    maps, x = [], torch.zeros(1, *COLOUR)
    for layer in net:
        x = layer(x)
        maps.append(tuple(x.shape[1:]))
    assert maps[2] == (96, 13, 13) and maps[6] == (256, 6, 6) and maps[8] == (9216,)


def test_activations_are_the_published_ones():
    def kinds(name: str) -> set[type]:
        net = models.build(name, GREY, width=0.1)
        return {type(module) for module in net.modules()} & {nn.ReLU, nn.ELU}

    assert kinds("mlp1") == kinds("mlp2") == kinds("elu_net") == kinds("elu_alexnet") == {nn.ELU}
    assert kinds("mlp1_relu") == kinds("mlp2_relu") == kinds("alexnet") == {nn.ReLU}


def test_response_norm_is_tensorflows():
    x = torch.randn(2, 96, 3, 3, generator=torch.Generator().manual_seed(1)) * 30
    ours = models.build("alexnet", COLOUR).lrn1(x)
    expected, pixels = np.empty(x.shape), x.double().numpy()
    for d in range(96):
        window = pixels[:, max(0, d - 4) : d + 5]
        expected[:, d] = pixels[:, d] / (1 + 0.001 / 9 * (window**2).sum(1)) ** 0.75
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    net = models.build("alexnet", COLOUR)
    for layer, fans in ((net.conv2, 25 * 96 + 25 * 256), (net.fc1, 9216 + 384)):
        limit = math.sqrt(6 / fans)
        weight = layer.weight.detach()
        assert weight.abs().max() <= limit
        assert weight.abs().max() > 0.999 * limit
        # 600,000 draws or more: the standard error of the variance is below 0.2 %.
        assert float(weight.var()) == pytest.approx(limit**2 / 3, rel=0.01)
        assert layer.bias.count_nonzero() == 0


@pytest.mark.parametrize("name", models.NAMES)
def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = models.build(name, GREY, width=0.1, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "a global generator was used"
    torch.manual_seed(4)
    again = models.build(name, GREY, width=0.1, seed=5).state_dict()
    other = models.build(name, GREY, width=0.1, seed=6).state_dict()
    weights = [key for key, value in first.items() if key.endswith("weight") and value.ndim > 1]
    assert all(torch.equal(first[key], again[key]) for key in weights)
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("side", [8, 14, 28, 32, 56, 64])
def test_logits_and_gradients_are_finite_where_the_net_fits(name, side):
    smallest = models._FAMILIES[name].smallest
    if side < smallest:
        with pytest.raises(UserError, match=f"{smallest}x{smallest}"):
            models.build(name, (1, side, side), width=0.1)
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
    side = family.smallest
    models.build(name, (1, side, side), width=0.1)(torch.rand(2, 1, side, side))
    if side > 1:
        with pytest.raises(RuntimeError), torch.device("cpu"):
            net = family.construct((1, side - 1, side - 1), 10, 0.1, 0, **family.options)
            net(torch.rand(2, 1, side - 1, side - 1))


def test_too_small_an_image_says_which_sizes_do():
    with pytest.raises(UserError) as caught:
        models.build("elu_net", (1, 8, 8))
    assert str(caught.value) == (
        "in_shape is (1, 8, 8); elu_net takes images of 27x27 pixels or more. Nets for this size: "
        f"{', '.join(name for name in models.NAMES if name != 'elu_net')}."
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "alexnt"}, "name is 'alexnt'.*'alexnet'"),
        ({"in_shape": (28, 28)}, "in_shape is .28, 28.; it must be three"),
        ({"in_shape": (3, 0, 28)}, "in_shape"),
        ({"in_shape": (-3, -28, 28)}, "in_shape"),
        ({"in_shape": 28}, "in_shape is 28"),
        ({"classes": 1}, "classes is 1; it must be an integer >= 2"),
        ({"width": 0}, "width is 0"),
        ({"width": float("nan")}, "width is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_bad_arguments_are_named(change, words):
    with pytest.raises(UserError, match=words):
        models.build(**{"name": "mlp1", "in_shape": GREY, **change})


def test_width_multiplies_hidden_layers_only():
    net = models.build("alexnet", COLOUR, width=0.25)
    assert [tuple(layer.weight.shape) for layer in net if hasattr(layer, "weight")] == [
        (24, 3, 5, 5),
        (64, 24, 5, 5),
        (96, 64 * 36),
        (48, 96),
        (10, 48),
    ]
    assert models.build("mlp2", GREY, width=0.001).fc1.out_features == 1


def same_by_definition(
    x: np.ndarray, kernel: int, stride: int
) -> list[tuple[int, int, np.ndarray]]:
    """Windows of TensorFlow's SAME: (row, column, (C, kernel, kernel) with NaN outside)."""
    _, height, width = x.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    windows = []
    for row in range(rows):
        for column in range(columns):
            window = np.full((x.shape[0], kernel, kernel), np.nan)
            for a in range(kernel):
                for b in range(kernel):
                    i, j = row * stride + a - top, column * stride + b - left
                    if 0 <= i < height and 0 <= j < width:
                        window[:, a, b] = x[:, i, j]
            windows.append((row, column, window))
    return windows


SAME_CASES = [(3, 2, 8, 8), (3, 2, 7, 8), (3, 2, 7, 7), (8, 2, 12, 9), (2, 1, 5, 5), (4, 3, 7, 10),
              (5, 1, 6, 6), (1, 2, 5, 4), (3, 2, 1, 1)]  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), SAME_CASES)
def test_same_padding_is_tensorflows(kernel, stride, height, width):
    random = np.random.default_rng(kernel * 100 + stride)
    x = random.standard_normal((2, height, width))
    conv = layers.same_conv(2, 3, kernel, stride, size=(height, width)).double()
    pool = layers.SameMaxPool2d(kernel, stride, size=(height, width))
    shape = (math.ceil(height / stride), math.ceil(width / stride))
    convolved, pooled = np.empty((3, *shape)), np.empty((2, *shape))
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    for row, column, window in same_by_definition(x, kernel, stride):
        convolved[:, row, column] = (weight * np.nan_to_num(window)).sum((1, 2, 3)) + bias
        pooled[:, row, column] = np.nanmax(window, (1, 2))
    image = torch.from_numpy(x)[None]
    np.testing.assert_allclose(conv(image)[0].detach().numpy(), convolved, atol=1e-12)
    np.testing.assert_array_equal(pool(image - 100)[0].numpy(), pooled - 100)


def test_asymmetric_padding_sits_inside_the_convolution():
    conv = layers.same_conv(3, 4, 3, 2, size=(28, 28))
    assert isinstance(conv, layers.SameConv2d) and isinstance(conv, nn.Conv2d)
    assert conv.padding == (0, 0) and conv.same_padding == (0, 1, 0, 1)
    # 8x8/2 on 28x28 pads 3 on every side, so the plain layer serves.
    plain = layers.same_conv(3, 4, 8, 2, size=(28, 28))
    assert type(plain) is nn.Conv2d and plain.padding == (3, 3)


def test_dropout_acts_in_evaluation_and_keeps_its_place():
    net = models.build("alexnet_dropout", GREY, width=0.25, seed=2).eval()
    x = torch.rand(2, *GREY, generator=torch.Generator().manual_seed(0))
    first, second = net(x), net(x)
    assert not torch.equal(first, second), "dropout sleeps in evaluation"
    resumed = models.build("alexnet_dropout", GREY, width=0.25, seed=2).eval()
    assert torch.equal(resumed(x), first), "the masks do not come from the seed"
    resumed.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(resumed(x), net(x)), "the state does not hold the place in the masks"


def test_dropout_keeps_four_fifths_and_the_mean():
    kept = layers.AlwaysOnDropout(0.2, seed=0)(torch.ones(200_000))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    # Standard error of the fraction: sqrt(.2 * .8 / 200,000) = 0.0009.
    assert float((kept > 0).float().mean()) == pytest.approx(0.8, abs=0.005)
