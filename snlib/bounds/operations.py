"""How the operations between modules change a Lipschitz constant, on its logarithm.

An operation of one argument multiplies. Of several: a sum adds the constants of its branches, so a
residual block has skip + branch; a concatenation has sqrt(a^2 + b^2). Both hold whatever the
branches share.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snlib.bounds import factors

RESHAPES = {
    "flatten", "reshape", "view", "permute", "transpose", "swapaxes", "movedim", "squeeze",
    "unsqueeze", "contiguous", "detach", "clone", "chunk", "split", "unbind", "narrow", "select",
    "to", "float", "double", "dropout", "feature_dropout", "alpha_dropout",
}  # fmt: skip
SUMS = {"add", "add_", "iadd", "sub", "sub_", "isub"}
CONCATENATIONS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"}
SCALINGS = {"mul", "mul_", "imul", "multiply", "truediv", "div", "div_", "itruediv"}
Known = tuple[float, str, str]  # log of the constant, kind, how it is known

_ELU = ("input", "alpha", "inplace")
_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE = (
    "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
    "divisor_override",
)  # fmt: skip


def _named(names: tuple[str, ...], args: tuple, kwargs: dict) -> dict[str, Any]:
    return dict(zip(names, args, strict=False)) | kwargs


def operation(
    name: str, args: tuple, kwargs: dict, logs: dict[int, float], out: Any
) -> Known | None:
    """The constant of an operation's result, or None where the operation is not known.

    Args:
        name: of the function or tensor method.
        args: its arguments, as values.
        kwargs: the same by keyword.
        logs: for id(tensor) of each argument that depends on the input, log of its constant.
        out: the result.
    """
    moving = [value for value in _tensors(args, kwargs) if id(value) in logs]
    if name in CONCATENATIONS:
        total = float(np.logaddexp.reduce([2 * logs[id(value)] for value in moving])) / 2
        return total, "concatenation", "root of the sum of squares"
    if name in SUMS:
        if kwargs.get("alpha", 1) != 1:
            return None
        terms = [logs[id(value)] + _spread(value, out) for value in moving]
        return float(np.logaddexp.reduce(terms)), "sum", "sum of the branches"
    if name == "getitem" and isinstance(args[0], tuple | list) and id(out) in logs:
        return logs[id(out)], name, "exact"  # one of the pieces of chunk or split
    if len(moving) != 1:
        return None
    x, log = moving[0], logs[id(moving[0])]
    if name in SCALINGS:
        return _scaling(name, args, x, log, out)
    known = _of_one(name, args, kwargs, x, out)
    return None if known is None else (log + _safe_log(known[0]), name, known[1])


def _of_one(name: str, args: tuple, kwargs: dict, x: Tensor, out: Any) -> tuple[float, str] | None:
    if name in RESHAPES:
        return (1.0, "exact") if not kwargs.get("training", False) else None
    if name == "getitem":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        plain = all(part is None or isinstance(part, int | slice | type(...)) for part in index)
        return (1.0, "exact") if plain else None
    if name in ("expand", "expand_as", "repeat"):
        return math.exp(_spread(x, out)), "copies"
    if name in ("mean", "sum"):
        return _average(name, args, kwargs, x, out)
    if name in ("elu", "elu_"):
        return factors.elu_slope(_named(_ELU, args, kwargs).get("alpha", 1.0)), "largest slope"
    if name in ("leaky_relu", "leaky_relu_"):
        slope = _named(("input", "negative_slope"), args, kwargs).get("negative_slope", 0.01)
        return max(1.0, abs(slope)), "largest slope"
    if name.lstrip("_") in ("max_pool1d", "max_pool2d", "max_pool3d"):
        given = _named(_MAX, args, kwargs)
        settings = [given.get(key, default) for key, default in _MAX_DEFAULTS]
        factor = factors.max_pool_factor(x.shape[2:], out.shape[2:], *settings)
        return factor, f"an entry lies in up to {round(factor**2)} windows"
    if name in ("avg_pool1d", "avg_pool2d", "avg_pool3d"):
        given = _named(_AVERAGE, args, kwargs)
        settings = [given.get(key, default) for key, default in _AVERAGE_DEFAULTS]
        return factors.average_pool_factor(x.shape[2:], *settings), "exact"
    if name in ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"):
        return factors.adaptive_average_factor(x.shape[2:], out.shape[2:]), "exact"
    if name == "local_response_norm":
        given = inspect.signature(F.local_response_norm).bind(*args, **kwargs)
        given.apply_defaults()
        settings = given.arguments["beta"], given.arguments["k"]
        return factors.response_norm_factor(*settings), "bound for all inputs"
    if name == "pad":
        return _padding(args, kwargs, x)
    slope = factors.SLOPES.get(name)
    return None if slope is None else (slope, "largest slope")


_MAX_DEFAULTS = (("kernel_size", 1), ("stride", None), ("padding", 0), ("dilation", 1))
_AVERAGE_DEFAULTS = (
    *(("kernel_size", 1), ("stride", None), ("padding", 0), ("ceil_mode", False)),
    *(("count_include_pad", True), ("divisor_override", None)),
)


def _tensors(*values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(*value)
        elif isinstance(value, dict):
            found += _tensors(*value.values())
    return found


def _safe_log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _spread(x: Tensor, out: Tensor) -> float:
    """log of the factor by which broadcasting x to the result's shape stretches it."""
    return math.log(out.numel() / x.numel()) / 2


def _scaling(name: str, args: tuple, x: Tensor, log: float, out: Tensor) -> Known | None:
    other = args[1] if args[0] is x else args[0]
    divides = "div" in name
    if divides and args[0] is not x:
        return None
    values = torch.as_tensor(other, dtype=torch.float64).abs()
    largest = float(1 / values.min()) if divides else float(values.max())
    return log + _safe_log(largest) + _spread(x, out), "scaling", "largest scale"


def _average(
    name: str, args: tuple, kwargs: dict, x: Tensor, out: Tensor
) -> tuple[float, str] | None:
    dims = _named(("input", "dim"), args, kwargs).get("dim")
    dims = dims if isinstance(dims, tuple | list) else [dims]
    # A mean over the batch mixes inputs, which is no map of one input.
    if None in dims or any(dim % x.dim() == 0 for dim in dims):
        return None
    root = math.sqrt(x.numel() / out.numel())
    return (1 / root if name == "mean" else root), "exact"


def _padding(args: tuple, kwargs: dict, x: Tensor) -> tuple[float, str]:
    given = _named(("input", "pad", "mode", "value"), args, kwargs)
    mode = given.get("mode", "constant")
    if mode == "constant":
        return 1.0, "exact"
    # The other modes copy entries: as many times as the adjoint sums.
    with torch.enable_grad():
        leaf = torch.zeros_like(x, dtype=torch.float64).requires_grad_()
        copies = torch.autograd.grad(F.pad(leaf, given["pad"], mode=mode).sum(), leaf)[0]
    return math.sqrt(float(copies.max())), f"an entry is copied up to {int(copies.max())} times"
