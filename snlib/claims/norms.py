"""Statistics of the experiment `gain`: norm gains, input gradients, norms of convolutions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.claims.gap import SCHEMES


def gain_growth(table: pd.DataFrame) -> pd.Series:
    """Smallest step of the log10 of the median norm gain from a budget to the next, ERM."""
    rows = table[
        (table["quantity"] == "norm_gain")
        & (table["split"] == "test")
        & (table["x"] == 0.5)
        & (table["scheme"] == "erm")
    ]
    wide = np.log10(rows.pivot(index="seed", columns="beta", values="value").dropna())
    return wide[sorted(wide.columns)].diff(axis=1).iloc[:, 1:].min(axis=1)


def low_gradients(table: pd.DataFrame) -> pd.Series:
    """1 % quantile of the norm of the loss's input gradient, smallest over schemes at beta 1.3."""
    rows = table[
        (table["quantity"] == "gradient_norm")
        & (table["split"] == "train")
        & (table["x"] == 0.01)
        & (table["beta"] == 1.3)
    ]
    wide = rows.pivot(index="seed", columns="scheme", values="value").reindex(columns=SCHEMES)
    return wide.dropna().min(axis=1)


def reshaped_excess(table: pd.DataFrame) -> pd.Series:
    """1 minus the ratio of Miyato's norm to the true one, smallest over the capped convolutions."""
    layers = table[table["split"].str.startswith("conv") & np.isfinite(table["beta"])]
    keys = ["run", "seed", "split"]
    wide = layers.pivot_table(index=keys, columns="quantity", values="value")
    wide = wide.reindex(columns=["reshaped", "upper"])
    return (1 - wide["reshaped"] / wide["upper"]).groupby("seed").min()
