"""The budget on every kind of layer that it accepts, in the surroundings it must survive."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from snlib.attacks import pgm
from snlib.spectral import constrain, layers, refresh, release

BETA = 0.4
KINDS = {
    "Conv1d, reflect, dilated": (
        lambda: nn.Conv1d(3, 6, 3, padding=2, dilation=2, padding_mode="reflect"),
        (3, 20),
    ),
    "Conv2d, replicate, strided": (
        lambda: nn.Conv2d(3, 6, 3, 2, padding=1, padding_mode="replicate"),
        (3, 10, 10),
    ),
    "Conv2d, groups, valid": (lambda: nn.Conv2d(4, 8, 3, groups=2, padding="valid"), (4, 10, 10)),
    "Conv3d, circular": (
        lambda: nn.Conv3d(2, 4, 3, padding=1, padding_mode="circular"),
        (2, 6, 6, 6),
    ),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 4, 3, 1, 2), (3, 20)),
    "ConvTranspose2d, groups": (
        lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2),
        (4, 7, 7),
    ),
    "ConvTranspose3d, dilated": (
        lambda: nn.ConvTranspose3d(2, 3, 2, 2, 0, 0, dilation=2),
        (2, 4, 4, 4),
    ),
}


def bound_net(kind: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The layer, a ReLU and a linear layer, all under the budget."""
    torch.manual_seed(0)
    build, shape = KINDS[kind]
    body = nn.Sequential(build(), nn.ReLU(), nn.Flatten())
    net = nn.Sequential(*body, nn.Linear(body(torch.zeros(2, *shape)).shape[1], 5))
    return constrain(net, BETA, shape), shape


def norms(net: nn.Module, in_shape: tuple[int, ...]) -> list[float]:
    """Of the effective layers, by SVD of their Jacobians in float64."""
    found = []
    for _, layer, shape in layers(net, in_shape):
        twin = release(copy.deepcopy(layer)).double().requires_grad_(False)
        jacobian = torch.func.jacrev(lambda x, twin=twin: twin(x[None])[0])(
            torch.zeros(shape, dtype=torch.float64)
        )
        found.append(float(torch.linalg.svdvals(jacobian.reshape(-1, math.prod(shape)))[0]))
    return found


def train(net: nn.Module, x: Tensor, y: Tensor, steps: int = 6) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        refresh(net)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_within_its_budget(kind):
    net, shape = bound_net(kind)
    assert max(norms(net, shape)) == pytest.approx(BETA, rel=1e-4)
    train(net, torch.randn(8, *shape), torch.randint(5, (8,)))
    assert max(norms(net, shape)) <= BETA * (1 + 1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_compiles_as_one_graph_and_runs_under_autocast(kind):
    torch.compiler.reset()
    net, shape = bound_net(kind)
    x = torch.randn(4, *shape)
    expected = net(x)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(net(x).float(), expected, rtol=0.1, atol=0.02)
        refresh(net)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.ndim in formats:
        net = net.to(memory_format=formats[x.ndim])
        refresh(net)
        out = net(x.contiguous(memory_format=formats[x.ndim]))
        torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)
    assert max(norms(net, shape)) <= BETA * (1 + 1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_agrees_with_the_cpu(kind):
    net, shape = bound_net(kind)
    x, y = torch.randn(8, *shape), torch.randint(5, (8,))
    there = copy.deepcopy(net).to("cuda")
    refresh(there)
    torch.testing.assert_close(there(x.to("cuda")).cpu(), net(x), rtol=1e-2, atol=1e-3)
    x_adv = pgm(there, x.to("cuda"), y.to("cuda"), 0.5)
    assert x_adv.is_cuda
    size = (x_adv.cpu().double() - x.double()).flatten(1).norm(dim=1)
    assert bool((size <= 0.5).all())
    train(there, x.to("cuda"), y.to("cuda"))
    assert max(norms(there.cpu(), shape)) <= BETA * (1 + 1e-2)
