"""Does the gain of SN survive other ways to train? A factorial and two protocols; notebook 12."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.figures import style
from snlib.figures.ways import (
    FACTORS,
    NAMED,
    OWN,
    STANDARD,
    cells,
    effects,
    gains,
    runs_of,
)


def factorial(table: pd.DataFrame) -> Figure:
    """Every way to train: which factors are at work, both test accuracies, and the gain of SN.

    Args:
        table: of the experiment `beyond`.
    """
    found = cells(runs_of(table))
    count = int(found["cell"].max()) + 1
    figure, array = style.axes(
        1, 3, (10.0, 1.3 + 0.235 * count), sharey=True, width_ratios=(0.75, 1, 1)
    )
    matrix, levels, gain = array[0]
    _matrix(matrix, found)
    _levels(levels, found)
    for attack, filled, shift in ((STANDARD, True, -0.12), (OWN, False, 0.16)):
        _gains(gain, gains(found, attack), filled=filled, shift=shift)
    gain.axvline(0, color="#bbbbbb", linewidth=0.8)
    gain.set_xlabel("gain of SN (points)")
    budget = found.loc[np.isfinite(found["beta"]), "beta"].iloc[0]
    scheme = style.SCHEMES[found["scheme"].iloc[0]]
    matrix.set_title(f"{scheme} training and ...", fontsize=9)
    levels.set_title(f"without SN, and with β = {budget:g}", fontsize=9)
    gain.set_title("with minus without, same seed", fontsize=9)
    matrix.set_ylim(count - 0.5, -0.5)
    for ax in array[0]:
        ax.axhline(2 ** len(FACTORS) - 0.5, color="#bbbbbb", linewidth=0.8)
        ax.grid(axis="y", visible=False)
    _legend(figure)
    return style.laid_out(figure)


def _matrix(ax: Axes, found: pd.DataFrame) -> None:
    """A dot where a factor is at work; the named protocols in words."""
    for row in found.drop_duplicates("cell").itertuples():
        if row.cell < 2 ** len(FACTORS):
            for place, name in enumerate(FACTORS):
                at_work = getattr(row, name)
                ax.plot(
                    place, row.cell, "o", markersize=6,
                    color="black" if at_work else "#dddddd",
                )  # fmt: skip
        else:
            ax.text(1.5, row.cell, NAMED[row.named], ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(FACTORS)), [title for title, _ in FACTORS.values()], rotation=25)
    ax.tick_params(axis="x", labelsize=7.5)
    ax.set_xlim(-0.6, len(FACTORS) - 0.4)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def _levels(ax: Axes, found: pd.DataFrame) -> None:
    """Test accuracy by the standard attack, without and with SN."""
    for sn, color, marker, shift in (
        (False, style.FREE, "s", -0.14),
        (True, style.CAPPED, "D", 0.14),
    ):
        own = found[np.isfinite(found["beta"]) == sn]
        _errorbars(
            ax, own.pivot(index="seed", columns="cell", values=STANDARD), color, marker, shift
        )
    ax.set_xlabel("test accuracy, standard attack (%)")


def _gains(ax: Axes, by_seed: pd.DataFrame, *, filled: bool, shift: float) -> None:
    _errorbars(ax, by_seed, "black" if filled else "#999999", "o", shift, filled=filled)


def _errorbars(
    ax: Axes, by_seed: pd.DataFrame, color: str, marker: str, shift: float, *, filled: bool = True
) -> None:
    """Mean and 95 % interval of each column, in percent, at its cell's height."""
    pairs = [statistics.interval(by_seed[cell].dropna()) for cell in by_seed]
    means, halves = (100 * np.array(part) for part in zip(*pairs, strict=True))
    ax.errorbar(
        means, np.array(list(by_seed)) + shift, xerr=np.nan_to_num(halves),
        color=color, marker=marker, linestyle="none", markersize=4 if filled else 3.5,
        markerfacecolor=color if filled else "white", capsize=2, elinewidth=0.9,
    )  # fmt: skip


def _legend(figure: Figure) -> None:
    mark = {"linestyle": "none"}
    handles = [
        Line2D([], [], color="black", marker="o", markersize=6, label="at work (left)", **mark),
        Line2D([], [], color=style.FREE, marker="s", label="without SN", **mark),
        Line2D([], [], color=style.CAPPED, marker="D", label="with SN", **mark),
        Line2D([], [], color="black", marker="o", label="standard attack (right)", **mark),
        Line2D(
            [], [], color="#999999", marker="o", markerfacecolor="white",
            label="own training attack (right)", **mark,
        ),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8,
        title="dots and bars: mean and 95 % interval over seeds", title_fontsize=8,
    )  # fmt: skip


def factors(table: pd.DataFrame) -> Figure:
    """What each factor does to test accuracy without SN, with SN, and so to the gain.

    Args:
        table: of the experiment `beyond`.
    """
    found = cells(runs_of(table))
    figure, array = style.axes(1, 2, (8.4, 2.9), sharey=True)
    for ax, attack, title in (
        (array[0, 0], STANDARD, "standard attack"),
        (array[0, 1], OWN, "under its own training attack"),
    ):
        rows = effects(found, attack)
        for part, color, marker, shift, label in (
            ("without", style.FREE, "s", -0.2, "on accuracy without SN"),
            ("with", style.CAPPED, "D", 0.0, "on accuracy with SN"),
            ("gain", "black", "o", 0.2, "on the gain of SN"),
        ):
            half = [0.0 if math.isnan(value) else 100 * value for value in rows[f"{part} half"]]
            ax.errorbar(
                100 * rows[part], np.arange(len(rows)) + shift, xerr=half, label=label,
                color=color, marker=marker, linestyle="none", capsize=2.5, elinewidth=1,
            )  # fmt: skip
        ax.axvline(0, color="#bbbbbb", linewidth=0.8)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("effect on test accuracy (points)")
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
    array[0, 0].set_yticks(range(len(rows)), list(rows.index))
    figure.legend(
        *array[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
        frameon=False, fontsize=8,
        title="mean over the other factors; bars: 95 % interval over seeds", title_fontsize=8,
    )  # fmt: skip
    return style.laid_out(figure)
