"""The audit passes an honest net and catches nets that were broken on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from snlib.attacks import Attack, autoattack, pgm, square
from snlib.audit import audit
from snlib.errors import UserError
from snlib.evaluation import accuracy

ATTACK = Attack("pgm", 1.5)


@pytest.fixture(scope="module")
def problem():
    """Images of five blurred templates with noise, and a small convolutional net."""
    generator = torch.Generator().manual_seed(0)
    templates = torch.randn(5, 1, 8, 8, generator=generator)
    templates = nn.functional.avg_pool2d(templates, 3, 1, 1) * 2
    y = torch.randint(0, 5, (96,), generator=generator)
    x = templates[y] + 0.7 * torch.randn(96, 1, 8, 8, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(128, 5),
        )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net, x, y


class Softmax(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).softmax(1)


class Scaled(Softmax):
    """The same decisions, with logits so large that float32 cross-entropy has no slope left."""

    def forward(self, x):
        return 64 * self.net(x)


class Quantised(Softmax):
    """Rounds its input: the gradient is zero everywhere."""

    def forward(self, x):
        return self.net(torch.round(x * 2) / 2)


class Opaque(Softmax):
    """As above, and autograd sees no path at all."""

    def forward(self, x):
        return self.net(torch.round(x.detach() * 2) / 2)


class Shattered(Softmax):
    """A staircase whose gradient is that of a fast wave and says nothing about the loss."""

    def forward(self, x):
        return self.net(torch.round(x * 2) / 2 + 0.01 * torch.sin(3000 * x))


class Noisy(Softmax):
    def forward(self, x):
        return self.net(x + 0.3 * torch.randn_like(x))


@pytest.mark.parametrize("norm", [2, math.inf])
def test_an_honest_net_passes(problem, norm):
    net, x, y = problem
    eps = {2: 1.5, math.inf: 0.3}[norm]
    report = audit(net.train(), x, y, Attack("pgm", eps, norm, loss="log_odds"))
    assert report.passed, report.table.to_string()
    assert net.training and report.failed == () and len(report.table) == 11
    right = net(x).argmax(1) == y
    assert report.samples == int(right.sum())
    robust = accuracy(net, x[right], y[right], Attack("pgm", eps, norm, loss="log_odds"))
    assert report.robust == pytest.approx(robust, abs=1e-12) and 0.1 < robust < 0.9


@pytest.mark.parametrize(("kind", "caught"), [
    (Softmax, {"logits"}),
    (Scaled, {"saturation", "huge eps", "square"}),
    (Quantised, {"saturation", "slope", "huge eps", "transfer", "square"}),
    (Opaque, {"saturation", "slope", "huge eps", "transfer", "square"}),
    (Shattered, {"slope", "huge eps", "square"}),
    (Noisy, {"deterministic"}),
])  # fmt: skip
def test_broken_nets_are_caught(problem, kind, caught):
    net, x, y = problem
    report = audit(kind(net), x, y, ATTACK)
    assert not report.passed
    assert caught <= set(report.failed), report.table.to_string()


def test_log_odds_mends_scaled_logits(problem):
    net, x, y = problem
    report = audit(Scaled(net), x, y, ATTACK.replace(loss="log_odds"))
    assert report.passed, report.table.to_string()


def test_a_single_step_is_not_an_evaluation(problem):
    net, x, y = problem
    report = audit(net, x, y, Attack("pgm", 2.0, steps=1, step_size=0.1))
    assert "converged" in report.failed


def test_noise_that_beats_the_attack_shows(problem):
    net, x, y = problem
    assert "noise" in audit(Quantised(net), x, y, ATTACK.replace(eps=8.0)).failed


def test_a_better_surrogate_shows(problem):
    """Transfer from the honest net breaks what the attack on the rounded one leaves."""
    net, x, y = problem
    report = audit(Quantised(net), x, y, ATTACK, surrogate=net)
    assert "transfer" in report.failed


def test_an_attack_that_cheats_on_the_norm_is_caught(problem, monkeypatch):
    net, x, y = problem
    honest = Attack.__call__

    def cheat(self, net, x, y=None, generator=None, **options):
        return x + 1.0001 * (honest(self, net, x, y, generator, **options) - x)

    monkeypatch.setattr(Attack, "__call__", cheat)
    assert "norm" in audit(net, x, y, ATTACK).failed


def test_audit_leaves_everything_as_found(problem):
    net, x, y = problem
    state, values = torch.get_rng_state(), [p.detach().clone() for p in net.parameters()]
    grads = [p.grad for p in net.parameters()]
    first = audit(net, x, y, ATTACK, queries=20)
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(net.parameters(), values, grads, strict=True)
    assert all(p.requires_grad and torch.equal(p, v) and p.grad is g for p, v, g in pairs)
    assert audit(net, x, y, ATTACK, queries=20) == first


@pytest.mark.parametrize(("attack", "words"), [
    (Attack("wrm", 1.0), ["wrm", "pgm"]),
    (Attack("pgm", 0.0), ["eps", "0.0"]),
])  # fmt: skip
def test_bad_input(problem, attack, words):
    with pytest.raises(UserError) as caught:
        audit(*problem, attack)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("norm", [2, math.inf, 1])
def test_square_keeps_the_norm_and_breaks_linear_nets(norm):
    """Margins far below eps times the dual norm are found without any gradient."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Linear(20, 3)
    net.weight.data = torch.randn(3, 20, generator=generator)
    x = torch.randn(64, 20, generator=generator)
    y = net(x).argmax(1)
    eps = {2: 3.0, math.inf: 1.0, 1: 8.0}[norm]
    x_adv = square(net, x, y, eps, norm=norm, queries=200)
    delta = x_adv.double().numpy() - x.double().numpy()
    assert (np.linalg.norm(delta, ord=norm, axis=1) <= eps).all()
    few = square(net, x, y, eps, norm=norm, queries=2)
    broken, early = (int((net(z).argmax(1) != y).sum()) for z in (x_adv, few))
    strongest = int((net(pgm(net, x, y, eps, norm=norm)).argmax(1) != y).sum())
    assert early < broken <= strongest and broken >= 0.7 * strongest


