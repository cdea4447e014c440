"""Error against eps, net by net and attack by attack, beside the paper's own; notebook 09."""

from __future__ import annotations

import functools
import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import crossovers, statistics
from snlib.errors import require
from snlib.figures import published, style

NETS = {"erm": "ERM", "fgm": "FGM", "pgm": "PGM", "pgm_inf": "PGM $\\ell_\\infty$", "wrm": "WRM"}
"""Names of the nets, by the attack that they were trained against."""

ATTACKS = {"fgm": "FGM", "pgm": "PGM", "pgm_inf": "PGM $\\ell_\\infty$", "wrm": "WRM"}

PUBLISHED_FIGURE = "fig_advrobustness_alexnet_cifar10"
PUBLISHED_UNIT = {"fgm": 2.433, "pgm": 2.433, "pgm_inf": 0.1, "wrm": 5.138}
"""The radii of the paper's training (of WRM: the step), CIFAR-10."""

LOOK = {False: (style.FREE, "s"), True: (style.CAPPED, "o")}
"""Colour and marker without and with SN; the markers are the paper's."""

STRENGTHS = {
    "none": ("no attack", "#999999", "o"),
    "pgm15_predicted": ("PGM-15, predicted labels (the paper's protocol)", "#0173b2", "s"),
    "pgm15_log_odds": ("PGM-15, true labels, log-odds", "#de8f05", "D"),
    "strongest": ("+ random starts, every other class, random search", "#029e73", "v"),
    "autoattack": ("AutoAttack", "#cc78bc", "^"),
}
"""Attacks from none to the strongest: label, colour, marker."""


@functools.cache
def _published() -> pd.DataFrame:
    rows = published.curves(PUBLISHED_FIGURE)
    words = rows["panel"].str.split(" / ", expand=True)
    net = words[0].str.removesuffix(" train").str.lower()
    net = net.str.replace(" linf", "_inf").str.replace(" l2", "")
    attack = words[1].str.removesuffix(" attack").str.lower()
    attack = attack.str.replace(" linf", "_inf").str.replace(" l2", "")
    rows = rows.assign(net=net, attack=attack, sn=~rows["series"].str.startswith("No SN"))
    rows = rows.assign(share=rows["x"] / rows["attack"].map(PUBLISHED_UNIT), error=rows["y"])
    rows = rows.rename(columns={"x": "eps"})[["net", "attack", "sn", "eps", "share", "error"]]
    return rows.sort_values(["net", "attack", "sn", "eps"], ignore_index=True)


def published_errors() -> pd.DataFrame:
    """The paper's errors (AlexNet, CIFAR-10, one run): net, attack, sn, eps, share, error.

    eps is in the paper's units, share in multiples of its radius of training. Read off the figure
    (about 0.006), save for the linf net, whose values the authors printed.
    """
    return _published().copy()


def published_advantages() -> pd.DataFrame:
    """What SN takes off the paper's errors, as `crossovers.advantages` has it of ours."""
    rows = published_errors().assign(seed=0)
    rows["beta"] = rows["sn"].map({False: math.inf, True: 1.6})
    return crossovers.advantages(rows)


def against_eps(table: pd.DataFrame, *, paper: bool = True) -> Figure:
    """The paper's eight panels: error over eps, without and with SN; the paper's own in grey.

    Lines are means over seeds, bars 95 % Student intervals. The dotted line is the radius of
    training, to which all radii are related.

    Args:
        table: of the experiment `robustness`.
        paper: whether to draw the paper's curves.

    Raises:
        UserError: if a panel has no runs.
    """
    rows = crossovers.errors(table)
    figure, array = style.axes(2, 4, (9.6, 5.4), sharey=True)
    for ax, (net, attack) in zip(array.flat, crossovers.PANELS, strict=True):
        _panel(ax, rows, net, attack, paper=paper)
        ax.set_title(f"{NETS[net]} net, {ATTACKS[attack]} attack", fontsize=9)
    array[0, 0].set_ylim(0, 104)
    for line in array:
        line[0].set_ylabel("test error (%)")
    _legend(figure, rows, paper=paper)
    return style.closed(figure)


def every_pair(table: pd.DataFrame) -> Figure:
    """Error over eps of every net (row) under every attack (column), without and with SN.

    The last column is PGM with true labels and log-odds, in the norm of the net's own training.

    Args:
        table: of the experiment `robustness`.
    """
    rows = crossovers.errors(table)
    columns = {**ATTACKS, "pgm_log_odds": "PGM, true labels"}
    nets = [name for name in NETS if (rows["net"] == name).any()]
    size = (9.6, 1.55 * len(nets) + 1.0)
    figure, array = style.axes(len(nets), len(columns), size, sharey=True, sharex="col")
    for line, net in zip(array, nets, strict=True):
        for ax, attack in zip(line, columns, strict=True):
            _panel(ax, rows, net, attack, paper=False)
            if net != nets[-1]:
                ax.set_xlabel("")
        line[0].set_ylabel(f"{NETS[net]} net\nerror (%)", fontsize=9)
    for ax, name in zip(array[0], columns.values(), strict=True):
        ax.set_title(f"{name} attack", fontsize=9)
    array[0, 0].set_ylim(0, 104)
    _legend(figure, rows, paper=False)
    return style.closed(figure)


