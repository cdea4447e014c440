"""What attacks look like, and what two protocols make of the same nets; notebook 02."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.errors import require
from snlib.figures import gap, style

PROTOCOLS = {
    "training": "own attack,\npredicted\nlabels",
    "pgm15_predicted": "PGM-15,\npredicted\nlabels",
    "pgm15_true": "PGM-15,\ntrue\nlabels",
    "pgm15_log_odds": "PGM-15,\ntrue labels,\nlog-odds",
}
"""Attacks of the experiment `protocols`, from the authors' protocol to the standard one."""

AUTHORS, STANDARD = "training", "pgm15_log_odds"
"""The first and the last of `PROTOCOLS`."""


def by_protocol(table: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """One row a run: its accuracy without attack and by each protocol, shares in [0, 1].

    Args:
        table: of the experiment `protocols`.
        split: "train", "validation" or "test".

    Returns:
        DataFrame scheme, beta, seed, none, and the keys of `PROTOCOLS`; schemes in the paper's
        order, no budget (inf) before the budget.

    Raises:
        UserError: if the table lacks a protocol on that split.
    """
    wanted = ["none", *PROTOCOLS]
    rows = table[
        (table["quantity"] == "accuracy") & (table["split"] == split) & table["attack"].isin(wanted)
    ]
    missing = set(wanted) - set(rows["attack"])
    require(
        not missing,
        f"table has no accuracy on {split!r} under {', '.join(sorted(missing))}; "
        "give the table of the experiment protocols.",
    )
    wide = rows.pivot(index=["scheme", "beta", "seed"], columns="attack", values="value")
    wide = wide.reset_index()
    wide.columns.name = None
    order = wide["scheme"].map({name: place for place, name in enumerate(style.SCHEMES)})
    wide = wide.assign(order=order).sort_values(
        ["order", "beta", "seed"], ascending=[True, False, True]
    )
    return wide[["scheme", "beta", "seed", *wanted]].reset_index(drop=True)


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """What the budget adds to accuracy by each protocol: scheme, protocol, mean, half, seeds.

    Seed by seed, accuracy with the budget minus accuracy without; `half` is half of the 95 %
    Student interval over seeds.

    Args:
        runs: as `by_protocol` returns it.
    """
    rows = []
    for scheme in dict.fromkeys(runs["scheme"]):
        own = runs[runs["scheme"] == scheme].set_index("seed")
        free = np.isinf(own["beta"])
        for name in PROTOCOLS:
            change = (own.loc[~free, name] - own.loc[free, name]).dropna()
            rows.append((scheme, name, *statistics.interval(change), len(change)))
    return pd.DataFrame(rows, columns=["scheme", "protocol", "mean", "half", "seeds"])


def protocols(table: pd.DataFrame, *, paper: bool = True) -> Figure:
    """Test accuracy by four protocols, with and without the budget, a panel a training scheme.

    Bars are 95 % Student intervals over seeds, small dots single seeds.

    Args:
        table: of the experiment `protocols`.
        paper: whether to draw the published accuracies, hollow, beside the authors' protocol.
    """
    runs = by_protocol(table)
    schemes = list(dict.fromkeys(runs["scheme"]))
    figure, array = style.axes(1, len(schemes), (2.6 * len(schemes), 3.9), sharey=True)
    for ax, scheme in zip(array[0], schemes, strict=True):
        own = runs[runs["scheme"] == scheme]
        for beta in sorted(set(own["beta"]), reverse=True):
            _draw(ax, own[own["beta"] == beta], beta)
        if paper:
            _published(ax, scheme)
        labels = list(PROTOCOLS.values())
        labels[0] = "no attack" if scheme == "erm" else labels[0]
        ax.set_xticks(range(len(labels)), labels, fontsize=6.5)
        ax.set_xlim(-0.45, len(labels) - 0.55)
        ax.set_title(f"{style.SCHEMES[scheme]} training", fontsize=10)
    array[0, 0].set_ylim(0, 104)
    array[0, 0].set_ylabel("test accuracy under attack (%)")
    _legend(figure, runs, paper=paper)
    return style.laid_out(figure)


def _color(beta: float) -> str:
    return style.FREE if math.isinf(beta) else style.CAPPED


def _shift(beta: float) -> float:
    return -0.09 if math.isinf(beta) else 0.09


def _draw(ax: Axes, runs: pd.DataFrame, beta: float) -> None:
    """One budget's accuracies by protocol: mean, interval, and every seed as a faint dot."""
    color, marker = _color(beta), "o" if math.isinf(beta) else "D"
    means, halves = [], []
    for place, name in enumerate(PROTOCOLS):
        x = np.full(len(runs), place + _shift(beta))
        ax.scatter(x, 100 * runs[name], s=9, color=color, alpha=0.35, linewidth=0)
        mean, half = statistics.interval(runs[name])
        means.append(100 * mean)
        halves.append(0.0 if math.isnan(half) else 100 * half)
    ax.errorbar(
        np.arange(len(PROTOCOLS)) + _shift(beta),
        means,
        yerr=halves,
        color=color,
        marker=marker,
        linewidth=1,
        capsize=2.5,
        elinewidth=1,
    )


def _published(ax: Axes, scheme: str) -> None:
    """The paper's test accuracies of that scheme, in the column of its own protocol."""
    for row in gap.published_rows(scheme).itertuples():
        ax.plot(
            _shift(row.beta) * 2.6,
            100 * row.test,
            marker="o" if math.isinf(row.beta) else "D",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=_color(row.beta),
            markeredgewidth=1.1,
            linestyle="none",
        )


def _legend(figure: Figure, runs: pd.DataFrame, *, paper: bool) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=_color(beta),
            marker="o" if math.isinf(beta) else "D",
            label="no SN" if math.isinf(beta) else f"SN, β = {beta:g}",
        )
        for beta in sorted(set(runs["beta"]), reverse=True)
    ]
    if paper:
        label = "hollow: published (AlexNet, CIFAR-10, its own β, one run)"
        hollow = {"markerfacecolor": "none", "markersize": 7, "linestyle": "none"}
        handles.append(Line2D([], [], marker="D", color=style.PAPER, label=label, **hollow))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        title="bars: mean and 95 % interval over seeds; small dots: single seeds",
        title_fontsize=8,
    )


