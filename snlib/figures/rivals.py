"""Adversarial training with SN beside what else could stand in its place; notebook 11."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snlib import statistics
from snlib.claims import rivals as claims
from snlib.errors import require
from snlib.figures import style

KINDS = {
    "plain": ("nothing", style.FREE, "s"),
    "operator": ("SN, operator norm", style.CAPPED, "D"),
    "reshaped": ("SN, Miyato's norm", "#56b4e9", "o"),
    "weight decay": ("weight decay", "#8a6d3b", "^"),
    "dropout": ("dropout", "#009e73", "v"),
    "batch norm": ("batch norm", "#cc79a7", "P"),
}
"""What a net is trained with: as axes show it, colour, marker."""

BUDGETS = ("operator", "reshaped")
"""Kinds whose setting is a budget, drawn as a line over the norm of their layers."""


def setting_label(kind: str, setting: str) -> str:
    """What tells a contestant from others of its kind, as axes show it.

    Args:
        kind: one of `KINDS`.
        setting: "<beta> <weight decay> <net>", as `claims.rivals.contestants` gives it.
    """
    beta, decay, net = setting.split(" ")
    if kind in BUDGETS:
        return f"β = {style.beta_label(float(beta))}"
    if kind == "weight decay":
        return f"effective {float(decay):g}"
    if kind == "dropout":
        return "0.2, off in attacks and tests" if net.endswith("_train") else "0.2, always on"
    return ""


def at_choice(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run of each contestant's setting that validation chose, with its gap.

    Args:
        table: of the experiment `rivals`.

    Returns:
        DataFrame case, kind (in the order of `KINDS`), setting, seed, train, validation, test, gap,
        size (mean of log10 of the layers' norms).

    Raises:
        UserError: if no net without any of it is there to compare with.
    """
    runs = claims.contestants(table)
    require(
        (runs["kind"] == "plain").any(),
        "table has no net without SN and without a rival; give the table of the experiment rivals.",
    )
    parts = [
        claims.at_choice(runs[runs["kind"] == kind]) for kind in KINDS if kind in set(runs["kind"])
    ]
    found = pd.concat(parts, ignore_index=True)
    found["gap"] = found["train"] - found["test"]
    return found.drop(columns="run")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and half of the 95 % interval over seeds of every contestant at its chosen setting.

    Returns:
        DataFrame case, kind, setting, and for train, test and gap the columns <name>, <name> half.
    """
    rows = []
    for (case, kind), runs in at_choice(table).groupby(["case", "kind"], sort=False):
        row = {"case": case, "kind": kind, "setting": setting_label(kind, runs["setting"].iloc[0])}
        for column in ("train", "test", "gap"):
            row[column], row[f"{column} half"] = statistics.interval(runs[column])
        rows.append(row)
    return pd.DataFrame(rows)


def in_words(table: pd.DataFrame) -> str:
    """`summary` as text, halves behind their means."""
    found = summary(table)
    numbers = statistics.with_halves(found, ".3f")
    return found[["case", "kind", "setting"]].join(numbers).to_string(index=False)


AGAINST = {
    "Miyato's norm, equal true norms": claims.matched_by_norm,
    "Miyato's norm, each validated": claims.against_reshaped,
    "best other regularizer": claims.against_regularizers,
}
"""Whom SN is compared with, seed by seed."""


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of SN minus that of its rivals: rival, case, mean, half, seeds.

    Args:
        table: of the experiment `rivals`.
    """
    rows = []
    for rival, difference in AGAINST.items():
        for case, values in difference(table).items():
            values = values.dropna()
            rows.append((rival, case, *statistics.interval(values), len(values)))
    return pd.DataFrame(rows, columns=["rival", "case", "mean", "half", "seeds"])


def rivals(table: pd.DataFrame) -> Figure:
    """Test accuracy and gap of every contestant, and test accuracy against the norm of the layers.

    A row a network. Dots and bars are means and 95 % Student intervals over seeds, small dots
    single seeds. The last panel has all settings: two budgets are equal there where the nets'
    true norms are.

    Args:
        table: of the experiment `rivals`.
    """
    picked, runs = at_choice(table), claims.contestants(table)
    cases = list(dict.fromkeys(picked["case"]))
    figure, array = style.axes(
        len(cases), 3, (9.2, 0.5 + 2.5 * len(cases)), width_ratios=(1, 0.8, 1.2)
    )
    for (left, middle, right), case in zip(array, cases, strict=True):
        own = picked[picked["case"] == case]
        _dots(left, own, "test", "test accuracy under\nthe training attack (%)")
        _dots(middle, own, "gap", "generalization gap\n(points)")
        middle.tick_params(labelleft=False)
        _against_norm(right, runs[runs["case"] == case])
        left.set_title(f"{case.partition(' ')[2]}, {case.partition(' ')[0]} training", fontsize=9)
        middle.set_title("each as validation chose", fontsize=9)
        right.set_title("all settings, by their true norms", fontsize=9)
    return style.laid_out(figure)


def _dots(ax: Axes, runs: pd.DataFrame, column: str, label: str) -> None:
    """One line a contestant, best known first at the top; the one without anything as a rule."""
    names = []
    for place, (kind, own) in enumerate(runs.groupby("kind", sort=False)):
        title, color, marker = KINDS[kind]
        mean, half = statistics.interval(own[column])
        ax.errorbar(
            100 * mean, place, xerr=0 if np.isnan(half) else 100 * half,
            color=color, marker=marker, markersize=6, capsize=2.5, elinewidth=1,
        )  # fmt: skip
        ax.scatter(
            100 * own[column],
            np.full(len(own), place + 0.24),
            s=9,
            color=color,
            alpha=0.5,
            linewidth=0,
        )
        if kind == "plain":
            ax.axvline(100 * mean, color=color, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        setting = setting_label(kind, own["setting"].iloc[0])
        names.append(f"{title}\n{setting}" if setting else title)
    ax.set_yticks(range(len(names)), names, fontsize=7.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(label)
    ax.grid(axis="y", visible=False)


def _against_norm(ax: Axes, runs: pd.DataFrame) -> None:
    """Test accuracy over the geometric mean of the layers' norms; budgets are joined.

    Without batch norm, whose own scale is in no layer's norm.
    """
    for kind, (title, color, marker) in KINDS.items():
        own = runs[(runs["kind"] == kind) & runs["size"].notna()]
        if own.empty or kind == "batch norm":
            continue
        ax.scatter(10 ** own["size"], 100 * own["test"], s=9, color=color, alpha=0.4, linewidth=0)
        points = own.groupby("setting")[["size", "test"]].mean().sort_values("size")
        halves = [
            statistics.interval(own.loc[own["setting"] == one, "test"])[1] for one in points.index
        ]
        ax.errorbar(
            10 ** points["size"], 100 * points["test"], yerr=100 * np.nan_to_num(halves),
            color=color, marker=marker, linestyle="-" if kind in BUDGETS else "none",
            capsize=2, elinewidth=0.8, label=title,
        )  # fmt: skip
    style.log_axis(ax, "geometric mean of the layers' norms\n(batch norm: its scale is in none)")
    ax.set_ylabel("test accuracy (%)")
    ax.legend(loc="lower right", fontsize=7)
