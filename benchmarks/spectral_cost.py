"""Time of a training step with the budget on every layer, over the plain step.

    OMP_NUM_THREADS=1 python benchmarks/spectral_cost.py --rounds 15          # AlexNet, batch 128
    OMP_NUM_THREADS=1 python benchmarks/spectral_cost.py --attack pgm --rounds 5
    OMP_NUM_THREADS=1 python benchmarks/spectral_cost.py --grow --rounds 7       # batch, width, ...

Contestants, each on a net of its own with the same initial weights, beta 1.6: the plain step; ours;
ours with the paper's one power iteration a step; torch's own parametrization (norm of the reshaped
kernel, in every forward); a convolutional power iteration in every forward, as most libraries have
it. Every round runs all of them once in a new random order; times are CPU seconds, ratios are
paired within a round; shown are the median and the quartiles. Warm-up steps are not counted.
As a refresh may wait, its cost is not the same in every step: --record also writes the ratio of the
seconds of all rounds together ("ratio of sums"), where no spike is left out, and the ratio of every
round, from which claim 15 is judged.
"""

from __future__ import annotations

import argparse
import copy
import platform
import random
import statistics
import time
from collections.abc import Callable

import recording
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from snlib import models
from snlib.attacks import pgm
from snlib.spectral import constrain, frozen, layers, refresh

BETA = 1.6


class PerForward(nn.Module):
    """One power iteration with the true convolution at every use of the weight."""

    def __init__(self, layer: nn.Module, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.options = {}
        if isinstance(layer, nn.Conv2d):
            self.options = {"stride": layer.stride, "padding": layer.padding}
        self.register_buffer("v", torch.randn(1, *in_shape))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(shape of W) -> (shape of W)."""
        with torch.no_grad():
            if self.options:
                u = F.normalize(F.conv2d(self.v, weight, **self.options).flatten(), dim=0)
                u = u.view(F.conv2d(self.v, weight, **self.options).shape)
                v = F.conv_transpose2d(u, weight, **self.options)
            else:
                u = F.normalize(F.linear(self.v, weight), dim=1)
                v = u @ weight
            self.v = v / v.norm()
        image = F.conv2d(self.v, weight, **self.options) if self.options else self.v @ weight.T
        sigma = (u * image).sum()
        return weight / torch.clamp(sigma / BETA, min=1.0)


def contestants(
    args: argparse.Namespace, width: float, batch: int, size: int, name: str
) -> dict[str, Callable[[], None]]:
    """Name -> function that makes one training step."""
    shape = (3, size, size)
    torch.manual_seed(0)
    x, y = torch.randn(batch, *shape), torch.randint(10, (batch,))
    origin = models.build(name, shape, width=width)

    def torchs(net: nn.Module) -> None:
        for _, layer, _ in layers(net, shape):
            parametrizations.spectral_norm(layer)

    def per_forward(net: nn.Module) -> None:
        for _, layer, seen in layers(net, shape):
            parametrize.register_parametrization(layer, "weight", PerForward(layer, seen))

    puts = {
        "plain": lambda net: None,
        "ours": lambda net: constrain(net, BETA, shape),
        "ours, power": lambda net: constrain(net, BETA, shape, method="power", steps=1),
        "torch": torchs,
        "per forward": per_forward,
    }

    def stepper(label: str) -> Callable[[], None]:
        net = copy.deepcopy(origin)
        puts[label](net)
        moves = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def step() -> None:
            inputs = x
            if args.attack == "pgm":
                with frozen(net):
                    inputs = pgm(net, x, y, 2.44, steps=15)
            loss = F.cross_entropy(net(inputs), y)
            moves.zero_grad()
            loss.backward()
            moves.step()
            if label.startswith("ours"):
                refresh(net)

        return step

    return {label: stepper(label) for label in puts if label in args.only or label == "plain"}


def compare(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every contestant in every round."""
    chooser = random.Random(0)
    times: dict[str, list[float]] = {label: [] for label in steps}
    for step in steps.values():
        for _ in range(2):
            step()
    for _ in range(rounds):
        for label in chooser.sample(list(steps), len(steps)):
            start = time.process_time()
            steps[label]()
            times[label].append(time.process_time() - start)
    return times


def measured(times: dict[str, list[float]], where: str) -> list[dict]:
    """Seconds and ratios to the plain step: median and quartiles, and the ratio of the sums."""
    rows = []
    for label, values in times.items():
        ratios = [a / b for a, b in zip(values, times["plain"], strict=True)]
        for quantity, numbers in (("seconds", values), ("ratio", ratios)):
            low, middle, high = statistics.quantiles(numbers, n=4)
            rows.append(recording.row(label, where, quantity, middle, low, high, len(numbers)))
        for place, ratio in enumerate(ratios):
            rows.append(recording.row(label, f"{where} round={place}", "ratio of a round", ratio))
        total = sum(values) / sum(times["plain"])
        rows.append(recording.row(label, where, "ratio of sums", total, repeats=len(values)))
    return rows


def main() -> None:
    """Print one Markdown row a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--attack", choices=["none", "pgm"], default="none")
    parser.add_argument("--grow", action="store_true", help="over batch, width, size and depth")
    parser.add_argument(
        "--only", nargs="+", default=["ours", "ours, power", "torch", "per forward"]
    )
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    args = parser.parse_args()
    settings = [("alexnet", args.width, args.batch, 28)]
    if args.grow:
        base = ("alexnet", 0.25, 64, 28)
        settings = [
            base,
            *(("alexnet", 0.25, batch, 28) for batch in (16, 256)),
            *(("alexnet", width, 64, 28) for width in (0.125, 0.5)),
            *(("alexnet", 0.25, 64, size) for size in (20, 40)),
            *((name, 0.25, 64, 28) for name in ("mlp2", "inception", "resnet")),
        ]
        args.only = ["ours"]
    print(
        f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread(s), "
        f"attack {args.attack}, {args.rounds} rounds; ratio to the plain step\n"
    )
    labels = list(dict.fromkeys(args.only))
    print("| net | width | batch | size | plain s | " + " | ".join(labels) + " |")
    print("|---" * (5 + len(labels)) + "|")
    for name, width, batch, size in settings:
        where = recording.setting(net=name, width=width, batch=batch, size=size, attack=args.attack)
        rows = measured(compare(contestants(args, width, batch, size, name), args.rounds), where)
        recording.write("spectral_cost", rows, folder=recording.folder(args.record))
        seconds = next(row["value"] for row in rows if row["contestant"] == "plain")
        shown = {
            row["contestant"]: f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            for row in rows
            if row["quantity"] == "ratio"
        }
        print(
            f"| {name} | {width} | {batch} | {size} | {seconds:.3f} | "
            + " | ".join(shown[label] for label in labels)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
