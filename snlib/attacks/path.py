"""What attacks share: the context they run in, the allowed set around x, the steps in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from snlib.attacks import balls
from snlib.attacks.span import Span, lengths
from snlib.attacks.state import Net, untouched
from snlib.errors import UserError, fitting, positive, require

Clip = tuple[float | Tensor, float | Tensor] | None
L1_STEPS = ("steepest", "gradient")


class Info(NamedTuple):
    """What an attack met on its way.

    Attributes:
        zero_gradient: (N,) int64, the number of steps at which a sample's gradient was exactly
            zero; the sample did not move then.
        gradients: input gradients computed, one per sample and step.
    """

    zero_gradient: Tensor
    gradients: int


@contextmanager
def attacking(net: Net, x: Tensor) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on; everything back in place afterwards."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(untouched(net, x.device))
        stack.enter_context(fitting(net, x.shape, x.dtype))
        yield


class Ball:
    """The set of allowed points around x and the steps inside it: one object per attack call."""

    def __init__(
        self, x: Tensor, eps: float | Tensor, norm: float, step_size: float | Tensor | None,
        steps: int, clip: Clip, l1: str, check: bool,
    ) -> None:  # fmt: skip
        self.x, self.norm, self.steps, self.l1 = x, norm, steps, l1
        self.eps = radius("eps", eps, x)
        length = 2.0 * self.eps / steps if step_size is None else radius("step_size", step_size, x)
        self.radius = balls.inner_radius(self.eps, x.dtype)
        self.length = length.to(x.dtype) if isinstance(length, Tensor) else length
        self.zeros: Tensor | None = None
        self.gradients = 0
        low, high = box(x, clip, check) if clip is not None else (None, None)
        if norm == balls.INF:
            inner, outer = balls.border(x, self.eps)
            low = inner if low is None else torch.maximum(inner, low)
            high = outer if high is None else torch.minimum(outer, high)
        self.low, self.high = low, high

    def random(self, generator: torch.Generator) -> Tensor:
        """A start drawn uniformly from the norm ball (before clipping)."""
        return balls.uniform(self.x, self.radius, self.norm, generator)

    def ascend(
        self, gradient: Callable[[Tensor], Tensor], start: Tensor | None, *, count_zeros: bool
    ) -> Tensor:
        """Take all steps from x + start and return the last point, inside the ball for certain."""
        x = self.x
        z = x.clone() if start is None else self._inside(x + start)
        for _ in range(self.steps):
            slope = gradient(z)
            z = z.detach()
            if count_zeros:
                self._count(slope)
            direction = balls.steepest(slope, self.norm, self.l1)
            if isinstance(self.length, Tensor):
                direction = direction.mul_(self.length)
                z = self._inside(z.add_(direction))
            else:
                z = self._inside(z.add_(direction, alpha=self.length))
        return z if self.norm == balls.INF else balls.enforce(x, z, self.eps, self.norm)

    def ascend_in(self, span: Span, *, count_zeros: bool) -> Tensor:
        """Take all steps of norm 2 from x without clipping, in the coordinates of `span`."""
        delta = span.zero()
        length, reach = span.per_sample(self.length), span.per_sample(self.radius)
        for _ in range(self.steps):
            slope = span.gradient(delta)
            if count_zeros:
                self._count(slope)
            delta.add_(balls.unit(slope, lengths(slope)).mul_(length))
            delta = balls.shrink(delta, lengths(delta), reach)
        return balls.enforce(self.x, span.reached(delta), self.eps, self.norm)

    def info(self) -> Info:
        """Counts over all calls of `ascend`."""
        return Info(self.zeros, self.gradients)

    def _count(self, slope: Tensor) -> None:
        """Note a gradient of each sample, and which of them are zero."""
        zero = (slope == 0).flatten(1).all(1)
        self.zeros = zero.long() if self.zeros is None else self.zeros + zero
        self.gradients += len(slope)

    def _inside(self, z: Tensor) -> Tensor:
        """Project z to the ball, then to the box; the box contains x, so the ball is not left."""
        if self.norm != balls.INF:
            z = self.x + balls.project(z.sub_(self.x), self.radius, self.norm, self.l1)
        if self.low is not None:
            z = torch.maximum(torch.minimum(z, self.high, out=z), self.low, out=z)
        return z


def whole(name: str, value: int, *, zero: bool = False) -> None:
    """Require a whole number >= 1 (or >= 0)."""
    least = 0 if zero else 1
    require(
        isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"{name} is {value!r}; it must be a whole number >= {least}.",
    )


def radius(name: str, value: float | Tensor, x: Tensor) -> float | Tensor:
    """A number >= 0, or one per sample as a float64 tensor (N, 1, ..., 1)."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return positive(name, value, zero=True)
    require(
        value.shape == (len(x),),
        f"{name} has shape {tuple(value.shape)}; it must be a number or ({len(x)},), one per "
        "sample of x.",
    )
    worst = float(value.amin()) if len(x) else 0.0
    require(
        worst >= 0.0 and bool(value.isfinite().all()),
        f"{name} holds {worst}; every sample needs a finite number >= 0.",
    )
    return balls.per_sample(value.detach().to(x.device, torch.float64), x)


def box(x: Tensor, clip: Clip, check: bool) -> tuple[Tensor, Tensor]:
    """The clip as two tensors of x's shape, widened by rounding so that x lies inside."""
    if not (isinstance(clip, tuple | list) and len(clip) == 2):  # `require` would write each out
        raise UserError(f"clip is {clip!r}; give (low, high), or None.")
    low, high = (torch.as_tensor(side, dtype=x.dtype, device=x.device) for side in clip)
    if check:
        slack = 1e-5 * (high - low).abs()
        outside = int(((x < low - slack) | (x > high + slack)).flatten(1).any(1).sum())
        require(
            outside == 0,
            f"clip leaves {outside} of {len(x)} samples of x outside; give the box in the units "
            "of x (after whitening: pixel_box), or clip=None.",
        )
    return torch.minimum(low, x), torch.maximum(high, x)
