"""The captured step through a stand-in that records and replays on a CPU; on a GPU if there is one.

The stand-in keeps the function, as a graph keeps its kernels, and leaves each replay's gradients
and results where those of the recording were.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from snlib import capture, capturing, datasets, precision, spectral, training
from snlib.attacks import balls
from snlib.errors import UserError
from snlib.runs import Run
from snlib.steps import Step

SETTINGS = dict(data="digits", train_size=100, width=0.1, batch_size=30, epochs=2, steps=3)
SETTINGS |= dict(learning_rate=0.05, eps_ratio=0.15)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", train_size=100)


class StandIn:
    """Records as `capture.cuda_graph` does, but by keeping the function."""

    def __init__(self, net: nn.Module, fails: str | None = None) -> None:
        self.net, self.fails, self.replays = net, fails, 0

    def __call__(self, compute):
        assert capturing.active()
        for _ in range(capture.WARM):
            compute()
        if self.fails:
            raise RuntimeError(self.fails)
        outputs = compute()
        kept = [(parameter, parameter.grad) for parameter in self.net.parameters()]

        def replay():
            self.replays += 1
            with capturing.unseen():
                found = compute()
            for own, new in zip(outputs, found, strict=True):
                own.copy_(new)
            for parameter, gradient in kept:
                gradient.copy_(parameter.grad)
                parameter.grad = gradient

        return replay, outputs


def trained(run: Run, data, steps: int, stand_in=None, sizes=(30,), **options):
    """The weights after some steps, and what the steps returned."""
    net = training.network_of(run, data).to(memory_format=torch.channels_last).train()
    optimizer = training.optimizer_of(run, net)
    if stand_in is not None:
        options = {"capture": True, "record": stand_in(net)}
    generator = torch.Generator().manual_seed(0)
    step = Step(run, net, optimizer, training.attack_of(run, data), CPU, generator, **options)
    box = training.box_of(run, data, "train")
    told = []  # of each step: how many are right, the loss
    for index in range(steps):
        chosen = torch.arange(sizes[index % len(sizes)]) + index
        clip = None if box is None else (box[0][chosen], box[1][chosen])
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + index)
        told.append(
            [float(part) for part in step(data.x_train[chosen], data.y_train[chosen], clip)]
        )
    return net.state_dict(), told, step


RUNS = [
    dict(scheme="erm"),
    dict(scheme="fgm", beta=1.2),
    dict(scheme="pgm", norm=math.inf, clip=True),
    dict(scheme="pgm", norm=1.0),
    dict(scheme="wrm", wrm_gamma_ratio=0.25, beta=4.0),
    dict(scheme="fgm", net="alexnet_bn"),
    dict(scheme="fgm", beta=1.2, optimizer="adam", learning_rate=0.001, precision="bfloat16"),
]


@pytest.mark.parametrize("change", RUNS, ids=lambda change: "-".join(map(str, change.values())))
def test_a_replayed_step_is_the_step(data, change):
    run = Run.of(**SETTINGS | change)
    sizes = (30, 30, 20, 30)  # one batch of another shape in between
    plain, told, _ = trained(run, data, 5, sizes=sizes)
    captured, again, step = trained(run, data, 5, StandIn, sizes=sizes)
    assert step.gradient.record.replays == 4
    np.testing.assert_allclose(told, again, rtol=1e-5)
    for name, value in plain.items():
        if not name.endswith("basis") and isinstance(value, torch.Tensor):  # its signs are free
            torch.testing.assert_close(captured[name], value, rtol=1e-3, atol=1e-4)


def test_results_of_a_replay_are_not_those_of_the_next(data):
    step = trained(Run.of(**SETTINGS, scheme="fgm"), data, 1, StandIn)[2]
    first = step.gradient(data.x_train[:30], data.y_train[:30])
    kept = [float(part) for part in first]
    step.gradient(data.x_train[50:80], data.y_train[50:80])
    assert [float(part) for part in first] == kept


def test_what_cannot_be_captured_is_told_once_and_trained_all_the_same(data):
    run = Run.of(**SETTINGS, scheme="fgm", net="alexnet_bn")
    plain, told, _ = trained(run, data, 3)
    with pytest.warns(UserWarning, match=r"cannot be captured \(no such kernel\)") as seen:
        found, again, _ = trained(
            run, data, 3, lambda net: StandIn(net, fails="no such kernel\nand more")
        )
    assert len(seen) == 1 and told == again
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def test_a_capture_on_a_cpu_is_refused_with_the_reason(data):
    run = Run.of(**SETTINGS | {"epochs": 1}, scheme="fgm")
    with pytest.warns(UserWarning, match="CUDA graphs need a CUDA device, not cpu"):
        fitted = training.fit(run, data, capture=True)
    assert fitted.epochs == 1


def test_obstacles_are_named():
    net, dropping = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    dropping[0].calls = 0
    cuda = torch.device("cuda")
    assert capture.obstacle(net, cuda, draws=False, team=False) is None
    assert "dropout" in capture.obstacle(dropping, cuda, draws=False, team=False)
    assert "random" in capture.obstacle(net, cuda, draws=True, team=False)
    assert "processes" in capture.obstacle(net, cuda, draws=False, team=True)


def test_a_recorded_projection_keeps_its_promise_unseen():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 30, generator=generator)
    for size in (1.0, 1.0 + 1e-7, 1.5, 1e6):
        far = x + size * torch.nn.functional.normalize(torch.randn(50, 30, generator=generator))
        far[0] = x[0]
        with capturing.unseen():
            inside = balls.enforce(x, far, 1.0, 2)
        assert float((inside.double() - x.double()).norm(dim=1).max()) <= 1.0
        assert torch.equal(inside[0], x[0])


def test_a_recorded_budget_holds_for_weights_that_grow(data):
    """Well inside the budget Python skips the division; a recording may not have skipped it."""
    net = spectral.constrain(nn.Sequential(nn.Linear(4, 4)), 100.0, (4,))
    weight = net[0].parametrizations.weight.original
    spectral.refresh(net)
    with capturing.unseen():
        assert net[0].weight.grad_fn is not None
        assert "ClipMatrix" in type(net[0].weight.grad_fn).__name__
    torch.testing.assert_close(net[0].weight, weight)


def test_tf32_is_refused_where_there_is_none(data):
    run = Run.of(**SETTINGS, scheme="erm", precision="tf32")
    assert Run.from_settings(run.settings()) == run
    with pytest.raises(UserError, match="only CUDA has it"):
        training.fit(run, data)
    precision.check("tf32", torch.device("cuda", 1))


def test_products_on_cuda_follow_the_precision_and_come_back():
    def flags():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    with precision.products("float32", "cuda"):
        assert flags() == (False, False)
        with precision.products("tf32", "cuda:0"):
            assert flags() == (True, True)
    assert flags() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("change", [c for c in RUNS if c.get("precision") is None],
                         ids=lambda change: "-".join(map(str, change.values())))  # fmt: skip
def test_a_captured_training_on_a_gpu_is_the_training(data, change):
    run = Run.of(**SETTINGS | change)
    plain = training.fit(run, data, device="cuda")
    captured = training.fit(run, data, device="cuda", capture=True)
    assert captured.history["loss"] == pytest.approx(plain.history["loss"], rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("kind", ["float32", "tf32", "bfloat16"])
def test_training_on_a_gpu_in_each_precision(data, kind):
    fitted = training.fit(Run.of(**SETTINGS, scheme="pgm", precision=kind), data, device="cuda")
    assert not fitted.diverged
