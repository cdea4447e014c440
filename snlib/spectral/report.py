"""Tables about a network's layers: norms as intervals, and by how much a budget is overshot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from snlib.spectral.budget import budget_of
from snlib.spectral.certificates import operator_norm
from snlib.spectral.constraint import constrained_layers
from snlib.spectral.geometry import geometry_of
from snlib.spectral.operators import (
    Operator,
    ReshapedKernel,
    check_finite,
    dense_matrix,
    layers,
)


@torch.no_grad()
def operator_frobenius(layer: nn.Module, in_shape: Sequence[int]) -> float:
    """The Frobenius norm of the layer's operator, exact under padding, stride and dilation.

    Args:
        layer: as for `operator_norm`; a Linear layer's is that of its weight.
        in_shape: shape of one input of the layer, without the batch.
    """
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear):
        return float(weight.norm())
    geometry = geometry_of(Operator(layer, in_shape), layer)
    if geometry is None:
        return float(dense_matrix(layer, in_shape).norm())
    return geometry.frobenius(weight)


@torch.no_grad()
def overshoot(net: nn.Module, *, tolerance: float = 1e-3, seed: int = 1) -> pd.DataFrame:
    """By how much the true norms of the effective weights exceed the budget, now.

    A call every few steps of training gives the history of the tracking error: `method="power"`
    lets layers exceed beta by several percent, the default by less than one in a thousand.

    Args:
        net: a net under `constrain`.
        tolerance: relative width of the certificate behind each number.
        seed: of the random start of Lanczos, which knows nothing of the tracked vectors.

    Returns:
        One row a layer under a budget: layer, beta, lower, upper (the interval of its true norm),
        overshoot = max(0, lower / beta - 1), products (with A^T A, spent by the last refresh).
    """
    rows = []
    for name, layer in constrained_layers(net):
        budget = budget_of(layer)
        norm = operator_norm(layer, budget.in_shape, tolerance=tolerance, seed=seed)
        rows.append(
            {
                "layer": name,
                "beta": budget.beta,
                "lower": norm.lower,
                "upper": norm.upper,
                "overshoot": max(0.0, norm.lower / budget.beta - 1),
                "products": budget.last.products if budget.last else 0,
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def spectrum(
    net: nn.Module,
    in_shape: Sequence[int],
    *,
    certificate: str = "auto",
    tolerance: float = 1e-2,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a layer, of its effective weight.

    Args:
        net: a network that takes (N, *in_shape).
        in_shape: the shape of one input, without the batch.
        certificate: see `operator_norm`.
        tolerance: see `operator_norm`.
        seed: see `operator_norm`.

    Returns:
        Columns layer, lower, upper, method (the interval of the operator norm), reshaped (norm of
        the kernel as a matrix), frobenius (of the operator, not of the kernel), stable_rank
        (frobenius^2 / lower^2, at least the true one), beta (inf where there is no budget).
    """
    rows = []
    for name, layer, shape in layers(net, in_shape):
        check_finite(layer.weight.detach(), name)
        interval = operator_norm(
            layer, shape, certificate=certificate, tolerance=tolerance, seed=seed
        )
        budget = budget_of(layer)
        weight = layer.weight.detach().double()
        kernel = ReshapedKernel(layer, shape)
        frobenius = operator_frobenius(layer, shape)
        rows.append(
            {
                "layer": name,
                "lower": interval.lower,
                "upper": interval.upper,
                "method": interval.method,
                "reshaped": float(torch.linalg.matrix_norm(kernel.matrix(weight), 2)),
                "frobenius": frobenius,
                "stable_rank": (frobenius / interval.lower) ** 2 if interval.lower else math.nan,
                "beta": math.inf if budget is None else budget.beta,
            }
        )
    return pd.DataFrame(rows)
