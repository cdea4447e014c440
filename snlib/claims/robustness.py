"""Statistics of the experiment `robustness`: curves over eps, and nets trained on linf attacks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

PANELS = {
    "fgm": (("erm", None), ("fgm", 2.0)),
    "pgm": (("erm", None), ("pgm", 2.0)),
    "pgm_inf": (("erm", None), ("pgm", math.inf)),
    "wrm": (("erm", None), ("wrm", 2.0)),
}
"""The paper's eight panels: attack -> the nets that it tries, as (scheme, norm of training)."""

NAMES = {"fgm": "FGM", "pgm": "PGM", "pgm_inf": "PGM linf", "wrm": "WRM"}


def margins_over_eps(curves: pd.DataFrame, half: str) -> pd.Series:
    """Mean accuracy with SN minus without over one half of the axis of eps, 0 left out.

    Args:
        curves: one net with and without SN: columns x, sn (bool), value, and what tells seeds apart
            as index.
        half: "lower", up to the middle of the axis, or "upper".
    """
    end = curves["x"].max()
    inside = (curves["x"] > 0) & ((curves["x"] <= end / 2 + 1e-9) == (half == "lower"))
    means = curves[inside].groupby([curves.index[inside], "sn"])["value"].mean().unstack("sn")
    return means.reindex(columns=[True, False]).diff(-1, axis=1)[True]


def over_eps(table: pd.DataFrame, half: str = "lower") -> pd.DataFrame:
    """A part an attack: `margins_over_eps`, mean of the nets of its panels, by seed."""
    norm = table["norm"] if "norm" in table else pd.Series(math.nan, table.index)
    parts = {}
    for attack, nets in PANELS.items():
        panels = []
        for scheme, trained in nets:
            same = norm.isna() if trained is None else norm == trained
            rows = table[
                (table["quantity"] == "accuracy")
                & (table["attack"] == attack)
                & (table["scheme"] == scheme)
                & same
                & table["x"].notna()
            ]
            curves = rows.assign(sn=np.isfinite(rows["beta"])).set_index("seed")
            panels.append(margins_over_eps(curves[["x", "sn", "value"]], half))
        parts[NAMES[attack]] = pd.concat(panels, axis=1).mean(axis=1, skipna=False)
    return pd.DataFrame(parts)


def beyond(table: pd.DataFrame) -> pd.DataFrame:
    """`over_eps` on the upper half of the axis."""
    return over_eps(table, "upper")


def linf_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy under the linf training attack with SN minus without, a part a scheme.

    One budget beside none is expected of each scheme; of several, their mean is taken.
    """
    rows = table[
        (table["quantity"] == "accuracy")
        & (table["attack"] == "training")
        & (table["split"] == "test")
        & np.isinf(table["norm"].astype(float))
    ]
    rows = rows.assign(sn=np.isfinite(rows["beta"]))
    wide = rows.groupby(["seed", "scheme", "sn"])["value"].mean().unstack("sn")
    gain = wide.reindex(columns=[True, False]).diff(-1, axis=1)[True]
    return gain.unstack("scheme").rename(columns=str.upper)
