"""The generalization gap against the norm budget, one panel a training scheme; notebook 04."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from snlib import statistics
from snlib.figures import published, style

TRAIN, TEST = "#8a8a8a", "#000000"
SPLITS = {"train": (TRAIN, "s", "-"), "test": (TEST, "o", "-")}
"""Colour, marker and line of the accuracies of a split."""

SHADE = "#fff0c2"
"""Of the budget that validation chose."""

BESIDE = 0.17
"""How far to the right of its mean a single seed is drawn, so that the bar does not hide it."""


def published_rows(scheme: str) -> pd.DataFrame:
    """The paper's AlexNet on CIFAR-10 under an l2 scheme: beta, train, test, gap; one run each."""
    paper = published.table1()
    rows = paper[
        (paper["dataset"] == "cifar10")
        & (paper["architecture"] == "alexnet")
        & (paper["training"] == scheme)
        & (paper["norm"] != "linf")
    ]
    rows = rows.rename(
        columns={"train_acc": "train", "test_acc": "test", "train_minus_test": "gap"}
    )
    return rows[["beta", "train", "test", "gap"]].sort_values("beta").reset_index(drop=True)


def by_budget(runs: pd.DataFrame) -> pd.DataFrame:
    """Gaps in points as text, mean ± half of the 95 % interval: a row a scheme, a column a beta.

    Args:
        runs: of `statistics.accuracies`.
    """
    gaps = statistics.means(runs, ["scheme", "beta"], "gap")
    gaps["points"] = statistics.texts(100 * gaps[["mean", "half"]], ".0f")
    return gaps.pivot(index="scheme", columns="beta", values="points").fillna("")


def chosen(runs: pd.DataFrame) -> pd.DataFrame:
    """The budget that validation chose beside no budget, and the paper's: gap, train and test.

    Args:
        runs: of `statistics.accuracies`.

    Returns:
        DataFrame, a row a scheme and one of these numbers, all in points: scheme, beta, quantity,
        free and capped (means over seeds, without SN and at that beta), change (mean of the
        difference between the two nets of a seed), half (of its 95 % interval), verdict (whether
        that interval excludes 0), paper_beta, paper_free, paper_capped (one run each).
    """
    rows = []
    for scheme, beta in statistics.chosen(runs).items():  # best mean validation accuracy, inf too
        own = runs[runs["scheme"] == scheme].set_index("seed")
        paper = published_rows(scheme)  # with SN, then without
        for name in ("gap", "train", "test"):
            free, capped = (100 * own.loc[own["beta"] == b, name] for b in (math.inf, beta))
            change, half = statistics.interval((capped - free).dropna())
            verdict = "unclear" if not abs(change) > half else "up" if change > 0 else "down"
            row = {"scheme": scheme, "beta": beta, "quantity": name}
            row |= {"free": free.mean(), "capped": capped.mean()}
            row |= {"change": change, "half": half, "verdict": verdict}
            row |= {"paper_beta": paper["beta"].iloc[0]}
            row |= {"paper_free": 100 * paper[name].iloc[1]}
            rows.append(row | {"paper_capped": 100 * paper[name].iloc[0]})
    return pd.DataFrame(rows)


def against_budget(table: pd.DataFrame, *, paper: bool = True) -> Figure:
    """The headline: gap over beta in the upper row, train and test accuracy in the lower.

    Bars are 95 % Student intervals over seeds, dots single seeds; the shaded budget is the one that
    validation chose.

    Args:
        table: of the experiment `gap`.
        paper: whether the paper's published values are drawn beside, in grey.
    """
    runs = statistics.accuracies(table)
    schemes = list(dict.fromkeys(runs["scheme"]))
    figure, array = style.axes(2, len(schemes), (2.5 * len(schemes), 5.4), sharex="col")
    budgets = statistics.chosen(runs)
    for column, scheme in enumerate(schemes):
        own = runs[runs["scheme"] == scheme]
        draw_gap(array[0, column], own, scheme, budgets, paper=paper)
        draw_accuracies(array[1, column], own, scheme, budgets, paper=paper)
        array[0, column].set_title(f"{style.SCHEMES[scheme]} training", fontsize=10)
        array[0, column].set_xlabel("")
    level(array[0], array[1])
    array[0, 0].set_ylabel("generalization gap (points)")
    array[1, 0].set_ylabel("accuracy under the\ntraining attack (%)")
    legend(figure, paper=paper)
    return style.laid_out(figure)


