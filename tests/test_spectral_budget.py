"""The budget on a network: what it bounds, that it is pure, and that it survives torch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snlib.errors import UserError
from snlib.spectral import (
    constrain,
    constrained_layers,
    frozen,
    layers,
    project,
    refresh,
    release,
    spectrum,
)
from snlib.spectral.budget import budget_of

SHAPE = (3, 12, 12)


class SameDown(nn.Conv2d):
    """Pads by itself, as TensorFlow's SAME does at stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


def small_net(seed: int = 0) -> nn.Sequential:
    """Every way the norm is found: exact, tracked, through a subclass, depthwise, linear."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(),
        SameDown(8, 8, 3, 2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, padding_mode="circular"),
        nn.Flatten(),
        nn.Linear(288, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    )


def truths(net: nn.Module, in_shape: tuple[int, ...] = SHAPE) -> list[float]:
    """Norms of the effective layers, by SVD of their Jacobians in float64."""
    found = []
    for _, layer, shape in layers(net, in_shape):
        twin = release(copy.deepcopy(layer)).double().requires_grad_(False)
        jacobian = torch.func.jacrev(lambda x, twin=twin: twin(x[None])[0])(
            torch.zeros(shape, dtype=torch.float64)
        )
        matrix = jacobian.reshape(-1, math.prod(shape))
        found.append(float(torch.linalg.svdvals(matrix)[0]))
    return found


def perturb(net: nn.Module, size: float) -> None:
    """Move the raw weights, as an optimizer step does."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(size * torch.randn_like(parameter))


def raw(layer: nn.Module) -> nn.Parameter:
    """The weight the optimizer sees."""
    return layer.parametrizations.weight.original


@pytest.mark.parametrize("beta", [0.3, 1.0, 100.0])
def test_effective_norms_are_clipped_at_beta(beta):
    net = small_net()
    before = truths(net)
    weights = [layer.weight.detach().clone() for _, layer, _ in layers(net, SHAPE)]
    assert constrain(net, beta, SHAPE) is net
    for norm, old in zip(truths(net), before, strict=True):
        assert norm == pytest.approx(min(old, beta), rel=1e-4)
    if beta == 100.0:
        for (_, layer), weight in zip(constrained_layers(net), weights, strict=True):
            assert torch.equal(layer.weight, weight)


def test_refresh_follows_a_moving_weight():
    net = constrain(small_net(), 0.5, SHAPE)
    torch.manual_seed(1)
    for _ in range(30):
        perturb(net, 0.02)
        refresh(net)
    assert max(truths(net)) <= 0.5 * (1 + 1e-2)
    assert min(truths(net)) >= 0.5 * (1 - 1e-4)


def test_a_mode_orthogonal_to_all_that_is_kept_is_found():
    """Circular padding: frequencies do not mix, so no Krylov space leaves the one it starts in."""
    deep = nn.Conv1d(8, 8, 96, padding="same", padding_mode="circular", groups=8, bias=False)
    time = torch.arange(96.0)
    with torch.no_grad():
        deep.weight.copy_(torch.cos(2 * math.pi * 3 * time / 96).expand(8, 1, 96))
    net = constrain(nn.Sequential(deep), 1.0, (8, 96))
    with torch.no_grad():
        raw(deep).add_(1.2 * torch.cos(2 * math.pi * 29 * time / 96))
    for _ in range(3):
        refresh(net)
    assert truths(net, (8, 96))[0] == pytest.approx(1.0, rel=1e-3)


def test_forward_moves_nothing():
    net = constrain(small_net(), 0.5, SHAPE)
    x = torch.randn(4, *SHAPE)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    first = net.train()(x)
    first.sum().backward()
    assert torch.equal(net.eval()(x), first) and torch.equal(net(x), first)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kind", ["operator", "reshaped"])
