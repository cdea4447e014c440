"""WRM: ascent against a quadratic penalty instead of inside a ball."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snlib.attacks.objectives import (
    PRECISIONS,
    check_inputs,
    check_logits,
    forward,
    input_gradient,
    slope_of,
)
from snlib.attacks.path import Clip, Info, attacking, box, radius, whole
from snlib.attacks.span import span_of
from snlib.attacks.state import Net
from snlib.errors import one_of, positive, require


def wrm(
    net: Net,
    x: Tensor,
    y: Tensor | None,
    *,
    eps: float | Tensor | None = None,
    wrm_gamma: float | None = None,
    steps: int = 15,
    labels: str = "true",
    clip: Clip = None,
    precision: str | None = None,
    return_info: bool = False,
    check: bool = True,
) -> Tensor | tuple[Tensor, Info]:
    """Wasserstein risk attack: ascend loss(x') - wrm_gamma ||x' - x||^2 (cross-entropy).

    1 + `steps` gradients: x_0 = x + eps grad loss(x), then for t = 0 .. steps - 1
    x_{t+1} = x_t + (t + 2)^{-1/2} [ eps grad loss(x_t) - (x_t - x) ]. There is no ball: the
    penalty alone limits the perturbation; with `clip` every x_t is cut to the box, too.

    Source: Sinha et al. 2018 (`attacks_tf.wrm`) and `adversarial.wrm` of the paper's code.

    Args:
        eps: step of the ascent in units of x^2 per nat, eps = 1 / (2 wrm_gamma); a number or (N,).
        wrm_gamma: the penalty, in nats per unit of x squared. Exactly one of the two.
        net, x, y, labels, clip, precision, return_info, check: as for `pgm`.

    Returns:
        x_adv as x, detached; or (x_adv, Info).

    Raises:
        UserError: if none or both of eps and wrm_gamma are given, or as `pgm`.
    """
    require(
        (eps is None) != (wrm_gamma is None),
        f"eps is {eps} and wrm_gamma is {wrm_gamma}; give exactly one, eps = 1 / (2 wrm_gamma).",
    )
    one_of("precision", precision, PRECISIONS)
    whole("steps", steps, zero=True)
    eps = 1.0 / (2.0 * positive("wrm_gamma", wrm_gamma)) if eps is None else eps
    if check:
        check_inputs(x, y, labels)
    x = x.detach()
    with attacking(net, x):
        x = x.clone() if x.is_inference() else x
        strength = radius("eps", eps, x)
        if isinstance(strength, Tensor):
            strength = strength.to(x.dtype)
        run = forward(net, precision, x.device)
        y = y if labels == "true" else None  # then the first step, at x itself, tells them
        inspect = (lambda logits: check_logits(logits, x, y)) if check else None
        ascended = slope_of("cross_entropy", y)
        span = span_of(run, x, steps + 1, ascended, inspect) if clip is None else None
        if span is not None:
            delta, at, reached = span.zero(), span.gradient, span.reached
            strength = span.per_sample(strength)
        else:
            gradient = input_gradient(run, ascended, inspect)
            delta, at, reached = torch.zeros_like(x), lambda delta: gradient(x + delta), x.add
        zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        low, high = box(x, clip, check) if clip is not None else (None, None)
        for t in range(-1, steps):
            slope = at(delta)
            if return_info:
                zeros += (slope == 0).flatten(1).all(1)
            slope.mul_(strength).sub_(delta)
            delta.add_(slope, alpha=1.0 if t < 0 else 1.0 / math.sqrt(t + 2.0))
            if low is not None:
                delta = (x + delta).clamp_(low, high).sub_(x)
        x_adv = reached(delta)
        if low is not None:  # the sum above may round to the next number
            x_adv = x_adv.clamp_(low, high)
    return (x_adv, Info(zeros, len(x) * (steps + 1))) if return_info else x_adv
