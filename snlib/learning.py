"""The pass of a training step that learns, without autograd: a chain's gradient in its weights.

As in `attacks.pullbacks`, every layer says how a gradient in its output is pulled back to its
input; a layer with weights says here what the gradient in them is. Small convolutions go by the
matrices that the attack of the same step has gathered. What lies behind a weight, such as a budget,
is left to autograd, and so is a whole net of which a part has no rule.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snlib.attacks import pullbacks
from snlib.models.convolution import Conv2d

Learner = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

TAUGHT = (nn.Linear, nn.Conv2d, Conv2d)
"""The layers with weights that have a rule here."""


def learner_of(net: nn.Module) -> Learner | None:
    """The function (x, y) -> (logits, mean cross-entropy) that adds its gradient to the weights'.

    None where the net is no chain of layers with a rule each. The function is for an x that
    `attacks.pullbacks.suits`, and for as long as the net stays in its mode with the same layers.
    """
    layers = pullbacks.layers_of(net)
    rules = pullbacks.rules_of(layers)
    taught = [pullbacks.kind_of(layer) in TAUGHT for layer in layers]
    if rules is None or taught != [_has_weights(layer) for layer in layers] or not any(taught):
        return None
    first = taught.index(True)

    @torch.no_grad()
    def learn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        inputs, pulls = [], []
        for rule in rules:
            inputs.append(x)
            x, pull = rule(x)
            pulls.append(pull)
        loss, grad = _cross_entropy(x, y)
        behind: list[tuple[Tensor, Tensor]] = []
        for index in range(len(layers) - 1, first - 1, -1):
            if taught[index]:
                behind += _teach(layers[index], inputs[index], grad)
            if index > first:
                grad = pulls[index](grad)
            del inputs[index], pulls[index]  # what a layer kept is let go as soon as it is used
        if behind:
            torch.autograd.backward(*zip(*behind, strict=True))
        return x, loss

    return learn


def _cross_entropy(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy and its gradient in the logits, by the kernels of autograd."""
    aten, mean, nothing = torch.ops.aten, 1, -100
    chances = logits.log_softmax(1)
    loss, total = aten.nll_loss_forward(chances, y, None, mean, nothing)
    grad = aten.nll_loss_backward(torch.ones_like(loss), chances, y, None, mean, nothing, total)
    return loss, aten._log_softmax_backward_data(grad, chances, 1, logits.dtype)


def _has_weights(layer: nn.Module) -> bool:
    return bool(layer._parameters) or any(map(_has_weights, layer.children()))


def _teach(layer: nn.Linear | nn.Conv2d, x: Tensor, grad: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Add to the gradients of a layer's weight and bias, of input x and with grad in the output.

    Returns:
        What autograd has to go on from: an effective weight with its gradient, if there is more
        behind it.
    """
    with torch.enable_grad():
        weight, bias = layer.weight, layer.bias
    found = []
    if weight.requires_grad and isinstance(layer, nn.Linear):
        found.append((weight, grad.t().mm(x)))
    elif weight.requires_grad:
        grad = layer.filled(grad, x) if isinstance(layer, Conv2d) else grad
        back = torch.ops.aten.convolution_backward
        settings = layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups
        gradient = back(grad, x, weight, None, *settings, [False, True, False])[1]
        found.append((weight, gradient))
    if bias is not None and bias.requires_grad:
        found.append((bias, grad.sum(0) if grad.dim() == 2 else grad.sum((0, 2, 3))))
    return [(parameter, part) for parameter, part in found if not _added(parameter, part)]


def _added(parameter: Tensor, found: Tensor) -> bool:
    """Add to a parameter's gradient as autograd does, unless that has something to do there."""
    if not parameter.is_leaf or parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        return False
    if parameter.grad is not None:
        parameter.grad.add_(found)
    elif found.stride() == parameter.stride():
        parameter.grad = found
    else:
        parameter.grad = torch.empty_like(parameter).copy_(found)
    return True
