"""What a norm budget adds to the time of an epoch, run by run: the paper's Table 2; notebook 11."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.claims import cost
from snlib.errors import require
from snlib.figures import style, table1

ROW = ["data", "net", "norm", "scheme"]
"""What a row of the table is: two runs a seed, without SN and with."""

LINF = 0.2
"""How far below its line a row under an linf attack is drawn."""


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """Times of every row of Table 1, in the order of the runs.

    Args:
        table: of the experiment `runtimes`.

    Returns:
        DataFrame data, net, norm (of the attack; 0 for ERM), scheme, seeds, free and capped
        (seconds of an epoch without SN and with, median over seeds of a run's median), ratio
        (median over seeds of capped / free), low, high (its smallest and largest).

    Raises:
        UserError: no pair of runs in the table.
    """
    pairs = statistics.overhead(table)
    require(len(pairs) > 0, "the table has no run with SN beside one without; load('runtimes').")
    nets = list(dict.fromkeys(zip(table["data"], table["net"], strict=True)))
    grouped = pairs.groupby(ROW)
    found = grouped[["free", "capped", "ratio"]].median()
    found = found.assign(
        seeds=grouped.size(), low=grouped["ratio"].min(), high=grouped["ratio"].max()
    ).reset_index()
    order = pd.DataFrame(
        {
            "line": [nets.index(key) for key in zip(found["data"], found["net"], strict=True)],
            "norm": found["norm"],
            "scheme": found["scheme"].map([*style.SCHEMES].index),
        }
    ).sort_values(["line", "scheme", "norm"])
    return found.loc[order.index].reset_index(drop=True)


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Seconds of an epoch without SN, times what SN makes of them: "2.18×1.03".

    Args:
        table: of the experiment `runtimes`.

    Returns:
        DataFrame a line a data set and network, a column a training scheme and norm.
    """
    found = rows(table)
    texts = found.assign(
        cell=[f"{row.free:.2f}×{row.ratio:.2f}" for row in found.itertuples()],
        line=_lines(found),
        scheme=[
            style.SCHEMES[row.scheme] + (", linf" if math.isinf(row.norm) else "")
            for row in found.itertuples()
        ],
    )
    wide = texts.pivot(index="line", columns="scheme", values="cell").fillna("")
    names = [name + end for end in ("", ", linf") for name in style.SCHEMES.values()]
    wide = wide.loc[list(dict.fromkeys(texts["line"])), [n for n in names if n in wide]]
    return wide.rename_axis(index=None, columns=None)


def added(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over the rows of a training scheme of the share of time that SN adds.

    Returns:
        DataFrame scheme, mean and half (95 % Student interval over seeds), seeds.
    """
    shares = cost.added_time(table)
    named = [name for name in style.SCHEMES.values() if name in shares]
    found = [(name, *statistics.interval(shares[name]), shares[name].count()) for name in named]
    return pd.DataFrame(found, columns=["scheme", "mean", "half", "seeds"])


def _lines(found: pd.DataFrame) -> list[str]:
    return [
        f"{table1.name(data)}, {net}" for data, net in zip(found["data"], found["net"], strict=True)
    ]


def run_times(table: pd.DataFrame) -> Figure:
    """Time of an epoch with SN over that without, a panel a training scheme, a line a network.

    Dots: median over seeds; bars: smallest and largest; hollow, below: under an linf attack.
    Dashed: the tenth more that claim 15 allows.

    Args:
        table: of the experiment `runtimes`.
    """
    found = rows(table).assign(line=lambda rows: _lines(rows))
    lines = list(dict.fromkeys(found["line"]))
    schemes = [scheme for scheme in style.SCHEMES if scheme in set(found["scheme"])]
    size = (2.2 + 1.75 * len(schemes), 1.2 + 0.27 * len(lines))
    figure, (axes,) = style.axes(1, len(schemes), size, sharey=True, sharex=True)
    for ax, scheme in zip(axes, schemes, strict=True):
        _dots(ax, found[found["scheme"] == scheme], lines, style.COLOR[scheme])
        ax.set_title(style.SCHEMES[scheme], fontsize=9)
    axes[0].set_yticks(range(len(lines)), lines)
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    figure.supxlabel("time of an epoch with SN / without", fontsize=9)
    if found["norm"].map(math.isinf).any():
        look = dict(marker="o", color=style.PAPER, linestyle="none")
        handles = [
            Line2D([], [], label="ERM, or l2 attack", **look),
            Line2D([], [], label="linf attack", markerfacecolor="white", **look),
        ]
        figure.legend(
            handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=8
        )
    return style.laid_out(figure)


def _dots(ax: Axes, found: pd.DataFrame, lines: list[str], color: str) -> None:
    for row in found.itertuples():
        linf = math.isinf(row.norm)
        ax.errorbar(
            row.ratio, lines.index(row.line) + LINF * linf,
            xerr=[[row.ratio - row.low], [row.high - row.ratio]],
            marker="o", color=color, markerfacecolor="white" if linf else color, elinewidth=1,
        )  # fmt: skip
    ax.axvline(1.0, color="black", linewidth=1, zorder=0)
    ax.axvline(1.0 + cost.SMALL, color="black", linestyle="--", linewidth=1, zorder=0)
