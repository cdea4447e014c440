"""Tools of the workbook on *Generalizable Adversarial Training via Spectral Normalization*."""

from snlib.attacks import Attack, fgm, pgm, trades_attack, wrm
from snlib.bounds import capacity, margins
from snlib.models import build
from snlib.runs import Run
from snlib.spectral import constrain, operator_norm, release, spectrum
from snlib.tables import load
from snlib.training import fit

__all__ = [
    "Attack",
    "Run",
    "build",
    "capacity",
    "constrain",
    "fgm",
    "fit",
    "load",
    "margins",
    "operator_norm",
    "pgm",
    "release",
    "spectrum",
    "trades_attack",
    "wrm",
]
