"""How loose the bounds are: every bound of every net against the line of 1; notebook 07."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snlib import statistics
from snlib.errors import require
from snlib.figures import style
from snlib.figures.margins import published_modes

DRAWN = {
    "own": ("the paper's theorem", "-"),
    "pgm_recalled": ("Theorem 3 as recalled", ":"),
    "xiao2023": ("Xiao et al. 2023, no κ", "--"),
    "bartlett2017": ("Bartlett et al. 2017", "-."),
}
"""Bounds of the figure of looseness: label and line."""

XIAO_VGG = {"MNIST": 3.2e4, "CIFAR-10": 6.0e10, "CIFAR-100": 1.7e13}
"""What Xiao, Sun & Luo (NeurIPS 2023) report for their own bound, VGG, adversarially trained."""


def from_paper() -> dict[float, float]:
    """log10 of Theorem 1's term of the paper's ERM AlexNet on CIFAR-10, by budget.

    From the modes of its figure of normalized margins (they are 1 / (sqrt(Phi)/margin), up to how
    the figure counts a convolution), with constants 1: B = 50, d = 5, h = 28 * 28 * 96, n = 50,000.
    """
    depth, width = 5, 28 * 28 * 96
    size = 50 * depth * math.sqrt(width * math.log(depth * width))
    modes = published_modes()
    chosen = modes[(modes["kind"] == "published") & (modes["scheme"] == "erm")]
    chosen = chosen[chosen["labels"] == "true"]
    return {
        1.3 if row["sn"] else math.inf: math.log10(size / (row["mode"] * math.sqrt(50_000)))
        for _, row in chosen.iterrows()
    }


def reference(loose: pd.DataFrame) -> pd.DataFrame:
    """The nets that the figure of looseness shows: the AlexNets, and of the MLPs the widest with
    one hidden layer, on all training images with their true labels."""
    alexnets = loose[~loose["net"].str.startswith("mlp")]
    mlps = loose[(loose["net"] == "mlp1") & (loose["labels"] == "true")]
    most = (mlps["width"] == mlps["width"].max()) & (mlps["samples"] == mlps["samples"].max())
    return pd.concat([alexnets, mlps[most]])


def sizes(loose: pd.DataFrame) -> pd.DataFrame:
    """log10 of every bound of the nets of `reference`: scheme, net, bound, beta, mean, half, seeds.

    Bounds with explicit constants stand beside the others as "<bound>, explicit".

    Args:
        loose: of `snlib.bounds.looseness`.
    """
    shown = reference(loose).query("defined")
    explicit = shown.dropna(subset="log10_explicit")
    more = {"bound": explicit["bound"] + ", explicit", "log10_bound": explicit["log10_explicit"]}
    both = pd.concat([shown, explicit.assign(**more)])
    return statistics.means(both, ["scheme", "net", "bound", "beta"], "log10_bound")


def premise(loose: pd.DataFrame) -> pd.DataFrame:
    """Where Theorem 4 holds: of each net and budget under WRM training the means over seeds.

    Args:
        loose: of `snlib.bounds.looseness`.

    Returns:
        DataFrame with the index net, beta: Lip, lambda (of cross-entropy), "Lip < lambda" (share of
        seeds), log10_bound (NaN: there is none), train, test (accuracy under the attack).
    """
    runs = loose[loose["scheme"] == "wrm"]
    runs = runs.assign(**{"Lip": 10 ** runs["log10_lip"], "lambda": 1 / runs["size"] / 2**0.5})
    runs = runs.rename(columns={"defined": "Lip < lambda"})
    columns = ["Lip", "lambda", "Lip < lambda", "log10_bound", "train", "test"]
    return runs.groupby(["net", "beta"])[columns].mean()


def in_words(found: pd.DataFrame) -> str:
    """The table of `sizes` as text: a part a network, below its name, with a column a budget."""
    texts = found.assign(text=statistics.texts(found, ".1f"))
    parts = []
    for net, rows in texts.groupby("net"):
        table = rows.pivot(index=["scheme", "bound"], columns="beta", values="text")
        parts.append(f"{net}\n{table.fillna('').to_string()}")
    return "\n\n".join(parts)


def looseness(loose: pd.DataFrame) -> Figure:
    """log10 of every bound against the budget, a panel a training scheme, the line of 1 below all.

    Means over seeds; bars are 95 % Student intervals. Crosses: no bound, for Lip >= lambda or a
    kappa of 0.

    Args:
        loose: of `snlib.bounds.looseness`.
    """
    chosen = reference(loose)
    schemes = [name for name in style.SCHEMES if name in set(chosen["scheme"])]
    require(bool(schemes), "the table has no net for the figure of looseness.")
    figure, (axes,) = style.axes(1, len(schemes), (2.45 * len(schemes), 3.9))
    for ax, scheme in zip(axes, schemes, strict=True):
        own = chosen[chosen["scheme"] == scheme]
        places = style.beta_axis(ax, own["beta"])
        ax.axhline(0, color="black", linewidth=1.2)
        for kind, marker in (("mlp1", "s"), ("alexnet", "o")):
            nets = own[own["net"].str.startswith("mlp") == (kind == "mlp1")]
            for bound, rows in nets.groupby("bound"):
                name = "own" if bound == scheme else bound
                _series(ax, rows, places, style.COLOR[scheme], marker, DRAWN[name][1])
        if scheme == "erm":
            points = {beta: value for beta, value in from_paper().items() if beta in places}
            _paper(ax, [places[beta] for beta in points], list(points.values()))
        if scheme == "pgm":
            at = len(places) + 0.5  # apart from the budgets
            _paper(ax, [at] * len(XIAO_VGG), np.log10([*XIAO_VGG.values()]))
            ax.set_xticks([*ax.get_xticks(), at],
                          [*(tick.get_text() for tick in ax.get_xticklabels()), "VGG"])  # fmt: skip
            for (data, value), up in zip(XIAO_VGG.items(), (1, 0, 1), strict=True):
                ax.annotate(
                    data,
                    (at, math.log10(value)),
                    (-6, 6 * up),
                    textcoords="offset points",
                    ha="right",
                    va="center",
                    fontsize=7,
                )
        ax.set_title(f"{style.SCHEMES[scheme]} training", fontsize=10)
        room = 0.25 if not own["defined"].all() else 0.06
        ax.set_ylim(bottom=-room * ax.get_ylim()[1])
        ax.yaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.yaxis.set_major_formatter(lambda power, _: f"$10^{{{power:.0f}}}$" if power else "1")
        ax.margins(x=0.08)
    axes[0].set_ylabel("bound on the error\n(above 1 it says nothing)")
    _legend_of_bounds(figure)
    return style.laid_out(figure)


def _series(ax: Axes, rows: pd.DataFrame, places: dict, color: str, marker: str, line: str) -> None:
    """Mean and interval over seeds at each budget; crosses where no seed has a bound."""
    known = rows[rows["defined"]]
    without = set(rows["beta"]) - set(known["beta"])
    height = ax.get_xaxis_transform()
    shift = 0.05 if marker == "o" else 0.14
    for beta in without:
        ax.plot(places[beta], shift, marker="x", color=color, transform=height, markersize=6)
        ax.plot(places[beta], shift, marker=marker, color=color, transform=height,
                markersize=8, markerfacecolor="none", markeredgewidth=0.7)  # fmt: skip
    if known.empty:
        return
    points = statistics.means(known, ["beta"], "log10_bound")
    face = color if marker == "o" else "white"
    ax.errorbar(
        points["beta"].map(places).astype(float),
        points["mean"].astype(float),
        yerr=points["half"].astype(float).fillna(0),
        color=color, marker=marker, linestyle=line, markerfacecolor=face, capsize=2,
        linewidth=1.2, elinewidth=0.9,
    )  # fmt: skip


def _paper(ax: Axes, places: list, values: list) -> None:
    ax.plot(places, values, "D", color=style.PAPER, markerfacecolor="none", markersize=6)


def _legend_of_bounds(figure: Figure) -> None:
    lines = [Line2D([], [], color="black", linestyle=line, label=label)
             for label, line in DRAWN.values()]  # fmt: skip
    mark = dict(color="black", linestyle="none")
    marks = [
        Line2D([], [], marker="o", label="AlexNet of the gap", **mark),
        Line2D([], [], marker="s", markerfacecolor="white", label="one hidden layer", **mark),
        Line2D([], [], marker="x", label="undefined: Lip ≥ λ or κ = 0", **mark),
        Line2D([], [], marker="D", markerfacecolor="none", color=style.PAPER, linestyle="none",
               label="published (ERM: from its figure)"),
    ]  # fmt: skip
    figure.legend(handles=[*lines, *marks], loc="outside lower center", ncols=4, frameon=False,
                  fontsize=8)  # fmt: skip


def looseness_from_records(table: pd.DataFrame) -> Figure:
    """`looseness`, with the bounds computed from the same table."""
    from snlib.bounds import looseness as bounds_of  # the bounds need torch, a figure does not

    return looseness(bounds_of(table))
