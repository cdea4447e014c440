"""Accuracy, curves and intervals against SciPy, hand computation and the definition itself."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from snlib import evaluation
from snlib.attacks import Attack
from snlib.errors import UserError
from snlib.evaluation import accuracy, curve, gradient_norms, norm_gain, wilson
from snlib.spectral import constrain, release

EPS = [0.0, 0.1, 0.3, 0.6, 1.0, 2.0]


@pytest.fixture(scope="module")
def problem():
    """Five overlapping Gaussian classes and a small trained net."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 16, generator=generator)
    y = torch.randint(0, 5, (400,), generator=generator)
    x = centres[y] + 2.0 * torch.randn(400, 16, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 5))
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(60):  # dropout draws from the global generator
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.train(), x, y


def test_clean_accuracy_by_hand(problem):
    net, x, y = problem
    right = (net.eval()(x).argmax(1) == y).sum().item()
    net.train()
    assert accuracy(net, x, y, batch_size=64) == right / 400
    assert net.training and net[2].training
    assert 0.5 < right / 400 < 1.0


def test_accuracy_under_attack_by_hand(problem):
    net, x, y = problem
    attack = Attack("pgm", 0.3)
    x_adv = attack(net, x, y)
    right = (net.eval()(x_adv).argmax(1) == y).sum().item() / 400
    net.train()
    assert accuracy(net, x, y, attack, batch_size=100) == right
    assert accuracy(net, x, y, Attack("none")) == accuracy(net, x, y)


@pytest.mark.parametrize("norm", [2, math.inf, 1])
@pytest.mark.parametrize("kind", ["fgm", "pgm"])
def test_skipping_changes_no_number(problem, kind, norm):
    net, x, y = problem
    attack = Attack(kind, norm=norm, loss="log_odds")
    fast = curve(net, x, y, attack, EPS[::-1], batch_size=150)
    slow = curve(net, x, y, attack, EPS, batch_size=150, skip=False)
    same = ["eps", "accuracy", "lower", "upper", "n"]
    assert fast[same].equals(slow[same])
    assert slow["gradients"].tolist() == [0] + [attack.gradients_per_sample * 400] * 5
    assert fast["gradients"].sum() < 0.95 * slow["gradients"].sum()
    assert fast["accuracy"].iloc[-1] < fast["accuracy"].iloc[0] == accuracy(net, x, y)


def test_curve_is_what_its_definition_says(problem):
    net, x, y = problem
    table = curve(net, x, y, Attack("pgm"), EPS)
    net.eval()
    right = net(x).argmax(1) == y
    for row, eps in enumerate(EPS):
        if eps > 0:
            right &= net(Attack("pgm", eps)(net, x, y)).argmax(1) == y
        assert table["accuracy"][row] == right.sum().item() / 400
        assert (table["lower"][row], table["upper"][row]) == wilson(int(right.sum()), 400)
    net.train()


@pytest.mark.parametrize("attack", [Attack("pgm", labels="predicted"), Attack("wrm")])
def test_paper_protocol_takes_every_eps_alone(problem, attack):
    net, x, y = problem
    table = curve(net, x, y, attack, [0.3, 1.0])
    for row, eps in enumerate([0.3, 1.0]):
        assert table["accuracy"][row] == accuracy(net, x, y, attack.replace(eps=eps))
    assert (table["gradients"] == attack.gradients_per_sample * 400).all()


def test_predicted_labels_are_the_weaker_attack(problem):
    net, x, y = problem
    true = accuracy(net, x, y, Attack("pgm", 1.0))
    assert true < accuracy(net, x, y, Attack("pgm", 1.0, labels="predicted"))


def test_bfloat16_attack_is_scored_in_float32(problem):
    net, x, y = problem
    seen = []
    hook = net[3].register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = curve(net, x, y, Attack("pgm", precision="bfloat16", steps=3), [1.0])
    hook.remove()
    assert seen.count(torch.bfloat16) == 3 and seen[-1] == torch.float32
    reference = curve(net, x, y, Attack("pgm", steps=3), [1.0])
    assert abs(table["accuracy"][0] - reference["accuracy"][0]) <= 0.02


def test_box_per_image_follows_its_image(problem):
    net, x, y = problem
    box = (x - torch.rand(400, 1, generator=torch.Generator().manual_seed(1)) * 0.2, x + 0.1)
    attack = Attack("pgm", 1.0)
    right = accuracy(net, x, y, attack, clip=box, batch_size=64)
    net.eval()
    expected = (net(attack(net, x, y, clip=box)).argmax(1) == y).sum().item() / 400
    net.train()
    assert right == expected > accuracy(net, x, y, attack)
    table = curve(net, x, y, attack, [0.5, 1.0], clip=box, batch_size=64)
    assert abs(table["accuracy"][1] - expected) <= 1 / 400


