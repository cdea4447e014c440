"""What the usual protocol adds: starts, boxes, early stopping, a falling rate, shifts."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from snlib import datasets, training
from snlib.attacks import Attack, balls, pgm, wrm
from snlib.augmentation import augmented
from snlib.datasets import Data
from snlib.datasets.preprocessing import mean_norm, preprocess
from snlib.errors import UserError
from snlib.measurements import measure
from snlib.runs import Run

TINY = dict(data="digits", train_size=110, net="mlp1", width=0.05, batch_size=50, epochs=4)
TINY |= dict(learning_rate=0.05, eps_ratio=0.3, wrm_gamma_ratio=0.02, steps=3)


@pytest.fixture(scope="module")
def digits() -> Data:
    """110 digits with so few to validate that each epoch is validated."""
    data = datasets.load("digits", train_size=110)
    return dataclasses.replace(
        data, x_validation=data.x_validation[:15], y_validation=data.y_validation[:15]
    )


@pytest.fixture(scope="module")
def colour() -> Data:
    """Noise in colour, whitened image by image as CIFAR-10 is, with black and white in it."""
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for split, count in (("train", 60), ("validation", 9), ("test", 20)):
        spread = torch.randint(20, 256, (count, 1, 1, 1), generator=generator)
        pixels = torch.randint(256, (count, 3, 8, 8), generator=generator) * spread // 255
        parts[split] = preprocess(pixels.to(torch.uint8), 255)
    labels = {f"y_{split}": torch.arange(len(part.x)) % 3 for split, part in parts.items()}
    return Data(
        name="noise", title="noise", classes=3, class_names=("a", "b", "c"),
        **{f"x_{split}": part.x for split, part in parts.items()}, **labels,
        mean_norm=mean_norm(parts["train"].x),
        mean={split: part.mean for split, part in parts.items()},
        scale={split: part.scale for split, part in parts.items()},
    )  # fmt: skip


def states(run: Run, data: Data, **options) -> tuple[list[dict], training.Fitted]:
    """The net after each epoch, and what the training left."""
    seen = []
    fitted = training.fit(
        run, data, on_epoch=lambda f: seen.append(copy.deepcopy(f.net.state_dict())) or False,
        **options,
    )  # fmt: skip
    return seen, fitted


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# ------------------------------------------------------------------------------------ schedule


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("epochs", "at"), [(8, (4, 6)), (5, (3, 4)), (1, (1, 1))])
def test_the_rate_falls_by_ten_at_a_half_and_at_three_quarters(
    digits, monkeypatch, optimizer, epochs, at
):
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    rates, step = [], kind.step
    monkeypatch.setattr(
        kind, "step", lambda self, *a, **k: rates.append(self.param_groups[0]["lr"]) or step(self)
    )
    settings = TINY | dict(epochs=epochs, batch_size=110, optimizer=optimizer, stop_accuracy=2.0)
    training.fit(Run.of(**settings, schedule="piecewise"), digits)
    rate = settings["learning_rate"]
    expected = [rate] * at[0] + [rate / 10] * (at[1] - at[0]) + [rate / 100] * (epochs - at[1])
    assert rates == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------ early stopping


@pytest.mark.parametrize("beta", [math.inf, 0.9])
def test_the_best_epoch_is_kept(digits, beta):
    settings = TINY | dict(scheme="fgm", beta=beta, learning_rate=0.5, epochs=12)
    settings |= dict(stop_accuracy=2.0)
    every, last = states(Run.of(**settings), digits)
    again, best = states(Run.of(**settings, select="best"), digits)
    assert all(same(one, other) for one, other in zip(every, again, strict=True))
    accuracies = last.history["validation_accuracy"]
    assert best.history["validation_accuracy"] == accuracies
    first = accuracies.index(max(accuracies))  # of equals the first
    assert first < len(every) - 1, "the last epoch is the best: this tests nothing"
    assert best.best.epoch == first + 1 and best.best.accuracy == max(accuracies)
    assert same(best.net.state_dict(), every[first]) and not best.net.training
    assert same(last.net.state_dict(), every[-1]) and last.best is None
    rows = measure(Run.of(**settings, select="best"), best, digits, {"history"})
    assert rows["value"][rows["quantity"].index("best_epoch")] == first + 1


def test_the_seconds_of_each_pass_are_measured_where_they_are_asked_for(digits):
    run = Run.of(**TINY, scheme="fgm")
    fitted = training.fit(run, digits)
    passes, whole = (fitted.history[key] for key in ("pass_seconds", "seconds"))
    assert all(0 < part <= all_of_it for part, all_of_it in zip(passes, whole, strict=True))
    rows = measure(run, fitted, digits, {"history", "runtime"})
    found = [
        (x, value)
        for suite, quantity, x, value in zip(
            *(rows[column] for column in ("suite", "quantity", "x", "value")), strict=True
        )
        if (suite, quantity) == ("runtime", "seconds")
    ]
    assert found == list(zip([1.0, 2.0, 3.0, 4.0], passes, strict=True))
    assert "runtime" not in measure(run, fitted, digits, {"history"})["suite"]


def test_early_stopping_resumes_to_the_last_bit(digits, tmp_path):
    run = Run.of(
        **TINY | dict(epochs=8, learning_rate=0.5), scheme="pgm", beta=0.9, random_start=True,
        restarts=2, clip=True, select="best", schedule="piecewise", augment=True, temperature=0.5,
    )  # fmt: skip
    whole, file = training.fit(run, digits), tmp_path / "run.pt"
    assert whole.best.epoch < 7  # the best net has to come out of the checkpoint
    for epoch in (3, 7):
        with pytest.raises(training.Stopped):
            training.fit(run, digits, checkpoint=file, on_epoch=lambda f, e=epoch: f.epochs == e)
    resumed = training.fit(run, digits, checkpoint=file)
    assert resumed.best.epoch == whole.best.epoch
    assert same(whole.net.state_dict(), resumed.net.state_dict())
    assert resumed.history["validation_accuracy"] == whole.history["validation_accuracy"]


def test_a_net_that_diverged_stays_diverged(digits):
    run = Run.of(**TINY | dict(learning_rate=1e30), select="best")
    assert training.fit(run, digits).diverged


# ----------------------------------------------------------------------- random starts, boxes


def test_one_start_a_step_in_training_and_all_of_them_in_measurements(digits, monkeypatch):
    starts, uniform = [], balls.uniform
    monkeypatch.setattr(
        balls, "uniform", lambda x, *rest: starts.append(len(x)) or uniform(x, *rest)
    )
    run = Run.of(**TINY, scheme="pgm", random_start=True, restarts=3)
    fitted = training.fit(run, digits)
    assert starts == [50, 50, 15] * 4  # two batches and the validation images, four epochs
    starts.clear()
    measure(run, fitted, digits, {"accuracy"})
    assert starts == [110] * 3 + [15] * 3 + [500] * 3 + [200] * 3
    starts.clear()
    training.fit(Run.of(**TINY, scheme="pgm"), digits)
    assert starts == []


def test_starts_differ_from_step_to_step_and_by_seed_alone(digits, monkeypatch):
    drawn, uniform = [], balls.uniform
    monkeypatch.setattr(balls, "uniform", lambda *a: drawn.append(uniform(*a)) or drawn[-1])
    settings = TINY | dict(scheme="pgm", epochs=2)
    for seed in (0, 0, 1):
        training.fit(Run.of(**settings, random_start=True, seed=seed), digits)
    first, again, other = drawn[:6], drawn[6:12], drawn[12:]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


@pytest.mark.parametrize("scheme", ["fgm", "pgm", "wrm", "trades"])
@pytest.mark.parametrize("clip", [True, False])
def test_attacked_images_stay_in_the_range_of_their_own_pixels(colour, monkeypatch, scheme, clip):
    """The oracle undoes the whitening image by image, found by the batch's own pixels."""
    seen, call = [], Attack.__call__

    def spy(self, net, x, *rest, **options):
        out = call(self, net, x, *rest, **options)
        seen.append((x, out))
        return out

    monkeypatch.setattr(Attack, "__call__", spy)
    run = Run.of(**TINY | dict(data="noise", batch_size=20), scheme=scheme, clip=clip)
    fitted = training.fit(run, colour)
    measure(run, fitted, colour, {"accuracy", "distributions"})
    known = [
        (x, mean, scale)
        for split in ("train", "validation", "test")
        for x, mean, scale in zip(
            getattr(colour, f"x_{split}"), colour.mean[split], colour.scale[split], strict=True
        )
    ]
    outside, moved = 0.0, 0.0
    for x, out in seen:
        for image, attacked in zip(x, out, strict=True):
            mean, scale = next((m, s) for other, m, s in known if torch.equal(other, image))
            pixels = attacked * scale + mean
            outside = max(outside, float(-pixels.min()), float(pixels.max()) - 1)
            moved = max(moved, float((attacked - image).abs().max()))
    assert len(seen) >= 3 * 4 and moved > 0.01
    assert outside < 1e-6 if clip else outside > 0.01


