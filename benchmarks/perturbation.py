"""Do the perturbation inequalities behind Theorems 1 to 4 hold on random networks?

    OMP_NUM_THREADS=1 python benchmarks/perturbation.py --record      # 18,000 nets, about 10 s

Each seed draws networks without biases (2, 3 and 5 layers, ELU and tanh), perturbs their weights,
half of them along the top singular vectors, and compares both sides of the inequalities (a) to (e)
of `snlib.bounds.perturbation` in float64. Recorded of each seed: the smallest log10(right / left),
by which the inequality holds where it is tightest, and how many nets violate it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import recording
import torch
from torch import Tensor

from snlib.bounds import perturbation

ACTIVATIONS = {"elu": torch.nn.functional.elu, "tanh": torch.tanh}
DEPTHS = (2, 3, 5)
WIDTH, INPUTS, CLASSES = 6, 5, 4
RADIUS, EPS, STEPS = 1.5, 0.3, 15  # B, the attacks' radius, PGM's steps


class Nets:
    """Random nets of one depth, the same nets perturbed, and points with ||x|| <= B.

    Args:
        depth: number of layers.
        activation: of `ACTIVATIONS`.
        count: number of nets, independent of each other.
        seed: of all that is random.
    """

    def __init__(self, depth: int, activation: str, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        kind = {"generator": generator, "dtype": torch.float64}
        self.between, self.count = ACTIVATIONS[activation], count
        shapes = [(WIDTH, INPUTS)] + [(WIDTH, WIDTH)] * (depth - 2) + [(CLASSES, WIDTH)]
        self.weights, self.moved, norms, moves = [], [], [], []
        for shape in shapes:
            weight = torch.randn(count, *shape, **kind)
            norm = 0.4 + 1.4 * torch.rand(count, **kind)
            weight *= (norm / torch.linalg.matrix_norm(weight, 2))[:, None, None]
            move = torch.randn(count, *shape, **kind)
            u, _, v = torch.linalg.svd(weight)
            worst = (torch.arange(count) % 2 == 0)[:, None, None]
            move = torch.where(worst, u[:, :, :1] @ v[:, :1, :], move)
            size = 10.0 ** (-4 * torch.rand(count, **kind)) * norm / depth
            move *= (size / torch.linalg.matrix_norm(move, 2))[:, None, None]
            self.weights.append(weight)
            self.moved.append(weight + move)
            norms.append(norm)
            moves.append(size)
        self.sigma, self.size = torch.stack(norms, 1), torch.stack(moves, 1)
        x = torch.randn(count, INPUTS, **kind)
        self.x = RADIUS * x / x.norm(dim=1, keepdim=True) * torch.rand(count, 1, **kind)
        self.y = torch.randint(CLASSES, (count,), generator=generator)

    def logits(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """(count, INPUTS) -> (count, CLASSES)."""
        for index, weight in enumerate(weights):
            x = torch.bmm(weight, x[:, :, None])[:, :, 0]
            if index < len(weights) - 1:
                x = self.between(x)
        return x

    def gradient(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """Of cross-entropy / sqrt(2), which is 1-Lipschitz and 1-smooth in the logits."""
        leaf = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(
            self.logits(weights, leaf), self.y, reduction="sum"
        )
        return torch.autograd.grad(loss / math.sqrt(2), leaf)[0]

    def bound(self, function: Callable[..., float], radius: Tensor | float) -> Tensor:
        """function(sigma, moved, radius) of every net."""
        radii = torch.as_tensor(radius, dtype=torch.float64).expand(self.count).tolist()
        rows = zip(self.sigma.tolist(), self.size.tolist(), radii, strict=True)
        return each(function, rows)

    def lip(self) -> Tensor:
        """Lip = P S of every net."""
        return each(perturbation.lipschitz_of_gradient, ([row] for row in self.sigma.tolist()))


def each(function: Callable[..., float], rows) -> Tensor:
    """`function` of every row of arguments."""
    return torch.tensor([function(*row) for row in rows], dtype=torch.float64)


def fgm(nets: Nets, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(perturbation, gradient norm)."""
    g = nets.gradient(weights, nets.x)
    return EPS * g / g.norm(dim=1, keepdim=True), g.norm(dim=1)


