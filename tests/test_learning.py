"""Gradients in the weights of a chain without autograd, against autograd's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from snlib import datasets, models, spectral, steps, training
from snlib.learning import learner_of
from snlib.models import convolution
from snlib.models.layers import AlwaysOnDropout
from snlib.runs import Run

IN_SHAPE = (2, 9, 9)


def batch(count: int = 7, *, shape: tuple[int, ...] = IN_SHAPE) -> tuple[Tensor, Tensor]:
    """Images in float64, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return x, torch.arange(count) % 4


def network(name: str, beta: float = math.inf, **options: str) -> nn.Module:
    """A net for `batch`, in float64 and training mode."""
    net = models.build(name, IN_SHAPE, classes=4, width=0.1, seed=3).double()
    return spectral.constrain(net, beta, IN_SHAPE, **options).train()


def assert_autograds(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """By hand and by autograd: the same logits, loss and gradients, to the rounding of float64."""
    other, before = copy.deepcopy(net), x.clone()
    with spectral.shared(net):
        logits, loss = learner_of(net)(x, y)
    with spectral.shared(other):
        expected = other(x)
        found = nn.functional.cross_entropy(expected, y)
    if found.requires_grad:
        found.backward()
    assert not (logits.requires_grad or loss.requires_grad) and torch.equal(x, before)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss, found.detach(), rtol=1e-12, atol=1e-12)
    for (name, ours), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-13)
            assert ours.grad.stride() == ours.stride()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("beta", [math.inf, 0.8, 50.0])
@pytest.mark.parametrize("name", [
    "alexnet", "elu_alexnet", "elu_alexnet_dropout", "elu_alexnet_dropout_train",
    "elu_alexnet_nolrn", "mlp1", "mlp2_relu", "softmax",
])  # fmt: skip
def test_whole_nets_are_autograds(name, beta, memory):
    net = models.divided(network(name, beta), 2.0).to(memory_format=memory)
    x, y = batch()
    assert_autograds(net, x.to(memory_format=memory), y)


@pytest.mark.parametrize("options", [{"gradient": "detached"}, {"kind": "reshaped"}, {
    "method": "power"}, {"guaranteed": True}])  # fmt: skip
def test_every_kind_of_budget_is_autograds(options):
    assert_autograds(network("elu_alexnet", 0.8, **options), *batch())


@pytest.mark.parametrize("dense", [0, 2**17])
@pytest.mark.parametrize("layer", [
    nn.Conv2d(2, 3, 3), nn.Conv2d(2, 4, (3, 2), 2, (1, 0), bias=False),
    nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2), convolution.Conv2d(2, 3, 5, 2),
])  # fmt: skip
def test_convolutions_before_and_after_others_are_autograds(layer, dense, monkeypatch):
    monkeypatch.setattr(convolution, "DENSE", dense)
    first = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
    net = nn.Sequential(first, copy.deepcopy(layer), nn.ReLU(), nn.Flatten()).double()
    x, y = batch()
    with torch.no_grad():
        net.append(nn.Linear(net(x).shape[1], 4).double())
    assert_autograds(net, x, y)


@pytest.mark.parametrize("beta", [math.inf, 0.8])
@pytest.mark.parametrize("size", [(8, 8), (7, 8), (9, 9)])
def test_what_a_pooling_leaves_out_has_no_part_in_the_gradient(size, beta):
    net = models.build("elu_alexnet", (1, *size), classes=4, width=0.1).double()
    assert_autograds(spectral.constrain(net, beta, (1, *size)), *batch(shape=(1, *size)))


@pytest.mark.parametrize("fixed", ["0.weight", "0.bias", "2.weight", "2.bias"])
def test_what_does_not_learn_has_no_gradient(fixed):
    net = nn.Sequential(nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 4)).double()
    net.get_parameter(fixed).requires_grad_(False)
    assert_autograds(net, *batch(shape=(5,)))
    for parameter in net.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    assert_autograds(net, *batch(shape=(5,)))


