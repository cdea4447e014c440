"""What stands in the register: a figure, where its rows come from, how it is drawn at a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from snlib import claims, tables
from snlib.claims import beside
from snlib.errors import require
from snlib.figures import benchmarks, panels


@dataclass(frozen=True)
class Entry:
    """A figure of the workbook.

    Args:
        notebook: first two digits of the notebook that shows it.
        experiment: whose table it draws.
        caption: one sentence, with what the bars or bands are.
        function: table -> Figure.
    """

    notebook: str
    experiment: str
    caption: str
    function: Callable[..., Figure]

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from the records at `scale` in `store`."""
        return self.function(tables.load(self.experiment, scale=scale, store=store))


@dataclass(frozen=True)
class Measured(Entry):
    """A figure of benchmarks: their records are the same at every scale and in every store."""

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from data/results/benchmarks."""
        return self.function(benchmarks.load())


@dataclass(frozen=True)
class Nearest(Entry):
    """A figure of an experiment that quick has not: of the evidence nearest to the paper."""

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from the committed evidence, whatever scale and store are asked for.

        Raises:
            UserError: nothing of the experiment is recorded.
        """
        found = tables.nearer(self.experiment)
        require(bool(found), f"nothing is recorded of {self.experiment}.")
        return self.function(next(iter(found.values())))


@dataclass(frozen=True)
class OfTable1(Entry):
    """A figure of Table 1, from every table of it that is recorded at the scale."""

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from the rows of these tables."""
        return self.function(beside.rows(beside.load(scale, store)))


@dataclass(frozen=True)
class OfPanels(Entry):
    """A figure of several experiments; the paper's curves stand there without ours too."""

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from what is recorded of these experiments at the scale."""
        return self.function(panels.load(scale, store))


@dataclass(frozen=True)
class Judged(Entry):
    """A figure of verdicts: one scale from a store, the others from the committed evidence."""

    def draw(self, scale: str = "quick", store: str = "recorded") -> Figure:
        """The figure from the claims, judged at every scale."""
        return self.function(claims.judge_all(store, only=scale))
