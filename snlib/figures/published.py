"""The paper's own numbers, from `data/paper/`, to be drawn and printed beside ours."""

from __future__ import annotations

import functools

import pandas as pd

from snlib.results import ROOT

FOLDER = ROOT / "data" / "paper"


@functools.lru_cache(maxsize=1)
def _table1() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "table1.csv")


@functools.lru_cache(maxsize=1)
def _curves() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "curves.csv")


def table1() -> pd.DataFrame:
    """The 124 rows of Table 1 and of what was left out of it (see data/paper/README.md)."""
    return _table1().copy()


def curves(figure: str) -> pd.DataFrame:
    """The values of one figure: columns panel, series, x, y, read_off_error."""
    chosen = _curves()[_curves()["figure"] == figure]
    return chosen.drop(columns="figure").reset_index(drop=True)