def test_gradients_add_up_and_shared_weights_have_one():
    linear = nn.Linear(4, 4).double()
    net = nn.Sequential(linear, nn.ReLU(), linear)
    x, y = batch(shape=(4,))
    for expected in (1.0, 2.0):
        learner_of(net)(x, y)
        alone = copy.deepcopy(net).requires_grad_(True)
        alone.zero_grad()
        nn.functional.cross_entropy(alone(x), y).backward()
        torch.testing.assert_close(linear.weight.grad, expected * alone[0].weight.grad)


def test_hooks_on_a_parameter_see_its_gradient():
    net, (x, y) = network("mlp1"), batch()
    learner_of(net)(x, y)
    plain = net.fc1.weight.grad
    net.zero_grad()
    seen = []
    net.fc1.weight.register_hook(lambda grad: 3 * grad)
    bias = net.fc1.bias
    bias.register_post_accumulate_grad_hook(lambda parameter: seen.append(parameter.grad.clone()))
    learner_of(net)(x, y)
    torch.testing.assert_close(net.fc1.weight.grad, 3 * plain)
    assert len(seen) == 1 and torch.equal(seen[0], bias.grad)


class Doubling(nn.Linear):
    """A layer whose class is not torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("layer", [
    nn.BatchNorm1d(4), nn.BatchNorm1d(4).eval(), nn.Dropout(0.5), nn.PReLU(), Doubling(4, 4),
    nn.Softplus(), nn.Sequential(nn.Tanh()), nn.LayerNorm(4), nn.Bilinear(4, 4, 4),
])  # fmt: skip
def test_what_has_no_rule_is_left_to_autograd(layer):
    assert learner_of(nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 4))) is None


def test_other_nets_have_no_rule():
    assert learner_of(nn.Linear(4, 4)) is None  # no chain
    assert learner_of(nn.Sequential(nn.ReLU())) is None and learner_of(nn.Sequential()) is None
    assert learner_of(network("alexnet_bn")) is None and learner_of(network("resnet")) is None


def test_a_net_that_is_watched_is_left_to_autograd():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    assert learner_of(net) is not None
    for module in (net, net[0], net[1], net[1][0]):
        for register in (
            module.register_forward_hook, module.register_forward_pre_hook,
            module.register_full_backward_hook, module.register_full_backward_pre_hook,
        ):  # fmt: skip
            hook = register(lambda *_: None)
            assert learner_of(net) is None
            hook.remove()
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert learner_of(net) is None
    hook.remove()


def test_masks_of_dropout_follow_the_order_of_the_passes():
    net = nn.Sequential(nn.Linear(5, 50), AlwaysOnDropout(0.5, 0), nn.Linear(50, 4)).double()
    assert_autograds(net, *batch(shape=(5,)))
    assert net[1].calls == 1


@pytest.mark.parametrize("beta", [math.inf, 1.3])
@pytest.mark.parametrize("scheme", ["erm", "fgm", "wrm", "trades"])
def test_training_is_the_same_by_autograd(scheme, beta, monkeypatch):
    """To rounding, for as many steps as do not amplify it."""
    images = datasets.load("digits", train_size=40)
    for part in ("train", "validation", "test"):
        object.__setattr__(images, f"x_{part}", getattr(images, f"x_{part}").double())
    settings = {"erm": {}, "wrm": {"wrm_gamma_ratio": 0.25}}.get(scheme, {"eps_ratio": 0.15})
    run = Run(
        data="digits", train_size=40, net="elu_alexnet", width=0.125, scheme=scheme, beta=beta,
        batch_size=20, epochs=2, stop_accuracy=2.0, **settings,
    )  # fmt: skip
    used = []
    monkeypatch.setattr(steps, "learner_of", lambda net: used.append(1) or learner_of(net))
    by_hand = training.fit(run, images)
    monkeypatch.setattr(steps, "learner_of", lambda net: None)
    by_autograd = training.fit(run, images)
    assert len(used) == (0 if scheme == "trades" else 4)
    for ours, theirs in zip(by_hand.net.parameters(), by_autograd.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_a_net_that_has_diverged_says_so():
    net = network("mlp1")
    with torch.no_grad():
        net.fc1.weight[0, 0] = math.nan
    x, y = batch()
    logits, loss = learner_of(net)(x, y)
    assert loss.isnan() and logits.isnan().any() and net.fc1.weight.grad.isnan().any()
