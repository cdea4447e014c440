"""Time of PGM-15 and FGM against four libraries, interleaved in one process.

    python -m pip install --no-deps torchattacks==3.5.1 cleverhans==4.0.0
    OMP_NUM_THREADS=1 python benchmarks/attacks.py --batch 32 --rounds 7

(The first line with --no-deps: torchattacks pins an old requests, cleverhans asks for TensorFlow.)
Every round runs every contestant once, in a new random order; times are CPU seconds, ratios are
paired within a round, and the median over rounds is shown with the smallest and largest. Inputs
are whitened noise, the net is the paper's AlexNet, the norm is l2. All contestants are asked for
the same steps, and the size of their perturbations is checked. A rival that is not installed is
left out; ratios are to torchattacks, or without it to snlib.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable

import recording
import torch
from torch import Tensor, nn

from snlib.attacks import fgm, pgm
from snlib.models import build

PEERS = {
    "torchattacks": "3.5.1",
    "foolbox": "3.3.4",
    "adversarial-robustness-toolbox": "1.20.1",
    "cleverhans": "4.0.0",
}
EPS = 2.433
SPAN = 64.0  # torchattacks clamps to [0, 1]; x / SPAN + 1/2 keeps clear of both ends


Run = Callable[[], Tensor]


def torchattacks(net: nn.Module, x: Tensor, y: Tensor, steps: int, step: float) -> Run:
    import torchattacks as rival

    class Boxed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, z: Tensor) -> Tensor:
            return self.net((z - 0.5) * SPAN)

    attack = rival.PGDL2(
        Boxed().eval(), eps=EPS / SPAN, alpha=step / SPAN, steps=steps, random_start=False
    )
    boxed = x / SPAN + 0.5
    return lambda: (attack(boxed, y) - 0.5) * SPAN


def foolbox(net: nn.Module, x: Tensor, y: Tensor, steps: int, step: float) -> Run:
    import foolbox as rival

    model = rival.PyTorchModel(net, bounds=(-1e6, 1e6), device="cpu")
    if steps == 1:
        attack = rival.attacks.L2FastGradientAttack()
    else:
        attack = rival.attacks.L2ProjectedGradientDescentAttack(
            abs_stepsize=step, steps=steps, random_start=False
        )
    return lambda: attack(model, x, y, epsilons=EPS)[0]


def art(net: nn.Module, x: Tensor, y: Tensor, steps: int, step: float) -> Run:
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    loss = nn.CrossEntropyLoss()
    wrapped = PyTorchClassifier(net, loss, tuple(x.shape[1:]), 10, device_type="cpu")
    if steps == 1:
        attack = FastGradientMethod(wrapped, norm=2, eps=EPS, batch_size=len(x))
    else:
        attack = ProjectedGradientDescentPyTorch(
            wrapped, norm=2, eps=EPS, eps_step=step, max_iter=steps, num_random_init=0,
            batch_size=len(x), verbose=False,
        )  # fmt: skip
    x_numpy, y_numpy = x.numpy(), y.numpy()
    return lambda: torch.from_numpy(attack.generate(x_numpy, y_numpy))


def cleverhans(net: nn.Module, x: Tensor, y: Tensor, steps: int, step: float) -> Run:
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent

    if steps == 1:
        return lambda: fast_gradient_method(net, x, EPS, 2, y=y)
    return lambda: projected_gradient_descent(
        net, x, EPS, step, steps, 2, y=y, rand_init=False, sanity_checks=False
    )


RIVALS = {
    "torchattacks": ("torchattacks", torchattacks),
    "foolbox": ("foolbox", foolbox),
    "ART": ("adversarial-robustness-toolbox", art),
    "cleverhans": ("cleverhans", cleverhans),
}


def contestants(
    net: nn.Module, x: Tensor, y: Tensor, steps: int, absent: list[str]
) -> dict[str, Run]:
    """Name -> function that runs the attack once and returns x_adv."""
    step = EPS if steps == 1 else 2 * EPS / steps

    def ours(x: Tensor, precision: str | None = None) -> Tensor:
        if steps == 1:
            return fgm(net, x, y, EPS, precision=precision)
        return pgm(net, x, y, EPS, steps=steps, precision=precision)

    last = x.contiguous(memory_format=torch.channels_last)
    rivals = {
        name: prepare(net, x, y, steps, step)
        for name, (package, prepare) in RIVALS.items()
        if package not in absent
    }
    return rivals | {
        "snlib": lambda: ours(x),
        "snlib, channels_last": lambda: ours(last),
        "snlib, bfloat16": lambda: ours(x, "bfloat16"),
        "snlib, bfloat16, channels_last": lambda: ours(last, "bfloat16"),
    }


def same_work(x: Tensor, runs: dict[str, Run]) -> None:
    """Stop unless every contestant perturbs by eps (within 1 % in the median)."""
    for name, run in runs.items():
        size = float((run().detach() - x).flatten(1).norm(dim=1).median())
        if abs(size / EPS - 1) > 0.01:
            raise SystemExit(f"{name} perturbs by {size:.4f} instead of {EPS}.")


def measure(runs: dict[str, Run], rounds: int, seed: int) -> dict[str, list[float]]:
    """CPU seconds of every run in every round."""
    order, shuffle = list(runs), random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            start = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--net", default="alexnet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

    net = build(settings.net, in_shape=(3, 28, 28), classes=10).eval()
    generator = torch.Generator().manual_seed(settings.seed)
    x = torch.randn(settings.batch, 3, 28, 28, generator=generator)
    y = torch.randint(0, 10, (settings.batch,), generator=generator)
    absent = recording.missing(PEERS)
    present = [name for name in PEERS if name not in absent]
    reference = "snlib" if "torchattacks" in absent else "torchattacks"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in present)
    print(f"{recording.processor()}, {torch.get_num_threads()} thread(s)")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {versions}")
    print(f"{settings.net}, batch {settings.batch}, {settings.rounds} rounds\n")
    print("| contestant | PGM-15 s | PGM-15 ratio | FGM s | FGM ratio |\n|---|---|---|---|---|")
    columns, rows = [], []
    for steps in (15, 1):
        runs = contestants(net, x, y, steps, absent)
        same_work(x, runs)
        times = measure(runs, settings.rounds, settings.seed)
        column = {}
        where = recording.setting(net=settings.net, batch=settings.batch, steps=steps)
        for name, seconds in times.items():
            ratios = [a / b for a, b in zip(seconds, times[reference], strict=True)]
            column[name] = (
                f"{statistics.median(seconds):.3f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            )
            rows += [
                recording.row(name, where, "seconds", statistics.median(seconds),
                              min(seconds), max(seconds), settings.rounds),
                recording.row(name, where, "ratio", statistics.median(ratios),
                              min(ratios), max(ratios), settings.rounds),
            ]  # fmt: skip
        columns.append(column)
    for name in columns[0]:
        print("| " + " | ".join((name, *columns[0][name], *columns[1][name])) + " |")
    recording.write("attacks", rows, present, recording.folder(settings.record))


if __name__ == "__main__":
    main()
