"""Margin distributions, raw and normalized, of nets trained on true and on random labels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import densities, statistics
from snlib.errors import require
from snlib.figures import published, style

LABELS = {"true": "#0173b2", "random": "#de8f05"}
"""Colours of nets trained on true and on random labels, those of the paper's figure."""

SMALLEST = 1e-20
"""Normalized margins below this are written into the panel, not drawn: PGM's reach 1e-130."""

PANELS = (
    ("raw", "erm", "ERM margins"),
    ("published", "erm", "ERM normalized"),
    ("published", "fgm", "FGM normalized"),
    ("published", "pgm", "PGM normalized"),
)
"""Columns of the paper's figure: what the margins are divided by, scheme, title."""


def summary(table: pd.DataFrame, norms: pd.DataFrame) -> pd.DataFrame:
    """Modes and medians of training margins, raw and normalized, one row a net.

    Args:
        table: of `snlib.load("margins", ...)`.
        norms: of `snlib.bounds.normalizations(table)`.

    Returns:
        DataFrame scheme, sn, labels, seed, mode, median, negative (share of negative margins, to
        half a percent), published, theorem (the mode divided by these; NaN for a net without a
        bound).
    """
    rows = []
    for net in norms.to_dict("records"):
        sample = densities.of(of_net(table, net))
        mode = densities.mode(sample)
        rows.append(
            {
                **{key: net[key] for key in ("scheme", "labels", "seed")},
                "sn": not math.isinf(net["beta"]),
                "mode": mode,
                "median": float(np.median(sample)),
                "negative": float((sample < 0).mean()),
                "published": divided(mode, net["published"]),
                "theorem": divided(mode, net["theorem"]),
            }
        )
    return pd.DataFrame(rows)


KEYS = ["scheme", "labels", "sn"]


def raw_beside_paper(nets: pd.DataFrame) -> pd.DataFrame:
    """Raw margins: share of negative ones, mode and median as text, and the paper's mode.

    Args:
        nets: of `summary`.
    """
    shown = nets.groupby(KEYS)[["negative"]].mean()
    for column in ("mode", "median"):
        shown[column] = _text(nets, column, 2)
    shown["| paper"] = _largest_modes()["raw"].reindex(shown.index)
    return shown


def normalized_beside_paper(nets: pd.DataFrame, norms: pd.DataFrame) -> pd.DataFrame:
    """log10 of normalized modes, of the paper's, of kappa and of sqrt(Phi), as text.

    A mode that is negative in any seed has no logarithm: its cell is empty. So are those of κ and
    of the bound where a κ is 0, for which there is no bound.

    Args:
        nets: of `summary`.
        norms: of `snlib.bounds.normalizations(table)`.
    """
    sizes = norms[["scheme", "labels", "seed", "beta", "theorem"]].assign(
        sn=norms["beta"].map(math.isfinite),
        kappa=np.log10(norms["kappa"].where(norms["kappa"] > 0)),
    )
    logs = nets.merge(sizes, on=[*KEYS, "seed"], suffixes=("", " norm"))
    for column in ("published", "theorem"):
        logs[column] = np.log10(logs[column].where(logs[column] > 0))
    paper = _largest_modes()["published"]
    columns = {"published": "mode/published", "theorem": "mode/sqrt(Phi)", "kappa": "κ"}
    columns |= {"theorem norm": "sqrt(Phi)"}
    shown = pd.DataFrame({name: _text(logs, column, 1) for column, name in columns.items()})
    shown.insert(1, "| paper", np.log10(paper.reindex(shown.index).astype(float)))
    return shown


def _largest_modes() -> pd.Series:
    """The paper's modes by kind and `KEYS`; of the two of PGM without SN the larger."""
    return published_modes().groupby(["kind", *KEYS])["mode"].max()


def _text(nets: pd.DataFrame, column: str, digits: int) -> pd.Series:
    """Mean ± half of the interval over seeds, "" where a seed has none."""
    lacking = nets[column].isna().groupby([nets[key] for key in KEYS]).transform("any")
    whole = nets.assign(**{column: nets[column].mask(lacking)})
    means = statistics.means(whole, KEYS, column).set_index(KEYS)
    return statistics.texts(means, f".{digits}f")