def pgm(nets: Nets, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(perturbation, smallest gradient norm on the way)."""
    d, low = torch.zeros_like(nets.x), torch.full((nets.count,), math.inf, dtype=torch.float64)
    for _ in range(STEPS):
        g = nets.gradient(weights, nets.x + d)
        low = torch.minimum(low, g.norm(dim=1))
        d = d + 2 * EPS / STEPS * g / g.norm(dim=1, keepdim=True)
        d = d * (EPS / d.norm(dim=1, keepdim=True)).clamp(max=1.0)
    return d, low


def wrm(nets: Nets, weights: list[Tensor], penalty: Tensor) -> Tensor:
    """The exact perturbation: the fixed point of a contraction by 2/3."""
    d = torch.zeros_like(nets.x)
    for _ in range(120):
        d = nets.gradient(weights, nets.x + d) / penalty[:, None]
    return d


def sides(nets: Nets) -> dict[str, tuple[Tensor, Tensor]]:
    """Left and right side of every inequality, each (count,)."""
    lip, change = nets.lip(), nets.bound(perturbation.gradient_change, RADIUS)
    both = (nets.weights, nets.moved)
    outputs = [nets.logits(weights, nets.x) for weights in both]
    gradients = [nets.gradient(weights, nets.x) for weights in both]
    found = {
        "a outputs": (outputs, nets.bound(perturbation.output_change, RADIUS)),
        "b gradients": (gradients, change),
    }
    (one, low), (other, small) = (fgm(nets, weights) for weights in both)
    kappa = torch.minimum(low, small).tolist()
    arguments = zip(change.tolist(), [EPS] * nets.count, kappa, strict=True)
    found["c FGM"] = ((one, other), each(perturbation.fgm_change, arguments))
    penalty = 1.5 * lip
    steps = [wrm(nets, weights, penalty) for weights in both]
    reach = RADIUS + torch.maximum(*(step.norm(dim=1) for step in steps))
    moved = nets.bound(perturbation.gradient_change, reach)
    arguments = zip(moved.tolist(), penalty.tolist(), lip.tolist(), strict=True)
    found["d WRM"] = (steps, each(perturbation.wrm_change, arguments))
    (one, low), (other, small) = (pgm(nets, weights) for weights in both)
    change = nets.bound(perturbation.gradient_change, RADIUS + EPS).tolist()
    kappa = torch.minimum(low, small).tolist()
    for name, form in (("e PGM", "rigorous"), ("e PGM, recalled form", "paper")):
        arguments = (
            (e, 2 * EPS / STEPS, k, top, STEPS, form)
            for e, k, top in zip(change, kappa, lip.tolist(), strict=True)
        )
        found[name] = ((one, other), each(perturbation.pgm_change, arguments))
    return {
        name: ((there - here).norm(dim=1), right) for name, ((here, there), right) in found.items()
    }


def measure(seed: int, count: int) -> dict[str, tuple[float, int]]:
    """The smallest log10(right / left) and the number of violations of every inequality.

    Args:
        seed: of the nets.
        count: nets of each depth and activation.
    """
    slacks: dict[str, list[Tensor]] = {}
    for place, (depth, activation) in enumerate((d, a) for d in DEPTHS for a in ACTIVATIONS):
        nets = Nets(depth, activation, count, 100 * seed + place)
        for name, (left, right) in sides(nets).items():
            slacks.setdefault(name, []).append((right / left).log10())
    return {
        name: (float(torch.cat(parts).min()), int((torch.cat(parts) < 0).sum()))
        for name, parts in slacks.items()
    }


def main() -> None:
    """Print a line an inequality and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--nets", type=int, default=600, help="of each depth and activation")
    parser.add_argument("--record", action="store_true", help="also write the tidy table")
    args = parser.parse_args()
    total = args.nets * len(DEPTHS) * len(ACTIVATIONS)
    rows = []
    for seed in range(args.seeds):
        where = recording.setting(seed=seed, nets=total)
        for name, (slack, violations) in measure(seed, args.nets).items():
            print(f"seed {seed}, {name}: smallest log10 slack {slack:.2f}, violations {violations}")
            rows.append(recording.row(name, where, "smallest log10 slack", slack, repeats=total))
            rows.append(recording.row(name, where, "violations", violations, repeats=total))
    recording.write("perturbation", rows, folder=recording.folder(args.record))


if __name__ == "__main__":
    main()
