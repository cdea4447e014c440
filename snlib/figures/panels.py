"""The paper's further figures of training curves: ELU-AlexNet, Inception and ResNet, linf attacks.

Notebook 05 shows them below AlexNet's, which `snlib.figures.curves` draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snlib import statistics, tables
from snlib.errors import UserError
from snlib.experiments.curves import ELU, INF, LARGER
from snlib.figures import curves, style


@dataclass(frozen=True)
class Panel:
    """One panel of the paper: its title in data/paper/curves.csv, and the runs that belong in it.

    Attributes:
        title: as the paper has it.
        net, scheme: of the runs, as in `Run`.
        beta: the budget of the runs with SN.
        eps: their linf radius, else None.
    """

    title: str
    net: str
    scheme: str
    beta: float
    eps: float | None = None

    def rows(self, table: pd.DataFrame | None) -> pd.DataFrame:
        """Accuracies by epoch of the panel's runs, as `curves.by_epoch` has them; or no rows."""
        if table is None:
            return pd.DataFrame()
        chosen = (_setting(table, "net") == self.net) & (table["scheme"] == self.scheme)
        chosen &= table["beta"].isin([self.beta, math.inf])
        if self.eps is not None:
            chosen &= _setting(table, "eps").astype(float) == self.eps
        return curves.by_epoch(table[chosen]) if chosen.any() else pd.DataFrame()


FIGURES: dict[str, tuple[str, str, tuple[Panel, ...]]] = {
    "curves_elu": (
        "F-elu",
        "fig_train_elu_alexnet_l2",
        (
            Panel("ELU-AlexNet FGM", "elu_alexnet", "fgm", ELU["fgm"]),
            Panel("ELU-AlexNet PGM", "elu_alexnet", "pgm", ELU["pgm"]),
            Panel("ELU-AlexNet WRM", "elu_alexnet", "wrm", ELU["wrm"]),
        ),
    ),
    "curves_inception_resnet": (
        "F-inc-res",
        "fig_train_inception_resnet_l2",
        (
            Panel("Inception PGM", "inception", "pgm", LARGER["inception", "pgm"]),
            Panel("Inception WRM", "inception", "wrm", LARGER["inception", "wrm"]),
            Panel("ResNet PGM", "resnet", "pgm", LARGER["resnet", "pgm"]),
            Panel("ResNet WRM", "resnet", "wrm", LARGER["resnet", "wrm"]),
        ),
    ),
    "curves_linf": (
        "F-linf",
        "fig_train_alexnet_linf",
        (
            Panel("AlexNet FGM linf eps=0.1", "alexnet", "fgm", INF["fgm", 0.1], 0.1),
            Panel("AlexNet PGM linf eps=0.1", "alexnet", "pgm", INF["pgm", 0.1], 0.1),
            Panel("AlexNet FGM linf eps=0.3", "alexnet", "fgm", INF["fgm", 0.3], 0.3),
            Panel("AlexNet PGM linf eps=0.3", "alexnet", "pgm", INF["pgm", 0.3], 0.3),
        ),
    ),
}
"""By experiment: a name for the figure, its name in data/paper/curves.csv, its panels."""


def load(scale: str = "quick", store: str = "recorded") -> dict[str, pd.DataFrame | None]:
    """The table of each figure's experiment; None where nothing is recorded at the scale.

    Raises:
        UserError: if a table is there and cannot be used, as `tables.load` says it.
    """
    found: dict[str, pd.DataFrame | None] = {}
    for name in FIGURES:
        try:
            found[name] = tables.load(name, scale=scale, store=store)
        except UserError as error:
            if "Compute it" not in str(error) and "scale of" not in str(error):
                raise
            found[name] = None
    return found


