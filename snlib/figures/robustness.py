"""Error against eps, net by net and attack by attack, beside the paper's own; notebook 09."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
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


def points_below(advantages: pd.DataFrame) -> pd.DataFrame:
    """What SN takes off the error up to the radius of training, in points: mean and half by panel.

    Args:
        advantages: as `crossovers.advantages` returns them.
    """
    below = crossovers.below(advantages)
    below["points"] = 100 * below["advantage"]
    return statistics.means(below, ["net", "attack"], "points").set_index(["net", "attack"])


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """What SN takes off the error up to the radius of training and where that ends, panel by panel.

    Args:
        table: of the experiment `robustness`.

    Returns:
        DataFrame, a row for each of the paper's panels (net, attack): below, in points as text,
        mean over seeds ± half of Student's 95 % interval; crossover, of the mean advantage, in
        multiples of that radius; behind each the paper's own, of its curves.
    """
    ours, theirs = crossovers.advantages(crossovers.errors(table)), published_advantages()
    columns = {
        "below": statistics.texts(points_below(ours), ".1f"),
        "| paper": points_below(theirs)["mean"],
        "crossover": crossovers.crossovers(ours),
        "| paper ": crossovers.crossovers(theirs),
    }
    shown = pd.MultiIndex.from_tuples(crossovers.PANELS, names=["net", "attack"])
    return pd.DataFrame({name: column.reindex(shown) for name, column in columns.items()})


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
    figure, array = style.axes(2, 4, (8.2, 4.4), sharey=True)
    for ax, (net, attack) in zip(array.flat, crossovers.PANELS, strict=True):
        _panel(ax, rows, net, attack, paper=paper)
        ax.set_title(f"{NETS[net]} net, {ATTACKS[attack]} attack", fontsize=9)
    array[0, 0].set_ylim(0, 104)
    for line in array:
        line[0].set_ylabel("test error (%)")
    _legend(figure, rows, paper=paper)
    return style.laid_out(figure)


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
    figure, array = style.axes(len(nets), len(columns), size, sharey=True)
    for line, net in zip(array, nets, strict=True):
        for ax, attack in zip(line, columns, strict=True):
            _panel(ax, rows, net, attack, paper=False)
            if net != nets[-1]:
                ax.set_xlabel("")
        line[0].set_ylabel(f"{NETS[net]} net\nerror (%)", fontsize=9)
    for ax, name in zip(array[0], columns.values(), strict=True):
        ax.set_title(name if "," in name else f"{name} attack", fontsize=9)
    array[0, 0].set_ylim(0, 104)
    _legend(figure, rows, paper=False)
    return style.laid_out(figure)


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
        look = dict(color=color, marker=marker, markersize=4, capsize=2, linewidth=1.3)
        style.percents(ax, points["share"], points, **look)
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


def at_step(rows: pd.DataFrame) -> Callable[[str, int], Figure]:
    """(net, step) -> error of that net under every attack at one step of the axis, with SN and not.

    The axes are laid out once; every call repaints and returns the same Figure. Steps are 0 to 5,
    the paper's axis: step 5 is twice the radius of training in l2, five times in linf, and the step
    of training of WRM. Marks: mean over seeds and 95 % Student interval; small dots: single seeds.

    Args:
        rows: as `crossovers.errors` returns them.
    """
    columns = {**ATTACKS, "pgm_log_odds": "PGM,\ntrue labels"}
    figure, ((ax,),) = style.axes(1, 1, (7.0, 3.2))
    ax.set(ylim=(0, 104), ylabel="test error (%)", xlim=(-0.5, len(columns) - 0.5))
    ax.set_xticks(range(len(columns)), [f"{name}\n0.0 ×" for name in columns.values()])
    ax.set_title("net", fontsize=10)
    marks = {}
    for sn, (color, marker) in LOOK.items():
        shift = 0.1 if sn else -0.1
        look = dict(color=color, marker=marker, linestyle="none")
        label = "SN" if sn else "no SN"
        (means,) = ax.plot(range(len(columns)), [0.0] * len(columns), label=label, **look)
        (seeds,) = ax.plot([], [], color=color, marker="o", markersize=3, alpha=0.5, linestyle="")
        bars = ax.vlines([place + shift for place in range(len(columns))], 0, 0, color=color)
        marks[sn] = (shift, means, seeds, bars)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    style.laid_out(figure)

    def draw(net: str, step: int) -> Figure:
        names, points = [], {sn: [] for sn in LOOK}
        for attack, name in columns.items():
            own = rows[(rows["net"] == net) & (rows["attack"] == attack)]
            radii = sorted(set(own["eps"]))
            require(
                0 <= step < len(radii),
                f"step is {step!r}; the curves of {net!r} by {attack!r} have {len(radii)} radii.",
            )
            own = own[own["eps"] == radii[step]]
            names.append(f"{name}\n{own['share'].iloc[0]:.1f} ×")
            for sn, kept in points.items():
                kept.append(100 * own.loc[~np.isinf(own["beta"]) == sn, "error"])
        for sn, (shift, means, seeds, bars) in marks.items():
            places = [place + shift for place in range(len(columns))]
            found = [statistics.interval(part) for part in points[sn]]
            means.set_data(places, [mean for mean, _ in found])
            beside = [
                place + 0.05 for place, part in zip(places, points[sn], strict=True) for _ in part
            ]
            seeds.set_data(beside, pd.concat(points[sn]))
            bars.set_segments(
                [
                    [(place, mean - half), (place, mean + half)]
                    for place, (mean, half) in zip(places, found, strict=True)
                    if not math.isnan(half)
                ]
            )
        ax.set_xticklabels(names)
        axis = "below: eps (WRM: step) over that of training; bars: 95 %, dots: seeds"
        ax.set_title(f"{NETS[net]} net; {axis}", fontsize=9)
        return figure

    return draw
