"""What every attack promises, checked without tolerance: the norm, and everything left as found."""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snlib.attacks import Attack, fgm, pgm, pixel_box, pixel_eps, trades_attack, untouched, wrm
from snlib.attacks.balls import border, enforce

NORMS = [2, math.inf, 1]


def small_net(seed=0):
    """Conv, batch norm and dropout: everything that has a mode or a buffer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ELU(), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(4 * 36, 5),
    )  # fmt: skip


def batch(seed=0, n=12, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 6, 6, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, 5, (n,), generator=generator)


def sizes(x, x_adv, norm):
    """Perturbation sizes in float64, by NumPy."""
    delta = x_adv.double().numpy() - x.double().numpy()
    return np.linalg.norm(delta.reshape(len(delta), -1), ord=norm, axis=1)


def snapshot(net):
    """Everything observable of a net and of the process' random states."""
    return {
        "modes": [part.training for part in net.modules()],
        "free": [p.requires_grad for p in net.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "grad_ids": [id(p.grad) for p in net.parameters()],
        "values": [p.detach().clone() for p in net.parameters()],
        "buffers": [b.clone() for b in net.buffers()],
        "ids": [id(b) for b in net.buffers()],
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(left, right) for left, right in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


ATTACKS = [
    Attack("fgm", 0.5),
    Attack("pgm", 0.5, steps=3),
    Attack("pgm", 0.5, math.inf, steps=3, random_start=True, restarts=2, labels="predicted"),
    Attack("pgm", 0.5, 1, steps=3, precision="bfloat16"),
    Attack("wrm", 0.5, steps=3),
    Attack("trades", 0.5, math.inf, steps=3),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.kind}-{a.norm}")
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_found(attack, fails):
    net = small_net()
    net.train()
    net[1].eval()  # a mixture of modes, as in partial freezing
    net[0].bias.requires_grad_(False)
    net[5].weight.grad = torch.full_like(net[5].weight, 7.0)
    calls = 0

    def meddle(module, inputs):
        nonlocal calls
        calls += 1
        torch.rand(3)
        module.running_mean.add_(1.0)
        module.running_var.data.mul_(2.0)  # invisible to version counters
        module.num_batches_tracked = torch.tensor(99)
        if fails and calls == 2:
            raise RuntimeError("planted")

    net[1].register_forward_pre_hook(meddle)
    before = snapshot(net)
    x, y = batch()
    kept = x.clone()
    if fails and attack.kind != "fgm":
        with pytest.raises(RuntimeError, match="planted"):
            attack(net, x, y, torch.Generator())
    else:
        out = attack(net, x, y, torch.Generator())
        assert not out.requires_grad and out.grad_fn is None and out.dtype == x.dtype
    assert calls >= 1
    assert same(before, snapshot(net))
    assert torch.equal(x, kept) and not x.requires_grad and x.grad is None


def test_the_comparison_itself_notices_changes():
    net = small_net()
    before = snapshot(net)
    net[1].running_mean.add_(1e-7)
    assert not same(before, snapshot(net))


def test_attack_between_forward_and_backward():
    """Buffers are restored without spoiling a graph that was recorded before."""
    net = small_net().eval()
    x, y = batch()
    loss = nn.functional.cross_entropy(net(x), y)
    pgm(net, x, y, 0.5, steps=2)
    loss.backward()
    assert all(p.grad is not None for p in net.parameters())


def test_attack_runs_in_evaluation_mode_with_frozen_parameters():
    net = small_net().train()
    seen = []
    net[3].register_forward_pre_hook(
        lambda module, inputs: seen.append((module.training, net[0].weight.requires_grad))
    )
    fgm(net, *batch(), 0.5)
    assert seen == [(False, False)] and net[3].training and net[0].weight.requires_grad


@settings(deadline=None, max_examples=60)
@given(
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    eps=st.floats(0, 30),
    size=st.sampled_from([1e-3, 1.0, 300.0]),
    seed=st.integers(0, 3),
    random_start=st.booleans(),
    l1=st.sampled_from(["steepest", "gradient"]),
    boxed=st.booleans(),
)
def test_norm_never_exceeds_eps(norm, dtype, eps, size, seed, random_start, l1, boxed):
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).to(dtype)
    x, y = batch(seed, n=4)
    x = (x * size).to(dtype)
    box = (x.amin(), x.amax()) if boxed else None
    x_adv = pgm(net, x, y, eps, norm=norm, steps=3, random_start=random_start, l1=l1, clip=box)
    assert (sizes(x, x_adv, norm) <= eps).all()
    if boxed:
        assert bool(((x_adv >= x.amin()) & (x_adv <= x.amax())).all())


@pytest.mark.parametrize("norm", NORMS)
def test_the_ball_is_used_up(norm):
    """The guarantee does not cost attack strength: nearly all of eps is used."""
    x, y = batch()
    used = sizes(x, fgm(small_net(), x, y, 0.5, norm=norm), norm)
    assert (used >= 0.5 * (1 - 4e-6)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_border_is_outermost(dtype):
    x = (torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)[:, None]
    for eps in (0.1, 1e-4, 2.0):
        low, high = border(x, eps)
        assert float((high.double() - x.double()).max()) <= eps
        assert float((x.double() - low.double()).max()) <= eps
        if dtype in (torch.float32, torch.bfloat16):
            up = torch.nextafter(high, torch.full_like(high, torch.inf))
            down = torch.nextafter(low, torch.full_like(low, -torch.inf))
            assert float((up.double() - x.double()).min()) >= eps
            assert float((x.double() - down.double()).min()) >= eps


def test_enforce_pulls_back_what_lies_outside():
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    for norm in (2, 1):
        far = x + 5 * torch.randn(50, 40, generator=torch.Generator().manual_seed(1))
        assert (sizes(x, far, norm) > 0.3).all()
        assert (sizes(x, enforce(x, far, 0.3, norm), norm) <= 0.3).all()
        # eps below the spacing of float32: only x itself is allowed
        assert torch.equal(enforce(x + 100, far + 100, 1e-9, norm), x + 100)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("random_start", [False, True])
def test_eps_per_sample(norm, random_start):
    net, (x, y) = small_net(), batch()
    eps = torch.linspace(0, 1.1, len(x))
    x_adv = pgm(net, x, y, eps, norm=norm, random_start=random_start)
    assert (sizes(x, x_adv, norm) <= eps.double().numpy()).all()
    assert torch.equal(x_adv[0], x[0])
    if not random_start:
        for row in (3, 7):
            alone = pgm(net, x[row : row + 1], y[row : row + 1], float(eps[row]), norm=norm)
            assert torch.allclose(alone[0], x_adv[row], atol=1e-4)


def test_eps_zero_returns_x():
    net, (x, y) = small_net(), batch()
    for norm in NORMS:
        assert torch.equal(pgm(net, x, y, 0.0, norm=norm, random_start=True), x)
        assert torch.equal(fgm(net, x, y, 0.0, norm=norm), x)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_gradient_samples_stay_and_are_counted(norm):
    class Half(nn.Module):
        def forward(self, x):
            alive = (x.flatten(1)[:, :1] > 0).to(x.dtype)
            return x.flatten(1)[:, :5] * alive

    x, y = batch()
    dead = x.flatten(1)[:, 0] <= 0
    assert 0 < int(dead.sum()) < len(x)
    x_adv, info = pgm(Half(), x, y, 1e-6, norm=norm, steps=4, return_info=True)
    assert info.zero_gradient.tolist() == [4 if stays else 0 for stays in dead.tolist()]
    assert torch.equal(x_adv[dead], x[dead]) and info.gradients == 4 * len(x)
    _, info = wrm(Half(), x, y, eps=1e-6, steps=4, return_info=True)
    assert info.zero_gradient.tolist() == [5 if stays else 0 for stays in dead.tolist()]


def test_tiny_gradients_still_move_the_full_distance():
    """No additive floor: a float32 gradient whose square underflows gives a full step."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 5))
    with torch.no_grad():
        net[1].weight.mul_(1e-30)
    x, y = batch()
    assert (sizes(x, fgm(net, x, y, 0.5), 2) >= 0.5 * (1 - 4e-6)).all()


@pytest.mark.parametrize("surroundings", ["no_grad", "inference_mode", "channels_last", "autocast",
                                          "strided"])  # fmt: skip
def test_surroundings(surroundings):
    net, (x, y) = small_net(), batch()
    expected = pgm(net, x, y, 0.5, steps=3)
    if surroundings == "no_grad":
        with torch.no_grad():
            got = pgm(net, x, y, 0.5, steps=3)
            assert not torch.is_grad_enabled()
    elif surroundings == "inference_mode":
        with torch.inference_mode():
            got = pgm(net, x * 1, y, 0.5, steps=3)
    elif surroundings == "channels_last":
        got = pgm(net, x.contiguous(memory_format=torch.channels_last), y, 0.5, steps=3)
        assert got.is_contiguous(memory_format=torch.channels_last)
    elif surroundings == "strided":
        wide = torch.zeros(12, 3, 6, 12)
        wide[..., ::2] = x
        got = pgm(net, wide[..., ::2], y, 0.5, steps=3)
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = pgm(net, x, y, 0.5, steps=3)
        assert (sizes(x, got, 2) <= 0.5).all() and got.dtype == torch.float32
    closeness = 0.1 if surroundings == "autocast" else 1e-5
    assert (got - expected).abs().max() <= closeness


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models(backend):
    net, (x, y) = small_net().train(), batch()
    expected = pgm(net, x, y, 0.5, steps=3)
    compiled = torch.compile(net, backend=backend)
    before = snapshot(net)
    got = pgm(compiled, x, y, 0.5, steps=3)
    assert same(before, snapshot(net)) and compiled.training
    assert torch.allclose(got, expected, atol=1e-5)


def test_random_numbers_come_only_from_the_generator():
    net, (x, y) = small_net(), batch()

    def run(seed):
        return pgm(net, x, y, 2.0, random_start=True, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    pgm(net, x, y, 0.5, generator=generator)
    assert torch.equal(generator.get_state(), state)  # untouched without a random start
    assert torch.equal(trades_attack(net, x, 0.5), trades_attack(net, x, 0.5))


def test_restarts_keep_the_worst_point():
    net, (x, y) = small_net(), batch(n=64)
    y = net.eval()(x).argmax(1)

    def broken(restarts):
        x_adv = pgm(net, x, y, 0.9, steps=2, random_start=True, restarts=restarts,
                    generator=torch.Generator().manual_seed(0))  # fmt: skip
        return net(x_adv).argmax(1) != y

    one, many = broken(1), broken(8)
    assert not bool((one & ~many).any())
    assert 0 < int(one.sum()) < int(many.sum())


def test_pixel_box_and_pixel_eps():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(8, 3, 6, 6, generator=generator)
    mean, scale = pixels.mean((1, 2, 3)), pixels.std((1, 2, 3))
    column = (slice(None), None, None, None)
    x = (pixels - mean[column]) / scale[column]
    net, y = small_net(), torch.arange(8) % 5
    x_adv = pgm(net, x, y, 5.0, clip=pixel_box(mean, scale))
    back = x_adv * scale[column] + mean[column]
    assert float(back.min()) >= -1e-6 and float(back.max()) <= 1 + 1e-6
    free = pgm(net, x, y, 5.0) * scale[column] + mean[column]
    assert float(free.min()) < -0.01  # so that the box did something
    size = (back - pixels).double().flatten(1).norm(dim=1)
    assert bool((size <= pixel_eps(5.0, scale).double() * (1 + 1e-6)).all())


def test_untouched_accepts_plain_functions():
    x, y = batch()
    with untouched(lambda z: z):
        pass
    assert fgm(lambda z: z.flatten(1)[:, :5] ** 2, x, y, 0.5).shape == x.shape


def test_attack_is_a_value():
    attack = Attack("pgm", 2, "inf", steps=7, clip=[0, 1])
    assert attack == Attack("pgm", 2.0, math.inf, steps=7, clip=(0.0, 1.0))
    assert attack.settings()["norm"] == "inf"
    assert Attack(**attack.settings()) == attack and hash(attack) == hash(copy.copy(attack))
    assert attack.replace(eps=3.0).eps == 3.0
    assert Attack("wrm", 1.0).gradients_per_sample == 16
    x = torch.rand(3, 2)
    assert torch.equal(Attack("none")(lambda z: z, x), x)


EVERY = [Attack("fgm", 0.5), Attack("wrm", 0.8), *(Attack("pgm", 0.5, norm=norm) for norm in NORMS)]


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: f"{attack.kind}-{attack.norm}")
def test_a_net_that_begins_with_a_sum(attack):
    """Its gradient is one number for many pixels, expanded; attacks change theirs in place."""
    x, y = batch()
    y = y % 3
    slow = torch.ones_like(x)  # the same net, with a gradient of its own for each pixel
    found = attack(lambda z: z.sum((2, 3)), x, y)
    expected = attack(lambda z: (z * slow).sum((2, 3)), x, y)
    assert torch.equal(found, expected) and not torch.equal(found, x)
