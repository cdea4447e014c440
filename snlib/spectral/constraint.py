"""One call puts the budget on a network, one a step keeps it, one takes it off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snlib import errors
from snlib.spectral.budget import Budget, budget_of
from snlib.spectral.operators import layers

HELD, SHARED = "_snlib_held", "_snlib_shared"
"""Where a layer keeps its effective weight inside `frozen` and `shared`."""


def _budgets(net: nn.Module) -> Iterator[tuple[nn.Module, Budget]]:
    """Every module under a budget, in the order of `net.modules()`, without its cost."""
    waiting, seen = [net], {net}
    while waiting:
        module = waiting.pop()
        children = module._modules
        budget = budget_of(module) if "parametrizations" in children else None
        if budget is not None:
            yield module, budget
        for name, child in reversed(children.items()):
            # What has no children has no budget, and no budget is on a budget.
            if child is None or not child._modules or (budget and name == "parametrizations"):
                continue
            if child not in seen:
                seen.add(child)
                waiting.append(child)


def _held_weight(plain: property) -> property:
    """The property `weight` of a layer under a budget, quick to answer inside `frozen`.

    torch's own walks over four modules at each access, which adds up on small nets.
    """

    def get(layer: nn.Module) -> Tensor:
        state = layer.__dict__
        held = state.get(HELD)
        if held is None:
            held = state.get(SHARED)
        return plain.fget(layer) if held is None else held

    return property(get, plain.fset)


def constrain(
    net: nn.Module,
    beta: float,
    in_shape: Sequence[int],
    *,
    kind: str = "operator",
    gradient: str = "exact",
    method: str = "krylov",
    steps: int | None = None,
    guaranteed: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Put W / max(1, sigma(W) / beta) on every convolution and linear layer, in place.

    Call `refresh(net)` once after every optimizer step. `layer.weight` is the effective weight.

    Args:
        net: any network; bound are its Linear, Conv and ConvTranspose layers, biases are not.
        beta: cap on each layer's operator norm, > 0; inf leaves the net untouched, at no cost.
        in_shape: shape of one input of the net, without the batch, e.g. (C, H, W).
        kind: "operator", the true norm at the layer's input size (the paper's Algorithm 1), or
            "reshaped", that of the kernel as a matrix (Miyato et al. 2018).
        gradient: "exact" differentiates through sigma as the paper does; "detached" holds it fixed.
        method: "krylov" tracks the norm to about 1e-3; "power" is the paper's power iteration.
        steps: products with A^T A in one refresh; None adapts (krylov) or takes 1 (power).
        guaranteed: divide by a rigorous upper bound, so that no layer ever exceeds beta.
        seed: of the random starting vectors; no global generator is read.

    Returns:
        The same net.

    Raises:
        UserError: an argument outside the above, a NaN weight, or a shape that does not fit.
    """
    beta = errors.positive("beta", beta, infinite=True)
    errors.one_of("kind", kind, ("operator", "reshaped"))
    errors.one_of("gradient", gradient, ("exact", "detached"))
    errors.one_of("method", method, ("krylov", "power"))
    errors.require(
        steps is None or (isinstance(steps, int) and steps >= 1),
        f"steps is {steps!r}; it must be an integer >= 1, or None for the default.",
    )
    errors.require(
        not constrained_layers(net),
        "net already has a budget; call release(net) before constraining it again.",
    )
    if math.isinf(beta):
        return net
    options = {
        "kind": kind,
        "gradient": gradient,
        "method": method,
        "steps": steps,
        "guaranteed": guaranteed,
    }
    # All of them first, so that a refused layer leaves the net as it was.
    budgets = [
        (layer, Budget(layer, beta, shape, name=name, seed=seed + index, **options))
        for index, (name, layer, shape) in enumerate(layers(net, in_shape))
    ]
    for layer, budget in budgets:
        parametrize.register_parametrization(layer, "weight", budget, unsafe=True)
        kind = type(layer)  # made by torch for this layer alone
        kind.weight = _held_weight(kind.weight)
    return net


def constrained_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) of every layer under a budget, in the order of `named_modules`."""
    bound = {module for module, _ in _budgets(net)}
    return [(name, module) for name, module in net.named_modules() if module in bound]


def refresh(net: nn.Module) -> None:
    """Move every layer's singular vectors to its present weight, where the old ones fall short.

    Once per optimizer step, and after loading weights. Nothing happens on a net without a budget.

    Raises:
        UserError: a weight holds NaN or infinity.
    """
    for module, budget in _budgets(net):
        budget.refresh(module.parametrizations["weight"].original)


def release(net: nn.Module, *, keep_effective: bool = True) -> nn.Module:
    """Take the budget off, in place.

    Args:
        net: a net under `constrain`; any other is returned as it is.
        keep_effective: keep the effective weights as plain ones, else go back to the raw ones.
    """
    for module, _ in list(_budgets(net)):
        # torch deletes the property `weight` from the class, which deep copies share: give this
        # module a class of its own first, else releasing one copy breaks the others.
        shared = type(module)
        own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
        module.__class__ = type(shared.__name__, shared.__bases__, own)
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=keep_effective)
    return net


def _effective(layer: nn.Module, budget: Budget) -> Tensor:
    """The effective weight, computed anew where it is not held."""
    own = layer._modules["parametrizations"]._modules["weight"]
    if HELD in layer.__dict__ or len(own) > 1 or parametrize._cache_enabled:
        return layer.weight
    return budget.forward(own._parameters["original"])  # not by way of three modules' calls


@contextmanager
def frozen(net: nn.Module) -> Iterator[nn.Module]:
    """Inside, the effective weights are computed once and reused: the same numbers, less work.

    For passes that differentiate only in the input (attacks, evaluation): the weights are detached
    and must not change inside.
    """
    opened = []
    try:
        with torch.no_grad():
            for module, budget in _budgets(net):
                state = module.__dict__
                if HELD not in state:
                    known = state.get(SHARED)
                    state[HELD] = (_effective(module, budget) if known is None else known).detach()
                    opened.append(module)
        yield net
    finally:
        for module in opened:
            del module.__dict__[HELD]


@contextmanager
def shared(net: nn.Module) -> Iterator[nn.Module]:
    """Inside, the effective weights are computed once, with their gradient graph, for all passes.

    For one training step: the attack inside it, `frozen`, and the pass that learns see the same
    weights, and sigma is computed once. One backward pass only; the weights must not change inside.
    """
    budgets = [found for found in _budgets(net) if SHARED not in found[0].__dict__]
    try:
        for module, budget in budgets:
            module.__dict__[SHARED] = _effective(module, budget)
        yield net
    finally:
        for module, _ in budgets:
            module.__dict__.pop(SHARED, None)


@torch.no_grad()
def project(net: nn.Module) -> None:
    """Make the effective weights the raw ones: the hard projection of Gouk et al. (2021).

    Call it after `refresh`, on a net constrained with gradient="detached": W itself then stays
    inside the budget and the gradient is the plain one.
    """
    for module, _ in _budgets(net):
        module.parametrizations["weight"].original.copy_(module.weight)
