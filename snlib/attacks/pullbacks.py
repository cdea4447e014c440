"""The gradient of a chain of known layers in its input, without autograd.

An attack asks for nothing but that gradient, of weights that are held. For small nets most of its
time goes to the graph that autograd builds and walks. Here every layer says, with its output, how
a gradient in that output is pulled back to its input; the same kernels are called in the same
order, so the numbers are autograd's, to rounding where a layer has a shorter formula.

torch's layers have their rules here. Another layer brings its own: a method `pullback(x)`, which
returns the output and the function that pulls back; one whose class says `crops` also takes `read`,
by which it may leave out what the next layer does not look at. Where a part of a net has no rule,
or something watches it (hooks, autocast, a compiler, a transform), the whole net is left to
autograd.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize

from snlib import capturing

Pull = Callable[[Tensor], Tensor]
Rule = Callable[[Tensor], tuple[Tensor, Pull]]

aten = torch.ops.aten


def suits(x: Tensor) -> bool:
    """Whether x, and what surrounds the call, is what the rules are made for."""
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and not capturing.active()
    )


def rule_of(net: object) -> Rule | None:
    """The rule of a net that is an nn.Sequential of layers with a rule each, else None.

    It holds for as long as no layer is put in place of another; weights are looked up at each call,
    under `torch.no_grad()` and for an x that `suits`.
    """
    rules = rules_of(layers_of(net))
    if rules is None:
        return None

    def chain(x: Tensor) -> tuple[Tensor, Pull]:
        pulls = []
        for rule in rules:
            x, pull = rule(x)
            pulls.append(pull)

        def back(grad: Tensor) -> Tensor:
            while pulls:  # what a layer kept is let go as soon as it is used
                grad = pulls.pop()(grad)
            return grad

        return x, back

    return chain


def layers_of(net: object) -> list[nn.Module]:
    """The layers of a chain in order, those of chains within it too; none of what is no chain.

    A chain within it that is watched, or empty, counts as a layer.
    """
    if not _is_chain(net) or _everything_watched():
        return []
    parts = net._modules.values()
    return [layer for part in parts for layer in (layers_of(part) if _is_chain(part) else [part])]


def rules_of(layers: list[nn.Module]) -> list[Rule] | None:
    """The rules of layers of which each is the only one to see the output of that before."""
    rules = []
    for layer, after in itertools.zip_longest(layers, layers[1:]):
        rule = None if _watched(layer) else _rule_of(layer, after)
        if rule is None:
            return None
        rules.append(rule)
    return rules or None


def kind_of(layer: nn.Module) -> type[nn.Module]:
    """The layer's class, without the one that torch makes for a layer with parametrizations."""
    if "parametrizations" in layer._modules:
        return parametrize.type_before_parametrizations(layer)
    return type(layer)


def _is_chain(part: object) -> bool:
    return type(part) is nn.Sequential and bool(part._modules) and not _watched(part)


def _everything_watched() -> bool:
    """Whether something follows each call of any module."""
    return bool(
        torch_module._global_forward_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state()
    )


def _watched(layer: nn.Module) -> bool:
    """Whether a call of the layer is more than its class's forward."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or layer._compiled_call_impl is not None
        or "forward" in layer.__dict__
    )


def _rule_of(layer: nn.Module, after: nn.Module | None) -> Rule | None:
    """The rule of a layer, given the one after it."""
    kind = kind_of(layer)
    if "pullback" in kind.__dict__:  # its own: a subclass may do something else in `forward`
        if getattr(kind, "crops", False) and type(after) is nn.MaxPool2d:
            return functools.partial(layer.pullback, read=functools.partial(_read, after))
        return layer.pullback
    make = _RULES.get(kind)
    return None if make is None else make(layer)


def _read(pool: nn.MaxPool2d, *sizes: int) -> tuple[int, ...]:
    """How many of so many rows and columns a pooling looks at: the last ones may fit no window."""
    kernel, stride, padding, dilation = _settings(pool)
    if pool.ceil_mode or any(padding) or set(dilation) != {1}:
        return sizes
    return tuple(
        size - (size - k) % s if size >= k else size
        for size, k, s in zip(sizes, kernel, stride, strict=True)
    )


# --------------------------------------------------------------------------------- torch's layers


def _identity(_: nn.Module) -> Rule:
    return lambda x: (x, _same)


def _same(grad: Tensor) -> Tensor:
    return grad


def _dropout(layer: nn.Module) -> Rule | None:
    return None if layer.training else _identity(layer)


def _linear(layer: nn.Linear) -> Rule:
    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        weight = layer.weight
        return F.linear(x, weight, layer.bias), lambda grad: grad.matmul(weight)

    return rule


def _flatten(layer: nn.Flatten) -> Rule:
    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        return x.flatten(layer.start_dim, layer.end_dim), lambda grad: grad.reshape(x.shape)

    return rule


def _relu(layer: nn.ReLU) -> Rule | None:
    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        y = x.relu()
        return y, lambda grad: aten.threshold_backward(grad, y, 0)

    return None if layer.inplace else rule


def _elu(layer: nn.ELU) -> Rule | None:
    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        y = F.elu(x, layer.alpha)
        return y, lambda grad: aten.elu_backward(grad, layer.alpha, 1, 1, False, x)

    return None if layer.inplace else rule


def _settings(pool: nn.MaxPool2d) -> list[list[int]]:
    """Kernel, stride, padding and dilation, each by rows and columns."""
    stride = pool.kernel_size if pool.stride is None else pool.stride
    return [
        [side, side] if isinstance(side, int) else list(side)
        for side in (pool.kernel_size, stride, pool.padding, pool.dilation)
    ]


def _max_pool(layer: nn.MaxPool2d) -> Rule | None:
    settings = _settings(layer)

    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        y, where = torch._C._nn.max_pool2d_with_indices(x, *settings, layer.ceil_mode)
        back = aten.max_pool2d_with_indices_backward
        return y, lambda grad: back(grad, x, *settings, layer.ceil_mode, where)

    return None if layer.return_indices else rule


def _convolution(layer: nn.Conv2d) -> Rule | None:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    settings = layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups
    wanted = [True, False, False]

    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        weight = layer.weight
        y = torch.convolution(x, weight, layer.bias, *settings)
        back = aten.convolution_backward
        return y, lambda grad: back(grad, x, weight, None, *settings, wanted)[0]

    return rule


def _batch_norm(layer: nn.BatchNorm2d) -> Rule | None:
    """By the running statistics, which evaluation mode uses if there are any."""

    def rule(x: Tensor) -> tuple[Tensor, Pull]:
        layer._check_input_dim(x)
        known = layer.running_mean, layer.running_var
        weight, eps = layer.weight, layer.eps
        y = F.batch_norm(x, *known, weight, layer.bias, False, 0.0, eps)
        back = functools.partial(aten.native_batch_norm_backward, output_mask=[True, False, False])
        return y, lambda grad: back(grad, x, weight, *known, None, None, False, eps)[0]

    return None if layer.training or layer.running_mean is None else rule


_RULES: dict[type[nn.Module], Callable[[nn.Module], Rule | None]] = {
    nn.Identity: _identity,
    nn.Dropout: _dropout,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.ReLU: _relu,
    nn.ELU: _elu,
    nn.MaxPool2d: _max_pool,
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
}
