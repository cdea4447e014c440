"""Table 1 as figures: the gain against accuracy without SN, and what the gain is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib.claims import beside
from snlib.claims.table1 import published, stands_for
from snlib.figures import style

MARKERS = {"cifar10": "s", "mnist": "o", "svhn": "v"}
"""Those of the paper's figure; other data are diamonds."""

NAMES = {"cifar10": "CIFAR-10", "mnist": "MNIST", "svhn": "SVHN"}

RANGES = {"erm": (0.44, 1.02), "fgm": (0.30, 1.0), "pgm": (0.29, 1.0), "wrm": (0.30, 0.96)}
GAINS = (-0.02, 0.20)
"""The axes of the paper's figure; they are widened where our rows need it."""

HERE = style.CAPPED

DIVERGED = 0.11
"""Test accuracy on ten classes at which training has come to nothing."""


def marker(data: str) -> str:
    """Of a data set, or of a part of it or of other images that stand for it."""
    return MARKERS.get(stands_for(data), "D")


def name(data: str) -> str:
    """A data set as legends show it."""
    whole, _, part = data.partition(", ")
    shown = NAMES.get(whole, beside.named(whole))
    return f"{shown}, {part}" if part else shown


def scatter(ours: pd.DataFrame) -> Figure:
    """The paper's figure: gain of SN in test accuracy against test accuracy without it.

    Hollow grey: the 42 printed rows; grey crosses: the 20 left out (those beyond the axis at its
    edge, with their gain); blue: ours, mean and 95 % interval over seeds.
    """
    theirs, means = published(), beside.means(ours)
    ends = means["half"].fillna(0)
    low, high = _range(GAINS, pd.concat([means["gain_here"] - ends, means["gain_here"] + ends]))
    figure, (axes,) = style.axes(1, 4, size=(9.6, 2.9), sharey=True)
    for ax, scheme in zip(axes, RANGES, strict=True):
        rows, mine = (part[part["scheme"] == scheme] for part in (theirs, means))
        for row in rows[rows["gain"] <= high].to_dict("records"):
            look = dict(marker=marker(row["data"]), markersize=4.5, markerfacecolor="none")
            if not row["in_table"]:
                look = dict(marker="x", markersize=4, alpha=0.7)
            ax.plot(row["free_test"], row["gain"], color=style.PAPER, zorder=2, **look)
        _beyond(ax, rows[rows["gain"] > high], high)
        for data, part in mine.groupby("data"):
            bars = dict(yerr=part["half"], elinewidth=0.9, zorder=3)
            at = part["free_test_here"], part["gain_here"]
            ax.errorbar(*at, fmt=marker(data), color=HERE, **bars)
        known = pd.concat([mine["free_test_here"], rows["free_test"]])
        ax.set(xlim=_range(RANGES[scheme], known), xlabel="test acc without SN")
        ax.set_title(f"{style.SCHEMES[scheme]} training", fontsize=10)
        ax.axhline(0, color="#999999", linewidth=0.8)
    axes[0].set(ylim=(low, high), ylabel="gain in test acc with SN")
    _legend(figure, theirs, means)
    return style.laid_out(figure)


def _beyond(ax, rows: pd.DataFrame, high: float) -> None:
    """Rows with a gain above the axis, at its upper edge."""
    for place, part in rows.groupby("free_test"):
        ax.plot(place, high, "x", color=style.PAPER, markersize=4, alpha=0.7, clip_on=False)
        text = ", ".join(f"+{gain:.2f}" for gain in sorted(part["gain"]))
        ax.annotate(text, (place, high), (5, -7), textcoords="offset points", fontsize=7)


def _range(paper: tuple[float, float], values: pd.Series) -> tuple[float, float]:
    """The paper's axis, widened to hold our values."""
    known = values.dropna()
    low, high = (known.min(), known.max()) if len(known) else paper
    return min(paper[0], low - 0.02), max(paper[1], high + 0.02)


