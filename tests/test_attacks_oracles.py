"""Attacks against the paper's own code, closed forms, other libraries and SciPy."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import nn

from snlib.attacks import Attack, fgm, pgm, trades_attack, wrm
from snlib.attacks.balls import project, uniform

GOLDEN = Path(__file__).parent / "data" / "attack_golden.npz"
NORMS = {"l2": 2, "linf": math.inf, "l1": 1}
EPS = {"l2": 2.0, "linf": 0.1, "l1": 30.0}


@pytest.fixture(scope="module")
def golden():
    """The authors' small net, its inputs and the outputs of their attacks, all float64."""
    with np.load(GOLDEN, allow_pickle=False) as file:
        values = {name: torch.from_numpy(file[name]) for name in file.files}
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(1152, 64), nn.ReLU(), nn.Linear(64, 10),
    ).double()  # fmt: skip
    for index, name in ((0, "conv1"), (3, "conv2"), (7, "fc1"), (9, "fc2")):
        net[index].weight.data = values[f"{name}.weight"]
        net[index].bias.data = values[f"{name}.bias"]
    return net, values


@pytest.mark.parametrize("labels", ["y", "none"])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("kind", ["fgm", "pgm"])
def test_authors_fgm_and_pgm(golden, kind, norm, labels):
    net, values = golden
    attack = Attack(kind, EPS[norm], NORMS[norm], l1="gradient",
                    labels="true" if labels == "y" else "predicted")  # fmt: skip
    got = attack(net, values["x"], values["y"] if labels == "y" else None)
    expected = values[f"{kind}-{norm}-{labels}"]
    assert (got - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("labels", ["y", "none"])
@pytest.mark.parametrize("eps", ["0.3", "3.0"])
def test_authors_wrm(golden, eps, labels):
    net, values = golden
    y = values["y"] if labels == "y" else None
    name = "true" if labels == "y" else "predicted"
    expected = values[f"wrm-{eps}-{labels}"]
    got = wrm(net, values["x"], y, eps=float(eps), labels=name)
    assert (got - expected).abs().max() <= 1e-12
    by_gamma = wrm(net, values["x"], y, wrm_gamma=1 / (2 * float(eps)), labels=name)
    assert (by_gamma - expected).abs().max() <= 1e-12


def test_labels_matter(golden):
    """The golden cells with given and predicted labels differ, so that the test above can fail."""
    _, values = golden
    assert (values["pgm-l2-y"] - values["pgm-l2-none"]).abs().max() > 1e-2


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("kind", ["fgm", "pgm"])
def test_foolbox(golden, kind, norm):
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    net, values = golden
    x, y, eps = values["x"], values["y"], EPS[norm]
    stem = {"l2": "L2", "linf": "Linf", "l1": "L1"}[norm]
    model = foolbox.PyTorchModel(net.eval(), bounds=(-1e6, 1e6), device="cpu")
    if kind == "fgm":
        name = "LinfFastGradientAttack" if norm == "linf" else f"{stem}FastGradientAttack"
        theirs = getattr(foolbox.attacks, name)(random_start=False)
    else:
        theirs = getattr(foolbox.attacks, f"{stem}ProjectedGradientDescentAttack")(
            abs_stepsize=2 * eps / 15, steps=15, random_start=False
        )
    expected = theirs(model, x, y, epsilons=eps)[0]
    got = Attack(kind, eps, NORMS[norm], l1="gradient")(net, x, y)
    assert (got - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("kind", ["fgm", "pgm"])
def test_art(golden, kind, norm, monkeypatch):
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    for name, module in list(sys.modules.items()):
        if name.startswith("art") and hasattr(module, "ART_NUMPY_DTYPE"):
            monkeypatch.setattr(module, "ART_NUMPY_DTYPE", np.float64)
    net, values = golden
    x, y, eps = values["x"][:4], values["y"][:4], EPS[norm]
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (3, 28, 28), 10, device_type="cpu")
    order = NORMS[norm]
    if kind == "fgm":
        theirs = FastGradientMethod(model, norm=order, eps=eps, batch_size=4)
    else:
        theirs = ProjectedGradientDescentPyTorch(
            model, norm=order, eps=eps, eps_step=2 * eps / 15, max_iter=15, num_random_init=0,
            batch_size=4, verbose=False,
        )  # fmt: skip
    expected = torch.from_numpy(theirs.generate(x.numpy(), y.numpy()))
    got = Attack(kind, eps, order)(net, x, y)
    assert (got - expected).abs().max() <= 1e-12


def test_art_fgm_steepest_coordinate(golden, monkeypatch):
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
    from art.attacks.evasion import FastGradientMethod
    from art.estimators.classification import PyTorchClassifier

    for name, module in list(sys.modules.items()):
        if name.startswith("art") and hasattr(module, "ART_NUMPY_DTYPE"):
            monkeypatch.setattr(module, "ART_NUMPY_DTYPE", np.float64)
    net, values = golden
    x, y = values["x"][:4], values["y"][:4]
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (3, 28, 28), 10, device_type="cpu")
    theirs = FastGradientMethod(model, norm=1, eps=30.0, batch_size=4)
    expected = torch.from_numpy(theirs.generate(x.numpy(), y.numpy()))
    assert (fgm(net, x, y, 30.0, norm=1) - expected).abs().max() <= 1e-11


def linear_net(seed=0, classes=2, features=12):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Linear(features, classes).double()
    net.weight.data = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    x = torch.randn(8, features, generator=generator, dtype=torch.float64)
    return net, x, torch.arange(8) % classes


