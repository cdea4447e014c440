"""Random labels as a probe of capacity: how much of them ERM fits under every norm budget."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from snlib import statistics
from snlib.errors import require
from snlib.figures import style
from snlib.figures.memorization import CHANCE


def probe(table: pd.DataFrame, window: int = 10) -> pd.DataFrame:
    """How well ERM fits random and true labels under every budget: beta, seed, random, true, edge.

    Training accuracies at the end. `edge` is what is left of the random-label accuracy above
    guessing, as a share: (accuracy - 1/10) / (1 - 1/10), which is 0 for a constant net and 1 for
    one that has learned everything by heart.

    Raises:
        UserError: if the table has no ERM runs on random labels.
    """
    rows = table[(table["quantity"] == "running_accuracy") & (table["scheme"] == "erm")]
    require(
        bool((rows["labels"] == "random").any()),
        "table has no ERM runs on random labels; give the table of the experiment random_labels.",
    )
    keys = ["beta", "seed", "labels"]
    last = rows.groupby(keys)["x"].transform("max") - window
    wide = rows[rows["x"] > last].groupby(keys)["value"].mean().unstack("labels").reset_index()
    wide.columns.name = None
    wide["edge"] = (wide["random"] - CHANCE) / (1 - CHANCE)
    return wide[["beta", "seed", "random", "true", "edge"]]


def by_budget(table: pd.DataFrame, norms: pd.DataFrame) -> pd.DataFrame:
    """`probe` in percent and log10 of sqrt(Phi) as text: a row a budget, means over seeds ± half.

    Args:
        table, norms: as for `fitted_and_capacity`.
    """
    runs = with_capacity(table, norms)
    runs[["random", "true", "edge"]] *= 100
    shown = {}
    for column in ("random", "true", "edge", "theorem"):
        means = statistics.means(runs, ["beta"], column).set_index("beta")
        shown[column] = statistics.texts(means, ".1f")
    return pd.DataFrame(shown).rename(columns={"theorem": "log10 sqrt(Phi)"})


def with_capacity(table: pd.DataFrame, norms: pd.DataFrame) -> pd.DataFrame:
    """`probe`, with log10 of sqrt(Phi) of the same nets on random labels: the column theorem.

    Args:
        table, norms: as for `fitted_and_capacity`; a net without a norm has NaN.
    """
    own = norms[(norms["scheme"] == "erm") & (norms["labels"] == "random")]
    return probe(table).merge(own[["beta", "seed", "theorem"]], on=["beta", "seed"], how="left")


def fitted_and_capacity(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """ERM's accuracy on random and true training labels over beta; its edge over sqrt(Phi).

    Args:
        table: of the experiment `random_labels`.
        norms: log10 of sqrt(Phi) of its ERM runs: columns beta, labels, seed, theorem, as
            `bounds.normalizations` returns them.
    """
    runs = with_capacity(table, norms)
    figure, (axes,) = style.axes(1, 2, (8.0, 3.3))
    left, right = axes
    places = style.beta_axis(left, runs["beta"])
    x = runs["beta"].map(places).astype(float)
    words = {"random": ("o", "-", style.FREE), "true": ("D", "--", style.CAPPED)}
    for labels, (marker, line, color) in words.items():
        left.scatter(x + 0.12, 100 * runs[labels], s=8, color=color, alpha=0.5, linewidth=0)
        points = statistics.means(runs, ["beta"], labels)
        at = points["beta"].map(places).astype(float)
        look = dict(color=color, marker=marker, linestyle=line, label=f"{labels} labels")
        style.percents(left, at, points, **look)
    left.axhline(100 * CHANCE, color="#bbbbbb", linewidth=0.8, linestyle=":")
    left.set_ylabel("training accuracy, ERM (%)")
    left.set_ylim(0, 104)
    left.legend(loc="lower right", frameon=False)
    for beta in sorted(set(runs["beta"])):
        dots = runs[runs["beta"] == beta]
        label = f"β = {style.beta_label(beta)}"
        right.plot(
            10.0 ** dots["theorem"],
            100 * dots["edge"],
            "o",
            color=style.beta_color(beta),
            label=label,
        )
    right.set(xscale="log", xlabel="√Φ of the trained net (Theorem 1)", ylim=(-4, 104))
    right.set_ylabel("edge over guessing on\nrandom labels (%)")
    right.legend(loc="lower right", frameon=False)
    return style.laid_out(figure)


def from_records(table: pd.DataFrame) -> Figure:
    """`fitted_and_capacity`, with sqrt(Phi) computed from the same table."""
    from snlib.bounds import normalizations  # the bounds need torch, a figure does not

    return fitted_and_capacity(table, normalizations(table[table["scheme"] == "erm"]))