def _legend(figure: Figure, theirs: pd.DataFrame, means: pd.DataFrame) -> None:
    point = dict(linestyle="none", markersize=5)
    hollow = dict(color=style.PAPER, markerfacecolor="none")
    handles = [
        Line2D([], [], marker=MARKERS[data], label=f"{NAMES[data]}, paper", **point, **hollow)
        for data in MARKERS
    ]
    handles.append(
        Line2D([], [], marker="x", color=style.PAPER, label="computed by the authors, not printed",
               **point)
    )  # fmt: skip
    handles += [
        Line2D([], [], marker=marker(data), color=HERE, label=f"{name(data)}, here", **point)
        for data in dict.fromkeys(means["data"])
    ]
    columns = len(handles) if len(handles) < 6 else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def parts(ours: pd.DataFrame) -> Figure:
    """What a gain is made of: the rise in train accuracy and the reduction of the gap.

    Left the paper's rows, right ours, a dot a configuration (means over seeds), a colour a training
    scheme. Between the two axes of 0 both add to the gain; on a dotted line the gain is the same,
    on the solid one nothing is gained.
    """
    theirs = published().rename(columns={"rise": "x", "reduction": "y"})
    means = beside.means(ours).rename(columns={"rise_here": "x", "reduction_here": "y"})
    sides = {"Paper: 42 rows, and × the 20 left out": theirs, "Here: means over seeds": means}
    points = pd.concat([theirs[theirs["free_test"] > DIVERGED], means])[["x", "y"]]
    low, high = points.min() - [0.04, 0.09], points.max().add([0.08, 0.04])
    figure, (axes,) = style.axes(1, 2, size=(8.8, 3.9), sharex=True, sharey=True)
    for ax, (title, rows) in zip(axes, sides.items(), strict=True):
        _gain_lines(ax, low, high)
        for row in rows.to_dict("records"):
            look = dict(marker=marker(row["data"]), markerfacecolor="none")
            if not row.get("in_table", True):
                look = dict(marker="x", markersize=4)
            ax.plot(row["x"], row["y"], color=style.COLOR[row["scheme"]], **look)
        ax.set(xlim=(low["x"], high["x"]), ylim=(low["y"], high["y"]))
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("rise in train accuracy with SN")
    axes[0].set_ylabel("reduction of the gap with SN")
    beyond = theirs[theirs["free_test"] <= DIVERGED]
    text = "out of sight, as training without SN diverged:\n" + "\n".join(
        f"{style.SCHEMES[row['scheme']]} {row['net']}, {row['x']:+.2f} and {row['y']:+.2f}"
        for row in beyond.to_dict("records")
    )
    axes[0].text(0.02, 0.03, text, transform=axes[0].transAxes, fontsize=7, color="#666666")
    figure.legend(handles=_kinds(means), loc="outside lower center", ncols=5, fontsize=8)
    return style.laid_out(figure)


def _gain_lines(ax, low: pd.Series, high: pd.Series) -> None:
    """The axes of 0, and the lines of equal gain."""
    for draw in (ax.axhline, ax.axvline):
        draw(0, color="#999999", linewidth=0.8)
    ends, gains = np.array([low["x"], high["x"]]), np.arange(-0.5, 0.95, 0.1).round(1)
    for gain in gains[gains != 0]:
        ax.plot(ends, gain - ends, color="#bbbbbb", linewidth=0.7, linestyle=":")
        at = high["x"], gain - high["x"]
        if low["y"] < at[1] < high["y"]:
            words = dict(ha="right", va="bottom", fontsize=7, color="#555555")
            ax.annotate(f"gain {gain:+.1f}", at, **words)
    ax.plot(ends, -ends, color="#555555", linewidth=0.9)
    left = max(low["x"], -high["y"])  # where that line comes into sight
    words = dict(ha="left", va="bottom", fontsize=7, color="#333333")
    ax.annotate("gain 0", (left, -left), (8, -1), textcoords="offset points", **words)


def _kinds(means: pd.DataFrame) -> list[Line2D]:
    point = dict(linestyle="none", markersize=5, markerfacecolor="none")
    handles = [
        Line2D([], [], marker="o", label=style.SCHEMES[scheme], linestyle="none", color=color)
        for scheme, color in style.COLOR.items()
        if scheme in RANGES
    ]
    names = {data: NAMES[data] for data in MARKERS}
    names |= {data: name(data) for data in means["data"] if data not in MARKERS}
    handles += [
        Line2D([], [], marker=marker(data), label=label, color="#333333", **point)
        for data, label in names.items()
    ]
    return handles