def divided(margin: float | np.ndarray, log10_norm: float) -> float | np.ndarray:
    """margin / 10 ** log10_norm, without overflow."""
    with np.errstate(divide="ignore"):
        return np.sign(margin) * 10.0 ** (np.log10(np.abs(margin)) - log10_norm)


def of_net(table: pd.DataFrame, net: dict) -> pd.DataFrame:
    """A net's margins on training images: clean for ERM, under the training attack otherwise."""
    attack = "none" if net["scheme"] == "erm" else "training"
    chosen = table[(table["run"] == net["run"]) & (table["quantity"] == "margin")]
    return chosen[(chosen["split"] == "train") & (chosen["attack"] == attack)]


def published_modes() -> pd.DataFrame:
    """The modes of the paper's figure (AlexNet, CIFAR-10, one run): kind, scheme, sn, labels, mode.

    kind is "raw" or "published"; PGM without SN has two modes, hence two rows.
    """
    rows = published.curves("fig_margins")
    words = rows["panel"].str.split()
    return pd.DataFrame(
        {
            "kind": np.where(rows["panel"].str.contains("normalized"), "published", "raw"),
            "scheme": words.str[0].str.lower(),
            "sn": rows["panel"].str.contains("SN"),
            "labels": np.where(rows["series"].str.startswith("Random"), "random", "true"),
            "mode": rows["x"],
        }
    )


