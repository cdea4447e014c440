"""Lipschitz factors (l2) of single operations: activations, pooling, normalization, padding.

Max-pooling. Every output copies one input of its window, so ||pool(x) - pool(x')||^2 is at most
the sum over windows of the largest squared difference inside, and no entry is counted more often
than it has windows: the factor is sqrt(the largest number of windows that share an entry). It is
attained where that entry wins all its windows: 2 for 3x3 windows with stride 2.

Average-pooling is linear and separable: the factor is the product over the dimensions of the
largest singular value of the one-dimensional averaging matrix.

Local response normalization, y_c = x_c D_c^-b, D_c = k + a sum_{j in N(c)} x_j^2 with a =
alpha/size. Its Jacobian is diag(D^-b) - 2 a b M, M_cj = x_c x_j D_c^(-b-1) for j in N(c). The
first term has norm <= k^-b. For the second let S_c = sum_{N(c)} x_j^2 and g_c = S_c D_c^(-2b-2).
By Cauchy-Schwarz

    ||M v||^2 <= sum_c x_c^2 g_c sum_{N(c)} v_j^2 = sum_j v_j^2 sum_{c: j in N(c)} x_c^2 g_c.

The channels c that have j in their window split into two halves inside which all lie in each
other's windows. So the sum H of x_c^2 over a half is <= S_c for each c in it, and sum_half x_c^2
g_c <= max_c H g_c <= sup_S S^2 (k + a S)^(-2b-2), attained at a S = k/b. Together

    ||J|| <= k^-b (1 + 2 sqrt(2) (b/(1+b))^(b+1)),       1.642 for b = 0.75, k = 1,

for all inputs, whatever alpha, size and the range of x. It is not tight: at x = 0 the factor is
k^-b, and a numerical search (gradient ascent from random x, sizes 3 to 9) found nothing larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snlib import errors

# The largest absolute slope, rounded up; the arguments' names are those of the functions.
SLOPES = {
    "relu": 1.0, "relu_": 1.0, "relu6": 1.0, "hardtanh": 1.0, "clamp": 1.0, "abs": 1.0, "neg": 1.0,
    "tanh": 1.0, "softsign": 1.0, "softplus": 1.0, "logsigmoid": 1.0, "sigmoid": 0.25,
    "hardsigmoid": 0.1666667, "hardswish": 1.5, "gelu": 1.13, "silu": 1.1, "mish": 1.09,
    "softmax": 0.5,
}  # fmt: skip
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
UNCHANGED = (nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.ChannelShuffle, *DROPOUTS)
ZERO_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
ZERO_PADS += (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)


def per_dimension(value: int | Sequence[int], dimensions: int) -> list[int]:
    """A setting of a pooling layer, repeated if it is one number."""
    return list(value) if isinstance(value, tuple | list) else [value] * dimensions


def windows(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """(out, size) in float64: 1 where an entry lies in a window, along one dimension."""
    taps = torch.arange(out)[:, None] * stride - padding + torch.arange(kernel) * dilation
    matrix = torch.zeros(out, size, dtype=torch.float64)
    rows, taps = torch.arange(out)[:, None].expand_as(taps), taps
    inside = (taps >= 0) & (taps < size)
    matrix[rows[inside], taps[inside]] = 1.0
    return matrix


def max_pool_factor(
    sizes: Sequence[int],
    outs: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> float:
    """Exact factor of max-pooling maps of `sizes` (H, W) to `outs`."""
    dimensions = len(sizes)
    settings = [per_dimension(v, dimensions) for v in (kernel, stride or kernel, padding, dilation)]
    shared = [
        float(windows(size, out, *setting).sum(dim=0).max())
        for size, out, *setting in zip(sizes, outs, *settings, strict=True)
    ]
    return math.sqrt(math.prod(shared))


def average_pool_factor(
    sizes: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> float:
    """Exact factor of average-pooling maps of `sizes` (H, W)."""
    dimensions = len(sizes)
    settings = [per_dimension(value, dimensions) for value in (kernel, stride or kernel, padding)]
    factor = 1.0
    for size, width, step, pad in zip(sizes, *settings, strict=True):
        eye = torch.eye(size, dtype=torch.float64)[:, None]
        matrix = F.avg_pool1d(eye, width, step, pad, ceil_mode, count_include_pad)[:, 0]
        if divisor_override is not None:
            matrix = (matrix > 0).double()
        factor *= float(torch.linalg.matrix_norm(matrix, 2))
    return factor / (divisor_override or 1)


def adaptive_average_factor(sizes: Sequence[int], outs: Sequence[int]) -> float:
    """Exact factor of adaptive average-pooling maps of `sizes` to `outs`."""
    factor = 1.0
    for size, out in zip(sizes, outs, strict=True):
        eye = torch.eye(size, dtype=torch.float64)[:, None]
        factor *= float(torch.linalg.matrix_norm(F.adaptive_avg_pool1d(eye, out)[:, 0], 2))
    return factor


def response_norm_factor(beta: float, k: float) -> float:
    """A factor of local response normalization that holds for all inputs; derived above."""
    errors.positive("k", k)
    return k**-beta * (1 + 2 * math.sqrt(2) * (beta / (1 + beta)) ** (beta + 1))


def elu_slope(alpha: float, scale: float = 1.0) -> float:
    """Largest slope of scale (z for z > 0, alpha (exp z - 1) else)."""
    return abs(scale) * max(1.0, abs(alpha))


def module_factor(module: nn.Module, x: Tensor, out: Tensor) -> tuple[float, str] | None:
    """(factor, how it is known) of a module without a linear layer's weight, or None: unknown.

    Args:
        module: in evaluation mode.
        x: one input of it (1, ...), whose shape counts.
        out: its output.
    """
    name = nn.utils.parametrize.type_before_parametrizations(module).__name__
    stated = getattr(module, "lipschitz", None)
    if isinstance(stated, int | float):
        return float(stated), "stated by the module"
    if isinstance(module, UNCHANGED):
        return 1.0, "exact"
    if isinstance(module, ZERO_PADS):
        return 1.0, "exact"
    if isinstance(module, nn.ELU):
        return elu_slope(module.alpha), "largest slope"
    if isinstance(module, nn.CELU):
        return 1.0, "largest slope"
    if isinstance(module, nn.SELU):
        return elu_slope(1.6732632423543772, 1.0507009873554805), "largest slope"
    if isinstance(module, nn.LeakyReLU):
        return max(1.0, abs(module.negative_slope)), "largest slope"
    if isinstance(module, nn.PReLU):
        return max(1.0, float(module.weight.detach().abs().max())), "largest slope"
    if isinstance(module, BATCH_NORMS) and module.running_var is not None:
        scale = 1.0 if module.weight is None else module.weight.detach().double().abs()
        variance = module.running_var.double() + module.eps
        return float((scale / variance.sqrt()).max()), "exact, running statistics"
    if isinstance(module, MAX_POOLS):
        settings = (module.kernel_size, module.stride, module.padding, module.dilation)
        factor = max_pool_factor(x.shape[2:], out.shape[2:], *settings)
        return factor, f"an entry lies in up to {round(factor**2)} windows"
    if isinstance(module, AVERAGE_POOLS):
        settings = (module.kernel_size, module.stride, module.padding)
        settings += (module.ceil_mode, module.count_include_pad)
        divisor = getattr(module, "divisor_override", None)
        return average_pool_factor(x.shape[2:], *settings, divisor), "exact"
    if isinstance(module, ADAPTIVE_AVERAGES):
        return adaptive_average_factor(x.shape[2:], out.shape[2:]), "exact"
    if isinstance(module, nn.LocalResponseNorm):
        return response_norm_factor(module.beta, module.k), "bound for all inputs"
    if name == "AlwaysOnDropout":  # its masks scale what they keep, in evaluation too
        return 1 / (1 - module.drop), "largest scale of a mask"
    slope = SLOPES.get(name.lower())
    return None if slope is None else (slope, "largest slope")
