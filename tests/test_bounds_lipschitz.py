"""Lipschitz constants of nets: hand-made cases, and every net against its sampled lower bound."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snlib import bounds, models, spectral
from snlib.bounds import factors
from snlib.errors import UserError

DOUBLE = torch.float64


class Residual(nn.Module):
    """x + c A x, with a functional activation on request."""

    def __init__(self, size: int, scale: float, activation: bool) -> None:
        super().__init__()
        self.branch = nn.Linear(size, size, bias=False)
        self.activation = activation
        with torch.no_grad():
            self.branch.weight.copy_(scale * torch.eye(size))

    def forward(self, x):
        y = self.branch(x)
        return x + (F.relu(y) if self.activation else y)


class Dense(nn.Module):
    """Concatenates what came before, twice, as a DenseNet does; strides, pads, means."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.second = nn.Conv2d(5, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.down = nn.Conv2d(9, 4, 2, stride=2)
        self.out = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.cat([x, F.elu(self.first(x))], 1)
        x = torch.cat((x, F.relu(self.second(x)) * 0.5), dim=1)
        low = self.down(F.pad(self.pool(x), (0, 1, 0, 1)))
        left, right = low.chunk(2, dim=1)
        mixed = torch.cat([left - right, F.max_pool2d(low, 2, 1, 1)[:, :, :2, :2]], 1)
        pooled = torch.cat([mixed.mean((2, 3)), mixed.sum(dim=(2, 3))[:, :2] / 3], 1)
        return self.out(pooled)


def check_above_samples(net: nn.Module, shape, count: int = 24) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, *shape, generator=generator, dtype=next(net.parameters()).dtype)
    upper, local = bounds.lipschitz(net, shape).upper, bounds.local_lipschitz(net, x)
    lower = local["jacobian"].max()
    assert 0 < lower <= upper * (1 + 1e-5)
    assert local["difference"].max() <= math.sqrt(2) * upper * (1 + 1e-5)
    # differences of outputs over pairs of points are lower bounds, too
    with torch.no_grad():
        y = net.eval()(x)
    ratio = (y[1:] - y[:-1]).norm(dim=1) / (x[1:] - x[:-1]).flatten(1).norm(dim=1)
    assert ratio.max() <= upper * (1 + 1e-5)
    return lower, upper


def test_a_linear_chain_is_attained_when_its_singular_vectors_meet():
    net = nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.tensor([3.0, 1.0, 0.5])))
        net[2].weight.copy_(torch.diag(torch.tensor([2.0, 1.0, 0.5])))
    lower, upper = check_above_samples(net, (3,))
    assert lower == pytest.approx(6.0, rel=1e-4) and upper == pytest.approx(6.0, rel=1e-4)


@pytest.mark.parametrize("activation", [False, True])
def test_residual_nets_add_and_the_product_of_norms_is_no_bound(activation):
    net = nn.Sequential(*(Residual(4, 0.5, activation) for _ in range(3)))
    net.append(nn.Linear(4, 4, bias=False))
    nn.init.eye_(net[3].weight)
    lower, upper = check_above_samples(net, (4,), count=200)
    assert upper == pytest.approx(1.5**3, rel=1e-4)
    assert lower == pytest.approx(1.5**3, rel=1e-4)
    product = 10 ** bounds.lipschitz(net, (4,)).log10_product
    assert product == pytest.approx(0.5**3, rel=1e-4) and lower > product


