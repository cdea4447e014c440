"""Whether a figure shows all that is in it."""

from __future__ import annotations

from matplotlib.figure import Figure

from snlib import explore


def fits(figure: Figure) -> bool:
    """Whether nothing of a slider's figure is cut, and no legend of it lies on its axes' texts."""
    explore.png(figure)  # in the layout that it has
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    inside = min(box.x0, box.y0) > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02
    axes = [ax.get_tightbbox() for ax in figure.axes]
    legends = [legend.get_window_extent() for legend in figure.legends]
    return inside and not any(legend.overlaps(ax) for legend in legends for ax in axes)
