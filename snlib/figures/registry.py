"""Every recorded figure by name: its notebook, its caption, and how to draw it at a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from snlib import tables


@dataclass(frozen=True)
class Entry:
    """A figure of the workbook.

    Args:
        notebook: first two digits of the notebook that shows it.
        experiment: whose table it draws.
        caption: one sentence, with what the bars or bands are.
        function: table -> closed Figure.
    """

    notebook: str
    experiment: str
    caption: str
    function: Callable[..., Figure]

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from the records at `scale` in `store`."""
        return self.function(tables.load(self.experiment, scale=scale, store=store))


REGISTRY: dict[str, Entry] = {}