@pytest.mark.parametrize(("norm", "eps"), [(2, 2.5), (math.inf, 0.4), (1, 12.0)])
def test_square_against_the_original(problem, norm, eps):
    """At 200 queries it finds no less than pyautoattack's Square, which is tuned for 5,000."""
    pytest.importorskip("pyautoattack", reason="pyautoattack is not installed")
    net, x, y = problem
    ours = square(net, x, y, eps, norm=norm, queries=200)
    theirs = autoattack(net, x, y, eps, norm=norm, parts=("square",), square_queries=200)
    ours, theirs = (int((net(z).argmax(1) != y).sum()) for z in (ours, theirs))
    assert ours >= theirs > 0


@pytest.mark.parametrize(("norm", "eps"), [(2, 1.5), (math.inf, 0.3), (1, 6.0)])
def test_autoattack_through_the_box(problem, norm, eps):
    """APGD is at least as strong as PGM-15, stays in the ball, and leaves random states alone."""
    pytest.importorskip("pyautoattack", reason="pyautoattack is not installed")
    net, x, y = problem
    x, y = x[:32], y[:32]
    state = torch.get_rng_state()
    net.train()
    x_adv = autoattack(net, x, y, eps, norm=norm, parts=("apgd-ce",))
    assert torch.equal(torch.get_rng_state(), state) and net.training
    assert all(p.requires_grad for p in net.parameters())
    delta = (x_adv.double().numpy() - x.double().numpy()).reshape(32, -1)
    size = np.linalg.norm(delta, ord=norm, axis=1)
    assert (size <= eps).all() and size.max() > 0.9 * eps
    found = int((net(x_adv).argmax(1) == y).sum())
    assert found <= int((net(pgm(net, x, y, eps, norm=norm)).argmax(1) == y).sum()) + 1
