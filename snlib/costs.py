"""What a run costs: its arithmetic, and about how long that takes on a processor or a GPU.

    macs("alexnet", (3, 28, 28))              113,092,992 multiply-adds of one image, forward
    flops(run)                                 of a whole training
    seconds(run, CPU)                          about how long it trains
    measuring(run, CPU)                        and how long its accuracies take afterwards
    memory(run)                                about how many bytes it needs while it does

A pass is forward, backward to the activations or backward to the weights: each is about one
forward's arithmetic. ERM makes three of them a step; every input gradient of an attack adds two,
and the prediction that the attack aims at one. Left out: the budget's few products a step, on one
image in place of a batch, and what is measured at the end beside accuracies.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn

from snlib import models
from snlib.runs import Run


@dataclass(frozen=True)
class Machine:
    """How fast something computes.

    Attributes:
        name: for people.
        flops: arithmetic a second that training reaches, in operations (a multiply-add is two).
        launch: seconds that each layer adds to each pass, whatever its size.
    """

    name: str
    flops: float
    launch: float


CPU = Machine("one core", flops=9e10, launch=3e-4)
"""Stated rate of one core of a recent server, 90 GFLOP/s for large layers and 0.3 ms a layer."""

GPU = Machine("one H200", flops=0.3 * 67e12, launch=5e-5)
"""Assumed, not measured: 30 % of an H200's 67 TFLOP/s in float32 and 50 microseconds a layer."""

START_BYTES = {"cpu": 450 * 2**20, "cuda": 700 * 2**20}
"""What a process needs before its first image: on a CPU what Python and torch allocate (all
processes share the pages of their libraries), on a GPU a context."""

MEASURED_AT_ONCE = 500
"""Images that a trained net sees at once when it is measured."""

DATA: dict[str, tuple[tuple[int, int, int], int, int]] = {
    "digits": ((1, 8, 8), 10, 797),
    "mnist": ((1, 28, 28), 10, 55_000),
    "fashion_mnist": ((1, 28, 28), 10, 60_000),
    "cifar10": ((3, 28, 28), 10, 50_000),
    "cifar100": ((3, 28, 28), 100, 50_000),
    "svhn": ((3, 28, 28), 10, 73_257),
    "cifar10_jpeg": ((3, 28, 28), 10, 50_000),
    "cifar10_lossless": ((3, 28, 28), 10, 5_085),
    "tiny_imagenet": ((3, 56, 56), 200, 100_000),
    "tiny_imagenet_subset": ((3, 56, 56), 20, 1_500),
}
"""Of each data set, preprocessed: shape of an image, classes, training images. A set that is not
here is taken to be like CIFAR-10."""


TEST_IMAGES = {
    "digits": 1_000, "svhn": 26_032, "cifar10_lossless": 1_017, "tiny_imagenet_subset": 500
}  # fmt: skip
"""Test images of the data sets that have not 10,000 of them."""


@dataclass(frozen=True)
class Size:
    """What a net costs: multiply-adds of one image forward, its weight layers, its parameters, and
    the entries of all maps that one image leaves on its way through."""

    macs: int
    layers: int
    parameters: int
    maps: int


@functools.cache
def size_of(
    net: str, in_shape: tuple[int, int, int], classes: int = 10, width: float = 1.0
) -> Size:
    """The size of a net, counted on the shapes of one image that passes through it.

    Raises:
        UserError: as `models.build`.
    """
    module, found, maps = models.outline(net, in_shape, classes, width).eval(), [], []

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        found.append(out[0].numel() * layer.weight[0].numel())

    def keep(_layer: nn.Module, _: object, out: torch.Tensor) -> None:
        maps.append(out[0].numel())

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
        if not list(layer.children()):
            layer.register_forward_hook(keep)
    with torch.no_grad():
        module(torch.zeros(1, *in_shape, device="meta"))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Size(sum(found), len(found), parameters, sum(maps))


def macs(net: str, in_shape: tuple[int, int, int], classes: int = 10, width: float = 1.0) -> int:
    """Multiply-adds of convolutions and linear layers for one image, forward."""
    return size_of(net, in_shape, classes, width).macs


def of_data(run: Run) -> tuple[tuple[int, int, int], int, int]:
    """Shape of an image, classes, training images of a run's data set, as far as known."""
    shape, classes, images = DATA.get(run.data, DATA["cifar10"])
    return shape, classes, run.train_size or images


def attack_passes(run: Run) -> int:
    """Passes of the training attack on one batch."""
    # The first step tells predicted labels, unless it starts elsewhere than at the image.
    predicted = run.attack_labels == "predicted" and run.random_start
    steps = run.steps or 0
    return {
        "erm": 0,
        "fgm": 2,
        "pgm": 2 * steps + predicted,
        "wrm": 2 * (steps + 1),
        "trades": 2 * steps + 1,  # with the clean prediction
    }[run.scheme]


def passes(run: Run) -> int:
    """Passes of one training step: three of the step itself, the rest of its attack."""
    own = 6 if run.scheme == "trades" else 3  # TRADES learns from clean and attacked images
    return own + attack_passes(run)


def flops(run: Run) -> float:
    """Arithmetic of a whole training of `run.epochs` epochs, 2 a multiply-add."""
    return 2.0 * _size(run).macs * passes(run) * of_data(run)[2] * run.epochs


def seconds(run: Run, machine: Machine = CPU) -> float:
    """About how long a run trains on a machine, if it has all its epochs."""
    images = of_data(run)[2]
    steps = max(images // run.batch_size, 1) * run.epochs
    return _passing(run, machine, passes(run), images * run.epochs, steps)


def measuring(run: Run, machine: Machine = CPU) -> float:
    """About how long a machine takes for the accuracies of a trained net.

    Of all images, training, validation and test: clean, and unless it is ERM's under the attack.
    """
    attack, images = attack_passes(run), _all_images(run)
    batches = math.ceil(images / MEASURED_AT_ONCE)
    return _passing(run, machine, 2 + attack if attack else 1, images, batches)


def _passing(run: Run, machine: Machine, passes: int, images: int, batches: int) -> float:
    """Seconds that images in batches take for these passes each through the net of a run."""
    size = _size(run)
    arithmetic = 2.0 * size.macs * passes * images / machine.flops
    return arithmetic + batches * passes * size.layers * machine.launch


def _size(run: Run) -> Size:
    shape, classes, _ = of_data(run)
    return size_of(run.net, shape, classes, run.width)


def _all_images(run: Run) -> int:
    """Training, validation and test images, as far as known."""
    return of_data(run)[2] + TEST_IMAGES.get(run.data, 10_000)


def memory(run: Run, device: str = "cpu") -> int:
    """About how many bytes of a device's memory a run needs at its height.

    The images lie there whole (on a CPU once more, as they were loaded); of the weights there are
    six copies: gradient, momentum (of Adam two), what the budget made of them, and a spare. The
    maps of a batch are kept for the way back, and about once more on it; a measurement has larger
    batches than training.
    """
    shape, _, images = of_data(run)
    size = _size(run)
    kind = device.partition(":")[0]
    pixels = math.prod(shape) * _all_images(run) * (2 if kind == "cpu" else 1)
    maps = 2 * size.maps * max(run.batch_size, min(MEASURED_AT_ONCE, images))
    return START_BYTES.get(kind, START_BYTES["cuda"]) + 4 * (pixels + 6 * size.parameters + maps)
