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

STEPS = 390
"""Steps of an epoch in the paper's figures: 50,000 images, batches of 128."""

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


def last_epochs(rows: pd.DataFrame, window: int = 10) -> pd.DataFrame:
    """Mean accuracy over the last epochs of every run, in percent: single epochs are noisy.

    Args:
        rows: of `by_epoch`.
        window: how many epochs.

    Returns:
        DataFrame by scheme, beta and seed, a column a split.
    """
    keys = ["scheme", "beta", "seed", "split"]
    last = rows["epoch"] > rows.groupby(keys)["epoch"].transform("max") - window
    return 100 * rows[last].groupby(keys)["accuracy"].mean().unstack("split")


def at_the_end(rows: pd.DataFrame, window: int = 10) -> pd.DataFrame:
    """Where the curves end, in percent: means over seeds with half of the 95 % interval.

    Args:
        rows: of `by_epoch`.
        window: last epochs of a run that are averaged first, as `last_epochs` does.

    Returns:
        DataFrame scheme, beta, quantity (train, validation, gap, and best: the highest validation
        accuracy of any epoch), mean, half, seeds.
    """
    ends = last_epochs(rows, window)
    ends["gap"] = ends["train"] - ends["validation"]
    validated = rows[rows["split"] == "validation"]
    ends["best"] = 100 * validated.groupby(ends.index.names)["accuracy"].max()
    values = ends.rename_axis(columns="quantity").stack().rename("value").reset_index()
    return statistics.means(values, ["scheme", "beta", "quantity"])


def as_text(ends: pd.DataFrame) -> pd.DataFrame:
    """`at_the_end` for printing: a row a scheme and beta, a column a quantity, mean ± half."""
    shown = ends.assign(text=statistics.texts(ends, ".1f"))
    shown = shown.pivot(index=["scheme", "beta"], columns="quantity", values="text")
    return shown[["train", "validation", "gap", "best"]]


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


def published_panel(figure: str, panel: str) -> pd.DataFrame:
    """The paper's curves of one panel (CIFAR-10, one run a curve): split, sn, step, accuracy.

    Accuracies are shares, read off the published figure (error about 0.006); sn says whether the
    run had a budget.
    """
    rows = published.curves(figure)
    rows = rows[rows["panel"] == panel]
    split = rows["series"].str.startswith("train").map({True: "train", False: "validation"})
    return pd.DataFrame(
        {
            "split": split,
            "sn": ~rows["series"].str.contains("no SN"),
            "step": rows["x"],
            "accuracy": rows["y"],
        }
    ).sort_values(["split", "sn", "step"], ignore_index=True)


def published_by_step(scheme: str) -> pd.DataFrame:
    """`published_panel` of one training scheme of AlexNet."""
    return published_panel(PUBLISHED_FIGURE, f"{scheme.upper()} training")


def on_papers_ground(table: pd.DataFrame) -> bool:
    """Whether a table is about all of CIFAR-10, so that its steps are those of the paper's figures.

    Recompressed images count; a part of the images, or another data set, does not.
    """
    settings = table.attrs.get("provenance", {}).get("settings", {})
    data, size = str(settings.get("data", "")), settings.get("train_size", "unknown")
    return data.partition("_")[0] == "cifar10" and size is None


def with_and_without(table: pd.DataFrame, *, paper: bool = True, window: int = 10) -> Figure:
    """Accuracy by epoch, a panel a scheme, and the paper's own curves.

    Where the table is about all of CIFAR-10 they stand in the same axes, over training steps; where
    it is not, in axes of their own below. Lines are means over seeds of trailing means over epochs,
    bands 95 % Student intervals.

    Args:
        table: of the experiment `curves`.
        paper: whether to add the paper's curves.
        window: epochs that a trailing mean spans; 1 leaves the curves as they are.
    """
    rows = by_epoch(table)
    schemes = [name for name in style.SCHEMES if (rows["scheme"] == name).any()]
    same = paper and on_papers_ground(table)
    below = paper and not same
    size = (3.1 * len(schemes), 5.6 if below else 3.2)
    figure, array = style.axes(1 + below, len(schemes), size, sharey=True)
    for column, scheme in enumerate(schemes):
        own = rows[rows["scheme"] == scheme]
        draw_epochs(array[0, column], own, window, in_steps=same)
        array[0, column].set_title(f"{style.SCHEMES[scheme]} training{budget(own)}", fontsize=10)
        if paper:
            ax = array[-1, column]
            draw_published(ax, published_by_step(scheme))
            if below:
                title = f"published {style.SCHEMES[scheme]} (AlexNet, CIFAR-10)"
                ax.set_title(title, fontsize=10)
    array[0, 0].set_ylim(0, 104)
    for line in array:
        line[0].set_ylabel("accuracy under the\ntraining attack (%)")
    legend(figure, rows, window, paper=paper)
    return style.laid_out(figure)