def nearest(scale: str = "quick", store: str = "recorded") -> dict[str, pd.DataFrame | None]:
    """`load`; but quick, which has none of these networks, shows what is nearest to the paper.

    Returns:
        By experiment, as `load` does; at quick the committed table of the scale nearest to the
        paper, where there is one (`tables.setting` says which it is).
    """
    if scale != "quick":
        return load(scale, store)
    return {name: next(iter(tables.nearer(name).values()), None) for name in FIGURES}


def ends(loaded: Mapping[str, pd.DataFrame | None], window: int = 10) -> pd.DataFrame:
    """Training and validation accuracy at the right end of every curve, the paper's and ours.

    Args:
        loaded: of `load`.
        window: last epochs of a run that are averaged, as the paper's curves average ten.

    Returns:
        DataFrame, a row a panel and side: figure, panel, beta (inf without SN), train and
        validation (published), train_here and validation_here (means over seeds, or NaN) with
        train_half and validation_half (of their 95 % intervals), seeds.
    """
    found = []
    for figure, panel, rows, theirs in _each(loaded):
        ours = _ends(rows, window)
        for beta in (math.inf, panel.beta):
            row = {"figure": figure, "panel": panel.title, "beta": beta}
            found.append(row | dict(theirs.loc[not math.isinf(beta)]) | ours.get(beta, {}))
    here = [f"{split}_{what}" for split in curves.SPLITS for what in ("here", "half")]
    columns = ["figure", "panel", "beta", *curves.SPLITS, *here, "seeds"]
    table = pd.DataFrame(found).reindex(columns=columns)
    return table.assign(seeds=table["seeds"].fillna(0).astype(int))


def beside_paper(ends: pd.DataFrame) -> pd.DataFrame:
    """`ends` for printing, in percent: ours as mean ± half, behind each the paper's own.

    Returns:
        DataFrame by figure, panel and beta: train, its "| paper", validation, its "| paper ",
        seeds. Where nothing is recorded ours is empty.
    """
    columns = {}
    for split, paper in zip(curves.SPLITS, ("| paper", "| paper "), strict=True):
        ours = 100 * ends[[f"{split}_here", f"{split}_half"]].set_axis(["mean", "half"], axis=1)
        columns |= {split: statistics.texts(ours, ".1f"), paper: (100 * ends[split]).round(1)}
    keys = ["figure", "panel", "beta"]
    return ends[keys].assign(**columns, seeds=ends["seeds"]).set_index(keys)


def gains(loaded: Mapping[str, pd.DataFrame | None], window: int = 10) -> pd.DataFrame:
    """What SN adds to validation accuracy at the right end of the curves, in points.

    Args:
        loaded: of `load`.
        window: as for `ends`.

    Returns:
        DataFrame by panel, in the paper's order: mean (over the seeds that have both runs) and half
        of its 95 % interval, NaN where nothing is recorded; seeds; paper, of its one run a side.
    """
    found = {}
    for _, panel, rows, theirs in _each(loaded):
        values = _gains(panel, rows, window)
        mean, half = statistics.interval(values)
        paper = 100 * float(theirs.loc[True, "validation"] - theirs.loc[False, "validation"])
        found[panel.title] = {"mean": mean, "half": half, "seeds": len(values), "paper": paper}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("panel").astype({"seeds": int})


def _each(
    loaded: Mapping[str, pd.DataFrame | None],
) -> Iterator[tuple[str, Panel, pd.DataFrame, pd.DataFrame]]:
    """Every panel: its figure, itself, our rows, and the paper's ends (a row a side by `sn`)."""
    for name, (figure, key, panels) in FIGURES.items():
        for panel in panels:
            theirs = curves.published_panel(key, panel.title).groupby(["sn", "split"])
            ends = theirs["accuracy"].last().unstack("split")
            yield figure, panel, panel.rows(loaded.get(name)), ends


