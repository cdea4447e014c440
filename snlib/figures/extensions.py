"""Logit temperature beside SN, and TRADES, other data and networks with SN; notebook 12."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snlib import statistics
from snlib.choice import chosen
from snlib.errors import require
from snlib.experiments.extensions import EXTENSION
from snlib.figures import style
from snlib.figures.gap import SHADE

OWN, STANDARD = "training", "targeted"
"""The attack of a net's own training, and the last of the suite `targeted`: PGM-15 with true labels
on log-odds, then towards each other class, so that the scale of the logits does not matter."""

WAYS = {
    "budget": ("under a budget β", style.CAPPED, "D"),
    "temperature": ("logits divided by T", "#de8f05", "o"),
}
"""Two ways to small outputs: as legends show them, colour, marker."""


# ------------------------------------------------------------------------------------- temperature


def sizes(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: how large its outputs are, and its accuracies.

    Args:
        table: of the experiment `temperature`.

    Returns:
        DataFrame way ("budget", "temperature", or "free" for neither), beta, temperature, seed,
        gain (median over test images of ||f(x)|| / ||x||, the temperature included), train (under
        the training attack), test (under the standard attack), clean (of test images).

    Raises:
        UserError: if the table lacks temperatures or norm gains.
    """
    medians = table[
        (table["quantity"] == "norm_gain") & (table["split"] == "test") & (table["x"] == 0.5)
    ]
    require(
        "temperature" in table and len(medians) > 0,
        "table has no temperature or no norm gain; give the table of the experiment temperature.",
    )
    rows = table[table["quantity"] == "accuracy"]
    wide = rows.pivot(index="run", columns=["split", "attack"], values="value")
    about = table.drop_duplicates("run").set_index("run")
    found = about[["beta", "temperature", "seed"]].copy()
    capped, cooled = np.isfinite(found["beta"]), found["temperature"] != 1
    found.insert(0, "way", np.select([capped, cooled], ["budget", "temperature"], "free"))
    found["gain"] = medians.set_index("run")["value"]
    found["train"] = wide["train", OWN]
    found["test"] = wide["test", STANDARD]
    found["clean"] = wide["test", "none"]
    return found.reset_index(drop=True)


def matched(runs: pd.DataFrame, column: str = "test") -> pd.DataFrame:
    """At equal size of the outputs, accuracy under a budget minus accuracy by temperature.

    For each budget and seed, the accuracy by temperature is interpolated over log gain between the
    same seed's temperatures (none included); NaN where the budget's gain lies outside their range.

    Args:
        runs: as `sizes` returns it.
        column: "train", "test" or "clean".

    Returns:
        DataFrame of differences, a row a seed, a column a budget.
    """
    differences = {}
    for seed, own in runs.groupby("seed"):
        other = own[own["way"] != "budget"].sort_values("gain")
        budgets = own[own["way"] == "budget"]
        at = np.interp(
            np.log(budgets["gain"]), np.log(other["gain"]), other[column], math.nan, math.nan
        )
        differences[seed] = dict(zip(budgets["beta"], budgets[column] - at, strict=True))
    return pd.DataFrame(differences).T.sort_index(axis=1).rename_axis("seed")


def against_size(table: pd.DataFrame) -> Figure:
    """Test and training accuracy against the size of the outputs, by budget and by temperature.

    Args:
        table: of the experiment `temperature`.
    """
    runs = sizes(table)
    figure, array = style.axes(1, 2, (8.6, 3.3), sharex=True)
    for ax, column, title in (
        (array[0, 0], "test", "test accuracy, standard attack"),
        (array[0, 1], "train", "training accuracy under the training attack"),
    ):
        for way, (label, color, marker) in WAYS.items():
            own = runs[runs["way"].isin([way, "free"])]
            name = "beta" if way == "budget" else "temperature"
            _over_gain(ax, own, name, column, color, marker, label)
        free = runs[runs["way"] == "free"]
        mean = statistics.interval(free[column])[0]
        ax.plot(
            np.exp(np.log(free["gain"]).mean()), 100 * mean, "s", color=style.FREE, markersize=7,
            label="neither", zorder=5,
        )  # fmt: skip
        ax.set_title(title, fontsize=9)
        style.log_axis(ax, "median norm gain ‖f(x)‖ / ‖x‖ on test images")
    array[0, 0].set_ylabel("accuracy (%)")
    array[0, 0].legend(loc="best")
    return style.laid_out(figure)


def _over_gain(
    ax: Axes, runs: pd.DataFrame, name: str, column: str, color: str, marker: str, label: str
) -> None:
    """One line over the settings, with intervals and their names; small dots are single seeds."""
    ax.scatter(runs["gain"], 100 * runs[column], s=9, color=color, alpha=0.4, linewidth=0)
    points = []
    for setting, own in runs.groupby(name):
        mean, half = statistics.interval(own[column])
        points.append((np.exp(np.log(own["gain"]).mean()), mean, half, setting))
    points = pd.DataFrame(points, columns=["gain", "mean", "half", "setting"]).sort_values("gain")
    style.percents(ax, points["gain"], points, color=color, marker=marker, label=label)
    # names away from the other line: budgets to the upper left, temperatures to the lower right
    letter, place, side = ("β", (-5, 5), "right") if name == "beta" else ("T", (8, -13), "left")
    free = math.inf if name == "beta" else 1.0
    for point in points[points["setting"] != free].itertuples():
        ax.annotate(
            f"{letter} = {point.setting:g}", (point.gain, 100 * point.mean), xytext=place, ha=side,
            textcoords="offset points", fontsize=7, color=color,
        )  # fmt: skip


