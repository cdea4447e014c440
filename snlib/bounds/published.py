"""How the paper's figures normalize margins, which is not what its theorems say.

margin / gamma_norm, with s_i the layers' norms in forward order and d their number:

    mode 0   1
    mode 1   P = prod s_i
    mode 2   P c,  c = 1 + sum_{i=0}^{d-1} prod_{j<i} s_j = 1 + 1 + s_1 + ... + s_1 ... s_{d-1}
    extra_correction: times sqrt(sum_i Fhat_i / s_i^2)

The ERM panels use mode 1 with the correction, the FGM and PGM panels mode 2 with it
(`PUBLISHED`). Where this differs from sqrt(Phi):

1. eps/kappa (in PGM step_size/kappa and the term with the number of steps) is left out, and so is
   the factor P inside the bracket; products exclude the layer itself (j < i), where the theorem has
   P_i; PGM uses the formula of FGM; WRM has no panel.
2. Fhat of a convolution is ||K||_F^2 (H W C)/4, H, W, C of its input ("divide by stride squared").
   AlexNet's convolutions have stride 1, and ||K||_F^2 already sums over C: the operator has
   ||W||_F^2 <= H W ||K||_F^2. Against that bound conv1 is off by 0.75 (588 for 784) and conv2 by 24
   (4056 for 169).
3. The authors' s_i come from 20 power iterations, an under-estimate (here: the lower end of the
   certified interval). Response normalization, overlapping max-pooling (l2-Lipschitz up to 2 each)
   and biases are ignored, so P is no Lipschitz constant of AlexNet.
4. Their FGM margins were drawn at eps 0.3, the default of a function, not 2.43, unless a cached
   file is older than that call; PGM used eps = 0.05 E||x||.
5. Margins are of training data; curves for random labels are drawn for ERM only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import nn

from snlib import errors
from snlib.bounds.norms import gather, layer_norms

PUBLISHED = {"erm": (1, True), "fgm": (2, True), "pgm": (2, True)}
"""(mode, extra_correction) of each figure panel, by training scheme."""

LOG10 = math.log(10)


def published_normalization(
    layers: nn.Module | pd.DataFrame | Sequence[tuple[float, float]],
    in_shape: Sequence[int] | None = None,
    *,
    mode: int,
    extra_correction: bool = False,
    sigma: str = "lower",
) -> float:
    """log10 of the gamma_norm by which the authors' figures divide margins.

    The theorem's own normalization is `capacity(...).log10_sqrt_phi`.

    Args:
        layers: a net, or a table of `layer_norms`; pairs (s_i, anything) without the correction.
        in_shape: of one input, beside a net.
        mode: 0, 1 or 2, as above.
        extra_correction: multiply by sqrt(sum_i Fhat_i / s_i^2).
        sigma: which end of the interval of each norm, "lower" or "upper".

    Raises:
        UserError: another mode, or a table without the columns of `layer_norms`.
    """
    errors.one_of("mode", mode, (0, 1, 2))
    if isinstance(layers, nn.Module) and in_shape is not None:
        layers = layer_norms(layers, in_shape)
    norms = gather(layers, in_shape, sigma)
    log_norm = norms.log_product if mode else 0.0
    if mode == 2:
        exclusive = np.concatenate([[0.0], np.cumsum(norms.log_sigma)[:-1]])
        log_norm += float(np.logaddexp(0.0, np.logaddexp.reduce(exclusive)))
    if extra_correction:
        log_hat = np.log(published_frobenius(layers).to_numpy())
        log_norm += float(np.logaddexp.reduce(log_hat - 2 * norms.log_sigma)) / 2
    return log_norm / LOG10


def published_frobenius(table: pd.DataFrame) -> pd.Series:
    """Fhat_i of each layer as the authors computed it, from a table of `layer_norms`.

    ||W||_F^2 of a linear layer, ||K||_F^2 (H W C)/4 of a convolution.

    Raises:
        UserError: the table lacks kind, inputs or kernel_frobenius.
    """
    for column in ("kind", "inputs", "kernel_frobenius"):
        errors.require(
            isinstance(table, pd.DataFrame) and column in table,
            f"extra_correction needs the column {column!r}; give the net and in_shape, or a table "
            "of snlib.bounds.layer_norms.",
        )
    factor = np.where(table["kind"] == "conv", table["inputs"] / 4, 1.0)
    return table["kernel_frobenius"] ** 2 * factor
