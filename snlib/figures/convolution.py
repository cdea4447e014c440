"""Norms of convolutions: how fast they are found, and how far training overshoots a budget."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from snlib import statistics
from snlib.errors import require
from snlib.figures import style

METHODS = {"power": "one power iteration a step", "krylov": "default (Krylov subspace)"}
"""How sigma follows the weights in training, as legends say it."""

COLOR = {"power": style.FREE, "krylov": style.CAPPED}

FLOOR = 1e-5
"""Overshoots below this are drawn here: the logarithmic axis has no zero."""


def convergence(table: pd.DataFrame) -> Figure:
    """Relative error of the estimated norm against products with A^T A, a panel a layer.

    Args:
        table: columns layer, products, sigma (dense SVD), power, krylov (estimates).

    Raises:
        UserError: a column is missing.
    """
    needed = {"layer", "products", "sigma", "power", "krylov"}
    require(needed <= set(table), f"the table has columns {list(table)}; it needs {needed}.")
    names = list(dict.fromkeys(table["layer"]))
    figure, (axes,) = style.axes(1, len(names), size=(8.4, 2.6), sharey=True)
    for ax, name in zip(axes, names, strict=True):
        part = table[table["layer"] == name]
        for method, label in (("power", "power iteration"), ("krylov", "Krylov subspace")):
            error = (1 - part[method] / part["sigma"]).clip(lower=1e-14)
            ax.plot(part["products"], error, color=COLOR[method], label=label)
        ax.set(yscale="log")
        ax.set_title(name, fontsize=9)
        ax.set_ylim(1e-12, 1)
    axes[0].set_ylabel("relative error below σ")
    axes[0].legend(loc="lower left", frameon=False, fontsize=8)
    figure.supxlabel("products with AᵀA", fontsize=9)
    return style.laid_out(figure)


def overshoots(table: pd.DataFrame) -> pd.DataFrame:
    """By how much each layer's true norm exceeds beta at the end of training.

    Args:
        table: of `snlib.load("overshoot", ...)`.

    Returns:
        DataFrame optimizer, tracker, seed, layer, overshoot = max(0, lower / beta - 1), lower being
        the certified lower end of the layer's norm.

    Raises:
        UserError: no norm of a layer in the table.
    """
    lower = table[(table["quantity"] == "lower") & ~table["diverged"]]
    require(len(lower) > 0, "the table has no lower ends of norms; load('overshoot').")
    rows = lower.sort_values(
        ["optimizer", "tracker", "seed", "x"], ascending=[False] * 2 + [True] * 2
    )
    rows = rows.assign(overshoot=(rows["value"] / rows["beta"] - 1).clip(lower=0.0))
    rows = rows.rename(columns={"split": "layer"})
    return rows[["optimizer", "tracker", "seed", "layer", "overshoot"]].reset_index(drop=True)


def worst_layers(layerwise: pd.DataFrame) -> pd.DataFrame:
    """The overshoot of a net, which is its worst layer's, over seeds.

    Args:
        layerwise: of `overshoots`.

    Returns:
        DataFrame with the index optimizer, tracker: mean, half (of Student's 95 % interval), worst
        seed, and the median over layers and seeds.
    """
    keys = ["optimizer", "tracker"]
    worst = layerwise.groupby([*keys, "seed"], as_index=False)["overshoot"].max()
    found = statistics.means(worst, keys, "overshoot").set_index(keys)[["mean", "half"]]
    return found.astype(float).assign(
        worst=worst.groupby(keys)["overshoot"].max(),
        median=layerwise.groupby(keys)["overshoot"].median(),
    )


def overshoot(table: pd.DataFrame) -> Figure:
    """Overshoot of every layer after training at a budget, a dot a seed, a panel an optimizer.

    Overshoots below 1e-5 are drawn at 1e-5; the dotted line is one percent.
    """
    rows = overshoots(table)
    layers = list(dict.fromkeys(rows["layer"]))
    optimizers = list(dict.fromkeys(rows["optimizer"]))
    figure, (axes,) = style.axes(1, len(optimizers), size=(7.6, 2.9), sharey=True)
    for ax, optimizer in zip(axes, optimizers, strict=True):
        for shift, method in ((-0.12, "power"), (0.12, "krylov")):
            part = rows[(rows["optimizer"] == optimizer) & (rows["tracker"] == method)]
            ax.plot(
                part["layer"].map(layers.index) + shift,
                part["overshoot"].clip(lower=FLOOR),
                "o" if method == "power" else "D",
                color=COLOR[method],
                label=METHODS[method],
                alpha=0.85,
            )
        ax.axhline(0.01, color="black", linestyle=":", linewidth=1, label="one percent of β")
        ax.set(yscale="log")
        ax.set_title({"sgd": "SGD", "adam": "Adam"}.get(optimizer, optimizer), fontsize=10)
        ax.set_xticks(range(len(layers)), layers)
        ax.set_xlim(-0.5, len(layers) - 0.5)
        ax.set_ylim(FLOOR / 1.6, 1.0)
    ticks = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    axes[0].set_yticks(ticks, ["≤ 0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes[0].set_ylabel("norm above β")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return style.laid_out(figure)
