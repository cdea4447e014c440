"""l2 attacks followed in the first layer's coordinates, against plain ones in the input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import numbers
from torch import Tensor, nn
from torch.nn import functional as F

from snlib import models, spectral
from snlib.attacks import Attack, fgm, pgm, span, wrm
from snlib.attacks.objectives import slope_of
from snlib.errors import UserError

ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh}
"""Tanh has no rule: behind the first layer the gradient is then autograd's."""


def perceptron(inputs: int, *units: int, kind: str = "elu", seed: int = 0) -> nn.Sequential:
    """flatten -> units, with an activation between, in float64; no units but classes: softmax."""
    net = nn.Sequential(nn.Flatten())
    for index, count in enumerate(units):
        layer = nn.Linear(inputs, count).double()
        layer.weight.data = numbers(count, inputs, seed=seed + index) / math.sqrt(inputs)
        layer.bias.data = numbers(count, seed=seed + index + 50) / 4
        net.append(layer)
        if index < len(units) - 1:
            net.append(ACTIVATIONS[kind]())
        inputs = count
    return net


@pytest.fixture
def spans(monkeypatch):
    """Every span made, of nets however small."""
    made = []
    init = span.Span.__init__
    monkeypatch.setattr(span, "SAVING", math.inf)
    monkeypatch.setattr(
        span.Span, "__init__", lambda self, *a: (made.append(self), init(self, *a))[0]
    )
    return made


def slope(net: nn.Module, x: Tensor, y: Tensor, sign: float) -> Tensor:
    """The gradient of the cross-entropy in the input, by autograd."""
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(net(x), y, reduction="sum")
    return sign * torch.autograd.grad(loss, x)[0]


def length(delta: Tensor) -> Tensor:
    """Of each sample; a zero counts as 1, so that it may be divided by."""
    size = delta.flatten(1).norm(dim=1).view(-1, *[1] * (delta.dim() - 1))
    return size + (size == 0)


def plain_pgm(net, x, y, eps, steps, step, sign=1.0) -> Tensor:
    """The method's formula in the input, with autograd."""
    z = x
    for _ in range(steps):
        g = slope(net, z, y, sign)
        delta = z + step * g / length(g) - x
        z = x + delta * (eps / length(delta)).clamp(max=1.0)
    return z


