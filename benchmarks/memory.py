"""Memory of a run: the largest resident set of its process, by net and training scheme.

    OMP_NUM_THREADS=1 python benchmarks/memory.py

Each combination in a process of its own, forked from one that has imported everything, so that the
pages of the libraries, which all processes share, are left out: 1,000 random training images and
10,000 for testing, a training step of `snlib.fit` at batch 128 under beta = 1.6, and 500 images
measured at once under the training attack, as after every training. PGM and WRM make two steps,
since memory does not grow with their number. Beside it stands what `snlib.costs.memory` expects,
from which the number of runs side by side is chosen (`snlib.room`). No time is measured, so that a
busy machine changes nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

import recording
import torch

from snlib import costs, evaluation, training
from snlib.datasets import Data
from snlib.runs import SCHEMES, Run
from snlib.steps import Step

NETS = {
    "mlp1": (1, 28, 28),
    "elu_net": (1, 28, 28),
    "alexnet": (3, 28, 28),
    "inception": (3, 28, 28),
    "resnet": (3, 28, 28),
}
TRAIN, TEST, MEASURED = 1000, 10_000, 500


def peak() -> float:
    """Largest resident set of this process so far, in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("memory.py reads /proc/self/status, which only Linux has.")


def images(shape: tuple[int, int, int]) -> Data:
    """Random images, as many as a small data set has."""
    generator = torch.Generator().manual_seed(0)
    x, more = (torch.rand(count, *shape, generator=generator) for count in (TRAIN, TEST))
    y, labels = (torch.randint(10, (count,), generator=generator) for count in (TRAIN, TEST))
    parts = (x, y, more[:MEASURED], labels[:MEASURED], more, labels)
    names = tuple("0123456789")
    norm = float(x.flatten(1).norm(dim=1).mean())
    return Data("random", "random images", 10, names, *parts, norm)


def run_of(net: str, scheme: str) -> Run:
    """The run whose memory is measured."""
    data = "mnist" if NETS[net][0] == 1 else "cifar10"
    return Run.of(net=net, scheme=scheme, data=data, beta=1.6, steps=2, train_size=TRAIN)


def use(net: str, scheme: str, answer) -> None:
    """Train a step, measure a batch, and send the largest resident set there was."""
    torch.set_num_threads(1)
    run, data = run_of(net, scheme), images(NETS[net])
    module = training.network_of(run, data).to(memory_format=torch.channels_last)
    optimizer, shuffle = training.optimizer_of(run, module), torch.Generator().manual_seed(0)
    attack = training.attack_of(run, data)
    step = Step(run, module, optimizer, attack, torch.device("cpu"), shuffle, None)
    step(data.x_train[: run.batch_size], data.y_train[: run.batch_size], None)
    module.eval()
    evaluation.accuracy(module, data.x_test[:MEASURED], data.y_test[:MEASURED], attack)
    answer.send(peak())


def measure(net: str, scheme: str) -> float:
    """The largest resident set of one run, in MiB."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=use, args=(net, scheme, there))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--record", action="store_true", help="write to data/results/benchmarks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"| net | {' | '.join(scheme.upper() for scheme in SCHEMES)} | expected |")
    print("|---" * (len(SCHEMES) + 2) + "|")
    for net in options.nets:
        found = {scheme: measure(net, scheme) for scheme in SCHEMES}
        expected = costs.memory(run_of(net, "erm")) / 2**20
        cells = [f"{value:.0f}" for value in (*found.values(), expected)]
        print(f"| {net} | {' | '.join(cells)} |")
        for scheme, value in found.items():
            where = recording.setting(net=net, scheme=scheme, batch=run_of(net, scheme).batch_size)
            rows.append(recording.row("snlib", where, "peak MiB", value))
            rows.append(recording.row("expected", where, "peak MiB", expected))
    print(recording.write("memory", rows, (), recording.folder(options.record)))


if __name__ == "__main__":
    main()
