"""An epoch of PGM-15 on the paper's AlexNet by precision, captured as a CUDA graph or not.

    python benchmarks/gpu_epoch.py --device cuda --record          # everything, about 10 minutes
    python benchmarks/gpu_epoch.py --only accuracy --data cifar10_jpeg --root data

Times are on random images, which cost what others cost: an epoch is 390 steps of batch 128 under
beta 1.6, with the attack aimed at true labels. The floor of its arithmetic is 33 forward passes
(15 forward and backward passes of the attack, 3 of the training pass) of 226 MFLOP an image. The
effect of the precision is the difference in test accuracy to float32 of the same seed after a short
training with FGM, evaluated in float32: mean and 95 % t interval over the seeds.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import recording
import torch

from snlib import datasets, training
from snlib.datasets import Data
from snlib.evaluation import accuracy
from snlib.experiments import grid
from snlib.runs import Run
from snlib.steps import Step

FLOP = 226e6  # of a forward pass of the paper's AlexNet, an image
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The 0.975 quantile of Student's t by the number of seeds."""


def random_images(count: int, side: int) -> Data:
    """Images that no one has to download."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 3, side, side, generator=generator)
    y = torch.randint(10, (count,), generator=generator)
    names = tuple("0123456789")
    return Data("random", "random", 10, names, x, y, x, y, x, y, float(x[0].norm()))


def seconds_a_step(options: argparse.Namespace, precision: str, capture: bool) -> dict[str, float]:
    """Median seconds of a step, those of the first (with its recording), peak memory in GiB."""
    device = torch.device(options.device)
    settings = dict(width=options.width, precision=precision, attack_labels="true", eps=2.433)
    settings |= dict(beta=1.6, steps=options.attack_steps, data="cifar10")
    run = grid(settings, (0,), scheme="pgm")[0]
    data = random_images(options.batch, options.side)
    net = training.network_of(run, data).to(device, memory_format=torch.channels_last).train()
    optimizer, attack = training.optimizer_of(run, net), training.attack_of(run, data)
    step = Step(run, net, optimizer, attack, device, torch.Generator(), capture=capture)
    x = data.x_train.to(device, memory_format=torch.channels_last)
    y = data.y_train.to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(options.rounds + 1):
        begun = time.perf_counter()
        step(x, y)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else math.nan
    return {"step": statistics.median(taken[1:]), "first": taken[0], "peak": peak}


def measure_epochs(options: argparse.Namespace, precisions: list[str]) -> list[dict]:
    """Print and return the time of an epoch by precision and capture."""
    rows = []
    cuda = torch.device(options.device).type == "cuda"
    flop = (2 * options.attack_steps + 3) * FLOP * 50_000
    for precision in precisions:
        for capture in (False, True) if cuda else (False,):
            found = seconds_a_step(options, precision, capture)
            epoch = found["step"] * (50_000 // options.batch)
            name = precision + (", captured" if capture else "")
            rate = flop / epoch / 1e12
            print(
                f"{name:20} epoch {epoch:8.2f} s   {rate:7.2f} TFLOP/s at full width   "
                f"first step {found['first']:.2f} s   peak memory {found['peak']:.2f} GiB"
            )
            setting = recording.setting(
                net="alexnet", batch=options.batch, width=options.width, scheme="pgm",
                steps=options.attack_steps, side=options.side,
                device=torch.device(options.device).type,
            )  # fmt: skip
            rows.append(recording.row(name, setting, "epoch_seconds", epoch))
            if cuda:
                rows.append(recording.row(name, setting, "peak_memory_gib", found["peak"]))
    return rows


def accuracies(options: argparse.Namespace, precisions: list[str]) -> dict[str, list[float]]:
    """Test accuracy, clean and under FGM, by precision, a seed after the other."""
    found: dict[str, list[tuple[float, float]]] = {}
    data = datasets.load(options.data, root=options.root, train_size=options.images)
    for seed in range(options.seeds):
        for precision in precisions:
            run = Run.of(
                data=options.data, train_size=options.images, net="alexnet", width=options.width,
                scheme="fgm", beta=1.6, epochs=options.epochs, seed=seed, precision=precision,
                learning_rate=0.05,
            )  # fmt: skip
            fitted = training.fit(run, data, device=options.device, capture=False)
            x = data.x_test[: options.test].to(options.device)
            y = data.y_test[: options.test].to(options.device)
            attack = training.attack_of(run, data)
            pair = accuracy(fitted.net, x, y), accuracy(fitted.net, x, y, attack)
            print(f"  seed {seed} {precision:9} clean {pair[0]:.4f} under FGM {pair[1]:.4f}")
            found.setdefault(precision, []).append(pair)
    return found


def measure_accuracy(options: argparse.Namespace, precisions: list[str]) -> list[dict]:
    """Print and return the difference to float32, with its interval."""
    found = accuracies(options, precisions)
    rows = []
    setting = recording.setting(
        net="alexnet", width=options.width, data=options.data, images=options.images,
        epochs=options.epochs, scheme="fgm", test=options.test,
        device=torch.device(options.device).type,
    )  # fmt: skip
    for precision in precisions[1:]:
        for index, quantity in enumerate(("clean", "under_fgm")):
            pairs = zip(found[precision], found["float32"], strict=True)
            gaps = [own[index] - exact[index] for own, exact in pairs]
            mean, half = statistics.mean(gaps), math.nan
            if len(gaps) in T_95:
                half = T_95[len(gaps)] * statistics.stdev(gaps) / math.sqrt(len(gaps))
            print(
                f"{precision} - float32, {quantity}: {100 * mean:+.2f} +- {100 * half:.2f} points"
            )
            rows.append(
                recording.row(
                    precision, setting, f"accuracy_difference_{quantity}", mean, mean - half,
                    mean + half, len(gaps),
                )
            )  # fmt: skip
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["epoch", "accuracy"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--side", type=int, default=28, help="pixels of the timed images")
    parser.add_argument("--attack-steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=20, help="timed steps")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root")
    parser.add_argument("--images", type=int, default=1000, help="trained on")
    parser.add_argument("--test", type=int, default=2000, help="images of the test, at most")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write to data/results/benchmarks")
    options = parser.parse_args(arguments)
    cuda = torch.device(options.device).type == "cuda"
    precisions = ["float32", "tf32", "bfloat16"] if cuda else ["float32", "bfloat16"]
    rows = []
    if options.only != "accuracy":
        rows += measure_epochs(options, precisions)
    if options.only != "epoch":
        rows += measure_accuracy(options, precisions)
    print(recording.write("gpu_epoch", rows, (), recording.folder(options.record)))


if __name__ == "__main__":
    main()
