"""Does a capacity rank nets by their generalization gap? Notebook 07."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from snlib import ranking, statistics
from snlib.errors import require
from snlib.figures import style

SETTINGS = {
    "beta": ("β", "#0072b2"),
    "labels": ("labels", "#d55e00"),
    "samples": ("training images", "#009e73"),
    "width": ("width", "#cc79a7"),
    "net": ("depth", "#8c6d00"),
}
"""The settings that vary among the fully connected nets: name and colour."""

PLACES = ("all", "mean", *SETTINGS)
"""Where a tau is taken: over all runs, as the mean over settings, and setting by setting."""

MEASURES = {
    "capacity": "√Φ",
    "normalized": "√Φ / margin",
    "published": "as in the paper's figure",
    "term": "whole term, n included",
    "margin_alone": "1 / margin alone",
    "samples_alone": "1 / √n alone",
}
"""The measures of `bounds.measures` that are compared."""

COLORS = ("#000000", "#0072b2", "#56b4e9", "#d55e00", "#777777", "#bbbbbb")
"""Of the measures, in their order."""


def nets_that_vary(measured: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The fully connected nets of one scheme, in which every setting of `SETTINGS` varies.

    Nets without a positive margin are left out: all measures are to rank the same nets.

    Args:
        measured: of `snlib.bounds.measures`.
    """
    chosen = measured[measured["net"].str.startswith("mlp") & (measured["scheme"] == scheme)]
    return chosen.dropna(subset="margin_alone").reset_index(drop=True)


def varied(runs: pd.DataFrame) -> list[str]:
    """Those of `SETTINGS` that take more than one value."""
    return [name for name in SETTINGS if runs[name].nunique() > 1]


def summary(measured: pd.DataFrame) -> pd.DataFrame:
    """How well every measure ranks the fully connected nets, by scheme.

    Args:
        measured: of `snlib.bounds.measures`.

    Returns:
        DataFrame with the index scheme, measure. Columns "all", "mean" and those of `SETTINGS` are
        taus as `ranking.by_seed` has them, means over seeds (NaN: the setting does not vary), and
        "<column> half" half of Student's 95 % interval; error and worst are mean and largest sign
        error over the environments of `ranking.sign_errors`, `of` their number.
    """
    rows = {}
    for scheme, runs in _groups(measured).items():
        settings, images = varied(runs), int(runs["images"].iloc[0])
        for measure in MEASURES:
            found = ranking.by_seed(runs, measure, "gap", settings)
            taus = statistics.means(found, ["setting"], "tau").set_index("setting").reindex(PLACES)
            errors = ranking.sign_errors(runs, measure, "gap", settings, images=images)["error"]
            rows[scheme, measure] = {
                **taus["mean"],
                **taus["half"].add_suffix(" half"),
                **{"error": errors.mean(), "worst": errors.max(), "of": len(errors)},
            }
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["scheme", "measure"])
    return found.astype({"of": int})


def in_words(found: pd.DataFrame) -> str:
    """The table of `summary` as text: a column a measure, halves behind their taus."""
    errors = found[["error", "worst"]].map("{:.2f}".format).assign(of=found["of"].astype(str))
    table = statistics.with_halves(found, ".2f").join(errors)
    parts = {
        scheme: rows.droplevel("scheme").T for scheme, rows in table.groupby("scheme", sort=False)
    }
    return pd.concat(parts, names=["scheme", ""]).rename_axis(columns=None).to_string()


def over_budgets(measured: pd.DataFrame) -> pd.DataFrame:
    """Tau of sqrt(Phi) with the gap over the budgets of the AlexNets: scheme, mean, half, seeds.

    Args:
        measured: of `snlib.bounds.measures`.
    """
    nets = measured[~measured["net"].str.startswith("mlp")].dropna(subset="capacity")
    taus = [
        (scheme, ranking.kendall(runs["capacity"], runs["gap"]))
        for (scheme, _), runs in nets.groupby(["scheme", "seed"])
    ]
    return statistics.means(pd.DataFrame(taus, columns=["scheme", "tau"]), ["scheme"], "tau")


def ranks(measured: pd.DataFrame, measure: str = "capacity") -> Figure:
    """Gap against a measure: a point a configuration, lines join those that differ in one setting.

    A row a training scheme (ERM, FGM), a column a setting; rising lines: the measure ranks the pair
    rightly. Points are means over seeds, tau is mean ± half of Student's 95 % interval over seeds.

    Args:
        measured: of `snlib.bounds.measures`.
        measure: a column of it, one of `MEASURES`.
    """
    return each_measure(measured)(measure)


def each_measure(measured: pd.DataFrame) -> Callable[[str], Figure]:
    """measure -> its figure, see `ranks`: always the same one, repainted, which a slider needs.

    Args:
        measured: of `snlib.bounds.measures`.
    """
    groups = _groups(measured)
    columns = ["all", *SETTINGS]
    figure, array = style.axes(
        len(groups), len(columns), (9.6, 2.3 * len(groups) + 0.5), sharex="row", sharey="row"
    )
    rows = []
    for row, (scheme, runs) in zip(array, groups.items(), strict=True):
        settings = varied(runs)
        shown = {measure: _shown(runs, measure, settings) for measure in MEASURES}
        panels = dict(zip(columns, row, strict=True))
        for name in set(SETTINGS) - set(settings):
            panels.pop(name).set_visible(False)
        row[0].set_ylabel(f"{style.SCHEMES[scheme]}: gap (points)")
        rows.append((shown, {name: _Panel(ax, name) for name, ax in panels.items()}))
    titles = {"all": "all runs"} | {name: text for name, (text, _) in SETTINGS.items()}
    titles["beta"] += " (also inside Φ)"
    for ax, name in zip(array[0], columns, strict=True):
        ax.set_title(titles[name], fontsize=9)
    label = figure.supxlabel("log10 of", fontsize=9)
    laid_out = False

    def paint(measure: str) -> Figure:
        nonlocal laid_out
        for shown, panels in rows:
            places, lines, taus = shown[measure]
            for name, panel in panels.items():
                panel.paint(places, lines.get(name, []), *taus[name])
        label.set_text(f"log10 of {MEASURES[measure]}")
        laid_out = laid_out or bool(style.laid_out(figure))  # once: that takes most of the time
        return figure

    return paint


