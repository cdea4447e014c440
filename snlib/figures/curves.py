"""Training curves with and without spectral normalization; notebook 05."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.errors import require
from snlib.figures import published, style

SPLITS = {
    "train": ("running_accuracy", "-"),
    "validation": ("validation_accuracy", (0, (3, 1.5))),
}
"""What is drawn of a split by epoch, and how."""

PUBLISHED_FIGURE = "fig_train_alexnet_l2"
PUBLISHED = {"no SN": ("#aaaaaa", 1.0), "SN": ("#333333", 1.0)}
"""Greys of the paper's curves without and with its budget."""


def by_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy under the training attack by epoch: scheme, beta, seed, split, epoch, accuracy.

    Training accuracy is the running one, over all batches of an epoch as the weights moved;
    validation accuracy is taken at the epoch's end, every few epochs where that is cheaper.

    Args:
        table: of the experiment `curves`, or any with its columns.

    Raises:
        UserError: if the table holds no history.
    """
    parts = []
    for split, (quantity, _) in SPLITS.items():
        rows = table[(table["quantity"] == quantity) & (table["split"] == split)]
        rows = rows[["scheme", "beta", "seed", "split", "x", "value"]]
        parts.append(rows.rename(columns={"x": "epoch", "value": "accuracy"}))
    rows = pd.concat(parts, ignore_index=True)
    require(
        len(rows) > 0,
        "table has no accuracy by epoch (quantity running_accuracy or validation_accuracy); "
        "give the table of the experiment curves.",
    )
    return rows


def smoothed(rows: pd.DataFrame, window: int = 10) -> pd.DataFrame:
    """Curves of one setting: trailing means, each held once its run has stopped early.

    The paper's figure averages ten epochs too. A mean over seeds would jump where the first of them
    stops, hence the holding.

    Args:
        rows: of `by_epoch`, one scheme, budget and split.
        window: epochs that a trailing mean spans; near the start fewer.

    Returns:
        DataFrame with columns epoch, seed, accuracy, at the epochs that `rows` has.
    """
    wide = rows.pivot(index="epoch", columns="seed", values="accuracy").sort_index()
    every = range(int(wide.index.min()), int(wide.index.max()) + 1)
    means = wide.reindex(every).rolling(window, min_periods=1).mean()
    means = means.reindex(wide.index).where(wide.notna()).ffill()
    return means.stack().rename("accuracy").reset_index()


def published_by_step(scheme: str) -> pd.DataFrame:
    """The paper's curves of one scheme, AlexNet on CIFAR-10: split, sn, step, accuracy.

    Accuracies are shares, read off the published figure (error about 0.006); sn says whether the
    run had a budget.
    """
    rows = published.curves(PUBLISHED_FIGURE)
    rows = rows[rows["panel"] == f"{scheme.upper()} training"]
    split = rows["series"].str.startswith("train").map({True: "train", False: "validation"})
    return pd.DataFrame(
        {
            "split": split,
            "sn": ~rows["series"].str.contains("no SN"),
            "step": rows["x"],
            "accuracy": rows["y"],
        }
    ).sort_values(["split", "sn", "step"], ignore_index=True)


def with_and_without(table: pd.DataFrame, *, paper: bool = True, window: int = 10) -> Figure:
    """Accuracy by epoch, a panel a scheme; below, the paper's own curves on the paper's own axes.

    Lines are means over seeds of trailing means over epochs, bands 95 % Student intervals.

    Args:
        table: of the experiment `curves`.
        paper: whether to add the lower row, the paper's curves.
        window: epochs that a trailing mean spans; 1 leaves the curves as they are.
    """
    rows = by_epoch(table)
    schemes = [name for name in style.SCHEMES if (rows["scheme"] == name).any()]
    height = 5.6 if paper else 3.2
    size = (3.1 * len(schemes), height)
    figure, array = style.axes(1 + paper, len(schemes), size, sharey=True)
    for column, scheme in enumerate(schemes):
        draw_epochs(array[0, column], rows[rows["scheme"] == scheme], scheme, window)
        if paper:
            draw_published(array[1, column], scheme)
    array[0, 0].set_ylim(0, 104)
    array[0, 0].set_ylabel("accuracy under the\ntraining attack (%)")
    if paper:
        array[1, 0].set_ylabel("accuracy under the\ntraining attack (%)")
    legend(figure, rows, window, paper=paper)
    return style.closed(figure)


def draw_epochs(ax: Axes, rows: pd.DataFrame, scheme: str, window: int) -> None:
    """Draw one scheme's accuracies by epoch, in percent."""
    capped = [beta for beta in sorted(set(rows["beta"])) if not math.isinf(beta)]
    budget = f", SN with β = {', '.join(f'{beta:g}' for beta in capped)}" if capped else ""
    ax.set_title(f"{style.SCHEMES[scheme]} training{budget}", fontsize=10)
    ax.set_xlabel("epoch")
    for beta in sorted(set(rows["beta"]), reverse=True):
        color = style.FREE if math.isinf(beta) else style.CAPPED
        for split, (_, line) in SPLITS.items():
            chosen = rows[(rows["beta"] == beta) & (rows["split"] == split)]
            points = statistics.means(smoothed(chosen, window), ["epoch"], "accuracy").astype(float)
            mean, half = 100 * points["mean"], 100 * points["half"].fillna(0.0)
            ax.plot(points["epoch"], mean, color=color, linestyle=line)
            ax.fill_between(
                points["epoch"], mean - half, mean + half, color=color, alpha=0.13, linewidth=0
            )


def draw_published(ax: Axes, scheme: str) -> None:
    """Draw the paper's curves of one scheme, in percent over thousands of steps."""
    ax.set_title(f"published {style.SCHEMES[scheme]} (AlexNet, CIFAR-10)", fontsize=10)
    ax.set_xlabel("training steps (thousands)")
    for (split, sn), rows in published_by_step(scheme).groupby(["split", "sn"]):
        color, width = PUBLISHED["SN" if sn else "no SN"]
        ax.plot(
            rows["step"] / 1000,
            100 * rows["accuracy"],
            color=color,
            linestyle=SPLITS[split][1],
            linewidth=width,
        )


def legend(figure: Figure, rows: pd.DataFrame, window: int, *, paper: bool) -> None:
    """One legend below the panels."""
    handles = [
        Line2D([], [], color=style.FREE, linestyle="-", label="train, no SN"),
        Line2D([], [], color=style.FREE, linestyle=SPLITS["validation"][1], label="validation"),
        Line2D([], [], color=style.CAPPED, linestyle="-", label="train, SN"),
        Line2D([], [], color=style.CAPPED, linestyle=SPLITS["validation"][1], label="validation"),
    ]
    seeds = rows["seed"].nunique()
    title = f"mean over {seeds} seed{'s' * (seeds != 1)}, bands: 95 % interval"
    if window > 1:
        title = f"trailing mean of {window} epochs, {title}"
    if paper:
        for name, words in (("no SN", "published, no SN"), ("SN", "published, SN")):
            color, width = PUBLISHED[name]
            handles.append(Line2D([], [], color=color, linewidth=width, label=words))
        title += "; grey: published, one run"
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        columnspacing=1.1,
        handletextpad=0.5,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
    )
