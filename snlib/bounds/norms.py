"""What the bounds need of every layer, from a net or from a recorded table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from snlib import errors, spectral
from snlib.spectral.operators import Operator

DENSE = 2**24  # entries up to which a layer is written out as a matrix

Layers = nn.Module | pd.DataFrame | Iterable[tuple[float, float]]


def layer_norms(net: nn.Module, in_shape: Sequence[int]) -> pd.DataFrame:
    """`spectral.spectrum(net, in_shape)` with what the bounds need besides.

    Columns added: kind ("linear" | "conv"), inputs and outputs (entries of one input and output),
    kernel_frobenius (of the weight tensor), norm21 (sum over output units of the l2 norm of their
    row of the operator, the ||W^T||_{2,1} of Bartlett, Foster & Telgarsky 2017; an upper bound
    where padding folds a layer's input onto itself and the layer is large), bias (has one).
    `attrs["modules"]` of the table names the net's kinds of modules, for the premises.
    """
    table = spectral.spectrum(net, in_shape)
    frobenius = dict(zip(table["layer"], table["frobenius"], strict=True))
    extra: dict[str, dict[str, object]] = {}
    for name, layer, shape in spectral.layers(net, in_shape):
        operator = Operator(layer, shape, name)
        extra[name] = {
            "kind": "linear" if isinstance(layer, nn.Linear) else "conv",
            "inputs": operator.inputs,
            "outputs": operator.outputs,
            "kernel_frobenius": float(layer.weight.detach().double().norm()),
            "norm21": _norm21(operator, layer, shape, frobenius[name]),
            "bias": layer.bias is not None,
        }
    columns = pd.DataFrame.from_dict(extra, orient="index")
    joined = table.join(columns, on="layer")
    joined.attrs = {**table.attrs, "modules": module_kinds(net)}
    return joined


def _norm21(operator: Operator, layer: nn.Module, shape: Sequence[int], frobenius: float) -> float:
    weight = layer.weight.detach().double()
    if getattr(layer, "padding_mode", "zeros") == "zeros":
        # Each entry of the operator is then one entry of the kernel, so the squared kernel sums
        # the squares of a row.
        ones = torch.ones(1, operator.inputs, dtype=torch.float64, device=weight.device)
        return float(operator.forward(ones, weight.square()).clamp_min(0).sqrt().sum())
    if operator.inputs * operator.outputs <= DENSE:
        return float(spectral.dense_matrix(layer, shape).norm(dim=1).sum())
    return math.sqrt(operator.outputs) * frobenius  # Cauchy-Schwarz


def module_kinds(net: nn.Module) -> dict[str, list[str]]:
    """Class names of the net's leaf modules ("leaves") and of its containers ("containers")."""
    leaves, containers = set(), set()
    for module in net.modules():
        name = nn.utils.parametrize.type_before_parametrizations(module).__name__
        if "parametrizations" in module._modules or not module._modules:
            leaves.add(name)
        else:
            containers.add(name)
    for module in net.modules():  # what only belongs to a parametrization is no layer
        for part in getattr(module, "parametrizations", nn.Module()).modules():
            leaves.discard(type(part).__name__)
            containers.discard(type(part).__name__)
    return {"leaves": sorted(leaves), "containers": sorted(containers)}


@dataclass(frozen=True, eq=False)
class Norms:
    """Logarithms (base e) of the norms of d layers, in forward order.

    Attributes:
        log_sigma: (d,) of the operator norms s_i.
        log_frobenius: (d,) of ||W_i||_F.
        log_norm21: (d,) of ||W_i^T||_{2,1}, or None where the table does not hold it.
        bias: whether any layer has a bias; None: not known.
        modules: class names of the net's modules; None: not known.
    """

    log_sigma: np.ndarray
    log_frobenius: np.ndarray
    log_norm21: np.ndarray | None = None
    bias: bool | None = None
    modules: dict[str, list[str]] | None = None

    @property
    def depth(self) -> int:
        """d, the number of weight layers."""
        return len(self.log_sigma)

    @property
    def log_product(self) -> float:
        """log P, P = prod s_i."""
        return float(self.log_sigma.sum())

    @property
    def log_sum(self) -> float:
        """log S, S = sum_i prod_{j<=i} s_j."""
        return float(np.logaddexp.reduce(np.cumsum(self.log_sigma)))

    @property
    def log_lip(self) -> float:
        """log of Lip = P S, which bounds the Lipschitz constant of x -> grad_x l(f(x), y)."""
        return self.log_product + self.log_sum

    @property
    def log_ratio(self) -> float:
        """log F, F = sum_i ||W_i||_F^2 / s_i^2."""
        return float(np.logaddexp.reduce(2 * (self.log_frobenius - self.log_sigma)))


def gather(layers: Layers, in_shape: Sequence[int] | None, sigma: str = "upper") -> Norms:
    """Norms of a net, of a table (columns `sigma` and frobenius) or of (s, frobenius) pairs.

    Raises:
        UserError: no in_shape beside a net, a missing column, a norm that is not positive.
    """
    errors.one_of("sigma", sigma, ("upper", "lower"))
    if isinstance(layers, nn.Module):
        errors.require(
            in_shape is not None,
            "in_shape is None; beside a net give the shape of one input, e.g. (3, 28, 28).",
        )
        layers = layer_norms(layers, in_shape)
    norm21, bias, modules = None, None, None
    if isinstance(layers, pd.DataFrame):
        for column in (sigma, "frobenius"):
            errors.require(
                column in layers,
                f"the table has columns {', '.join(map(str, layers.columns))}; it lacks "
                f"{column!r}; make it with snlib.bounds.layer_norms or snlib.spectrum.",
            )
        names = [str(name) for name in layers.get("layer", range(len(layers)))]
        pairs = layers[[sigma, "frobenius"]].to_numpy(dtype=float)
        if "norm21" in layers:
            norm21 = np.log(layers["norm21"].to_numpy(dtype=float))
        bias = bool(layers["bias"].any()) if "bias" in layers else None
        modules = layers.attrs.get("modules")
    else:
        try:
            pairs = np.array([tuple(pair) for pair in layers], dtype=float)
        except (TypeError, ValueError):
            raise errors.UserError(
                f"the norms are a {type(layers).__name__}; give pairs (sigma, frobenius), a table "
                "of snlib.bounds.layer_norms, or a net and in_shape."
            ) from None
        names = [str(index) for index in range(len(pairs))]
    errors.require(
        pairs.ndim == 2 and pairs.shape[1] == 2 and len(pairs) > 0,
        f"the norms have shape {pairs.shape}; give at least one layer as (sigma, frobenius).",
    )
    for name, (norm, frobenius) in zip(names, pairs, strict=True):
        for what, value in (("sigma", norm), ("frobenius norm", frobenius)):
            errors.require(
                bool(np.isfinite(value) and value > 0),
                f"the {what} of layer {name} is {value}; it must be a number > 0; "
                "a layer of zeros or NaN has no bound.",
            )
    return Norms(np.log(pairs[:, 0]), np.log(pairs[:, 1]), norm21, bias, modules)