def level(gaps: list[Axes], shares: list[Axes]) -> None:
    """Give the panels of a row one scale, with numbers at the first only."""
    low = min(ax.get_ylim()[0] for ax in gaps)
    high = max(ax.get_ylim()[1] for ax in gaps)
    for place, ax in enumerate(gaps):
        ax.set_ylim(min(low, 0), high)
        ax.tick_params(labelleft=place == 0)
    for place, ax in enumerate(shares):
        ax.set_ylim(0, 104)
        ax.tick_params(labelleft=place == 0)


def legend(figure: Figure, *, paper: bool, columns: int = 5) -> None:
    """One legend for all panels, below them: colours differ by panel, so the marks are in black."""
    mark = {"color": "black", "linestyle": "-"}
    handles = [
        Line2D([], [], marker="D", label="gap: train − test accuracy", **mark),
        Line2D([], [], marker="s", label="training images", **{**mark, "color": TRAIN}),
        Line2D([], [], marker="o", label="test images", **mark),
        Patch(color=SHADE, label="β chosen by validation"),
    ]
    if paper:
        hollow = {"markerfacecolor": "none", "markersize": 7, "linestyle": "none"}
        label = "hollow: published (AlexNet, CIFAR-10, one run)"
        handles.append(Line2D([], [], marker="D", color=style.PAPER, label=label, **hollow))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.4,
        handletextpad=0.5,
        frameon=False,
        fontsize=8,
        title="lines and bars: mean and 95 % interval over seeds; small dots: single seeds",
        title_fontsize=8,
    )


def draw_gap(
    ax: Axes, runs: pd.DataFrame, scheme: str, budgets: Mapping[str, float], *, paper: bool
) -> None:
    """Draw one scheme's gap over beta, in points, with zero as a line."""
    places = style.beta_axis(ax, runs["beta"])
    ax.axhline(0, color="#bbbbbb", linewidth=0.8)
    _shade(ax, places, budgets[scheme])
    _series(ax, runs, places, "gap", style.COLOR[scheme], "D", "-")
    if paper:
        _paper(ax, places, scheme, "gap", "D")


def draw_accuracies(
    ax: Axes, runs: pd.DataFrame, scheme: str, budgets: Mapping[str, float], *, paper: bool
) -> None:
    """Draw one scheme's train and test accuracy over beta, in percent."""
    places = style.beta_axis(ax, runs["beta"])
    _shade(ax, places, budgets[scheme])
    for split, (color, marker, line) in SPLITS.items():
        _series(ax, runs, places, split, color, marker, line)
        if paper:
            _paper(ax, places, scheme, split, marker)


def _shade(ax: Axes, places: Mapping[float, int], beta: float) -> None:
    ax.axvspan(
        places[beta] - 0.42,
        places[beta] + 0.42,
        color=SHADE,
        zorder=0,
        linewidth=0,
    )


def _series(
    ax: Axes,
    runs: pd.DataFrame,
    places: Mapping[float, int],
    quantity: str,
    color: str,
    marker: str,
    line: str,
) -> None:
    """Mean and interval over seeds at each budget, and every seed as a faint dot; in percent."""
    ax.scatter(
        runs["beta"].map(places) + BESIDE,
        100 * runs[quantity],
        s=8,
        color=color,
        alpha=0.5,
        linewidth=0,
    )
    points = statistics.means(runs, ["beta"], quantity)
    x = points["beta"].map(places).astype(float)
    style.percents(ax, x, points, color=color, marker=marker, linestyle=line)


def _paper(ax: Axes, places: Mapping[float, int], scheme: str, quantity: str, marker: str) -> None:
    """The published points at those budgets that the axis has, hollow."""
    rows = published_rows(scheme)
    rows = rows[rows["beta"].isin(list(places))]
    ax.plot(
        rows["beta"].map(places),
        100 * rows[quantity],
        marker=marker,
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=style.PAPER,
        markeredgewidth=1.1,
        linestyle="none",
    )
