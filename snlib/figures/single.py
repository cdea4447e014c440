"""One setting at a time, for sliders: axes stay where they are while the setting changes.

Each function computes its curves and lays out its axes once, and returns a function that only
repaints: it gives the same Figure every time, changed, since laying out anew takes most of the
time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import densities
from snlib.errors import one_of, require
from snlib.figures import margins as of_margins
from snlib.figures import norm_gain as of_gain
from snlib.figures import style

PAPER_BETA = {"erm": 1.3, "fgm": 1.6, "pgm": 1.6}
"""The budgets of the paper's figure of margins, beside none."""

DIVIDED_BY = {"published": "published normalization", "theorem": "√Φ"}
"""What margins are divided by."""

OTHERS = "#cfcfcf"
"""What is not chosen."""

Curve = tuple[np.ndarray, np.ndarray]


def _curve(sample: np.ndarray) -> Curve:
    """The density of a sample, on a grid that holds all but nothing of it."""
    reach = 3 * densities.bandwidth(sample)
    grid = np.linspace(sample.min() - reach, sample.max() + reach, 160)
    return grid, densities.density(sample, grid)


def _repaint(lines: dict[float, list[Line2D]], beta: float) -> None:
    """Bring one budget's lines to the front."""
    for other, of_beta in lines.items():
        here = other == beta
        for line in of_beta:
            line.set(color=style.beta_color(beta) if here else OTHERS)
            line.set(linewidth=1.6 if here else 0.7, zorder=3 if here else 2)