def test_gradient_is_that_of_the_formula(kind):
    """First and second derivatives by finite differences, in float64, clipped and not clipped."""
    for beta in (0.4, 50.0):
        net = constrain(small_net().double(), beta, SHAPE, kind=kind)
        x = torch.randn(2, *SHAPE, dtype=torch.float64)
        for _, layer in constrained_layers(net):
            weight = raw(layer)
            probe = torch.randn_like(weight)
            budget = budget_of(layer)

            def value(t: Tensor, weight=weight, probe=probe, budget=budget) -> Tensor:
                return budget(weight.detach() + t * probe).square().sum()

            t = torch.zeros((), dtype=torch.float64, requires_grad=True)
            assert torch.autograd.gradcheck(value, t)
            assert torch.autograd.gradgradcheck(value, t)
        net(x).square().sum().backward()


def test_exact_gradient_is_the_derivative_of_the_true_norm():
    """Against W / max(1, largest singular value of the Jacobian / beta), by finite differences."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=False).double()
    start, probe = layer.weight.detach().clone(), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    target = torch.randn(3, 2, 3, 3, dtype=torch.float64)

    def true_value(step: float) -> float:
        plain = nn.Conv2d(2, 3, 3, padding=1, bias=False).double()
        plain.weight.data.copy_(start + step * probe)
        norm = truths(plain, (2, 6, 6))[0]
        return float((plain.weight.detach() / (norm / 0.5) * target).sum())

    slope = (true_value(1e-6) - true_value(-1e-6)) / 2e-6
    net = constrain(nn.Sequential(layer), 0.5, (2, 6, 6), steps=40)
    (layer.weight * target).sum().backward()
    assert float((raw(layer).grad * probe).sum()) == pytest.approx(slope, rel=1e-4)
    release(net, keep_effective=False)
    layer.weight.grad = None
    constrain(net, 0.5, (2, 6, 6), gradient="detached")
    (layer.weight * target).sum().backward()
    norm = truths(_plain(start), (2, 6, 6))[0]
    assert torch.allclose(raw(layer).grad * norm, 0.5 * target, rtol=1e-4)


def _plain(weight: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False).double()
    layer.weight.data.copy_(weight)
    return layer


def test_power_iteration_is_the_papers():
    """u <- A^T A u normalised, sigma = <A u_new, v>, once a refresh, no warm-up."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, 2, padding=1, bias=False)
    net = constrain(nn.Sequential(layer), 0.1, (2, 7, 7), method="power", steps=1)
    budget, weight = budget_of(layer), raw(layer).detach()
    for _ in range(3):
        u = budget.basis.clone().reshape(1, 2, 7, 7)
        refresh(net)
        v = F.conv2d(u, weight, stride=2, padding=1)
        v = v / v.norm()
        u = F.conv_transpose2d(v, weight, stride=2, padding=1)
        u = u / u.norm()
        sigma = float((F.conv2d(u, weight, stride=2, padding=1) * v).sum())
        assert float(budget.sigma(weight)) == pytest.approx(sigma, rel=1e-5)
    cold = constrain(nn.Sequential(_plain(weight.double()).float()), 0.1, (2, 9, 9), method="power")
    assert truths(cold, (2, 9, 9))[0] > 0.1 * 1.02  # its known error: far above the budget at first


def test_reshaped_is_torchs_spectral_norm():
    torch.manual_seed(0)
    for layer in (nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3), nn.Linear(30, 50)):
        ours = copy.deepcopy(layer)
        shape = (30,) if isinstance(layer, nn.Linear) else (4, 9, 9)
        constrain(nn.Sequential(ours), 1e-3, shape, kind="reshaped", steps=30)
        theirs = nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=500)
        theirs.weight  # noqa: B018 - each access moves torch's vectors
        assert torch.allclose(ours.weight, 1e-3 * theirs.weight, rtol=1e-3, atol=1e-7)


