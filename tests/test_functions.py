"""Functions with a gradient by hand: the short call and torch's own are one function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snlib.functions import Function


class Cube(Function):
    """x^3 and, without a gradient, x^2."""

    @staticmethod
    def forward(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return scale * x**3, x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        x, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        return 3 * ctx.scale * ctx.saved_tensors[0] ** 2 * grad, None


def test_both_calls_are_one_function():
    for call in (Cube.call, Cube.apply):
        x = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        y, square = call(x, 2.0)
        assert "Cube" in type(y.grad_fn).__name__ and not square.requires_grad
        assert y.tolist() == [2.0, -16.0] and square.tolist() == [1.0, 4.0]
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == [6.0, 24.0]
        assert torch.autograd.gradcheck(lambda x, call=call: call(x, 2.0)[0], x)
        assert torch.autograd.gradgradcheck(lambda x, call=call: call(x, 2.0)[0], x)


def test_a_call_may_be_transformed():
    x = torch.tensor([1.0, -2.0, 3.0])
    each = torch.func.vmap(torch.func.grad(lambda x: Cube.call(x, 1.0)[0]))(x)
    assert each.tolist() == [3.0, 12.0, 27.0]
    twice = torch.func.grad(torch.func.grad(lambda x: Cube.call(x, 1.0)[0]))
    assert float(twice(x[2])) == 18.0


def test_a_call_compiles():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    compiled = torch.compile(lambda x: Cube.call(x, 1.0)[0].sum(), fullgraph=True, backend="eager")
    compiled(x).backward()
    assert x.grad.tolist() == [3.0, 12.0]
