"""The inner maximisation of TRADES."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snlib.attacks import balls
from snlib.attacks.objectives import (
    PRECISIONS,
    check_inputs,
    check_logits,
    divergence_slope,
    forward,
    input_gradient,
)
from snlib.attacks.path import L1_STEPS, Ball, Clip, Info, attacking, whole
from snlib.attacks.state import Net
from snlib.errors import one_of, positive


def trades_attack(
    net: Net,
    x: Tensor,
    eps: float | Tensor,
    *,
    norm: float = math.inf,
    steps: int = 10,
    step_size: float | Tensor | None = None,
    noise: float = 1e-3,
    generator: torch.Generator | None = None,
    clip: Clip = None,
    l1: str = "steepest",
    precision: str | None = None,
    return_info: bool = False,
    check: bool = True,
) -> Tensor | tuple[Tensor, Info]:
    """Inner maximisation of TRADES: ascend KL( softmax f(x) || softmax f(x') ) over the ball.

    Starts at x + noise * N(0, I), since the gradient at x itself is zero; no labels are used.

    Source: Zhang et al. 2019, Algorithm 1 and the authors' `trades_loss`, with the net in
    evaluation mode and without their clipping to [0, 1] unless `clip` asks for it.

    Args:
        noise: standard deviation of the start, in units of x; the start is projected to the ball.
        net, x, eps, norm, steps, step_size, generator, clip, l1, precision, return_info, check:
            as for `pgm`; the noise is drawn at every call.

    Returns:
        x_adv as x, detached; or (x_adv, Info).

    Raises:
        UserError: as `pgm`.
    """
    norm = balls.as_norm(norm)
    one_of("l1", l1, L1_STEPS)
    one_of("precision", precision, PRECISIONS)
    whole("steps", steps)
    positive("noise", noise, zero=True)
    if check:
        check_inputs(x, None, "predicted")
    x = x.detach()
    with attacking(net, x):
        x = x.clone() if x.is_inference() else x
        ball = Ball(x, eps, norm, step_size, steps, clip, l1, check)
        run = forward(net, precision, x.device)
        with torch.no_grad():
            clean = run(x)
        if check:
            check_logits(clean, x)
        generator = generator or torch.Generator().manual_seed(0)
        start = torch.empty_like(x).copy_(
            torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        )
        gradient = input_gradient(run, divergence_slope(clean))
        x_adv = ball.ascend(gradient, start.mul_(noise), count_zeros=return_info)
    return (x_adv, ball.info()) if return_info else x_adv
