"""Error of sigma against time: ways to the norm of a convolution, on one layer each.

    python -m pip install --no-deps normflows==1.7.3 orthogonium==0.0.4
    OMP_NUM_THREADS=1 python benchmarks/spectral_error.py

The truth is a Golub-Kahan-Lanczos run of our own to a width of 1e-8, which the tests hold against
dense and ARPACK values. Layers have PyTorch's initial weights (the hard case: flat spectra). The
error is signed, estimate / truth - 1: negative is a lower bound. Rivals that raise are shown so.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import recording
import torch
from torch import nn

from snlib.spectral import constrain, operator_norm
from snlib.spectral.budget import budget_of
from snlib.spectral.certificates import lanczos
from snlib.spectral.operators import Operator

RIVALS = {"normflows": "1.7.3", "orthogonium": "0.0.4"}
LAYERS = {
    "3->96, 5x5, 28": (lambda: nn.Conv2d(3, 96, 5, padding=2, bias=False), (3, 28, 28)),
    "96->256, 5x5, 13": (lambda: nn.Conv2d(96, 256, 5, padding=2, bias=False), (96, 13, 13)),
    "64->128, 3x3 / 2, 32": (lambda: nn.Conv2d(64, 128, 3, 2, 1, bias=False), (64, 32, 32)),
}


def tracked(layer: nn.Module, shape: tuple[int, ...], **options: object) -> float:
    """sigma as `constrain` starts with it."""
    constrain(nn.Sequential(layer), 1.0, shape, **options)
    return float(budget_of(layer).sigma(layer.parametrizations.weight.original.detach()))


def torch_reshaped(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """torch's own parametrization divides by its sigma: read it off the weight."""
    before = layer.weight.detach().norm()
    nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=20)
    return float(before / layer.weight.detach().norm())


def normflows(layer: nn.Module, shape: tuple[int, ...], iterations: int) -> float:
    """normflows' convolutional power iteration, as in residual flows."""
    from normflows.nets.lipschitz import InducedNormConv2d

    rival = InducedNormConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        False,
        coeff=1e-3,
        n_iterations=iterations,
    )
    rival.weight.data.copy_(layer.weight.detach())
    rival(torch.randn(1, *shape))
    rival.compute_weight(update=True, n_iterations=iterations)
    return float(rival.scale)


def orthogonium(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """An upper bound by Gram iteration in the Fourier domain."""
    from orthogonium.layers.conv.singular_values.delattre24 import compute_delattre2023

    kernel = layer.weight.detach().clone()
    points = shape[-1] + layer.kernel_size[0] - 1
    return float(compute_delattre2023(kernel, n=points, n_iter=6))


WAYS: dict[str, Callable[[nn.Module, tuple[int, ...]], float]] = {
    "ours, tracked from cold": tracked,
    "ours, certificate lanczos, upper": lambda layer, shape: (
        operator_norm(layer, shape, certificate="lanczos").upper
    ),
    "ours, certificate fft, upper": lambda layer, shape: (
        operator_norm(layer, shape, certificate="fft").upper
    ),
    "power iteration, 1": lambda layer, shape: tracked(layer, shape, method="power", steps=1),
    "power iteration, 20": lambda layer, shape: tracked(layer, shape, method="power", steps=20),
    "power iteration, 100": lambda layer, shape: tracked(layer, shape, method="power", steps=100),
    "torch parametrization": torch_reshaped,
    "normflows, 20": lambda layer, shape: normflows(layer, shape, 20),
    "orthogonium, delattre2023 at n + k - 1": orthogonium,
}


def main() -> None:
    """Print one Markdown row a way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    record = parser.parse_args().record
    absent = recording.missing(RIVALS)
    rows = []
    print(
        f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread(s); "
        "error (CPU seconds)\n"
    )
    print("| | " + " | ".join(LAYERS) + " |")
    print("|---" * (1 + len(LAYERS)) + "|")
    truths = {}
    for name, (build, shape) in LAYERS.items():
        torch.manual_seed(0)
        layer = build()
        truths[name] = lanczos(
            Operator(layer, shape), layer.weight.detach().double(), tolerance=1e-8
        ).lower
    for way, estimate in WAYS.items():
        if way.split(",")[0] in absent:
            continue
        cells = []
        for name, (build, shape) in LAYERS.items():
            torch.manual_seed(0)
            layer = build()
            start = time.process_time()
            try:
                error = estimate(layer, shape) / truths[name] - 1
                seconds = time.process_time() - start
                cells.append(f"{error:+.1e} ({seconds:.3f})")
                where = recording.setting(layer=name.replace(" ", "").replace(",", "_"))
                rows.append(recording.row(way, where, "error", error))
                rows.append(recording.row(way, where, "seconds", seconds))
            except (RuntimeError, ValueError, TypeError) as problem:
                cells.append(f"{type(problem).__name__}")
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)
    present = [name for name in RIVALS if name not in absent]
    recording.write("spectral_error", rows, present, recording.folder(record))


if __name__ == "__main__":
    main()
