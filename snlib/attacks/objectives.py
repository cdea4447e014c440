"""What an attack ascends, as its slope with respect to the logits, and the labels it uses.

Every objective here has a closed-form gradient in the logits, so that one vector-Jacobian product
of the net is all that a step costs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from snlib.attacks.pullbacks import rule_of, suits
from snlib.attacks.state import Net
from snlib.errors import NotFinite, UserError, one_of, require

LOSSES = ("cross_entropy", "log_odds")
LABELS = ("true", "predicted")
PRECISIONS = (None, "bfloat16")

Slope = Callable[[Tensor], Tensor]


def softmax(logits: Tensor) -> Tensor:
    """Class probabilities in at least float32."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def slope_of(loss: str, labels: Tensor | None, *, targeted: bool = False) -> Slope:
    """Gradient of the loss with respect to the logits (N, K), to be ascended.

    "cross_entropy": softmax(z) - e_y. In float32 it rounds to 0 once the margin passes about 17
    (true entry) and 103 (all entries); that is the authors' attack and its weakness.
    "log_odds": m = logsumexp_{j != y} z_j - z_y, slope softmax(z without y) - e_y. Since the
    cross-entropy is softplus(m), the input gradients of both point the same way, and this one
    never saturates.

    Args:
        loss: "cross_entropy" or "log_odds".
        labels: (N,) classes to leave, or to reach if `targeted`; None takes those that the first
            logits predict, which are the net's own where the path begins at the clean x.
        targeted: descend instead of ascend.
    """
    hot = None

    def slope(logits: Tensor) -> Tensor:
        nonlocal hot
        if hot is None:  # K is known only now; the one-hot rows serve every later step
            classes = logits.argmax(1) if labels is None else labels
            hot = one_hot(classes, logits.shape[1]).to(torch.float32)
        if loss == "log_odds":
            logits = logits.masked_fill(hot.bool(), -torch.inf)
        return softmax(logits).sub_(hot)

    return (lambda logits: slope(logits).neg_()) if targeted else slope


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """logsumexp of the other logits minus that of y, (N,): the cross-entropy is its softplus."""
    others = logits.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def divergence_slope(clean: Tensor) -> Slope:
    """Slope of KL(softmax(clean) || softmax(z)) in z: softmax(z) - softmax(clean)."""
    target = softmax(clean)
    return lambda logits: softmax(logits).sub_(target)


def forward(net: Net, precision: str | None, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The net, under bfloat16 autocast if asked."""
    if precision is None:
        return net

    def run(z: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return net(z)

    return run


def input_gradient(
    run: Callable[[Tensor], Tensor], slope: Slope, inspect: Callable[[Tensor], None] | None = None
) -> Callable[[Tensor], Tensor]:
    """The function z -> gradient of the objective with respect to z; z must be a fresh tensor.

    Args:
        run: the net's forward pass.
        slope: gradient of the objective with respect to the logits.
        inspect: called once, with the first logits, to refuse what cannot be attacked.
    """
    rule = rule_of(run)

    @torch.no_grad()
    def by_hand(z: Tensor) -> Tensor:
        logits, pull = rule(z)
        looked_at(logits)
        return pull(slope(logits).to(logits.dtype))

    def looked_at(logits: Tensor) -> None:
        nonlocal inspect
        if inspect is not None:
            inspect(logits)
            inspect = None

    def gradient(z: Tensor) -> Tensor:
        if rule is not None and suits(z):
            return by_hand(z)
        logits = run(z.requires_grad_())
        looked_at(logits.detach())
        if not logits.requires_grad:
            raise UserError(
                "net's output does not depend on x by any gradient path; remove the detach, "
                "no_grad or argmax in its forward, or attack it without gradients (audit does)."
            )
        found = torch.autograd.grad(logits, z, slope(logits.detach()).to(logits.dtype))[0]
        # Attacks change it in place. Where a net begins with a sum, one number stands for many.
        return found.contiguous() if 0 in found.stride() else found

    return gradient


def check_logits(logits: Tensor, x: Tensor, y: Tensor | None = None) -> None:
    """Refuse outputs that are not finite (N, K) logits with K >= 2, and y (N,) outside them."""
    require(
        isinstance(logits, Tensor)
        and logits.ndim == 2
        and len(logits) == len(x)
        and logits.shape[1] >= 2,
        f"net gives {tuple(getattr(logits, 'shape', ()))} for x of {tuple(x.shape)}; it must give "
        "(N, K) logits, one row per sample and K >= 2 classes.",
    )
    if not bool(logits.isfinite().all()):
        raise NotFinite(
            "net gives logits that are not finite for a finite x; look for NaN or inf in its "
            "weights."
        )
    if y is not None:
        check_labels(y, logits.shape[1])


def check_labels(y: Tensor, classes: int) -> None:
    """Refuse labels y (N,) outside 0 .. classes - 1."""
    if y.numel():
        low, high = (int(value) for value in torch.aminmax(y))
        require(
            low >= 0 and high < classes,
            f"y has labels from {low} to {high}; the net has {classes} logits, so labels "
            f"must be 0 to {classes - 1}.",
        )


def check_inputs(x: Tensor, y: Tensor | None, labels: str, *, targeted: bool = False) -> None:
    """Refuse inputs and labels that an attack cannot use, naming what is wrong."""
    one_of("labels", labels, LABELS)
    require(isinstance(x, Tensor), f"x is a {type(x).__name__}; it must be a torch tensor.")
    require(
        x.is_floating_point(),
        f"x has dtype {x.dtype}; an attack needs floating point, e.g. x.float() / 255.",
    )
    require(x.ndim >= 2, f"x has shape {tuple(x.shape)}; it must be (N, ...), one row per sample.")
    require(bool(x.isfinite().all()), "x holds NaN or inf; an attack needs finite inputs.")
    if labels == "predicted":
        require(
            not targeted,
            "labels is 'predicted' with targeted=True; give the targets as y with labels='true'.",
        )
        return
    if not isinstance(y, Tensor):  # not by `require`, which would write out each y
        raise UserError(f"y is {y!r}; give (N,) labels, or use labels='predicted'.")
    require(
        y.dtype == torch.int64 and y.shape == (len(x),),
        f"y is {tuple(y.shape)} of {y.dtype}; it must be ({len(x)},) of torch.int64 (y.long()).",
    )
