"""Operator norms of linear and convolutional layers, their certificates, and the budget beta."""

from snlib.spectral.certificates import Interval, operator_norm
from snlib.spectral.constraint import (
    constrain,
    constrained_layers,
    frozen,
    project,
    refresh,
    release,
    shared,
)
from snlib.spectral.operators import dense_matrix, layers
from snlib.spectral.report import operator_frobenius, overshoot, spectrum

__all__ = [
    "Interval",
    "constrain",
    "constrained_layers",
    "dense_matrix",
    "frozen",
    "layers",
    "operator_frobenius",
    "operator_norm",
    "overshoot",
    "project",
    "refresh",
    "release",
    "shared",
    "spectrum",
]
