"""How strong an attack has to be before the order of the budgets stands; notebook 09."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snlib import crossovers, ranking, statistics
from snlib.errors import require
from snlib.figures import robustness, style

STRENGTHS = {
    "none": ("no attack", "#999999", "o"),
    "pgm15_predicted": ("PGM-15, predicted labels (the paper's protocol)", "#0173b2", "s"),
    "pgm15_log_odds": ("PGM-15, true labels, log-odds", "#de8f05", "D"),
    "strongest": ("+ random starts, every other class, random search", "#029e73", "v"),
    "autoattack": ("AutoAttack", "#cc78bc", "^"),
}
"""Attacks from none to the strongest: label, colour, marker."""

SHORT = {
    "one_step": "step",
    "pgm15_predicted": "paper",
    "pgm15_true": "true",
    "pgm15_log_odds": "log-odds",
    "restarts": "starts",
    "targeted": "others",
}
"""Names of attacks for the heads of printed tables."""

CHECKED = (
    *("none", "noise", "one_step", "pgm15_predicted", "pgm15_true", "pgm15_log_odds"),
    *("restarts", "targeted", "strongest", "square", "huge"),
)
"""The attacks of the suite `checks`, weak ones first; the last two stand apart."""


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


def order(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by budget under attacks from none to the strongest, in percent as text.

    Args:
        table: of the experiment `ranks` or `autoattack`.

    Returns:
        DataFrame by beta: an attack of `STRENGTHS` a column, and lost, what the strongest takes off
        the paper's protocol (points); mean over seeds ± half of Student's 95 % interval.
    """
    runs = 100 * by_strength(table).set_index(["seed", "beta"])
    runs["lost"] = lost(table).stack()
    columns = {}
    for name in runs:
        points = statistics.means(runs.reset_index(), ["beta"], name).set_index("beta")
        columns[name] = statistics.texts(points, ".1f")
    return pd.DataFrame(columns)


def in_words(table: pd.DataFrame) -> str:
    """`order` as text, and below it `agreement`."""
    taus, best = agreement(table)
    shown = order(table).rename(columns=SHORT).to_string()
    return f"{shown}\ntau by seed: {' '.join(f'{tau:.2f}' for tau in taus)} | best beta: {best}"


def lost(table: pd.DataFrame) -> pd.DataFrame:
    """What the strongest attack takes off the paper's protocol (points): by seed, a column a beta.

    Args:
        table: of the experiment `ranks` or `autoattack`.
    """
    runs = by_strength(table).set_index(["seed", "beta"])
    return 100 * (runs["pgm15_predicted"] - runs["strongest"]).unstack("beta")


def agreement(table: pd.DataFrame) -> tuple[pd.Series, dict[str, float]]:
    """Whether the paper's protocol and the strongest attack put the budgets in the same order.

    Args:
        table: of the experiment `ranks` or `autoattack`.

    Returns:
        Kendall's tau-b of the two over the budgets, by seed; and the budget with the best mean
        accuracy by each of the two.
    """
    runs, pair = by_strength(table), ["pgm15_predicted", "strongest"]
    taus = {
        seed: ranking.kendall(*(rows[name] for name in pair)) for seed, rows in runs.groupby("seed")
    }
    return pd.Series(taus, name="tau"), runs.groupby("beta")[pair].mean().idxmax().to_dict()


def checked(table: pd.DataFrame, quantity: str = "accuracy") -> pd.DataFrame:
    """What the checks of the attacks found, on the same images for all: a row a run.

    Args:
        table: of the experiment `robustness` or `ranks`.
        quantity: "accuracy", "zero_gradient" (share of images with a gradient that was exactly
            zero) or "broken" (share that random search alone broke).

    Returns:
        DataFrame net, beta, seed, and a column an attack, weak ones first; shares in [0, 1].

    Raises:
        UserError: if the table has no checks.
    """
    rows = table[(table["quantity"] == quantity) & table["attack"].isin(CHECKED)]
    rows = rows[rows["x"].notna()]
    require(
        len(rows) > 0,
        f"table has no {quantity!r} of the suite checks; give the table of the experiment "
        "robustness or ranks.",
    )
    rows = rows.assign(net=crossovers.nets(rows))
    wide = rows.pivot(index=["net", "beta", "seed"], columns="attack", values="value")
    wide = wide[[name for name in CHECKED if name in wide]].reset_index()
    wide.columns.name = None
    order = wide["net"].map({name: place for place, name in enumerate(crossovers.NETS)})
    wide = wide.assign(order=order).sort_values(["order", "beta", "seed"], ignore_index=True)
    return wide.drop(columns="order")


def by_net(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of what the checks found, in percent: a row a net and budget.

    Args:
        table: of the experiment `robustness`.

    Returns:
        DataFrame, a column an attack (accuracy), then zero, the share of images at which a gradient
        of the paper's loss was exactly zero, and blind, the share that random search alone broke.
    """
    by = ["net", "beta"]
    accuracy = checked(table).groupby(by, sort=False).mean().drop(columns="seed")
    zero = checked(table, "zero_gradient").groupby(by)["pgm15_true"].mean()
    blind = checked(table, "broken").groupby(by)["square"].mean()
    return 100 * accuracy.assign(zero=zero, blind=blind)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy with SN minus without by what the checks found, in points, paired by seed.

    Args:
        table: of the experiment `robustness`.

    Returns:
        DataFrame by net and attack: mean over seeds, half of Student's 95 % interval, seeds.
    """
    rows = checked(table).melt(["net", "beta", "seed"], var_name="attack", value_name="accuracy")
    rows = rows.assign(error=1.0 - rows["accuracy"], share=1.0)  # all at the radius of training
    return robustness.points_below(crossovers.advantages(rows))


def ranks(table: pd.DataFrame) -> Figure:
    """Accuracy of PGM nets over beta, attack by attack, and what each takes off the paper's number.

    Bars are 95 % Student intervals over seeds; on the right of differences seed by seed.

    Args:
        table: of the experiment `ranks` or `autoattack`.
    """
    runs = by_strength(table)
    figure, (axes,) = style.axes(1, 2, (7.8, 3.4))
    left, right = axes
    names = [name for name in STRENGTHS if name in runs]
    for place, name in enumerate(names):
        _over_beta(left, runs, runs[name], name, (place - len(names) / 2) * 0.06)
    stronger = names[names.index("pgm15_predicted") + 1 :]
    for place, name in enumerate(stronger):
        drop = runs["pgm15_predicted"] - runs[name]
        _over_beta(right, runs, drop, name, (place - len(stronger) / 2) * 0.08)
    left.set_ylabel("test accuracy (%)")
    right.set_ylabel("below the paper's\nprotocol (points)")
    right.axhline(0, color="#bbbbbb", linewidth=0.8)
    right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
    handles, labels = left.get_legend_handles_labels()
    place = dict(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    title = "PGM nets, one radius; mean and 95 % interval over seeds"
    figure.legend(handles, labels, title=title, title_fontsize=8, **place)
    return style.laid_out(figure)


def _over_beta(ax: Axes, runs: pd.DataFrame, values: pd.Series, name: str, shift: float) -> None:
    label, color, marker = STRENGTHS[name]
    places = style.beta_axis(ax, runs["beta"])
    points = statistics.means(runs.assign(value=values), ["beta"])
    at = points["beta"].map(places).astype(float) + shift
    look = dict(color=color, marker=marker, label=label, capsize=2, linewidth=1.1)
    style.percents(ax, at, points, **look)
