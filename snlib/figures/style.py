"""The look of every figure: set here, drawn with, nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

SCHEMES = {"erm": "ERM", "fgm": "FGM", "pgm": "PGM", "wrm": "WRM", "trades": "TRADES"}
"""Names of the training schemes, as titles show them, in the paper's order."""

COLOR = dict(zip(SCHEMES, seaborn.color_palette("colorblind", 5).as_hex(), strict=True))
"""One colour a training scheme."""

FREE, CAPPED, PAPER = "#d55e00", "#0072b2", "#555555"
"""Without SN, with SN, and what the paper published."""

RC = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.hashsalt": "snlib",
}


def axes(
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (4.0, 3.0),
    **options: object,
) -> tuple[Figure, np.ndarray]:
    """A figure in the workbook's style and its axes, as an array (rows, columns).

    pyplot makes it, which teaches a notebook to show figures, and forgets it at once: it is shown
    as the value of a cell and nowhere else, also where drawing breaks off.

    Args:
        size: width and height of the whole figure, in inches.
        options: for `plt.subplots`, such as sharey.
    """
    with matplotlib.rc_context(RC):
        figure, array = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    plt.close(figure)
    return figure, array


def laid_out(figure: Figure) -> Figure:
    """The figure, laid out with this style.

    Not by its canvas: one that pyplot has forgotten has a canvas that draws nothing.
    """
    with matplotlib.rc_context(RC):
        figure.draw_without_rendering()
    return figure


BETA_PLACES = {0.4: 0.0, 1.0: 0.1, 1.3: 0.28, 1.6: 0.46, 2.0: 0.64, 4.0: 0.82, 16.0: 0.95}
"""Where budgets lie on the scale of colours: the paper's grid evenly, others between."""


def beta_color(beta: float):
    """The colour of a budget, the same in every figure: dark is tight, orange is none."""
    if math.isinf(beta):
        return FREE
    place = np.interp(math.log(beta), np.log([*BETA_PLACES]), [*BETA_PLACES.values()])
    return matplotlib.colormaps["viridis"](float(place))


def beta_label(beta: float) -> str:
    """A budget as legends and ticks show it."""
    return "∞" if math.isinf(beta) else f"{beta:g}"


def log_axis(ax, label: str) -> None:
    """A logarithmic axis of x with ticks at 1, 2, 3 and 5 times powers of ten, all in one size."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(label)


def percents(ax, x: Sequence[float], means, **look: object) -> None:
    """Means of shares over x in percent, with their half-widths as bars where there are any.

    Args:
        means: columns mean and half, as `statistics.means` returns them.
        look: for `Axes.errorbar`.
    """
    mean, half = (100 * means[column].astype(float) for column in ("mean", "half"))
    ax.errorbar(x, mean, yerr=half.fillna(0.0), **{"capsize": 2.5, "elinewidth": 0.9, **look})


def beta_axis(ax, betas: Sequence[float]) -> dict[float, int]:
    """Put budgets at equal distances, tightest first and no budget last; returns their places."""
    ordered = sorted(set(betas))
    ax.set_xticks(range(len(ordered)), [beta_label(beta) for beta in ordered])
    ax.set_xlabel("norm budget β")
    return {beta: place for place, beta in enumerate(ordered)}