@pytest.mark.parametrize("loss", ["cross_entropy", "log_odds"])
@pytest.mark.parametrize("norm", [2, math.inf, 1])
@pytest.mark.parametrize("kind", ["fgm", "pgm"])
def test_linear_closed_form(kind, norm, loss):
    """On two classes the best perturbation is eps times the dual direction of w_other - w_y."""
    net, x, y = linear_net()
    w = net.weight.detach()[1 - y] - net.weight.detach()[y]
    if norm == 2:
        direction = w / w.square().sum(1, keepdim=True).sqrt()
    elif norm == 1:
        top = np.abs(w.numpy()).argmax(1)
        direction = torch.zeros_like(w)
        for row, column in enumerate(top):
            direction[row, column] = math.copysign(1.0, w[row, column])
    else:
        direction = torch.from_numpy(np.sign(w.numpy()))
    got = Attack(kind, 0.7, norm, loss=loss)(net, x, y)
    assert torch.allclose(got, x + 0.7 * direction, rtol=0, atol=1e-12)


def test_targeted_goes_the_other_way():
    net, x, y = linear_net()
    assert torch.allclose(
        pgm(net, x, 1 - y, 0.7, targeted=True), pgm(net, x, y, 0.7), rtol=0, atol=1e-12
    )


def test_wrm_reaches_the_penalised_maximum():
    """On two linear classes d = t w with t = eps sigmoid(m + t ||w||^2), solved by brentq."""
    net, x, y = linear_net(seed=3)
    with torch.no_grad():
        net.weight.mul_(0.3)
        w = net.weight[1 - y] - net.weight[y]
        z = net(x)
    gap = (z.gather(1, 1 - y[:, None]) - z.gather(1, y[:, None]))[:, 0]
    got = wrm(net, x, y, eps=0.5, steps=3000)
    for row in range(len(x)):
        square, start = float((w[row] ** 2).sum()), float(gap[row])
        t = optimize.brentq(
            lambda t, m=start, s=square: t - 0.5 / (1 + math.exp(-m - t * s)), 0, 1, xtol=1e-15
        )
        assert np.allclose((got - x)[row], t * w[row], rtol=0, atol=1e-9)


def test_trades_against_plain_autograd(golden):
    """The same ascent written with F.kl_div and backward, as in the TRADES authors' code."""
    net, values = golden
    x, eps, step = values["x"], 0.1, 0.02
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    clean = net(x).softmax(1).detach()
    z = x + 1e-3 * start
    for _ in range(4):
        z = z.detach().requires_grad_()
        loss = nn.functional.kl_div(net(z).log_softmax(1), clean, reduction="sum")
        (slope,) = torch.autograd.grad(loss, z)
        z = torch.clamp(z + step * slope.sign(), x - eps, x + eps)
    got = trades_attack(net, x, eps, steps=4, step_size=step,
                        generator=torch.Generator().manual_seed(5))  # fmt: skip
    assert (got - z).abs().max() <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_l1_projection_against_a_root_finder(seed):
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn(6, 3, 4, generator=generator, dtype=torch.float64) * 3 ** (seed - 2)
    got = project(delta.clone(), 2.0, 1)
    for row in range(len(delta)):
        d = delta[row].numpy()
        if np.abs(d).sum() <= 2.0:
            expected = d
        else:
            excess = lambda t, d=d: np.maximum(np.abs(d) - t, 0).sum() - 2.0  # noqa: E731
            t = optimize.brentq(excess, 0, np.abs(d).max(), xtol=1e-15)
            expected = np.sign(d) * np.maximum(np.abs(d) - t, 0)
        assert np.allclose(got[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", [2, math.inf, 1])
def test_random_start_is_uniform_by_volume(norm):
    """(||delta|| / eps)^d of a uniform point is uniform on [0, 1]; signs are fair."""
    x = torch.zeros(4000, 1, 2, 2, dtype=torch.float64)
    delta = uniform(x, 3.0, norm, torch.Generator().manual_seed(1)).flatten(1).numpy()
    size = np.linalg.norm(delta, ord=norm, axis=1) / 3.0
    assert stats.kstest(size**4, "uniform").pvalue > 1e-3
    positive = int((delta > 0).sum())
    assert stats.binomtest(positive, delta.size, 0.5).pvalue > 1e-3
    if norm == 1:  # |x_i| / sum |x| of a uniform direction is Beta(1, d - 1)
        share = np.abs(delta[:, 0]) / np.abs(delta).sum(1)
        assert stats.kstest(share, stats.beta(1, 3).cdf).pvalue > 1e-3


def test_log_odds_points_where_exact_cross_entropy_points(golden):
    """In float64, unsaturated, both losses give the same attack; scaled logits change nothing."""
    net, values = golden
    x, y = values["x"], values["y"]
    plain = pgm(net, x, y, 2.0)
    assert (pgm(net, x, y, 2.0, loss="log_odds") - plain).abs().max() <= 1e-11


def test_log_odds_survives_where_float32_cross_entropy_dies():
    net, x, y = linear_net()
    net, x = net.float(), x.float()
    with torch.no_grad():
        y = net(x).argmax(1)
        net.weight.mul_(1e4), net.bias.mul_(1e4)
    stuck, info = fgm(net, x, y, 0.1, return_info=True)
    dead = info.zero_gradient == 1
    assert int(dead.sum()) >= 7 and torch.equal(stuck[dead], x[dead])
    moved, info = fgm(net, x, y, 0.1, loss="log_odds", return_info=True)
    assert int(info.zero_gradient.sum()) == 0 and info.gradients == len(x)
    assert torch.allclose((moved - x).norm(dim=1), torch.full((8,), 0.1), rtol=1e-5)
