"""W / max(1, inflation sigma(W) / beta) and its gradient, with as few passes over W as can be.

sigma is linear in W once its singular vectors are fixed: sigma = left^T W right for a matrix,
sigma = <W, G> for a convolution, G = d sigma / d W. Automatic differentiation of the formula is
right but walks over a large weight about twice as often as needed; `ClipMatrix` writes the
rank-one part of the gradient in place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snlib.functions import Function


def clip(weight: Tensor, sigma: Tensor, limit: Tensor) -> Tensor:
    """weight / max(1, sigma / limit), differentiable in weight and sigma (both ways, any order)."""
    return weight / torch.clamp(sigma / limit, min=1.0)


class ClipMatrix(Function):
    """clip(W, left^T W right, limit) for a (rows, columns) weight."""

    @staticmethod
    def forward(weight: Tensor, left: Tensor, right: Tensor, limit: Tensor) -> tuple[Tensor, ...]:
        """(weight, left, right, limit) -> (effective weight, ratio = sigma / limit)."""
        ratio = torch.dot(left, torch.mv(weight, right)) / limit
        return weight * ratio.clamp(min=1.0).reciprocal(), ratio

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the inputs and the ratio, which carries no gradient of its own."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """d/dW: grad / scale - <grad, W> / scale^2 * left right^T / limit where it clips."""
        weight, left, right, limit, ratio = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: let autograd see sigma
            ratio = torch.dot(left, torch.mv(weight, right)) / limit
        scale = ratio.clamp(min=1.0)
        inner = (grad * weight).sum() if torch.is_grad_enabled() else _inner(grad, weight)
        slope = torch.where(ratio > 1.0, -inner / (scale * scale * limit), 0.0)
        scaled = grad * scale.reciprocal()
        if torch.is_grad_enabled():
            return scaled + torch.outer(left * slope, right), None, None, None
        return scaled.addr_(left * slope, right), None, None, None


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> without a temporary of their size, where their memory allows."""
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    return (a * b).sum()
