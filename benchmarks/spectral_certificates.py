"""Width of the certified interval on every layer of AlexNet, ResNet-32 and Inception.

    OMP_NUM_THREADS=1 python benchmarks/spectral_certificates.py
    OMP_NUM_THREADS=1 python benchmarks/spectral_certificates.py --data cifar10_lossless --root data

Weights: initial; after a short training; after one under the budget beta = 1, which flattens the
top of the spectra. "rigorous" counts the layers whose upper end holds without a probability; the
others are Lanczos' with a failure probability of 1e-6. The command fails if an interval is wider
than 1 %.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import recording
import torch
from training import SHAPE, images, train

from snlib import models
from snlib.spectral import constrain, layers, operator_norm

NETS = ("alexnet", "resnet", "inception")
STATES = {"initial": (0, None), "trained": (1, None), "trained, beta 1": (1, 1.0)}
WIDEST = 1e-2


def certify(net: torch.nn.Module) -> list[dict[str, object]]:
    """The interval of each layer and what it cost."""
    found = []
    for name, layer, shape in layers(net, SHAPE):
        start = time.process_time()
        norm = operator_norm(layer, shape)
        found.append(
            {
                "layer": name,
                "lower": norm.lower,
                "upper": norm.upper,
                "width": norm.upper / norm.lower - 1,
                "method": norm.method,
                "failure_probability": norm.failure_probability,
                "seconds": time.process_time() - start,
            }
        )
    return found


def main() -> None:
    """Print one row a net and state of its weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root", default=None)
    parser.add_argument("--steps", type=int, default=40, help="of the short training, batch 32")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    args = parser.parse_args()
    x, y = images(args.data, args.root)["train"]
    print(
        f"{recording.machine()}, torch {torch.__version__}; {args.data}, {args.steps} steps of "
        "Adam, batch 32\n"
    )
    columns = ["net", "weights", "layers", "rigorous", "median width", "largest width", "at"]
    print(f"| {' | '.join([*columns, 'CPU s', 'loss'])} |\n{'|---' * (len(columns) + 2)}|")
    widest = 0.0
    for name in args.nets:
        for state, (trainings, beta) in STATES.items():
            net, loss = models.build(name, SHAPE), None
            if beta is not None:
                constrain(net, beta, SHAPE)
            if trainings:
                loss = train(net, x, y, args.steps)
            found = certify(net.eval())
            widths = sorted(row["width"] for row in found)
            largest = max(found, key=lambda row: row["width"])
            widest = max(widest, largest["width"])
            rigorous = sum(row["failure_probability"] == 0 for row in found)
            seconds = sum(row["seconds"] for row in found)
            print(
                f"| {name} | {state} | {len(found)} | {rigorous} | {widths[len(widths) // 2]:.1e} "
                f"| {100 * largest['width']:.2f} % | {largest['layer']} | {seconds:.1f} "
                f"| {'' if loss is None else f'{loss:.2f}'} |",
                flush=True,
            )
            record(
                found,
                recording.folder(args.record),
                data=args.data,
                net=name,
                weights=state,
                steps=args.steps,
            )
    if widest >= WIDEST * (1 + 1e-6):
        raise SystemExit(f"The widest interval is {widest:.2e}; it must be at most {WIDEST}.")


def record(found: list[dict[str, object]], folder: Path, **where: object) -> None:
    """Write each layer's interval, the method as contestant."""
    where = {key: str(value).replace(", ", "_").replace(" ", "=") for key, value in where.items()}
    rows = []
    for row in found:
        text = recording.setting(**where, layer=row["layer"])
        rows += [
            recording.row(row["method"], text, quantity, row[quantity])
            for quantity in ("lower", "upper", "width", "failure_probability", "seconds")
        ]
    recording.write("spectral_certificates", rows, folder=folder)


if __name__ == "__main__":
    main()
