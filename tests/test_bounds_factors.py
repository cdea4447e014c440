"""Lipschitz factors of single operations, against the norms of their dense matrices."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from snlib import bounds
from snlib.bounds import factors

DOUBLE = torch.float64


def dense(function, shape) -> torch.Tensor:
    """The matrix of a linear function of one (C, H, W), as (out, in)."""
    size = math.prod(shape)
    columns = function(torch.eye(size, dtype=DOUBLE).view(size, *shape))
    return columns.reshape(size, -1).T


def factor_of(module: nn.Module, shape) -> float:
    """The factor that lipschitz() gives a module behind a 1x1 convolution of norm 1."""
    entry = nn.Conv2d(shape[0], shape[0], 1, bias=False)
    nn.init.dirac_(entry.weight)
    net = nn.Sequential(entry, module).double()
    table = bounds.lipschitz(net, shape).factors
    assert table["factor"][0] == pytest.approx(1.0, rel=1e-2)
    return table["factor"][1]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil_mode=st.booleans(),
)
def test_max_pool_factor_is_attained(size, kernel, stride, padding, dilation, ceil_mode):
    padding = min(padding, kernel // 2)
    if min(size) + 2 * padding < dilation * (kernel - 1) + 1:
        return
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    # An entry that wins every window it lies in is copied once for each of them.
    images = torch.eye(size[0] * size[1], dtype=DOUBLE).view(-1, 1, *size)
    attained = float(pool(images).flatten(1).norm(dim=1).max())
    out = pool(images).shape[2:]
    factor = factors.max_pool_factor(size, out, kernel, stride, padding, dilation)
    assert factor == pytest.approx(attained, rel=1e-12)


def test_the_overlapping_pool_of_alexnet_is_two_and_a_disjoint_one_is_one():
    assert factor_of(nn.MaxPool2d(3, 2), (2, 13, 13)) == pytest.approx(2.0)
    assert factor_of(nn.MaxPool2d(2), (2, 12, 12)) == pytest.approx(1.0)
    assert factor_of(nn.MaxPool2d(3, 1), (2, 12, 12)) == pytest.approx(3.0)
    assert factor_of(nn.MaxPool2d(3, 2), (2, 3, 3)) == pytest.approx(1.0)  # one window only


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(4, 8), st.integers(4, 8)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    ceil_mode=st.booleans(),
    include=st.booleans(),
    divisor=st.sampled_from([None, 3]),
)
def test_average_pool_factor_is_the_norm_of_its_matrix(
    size, kernel, stride, padding, ceil_mode, include, divisor
):
    pool = nn.AvgPool2d(kernel, stride, min(padding, kernel // 2), ceil_mode, include, divisor)
    expected = float(torch.linalg.matrix_norm(dense(pool, (1, *size)), 2))
    arguments = (kernel, stride, pool.padding, ceil_mode, include, divisor)
    assert factors.average_pool_factor(size, *arguments) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("out", [1, 3, (2, 5), (7, 6)])
def test_adaptive_average_pool_factor_is_the_norm_of_its_matrix(out):
    pool = nn.AdaptiveAvgPool2d(out)
    expected = float(torch.linalg.matrix_norm(dense(pool, (1, 7, 6)), 2))
    assert factor_of(pool, (1, 7, 6)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0, 2.0])
@pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
def test_response_norm_factor_bounds_random_jacobians(size, beta, k):
    layer = nn.LocalResponseNorm(size, alpha=0.3, beta=beta, k=k).double()
    generator = torch.Generator().manual_seed(size)
    scale = 10.0 ** torch.linspace(-3, 3, 40, dtype=DOUBLE)
    x = torch.randn(40, 11, 1, 1, generator=generator, dtype=DOUBLE) * scale[:, None, None, None]
    rows = []
    leaf = x.clone().requires_grad_()
    for channel in layer(leaf)[:, :, 0, 0].unbind(1):
        rows.append(torch.autograd.grad(channel.sum(), leaf, retain_graph=True)[0].flatten(1))
    largest = torch.linalg.matrix_norm(torch.stack(rows, 1), 2).max()
    bound = factors.response_norm_factor(beta, k)
    assert largest <= bound
    assert bound <= 2 * k**-beta and largest >= 0.99 * k**-beta  # no more than twice too large


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.ELU(), nn.ELU(1.7), nn.CELU(0.4), nn.SELU(), nn.GELU(), nn.SiLU(),
    nn.Mish(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.LeakyReLU(0.3), nn.LeakyReLU(1.4),
    nn.PReLU(init=-1.2), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.Softsign(),
    nn.LogSigmoid(), nn.GELU(approximate="tanh"),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: str(module))
def test_activation_factor_is_the_largest_slope(activation):
    activation = copy.deepcopy(activation).double()
    x = torch.linspace(-8, 8, 400_001, dtype=DOUBLE).requires_grad_()
    slope = torch.autograd.grad(activation(x).sum(), x)[0].abs().max()
    factor = factor_of(activation, (1, 2, 2))
    assert slope <= factor * (1 + 1e-12)
    assert slope >= 0.985 * factor


def test_softmax_factor_is_attained():
    x = torch.tensor([0.0, 0.0, -60.0], dtype=DOUBLE)
    norm = torch.linalg.matrix_norm(torch.func.jacrev(lambda z: z.softmax(0))(x), 2)
    assert float(norm) == pytest.approx(factor_of(nn.Softmax(1), (3, 1, 1)))


def test_batch_norm_factor_is_its_largest_scale_in_evaluation():
    norm = nn.BatchNorm2d(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -3.0, 1.0]))
        norm.running_var.copy_(torch.tensor([0.1, 4.0, 2.0]))
    net = norm.eval()
    shift = net(torch.zeros(1, 3, 2, 2, dtype=DOUBLE))
    expected = torch.linalg.matrix_norm(dense(lambda x: net(x) - shift, (3, 2, 2)), 2)
    assert factor_of(norm, (3, 2, 2)) == pytest.approx(float(expected.detach()))


class Pad(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x):
        return F.pad(x, (3, 1, 0, 2), mode=self.mode)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_factor_is_the_norm_of_its_matrix(mode):
    expected = float(torch.linalg.matrix_norm(dense(Pad(mode), (1, 4, 5)), 2))
    assert factor_of(Pad(mode), (1, 4, 5)) == pytest.approx(expected)