def test_concatenation_is_the_root_of_the_sum_of_squares():
    class Twice(nn.Module):
        def forward(self, x):
            return torch.cat([x, 2 * x], dim=1)

    net = nn.Sequential(Twice(), nn.Linear(6, 6, bias=False))
    nn.init.eye_(net[1].weight)
    lower, upper = check_above_samples(net, (3,))
    assert lower == pytest.approx(5**0.5, rel=1e-4) and upper == pytest.approx(5**0.5, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_dense_net_with_all_kinds_of_operations(seed):
    torch.manual_seed(seed)
    check_above_samples(Dense().double(), (2, 6, 6))


@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_by_name_lies_above_its_samples(name):
    net = models.build(name, (3, 28, 28), 10, width=1 / 16, seed=0)
    _, upper = check_above_samples(net, (3, 28, 28), count=8)
    assert upper < math.inf


def test_a_net_under_a_budget_and_a_given_spectrum():
    net = models.build("mlp2", (1, 5, 5), 10, width=0.05, seed=0)
    spectral.constrain(net, 0.5, (1, 5, 5))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    table = spectral.spectrum(net, (1, 5, 5))
    own, given = (bounds.lipschitz(net, (1, 5, 5), spectrum=s) for s in (None, table))
    assert own.log10_upper == pytest.approx(given.log10_upper, abs=1e-6)
    assert own.upper <= 0.5**3 * 1.01
    doubled = table.assign(upper=2 * table["upper"])
    twice = bounds.lipschitz(net, (1, 5, 5), spectrum=doubled)
    assert twice.log10_upper - given.log10_upper == pytest.approx(3 * math.log10(2))
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_factors_multiply_to_the_bound_in_a_chain():
    net = models.build("alexnet", (3, 28, 28), 10, width=1 / 16, seed=0).train()
    found = bounds.lipschitz(net, (3, 28, 28))
    assert net.training
    total = sum(math.log10(factor) for factor in found.factors["factor"])
    assert total == pytest.approx(found.log10_upper)
    # two poolings of 2 and two response norms are what P leaves out
    lrn = factors.response_norm_factor(0.75, 1.0)
    assert found.log10_upper - found.log10_product == pytest.approx(2 * math.log10(2 * lrn))


def test_modules_may_state_their_constant_and_huge_ones_do_not_overflow():
    class Shout(nn.Module):
        lipschitz = 1e200

        def forward(self, x):
            return torch.where(x > 0, x * 1e20, x)

    net = nn.Sequential(Shout(), nn.Linear(3, 2), Shout())
    found = bounds.lipschitz(net, (3,))
    assert 399 < found.log10_upper < 401 and found.upper == math.inf


def test_always_on_dropout_keeps_its_count():
    net = models.build("alexnet_dropout", (3, 28, 28), 10, width=1 / 16, seed=0)
    before = net.state_dict()
    found = bounds.lipschitz(net, (3, 28, 28))
    calls = [key for key in before if "extra_state" in key]
    after = net.state_dict()
    assert calls and all(before[key] == after[key] for key in calls)
    dropouts = found.factors[found.factors["kind"] == "AlwaysOnDropout"]
    assert dropouts["factor"].tolist() == pytest.approx([1.25, 1.25])


def test_local_constants_by_hand():
    net = nn.Linear(4, 3).double()
    table = bounds.local_lipschitz(net, torch.randn(5, 4, dtype=DOUBLE), batch_size=2)
    weight = net.weight.detach()
    pairs = [(weight[i] - weight[j]).norm().item() for i in range(3) for j in range(i)]
    assert len(table) == 5
    assert table["jacobian"].tolist() == pytest.approx([torch.linalg.svdvals(weight)[0].item()] * 5)
    assert table["difference"].tolist() == pytest.approx([max(pairs)] * 5)
    assert net.weight.grad is None


class Strange(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Strange(torch.exp), ("exp", "not known")),
        (Strange(lambda y: y * y), ("mul", "not known")),
        (Strange(lambda y: 1 / y), ("truediv", "not known")),
        (Strange(lambda y: y - y.mean(0)), ("mean", "not known")),
        (Strange(lambda y: y[:, [0, 0]]), ("getitem", "not known")),
        (Strange(lambda y: y if y.sum() > 0 else -y), ("torch.fx cannot trace",)),
        (nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)), ("1", "not known", "`lipschitz`")),
    ],
)
def test_unknown_operations_are_refused_in_one_line(net, words):
    with pytest.raises(UserError) as caught:
        bounds.lipschitz(net, (4,))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: bounds.lipschitz(net, (5,)), ("in_shape is (5,)",)),
        (lambda net: bounds.local_lipschitz(net, torch.zeros(4)), ("(4,)", "batch")),
        (lambda net: bounds.local_lipschitz(net, torch.zeros(2, 5)), ("(2, 5)", "refuses")),
        (lambda net: bounds.local_lipschitz(net, torch.zeros(2, 4), batch_size=-1), ("-1",)),
        (
            lambda net: bounds.local_lipschitz(nn.Unflatten(1, (2, 2)), torch.zeros(1, 4)),
            ("logits have shape (1, 2, 2)",),
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(UserError) as caught:
        call(nn.Sequential(nn.Linear(4, 3)))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