def budget(rows: pd.DataFrame) -> str:
    """The end of a title that names the budgets of rows of `by_epoch`."""
    capped = [beta for beta in sorted(set(rows["beta"])) if not math.isinf(beta)]
    return f", SN with β = {', '.join(f'{beta:g}' for beta in capped)}" if capped else ""


def draw_epochs(ax: Axes, rows: pd.DataFrame, window: int, *, in_steps: bool = False) -> None:
    """Draw one setting's accuracies, in percent, by epoch or over thousands of steps."""
    ax.set_xlabel("training steps (thousands)" if in_steps else "epoch")
    for beta in sorted(set(rows["beta"]), reverse=True):
        color = style.FREE if math.isinf(beta) else style.CAPPED
        for split, (_, line) in SPLITS.items():
            chosen = rows[(rows["beta"] == beta) & (rows["split"] == split)]
            points = statistics.means(smoothed(chosen, window), ["epoch"], "accuracy").astype(float)
            x = points["epoch"] * (STEPS / 1000 if in_steps else 1)
            mean, half = 100 * points["mean"], 100 * points["half"].fillna(0.0)
            ax.plot(x, mean, color=color, linestyle=line)
            ax.fill_between(x, mean - half, mean + half, color=color, alpha=0.13, linewidth=0)


def draw_published(ax: Axes, curves: pd.DataFrame) -> None:
    """Draw the paper's curves of one panel, in percent over thousands of steps."""
    ax.set_xlabel("training steps (thousands)")
    for (split, sn), rows in curves.groupby(["split", "sn"]):
        color, width = PUBLISHED["SN" if sn else "no SN"]
        ax.plot(
            rows["step"] / 1000,
            100 * rows["accuracy"],
            color=color,
            linestyle=SPLITS[split][1],
            linewidth=width,
        )


def legend(figure: Figure, rows: pd.DataFrame | None, window: int, *, paper: bool = True) -> None:
    """One legend below the panels.

    Args:
        figure: whose panels these are.
        rows: of `by_epoch`; None if all that is drawn is the paper's.
        window: epochs that a trailing mean spans.
        paper: whether the paper's curves are drawn.
    """
    dashed, handles, title = SPLITS["validation"][1], [], ""
    if rows is not None:
        for color, words in ((style.FREE, "no SN"), (style.CAPPED, "SN")):
            handles.append(Line2D([], [], color=color, label=f"train, {words}"))
            handles.append(
                Line2D([], [], color=color, linestyle=dashed, label=f"validation, {words}")
            )
        seeds = rows["seed"].nunique()
        title = f"mean over {seeds} seed{'s' * (seeds != 1)}, bands: 95 % interval"
        title = f"trailing mean of {window} epochs, {title}" if window > 1 else title
    if paper:
        for color, width in PUBLISHED.values():
            for line in ("-", dashed):
                handles.append(Line2D([], [], color=color, linewidth=width, linestyle=line))
        own = len(handles) - 4
        words = ("train, no SN", "validation, no SN", "train, SN", "validation, SN")
        for handle, text in zip(handles[own:], words, strict=True):
            handle.set_label(f"published {text}")
        title += f"{'; ' * bool(title)}grey: published, one run a curve"
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        columnspacing=1.1,
        handletextpad=0.5,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
    )