def norm_gain(table: pd.DataFrame) -> Callable[[float], Figure]:
    """beta -> densities of the norm gain of ERM nets on test images, over those at other budgets.

    A line a seed, of log10 of the gain, from recorded quantiles. Dashed: the product of the layers'
    norms, mean over seeds; dotted: the mode in the paper's figure (AlexNet on CIFAR-10, one run).

    Args:
        table: of `snlib.load("gain", ...)`.
    """
    summary, theirs = of_gain.gains(table), of_gain.published_gains()
    erm = table[(table["scheme"] == "erm") & ~table["diverged"]]
    erm = erm[(erm["quantity"] == "norm_gain") & (erm["split"] == "test")]
    figure, ((ax,),) = style.axes(size=(6.4, 3.2))
    lines: dict[float, list[Line2D]] = {}
    for (beta, _), part in erm.groupby(["beta", "seed"]):
        grid, heights = _curve(np.log10(densities.of(part)))
        lines.setdefault(beta, []).extend(ax.plot(10**grid, heights))
    bound = ax.axvline(summary["product"].max(), color="black", linestyle="--")
    mode = ax.axvline(min(theirs.values()), color=style.PAPER, linestyle=":")
    ax.set(xscale="log", xlabel="norm gain ||f(x)|| / ||x||", ylabel="density per decade")
    ax.xaxis.set_major_formatter(lambda gain, _: f"{gain:g}")
    ax.set_ylim(bottom=0)
    names = ["product of the layers' norms", "paper's mode (AlexNet, CIFAR-10)"]
    place = dict(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.legend([bound, mode], names, **place)
    ax.set_title("β", fontsize=10)
    style.laid_out(figure)

    def draw(beta: float) -> Figure:
        require(beta in lines, f"beta is {beta!r}; recorded are {sorted(lines)}.")
        _repaint(lines, beta)
        here = summary[summary["beta"] == beta]
        median, product = here["median"].mean(), here["product"].mean()
        bound.set_xdata([product, product])
        mode.set(xdata=[theirs.get(beta, math.nan)] * 2)
        text = f"β = {style.beta_label(beta)}: median gain {median:.2f}, product {product:.3g}"
        ax.set_title(text, fontsize=10)
        return figure

    return draw


def margins(table: pd.DataFrame, norms: pd.DataFrame) -> Callable[..., Figure]:
    """(scheme, beta, divided by "published" or "theorem") -> densities of training margins.

    Left raw, right divided and as powers of ten, which negative margins have not; axes are the same
    at every budget of a scheme. A line a seed, from recorded quantiles, the chosen budget over the
    others. Dotted: the mode in the paper's figure (AlexNet on CIFAR-10, one run), where it has that
    budget.

    Args:
        table: margins of nets trained on true labels, of `snlib.tables.measured`.
        norms: of `snlib.bounds.normalizations(table)`.
    """
    nets = norms[norms["labels"] == "true"].to_dict("records")
    samples = {net["run"]: densities.of(of_margins.of_net(table, net)) for net in nets}
    schemes = [name for name in PAPER_BETA if any(net["scheme"] == name for net in nets)]
    canvases = {  # all at once: a reader who moves a slider does not wait for a layout
        (scheme, kind): _Margins(nets, samples, scheme, kind)
        for scheme in schemes
        for kind in DIVIDED_BY
    }

    def draw(scheme: str, beta: float, divided_by: str = "published") -> Figure:
        one_of("divided_by", divided_by, DIVIDED_BY)
        own = [net for net in nets if net["scheme"] == scheme and net["beta"] == beta]
        require(len(own) > 0, f"no run of scheme={scheme}, beta={beta} is recorded.")
        one_of("scheme", scheme, PAPER_BETA)
        negative = float(np.mean([(samples[net["run"]] < 0).mean() for net in own]))
        return canvases[scheme, divided_by].draw(beta, negative)

    return draw


def _published(scheme: str, kind: str) -> dict[float, float]:
    """The modes in the paper's figure by budget, NaN where it has none; log10 if normalized."""
    theirs = of_margins.published_modes()
    theirs = theirs[(theirs["labels"] == "true") & (theirs["scheme"] == scheme)]
    theirs = theirs[theirs["kind"] == kind]
    # PGM without SN has two modes: the larger
    modes = theirs.groupby("sn")["mode"].max().reindex([False, True])
    if kind != "raw":
        modes = modes.map(math.log10, na_action="ignore")
    return dict(zip((math.inf, PAPER_BETA[scheme]), modes, strict=True))


class _Margins:
    """Two panels of one scheme: raw margins, and log10 of the positive ones after division."""

    def __init__(self, nets: list[dict], samples: dict, scheme: str, kind: str) -> None:
        # A layout by hand: every scheme has a figure of its own, and solving would take longest.
        self.figure, (self.axes,) = style.axes(1, 2, size=(7.2, 3.0), layout="none")
        self.figure.subplots_adjust(left=0.04, right=0.99, bottom=0.16, top=0.89, wspace=0.04)
        self.lines: list[dict[float, list[Line2D]]] = [{}, {}]
        self.published = [_published(scheme, "raw"), _published(scheme, kind)]
        dotted = dict(color=style.PAPER, linestyle=":")
        self.modes = [ax.axvline(math.nan, **dotted) for ax in self.axes]
        for net in nets:
            if net["scheme"] != scheme:
                continue
            sample = samples[net["run"]]
            positive = np.log10(sample[sample > 0]) - net[kind]
            for ax, lines, values in zip(self.axes, self.lines, (sample, positive), strict=True):
                if len(values) > 1 and np.isfinite(values).all():  # not where there is no bound
                    grid, heights = _curve(values)
                    of_beta = lines.setdefault(net["beta"], [])
                    of_beta.extend(ax.plot(grid, heights / heights.max()))
        for ax, published in zip(self.axes, self.published, strict=True):
            ax.plot(list(published.values()), [0, 0], linestyle="none")  # the axis reaches there
            ax.set(yticks=[], ylim=(0, 1.08))
        self.axes[0].axvline(0, color="#999999", linewidth=0.8)
        self.axes[0].set_ylabel("density over its largest")
        self.axes[0].set_xlabel("margin")
        self.axes[1].set_xlabel(f"log₁₀ of positive margins / {DIVIDED_BY[kind]}")
        self.scheme = style.SCHEMES[scheme]
        self.title = self.figure.suptitle(self.scheme, fontsize=10)
        style.laid_out(self.figure)

    def draw(self, beta: float, negative: float) -> Figure:
        """Show one budget; `negative` is its share of negative margins."""
        panels = zip(self.lines, self.modes, self.published, strict=True)
        for lines, line, published in panels:
            _repaint(lines, beta)
            line.set_xdata([published.get(beta, math.nan)] * 2)
        self.axes[0].set_xlabel(f"margin; {negative:.0%} are negative")
        name = f"{self.scheme}, β = {style.beta_label(beta)}"
        self.title.set_text(f"{name}; dotted: paper's mode (AlexNet, CIFAR-10)")
        return self.figure
