"""Time of PGM-15 and FGM against four libraries, interleaved in one process.

    python -m pip install --no-deps torchattacks==3.5.1 cleverhans==4.0.0
    OMP_NUM_THREADS=1 python benchmarks/attacks.py --batch 32 --rounds 7

(The first line with --no-deps: torchattacks pins an old requests, cleverhans asks for TensorFlow.)
Every round runs every contestant once, in a new random order; times are CPU seconds, ratios are
paired within a round, and the median over rounds is shown with the smallest and largest. Inputs
are whitened noise, the net is the paper's AlexNet, the norm is l2. That all contestants do the
same work is checked: same steps, same perturbation size.
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

import recording
import torch

from snlib.attacks import fgm, pgm
from snlib.models import build

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox", "cleverhans")
SPAN = 64.0  # torchattacks clamps to [0, 1]; x / SPAN + 1/2 keeps clear of both ends


def contestants(net, x, y, eps: float, steps: int) -> dict:
    """Name -> function that runs the attack once and returns x_adv."""
    import foolbox
    import torchattacks
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent

    step = eps if steps == 1 else 2 * eps / steps

    class Boxed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, z):
            return self.net((z - 0.5) * SPAN)

    theirs = torchattacks.PGDL2(
        Boxed().eval(), eps=eps / SPAN, alpha=step / SPAN, steps=steps, random_start=False
    )
    boxed = x / SPAN + 0.5
    model = foolbox.PyTorchModel(net, bounds=(-1e6, 1e6), device="cpu")
    if steps == 1:
        fool = foolbox.attacks.L2FastGradientAttack()
    else:
        fool = foolbox.attacks.L2ProjectedGradientDescentAttack(
            abs_stepsize=step, steps=steps, random_start=False
        )
    loss = torch.nn.CrossEntropyLoss()
    wrapped = PyTorchClassifier(net, loss, tuple(x.shape[1:]), 10, device_type="cpu")
    if steps == 1:
        art = FastGradientMethod(wrapped, norm=2, eps=eps, batch_size=len(x))
    else:
        art = ProjectedGradientDescentPyTorch(
            wrapped, norm=2, eps=eps, eps_step=step, max_iter=steps, num_random_init=0,
            batch_size=len(x), verbose=False,
        )  # fmt: skip
    x_numpy, y_numpy = x.numpy(), y.numpy()

    def clever():
        if steps == 1:
            return fast_gradient_method(net, x, eps, 2, y=y)
        return projected_gradient_descent(
            net, x, eps, step, steps, 2, y=y, rand_init=False, sanity_checks=False
        )

    def ours(x, **options):
        if steps == 1:
            return fgm(net, x, y, eps, **options)
        return pgm(net, x, y, eps, steps=steps, **options)

    last = x.contiguous(memory_format=torch.channels_last)
    return {
        "torchattacks": lambda: (theirs(boxed, y) - 0.5) * SPAN,
        "foolbox": lambda: fool(model, x, y, epsilons=eps)[0],
        "ART": lambda: torch.from_numpy(art.generate(x_numpy, y_numpy)),
        "cleverhans": clever,
        "snlib": lambda: ours(x),
        "snlib, channels_last": lambda: ours(last),
        "snlib, bfloat16": lambda: ours(x, precision="bfloat16"),
        "snlib, bfloat16, channels_last": lambda: ours(last, precision="bfloat16"),
    }


def same_work(x, runs: dict, eps: float) -> None:
    """Stop unless every contestant perturbs by eps (within 1 % in the median)."""
    for name, run in runs.items():
        size = float((run().detach() - x).flatten(1).norm(dim=1).median())
        if abs(size / eps - 1) > 0.01:
            raise SystemExit(f"{name} perturbs by {size:.4f} instead of {eps}.")


def measure(runs: dict, rounds: int, seed: int) -> dict[str, list[float]]:
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
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    print(f"{recording.processor()}, {torch.get_num_threads()} thread(s)")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {versions}")
    print(f"{settings.net}, batch {settings.batch}, {settings.rounds} rounds\n")
    print("| contestant | PGM-15 s | PGM-15 ratio | FGM s | FGM ratio |\n|---|---|---|---|---|")
    columns, rows = [], []
    for steps in (15, 1):
        runs = contestants(net, x, y, 2.433, steps)
        same_work(x, runs, 2.433)
        times = measure(runs, settings.rounds, settings.seed)
        column = {}
        where = recording.setting(net=settings.net, batch=settings.batch, steps=steps)
        for name, seconds in times.items():
            ratios = [a / b for a, b in zip(seconds, times["torchattacks"], strict=True)]
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
    if settings.record:
        recording.write("attacks", rows, PEERS)


if __name__ == "__main__":
    main()