# -------------------------------------------------------------------------------------- extensions


def cases(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: case (scheme, network, data), beta, seed, and its accuracies.

    Args:
        table: of the experiment `extensions`.

    Returns:
        DataFrame case, beta, seed, train, validation, test (under its own training attack), gap,
        standard (test accuracy under the standard attack), clean.

    Raises:
        UserError: if the table lacks the standard attack.
    """
    rows = table[table["quantity"] == "accuracy"]
    require(
        STANDARD in set(rows["attack"]),
        "table has no standard attack; give the table of the experiment extensions.",
    )
    wide = rows.pivot(index="run", columns=["split", "attack"], values="value")
    about = table.drop_duplicates("run").set_index("run")
    found = about[["beta", "seed"]].copy()
    common = table.attrs.get("provenance", {}).get("settings", {})
    where = [
        about[name] if name in about else pd.Series(common.get(name, ""), about.index)
        for name in ("net", "data")
    ]
    scheme = about["scheme"].map(style.SCHEMES) + " training\n"
    found.insert(0, "case", scheme + where[0] + ", " + where[1])
    for split in ("train", "validation", "test"):
        found[split] = wide[split, OWN]
    found["gap"] = found["train"] - found["test"]
    found["standard"] = wide["test", STANDARD]
    found["clean"] = wide["test", "none"]
    return found.reset_index(drop=True)


def budgets(runs: pd.DataFrame) -> dict[str, float]:
    """The budget of each case that validation chose; of equally good ones the loosest.

    Args:
        runs: as `cases` returns it.
    """
    best = chosen(runs, ["case"], "beta")
    return dict(zip(best["case"], best["beta"], strict=True))


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """What SN adds at the finite budget that validation likes best, by case.

    Args:
        runs: as `cases` returns it.

    Returns:
        DataFrame indexed by case and beta: for standard, test, clean and gap the mean over seeds of
        the value with SN minus that without, and half of its 95 % interval ("standard half", ...).
    """
    rows = {}
    for case, beta in budgets(runs[np.isfinite(runs["beta"])]).items():
        own = runs[runs["case"] == case].set_index("seed")
        own = own.drop(columns=["case"])
        free, capped = own[np.isinf(own["beta"])], own[own["beta"] == beta]
        row = {}
        for name in ("standard", "test", "clean", "gap"):
            row[name], row[f"{name} half"] = statistics.interval((capped - free)[name].dropna())
        rows[case.replace("\n", ", "), beta] = row
    return pd.DataFrame(rows).T.rename_axis(["case", "β"])


SERIES = {
    "train": ("training images, own attack", "#8a8a8a", "s"),
    "test": ("test images, own attack", "black", "o"),
    "standard": ("test images, standard attack", style.CAPPED, "D"),
    "clean": ("test images, no attack", "#009e73", "^"),
}
"""Accuracies over the budget: as the legend shows them, colour, marker."""


def against_budget(table: pd.DataFrame) -> Figure:
    """Accuracies against the norm budget, a panel a training scheme, network and data set.

    Args:
        table: of the experiment `extensions`.
    """
    runs = cases(table)
    names = list(dict.fromkeys(runs["case"]))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    figure, array = style.axes(
        lines, columns, (1.2 + 2.6 * columns, 1.2 + 2.5 * lines), sharey=True
    )
    picked = budgets(runs)
    for ax, case in zip(array.flat, names, strict=False):
        own = runs[runs["case"] == case]
        places = style.beta_axis(ax, own["beta"])
        at = places[picked[case]]
        ax.axvspan(at - 0.4, at + 0.4, color=SHADE, zorder=0, linewidth=0)
        for name, (label, color, marker) in SERIES.items():
            points = statistics.means(own, ["beta"], name)
            at_beta = points["beta"].map(places).astype(float)
            look = dict(color=color, marker=marker, label=label, capsize=2)
            style.percents(ax, at_beta, points, **look)
        ax.set_xlim(-0.5, len(places) - 0.5)
        ax.set_title(case, fontsize=9)
    for ax in array.flat[len(names) :]:
        ax.set_visible(False)
    for ax in array[:, 0]:
        ax.set_ylabel("accuracy (%)")
    array[0, 0].set_ylim(0, 104)
    handles = [
        Line2D([], [], color=color, marker=marker, label=label)
        for label, color, marker in SERIES.values()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8,
        title="bars: 95 % interval over seeds; shaded: chosen by validation", title_fontsize=8,
    )  # fmt: skip
    figure.suptitle(EXTENSION, fontsize=8, color=style.PAPER)
    return style.laid_out(figure)