def test_a_clipped_wrm_is_projected_ascent():
    """By hand: one step of the penalty's ascent, then the box, sixteen times."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Linear(6, 3).double()
    with torch.no_grad():
        net.weight.copy_(3 * torch.randn(3, 6, generator=generator))
    x, y = torch.rand(5, 6, generator=generator).double(), torch.tensor([0, 1, 2, 0, 1])
    z = x.clone()
    for t in range(-1, 15):
        z.requires_grad_()
        loss = nn.functional.cross_entropy(net(z), y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, z)
        z = z.detach()
        rate = 1.0 if t < 0 else (t + 2) ** -0.5
        z = (z + rate * (0.5 * slope - (z - x))).clamp(0, 1)
    found = wrm(net, x, y, eps=0.5, clip=(0.0, 1.0))
    torch.testing.assert_close(found, z, rtol=0, atol=1e-12)
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert float((wrm(net, x, y, eps=0.5) - z).abs().max()) > 0.01  # the box matters
    torch.testing.assert_close(
        wrm(net, x, y, eps=0.5, clip=(-9.0, 9.0)), wrm(net, x, y, eps=0.5), rtol=0, atol=1e-12
    )


def test_images_outside_their_pixels_are_not_clipped(colour):
    wrong = dataclasses.replace(colour, mean=None, scale=None)  # as if they were raw
    run = Run.of(**TINY | dict(data="noise"), scheme="pgm", clip=True)
    with pytest.raises(UserError, match="clip is True, but train images of 'noise' lie outside"):
        training.fit(run, wrong)
    assert training.box_of(Run.of(**TINY, scheme="pgm"), wrong, "train") is None


def test_the_training_attack_of_the_standard_protocol(digits):
    run = Run.of(**TINY, scheme="pgm", random_start=True, restarts=3, attack_labels="true")
    attack = training.attack_of(run, digits)
    assert attack == Attack(
        kind="pgm", eps=attack.eps, steps=3, labels="true", random_start=True, restarts=3
    )
    low, high = training.box_of(Run.of(**TINY, scheme="pgm", clip=True), digits, "test")
    assert low.shape == (len(digits.x_test), 1, 1, 1)
    assert bool((low == 0).all()) and bool((high == 1).all())
    x_adv = pgm(training.fit(run, digits).net, digits.x_test, digits.y_test, 9.0, clip=(low, high))
    assert float(x_adv.min()) == 0 and float(x_adv.max()) == 1


# --------------------------------------------------------------------- augmentation, temperature


def test_digits_are_moved_but_never_mirrored(digits, monkeypatch):
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    for mirror in (False, True):
        out, flipped = augmented(x, torch.Generator().manual_seed(1), mirror=mirror), 0
        for image, result in zip(x, out, strict=True):
            source = nn.functional.pad(image, (1, 1, 1, 1))
            windows = source.unfold(1, 8, 1).unfold(2, 8, 1).reshape(9, 8, 8)
            flipped += not any(torch.equal(window, result[0]) for window in windows)
        assert (flipped > 8) == mirror and (flipped == 0) == (not mirror)
    mirrored = {name: name not in ("digits", "mnist", "svhn") for name in datasets.official.NAMES}
    assert digits.mirror is mirrored["digits"] is False and Data.mirror is True
    assert {name: name not in datasets.HANDED for name in mirrored} == mirrored
    asked = []
    monkeypatch.setattr("snlib.steps.augmented", lambda x, _, mirror: asked.append(mirror) or x)
    for data in (digits, dataclasses.replace(digits, mirror=True)):
        training.fit(Run.of(**TINY | dict(epochs=1, batch_size=110), augment=True), data)
    assert asked == [False, True]


def test_a_temperature_is_a_smaller_weight_with_a_larger_rate(digits, monkeypatch):
    """Softmax layer: V = W / T moves by rate / T^2 where W moves by rate."""
    made = training.network_of

    def halved(run, data):
        net = made(run, data)
        with torch.no_grad():
            net.fc1.weight.mul_(0.5)
        return net

    settings = TINY | dict(net="softmax", scheme="fgm")
    divided = training.fit(Run.of(**settings | dict(learning_rate=0.2), temperature=2), digits)
    monkeypatch.setattr(training, "network_of", halved)
    plain = training.fit(Run.of(**settings), digits)
    torch.testing.assert_close(divided.net.fc1.weight, 2 * plain.net.fc1.weight)
    torch.testing.assert_close(divided.net(digits.x_test), plain.net(digits.x_test))
