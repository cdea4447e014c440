"""Error against eps from a recorded table: with and without SN, net by net, attack by attack.

Radii are read in multiples of the radius (of WRM: of the step) that training uses on the same data,
so that curves of different data can share an axis.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from snlib.errors import require

ATTACKS = ("fgm", "pgm", "pgm_inf", "wrm")
"""The attacks of the paper's figure, as the suite `robustness` names them."""

NETS = ("erm", "fgm", "pgm", "pgm_inf", "wrm")
"""Its nets, by the attack that they were trained against; `pgm_inf` is PGM in the linf ball."""

PANELS = tuple(("erm", attack) for attack in ATTACKS) + tuple((name, name) for name in ATTACKS)
"""Its eight panels, net and attack, row by row."""


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Test error of every net under every attack and radius.

    Args:
        table: of the experiment `robustness`.

    Returns:
        DataFrame net, beta, seed, attack, eps, share, error: eps in units of the input, share in
        multiples of the radius of training, error in [0, 1].

    Raises:
        UserError: if the table lacks curves or the radius by which they are to be read.
    """
    rows = table[
        (table["quantity"] == "accuracy") & table["attack"].isin([*ATTACKS, "pgm_log_odds"])
    ]
    units = table[table["quantity"] == "unit"]
    require(
        len(rows) > 0 and len(units) > 0,
        "table has no accuracy against eps, or no radius of training (quantity unit); "
        "give the table of the experiment robustness.",
    )
    rows = rows.assign(net=nets(rows))
    keys = ["run", "attack"]
    rows = rows.merge(units[[*keys, "value"]].rename(columns={"value": "unit"}), on=keys)
    rows = rows.assign(share=rows["x"] / rows["unit"], error=1.0 - rows["value"])
    # "eps" is also the name of a setting, the radius of training, where that is absolute
    rows = rows.drop(columns="eps", errors="ignore").rename(columns={"x": "eps"})
    columns = ["net", "beta", "seed", "attack", "eps", "share", "error"]
    return rows[columns].sort_values(columns[:5], ignore_index=True)


def nets(rows: pd.DataFrame) -> pd.Series:
    """The name of each row's net among `NETS`: its scheme, `pgm_inf` if it is trained in linf."""
    linf = np.isinf(rows["norm"]) if "norm" in rows else pd.Series(False, index=rows.index)
    return rows["scheme"].where(~linf, rows["scheme"] + "_inf")


def advantages(rows: pd.DataFrame) -> pd.DataFrame:
    """What SN takes off the error, seed by seed and radius by radius.

    Args:
        rows: as `errors` returns them, with one budget besides none.

    Returns:
        DataFrame net, attack, seed, share, advantage: error without SN minus error with it.

    Raises:
        UserError: unless every net has two budgets, one of them none.
    """
    sn = ~np.isinf(rows["beta"])
    budgets = sorted(set(rows["beta"]))
    require(
        rows[sn].groupby("net")["beta"].nunique().eq(1).all() and set(sn) == {False, True},
        f"the nets have the budgets {budgets}; each must have one, and none (inf).",
    )
    keys = ["net", "attack", "seed", "share"]
    rows = rows.assign(share=rows["share"].round(9), sn=sn)
    wide = rows.pivot(index=keys, columns="sn", values="error").dropna()
    return (wide[False] - wide[True]).rename("advantage").reset_index()


def below(rows: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """The mean advantage of SN over the radii up to a multiple of the training radius, 0 left out.

    Args:
        rows: as `advantages` returns them.
        share: multiples of the radius of training.

    Returns:
        DataFrame net, attack, seed, advantage.
    """
    inside = rows[(rows["share"] > 0) & (rows["share"] <= share + 1e-6)]
    return inside.groupby(["net", "attack", "seed"])["advantage"].mean().reset_index()


def crossover(shares: pd.Series, advantage: pd.Series) -> float:
    """Where SN stops to help: the radius at which its advantage turns negative, interpolated.

    Args:
        shares: radii, in any unit, ascending.
        advantage: error without SN minus error with it, at each.

    Returns:
        The radius behind which SN has the larger error; 0 if it has so from the first radius above
        0 on, inf if it nowhere has. Of several the first.
    """
    x, d = np.asarray(shares, dtype=float), np.asarray(advantage, dtype=float)
    require(
        len(x) == len(d) > 1 and bool((np.diff(x) > 0).all()),
        f"shares are {x.tolist()}; give ascending radii, two at least, each with its advantage.",
    )
    worse = np.flatnonzero((d < 0) & (x > 0))
    if not len(worse):
        return math.inf
    after = int(worse[0])
    if after == 0 or d[after - 1] <= 0:
        return float(x[after - 1]) if after and x[after - 1] > 0 else 0.0
    left, right = after - 1, after
    return float(x[left] + (x[right] - x[left]) * d[left] / (d[left] - d[right]))


def crossovers(rows: pd.DataFrame) -> pd.Series:
    """The crossover of every net and attack, of the mean advantage over seeds.

    Args:
        rows: as `advantages` returns them.

    Returns:
        Series indexed by net and attack, in multiples of the radius of training.
    """
    means = rows.groupby(["net", "attack", "share"])["advantage"].mean().reset_index()
    return pd.Series(
        {
            pair: crossover(part["share"], part["advantage"])
            for pair, part in means.groupby(["net", "attack"])
        }
    )
