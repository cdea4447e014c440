"""A whole training step beside the same step written with torchattacks and torch's spectral_norm.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py --batch 128 --rounds 5 [--record]

The rival is what one would write with well-known parts: the paper's AlexNet from torch.nn alone
(`LocalResponseNorm` included), `torch.nn.utils.parametrizations.spectral_norm` on every layer (one
power iteration, kernel reshaped, norm 1: less than the budget does), torchattacks' FGSM or PGDL2,
momentum SGD. Ours is the step of `snlib.fit` under beta = 1.6. Same images, same true labels, same
number of attack steps; all contestants take turns in a new random order every round.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable

import recording
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from snlib import training
from snlib.datasets import Data
from snlib.experiments import grid
from snlib.steps import Step

EPS, STEPS = 2.433, 15
PINS = {"torchattacks": "3.5.1"}


def rival_net(seed: int = 0) -> nn.Sequential:
    """The paper's AlexNet of torch.nn's layers, each weight under torch's spectral_norm."""
    torch.manual_seed(seed)
    block = [nn.ReLU(), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(9, 0.001, 0.75, 1.0)]
    net = nn.Sequential(
        nn.Conv2d(3, 96, 5, padding=2), *block, nn.Conv2d(96, 256, 5, padding=2), *block,
        nn.Flatten(), nn.Linear(9216, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(),
        nn.Linear(192, 10),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm(layer)
    return net


def rival_step(scheme: str) -> Callable[[Tensor, Tensor], None]:
    """One step of training with torchattacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports of torchvision
        import torchattacks
    net = rival_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    attack = None
    if scheme == "fgm":
        # torchattacks has no l2 FGM: one step of PGDL2 of the whole length.
        attack = torchattacks.PGDL2(net, eps=EPS, alpha=EPS, steps=1, random_start=False)
    elif scheme == "pgm":
        length = 2 * EPS / STEPS
        attack = torchattacks.PGDL2(net, eps=EPS, alpha=length, steps=STEPS, random_start=False)

    def step(x: Tensor, y: Tensor) -> None:
        net.train()
        x = x if attack is None else attack(x, y)
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(scheme: str, data: Data, precision: str) -> Callable[[Tensor, Tensor], None]:
    """One step of `snlib.fit` under a budget."""
    settings = dict(data="cifar10", precision=precision, attack_labels="true", eps=EPS, beta=1.6)
    run = grid(settings, (0,), scheme=scheme)[0]
    net = training.network_of(run, data).to(memory_format=torch.channels_last)
    attack = training.attack_of(run, data)
    generator = torch.Generator().manual_seed(0)
    step = Step(run, net, training.optimizer_of(run, net), attack, torch.device("cpu"), generator)

    def one(x: Tensor, y: Tensor) -> None:
        net.train()
        step(x.contiguous(memory_format=torch.channels_last), y)

    return one


def measure(scheme: str, batch: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every contestant's step, by round; the first round is thrown away."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(batch, 3, 28, 28, generator=generator)
    y = torch.randint(10, (batch,), generator=generator)
    names = tuple("0123456789")
    data = Data("random", "random images", 10, names, x, y, x, y, x, y, float(x.flatten(1).norm()))
    steps = {
        "torchattacks + spectral_norm": rival_step(scheme),
        "snlib": our_step(scheme, data, "float32"),
        "snlib, bfloat16": our_step(scheme, data, "bfloat16"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order, shuffle = list(steps), random.Random(0)
    for turn in range(rounds + 1):
        shuffle.shuffle(order)
        for name in order:
            begun = time.process_time()
            steps[name](x, y)
            if turn:
                seconds[name].append(time.process_time() - begun)
    return seconds


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write to data/results/benchmarks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if recording.missing(PINS):
        return
    rows = []
    setting = recording.setting(net="alexnet", batch=options.batch)
    for scheme in ("erm", "fgm", "pgm"):
        seconds = measure(scheme, options.batch, options.rounds)
        rival = seconds["torchattacks + spectral_norm"]
        print(f"{scheme}: a step of batch {options.batch}")
        for name, own in seconds.items():
            ratios = [theirs / mine for theirs, mine in zip(rival, own, strict=True)]
            middle = statistics.median(ratios)
            print(
                f"  {name:30} {statistics.median(own):7.3f} s   "
                f"{middle:5.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
            )
            rows.append(
                recording.row(
                    name, f"{setting} scheme={scheme}", "speedup", middle,
                    min(ratios), max(ratios), len(ratios),
                )
            )  # fmt: skip
    print(recording.write("training_step", rows, PINS, recording.folder(options.record)))


if __name__ == "__main__":
    main()
