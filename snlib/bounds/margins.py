"""Margins, the margin risk, and the lower bound kappa on input-gradient norms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from snlib import errors, spectral


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and frozen effective weights inside; every module's mode as before after."""
    modes = {module: module.training for module in net.modules()}
    try:
        net.eval()
        with spectral.frozen(net):
            yield net
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_batch(x: Tensor, batch_size: int) -> None:
    """Refuse an input without a batch dimension, an empty one and a batch size below 1."""
    errors.require(
        isinstance(x, Tensor) and x.dim() >= 2 and len(x) > 0,
        f"x has shape {tuple(getattr(x, 'shape', ()))}; it must be (N, ...) with N >= 1; "
        "add the batch dimension with x[None].",
    )
    errors.require(
        isinstance(batch_size, int) and batch_size >= 1,
        f"batch_size is {batch_size!r}; it must be an integer >= 1.",
    )


def margins(net: nn.Module, x: Tensor, y: Tensor, *, batch_size: int = 500) -> Tensor:
    """f(x)[y] - max over j != y of f(x)[j], in evaluation mode.

    For adversarial margins pass the attacked inputs, e.g. `margins(net, pgm(net, x, y, eps), y)`.

    Args:
        net: gives logits (N, K), K >= 2.
        x: inputs (N, ...).
        y: labels (N,), integers in 0..K-1.
        batch_size: inputs in one forward pass.

    Returns:
        (N,), in the dtype of the logits; negative where the net errs.

    Raises:
        UserError: shapes that do not fit, labels outside the logits, logits that are NaN.
    """
    check_batch(x, batch_size)
    errors.require(
        isinstance(y, Tensor) and tuple(y.shape) == (len(x),),
        f"y has shape {tuple(getattr(y, 'shape', ()))}; it must be ({len(x)},), a label each.",
    )
    with torch.no_grad(), evaluating(net), errors.fitting(net, x.shape, x.dtype):
        pieces = [
            margins_of_logits(net(part), labels)
            for part, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
        ]
    return torch.cat(pieces)


def margins_of_logits(logits: Tensor, y: Tensor) -> Tensor:
    """The margins (N,) of given logits (N, K) and labels (N,).

    Raises:
        UserError: as `margins`.
    """
    errors.require(
        logits.dim() == 2 and logits.shape[1] >= 2,
        f"logits have shape {tuple(logits.shape)}; they must be (N, K) with K >= 2.",
    )
    errors.require(
        tuple(y.shape) == (len(logits),) and not (y.is_floating_point() or y.is_complex()),
        f"y is {y.dtype} of shape {tuple(y.shape)}; it must hold integers, one for each of the "
        f"{len(logits)} rows of logits.",
    )
    classes = logits.shape[1]
    outside = y[(y < 0) | (y >= classes)]
    errors.require(
        outside.numel() == 0,
        f"y holds {outside[0].item() if outside.numel() else None}; labels must lie in "
        f"0..{classes - 1}, as the net gives {classes} logits.",
    )
    errors.require(
        not bool(torch.isnan(logits).any()),
        "logits hold NaN; margins are undefined; the net has diverged or x holds NaN.",
    )
    index = y.long().unsqueeze(1)
    other = logits.scatter(1, index, -math.inf).amax(dim=1)
    return logits.gather(1, index).squeeze(1) - other


def risk(margin: Tensor | Sequence[float], gamma: float = 0.0) -> float:
    """The margin risk: the fraction of margins <= gamma (Xiao, Sun & Luo 2023, eq. 2-4).

    With gamma 0 it is the 0-1 error, ties counted as errors.

    Raises:
        UserError: no margins, a NaN among them, or gamma negative.
    """
    gamma = errors.positive("gamma", gamma, zero=True, infinite=True)
    values = torch.as_tensor(margin, dtype=torch.float64)
    errors.require(
        values.dim() == 1 and values.numel() > 0 and not bool(torch.isnan(values).any()),
        f"margin has shape {tuple(values.shape)} and may hold no NaN; it must be (N,), N >= 1.",
    )
    return float((values <= gamma).double().mean())


def kappa(
    gradient_norms: Tensor | Sequence[float],
    *,
    quantiles: Sequence[float] = (0.01, 0.05, 0.5),
    thresholds: Sequence[float] = (1e-3, 1e-2, 1e-1),
) -> pd.DataFrame:
    """Summary of input-gradient norms ||grad_x l(f(x), y)||, the kappa of Theorems 2 and 3.

    The theorems need ||grad_x l|| >= kappa > 0 at every point within eps of the support. A sample
    minimum is therefore only an upper bound on the largest admissible kappa, and a quantile is no
    kappa at all: it says how large kappa could be if that share of the points were left out.

    Args:
        gradient_norms: (N,), of `snlib.evaluation.gradient_norms`, say, at clean or attacked x.
        quantiles: levels in [0, 1].
        thresholds: for each, the fraction of norms strictly below it.

    Returns:
        DataFrame with columns statistic, at, value; statistics count, minimum, quantile, below.

    Raises:
        UserError: no norms, negative or NaN ones, a level outside [0, 1].
    """
    values = torch.as_tensor(gradient_norms, dtype=torch.float64).detach().cpu().numpy()
    errors.require(
        values.ndim == 1 and values.size > 0 and bool((values >= 0).all()),
        f"gradient_norms have shape {values.shape}; they must be (N,), N >= 1, numbers >= 0.",
    )
    for level in quantiles:
        errors.require(0 <= level <= 1, f"quantiles hold {level!r}; a level must lie in [0, 1].")
    rows = [("count", math.nan, float(values.size)), ("minimum", math.nan, float(values.min()))]
    rows += [("quantile", level, float(np.quantile(values, level))) for level in quantiles]
    rows += [("below", cut, float((values < cut).mean())) for cut in thresholds]
    return pd.DataFrame(rows, columns=["statistic", "at", "value"])


def normalized_margins(margin: Tensor, log10_norm: float) -> Tensor:
    """Margins divided by 10 ** log10_norm, in float64 (N,); zero once below 1e-308.

    `log10_norm` is `published_normalization(...)` or `capacity(...).log10_sqrt_phi`.

    Raises:
        UserError: log10_norm is NaN, as it is when a theorem's premise fails.
    """
    errors.require(
        not math.isnan(log10_norm),
        "log10_norm is NaN; margins cannot be normalized by a capacity that is undefined; "
        "see its premises.",
    )
    margin = margin.detach().double()
    return margin.sign() * 10.0 ** (margin.abs().log10() - log10_norm)
