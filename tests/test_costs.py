"""Costs: multiply-adds against hand counts, passes against the attacks as they run."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from snlib import attacks, costs, datasets, training
from snlib.checkpoints import Fitted
from snlib.costs import CPU, GPU, flops, macs, passes, seconds, size_of
from snlib.errors import UserError
from snlib.evaluation import batch_of
from snlib.measurements import measure
from snlib.models import build
from snlib.runs import Run

COLOUR, GREY = (3, 28, 28), (1, 28, 28)


@pytest.mark.parametrize(
    ("net", "in_shape", "by_hand"),
    [
        (
            "alexnet", COLOUR,  # maps 28 and 13, then 9216, 384, 192
            28 * 28 * 96 * 75 + 13 * 13 * 256 * 25 * 96 + 9216 * 384 + 384 * 192 + 192 * 10,
        ),
        (
            "elu_net", GREY,  # maps 14, 5, 1
            14 * 14 * 64 * 64 + 25 * 128 * 36 * 64 + 128 * 25 * 128 + 128 * 10,
        ),
        ("mlp1", COLOUR, 2352 * 512 + 512 * 10),
        ("mlp1", GREY, 784 * 512 + 512 * 10),
        ("softmax", GREY, 7840),
    ],
)  # fmt: skip
def test_multiply_adds_by_hand(net, in_shape, by_hand):
    assert macs(net, in_shape) == by_hand


@pytest.mark.parametrize(
    ("net", "in_shape", "published"),
    [("alexnet", COLOUR, 113e6), ("elu_net", GREY, 8.6e6), ("mlp1", COLOUR, 1.2e6),
     ("mlp1", GREY, 0.4e6)],
)  # fmt: skip
def test_multiply_adds_are_those_of_the_facts(net, in_shape, published):
    assert macs(net, in_shape) == pytest.approx(published, rel=0.02)


def test_width_and_classes_count():
    assert macs("mlp1", GREY, 10, 0.5) == 784 * 256 + 256 * 10
    assert macs("mlp1", GREY, 100) == 784 * 512 + 512 * 100
    assert size_of("alexnet", COLOUR).layers == 5 and size_of("resnet", COLOUR).layers == 35
    assert size_of("alexnet", COLOUR).parameters == 4_237_130
    with pytest.raises(UserError, match="takes images of"):
        macs("alexnet", (3, 56, 56))


class Counted(torch.nn.Module):
    """A linear net that counts its forward passes, and its backward passes to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.forwards, self.backwards = torch.nn.Linear(64, 10), 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        if x.requires_grad:
            x = x.clone()
            x.register_hook(self._noted)
        return self.layer(x.flatten(1))

    def _noted(self, _: torch.Tensor) -> None:
        self.backwards += 1


@pytest.mark.parametrize("labels", ["predicted", "true"])
@pytest.mark.parametrize("scheme", ["fgm", "pgm", "wrm", "trades"])
def test_the_passes_of_an_attack_are_counted(scheme, labels):
    """What the attack really runs, beside the passes of the step itself: 3, of TRADES 6."""
    run = Run.of(scheme=scheme, steps=4, attack_labels=labels)
    data = datasets.load("digits", train_size=20)
    attack, net = training.attack_of(run, data), Counted()
    attack(net, data.x_train, data.y_train, check=False)
    step = 6 if scheme == "trades" else 3
    assert passes(run) == step + net.forwards + net.backwards


def test_a_random_start_asks_for_the_clean_prediction():
    run = Run.of(scheme="pgm", steps=4, attack_labels="predicted", random_start=True)
    data = datasets.load("digits", train_size=20)
    attack, net = training.attack_of(run, data), Counted()
    attack(net, data.x_train, data.y_train, check=False)
    assert passes(run) == 3 + net.forwards + net.backwards == 3 + 2 * 4 + 1


def test_a_pgm_training_of_alexnet_is_of_the_order_of_the_facts():
    run = Run(scheme="pgm")
    assert 0.5e17 < flops(run) < 2e17
    assert flops(run) == 2 * macs("alexnet", COLOUR) * (3 + 30) * 50_000 * 200
    assert flops(run) == pytest.approx(11 * flops(Run()))
    assert 0.5 < seconds(run, GPU) / 3600 < 3  # "order of an hour on an H200"
    assert 3 < seconds(run, CPU) / 86400 < 28  # "two weeks" on two older cores
    half = dataclasses.replace(run, epochs=100, train_size=25_000)
    assert flops(half) == flops(run) / 4


@pytest.mark.parametrize("scheme", ["erm", "fgm", "pgm", "wrm", "trades"])
def test_accuracies_pass_every_image_as_they_are_measured(scheme):
    """Clean, and under the attack: what the measurement really runs, but for its few sizes."""
    run = Run.of(scheme=scheme, steps=4, data="digits", train_size=20, net="mlp1", width=0.05)
    data, net = datasets.load("digits", train_size=20), Counted()
    measure(run, Fitted(net), data, {"accuracy"})
    batches = sum(math.ceil(len(x) / batch_of(x)) for x in (data.x_train, data.x_validation))
    batches += math.ceil(len(data.x_test) / batch_of(data.x_test))
    images = 20 + len(data.x_validation) + len(data.x_test)
    alone = costs.Machine("of launches", math.inf, 1 / size_of("mlp1", (1, 8, 8), 10, 0.05).layers)
    ways = costs.measuring(run, alone) / math.ceil(images / costs.MEASURED_AT_ONCE)
    assert net.forwards + net.backwards == ways * batches


def test_data_sets_have_the_shapes_and_sizes_that_are_written_down():
    digits = datasets.load("digits")
    assert costs.DATA["digits"] == (digits.in_shape, digits.classes, len(digits.x_train))
    assert set(costs.DATA) >= set(datasets.official.NAMES)
    assert costs.of_data(Run(data="cifar10_jpeg", train_size=40)) == (COLOUR, 10, 40)
    for shape, classes, _ in costs.DATA.values():
        assert build("mlp1", shape, classes, 0.01) is not None


def test_small_nets_are_bound_by_their_layers_and_large_ones_by_arithmetic():
    small = Run(data="digits", net="mlp1", width=0.1, train_size=200, batch_size=50, epochs=10)
    assert seconds(small) == pytest.approx(4 * 10 * 3 * 2 * CPU.launch, rel=0.05)
    assert seconds(Run()) == pytest.approx(flops(Run()) / CPU.flops, rel=0.05)


def test_attacks_are_those_that_passes_knows():
    assert set(attacks.specification.KINDS) - {"none"} == {"fgm", "pgm", "wrm", "trades"}
