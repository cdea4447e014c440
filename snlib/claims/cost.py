"""Statistics of the time that a norm budget costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.errors import require

SMALL = 0.1
"""The share of training time that still counts as little."""

NET = {"net": "alexnet", "width": 1.0, "batch": 128.0}
"""The paper's network and batch, whose steps the benchmark times."""


def added_step_time(table: pd.DataFrame) -> pd.DataFrame:
    """CPU seconds of a step with SN over those of the plain step, minus 1, by round.

    Args:
        table: of the benchmark `spectral_cost`; rounds are paired.
    """
    rows = table[(table["quantity"] == "ratio of a round") & (table["contestant"] == "ours")]
    for name, value in NET.items():
        rows = rows[rows[name] == value]
    require("round" in rows and len(rows) > 0, "no rounds of spectral_cost are recorded.")
    wide = rows.pivot(index="round", columns="attack", values="value") - 1
    wide = wide.rename(columns={"none": "ERM step", "pgm": "PGM step"})
    wide.attrs["over"] = "rounds"
    return wide


PAIR = ["data", "net", "scheme", "norm", "eps"]
"""The settings that two runs of a pair share; not every table has them all as columns."""


def added_time(table: pd.DataFrame) -> pd.DataFrame:
    """Time of an epoch with SN over that without, minus 1, mean of the pairs of a scheme, by seed.

    Args:
        table: of the experiment `runtimes`: quantity `seconds`, x = epoch. A run's time is the
            median of its epochs.
    """
    rows = table[table["quantity"] == "seconds"]
    rows = rows.assign(sn=np.isfinite(rows["beta"]))
    keys = [key for key in PAIR if key in rows]
    medians = rows.groupby([*keys, "seed", "sn"], dropna=False)["value"].median().unstack("sn")
    pairs = medians.reindex(columns=[True, False]).dropna()
    added = (pairs[True] / pairs[False] - 1).rename("added").reset_index()
    wide = added.pivot_table(index="seed", columns="scheme", values="added")
    wide = wide.rename(columns=str.upper)
    wide.attrs["over"] = f"seeds, {len(added) // max(len(wide), 1)} pairs"
    return wide