def plain_wrm(net, x, y, eps, steps) -> Tensor:
    """x + eps g, then x_{t+1} = x_t + (t + 2)^{-1/2} (eps g_t - (x_t - x)), with autograd."""
    z = x + eps * slope(net, x, y, 1.0)
    for t in range(steps):
        z = z + (t + 2) ** -0.5 * (eps * slope(net, z, y, 1.0) - (z - x))
    return z


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(ACTIVATIONS)), units=st.lists(st.integers(2, 9), max_size=2),
    side=st.integers(2, 5), samples=st.integers(1, 6), steps=st.integers(1, 6),
    eps=st.floats(0.01, 4.0), share=st.floats(0.1, 1.5), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_pgm_and_wrm_are_the_plain_ones(kind, units, side, samples, steps, eps, share, seed):
    net = perceptron(2 * side**2, *units, 3, kind=kind, seed=seed)
    x, y = numbers(samples, 2, side, side, seed=seed), torch.arange(samples) % 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span, "SAVING", math.inf)
        found = pgm(net, x, y, eps, steps=steps, step_size=share * eps)
        followed = wrm(net, x, y, eps=eps, steps=steps)
    expected = plain_pgm(net, x, y, eps, steps, share * eps)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(followed, plain_wrm(net, x, y, eps, steps), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("loss", ["cross_entropy", "log_odds"])
@pytest.mark.parametrize("targeted", [False, True])
def test_every_objective(spans, loss, targeted):
    net, x, y = perceptron(30, 7, 4), numbers(9, 5, 6), torch.arange(9) % 4
    found = pgm(net, x, y, 0.7, steps=5, loss=loss, targeted=targeted)
    sign = -1.0 if targeted else 1.0
    expected = plain_pgm(net, x, y, 0.7, 5, 2 * 0.7 / 5, sign)  # both losses ascend alike
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    assert len(spans) == 1


def test_predicted_labels_and_one_radius_per_sample(spans):
    net, x = perceptron(12, 6, 3), numbers(5, 3, 4)
    eps = torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    y = net(x).argmax(1)
    found = pgm(net, x, None, eps, steps=4, labels="predicted")
    column = eps[:, None, None]
    expected = plain_pgm(net, x, y, column, 4, column / 2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(found[0], x[0])
    found = wrm(net, x, None, eps=eps, steps=4, labels="predicted")
    torch.testing.assert_close(found, plain_wrm(net, x, y, column, 4), rtol=1e-9, atol=1e-9)
    assert len(spans) == 2


def test_foolbox_in_the_span(spans):
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    net, x, y = perceptron(40, 8, 5), numbers(6, 1, 5, 8), torch.arange(6) % 5
    model = foolbox.PyTorchModel(net.eval(), bounds=(-1e6, 1e6), device="cpu")
    theirs = foolbox.attacks.L2ProjectedGradientDescentAttack(
        abs_stepsize=0.3, steps=9, random_start=False
    )
    expected = theirs(model, x, y, epsilons=0.8)[0]
    found = pgm(net, x, y, 0.8, steps=9, step_size=0.3)
    assert (found - expected).abs().max() <= 1e-12 and len(spans) == 1


@pytest.mark.parametrize("beta", [math.inf, 0.9])
@pytest.mark.parametrize("name", ["mlp1", "mlp2_relu", "softmax"])
def test_the_papers_nets_in_float32(spans, name, beta):
    """Rounding errors of the size that the plain attack has, which is 1e-7 to 3e-5 here."""
    net = models.build(name, (1, 28, 28), width=0.25, seed=1)
    net = spectral.constrain(net, beta, (1, 28, 28))
    x, y = numbers(20, 1, 28, 28).float(), torch.arange(20) % 10
    with spectral.frozen(net):
        exact = perceptron(784, *(len(layer.weight) for layer in net if hasattr(layer, "weight")),
                           kind="relu" if "relu" in name else "elu")  # fmt: skip
        for layer, copy in zip(net, exact, strict=True):
            if hasattr(layer, "weight"):
                copy.weight.data, copy.bias.data = layer.weight.double(), layer.bias.double()
        found = pgm(net, x, y, 2.0, steps=15), wrm(net, x, y, eps=3.0, steps=15)
    other = lambda z: net(z)  # noqa: E731  no chain: the plain attack
    plain = pgm(other, x, y, 2.0, steps=15), wrm(other, x, y, eps=3.0, steps=15)
    truth = (
        plain_pgm(exact, x.double(), y, 2.0, 15, 4.0 / 15),
        plain_wrm(exact, x.double(), y, 3, 15),
    )
    assert len(spans) == 2
    for ours, theirs, expected in zip(found, plain, truth, strict=True):
        error = (ours.double() - expected).abs().max()
        assert 0 < error <= 10 * (theirs.double() - expected).abs().max() < 1e-3


def test_the_ball_is_never_left_in_float32(spans):
    net = perceptron(64, 32, 10).float()
    for seed in range(5):
        x = 100.0 * numbers(50, 64, seed=seed).float()  # rounding of x dwarfs that of the steps
        found = pgm(net, x, torch.arange(50) % 10, 1e-3, steps=3)
        assert (found.double() - x.double()).norm(dim=1).max() <= 1e-3
    assert len(spans) == 5


def test_layout_and_net_are_left_alone(spans):
    net = perceptron(2 * 5 * 4, 6, 3)
    x = numbers(4, 2, 5, 4).to(memory_format=torch.channels_last)
    kept, before = x.clone(), [p.clone() for p in net.parameters()]
    for found in (pgm(net, x, torch.arange(4) % 3, 1.0), wrm(net, x, torch.arange(4) % 3, eps=1.0)):
        assert found.shape == x.shape and found.stride() == x.stride() and not found.requires_grad
    assert torch.equal(x, kept) and len(spans) == 2
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_a_tiny_gradient_is_followed_and_none_is_stayed_at(spans):
    net = perceptron(8, 2).float()
    net[1].weight.data = torch.zeros(2, 8)
    net[1].weight.data[1, 3] = 1.0
    net[1].bias.data.zero_()
    x = torch.zeros(3, 8)
    x[:, 3] = torch.tensor([0.0, -80.0, -200.0])  # slopes 1/2, 1e-35, 0
    found, info = pgm(net, x, torch.zeros(3, dtype=torch.int64), 1.0, steps=2, return_info=True)
    torch.testing.assert_close(found[:, 3], torch.tensor([1.0, -79.0, -200.0]))
    assert info.zero_gradient.tolist() == [0, 0, 2] and info.gradients == 6
    _, info = wrm(net, x, torch.zeros(3, dtype=torch.int64), eps=0.1, steps=2, return_info=True)
    assert info.zero_gradient.tolist() == [0, 0, 3] and info.gradients == 9
    assert len(spans) == 2


def test_weights_of_zero_move_nothing(spans):
    net = perceptron(6, 4, 3)
    net[1].weight.data.zero_()
    x, y = numbers(4, 6), torch.arange(4) % 3
    assert torch.equal(pgm(net, x, y, 1.0), x) and torch.equal(wrm(net, x, y, eps=1.0), x)
    assert len(spans) == 2


def test_only_where_it_applies(spans):
    x, y = numbers(4, 1, 3, 4), torch.arange(4) % 3
    net = perceptron(12, 5, 3)
    fgm(net, x, y, 0.1)
    assert len(spans) == 1
    pgm(net, x, y, 0.1, norm=math.inf)
    pgm(net, x, y, 0.1, norm=1)
    pgm(net, x, y, 0.1, clip=(-9.0, 9.0))
    wrm(net, x, y, eps=0.1, clip=(-9.0, 9.0))
    pgm(net, x, y, 0.1, random_start=True)
    pgm(net.float(), x.float(), y, 0.1, precision="bfloat16")
    net.double()
    pgm(lambda z: net(z), x, y, 0.1)
    pgm(nn.Sequential(nn.ReLU(), *net), x, y, 0.1)
    convolution = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3)).double()
    pgm(convolution, x, y, 0.1)
    for layer in (net, net[0], net[1]):
        hook = layer.register_forward_hook(lambda *_: None)
        pgm(net, x, y, 0.1)
        hook.remove()
    assert len(spans) == 1
    seen = []
    hook = net[2].register_forward_hook(lambda *_: seen.append(1))  # behind: it is called
    pgm(net, x, y, 0.1, steps=4)
    assert len(spans) == 2 and len(seen) == 4


