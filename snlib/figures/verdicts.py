"""Every claim in a row: what its statistic is at each scale, against what is claimed of it."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from snlib.figures import style

MARKERS = {"quick": "o", "laptop": "s", "paper": "D", "paper@cifar10_jpeg": "v"}

TITLES = {"paper@cifar10_jpeg": "paper,\nJPEG"}

COLORS = {
    "supported": style.CAPPED,
    "not supported": style.FREE,
    "undecided": "#999999",
    "not testable": "#dddddd",
}

CLAIMED = "#e8f1ea"
"""Ground of the values that a claim names."""

GLYPHS = {"supported": "✓", "not supported": "✗", "undecided": "?", "not testable": "·"}


def forest(judged: pd.DataFrame) -> Figure:
    """One row a claim, on an axis of its own: mean and 95 % interval of the part that decides.

    What is claimed is shaded, from its bound on; grey diamonds are the same number from the paper's
    data; on the right the verdict at every scale.

    Args:
        judged: of `snlib.claims.judge_all`.
    """
    claims = list(dict.fromkeys(judged["number"]))
    scales = list(dict.fromkeys(judged["scale"]))
    size = (9.6, 0.55 * len(claims) + 1.0)
    ratios = dict(width_ratios=(5.0, 0.62 * len(scales)))
    figure, axes = style.axes(len(claims), 2, size=size, gridspec_kw=ratios)
    for number, (ax, words) in zip(claims, axes, strict=True):
        rows = judged[judged["number"] == number]
        _row(ax, rows, scales)
        sentence = textwrap.fill(f"{number}. {rows['claim'].iloc[0]}", 46)
        label = dict(rotation=0, ha="right", va="center", fontsize=7.5)
        ax.set_ylabel(sentence, **label)
        _verdicts(words, rows, scales)
    for place, scale in enumerate(scales):
        title = TITLES.get(scale, scale)
        axes[0, 1].text(place, 1.0, title, ha="center", va="bottom", fontsize=7.5)
    figure.legend(handles=_legend(scales), loc="outside lower center", ncols=4, fontsize=8)
    return style.laid_out(figure)


def _row(ax, rows: pd.DataFrame, scales: list[str]) -> None:
    """The numbers of one claim."""
    ax.set(ylim=(-1, 1), yticks=[])
    ax.grid(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    there = rows[rows["seeds"] > 0].reset_index(drop=True)
    if there.empty:
        text = textwrap.fill(f"not testable: {rows['why'].iloc[0]}", 70)
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=7,
                color="#888888")  # fmt: skip
        ax.set_xticks([])
        return
    bounds = [bound for bound in there.loc[0, ["low", "high"]] if math.isfinite(bound)]
    reach = there["half"].fillna(0)
    known = pd.concat(
        [there["mean"] - reach, there["mean"] + reach, there["reference"], pd.Series(bounds)]
    )
    known = known[np.isfinite(known)]
    low, high = known.min(), known.max()
    room = 0.08 * ((high - low) or 1.0)
    ax.set_xlim(low - room, high + room)
    left, right = ax.get_xlim()
    claimed = max(there["low"][0], left), min(there["high"][0], right)
    ax.axvspan(*claimed, color=CLAIMED, linewidth=0, zorder=0)
    for bound in bounds:
        ax.axvline(bound, color="black", linewidth=0.9, zorder=1)
    places = np.linspace(0.45, -0.45, len(there)) if len(there) > 1 else [0.0]
    for place, row in zip(places, there.to_dict("records"), strict=True):
        color = COLORS[row["verdict"]]
        bar = row["half"] if math.isfinite(row["half"]) else 0.0
        ax.errorbar(row["mean"], place, xerr=bar, color=color, fmt=MARKERS.get(row["scale"], "o"))
        ax.plot(row["reference"], place, "d", color=style.PAPER, markerfacecolor="none", zorder=1)
        if row["part"]:
            ground = dict(boxstyle="square,pad=0.05", facecolor=CLAIMED, edgecolor="none")
            ax.text(row["mean"], place + 0.25, row["part"], ha="center", va="bottom", fontsize=6.5,
                    bbox=ground, zorder=1.5)  # fmt: skip
    ax.locator_params(axis="x", nbins=5)
    ax.tick_params(axis="x", labelsize=6.5, length=2, pad=1)


def _verdicts(ax, rows: pd.DataFrame, scales: list[str]) -> None:
    """The verdicts of one claim as coloured glyphs."""
    words = rows.set_index("scale")["verdict"]
    for place, scale in enumerate(scales):
        word = words[scale]
        box = dict(boxstyle="round,pad=0.25", facecolor=COLORS[word], edgecolor="none")
        dark = "#777777" if word == "not testable" else "white"
        ax.text(place, 0, GLYPHS[word], color=dark, ha="center", va="center", bbox=box, fontsize=8)
    ax.set(xlim=(-0.6, len(scales) - 0.4), ylim=(-1, 1))
    ax.axis("off")


def _legend(scales: list[str]) -> list[Line2D | Patch]:
    point = dict(linestyle="none", markersize=5)
    handles = [
        Line2D([], [], marker="s", color=COLORS[word], label=f"{GLYPHS[word]} {word}", **point)
        for word in COLORS
    ]
    handles += [
        Line2D([], [], marker=MARKERS.get(scale, "o"), color="#444444", label=scale, **point)
        for scale in scales
    ]
    hollow = dict(color=style.PAPER, markerfacecolor="none")
    handles.append(Line2D([], [], marker="d", label="paper's own data, one run", **point, **hollow))
    claimed = dict(facecolor=CLAIMED, edgecolor="black", linewidth=0.6)
    return [*handles, Patch(label="what is claimed, and its bound", **claimed)]
