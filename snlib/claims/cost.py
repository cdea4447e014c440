"""Statistics of the time that a norm budget costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snlib.errors import require

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


def added_time(table: pd.DataFrame) -> pd.DataFrame:
    """Seconds of training with SN over those without, minus 1: a part a scheme, by seed.

    Args:
        table: of the experiment `runtimes`: quantity `seconds_per_step` or `seconds`, a row a run.
    """
    rows = table[table["quantity"].isin(("seconds", "seconds_per_step"))]
    rows = rows.assign(sn=np.isfinite(rows["beta"]))
    wide = rows.groupby(["seed", "scheme", "sn"])["value"].mean().unstack("sn")
    ratio = wide[True] / wide[False] - 1
    return ratio.unstack("scheme").rename(columns=str.upper)