def test_guaranteed_never_exceeds_beta():
    net = constrain(small_net(), 0.4, SHAPE, guaranteed=True)
    torch.manual_seed(2)
    for _ in range(8):
        assert max(truths(net)) <= 0.4
        assert min(truths(net)) >= 0.4 * 0.9
        perturb(net, 0.05)
        refresh(net)
    with pytest.raises(UserError, match="guaranteed"):
        constrain(nn.Sequential(Doubled(3, 4, 3)), 1.0, SHAPE, guaranteed=True)


class Doubled(nn.Conv2d):
    """Linear in its input and weight, but no convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.linspace(0, 1, x.shape[-1]))


def test_project_keeps_the_raw_weights_inside():
    net = constrain(small_net(), 0.4, SHAPE, gradient="detached")
    project(net)
    for _, layer in constrained_layers(net):
        assert torch.allclose(raw(layer), layer.weight, rtol=1e-5)
    assert max(truths(release(net, keep_effective=False))) <= 0.4 * 1.001


def test_state_dict_deepcopy_and_release_round_trips():
    net = constrain(small_net(), 0.5, SHAPE)
    x = torch.randn(4, *SHAPE)
    for _ in range(3):
        perturb(net, 0.02)
        refresh(net)
    expected = net(x)
    fresh = constrain(small_net(seed=5), 0.5, SHAPE)
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), expected)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(x), expected)
    # Both go on exactly as the original would, and the original does not notice them.
    for one in (net, fresh, twin):
        torch.manual_seed(3)
        perturb(one, 0.02)
        refresh(one)
    assert torch.equal(fresh(x), net(x)) and torch.equal(twin(x), net(x))
    now = net(x)
    release(net)
    assert torch.equal(net(x), now)
    assert set(net.state_dict()) == set(small_net().state_dict())
    assert constrained_layers(net) == [] and len(constrained_layers(twin)) == 5
    assert torch.equal(twin(x), now)  # torch's own removal breaks the copies


def test_release_can_give_the_raw_weights_back():
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    release(constrain(net, 0.1, SHAPE), keep_effective=False)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_frozen_gives_the_same_numbers_and_ends_with_exceptions():
    net = constrain(small_net(), 0.5, SHAPE)
    x = torch.randn(4, *SHAPE, requires_grad=True)
    plain = net(x)
    slope = torch.autograd.grad(plain.square().sum(), x)[0]
    with pytest.raises(RuntimeError, match="inside"), frozen(net) as same:
        assert same is net
        with frozen(net):
            out = net(x)
        assert net[0].weight is net[0].weight
        assert torch.equal(out, plain)
        assert torch.equal(torch.autograd.grad(out.square().sum(), x)[0], slope)
        raise RuntimeError("inside")
    net(x).sum().backward()
    assert raw(net[0]).grad is not None


def test_infinite_budget_leaves_the_net_alone():
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    constrain(net, math.inf, SHAPE)
    refresh(net)
    project(net)
    with frozen(net):
        pass
    assert type(net[0]) is nn.Conv2d and release(net) is net
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph_and_follows_refreshes(backend):
    torch.compiler.reset()
    net = constrain(small_net(), 0.5, SHAPE)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    x = torch.randn(4, *SHAPE)
    for _ in range(3):
        net.zero_grad()
        compiled(x).square().sum().backward()
        slopes = [parameter.grad.clone() for parameter in net.parameters()]
        net.zero_grad()
        net(x).square().sum().backward()
        for parameter, slope in zip(net.parameters(), slopes, strict=True):
            torch.testing.assert_close(parameter.grad, slope, rtol=1e-3, atol=1e-5)
        perturb(net, 0.02)
        with torch.compiler.set_stance("fail_on_recompile"):
            refresh(compiled)
            torch.testing.assert_close(compiled(x), net(x))
    with frozen(net):
        torch.testing.assert_close(compiled(x), net(x))


def test_autocast_and_channels_last():
    net = constrain(small_net(), 0.5, SHAPE)
    x = torch.randn(4, *SHAPE)
    expected, weight = net(x), net[6].weight.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net[6].weight.dtype == torch.float32
        torch.testing.assert_close(net[6].weight, weight)  # sigma is not taken in bfloat16
        assert net(x).dtype == torch.bfloat16
        torch.testing.assert_close(net(x).float(), expected, rtol=0.1, atol=0.05)
        refresh(net)
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    net = net.to(memory_format=torch.channels_last)
    refresh(net)
    net(x.contiguous(memory_format=torch.channels_last)).sum().backward()
    assert max(truths(net)) <= 0.5 * 1.001


def test_functional_transforms():
    net = constrain(small_net(), 0.5, SHAPE)
    x = torch.randn(4, *SHAPE)
    names = dict(net.named_parameters())

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return torch.func.functional_call(net, parameters, (sample[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(names, x)
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(each[name].sum(0), parameter.grad, rtol=1e-3, atol=1e-5)


def test_zero_weight_comes_back_to_life():
    for kind, method in (("operator", "krylov"), ("operator", "power"), ("reshaped", "krylov")):
        net = small_net()
        for _, layer, _ in layers(net, SHAPE):
            nn.init.zeros_(layer.weight)
        constrain(net, 0.5, SHAPE, kind=kind, method=method, steps=20)
        assert torch.isfinite(net(torch.randn(2, *SHAPE))).all()
        net(torch.randn(2, *SHAPE)).sum().backward()
        torch.manual_seed(0)
        perturb(net, 0.5)
        refresh(net)
        if kind == "operator":
            assert max(truths(net)) <= 0.5 * 1.1


def test_spectrum_of_a_constrained_net():
    net = constrain(small_net(), 0.5, SHAPE)
    table = spectrum(net, SHAPE)
    assert list(table.layer) == ["0", "2", "4", "6", "8"]
    assert (table.beta == 0.5).all()
    for norm, (_, row) in zip(truths(net), table.iterrows(), strict=True):
        assert row.lower <= norm <= row.upper
        assert row.reshaped <= row.upper * (1 + 1e-6)
        assert row.stable_rank >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0}, "beta is 0"),
        ({"beta": -1.0}, "beta is -1"),
        ({"beta": math.nan}, "beta is nan"),
        ({"kind": "reshape"}, "Did you mean 'reshaped'"),
        ({"gradient": "none"}, "gradient is 'none'"),
        ({"method": "svd"}, "method is 'svd'"),
        ({"steps": 0}, "steps is 0"),
        ({"in_shape": (3, 3, 3)}, r"in_shape is \(3, 3, 3\)"),
        ({"in_shape": 12}, "in_shape is 12"),
        ({"in_shape": (3, 0, 12)}, r"in_shape is \(3, 0, 12\)"),
        ({"in_shape": (2, 3, 12, 12)}, r"in_shape is \(2, 3, 12, 12\)"),
        ({"in_shape": (1, 12, 12)}, r"in_shape is \(1, 12, 12\)"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    arguments = {"beta": 1.0, "in_shape": SHAPE} | change
    net = small_net()
    with pytest.raises(UserError, match=message) as caught:
        constrain(net, **arguments)
    assert "\n" not in str(caught.value)
    assert constrained_layers(net) == []


def test_other_mistakes():
    net = constrain(small_net(), 1.0, SHAPE)
    with pytest.raises(UserError, match="already has a budget"):
        constrain(net, 1.0, SHAPE)
    with pytest.raises(UserError, match="no convolution and no linear"):
        constrain(nn.Sequential(nn.ReLU()), 1.0, SHAPE)
    with torch.no_grad():
        raw(net[2])[0, 0, 0, 0] = math.nan
    with pytest.raises(UserError, match="weight of 2 holds NaN"):
        refresh(net)
    broken = small_net()
    broken[4].weight.data.fill_(math.inf)
    with pytest.raises(UserError, match="weight of 4"):
        constrain(broken, 1.0, SHAPE)
    assert constrained_layers(broken) == []
    with pytest.raises(UserError, match="weight of 4"):
        spectrum(broken, SHAPE)
    with pytest.raises(UserError, match="net is a str"):
        layers("alexnet", SHAPE)
