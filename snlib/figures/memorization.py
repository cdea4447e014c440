"""Nets that learn random labels by heart, and those that do not; notebook 08."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.errors import require
from snlib.figures import curves, published, style

PANELS = {
    "Random labels": ("random", False),
    "Random labels (SN)": ("random", True),
    "True labels (SN)": ("true", True),
}
"""Panels of the paper's figure: labels, and whether there is a budget."""

PUBLISHED_FIGURE = "fig_random_labels"
PUBLISHED_BETA = {"erm": 1.6, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""The budgets of the paper's figure."""

MARKERS = {"erm": "s", "fgm": "D", "pgm": "v", "wrm": "o"}
"""The paper's markers."""

MARKED = {
    "Random labels": {"erm": 25, "fgm": 50, "pgm": 50, "wrm": 37},
    "Random labels (SN)": {"erm": 100, "fgm": 170, "pgm": 120, "wrm": 100},
    "True labels (SN)": {"erm": 100, "fgm": 170, "pgm": 110, "wrm": 100},
}
"""Epochs at which the paper's curves carry their markers."""

CHANCE = 0.1
"""Accuracy of guessing among ten classes."""


def by_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """Training accuracy by epoch of the runs that the paper's figure shows.

    It is the running one, under the training attack, over all batches of an epoch as the weights
    moved.

    Args:
        table: of the experiment `random_labels`.

    Returns:
        DataFrame panel, scheme, beta, seed, epoch, accuracy.

    Raises:
        UserError: if the table lacks a panel.
    """
    rows = table[table["quantity"] == "running_accuracy"]
    parts = []
    for panel, (labels, sn) in PANELS.items():
        budget = rows["scheme"].map(PUBLISHED_BETA) if sn else math.inf
        part = rows[(rows["labels"] == labels) & (rows["beta"] == budget)]
        require(
            len(part) > 0,
            f"table has no training accuracy by epoch for the panel {panel!r}; "
            "give the table of the experiment random_labels.",
        )
        parts.append(part.assign(panel=panel))
    rows = pd.concat(parts, ignore_index=True).rename(columns={"x": "epoch", "value": "accuracy"})
    return rows[["panel", "scheme", "beta", "seed", "epoch", "accuracy"]]


def final(table: pd.DataFrame, window: int = 10) -> pd.DataFrame:
    """Training accuracy at the end, the mean of a run's last epochs: panel, scheme, seed, accuracy.

    Args:
        table: of the experiment `random_labels`.
        window: epochs, as in the curves' trailing means.
    """
    rows = by_epoch(table)
    keys = ["panel", "scheme", "seed"]
    last = rows.groupby(keys)["epoch"].transform("max") - window
    ends = rows[rows["epoch"] > last].groupby(keys, sort=False)["accuracy"].mean().reset_index()
    order = {name: place for place, name in enumerate([*PANELS, *style.SCHEMES])}
    return ends.sort_values(keys, key=lambda column: column.map(order).fillna(column)).reset_index(
        drop=True
    )


def published_by_epoch() -> pd.DataFrame:
    """The paper's curves (AlexNet, CIFAR-10, one run, error about 0.006): panel, scheme, step,
    accuracy."""
    rows = published.curves(PUBLISHED_FIGURE)
    starts = {
        "Random labels (no SN)": "Random labels",
        "Random labels (SN:": "Random labels (SN)",
        "True labels": "True labels (SN)",
    }
    panel = pd.Series("", index=rows.index)
    for start, name in starts.items():
        panel[rows["panel"].str.startswith(start)] = name
    found = pd.DataFrame({"panel": panel, "scheme": rows["series"].str.lower()})
    found = found.assign(step=rows["x"], accuracy=rows["y"])
    return found.sort_values(["panel", "scheme", "step"], ignore_index=True)


def published_final() -> pd.Series:
    """The last value of each of the paper's curves, indexed by panel and scheme."""
    return published_by_epoch().groupby(["panel", "scheme"])["accuracy"].last()


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Training accuracy at the end in percent as text, the paper's beside it; see `final`.

    Returns:
        DataFrame, a row a scheme, for each panel a column of means over seeds ± half of Student's
        95 % interval and one "| paper", the end of its curve.
    """
    ends = final(table).assign(percent=lambda rows: 100 * rows["accuracy"])
    means = statistics.means(ends, ["panel", "scheme"], "percent").set_index(["panel", "scheme"])
    text = statistics.texts(means, ".1f")
    paper = (100 * published_final()).map("{:.1f}".format)
    columns = {}
    for place, panel in enumerate(PANELS):
        columns[panel] = text[panel]
        columns["| paper" + " " * place] = paper[panel]
    return pd.DataFrame(columns).reindex(list(MARKERS)).rename_axis("scheme")


def who_memorizes(table: pd.DataFrame, *, paper: bool = True, window: int = 10) -> Figure:
    """Training accuracy by epoch, three panels, and the paper's curves.

    Where the table is about all of CIFAR-10 these stand in the same axes, over training steps;
    where it is not, in axes of their own below. Lines are means over seeds of trailing means over
    epochs, bands 95 % Student intervals.

    Args:
        table: of the experiment `random_labels`.
        paper: whether to add the paper's curves.
        window: epochs that a trailing mean spans.
    """
    rows = by_epoch(table)
    same = paper and curves.on_papers_ground(table)
    below = paper and not same
    figure, array = style.axes(1 + below, len(PANELS), (8.4, 5.2 if below else 3.2), sharey=True)
    for column, panel in enumerate(PANELS):
        _draw(array[0, column], rows[rows["panel"] == panel], window, in_steps=same)
        array[0, column].set_title(panel, fontsize=10)
        if paper:
            _draw_published(array[-1, column], panel, dashed=same)
            if below:
                title = f"published: {panel[0].lower()}{panel[1:]}"
                array[1, column].set_title(title, fontsize=10)
    array[0, 0].set_ylim(0, 104)
    for line in array:
        line[0].set_ylabel("training accuracy (%)")
    place = "lower row" if below else "dashed" if same else ""
    _legend(figure, rows, window, place)
    return style.laid_out(figure)


def _draw(ax: Axes, rows: pd.DataFrame, window: int, *, in_steps: bool) -> None:
    ax.set_xlabel("training steps (thousands)" if in_steps else "epoch")
    ax.axhline(100 * CHANCE, color="#bbbbbb", linewidth=0.8, linestyle=":")
    for scheme in MARKERS:
        own = rows[rows["scheme"] == scheme]
        if own.empty:
            continue
        smooth = curves.smoothed(own, window)
        points = statistics.means(smooth, ["epoch"], "accuracy").astype(float)
        x = points["epoch"] * (curves.STEPS / 1000 if in_steps else 1)
        mean, half = 100 * points["mean"], 100 * points["half"].fillna(0.0)
        color = style.COLOR[scheme]
        places = [round(len(points) * (0.45 + 0.06 * list(MARKERS).index(scheme)))]
        ax.plot(x, mean, color=color, marker=MARKERS[scheme], markevery=places)
        ax.fill_between(x, mean - half, mean + half, color=color, alpha=0.15, linewidth=0)


def _draw_published(ax: Axes, panel: str, *, dashed: bool) -> None:
    ax.set_xlabel("training steps (thousands)")
    ax.set_xlim(-4, 82)
    ax.axhline(100 * CHANCE, color="#bbbbbb", linewidth=0.8, linestyle=":")
    theirs = published_by_epoch()
    for scheme, marker in MARKERS.items():
        own = theirs[(theirs["panel"] == panel) & (theirs["scheme"] == scheme)]
        steps, accuracy = own["step"].to_numpy(), 100 * own["accuracy"].to_numpy()
        color, at = style.COLOR[scheme], curves.STEPS * MARKED[panel][scheme]
        ax.plot(steps / 1000, accuracy, "--" if dashed else "-", color=color, linewidth=1)
        height = np.interp(at, steps, accuracy)
        ax.plot(at / 1000, height, color=color, marker=marker, markerfacecolor="white")


def _legend(figure: Figure, rows: pd.DataFrame, window: int, place: str) -> None:
    handles = [
        Line2D([], [], color=style.COLOR[scheme], marker=marker, label=style.SCHEMES[scheme])
        for scheme, marker in MARKERS.items()
        if (rows["scheme"] == scheme).any()
    ]
    seeds = rows["seed"].nunique()
    title = f"trailing mean of {window} epochs, mean over {seeds} seed{'s' * (seeds != 1)}, bands: "
    title += "95 % interval; dotted: guessing"
    if place:
        title += f"\n{place}: published, AlexNet on CIFAR-10, one run, read off the figure"
    options = dict(loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    figure.legend(handles=handles, title=title, title_fontsize=8, **options)
