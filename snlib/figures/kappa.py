"""Norms of the loss's gradient in the input, whose smallest value is the kappa of the theorems."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snlib import densities, statistics
from snlib.errors import require
from snlib.figures import published, style

BETA = 1.3
"""The budget of the paper's figure."""


def kappas(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest gradient norms on the clean training images, one row a net.

    Args:
        table: of `snlib.load("gain", ...)`.

    Returns:
        DataFrame scheme, beta, seed, minimum, quantile_01, quantile_05, below_01 (the share of the
        images with a norm below 0.01, to about half a percent), mode.

    Raises:
        UserError: no gradient norms in the table.
    """
    rows = []
    for (scheme, beta, seed), part in _chosen(table).groupby(["scheme", "beta", "seed"]):
        sample = densities.of(part)
        rows.append(
            {
                "scheme": scheme,
                "beta": beta,
                "seed": seed,
                "minimum": densities.quantile(part, 0.0),
                "quantile_01": densities.quantile(part, 0.01),
                "quantile_05": densities.quantile(part, 0.05),
                "below_01": float((sample < 0.01).mean()),
                "mode": densities.mode(sample),
            }
        )
    return pd.DataFrame(rows)


def beside_paper(smallest: pd.DataFrame) -> pd.DataFrame:
    """Gradient norms by budget and scheme, and the paper's modes at its one budget.

    Args:
        smallest: of `kappas`.

    Returns:
        DataFrame beta, scheme, log10 of kappa, of the 1 % and of the 5 % quantile (text, mean ±
        half of the 95 % interval over seeds), below .01 (share), mode, and the paper's mode.
    """
    theirs = published_kappas().set_index("scheme")["mode"]
    rows = []
    for (beta, scheme), nets in smallest.groupby(["beta", "scheme"]):
        row = {"beta": style.beta_label(beta), "scheme": scheme}
        for name, column in (("κ", "minimum"), ("1 %", "quantile_01"), ("5 %", "quantile_05")):
            pair = statistics.interval(np.log10(nets[column]))
            row[f"log10 {name}"] = statistics.with_half(*pair, ".2f")
        row |= {"below .01": nets["below_01"].mean(), "mode": nets["mode"].mean()}
        rows.append(row | {"| paper": theirs[scheme] if beta == BETA else math.nan})
    return pd.DataFrame(rows)


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    of_gradients = (table["quantity"] == "gradient_norm") & (table["split"] == "train")
    chosen = table[of_gradients & ~table["diverged"]]
    require(len(chosen) > 0, "the table has no gradient_norm of training images; load('gain').")
    return chosen


def published_kappas() -> pd.DataFrame:
    """The paper's figure (AlexNet on CIFAR-10, beta = 1.3, one run): scheme, mode, right_end."""
    rows = published.curves("fig_kappa")
    rows["scheme"] = rows["panel"].str.split().str[0].str.lower()
    rows["what"] = np.where(rows["series"].str.startswith("mode"), "mode", "right_end")
    return rows.pivot(index="scheme", columns="what", values="x").reset_index()


def kappa(table: pd.DataFrame) -> Figure:
    """Gradient norms on training images, a column a scheme, a line a net.

    Above, as in the paper's figure, their densities at beta = 1.3, rebuilt from the 101 recorded
    quantiles and smoothed by a Gaussian kernel of Silverman's width. Below the same quantiles,
    unsmoothed and on a logarithmic axis, where the left end of each line is its kappa; ERM at every
    budget. Grey: mode and right end of the paper's densities (AlexNet on CIFAR-10, one run).
    """
    chosen = _chosen(table)
    theirs = published_kappas().set_index("scheme")[["mode", "right_end"]]
    schemes = [scheme for scheme in style.SCHEMES if scheme in set(chosen["scheme"])]
    figure, (above, below) = style.axes(2, len(schemes), size=(8.4, 5.0))
    for top, ax, scheme in zip(above, below, schemes, strict=True):
        of_scheme = chosen[chosen["scheme"] == scheme]
        _densities(top, of_scheme[of_scheme["beta"] == BETA])
        for beta, of_beta in of_scheme.groupby("beta"):
            for index, (_, part) in enumerate(of_beta.groupby("seed")):
                part = part.sort_values("x")
                ax.plot(
                    part["value"],
                    part["x"],
                    color=style.beta_color(beta),
                    linewidth=1.1,
                    label=None if index else f"β = {style.beta_label(beta)}",
                )
        if scheme in theirs.index:
            for axis in (top, ax):
                shade = axis.axvspan(*theirs.loc[scheme], color=style.PAPER, alpha=0.12, lw=0)
                mode = theirs.loc[scheme, "mode"]
                line = axis.axvline(mode, color=style.PAPER, linestyle=":", linewidth=1.2)
        every = of_scheme["beta"].nunique() > 1
        beta = "every β" if every else f"β = {style.beta_label(beta)}"
        top.set_title(f"{style.SCHEMES[scheme]}, β = {BETA:g}", fontsize=10)
        ax.set_title(f"{style.SCHEMES[scheme]}, {beta}", fontsize=10)
        ax.set_xscale("log")
        for axis in (top, ax):
            axis.set_xlabel(r"$\|\nabla_x\,\mathrm{loss}\|_2$")
    _together(below[1:])
    for ax in below[1:]:
        ax.tick_params(labelleft=False)
    above[0].set_ylabel("density")
    below[0].set_ylabel("share of training images")
    handles, labels = below[0].get_legend_handles_labels()
    figure.legend(
        [*handles, line, shade],
        [*labels, "paper's mode (β = 1.3)", "range of the paper's densities"],
        loc="outside lower center",
        ncols=8,
        frameon=False,
        fontsize=8,
        columnspacing=1.2,
        handlelength=1.2,
    )
    return style.laid_out(figure)


def _densities(ax: Axes, rows: pd.DataFrame) -> None:
    """The density of each net's gradient norms, as the paper has them: no ticks on the left."""
    for (beta, _), part in rows.groupby(["beta", "seed"]):
        sample = densities.of(part)
        width = 3 * densities.bandwidth(sample)
        grid = np.linspace(sample.min() - width, sample.max() + width, 300)
        ax.plot(grid, densities.density(sample, grid), color=style.beta_color(beta), linewidth=1.1)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_yticks([])


def _together(axes: Sequence[Axes]) -> None:
    """One range of x for several axes."""
    low = min((ax.get_xlim()[0] for ax in axes), default=1.0)
    high = max((ax.get_xlim()[1] for ax in axes), default=1.0)
    for ax in axes:
        ax.set_xlim(low, high)
