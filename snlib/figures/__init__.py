"""Figures: a table in, a Figure unknown to pyplot out. Nothing here trains or imports torch."""

from snlib.figures.entries import Entry
from snlib.figures.registry import REGISTRY

__all__ = ["REGISTRY", "Entry"]
