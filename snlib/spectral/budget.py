"""The budget: W / max(1, sigma(W) / beta) on every convolution and linear layer.

Eq. (9) of the paper. The effective weight is a pure function of the raw weight and of stored
buffers, so train and eval mode and all passes of an attack see the same network; the singular
vectors move only in `refresh`, once per optimizer step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snlib import errors
from snlib.spectral import tracking
from snlib.spectral.clip import ClipMatrix, clip
from snlib.spectral.guarantee import UpperBound
from snlib.spectral.operators import Operator, ReshapedKernel, check_finite, layers
from snlib.spectral.tracking import Track


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32 inside: both bias the Ritz value upwards."""
    with ExitStack() as stack:
        if torch.is_autocast_enabled(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cuda":
            allowed = torch.backends.cuda.matmul.allow_tf32
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", allowed)
            torch.backends.cuda.matmul.allow_tf32 = False
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=torch.backends.cudnn.enabled,
                    benchmark=torch.backends.cudnn.benchmark,
                    deterministic=torch.backends.cudnn.deterministic,
                    allow_tf32=False,
                )
            )
        yield


class Budget(nn.Module):
    """The parametrization of one layer's weight; nothing moves in `forward`.

    Buffers (all in the state dict, so that a loaded net is the saved one to the last bit):
        basis: (p, n) the tracked subspace of inputs.
        gradient: d sigma / d W shaped like the weight (convolutions), so sigma = <W, gradient>;
        left, right: (m,), (n,) the singular vectors (matrices), so sigma = left^T W right.
        limit: 0-dimensional, beta, or under `guaranteed` beta x tracked value / upper bound.
    """

    def __init__(
        self,
        layer: nn.Module,
        beta: float,
        in_shape: Sequence[int],
        *,
        name: str,
        kind: str = "operator",
        gradient: str = "exact",
        method: str = "krylov",
        steps: int | None = None,
        guaranteed: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        weight = layer.weight.detach()
        check_finite(weight, name)
        self.beta, self.name, self.method, self.steps = beta, name, method, steps
        self.exact = gradient == "exact"
        self.guaranteed = guaranteed
        matrix = kind == "reshaped" or isinstance(layer, nn.Linear)
        self.operator = (ReshapedKernel if matrix else Operator)(layer, in_shape, name)
        self.exactly = method == "krylov" and tracking.is_small(self.operator)
        self.upper = UpperBound(self.operator, layer) if guaranteed else None
        self.last: Track | None = None
        self.cached: Tensor | None = None
        self.seed, self.refreshes = seed, 0
        rows = 1 if method == "power" else 0 if self.exactly else tracking.MEMORY
        self.register_buffer(
            "basis", tracking.random_basis(rows, self.operator.inputs, weight, seed)
        )
        if matrix:
            self.register_buffer("left", weight.new_zeros(self.operator.outputs))
            self.register_buffer("right", weight.new_zeros(self.operator.inputs))
        else:
            self.register_buffer("gradient", torch.zeros_like(weight))
        self.register_buffer("limit", weight.new_tensor(beta))
        self.refresh(weight, cold=True)

    def sigma(self, weight: Tensor) -> Tensor:
        """The tracked norm, linear in the weight, 0-dimensional."""
        if "gradient" in self._buffers:
            return (weight * self.gradient).sum()
        # Sums, not matrix products: autocast would do those in bfloat16.
        return ((self.operator.matrix(weight) * self.right).sum(1) * self.left).sum()

    def forward(self, weight: Tensor) -> Tensor:
        """(shape of W) -> (shape of W): W / max(1, sigma / limit)."""
        if self.cached is not None:
            return self.cached
        if self._fused(weight):
            return ClipMatrix.apply(weight, self.left, self.right, self.limit)[0]
        return clip(weight, self.sigma(weight if self.exact else weight.detach()), self.limit)

    def _fused(self, weight: Tensor) -> bool:
        """Whether the hand-written gradient applies; a compiler fuses the plain formula itself."""
        return (
            "left" in self._buffers
            and self.exact
            and weight.dim() == 2
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled(weight.device.type)
        )

    @torch.no_grad()
    def refresh(self, weight: Tensor, cold: bool = False) -> None:
        """Move the singular vectors to those of `weight`."""
        with full_precision(weight.device):
            track = self._track(weight, cold)
            if track.basis is not None:
                self.basis.copy_(track.basis)
            if "gradient" in self._buffers:
                self.gradient.copy_(self.operator.gradient(track.u, track.v, weight))
            else:
                self.left.copy_(track.u[0])
                self.right.copy_(track.v[0])
            if self.guaranteed:
                self.limit.fill_(self.beta / self.upper.inflation(weight, self.sigma(weight)))
        self.last = track

    def _track(self, weight: Tensor, cold: bool) -> Track:
        self.refreshes += 1
        if self.exactly:
            return tracking.exact(self.operator, weight)
        if self.method == "power":
            return tracking.power(self.operator, weight, self.basis, self.steps or 1)
        # The seed of the scout is a function of what the state dict holds, so that training
        # resumed from a checkpoint is the same training.
        generator = torch.Generator().manual_seed((self.seed << 32) + self.refreshes)
        scout = torch.randn(1, self.operator.inputs, generator=generator).to(self.basis)
        fewest, most, growth = tracking.fewest_products(self.operator), tracking.MOST, None
        if cold:
            fewest = most = tracking.COLD
        elif self.steps is not None:
            fewest = most = self.steps
        growth = 0.0 if fewest == most else tracking.GROWTH
        return tracking.krylov(
            self.operator, weight, self.basis, scout, fewest=fewest, most=most, growth=growth
        )

    def get_extra_state(self) -> Tensor:
        """The number of refreshes so far, for the state dict."""
        return torch.tensor(self.refreshes)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the number of refreshes from a state dict."""
        self.refreshes = int(state)

    def extra_repr(self) -> str:
        """The settings, for print(net)."""
        return f"beta={self.beta}, method={self.method}"


def budget_of(layer: nn.Module) -> Budget | None:
    """The budget on a layer's weight, None where there is none."""
    parametrizations = layer._modules.get("parametrizations")
    if parametrizations is None or "weight" not in parametrizations._modules:
        return None
    budget = parametrizations._modules["weight"][0]
    return budget if isinstance(budget, Budget) else None


def _budgets(net: nn.Module) -> Iterator[tuple[nn.Module, Budget]]:
    for module in net.modules():
        budget = budget_of(module)
        if budget is not None:
            yield module, budget


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
    for index, (name, layer, shape) in enumerate(layers(net, in_shape)):
        budget = Budget(
            layer,
            beta,
            shape,
            name=name,
            kind=kind,
            gradient=gradient,
            method=method,
            steps=steps,
            guaranteed=guaranteed,
            seed=seed + index,
        )
        parametrize.register_parametrization(layer, "weight", budget, unsafe=True)
    return net


def constrained_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) of every layer under a budget, in the order of `named_modules`."""
    bound = {module for module, _ in _budgets(net)}
    return [(name, module) for name, module in net.named_modules() if module in bound]


def refresh(net: nn.Module) -> None:
    """Move every layer's singular vectors to its present weight.

    Once per optimizer step, and after loading weights. Nothing happens on a net without a budget.

    Raises:
        UserError: a weight holds NaN or infinity.
    """
    for module, budget in _budgets(net):
        budget.refresh(module.parametrizations["weight"].original.detach())


def release(net: nn.Module, *, keep_effective: bool = True) -> nn.Module:
    """Take the budget off, in place.

    Args:
        net: a net under `constrain`; any other is returned as it is.
        keep_effective: keep the effective weights as plain ones, else go back to the raw ones.
    """
    for module, _ in list(_budgets(net)):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=keep_effective)
    return net


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
                if budget.cached is None:
                    opened.append(budget)
                    budget.cached = module.weight
        yield net
    finally:
        for budget in opened:
            budget.cached = None


@torch.no_grad()
def project(net: nn.Module) -> None:
    """Make the effective weights the raw ones: the hard projection of Gouk et al. (2021).

    Call it after `refresh`, on a net constrained with gradient="detached": W itself then stays
    inside the budget and the gradient is the plain one.
    """
    for module, _ in _budgets(net):
        module.parametrizations["weight"].original.copy_(module.weight)
