"""Norm gain ||f(x)|| / ||x|| against the budget: distributions, and how far below the bound."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from snlib import densities, statistics
from snlib.errors import require
from snlib.figures import published, style


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Norm gains of the ERM nets on test images, one row a budget and seed.

    Args:
        table: of `snlib.load("gain", ...)`.

    Returns:
        DataFrame beta, seed, mode (of the density of log10 of the gain), low, median, high (5 %,
        50 % and 95 % quantiles), product (of the layers' operator norms, certified lower ends).

    Raises:
        UserError: no ERM run with gains in the table.
    """
    erm = table[(table["scheme"] == "erm") & ~table["diverged"]]
    chosen = erm[(erm["quantity"] == "norm_gain") & (erm["split"] == "test")]
    require(len(chosen) > 0, "the table has no norm_gain of ERM on test images; load('gain').")
    rows = []
    for (beta, seed), part in chosen.groupby(["beta", "seed"]):
        norms = erm[(erm["beta"] == beta) & (erm["seed"] == seed) & (erm["quantity"] == "lower")]
        rows.append(
            {
                "beta": beta,
                "seed": seed,
                "mode": 10 ** densities.mode(np.log10(densities.of(part))),
                "low": densities.quantile(part, 0.05),
                "median": densities.quantile(part, 0.5),
                "high": densities.quantile(part, 0.95),
                "product": float(norms["value"].prod()),
            }
        )
    return pd.DataFrame(rows)


def published_gains() -> dict[float, float]:
    """The modes of the paper's figure (AlexNet on CIFAR-10, one run a budget), by budget."""
    rows = published.curves("fig_norm_gain")
    betas = [float(re.match(r"beta=([\d.]+|inf)", name)[1]) for name in rows["series"]]
    return dict(zip(betas, rows["x"], strict=True))


def beside_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """Median gain, product of the norms, and the paper's modes: a row a beta.

    Args:
        summary: of `gains`.

    Returns:
        DataFrame mean and half (of the median gain, over seeds), product (of the layers' norms),
        over (product over median), paper (the mode of its figure), paper_over (beta^5 over it).
    """
    shown = statistics.means(summary, ["beta"], "median").set_index("beta")[["mean", "half"]]
    shown["product"] = summary.groupby("beta")["product"].mean()
    shown["over"] = shown["product"] / shown["mean"]
    shown["paper"] = pd.Series(published_gains())
    shown["paper_over"] = [beta**5 / shown["paper"].get(beta, math.nan) for beta in shown.index]
    return shown.astype(float)


def _legend(ax) -> tuple[list, list]:
    handles, labels = ax.get_legend_handles_labels()
    return list(handles), list(labels)


def norm_gain(table: pd.DataFrame) -> Figure:
    """Left: densities of the gain, a line a seed; right: its range against the budget.

    The densities are of log10 of the gain, from 101 recorded quantiles, smoothed by a Gaussian
    kernel of Silverman's width; diamonds above them: the paper's modes (AlexNet on CIFAR-10, one
    run). Right: median and 5-95 % range of each seed, the product of the layers' norms, and the
    paper's modes again.
    """
    summary, theirs = gains(table), published_gains()
    figure, ((left, right),) = style.axes(1, 2, size=(8.2, 3.5))
    erm = table[(table["scheme"] == "erm") & ~table["diverged"]]
    erm = erm[(erm["quantity"] == "norm_gain") & (erm["split"] == "test")]
    for beta, of_beta in erm.groupby("beta"):
        for index, (_, part) in enumerate(of_beta.groupby("seed")):
            sample = np.log10(densities.of(part))
            width = 3 * densities.bandwidth(sample)
            grid = np.linspace(sample.min() - width, sample.max() + width, 300)
            left.plot(
                10**grid,
                densities.density(sample, grid),
                color=style.beta_color(beta),
                label=None if index else f"β = {style.beta_label(beta)}",
                linewidth=1.2,
            )
    left.set(xscale="log", xlabel="norm gain ‖f(x)‖₂ / ‖x‖₂", ylabel="density per decade")
    top = left.get_ylim()[1]
    for beta, mode in theirs.items():  # in the same axis of x; their heights are not ours
        left.plot(
            mode,
            1.04 * top,
            marker="D",
            color=style.beta_color(beta),
            markerfacecolor="white",
            clip_on=False,
        )
    left.set_ylim(0, 1.1 * top)
    places = style.beta_axis(right, summary["beta"])
    betas = list(places)
    for beta, of_beta in summary.groupby("beta"):
        shifts = np.linspace(-0.12, 0.12, len(of_beta)) if len(of_beta) > 1 else [0.0]
        right.errorbar(
            places[beta] + np.asarray(shifts),
            of_beta["median"],
            [of_beta["median"] - of_beta["low"], of_beta["high"] - of_beta["median"]],
            fmt="o",
            markersize=3,
            linewidth=1,
            color=style.beta_color(beta),
        )
    product = summary.groupby("beta")["product"].mean()
    right.plot(
        range(len(betas)),
        [product[beta] for beta in betas],
        color="black",
        marker="_",
        linewidth=1,
        label="product of the layers' norms",
    )
    right.plot(
        range(len(betas)),
        [theirs.get(beta, math.nan) for beta in betas],
        color=style.PAPER,
        marker="D",
        markerfacecolor="white",
        linestyle=":",
        linewidth=1,
        label="paper's modes (AlexNet, CIFAR-10)",
    )
    right.plot([], [], "o", color="#777777", label="here: median, 5–95 %, each seed")
    right.set(yscale="log", ylabel="norm gain")
    handles, labels = (a + b for a, b in zip(_legend(left), _legend(right), strict=True))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
        columnspacing=1.4,
        handlelength=1.4,
    )
    return style.laid_out(figure)
