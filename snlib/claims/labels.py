"""Statistics of nets trained on random labels."""

from __future__ import annotations

import math

import pandas as pd


def random_label_drop(table: pd.DataFrame) -> pd.Series:
    """ERM train accuracy on random labels without SN minus with (mean of budgets)."""
    rows = table[
        (table["quantity"] == "accuracy")
        & (table["attack"] == "training")
        & (table["split"] == "train")
        & (table["scheme"] == "erm")
        & (table["labels"] == "random")
    ]
    wide = rows.pivot(index="seed", columns="beta", values="value")
    return (wide[math.inf] - wide.drop(columns=math.inf).mean(axis=1)).dropna()
