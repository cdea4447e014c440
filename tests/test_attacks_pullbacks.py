"""Gradients of chains of layers without autograd, against autograd's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import numbers
from torch import Tensor, nn

from snlib import capturing, models, spectral
from snlib.attacks import Attack, pgm
from snlib.attacks.objectives import input_gradient, slope_of
from snlib.attacks.pullbacks import rule_of, suits
from snlib.attacks.state import untouched
from snlib.models import convolution, fast
from snlib.models.layers import AlwaysOnDropout, Temperature, TrainingDropout

FORMATS = (torch.contiguous_format, torch.channels_last)


def batch_norm(channels: int, *, affine: bool = True) -> nn.BatchNorm2d:
    """A batch norm that has seen data."""
    layer = nn.BatchNorm2d(channels, affine=affine).double()
    layer(3 * numbers(20, channels, 3, 3, seed=2) + 1)
    return layer


def assert_autograds(net: nn.Module, x: Tensor) -> None:
    """By hand and by autograd: the same output, the same gradient."""
    net = net.double().eval().requires_grad_(False)
    rule = rule_of(net)
    assert rule is not None and suits(x)
    leaf = x.clone().requires_grad_()
    expected = net(leaf)
    grad = numbers(*expected.shape, seed=1)
    slope = torch.autograd.grad(expected, leaf, grad)[0]
    for module in net.modules():  # dropout that is never off: the same mask again
        if hasattr(module, "calls"):
            module.calls -= 1
    before = x.clone(), grad.clone()
    with torch.no_grad():
        found, pull = rule(x)
        pulled = pull(grad)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pulled, slope, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before[0]) and torch.equal(grad, before[1])


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("layer", [
    nn.Identity(), nn.Dropout(0.5), nn.ReLU(), nn.ELU(), nn.ELU(0.7), fast.ELU(),
    nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d((3, 2), (2, 1), 1, ceil_mode=True),
    nn.MaxPool2d(2, dilation=2), nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, (3, 2), 2, (1, 0), bias=False),
    nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), batch_norm(4),
    batch_norm(4, affine=False), convolution.Conv2d(4, 5, 5, 2), convolution.Conv2d(4, 5, 3, 0),
    fast.ResponseNorm(3, alpha=0.3), fast.ResponseNorm(9, alpha=0.1, beta=0.5, k=2.0),
    AlwaysOnDropout(0.3, 0), TrainingDropout(0.3, 0), nn.Flatten(), fast.Flatten(),
    nn.Flatten(2), nn.Sequential(nn.ReLU(), nn.Flatten()),
])  # fmt: skip
def test_every_layer_is_autograds(layer, memory):
    assert_autograds(
        nn.Sequential(copy.deepcopy(layer)), numbers(3, 4, 7, 6).to(memory_format=memory)
    )


@pytest.mark.parametrize("layer", [nn.Linear(5, 4), nn.Linear(5, 3, bias=False), Temperature(3.0)])
def test_layers_of_vectors_are_autograds(layer):
    assert_autograds(nn.Sequential(layer), numbers(3, 5))


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("dense", [0, 2**17])
def test_every_way_of_a_fast_convolution_is_autograds(dense, memory, monkeypatch):
    monkeypatch.setattr(convolution, "DENSE", dense)
    for channels in (1, 3, 6):  # few go by blocks
        net = nn.Sequential(convolution.Conv2d(channels, 5, 5, 2))
        assert_autograds(net, numbers(2, channels, 8, 8).to(memory_format=memory))


@pytest.mark.parametrize("pool", [
    nn.MaxPool2d(3, 2), nn.MaxPool2d(2), nn.MaxPool2d((2, 3), (2, 3)), nn.MaxPool2d(2, 4),
    nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 3, dilation=2),
    nn.Sequential(nn.MaxPool2d(3, 2)), nn.Identity(),
])  # fmt: skip
def test_what_a_pooling_leaves_out_is_not_computed_and_changes_nothing(pool):
    for size in ((8, 8), (7, 6), (5, 8)):
        assert_autograds(nn.Sequential(convolution.Conv2d(1, 3, 5, 2), pool), numbers(4, 1, *size))


def test_the_output_is_as_large_as_the_pooling_reads():
    net = nn.Sequential(convolution.Conv2d(1, 3, 5, 2), nn.MaxPool2d(3, 2)).requires_grad_(False)
    sizes = []
    pool = torch._C._nn.max_pool2d_with_indices
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        seen = lambda x, *rest: sizes.append(tuple(x.shape[2:])) or pool(x, *rest)  # noqa: E731
        patch.setattr(torch._C._nn, "max_pool2d_with_indices", seen)
        rule_of(net)(torch.ones(2, 1, 8, 7))
    assert sizes == [(7, 7)]


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("beta", [math.inf, 0.8])
@pytest.mark.parametrize("name", [
    "alexnet", "elu_alexnet", "alexnet_bn", "elu_alexnet_dropout", "elu_alexnet_dropout_train",
    "elu_alexnet_nolrn", "mlp2", "mlp1_relu", "softmax",
])  # fmt: skip
def test_whole_nets_are_autograds(name, beta, memory):
    net = models.build(name, (2, 9, 9), classes=4, width=0.1, seed=3).double()
    net = models.divided(spectral.constrain(net, beta, (2, 9, 9)), 2.0)
    with spectral.frozen(net):
        assert_autograds(net, numbers(5, 2, 9, 9).to(memory_format=memory))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["conv", "narrow", "pool", "norm", "response", "relu", "elu", "fast"]),
             max_size=6),
    st.integers(1, 3), st.integers(6, 9), st.integers(0, 2**20),
)  # fmt: skip
def test_any_chain_is_autograds(kinds, channels, side, seed):
    make = {
        "conv": lambda c: nn.Conv2d(c, 3, 3, padding=1),
        "narrow": lambda c: convolution.Conv2d(c, 4, 3, 1),
        "pool": lambda c: nn.MaxPool2d(2, 1),
        "norm": batch_norm,
        "response": lambda c: fast.ResponseNorm(3, alpha=0.5),
        "relu": lambda c: nn.ReLU(),
        "elu": lambda c: nn.ELU(),
        "fast": lambda c: fast.ELU(),
    }
    net, count = nn.Sequential(), channels
    for kind in kinds:
        net.append(make[kind](count))
        count = {"conv": 3, "narrow": 4}.get(kind, count)
    net.append(fast.Flatten())
    x = numbers(2, channels, side, side, seed=seed)
    with torch.no_grad():
        units = net.double().eval()(x).shape[1]
    net.append(nn.Linear(units, 3))
    assert_autograds(net, x)


class Doubling(nn.Linear):
    """A layer whose class is not torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Louder(Temperature):
    """A layer that inherits a rule which is not its own."""

    def forward(self, logits: Tensor) -> Tensor:
        return 3 * super().forward(logits)


