"""Statistics of the experiment `margins`: what separates true from random labels, what SN raises.

Margins are those on training images, clean for ERM, under the training attack for FGM and PGM;
recorded as quantiles, from which the distribution is rebuilt (`snlib.densities`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from snlib import bounds, densities

SEPARATED = 0.5
"""Kolmogorov-Smirnov distance from which two samples count as separated: the best cut between them
then puts three quarters of the images on the right side."""


@dataclass(frozen=True)
class Margins:
    """The margins of one net.

    Args:
        scheme, sn, labels, seed: which net.
        sample: margins, (1000,), ascending.
        published: log10 of what the paper's figure divides them by.
        theorem: log10 of sqrt(Phi), NaN where there is no bound.
    """

    scheme: str
    sn: bool
    labels: str
    seed: int
    sample: np.ndarray
    published: float
    theorem: float

    def log_mode(self, normalization: str) -> float:
        """log10 of the mode divided by a normalization; NaN where the mode is not positive."""
        mode = densities.mode(self.sample)
        return math.log10(mode) - getattr(self, normalization) if mode > 0 else math.nan


def nets(table: pd.DataFrame) -> Iterator[Margins]:
    """The nets of a margins table; those that diverged left out."""
    rows = table[(table["quantity"] == "margin") & (table["split"] == "train")]
    for net in bounds.normalizations(table).to_dict("records"):
        attack = "none" if net["scheme"] == "erm" else "training"
        mine = rows[(rows["run"] == net["run"]) & (rows["attack"] == attack)]
        yield Margins(
            net["scheme"],
            math.isfinite(net["beta"]),
            net["labels"],
            int(net["seed"]),
            densities.of(mine),
            net["published"],
            net["theorem"],
        )


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of two samples: the largest difference of their shares <= x."""
    one, other = np.sort(one), np.sort(other)
    at = np.concatenate([one, other])
    shares = [np.searchsorted(sample, at, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def separation(table: pd.DataFrame) -> pd.DataFrame:
    """Three parts, all above 0 if the claim holds; ERM, distances between true and random labels.

    `raw overlap`: `SEPARATED` minus the distance of raw margins without SN. `normalized apart`: the
    distance of margins divided as published, without SN, minus `SEPARATED`. `raw apart with SN`:
    the distance of raw margins with SN minus `SEPARATED`.
    """
    found = {(net.sn, net.labels, net.seed): net for net in nets(table) if net.scheme == "erm"}
    rows = {}
    for seed in sorted({key[2] for key in found}):
        pairs = {sn: [found.get((sn, kind, seed)) for kind in ("true", "random")] for sn in (0, 1)}
        raw, normalized = (
            {
                sn: distance(*(net.sample * 10.0 ** -(net.published * scaled) for net in pair))
                if all(pair)
                else math.nan
                for sn, pair in pairs.items()
            }
            for scaled in (False, True)
        )
        rows[seed] = {
            "raw overlap": SEPARATED - raw[0],
            "normalized apart": normalized[0] - SEPARATED,
            "raw apart with SN": raw[1] - SEPARATED,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def growth(table: pd.DataFrame, normalization: str = "published") -> pd.DataFrame:
    """log10 of the normalized mode with SN over that without, true labels: a part a scheme."""
    logs = pd.DataFrame(
        [
            {
                "seed": net.seed,
                "scheme": net.scheme,
                "sn": net.sn,
                "log": net.log_mode(normalization),
            }
            for net in nets(table)
            if net.labels == "true"
        ]
    )
    if logs.empty:
        return pd.DataFrame()
    wide = logs.pivot(index="seed", columns=["scheme", "sn"], values="log")
    cells = pd.MultiIndex.from_product([("erm", "fgm", "pgm"), (True, False)])
    wide = wide.reindex(columns=cells)
    return (wide.xs(True, axis=1, level=1) - wide.xs(False, axis=1, level=1)).rename(
        columns=str.upper
    )


def growth_by_theorem(table: pd.DataFrame) -> pd.DataFrame:
    """`growth` in units of the theorem's own sqrt(Phi)."""
    return growth(table, "theorem")