Lines = dict[str, list[np.ndarray]]


def _shown(
    runs: pd.DataFrame, measure: str, settings: list[str]
) -> tuple[np.ndarray, Lines, dict[str, tuple[float, float]]]:
    """What a row's panels show of a measure.

    Returns:
        Points (n, 2), gaps in points of a hundred; by setting the lines that join those which
        differ in it alone; by setting, and for "all" runs, tau and half of its interval.
    """
    found = ranking.by_seed(runs, measure, "gap", settings)
    found = statistics.means(found, ["setting"], "tau").set_index("setting")
    points = runs.groupby(settings, as_index=False)[[measure, "gap"]].mean()
    places = np.column_stack([points[measure], 100 * points["gap"]]).astype(float)
    lines = {}
    for setting in settings:
        others = [name for name in settings if name != setting]
        group_of = np.zeros(len(points), int)
        if others:
            group_of = points.groupby(others).ngroup().to_numpy()
        groups = [places[group_of == number] for number in np.unique(group_of)]
        lines[setting] = [group[np.argsort(group[:, 0])] for group in groups]
    taus = {name: (row["mean"], row["half"]) for name, row in found.iterrows()}
    return places, lines, taus


class _Panel:
    """One setting's panel of one scheme: dots, joining lines, tau."""

    def __init__(self, ax: Axes, setting: str) -> None:
        self._ax = ax
        color = SETTINGS[setting][1] if setting in SETTINGS else "none"
        (self._dots,) = ax.plot([], [], "o", color="#888888", markersize=2.5, zorder=3)
        self._pairs = ax.add_collection(LineCollection([], colors=color, linewidths=1))
        self._tau = ax.text(
            0.03, 0.98, "", transform=ax.transAxes, va="top", fontsize=8,
            bbox=dict(facecolor="white", edgecolor="none", pad=1, alpha=0.8),
        )  # fmt: skip

    def paint(self, places: np.ndarray, lines: list[np.ndarray], tau: float, half: float) -> None:
        """Show one measure."""
        self._dots.set_data(*places.T)
        self._pairs.set_segments(lines)
        self._tau.set_text(f"τ = {tau:+.2f} ± {half:.2f}")
        (left, low), (right, high) = places.min(axis=0), places.max(axis=0)
        wide, tall = (right - left) or 1.0, (high - low) or 1.0
        self._ax.set_xlim(left - 0.05 * wide, right + 0.05 * wide)
        self._ax.set_ylim(low - 0.06 * tall, high + 0.3 * tall)


def _groups(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The fully connected nets of ERM and of FGM, those that are there."""
    groups = {scheme: nets_that_vary(measured, scheme) for scheme in ("erm", "fgm")}
    groups = {scheme: runs for scheme, runs in groups.items() if len(runs)}
    require(bool(groups), "the table has no fully connected nets that were trained by ERM or FGM.")
    return groups


def taus(measured: pd.DataFrame) -> Figure:
    """Kendall's tau of every measure with the gap: over all runs, and by setting (granulated).

    Dots are means over seeds, bars 95 % Student intervals.
    """
    groups = _groups(measured)
    figure, (axes,) = style.axes(1, len(groups), (4.4 * len(groups), 3.6), sharey=True)
    rows = PLACES
    colors = dict(zip(MEASURES, COLORS, strict=True))
    for ax, (scheme, runs) in zip(axes, groups.items(), strict=True):
        ax.axvline(0, color="#bbbbbb", linewidth=0.8)
        for shift, measure in enumerate(MEASURES):
            found = ranking.by_seed(runs, measure, "gap", varied(runs))
            points = statistics.means(found, ["setting"], "tau")
            ax.errorbar(
                points["mean"].astype(float),
                points["setting"].map(rows.index) + 0.13 * (shift - 2.5),
                xerr=points["half"].astype(float),
                fmt="o", color=colors[measure], markersize=4, elinewidth=0.9,
                label=MEASURES[measure],
            )  # fmt: skip
        ax.set_title(f"{style.SCHEMES[scheme]} training", fontsize=10)
        ax.set_xlabel("Kendall's τ with the gap", fontsize=9)
        ax.set_xlim(-1.12, 1.12)
        ax.axhline(1.5, color="#bbbbbb", linewidth=0.8)
    names = {"all": "all runs", "mean": "mean of the rows below"}
    names |= {name: text for name, (text, _) in SETTINGS.items()}
    axes[0].set_yticks(range(len(rows)), [names[name] for name in rows])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return style.laid_out(figure)


def ranks_from_records(table: pd.DataFrame) -> Figure:
    """`ranks` of sqrt(Phi), with the measures computed from the same table."""
    return ranks(_measures(table))


def taus_from_records(table: pd.DataFrame) -> Figure:
    """`taus`, with the measures computed from the same table."""
    return taus(_measures(table))


def _measures(table: pd.DataFrame) -> pd.DataFrame:
    from snlib import bounds  # they need torch, a figure does not

    return bounds.measures(bounds.looseness(table))
