"""Margins, margin risk, kappa: against loops by hand and against known-wrong input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snlib import bounds, spectral
from snlib.errors import UserError


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ELU(), nn.Linear(9, 4)).double()


def test_margins_are_those_of_a_loop_over_classes():
    net = small_net()
    x, y = torch.randn(17, 3, 2, 2, dtype=torch.float64), torch.arange(17) % 4
    logits = net(x).tolist()
    expected = [
        row[label] - max(value for j, value in enumerate(row) if j != label)
        for row, label in zip(logits, y.tolist(), strict=True)
    ]
    found = bounds.margins(net, x, y, batch_size=5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert bounds.risk(found) == sum(value <= 0 for value in expected) / 17


def test_margins_at_attacked_inputs_are_those_of_these_inputs():
    net = small_net()
    x = torch.randn(6, 12, dtype=torch.float64)
    y = net(x).argmax(1)
    worst = x.clone().requires_grad_()
    bounds.margins_of_logits(net(worst), y).sum().backward()
    moved = x - 0.05 * worst.grad / worst.grad.norm(dim=1, keepdim=True)
    assert (bounds.margins(net, moved, y) < bounds.margins(net, x, y)).all()


def test_margins_leave_modes_and_batch_norm_as_they_were():
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4))
    net[2].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x, y = torch.randn(8, 3), torch.zeros(8, dtype=torch.long)
    once, again = bounds.margins(net, x, y), bounds.margins(net, x, y)
    assert torch.equal(once, again)
    assert net.training and net[1].training and not net[2].training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_margins_of_a_net_under_a_budget_are_those_of_its_effective_weights():
    net = small_net()
    x, y = torch.randn(5, 12, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    spectral.constrain(net, 0.3, (12,))
    held = bounds.margins(net, x, y)
    first, last = net[1].weight.detach(), net[3].weight.detach()
    logits = nn.functional.elu(x @ first.T + net[1].bias) @ last.T + net[3].bias
    expected = bounds.margins_of_logits(logits.detach(), y)
    torch.testing.assert_close(held, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    st.floats(0, 6),
    st.floats(0, 6),
)
def test_risk_counts_and_grows_with_gamma(values, gamma, more):
    expected = sum(value <= gamma for value in values) / len(values)
    assert bounds.risk(values, gamma) == pytest.approx(expected, abs=1e-12)
    assert bounds.risk(values, gamma + more) >= bounds.risk(values, gamma)


def test_a_tie_is_an_error_at_gamma_zero():
    logits = torch.tensor([[1.0, 1.0, 0.0]])
    assert bounds.risk(bounds.margins_of_logits(logits, torch.tensor([0]))) == 1.0


def test_kappa_summary_by_hand():
    table = bounds.kappa([0.0, 0.005, 0.02, 3.0], quantiles=(0.5,), thresholds=(0.005, 0.01))
    values = [tuple(row) for row in table.fillna(-1.0).itertuples(index=False)]
    assert values == [
        ("count", -1.0, 4.0),
        ("minimum", -1.0, 0.0),
        ("quantile", 0.5, pytest.approx(0.0125)),
        ("below", 0.005, 0.25),
        ("below", 0.01, 0.5),
    ]


def test_normalized_margins_survive_norms_beyond_a_float():
    margin = torch.tensor([-2.0, 0.0, 5.0])
    small = bounds.normalized_margins(margin, math.log10(4.0))
    torch.testing.assert_close(small, torch.tensor([-0.5, 0.0, 1.25], dtype=torch.float64))
    huge = bounds.normalized_margins(margin, 110.0)
    np.testing.assert_allclose(huge.numpy(), [-2e-110, 0.0, 5e-110], rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net, x, y: bounds.margins(net, x, y + 4), ("y holds 4", "0..3")),
        (lambda net, x, y: bounds.margins(net, x, y - 1), ("y holds -1", "0..3")),
        (lambda net, x, y: bounds.margins(net, x, y[:2]), ("y has shape (2,)", "(5,)")),
        (lambda net, x, y: bounds.margins(net, x, y.double()), ("float64", "integers")),
        (lambda net, x, y: bounds.margins(net, x[0], y), ("(12,)", "batch")),
        (lambda net, x, y: bounds.margins(net, x[:, :9], y), ("(5, 9)", "refuses")),
        (lambda net, x, y: bounds.margins(net, x, y, batch_size=0), ("batch_size is 0",)),
        (lambda net, x, y: bounds.margins(net, x * math.nan, y), ("NaN",)),
        (lambda net, x, y: bounds.margins_of_logits(x[:, :1], y), ("(5, 1)", "K >= 2")),
        (lambda net, x, y: bounds.risk([0.1], -0.1), ("gamma is -0.1",)),
        (lambda net, x, y: bounds.risk([]), ("(0,)", "N >= 1")),
        (lambda net, x, y: bounds.risk([math.nan]), ("NaN",)),
        (lambda net, x, y: bounds.kappa([]), ("(0,)",)),
        (lambda net, x, y: bounds.kappa([-1.0]), (">= 0",)),
        (lambda net, x, y: bounds.kappa([1.0], quantiles=(5,)), ("quantiles hold 5", "[0, 1]")),
        (lambda net, x, y: bounds.normalized_margins(x[0], math.nan), ("log10_norm is NaN",)),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    x, y = torch.randn(5, 12, dtype=torch.float64), torch.zeros(5, dtype=torch.long)
    with pytest.raises(UserError) as caught:
        call(small_net(), x, y)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
