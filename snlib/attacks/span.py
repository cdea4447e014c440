"""l2 attacks on a net that begins with a linear layer, in the coordinates of that layer's rows.

With W (H, d) the layer's weight and g (N, H) the gradient in its output, the gradient in the input
is g W. Steps along it, projections onto an l2 ball around x and WRM's steps thus never leave
x + a W. So it is enough to follow a, and what it adds to the layer's output, a W W^T: once the Gram
matrix W W^T is there, a gradient costs N H^2 multiplications in this layer instead of 2 N H d, and
lengths are known without going back to the input, ||a W||^2 = <a, a W W^T>. The points are those of
the plain attack to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snlib.attacks.objectives import Slope, input_gradient
from snlib.attacks.pullbacks import kind_of, layers_of, rules_of, suits

BLOCK = 128
"""Rows of the Gram matrix made at a time; each block leaves out what is above the diagonal."""

SHAPES = (nn.Flatten, nn.Identity)
"""Layers that give every number of the input on, in the input's order."""

SAVING = 0.8
"""The share of the plain attack's multiplications that the span may need at most."""


class Span:
    """The perturbations a W of x, each kept as (N, 2, H): a, and a W W^T.

    They are added, scaled and compared with 0 as any tensor is.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, output: Tensor, gradient: Callable[[Tensor], Tensor]
    ) -> None:
        self.x, self.weight, self.output, self.behind = x, weight, output, gradient
        self.gram = gram(weight)

    def zero(self) -> Tensor:
        """No perturbation, (N, 2, H)."""
        return self.output.new_zeros(len(self.output), 2, len(self.gram))

    def per_sample(self, value: float | Tensor) -> float | Tensor:
        """A number, or one per sample, to scale perturbations by."""
        return value.reshape(-1, 1, 1) if isinstance(value, Tensor) else value

    def gradient(self, delta: Tensor) -> Tensor:
        """The objective's gradient in the input at x + delta, (N, 2, H), freshly made."""
        found = self.behind(self.output + delta[:, 1])
        return torch.stack((found, found.mm(self.gram)), dim=1)

    @torch.no_grad()
    def reached(self, delta: Tensor) -> Tensor:
        """x + delta as an input of the net, of x's shape and layout."""
        moved = delta[:, 0].mm(self.weight)
        return torch.add(self.x, moved.reshape(self.x.shape), out=torch.empty_like(self.x))


def span_of(
    run: object, x: Tensor, gradients: int, slope: Slope,
    inspect: Callable[[Tensor], None] | None = None,
) -> Span | None:  # fmt: skip
    """The span that an l2 attack on x stays in, where it costs less; else None.

    Args:
        run: the net. Its first layer that is not among `SHAPES` has to be `nn.Linear`.
        x: (N, ...) inputs, float32 or float64 on a CPU.
        gradients: how many the attack will ask for.
        slope, inspect: as for `objectives.input_gradient`.
    """
    layers = layers_of(run)
    first = next((i for i, one in enumerate(layers) if kind_of(one) not in SHAPES), None)
    if first is None or not suits(x) or x.dtype not in (torch.float32, torch.float64):
        return None
    if kind_of(layers[first]) is not nn.Linear or rules_of(layers[: first + 1]) is None:
        return None
    with torch.no_grad():
        flat = nn.Sequential(*layers[:first])(x)
        weight = layers[first].weight.detach()
        if flat.shape != (len(x), weight.shape[1]) or weight.dtype != x.dtype:
            return None  # what the net has to say about that, the plain attack lets it say
        if not pays(len(x), *weight.shape, gradients):
            return None
        output = F.linear(flat, weight, layers[first].bias)
    rest = nn.Sequential(*layers[first + 1 :] or [nn.Identity()])
    return Span(x, weight, output, input_gradient(rest, slope, inspect))


def pays(samples: int, units: int, inputs: int, gradients: int) -> bool:
    """Whether following the span takes clearly fewer multiplications than the plain attack."""
    once = inputs * units * (units + BLOCK) // 2 + 2 * samples * inputs * units
    return once + gradients * samples * units**2 < SAVING * gradients * 2 * samples * inputs * units


def gram(weight: Tensor) -> Tensor:
    """W W^T (H, H) of W (H, d); what is above the blocks of its diagonal is copied from below."""
    rows = len(weight)
    made = weight.new_empty(rows, rows)
    for start in range(0, rows, BLOCK):
        end = min(start + BLOCK, rows)
        made[start:end, :end] = weight[start:end].mm(weight[:end].t())
        made[:start, start:end] = made[start:end, :start].t()
    return made


def lengths(delta: Tensor) -> Tensor:
    """||a W||_2 of (N, 2, H), in float64 so that float32 squares cannot underflow: (N, 1, 1)."""
    squares = (delta[:, 0].double() * delta[:, 1]).sum(1)
    return squares.clamp_(min=0.0).sqrt_()[:, None, None]
