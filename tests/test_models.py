"""The networks: published sizes, weights from the seed alone, errors."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snlib import models
from snlib.errors import UserError
from snlib.models import wide_resnet

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
        ("alexnet_dropout_train", COLOUR, 4_237_130),
        ("alexnet_nolrn", COLOUR, 4_237_130),
        ("elu_alexnet_bn", COLOUR, 4_237_130 + 704),
        ("elu_alexnet_dropout", COLOUR, 4_237_130),
        ("elu_alexnet_dropout_train", COLOUR, 4_237_130),
        ("elu_alexnet_nolrn", COLOUR, 4_237_130),
        ("elu_net", GREY, 710_218),
        ("mlp1", COLOUR, 1_209_866),
        ("mlp1", GREY, 407_050),
        ("mlp2", COLOUR, 1_472_522),
        ("mlp2", GREY, 669_706),
        ("mlp1_relu", GREY, 407_050),
        ("mlp2_relu", COLOUR, 1_472_522),
        ("softmax", COLOUR, 23_530),
        ("softmax", GREY, 7_850),
        ("inception", COLOUR, 1_810_682),
        ("resnet", COLOUR, 1_481_146),
        ("resnet_narrow", COLOUR, 464_698),
        ("vgg", COLOUR, 4_953_162 + 3_840),
        ("densenet", (3, 32, 32), 769_162),
        ("densenet_40", (3, 32, 32), 176_122),
        ("wide_resnet", (3, 32, 32), 2_748_890),
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
        modules = list(net.modules())
        return {kind for kind in (nn.ReLU, nn.ELU) if any(isinstance(m, kind) for m in modules)}

    assert kinds("mlp1") == kinds("mlp2") == kinds("elu_net") == kinds("elu_alexnet") == {nn.ELU}
    assert kinds("mlp1_relu") == kinds("mlp2_relu") == kinds("alexnet") == {nn.ReLU}
    for variant in ("bn", "dropout", "dropout_train", "nolrn"):
        assert kinds(f"alexnet_{variant}") == {nn.ReLU} and kinds(f"elu_alexnet_{variant}") == {
            nn.ELU
        }


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


@pytest.mark.parametrize("name", ["mlp2", "alexnet", "elu_net"])
def test_initial_weights_are_the_draws_of_torch_to_rounding(name):
    net, generator = models.build(name, GREY, width=0.1, seed=5), torch.Generator().manual_seed(5)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            expected = torch.empty_like(layer.weight)
            nn.init.xavier_uniform_(expected, generator=generator)
            torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="switches of x86 kernels")
def test_initial_weights_have_the_same_bits_on_every_processor():
    """torch without its vector instructions stands for an older processor."""
    code = (
        "from snlib import models; import hashlib;"
        "weights = models.build('elu_alexnet', (1, 28, 28), width=0.1, seed=5).parameters();"
        "whole = b''.join(weight.detach().numpy().tobytes() for weight in weights);"
        "print(hashlib.sha256(whole).hexdigest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for capability in ("default", "avx2")
    ]
    assert told[0] == told[1] != ""


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


def convolutions_and_linears(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 5),
        ("elu_net", 4),
        ("mlp2", 3),
        ("softmax", 1),
        ("inception", 20),
        ("resnet", 35),
    ],
)
def test_number_of_layers_under_the_budget(name, count):
    assert len(convolutions_and_linears(models.build(name, GREY, width=0.1))) == count


@pytest.mark.parametrize("name", models.NAMES)
def test_every_weight_sits_in_a_layer_of_its_own_that_is_called_once(name):
    net = models.build(name, (3, 32, 32), width=0.1)
    found = convolutions_and_linears(net)
    weights = {id(layer.weight) for layer in found}
    assert weights == {id(p) for p in net.parameters() if p.ndim > 1}, "a weight outside a layer"
    calls = dict.fromkeys(map(id, found), 0)

    def count(layer: nn.Module, *_: object) -> None:
        calls[id(layer)] += 1

    for layer in found:
        layer.register_forward_hook(count)
    net(torch.rand(2, 3, 32, 32))
    assert set(calls.values()) == {1}, "a layer is bypassed or shared"
    norms = (nn.modules.batchnorm._BatchNorm,)
    others = [m for m in net.modules() if not isinstance(m, nn.Conv2d | nn.Linear | norms[0])]
    assert not any(list(m.parameters(recurse=False)) for m in others)


def test_inception_by_functions_alone():
    net = models.build("inception", COLOUR, width=0.2).double()
    state = net.state_dict()
    x = torch.randn(2, *COLOUR, generator=torch.Generator().manual_seed(0)).double()

    def conv(x, name, **options):
        return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options))

    y = conv(x, "conv1", padding=1)
    for index in range(1, 11):
        if index in (3, 8):
            # TensorFlow's SAME with kernel 3 and stride 2 on an even side: one pixel right, below.
            halved = conv(F.pad(y, (0, 1, 0, 1)), f"down{index}.conv", stride=2)
            # After ReLU a padded 0 never beats a pixel.
            y = torch.cat([halved, F.max_pool2d(F.pad(y, (0, 1, 0, 1)), 3, 2)], 1)
        else:
            branches = (
                conv(y, f"incept{index}.conv1x1"),
                conv(y, f"incept{index}.conv3x3", padding=1),
            )
            y = torch.cat(branches, 1)
    assert y.shape[2:] == (7, 7)
    ones = torch.ones(1, 1, 7, 7).double()
    window = torch.ones(y.shape[1], 1, 7, 7).double()
    inside = F.conv2d(ones, window[:1], padding=3)
    y = F.conv2d(y, window, padding=3, groups=y.shape[1]) / inside
    expected = y.flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(("name", "last"), [("resnet", 128), ("resnet_narrow", 64)])
def test_resnet_by_functions_alone(name, last):
    net = models.build(name, COLOUR).double()
    state = net.state_dict()
    assert [k for k in state if k.endswith("bias")] == ["fc.bias"]
    assert state["fc.weight"].shape == (10, last)
    x = torch.randn(1, *COLOUR, generator=torch.Generator().manual_seed(0)).double()
    y = F.conv2d(x, state["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range(1, 6):
            where = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            active = F.relu(y)
            if block == 1:
                y = F.conv2d(active, state[f"{where}.projection.weight"], stride=stride)
            # One pixel on every side, then VALID.
            active = F.conv2d(
                F.pad(active, (1, 1, 1, 1)), state[f"{where}.conv1.weight"], None, stride
            )
            y = y + F.conv2d(F.relu(active), state[f"{where}.conv2.weight"], padding=1)
    expected = F.relu(y).mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(net(x), expected)


def test_resnet_convolutions_have_variance_one_over_fan_in():
    net = models.build("resnet", COLOUR)
    weight = net.stage3_block2.conv1.weight.detach().double()
    # 147,456 draws: the standard error of the variance is below 0.4 %.
    assert float(weight.var()) * 128 * 9 == pytest.approx(1, rel=0.02)
    assert float(weight.abs().max()) <= 2 / 0.8796 / math.sqrt(128 * 9)


@pytest.mark.parametrize(
    ("depth", "factor", "published"),
    [(28, 10, 36_479_194), (16, 10, 17_116_634)],  # counts listed by public model zoos
)
def test_wide_resnets_of_the_literature(depth, factor, published):
    with torch.device("meta"):
        net = wide_resnet.wide_resnet((3, 32, 32), 10, 1.0, 0, depth=depth, factor=factor)
    assert parameters(net) == published


@pytest.mark.parametrize("name", ["densenet", "wide_resnet"])
@pytest.mark.parametrize(("side", "map_side"), [(28, 7), (32, 8), (56, 7), (64, 8)])
def test_later_nets_end_in_the_same_map_for_both_sizes(name, side, map_side):
    net = models.build(name, (3, side, side), width=0.1)
    norm = net.features.norm5 if name == "densenet" else net.bn
    shapes = []
    norm.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[2:])))
    net.eval()(torch.zeros(1, 3, side, side))
    assert shapes == [(map_side, map_side)]
