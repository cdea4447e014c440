"""Verdicts of attacks made in bfloat16 and scored in float32, against attacks made in float32.

    OMP_NUM_THREADS=1 python benchmarks/attack_verdicts.py
    OMP_NUM_THREADS=1 python benchmarks/attack_verdicts.py --data cifar10_lossless --root data

The paper's AlexNet after a short training; PGM-15 at several radii (l2, shares of the mean norm of
the test images) on 256 test images. A verdict is whether the attacked image is classified as its
label, always decided in float32; clean predictions made in bfloat16 are compared beside them.
"""

from __future__ import annotations

import argparse

import recording
import torch
from torch import Tensor
from training import SHAPE, images, train

from snlib import models
from snlib.attacks import pgm

RATIOS = (0.01, 0.025, 0.05, 0.1)


def main() -> None:
    """Print one row a radius."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root", default=None)
    parser.add_argument("--steps", type=int, default=150, help="of the short training, batch 32")
    parser.add_argument("--count", type=int, default=256, help="test images")
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    args = parser.parse_args()
    splits = images(args.data, args.root)
    net = models.build("alexnet", SHAPE)
    loss = train(net, *splits["train"], args.steps)
    net.eval()
    x, y = (part[: args.count] for part in splits["test"])
    mean_norm = float(x.flatten(1).norm(dim=1).mean())

    @torch.no_grad()
    def right(points: Tensor) -> Tensor:
        return torch.cat([net(part) for part in points.split(64)]).argmax(1) == y

    def attacked(eps: float, precision: str | None) -> Tensor:
        parts = zip(x.split(64), y.split(64), strict=True)
        return torch.cat([pgm(net, *part, eps, precision=precision) for part in parts])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = right(x)
    print(
        f"{recording.machine()}, torch {torch.__version__}; {args.data}, {args.steps} steps, loss "
        f"{loss:.2f}; {len(x)} test images, accuracy {float(right(x).double().mean()):.3f}; scored "
        f"in bfloat16 {int((low != right(x)).sum())} clean verdicts differ\n"
    )
    print(
        "| eps | accuracy, float32 | accuracy, bfloat16 | verdicts that differ |\n|---|---|---|---|"
    )
    for ratio in RATIOS:
        eps = ratio * mean_norm
        exact, fast = (right(attacked(eps, precision)) for precision in (None, "bfloat16"))
        changed = int((exact != fast).sum())
        accuracies = [float(verdicts.double().mean()) for verdicts in (exact, fast)]
        print(
            f"| {eps:.2f} | {accuracies[0]:.3f} | {accuracies[1]:.3f} | {changed} of {len(x)} |",
            flush=True,
        )
        where = recording.setting(data=args.data, steps=args.steps, ratio=ratio, images=len(x))
        numbers = {"accuracy, float32": accuracies[0], "accuracy, bfloat16": accuracies[1]}
        numbers["verdicts that differ"] = changed
        rows = [recording.row("snlib", where, name, value) for name, value in numbers.items()]
        recording.write("attack_verdicts", rows, folder=recording.folder(args.record))


if __name__ == "__main__":
    main()