def test_budgeted_weights_are_the_same_inside_and_outside(problem):
    """Numbers on a net with a norm budget equal those of the released net with the same weights."""
    net, x, y = problem
    bound = copy.deepcopy(net)
    constrain(bound, 0.8, (16,))
    free = release(copy.deepcopy(bound))
    assert accuracy(bound, x, y, Attack("pgm", 0.5)) == accuracy(free, x, y, Attack("pgm", 0.5))
    assert torch.allclose(norm_gain(bound, x), norm_gain(free, x), rtol=1e-6)
    assert (norm_gain(bound, x) < 0.9 * norm_gain(net, x)).any()


@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_against_scipy(n, share, level):
    correct = round(share * n)
    low, high = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    assert np.allclose(wilson(correct, n, level), (low, high), rtol=0, atol=1e-10)


def test_norm_gain_of_a_linear_map_lies_between_its_singular_values():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7, bias=False)).double()
    x = torch.randn(50, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gain = norm_gain(net, x, batch_size=7).numpy()
    flat, weight = x.flatten(1).numpy(), net[1].weight.detach().numpy()
    expected = np.linalg.norm(flat @ weight.T, axis=1) / np.linalg.norm(flat, axis=1)
    assert np.allclose(gain, expected, rtol=1e-13) and gain.shape == (50,)
    assert gain.max() <= np.linalg.svd(weight, compute_uv=False)[0]


def test_gradient_norms_by_plain_autograd(problem):
    net, x, y = problem
    double = nn.Sequential(*net).double().eval()
    z = x.double().requires_grad_()
    loss = nn.functional.cross_entropy(double(z), y, reduction="sum")
    (slope,) = torch.autograd.grad(loss, z)
    got = gradient_norms(double, x.double(), y, batch_size=64)
    net.float().train()
    # Plain cross-entropy itself rounds p - 1 at 1e-16, hence the absolute part.
    assert torch.allclose(got, slope.norm(dim=1), rtol=1e-9, atol=1e-14)


def test_gradient_norms_survive_saturation():
    """Binary linear net: sigmoid(-margin) ||w1 - w0||, far below what float32 can subtract."""
    net = nn.Linear(2, 2)
    net.weight.data = torch.tensor([[40.0, 0.0], [-40.0, 0.0]])
    net.bias.data.zero_()
    got = gradient_norms(net, torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0]))
    expected = torch.tensor([math.exp(-80), math.exp(-160)], dtype=torch.float64) * 80
    assert torch.allclose(got, expected, rtol=1e-6, atol=0)


def broken(net):
    twin = copy.deepcopy(net)
    next(twin.parameters()).data.fill_(math.nan)
    return twin


def test_only_misfits_are_reworded(problem):
    """Other errors of a net's own reach the caller as they are."""
    _, x, y = problem

    def net(x):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        accuracy(net, x, y)
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize(("call", "words"), [
    (lambda net, x, y: accuracy(net, x, y[:5]), ["y", "(5,)", "(400,)"]),
    (lambda net, x, y: accuracy(net, x[:0], y[:0]), ["x", "(0, 16)"]),
    (lambda net, x, y: accuracy(net, x, y, batch_size=0), ["batch_size", "0"]),
    (lambda net, x, y: curve(net, x, y, Attack("pgm"), []), ["eps", "[]"]),
    (lambda net, x, y: curve(net, x, y, Attack("pgm"), [0.1, -1]), ["eps", "-1"]),
    (lambda net, x, y: accuracy(net, x, y + 90), ["y", "labels from", "logits"]),
    (lambda net, x, y: accuracy(net, x, y - 90), ["y", "labels from -90", "logits"]),
    (lambda net, x, y: accuracy(net, x[:, :9], y), ["x", "(400, 9)", "refuses"]),
    (lambda net, x, y: gradient_norms(net, x, y + 90), ["y", "labels from", "logits"]),
    (lambda net, x, y: gradient_norms(broken(net), x, y), ["net", "finite", "weights"]),
    (lambda net, x, y: norm_gain(broken(net), x), ["net", "NaN", "weights"]),
    (lambda net, x, y: norm_gain(net, x[:, :9]), ["x", "(400, 9)", "refuses"]),
    (lambda net, x, y: wilson(5, 4), ["correct", "5", "4"]),
    (lambda net, x, y: wilson(1, 4, 95), ["level", "95"]),
])  # fmt: skip
def test_bad_input(problem, call, words):
    with pytest.raises(UserError) as caught:
        call(*problem)
    for word in words:
        assert word in str(caught.value)


def test_larger_images_are_evaluated_fewer_at_a_time_and_digits_500():
    sizes = [evaluation.batch_of(torch.zeros(3, *shape)) for shape in ((1, 8, 8), (1, 28, 28))]
    assert sizes[0] == 500 and 64 <= sizes[1] < 200
    assert evaluation.batch_of(torch.zeros(3, 3, 64, 64)) == 32
    assert evaluation.batch_of(torch.zeros(0, 5)) == 500
