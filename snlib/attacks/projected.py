"""FGM and PGM: normalised gradient steps inside a norm ball."""

from __future__ import annotations

import torch
from torch import Tensor

from snlib.attacks import balls
from snlib.attacks.objectives import (
    LOSSES,
    PRECISIONS,
    check_inputs,
    check_logits,
    forward,
    input_gradient,
    slope_of,
)
from snlib.attacks.path import L1_STEPS, Ball, Clip, Info, attacking, whole
from snlib.attacks.span import span_of
from snlib.attacks.state import Net
from snlib.errors import one_of, require


def fgm(
    net: Net,
    x: Tensor,
    y: Tensor | None,
    eps: float | Tensor,
    *,
    norm: float = 2,
    labels: str = "true",
    loss: str = "cross_entropy",
    targeted: bool = False,
    clip: Clip = None,
    l1: str = "steepest",
    precision: str | None = None,
    return_info: bool = False,
    check: bool = True,
) -> Tensor | tuple[Tensor, Info]:
    """Fast gradient method: one step of length eps in the direction of steepest ascent.

    Source: Goodfellow et al. 2015; `adversarial.fgm` of the paper's code for norms 2 and inf with
    labels="predicted". Arguments, result and errors are those of `pgm`.
    """
    return pgm(
        net, x, y, eps, norm=norm, steps=1, step_size=eps, labels=labels, loss=loss,
        targeted=targeted, clip=clip, l1=l1, precision=precision, return_info=return_info,
        check=check,
    )  # fmt: skip


def pgm(
    net: Net,
    x: Tensor,
    y: Tensor | None,
    eps: float | Tensor,
    *,
    norm: float = 2,
    steps: int = 15,
    step_size: float | Tensor | None = None,
    labels: str = "true",
    loss: str = "cross_entropy",
    random_start: bool = False,
    restarts: int = 1,
    targeted: bool = False,
    clip: Clip = None,
    l1: str = "steepest",
    generator: torch.Generator | None = None,
    precision: str | None = None,
    return_info: bool = False,
    check: bool = True,
) -> Tensor | tuple[Tensor, Info]:
    """Projected gradient method: `steps` normalised steps, each followed by a projection.

    x_{t+1} = Proj_{B(x, eps)}( x_t + step_size * direction(grad_x loss(x_t)) ), the net in
    evaluation mode. ||x_adv - x|| <= eps holds in float64 for every sample; a sample whose
    gradient is zero stays where it is. Net, gradients, buffers and random state are left bit for
    bit as found, after exceptions too.

    Source: Madry et al. 2018; `adversarial.pgm` of the paper's code (steps = 15, step_size =
    2 eps / steps, no random start, no clipping, labels="predicted").

    Args:
        net: module or function from (N, ...) to (N, K) logits.
        x: (N, ...) inputs of any floating dtype and memory layout, finite.
        y: (N,) int64 true labels, or targets if `targeted`; None with labels="predicted".
        eps: radius, in units of x: a number or (N,) numbers, one per sample.
        norm: 2, math.inf ("inf") or 1.
        steps: number of gradients per restart.
        step_size: length of a step, in units of x, like `eps`; None means 2 eps / steps.
        labels: "true", or "predicted": the net's clean prediction, as in the paper's code, which
            pushes samples that are already wrong away from their wrong class.
        loss: "cross_entropy" (as in the paper) or "log_odds", the same direction without
            float32 saturation; use it for sound evaluation.
        random_start: begin at a point drawn uniformly from the ball.
        restarts: random starts to try; each sample keeps the point with the worst margin.
        targeted: approach class y instead of leaving it.
        clip: None, or (low, high) numbers or tensors that broadcast against x, such as
            `pixel_box`; x_adv stays inside.
        l1: for norm 1, "steepest" (the largest coordinate, exact projection) or "gradient" (the
            authors' g / ||g||_1 and radial scaling).
        generator: source of the random start; None means a fresh one seeded 0 at every call.
            Without `random_start` no random number is drawn.
        precision: None, or "bfloat16" to attack under autocast. Score the result in float32.
        return_info: return (x_adv, Info).
        check: False skips the validation of x and y, for training loops that vouch for them.

    Returns:
        x_adv with the shape, dtype, device and memory layout of x, detached; or (x_adv, Info).

    Raises:
        UserError: for arguments outside the above, y outside the logits, non-finite x or logits.
    """
    norm = balls.as_norm(norm)
    one_of("loss", loss, LOSSES)
    one_of("l1", l1, L1_STEPS)
    one_of("precision", precision, PRECISIONS)
    whole("steps", steps)
    whole("restarts", restarts)
    require(
        restarts == 1 or random_start,
        f"restarts is {restarts} without random_start, which repeats one run; set "
        "random_start=True or restarts=1.",
    )
    if check:
        check_inputs(x, y, labels, targeted=targeted)
    x = x.detach()
    with attacking(net, x):
        x = x.clone() if x.is_inference() else x
        ball = Ball(x, eps, norm, step_size, steps, clip, l1, check)
        run = forward(net, precision, x.device)
        known = y if labels == "true" else None
        inspect = (lambda logits: check_logits(logits, x, known)) if check else None
        if labels == "predicted" and random_start:  # no step sees the clean x
            with torch.no_grad():
                clean = run(x)
            if inspect is not None:
                check_logits(clean, x)
                inspect = None
            known = clean.argmax(1)
        slope = slope_of(loss, known, targeted=targeted)
        plain = norm != 2 or clip is not None or random_start
        span = None if plain else span_of(run, x, steps, slope, inspect)
        gradient = input_gradient(run, slope, inspect) if span is None else None
        if random_start and generator is None:
            generator = torch.Generator().manual_seed(0)
        best = best_margin = None
        for _ in range(restarts):
            start = ball.random(generator) if random_start else None
            if span is None:
                x_adv = ball.ascend(gradient, start, count_zeros=return_info)
            else:
                x_adv = ball.ascend_in(span, count_zeros=return_info)
            if restarts == 1:
                best = x_adv
                break
            margin = violation(net, x_adv, known, targeted)
            if best is None:
                best, best_margin = x_adv, margin
            else:
                worse = margin > best_margin
                best = torch.where(balls.per_sample(worse, x), x_adv, best)
                best_margin = torch.where(worse, margin, best_margin)
    return (best, ball.info()) if return_info else best


def violation(net: Net, x_adv: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """Largest other logit minus that of y, (N,): positive exactly where x_adv is misclassified."""
    with torch.no_grad():
        logits = net(x_adv)
        others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        gap = others - logits.gather(1, y[:, None])[:, 0]
    return -gap if targeted else gap
