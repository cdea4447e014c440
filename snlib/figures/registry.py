"""Every recorded figure by name: its notebook, its caption, and how to draw it at a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from snlib import tables
from snlib.figures import curves, gap, tour


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


REGISTRY: dict[str, Entry] = {
    "tour_gap": Entry(
        "00",
        "gap",
        "Generalization gap of PGM training against the norm budget, and the two accuracies behind "
        "it. Bars: 95 % Student interval over seeds; small dots: single seeds; shaded: the budget "
        "that validation chose; hollow: published, AlexNet on CIFAR-10, one run.",
        tour.one_scheme,
    ),
    "gap_against_budget": Entry(
        "04",
        "gap",
        "Generalization gap (train minus test accuracy under the training attack) against the norm "
        "budget, one column a training scheme, and the two accuracies behind it. Bars: 95 % "
        "Student interval over seeds; small dots: single seeds; shaded: the budget that validation "
        "chose; hollow: published, AlexNet on CIFAR-10, one run.",
        gap.against_budget,
    ),
    "training_curves": Entry(
        "05",
        "curves",
        "Accuracy under the training attack by epoch, with and without spectral normalization. "
        "Lines: mean over seeds; bands: 95 % Student interval. Lower row: the paper's curves, "
        "AlexNet on CIFAR-10, one run, read off its figure.",
        curves.with_and_without,
    ),
}