def test_what_the_net_refuses_is_refused_in_its_words(spans):
    net, y = perceptron(12, 5, 3), torch.arange(4) % 3
    with pytest.raises(UserError, match="13"):
        pgm(net, numbers(4, 13), y, 0.1)
    with pytest.raises(UserError, match="labels must be 0 to 2"):
        pgm(net, numbers(4, 12), y + 1, 0.1)
    net[1].weight.data[0, 0] = math.nan
    with pytest.raises(UserError, match="logits that are not finite"):
        wrm(net, numbers(4, 12), y, eps=0.1)


def test_it_is_taken_where_it_saves(monkeypatch):
    wide = dict(inputs=784, units=512)  # the paper's perceptrons on MNIST
    assert span.pays(128, gradients=15, **wide)
    assert not span.pays(128, gradients=1, **wide) and not span.pays(8, gradients=15, **wide)
    assert not span.pays(128, units=512, inputs=64, gradients=15)  # digits: more units than pixels
    net, x = perceptron(784, 512, 10), numbers(4, 784)
    assert span.span_of(net, x, 15, slope_of("cross_entropy", None)) is None
    monkeypatch.setattr(span, "SAVING", math.inf)
    assert span.span_of(net, x, 15, slope_of("cross_entropy", None)) is not None


def test_an_attack_as_used_in_training_takes_it(monkeypatch):
    net = models.build("mlp1", (1, 28, 28))
    x, y = torch.rand(128, 1, 28, 28), torch.arange(128) % 10
    made, real = [], span.gram
    monkeypatch.setattr(span, "gram", lambda weight: made.append(1) or real(weight))
    for kind in ("pgm", "wrm", "fgm"):
        Attack(kind, 1.0, steps=15, labels="predicted")(net, x, y, check=False)
    assert len(made) == 2


@pytest.mark.parametrize("rows", [1, 5, span.BLOCK, span.BLOCK + 1, 3 * span.BLOCK - 7])
def test_gram_matrix(rows):
    weight = numbers(rows, 40)
    found = span.gram(weight)
    torch.testing.assert_close(found, weight @ weight.t(), rtol=1e-13, atol=1e-13)
