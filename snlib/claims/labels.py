"""Statistics of nets trained on random labels, from the experiments `margins` and `random_labels`.

Accuracies are on the training images, under the attack that the net was trained against.
"""

from __future__ import annotations

import math

import pandas as pd

PANEL_BETA = {"erm": 1.6, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""The budgets of the paper's figure of random labels."""

FITS = 0.9
"""Training accuracy from which random labels count as fitted."""

PUBLISHED = {
    "ERM fits": 0.1,
    "ERM resists": 0.091,
    "ERM learns": 0.089,
    "FGM fits": 0.086,
    "FGM resists": 0.307,
    "FGM learns": 0.237,
    "PGM fits": 0.069,
    "PGM resists": 0.302,
    "PGM learns": 0.235,
    "WRM fits": 0.1,
    "WRM resists": 0.478,
    "WRM learns": 0.238,
}
"""The parts of `memorization` from the last values of the paper's figure, read off."""


def train_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """Training accuracy: a row a seed, columns (scheme, labels, beta)."""
    rows = table[
        (table["quantity"] == "accuracy")
        & (table["attack"] == "training")
        & (table["split"] == "train")
    ]
    return rows.pivot(index="seed", columns=["scheme", "labels", "beta"], values="value")


def random_label_drop(table: pd.DataFrame) -> pd.Series:
    """ERM accuracy on random labels without SN minus with (mean of the budgets there are)."""
    wide = train_accuracy(table)
    mine = wide.loc[:, [cell[:2] == ("erm", "random") for cell in wide.columns]]
    free = [math.isinf(cell[2]) for cell in mine.columns]
    capped = [not one for one in free]
    return (mine.loc[:, free].mean(axis=1) - mine.loc[:, capped].mean(axis=1)).dropna()


def memorization(table: pd.DataFrame) -> pd.DataFrame:
    """Three parts a scheme, all above 0 if the claim holds.

    `fits`: accuracy on random labels without SN, minus `FITS`. `resists`: that accuracy without SN
    minus with the paper's budget. `learns`: accuracy on true labels with that budget minus accuracy
    on random ones with it.
    """
    wide = train_accuracy(table)
    parts = {}
    for scheme, beta in PANEL_BETA.items():
        free, capped, true = (
            wide.get((scheme, *cell), pd.Series(math.nan, wide.index))
            for cell in (("random", math.inf), ("random", beta), ("true", beta))
        )
        name = scheme.upper()
        parts |= {
            f"{name} fits": free - FITS,
            f"{name} resists": free - capped,
            f"{name} learns": true - capped,
        }
    return pd.DataFrame(parts)