def _gains(panel: Panel, rows: pd.DataFrame, window: int) -> pd.Series:
    """Validation accuracy with SN minus without, in points, by seed."""
    if rows.empty:
        return pd.Series(dtype=float)
    last = curves.last_epochs(rows, window)["validation"].unstack("beta")
    last = last.reindex(columns=[panel.beta, math.inf])  # half a pair may be recorded
    return (last[panel.beta] - last[math.inf]).dropna()


def _ends(rows: pd.DataFrame, window: int) -> dict[float, dict[str, float]]:
    """Our columns of `ends` by budget."""
    if rows.empty:
        return {}
    means = curves.at_the_end(rows, window)
    means = means.pivot(index="beta", columns="quantity", values=["mean", "half", "seeds"])
    found: dict[float, dict[str, float]] = {}
    for beta, row in means.iterrows():
        found[beta] = {"seeds": row["seeds", "train"]}
        for split in curves.SPLITS:
            mean, half = row["mean", split] / 100, row["half", split] / 100
            found[beta] |= {f"{split}_here": mean, f"{split}_half": half}
    return found


def further_curves(loaded: Mapping[str, pd.DataFrame | None], *, window: int = 10) -> Figure:
    """Every panel of the three figures, the paper's curves and, where there are any, ours.

    A row is a figure. Ours stand in the same axes where they are about all of CIFAR-10, else in a
    row of their own above the paper's. Lines are means over seeds of trailing means over epochs,
    bands 95 % Student intervals.

    Args:
        loaded: of `load`.
        window: epochs that a trailing mean spans.
    """
    plan = []  # (experiment, whether ours are drawn in this line, whether the paper's are)
    for name in FIGURES:
        table = loaded.get(name)
        same = table is not None and curves.on_papers_ground(table)
        if table is not None and not same:
            plan.append((name, True, False))
        plan.append((name, same, True))
    figure, array = style.axes(len(plan), 4, (9.2, 0.7 + 1.75 * len(plan)), sharey=True)
    drawn = []
    for line, (name, ours, theirs) in zip(array, plan, strict=True):
        _, key, panels = FIGURES[name]
        for ax in line[len(panels) :]:
            ax.remove()
        for ax, panel in zip(line, panels, strict=False):
            if ours:
                drawn.append(_draw(ax, panel, loaded[name], window, in_steps=theirs))
            if theirs:
                curves.draw_published(ax, curves.published_panel(key, panel.title))
                ax.set(xlim=(-4, 82), xticks=range(0, 81, 20))
            _name(ax, panel, published=not ours)
        line[0].set_ylabel("accuracy (%)")
    array[0, 0].set_ylim(0, 104)
    measured = [rows for rows in drawn if not rows.empty]
    everything = pd.concat(measured) if measured else None
    curves.legend(figure, everything, window)
    return style.laid_out(figure)


def _draw(
    ax: Axes, panel: Panel, table: pd.DataFrame, window: int, *, in_steps: bool
) -> pd.DataFrame:
    """Draw what is recorded of a panel; returns its rows."""
    rows = panel.rows(table)
    if not rows.empty:
        curves.draw_epochs(ax, rows, window, in_steps=in_steps)
    elif not in_steps:  # else the paper's curves stand there
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", color="#888888")
        ax.set_xticks([])
    return rows


def _name(ax: Axes, panel: Panel, *, published: bool) -> None:
    """The paper's title, with the budget of its curves with SN."""
    title = panel.title.replace("linf eps=", "ℓ∞ ε = ")
    ax.set_title(f"{title}, β = {panel.beta:g}", fontsize=8.5)
    ax.set_xlabel("published; steps (thousands)" if published else ax.get_xlabel(), fontsize=8)
    ax.tick_params(labelsize=8)


def _setting(table: pd.DataFrame, name: str) -> pd.Series:
    """A setting of every row, whether it varies in the table or not."""
    if name in table:
        return table[name]
    value = table.attrs.get("provenance", {}).get("settings", {}).get(name)
    return pd.Series(math.nan if value is None else value, table.index)