def perturbations(
    image: np.ndarray,
    attacked: Mapping[str, np.ndarray],
    before: int,
    after: Mapping[str, int],
) -> Figure:
    """One image, and below each other what every attack adds to it and the attacked image.

    Args:
        image: (H, W).
        attacked: by name of the attack the attacked image (H, W).
        before: the class that the net gives the image.
        after: by name of the attack the class that the net gives the attacked image.

    Raises:
        UserError: if shapes or names differ.
    """
    image = np.asarray(image)
    shapes = {name: np.asarray(values).shape for name, values in attacked.items()}
    require(
        image.ndim == 2 and set(shapes.values()) == {image.shape},
        f"image has shape {image.shape}, attacked {shapes}; all must be (H, W), such as x[0, 0].",
    )
    require(
        set(after) == set(attacked),
        f"after names {', '.join(after)}, attacked {', '.join(attacked)}; name the same attacks.",
    )
    figure, array = style.axes(2, 1 + len(attacked), (1.35 * (1 + len(attacked)) + 0.5, 3.3))
    changes = {name: np.asarray(values) - image for name, values in attacked.items()}
    largest = max(float(np.abs(change).max()) for change in changes.values()) or 1.0
    grey = {"cmap": "gray_r", "vmin": image.min(), "vmax": image.max()}
    array[0, 0].set_visible(False)
    array[1, 0].imshow(image, **grey)
    array[1, 0].set_title(f"image: “{before}”", fontsize=9)
    for (top, bottom), (name, change) in zip(array[:, 1:].T, changes.items(), strict=True):
        top.imshow(change, cmap="RdBu_r", vmin=-largest, vmax=largest)
        size = np.linalg.norm(change.astype(float))
        top.set_title(f"{name}\n‖δ‖₂ = {size:.2f}", fontsize=9)
        bottom.imshow(image + change, **grey)
        color = style.FREE if after[name] != before else "black"
        bottom.set_title(f"“{after[name]}”", fontsize=9, color=color)
    for ax in array.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="0.8", linewidth=0.5)  # a digit's border is white
    array[0, 1].set_ylabel("perturbation δ")
    array[1, 0].set_ylabel("image, attacked")
    return style.laid_out(figure)