def margins(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """The paper's figure: densities of margins, a line a seed, without SN above, with SN below.

    Densities are rebuilt from 101 recorded quantiles, mass evenly spread between neighbours, and
    smoothed by a Gaussian kernel of Silverman's width. Below each panel the paper's modes (AlexNet
    on CIFAR-10, one run); where margins are raw they are also marked.
    """
    theirs = published_modes()
    figure, axes = style.axes(2, 4, size=(8.8, 4.8))
    for row, sn in enumerate((False, True)):
        for column, (kind, scheme, title) in enumerate(PANELS):
            ax = axes[row, column]
            nets = norms[(norms["scheme"] == scheme) & (np.isfinite(norms["beta"]) == sn)]
            require(len(nets) > 0, f"no net of {scheme} {'with' if sn else 'without'} SN is there.")
            for labels, color in LABELS.items():
                chosen = nets[nets["labels"] == labels].to_dict("records")
                for index, net in enumerate(chosen):
                    log_norm = net["published"] if kind == "published" else 0.0
                    sample = divided(densities.of(of_net(table, net)), log_norm)
                    reach = 3 * densities.bandwidth(sample)
                    grid = np.linspace(sample.min() - reach, sample.max() + reach, 300)
                    heights = densities.density(sample, grid)
                    label = None if index else f"{labels} labels"
                    ax.plot(grid, heights, color=color, linewidth=1.1, label=label)
            _beside(ax, theirs, kind, scheme, sn)
            beta = "without SN" if not sn else f"SN, β = {style.beta_label(nets['beta'].iloc[0])}"
            ax.set_title(f"{title}\n{beta}" if row == 0 else beta, fontsize=9)
            ax.axvline(0, color="#999999", linewidth=0.8)
            ax.set_yticks([])
            ax.set_ylim(bottom=0)
        axes[row, 0].set_ylabel("density")
    handles, names = axes[0, 0].get_legend_handles_labels()
    dotted = Line2D([], [], color=style.PAPER, linestyle=":")
    names.append("paper's modes of raw margins (AlexNet, CIFAR-10, one run)")
    place = dict(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    title = "training images, under the training attack for FGM and PGM"
    figure.legend([*handles, dotted], names, title=title, title_fontsize=8, **place)
    return style.laid_out(figure)


def _beside(ax, theirs: pd.DataFrame, kind: str, scheme: str, sn: bool) -> None:
    """Write the paper's modes under a panel, and mark those that are raw."""
    here = (theirs["kind"] == kind) & (theirs["scheme"] == scheme) & (theirs["sn"] == sn)
    modes = theirs[here]
    exponent = math.floor(math.log10(np.abs(ax.get_xlim()).max()))
    exponent = 0 if kind == "raw" else exponent
    text = ", ".join(
        f"{row['mode'] / 10.0**exponent:.2g}{' ' + row['labels'] if scheme == 'erm' else ''}"
        for _, row in modes.iterrows()
    )
    unit = f", in units of $10^{{{exponent}}}$" if exponent else ""
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 10.0**exponent:.3g}")
    ax.set_xlabel(f"margin{unit}\npaper: {text}", fontsize=8)
    if kind == "raw":
        for _, row in modes.iterrows():
            ax.axvline(row["mode"], color=LABELS[row["labels"]], linestyle=":", linewidth=1.2)


def margin_sizes(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """Mode of each net's margins, raw and divided by both normalizations, on logarithmic axes.

    A dot a seed. Modes below zero, nets without a bound and modes below 1e-20 are counted (these
    with the power of ten of the smallest, on a shaded ground): no place on the axis holds them.
    Grey diamonds: the paper's modes (AlexNet on CIFAR-10, one run) of what its figure shows.
    """
    ours, theirs = summary(table, norms), published_modes()
    theirs = theirs[theirs["mode"] > 0]
    groups = [
        (scheme, labels, sn)
        for scheme, labels in (("erm", "true"), ("erm", "random"), ("fgm", "true"), ("pgm", "true"))
        for sn in (False, True)
    ]
    figure, (axes,) = style.axes(1, 3, size=(8.4, 3.4), sharey=True)
    kinds = {"mode": "raw", "published": "divided as published", "theorem": "divided by √Φ"}
    for ax, (column, title) in zip(axes, kinds.items(), strict=True):
        for place, (scheme, labels, sn) in enumerate(groups):
            here = (ours["scheme"] == scheme) & (ours["labels"] == labels) & (ours["sn"] == sn)
            values = ours.loc[here, column]
            positive = values[values > SMALLEST]
            tiny = values[(values > 0) & (values <= SMALLEST)]
            notes = [
                f"{len(tiny)} of {len(values)} to $10^{{{math.floor(np.log10(value))}}}$"
                for value in sorted(tiny)[:1]
            ]
            if (values <= 0).any():
                notes.append(f"{(values <= 0).sum()} of {len(values)} below 0")
            if values.isna().any():
                notes.append(f"{values.isna().sum()} of {len(values)} without a bound")
            color = style.CAPPED if sn else style.FREE
            ax.plot(positive, [place] * len(positive), "o", color=color, markersize=4)
            ax.text(
                0.02,
                place,
                ", ".join(notes),
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize=7,
            )
            kind = {"mode": "raw", "published": "published"}.get(column)
            modes = theirs[(theirs["kind"] == kind) & (theirs["scheme"] == scheme)]
            modes = modes[(modes["labels"] == labels) & (modes["sn"] == sn)]["mode"]
            marker = dict(color=style.PAPER, markerfacecolor="none", markersize=5)
            ax.plot(modes, [place] * len(modes), "D", **marker)
        ax.set(xscale="log", xlabel="mode of the margins")
        ax.set_title(title, fontsize=10)
        ax.margins(x=0.15)
        if column == "theorem":  # room for what is written
            low, high = ax.get_xlim()
            left = low * (low / high) ** 0.75
            ax.set_xlim(left, high)
            ax.axvspan(left, min(low, SMALLEST), color="#e4e4e4", linewidth=0, zorder=0)
            ax.set_xticks([tick for tick in ax.get_xticks() if low <= tick <= high])
    names = [
        f"{style.SCHEMES[scheme]}{', random labels' if labels == 'random' else ''}"
        f"{', SN' if sn else ''}"
        for scheme, labels, sn in groups
    ]
    axes[0].set_yticks(range(len(groups)), names)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=style.FREE),
        Line2D([], [], marker="o", linestyle="none", color=style.CAPPED),
        Line2D([], [], marker="D", linestyle="none", color=style.PAPER, markerfacecolor="none"),
    ]
    names = ["without SN", "with SN", "paper's mode (AlexNet, CIFAR-10, one run)"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return style.laid_out(figure)


def margins_from_records(table: pd.DataFrame) -> Figure:
    """`margins`, with the normalizations computed from the same table."""
    return margins(table, _norms(table))


def margin_sizes_from_records(table: pd.DataFrame) -> Figure:
    """`margin_sizes`, with the normalizations computed from the same table."""
    return margin_sizes(table, _norms(table))


def _norms(table: pd.DataFrame) -> pd.DataFrame:
    from snlib.bounds import normalizations  # the bounds need torch, a figure does not

    return normalizations(table)