@pytest.mark.parametrize("layer", [
    Doubling(3, 3), Louder(1.0), nn.Softplus(), nn.ReLU(inplace=True), nn.ELU(inplace=True),
    nn.Sequential(nn.Tanh()), nn.Sequential(),
])  # fmt: skip
def test_what_has_no_rule_is_left_to_autograd(layer):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), layer).double().eval()
    assert rule_of(net) is None
    x, y = numbers(6, 1, 2, 2), torch.arange(6) % 3
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(nn.functional.cross_entropy(net(leaf), y, reduction="sum"), leaf)
    found = input_gradient(net, slope_of("cross_entropy", y))(x.clone())
    torch.testing.assert_close(found, expected[0], rtol=1e-6, atol=1e-7)  # a softmax in float32


def test_layers_in_training_mode_with_another_padding_or_indices_have_no_rule():
    for layer in (
        nn.BatchNorm2d(2), nn.Dropout(0.5), nn.BatchNorm2d(2, track_running_stats=False).eval(),
        nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.MaxPool2d(2, return_indices=True), nn.Conv1d(2, 2, 1),
    ):  # fmt: skip
        assert rule_of(nn.Sequential(layer)) is None
    assert rule_of(nn.Linear(2, 2)) is None and rule_of(lambda x: x) is None


def test_a_net_that_is_watched_is_left_to_autograd():
    net = nn.Sequential(nn.Linear(2, 2))
    assert rule_of(net) is not None
    seen = []
    for module in (net, net[0]):
        for register in (
            module.register_forward_hook, module.register_forward_pre_hook,
            module.register_full_backward_hook, module.register_full_backward_pre_hook,
        ):  # fmt: skip
            hook = register(lambda *_: seen.append(1))
            assert rule_of(net) is None
            pgm(net, torch.ones(1, 2), torch.tensor([0]), 0.1, steps=2)
            hook.remove()
    assert len(seen) == 16  # each once a step
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert rule_of(net) is None
    hook.remove()
    net[0].forward = lambda x: x
    assert rule_of(net) is None


def test_inputs_and_surroundings_that_do_not_suit():
    x = torch.ones(2, 2)
    assert suits(x) and not suits(nn.Parameter(x)) and not suits(x.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not suits(x)
    with capturing.unseen():
        assert not suits(x)
    seen = []
    torch.func.vmap(lambda row: seen.append(suits(row)) or row)(x)
    assert seen == [False]


@pytest.mark.parametrize("attack", [
    Attack("pgm", 0.5, steps=4, labels="predicted"), Attack("fgm", 0.5, norm=math.inf),
    Attack("pgm", 0.5, norm=1, loss="log_odds"), Attack("wrm", 0.5, steps=4),
    Attack("trades", 0.5, steps=4),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attacks_are_those_by_autograd_bit_for_bit(attack, dtype):
    """For a function around the net there is no rule. Its poolings look at every pixel of 7x7."""
    net = models.build("elu_alexnet", (1, 7, 7), width=0.125).to(dtype).requires_grad_(False)
    x = numbers(20, 1, 7, 7).to(dtype).to(memory_format=torch.channels_last)
    y = torch.arange(20) % 10
    with untouched(net):
        expected = attack(lambda z: net(z), x, y)
    assert torch.equal(attack(net, x, y), expected)
