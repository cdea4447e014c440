"""By how much layers exceed beta = 1 while a network trains: the default against the paper's way.

    OMP_NUM_THREADS=1 python benchmarks/spectral_overshoot.py --root data --data cifar10_lossless

The data may be any folder of images under --root (data/README.md says how it is laid out). A thin
AlexNet trains at batch 64 with momentum SGD (lr 0.01, 0.9) and with Adam (1e-3), once with
the default tracking and once with the paper's one power iteration a step. Every few steps the true
norm of each effective weight is certified from a fresh random start; the table shows the median and
the worst over steps of max(0, norm / beta - 1), all layers together and the two convolutions apart.
"""

from __future__ import annotations

import argparse
import platform
import time

import pandas as pd
import recording
import torch
import torch.nn.functional as F

from snlib import datasets, models
from snlib.spectral import constrain, overshoot, refresh

METHODS = {"default": {}, "power iteration": {"method": "power", "steps": 1}}
OPTIMIZERS = {
    "SGD 0.01, 0.9": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "Adam 1e-3": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}


def train(data, method: str, optimizer: str, args: argparse.Namespace) -> pd.DataFrame:
    """The overshoot of every layer every few steps of one training."""
    net = models.build("alexnet", data.in_shape, data.classes, width=args.width, seed=args.seed)
    constrain(net, args.beta, data.in_shape, **METHODS[method])
    moves = OPTIMIZERS[optimizer](net.parameters())
    generator = torch.Generator().manual_seed(args.seed)
    found, losses, spent = [], [], 0.0
    for step in range(1, args.steps + 1):
        batch = torch.randint(len(data.x_train), (64,), generator=generator)
        loss = F.cross_entropy(net(data.x_train[batch]), data.y_train[batch])
        moves.zero_grad()
        loss.backward()
        moves.step()
        start = time.process_time()
        refresh(net)
        spent += time.process_time() - start
        losses.append(float(loss.detach()))
        if step % args.every == 0:
            found.append(overshoot(net).assign(step=step))
    table = pd.concat(found).assign(method=method, optimizer=optimizer)
    table.attrs["loss"] = sum(losses[-50:]) / len(losses[-50:])
    table.attrs["milliseconds"] = 1e3 * spent / args.steps
    return table


def measured(
    table: pd.DataFrame, optimizer: str, method: str, args: argparse.Namespace
) -> list[dict]:
    """Rows of one training: the overshoot of all layers and of each, and what a refresh takes."""
    name = optimizer.split()[0].lower()
    where = dict(data=args.data, width=args.width, beta=args.beta, steps=args.steps)
    rows = []
    for layer in ("all", *dict.fromkeys(table.layer)):
        part = table.overshoot if layer == "all" else table.overshoot[table.layer == layer]
        text = recording.setting(optimizer=name, seed=args.seed, layer=layer, **where)
        for quantity, value in (("median", part.median()), ("worst", part.max())):
            rows.append(
                recording.row(method, text, f"{quantity} overshoot", value, repeats=len(part))
            )
    text = recording.setting(optimizer=name, seed=args.seed, layer="all", **where)
    for quantity in ("loss", "milliseconds"):
        rows.append(recording.row(method, text, quantity, table.attrs[quantity]))
    return rows


def main() -> None:
    """Print one Markdown row a training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=None)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--optimizer", choices=["sgd", "adam"], help="only this one")
    parser.add_argument("--method", choices=list(METHODS), help="only this one")
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    args = parser.parse_args()
    data = datasets.load(args.data, root=args.root)
    print(
        f"{data.title}, AlexNet x {args.width}, beta {args.beta}, {args.steps} steps, seed "
        f"{args.seed}; torch {torch.__version__}, {platform.machine()}\n"
    )
    print(
        "| optimizer | method | median | worst | conv1 median | conv1 worst | conv2 median "
        "| conv2 worst | loss | ms a refresh | worst at |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for optimizer in OPTIMIZERS:
        for method in METHODS:
            if args.optimizer and not optimizer.lower().startswith(args.optimizer):
                continue
            if args.method and method != args.method:
                continue
            table = train(data, method, optimizer, args)
            names = list(dict.fromkeys(table.layer))
            parts = [table.overshoot] + [table.overshoot[table.layer == name] for name in names[:2]]
            numbers = " | ".join(f"{part.median():.1e} | {part.max():.1e}" for part in parts)
            rows = measured(table, optimizer, method, args)
            recording.write("spectral_overshoot", rows, folder=recording.folder(args.record))
            worst = table.iloc[table.overshoot.argmax()]
            print(
                f"| {optimizer} | {method} | {numbers} | {table.attrs['loss']:.3f} "
                f"| {table.attrs['milliseconds']:.1f} "
                f"| {worst.layer}, step {worst.step} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
