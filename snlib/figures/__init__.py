"""Figures: a table in, a closed matplotlib Figure out. Nothing here trains or imports torch."""

from snlib.figures.registry import REGISTRY, Entry

__all__ = ["REGISTRY", "Entry"]
