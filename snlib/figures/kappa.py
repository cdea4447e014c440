"""Norms of the loss's gradient in the input, whose smallest value is the kappa of the theorems."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from snlib import densities
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
    """Share of training images with a gradient norm up to x: a panel a scheme, a line a net.

    The lines join the 101 recorded quantiles, unsmoothed; the left end of each is its kappa. ERM is
    shown at every budget, the others at beta = 1.3. Grey: mode and right end of the paper's figure
    (AlexNet on CIFAR-10, beta = 1.3, one run).
    """
    chosen, theirs = _chosen(table), published_kappas().set_index("scheme")
    schemes = [scheme for scheme in style.SCHEMES if scheme in set(chosen["scheme"])]
    figure, (axes,) = style.axes(
        1, len(schemes), size=(8.4, 3.2), sharey=True, width_ratios=[1.6] + [1] * (len(schemes) - 1)
    )
    for ax, scheme in zip(axes, schemes, strict=True):
        of_scheme = chosen[chosen["scheme"] == scheme]
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
            ends = theirs.loc[scheme, ["mode", "right_end"]]
            shade = ax.axvspan(*ends, color=style.PAPER, alpha=0.12, linewidth=0)
            line = ax.axvline(ends["mode"], color=style.PAPER, linestyle=":", linewidth=1.2)
        beta = "" if of_scheme["beta"].nunique() > 1 else f", β = {style.beta_label(beta)}"
        ax.set(xscale="log", xlabel="||∇ₓ loss||")
        ax.set_title(f"{style.SCHEMES[scheme]}{beta}", fontsize=10)
    low = min((ax.get_xlim()[0] for ax in axes[1:]), default=1.0)
    high = max((ax.get_xlim()[1] for ax in axes[1:]), default=1.0)
    for ax in axes[1:]:
        ax.set_xlim(low, high)
    axes[0].set_ylabel("share of training images")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        [*handles, line, shade],
        [*labels, "paper's mode (β = 1.3)", "from there to its right end"],
        loc="outside lower center",
        ncols=8,
        frameon=False,
        fontsize=8,
        columnspacing=1.2,
        handlelength=1.2,
    )
    return style.closed(figure)