def _panel(ax: Axes, rows: pd.DataFrame, net: str, attack: str, *, paper: bool) -> None:
    own = rows[(rows["net"] == net) & (rows["attack"] == attack)]
    require(
        len(own) > 0,
        f"table has no error of the net {net!r} under {attack!r}; "
        "give the table of the experiment robustness.",
    )
    ax.axvline(1.0, color="#999999", linewidth=0.8, linestyle=":")
    if paper:
        theirs = published_errors()
        theirs = theirs[(theirs["net"] == net) & (theirs["attack"] == attack)]
        for sn, part in theirs.groupby("sn"):
            ax.plot(
                part["share"],
                100 * part["error"],
                color="#444444" if sn else "#aaaaaa",
                marker=LOOK[sn][1],
                markerfacecolor="none",
                markersize=4,
                linewidth=0.9,
            )
    for beta in sorted(set(own["beta"]), reverse=True):
        color, marker = LOOK[not math.isinf(beta)]
        points = statistics.means(own[own["beta"] == beta], ["share"], "error").astype(float)
        ax.errorbar(
            points["share"],
            100 * points["mean"],
            yerr=100 * points["half"].fillna(0.0),
            color=color,
            marker=marker,
            markersize=4,
            capsize=2,
            elinewidth=0.9,
            linewidth=1.3,
        )
    ax.set_xlabel("eps / eps of training" if attack != "wrm" else "step / step of training")


def _legend(figure: Figure, rows: pd.DataFrame, *, paper: bool) -> None:
    betas = ", ".join(f"{beta:g}" for beta in sorted(set(rows["beta"])) if not math.isinf(beta))
    words = {False: "no SN", True: f"SN, β = {betas}"}
    handles = [
        Line2D([], [], color=color, marker=marker, label=words[sn])
        for sn, (color, marker) in LOOK.items()
    ]
    if paper:
        for sn, color in ((False, "#aaaaaa"), (True, "#444444")):
            label = f"published, {'SN, β = 1.6' if sn else 'no SN'}"
            hollow = dict(color=color, marker=LOOK[sn][1], markerfacecolor="none")
            handles.append(Line2D([], [], label=label, **hollow))
    title = "mean and 95 % interval over seeds; dotted: the radius of training"
    title += "; grey: published, AlexNet on CIFAR-10, one run" * paper
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
    )


def by_strength(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every run at its radius under attacks from none to the strongest recorded.

    Args:
        table: of the experiment `ranks` (or `autoattack`, which has one attack more).

    Returns:
        DataFrame beta, seed and a column an attack of `STRENGTHS`, accuracies in [0, 1].

    Raises:
        UserError: if the table lacks an attack that every such table has.
    """
    named = table["attack"].isin(STRENGTHS) & (table["quantity"] == "accuracy")
    rows = table[named & table["x"].notna()]
    missing = set(STRENGTHS) - {"autoattack"} - set(rows["attack"])
    require(
        not missing,
        f"table has no accuracy under {', '.join(sorted(missing))}; "
        "give the table of the experiment ranks.",
    )
    wide = rows.pivot(index=["beta", "seed"], columns="attack", values="value").reset_index()
    wide.columns.name = None
    return wide[["beta", "seed", *(name for name in STRENGTHS if name in wide)]]


def ranks(table: pd.DataFrame) -> Figure:
    """Accuracy of PGM nets over beta, attack by attack, and what each takes off the paper's number.

    Bars are 95 % Student intervals over seeds; on the right of differences seed by seed.

    Args:
        table: of the experiment `ranks` or `autoattack`.
    """
    runs = by_strength(table)
    figure, (axes,) = style.axes(1, 2, (8.6, 3.7))
    left, right = axes
    names = [name for name in STRENGTHS if name in runs]
    for place, name in enumerate(names):
        _over_beta(left, runs, runs[name], name, (place - len(names) / 2) * 0.06)
    stronger = names[names.index("pgm15_predicted") + 1 :]
    for place, name in enumerate(stronger):
        drop = runs["pgm15_predicted"] - runs[name]
        _over_beta(right, runs, drop, name, (place - len(stronger) / 2) * 0.08)
    left.set_ylabel("test accuracy (%)")
    right.set_ylabel("below the paper's protocol (points)")
    right.axhline(0, color="#bbbbbb", linewidth=0.8)
    right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
    handles, labels = left.get_legend_handles_labels()
    place = dict(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    title = "PGM nets, one radius; mean and 95 % interval over seeds"
    figure.legend(handles, labels, title=title, title_fontsize=8, **place)
    return style.closed(figure)


def _over_beta(ax: Axes, runs: pd.DataFrame, values: pd.Series, name: str, shift: float) -> None:
    label, color, marker = STRENGTHS[name]
    places = style.beta_axis(ax, runs["beta"])
    points = statistics.means(runs.assign(value=values), ["beta"])
    ax.errorbar(
        points["beta"].map(places).astype(float) + shift,
        100 * points["mean"].astype(float),
        yerr=100 * points["half"].fillna(0.0).astype(float),
        color=color,
        marker=marker,
        label=label,
        capsize=2,
        elinewidth=0.9,
        linewidth=1.1,
    )
