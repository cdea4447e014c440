"""Refreshes that wait: nothing a budget promises may depend on their waiting."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from snlib.errors import UserError
from snlib.spectral import constrain, refresh
from snlib.spectral.budget import budget_of
from snlib.spectral.schedule import MOST_MATRIX, MOST_SLACK, Schedule


def matrix_net(beta: float, size: int = 90) -> nn.Sequential:
    torch.manual_seed(0)
    return constrain(nn.Sequential(nn.Linear(size, size, bias=False)), beta, (size,))


def raw(net: nn.Sequential) -> nn.Parameter:
    return net[0].parametrizations.weight.original


def truth(weight: torch.Tensor) -> float:
    """The norm by numpy, in float64."""
    return float(np.linalg.norm(weight.detach().double().numpy(), 2))


def drift(net: nn.Sequential, steps: int, size: float = 1e-5) -> list[int]:
    """Steps of a slow random walk; the waits after each."""
    waits = []
    for _ in range(steps):
        with torch.no_grad():
            raw(net).add_(size * torch.randn_like(raw(net)))
        refresh(net)
        waits.append(budget_of(net[0]).schedule.waited)
    return waits


@pytest.mark.parametrize(("beta", "most"), [(0.5, MOST_MATRIX), (3.0, MOST_SLACK)])
def test_still_weights_are_looked_at_rarely(beta, most):
    net = matrix_net(beta)
    waits = drift(net, 60)
    assert max(waits) == most - 1
    assert truth(net[0].weight) == pytest.approx(min(beta, truth(raw(net))), rel=1e-4)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_new_weights_end_a_wait(beta):
    net = matrix_net(beta)
    assert drift(net, 61)[-1] > 0  # in the middle of one
    with torch.no_grad():
        raw(net).copy_(torch.randn(90, 90))
    refresh(net)
    assert truth(net[0].weight) == pytest.approx(beta, rel=1e-2)
    with torch.no_grad():
        raw(net)[0, 0] = math.nan
    with pytest.raises(UserError, match="weight of 0 holds NaN"):
        refresh(net)


def test_a_changed_weight_is_clipped_before_any_refresh():
    net = matrix_net(3.0)
    drift(net, 3)
    assert torch.equal(net[0].weight, raw(net))
    with torch.no_grad():
        raw(net).mul_(10)
    assert truth(net[0].weight) == pytest.approx(3.0, rel=1e-2)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_resumed_in_a_wait_is_the_same(beta):
    net = matrix_net(beta)
    assert drift(net, 61)[-1] > 0
    fresh = matrix_net(beta)
    fresh.load_state_dict(net.state_dict())
    for one in (net, fresh, twin := copy.deepcopy(net)):
        torch.manual_seed(5)
        drift(one, 21, 1e-3)
    for name, value in net.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
        assert torch.equal(twin.state_dict()[name], value), name
    assert torch.equal(fresh[0].weight, net[0].weight)


def test_layers_under_the_budget_have_the_plain_gradient():
    net = matrix_net(3.0)
    x = torch.randn(4, 90)
    drift(net, 2)
    net(x).square().sum().backward()
    plain = raw(net).detach().clone().requires_grad_()
    (x @ plain.T).square().sum().backward()
    torch.testing.assert_close(raw(net).grad, plain.grad)


def test_small_layers_follow_fast_weights():
    """Kept eigenvectors against numpy's SVD while the weight moves by percents a step."""
    torch.manual_seed(1)
    net = constrain(nn.Sequential(nn.Linear(70, 60, bias=False)), 0.4, (70,))
    for _ in range(40):
        drift(net, 1, 0.01)
        assert truth(net[0].weight) == pytest.approx(0.4, rel=1e-3)


def test_rule():
    schedule = Schedule(8)
    for _ in range(5):
        schedule.moved(1.0, 1.0, 0.5)
    assert schedule.interval == 8
    assert schedule.waits(1.0, 1.0, 0.5)
    assert not schedule.waits(1.02, 1.0, 0.5)  # a jump along the kept vectors
    assert not schedule.waits(math.nan, 1.0, 0.5)
    schedule.moved(0.9, 1.0, 0.5)  # missed a tenth
    assert schedule.interval == 1 and not schedule.waits(1.0, 1.0, 0.5)
