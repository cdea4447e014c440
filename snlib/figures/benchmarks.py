"""What the budget and the attacks cost beside other libraries: measured ratios and their aims."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from snlib import tables
from snlib.columns import folded
from snlib.errors import require
from snlib.figures import style

AIMS = {
    "ERM step": 1.03,
    "PGM step": 1.005,
    "PGM-15, float32": 0.85,
    "PGM-15, bfloat16": 0.42,
    "median overshoot": 1e-3,
    "worst overshoot": 1e-2,
}
"""What was aimed at before measuring: ratios to the plain step, ratios to torchattacks, shares."""

BUDGETS = {
    "ours": "default (Krylov)",
    "ours, power": "one power iteration",
    "torch": "torch (reshaped kernel)",
    "per forward": "power iteration, every forward",
}
"""Ways to keep a budget, as axes show them, ours first."""

ATTACKS = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "ART": "ART",
    "cleverhans": "cleverhans",
    "snlib": "snlib",
    "snlib, channels_last": "snlib, channels last",
    "snlib, bfloat16": "snlib, bfloat16",
    "snlib, bfloat16, channels_last": "snlib, both",
}
"""Attack libraries, as axes show them."""

PRECISIONS = ("float32", "bfloat16")
"""In which attacks have an aim."""

NETS = {"alexnet": "with LRN", "alexnet_nolrn": "without LRN"}

THIN = {"net": "alexnet", "width": 0.25, "batch": 64, "size": 28}
"""The net and batch from which one thing at a time is changed."""


def load(folder: Path | None = None) -> pd.DataFrame:
    """Every recorded benchmark in a folder, as `snlib.tables.benchmarks` describes it."""
    return tables.benchmarks(folder=folder)


def of(table: pd.DataFrame, benchmark: str, quantity: str, **parts: object) -> pd.DataFrame:
    """The rows of one benchmark and quantity in which the named parts of a setting are so.

    Raises:
        UserError: there is none.
    """
    rows = table[(table["benchmark"] == benchmark) & (table["quantity"] == quantity)]
    for name, value in parts.items():
        rows = rows[rows[name] == value] if name in rows else rows.iloc[:0]
    wanted = ", ".join(f"{name} {value}" for name, value in parts.items()) or "any setting"
    require(len(rows) > 0, f"no {quantity} of {benchmark} is recorded for {wanted}.")
    return rows


def trained(table: pd.DataFrame) -> pd.DataFrame:
    """What the time of the budget buys: how far layers exceed it while a net trains.

    Returns:
        DataFrame optimizer, contestant, seed, median overshoot, worst overshoot (shares of beta,
        over all layers and steps), ms a refresh.
    """
    keys = ["optimizer", "contestant", "seed"]
    columns = {
        quantity: of(table, "spectral_overshoot", quantity, layer="all").set_index(keys)["value"]
        for quantity in ("median overshoot", "worst overshoot", "milliseconds")
    }
    found = pd.concat(columns, axis=1).reset_index()
    return found.rename(columns={"milliseconds": "ms a refresh"})


def against_aims(table: pd.DataFrame) -> pd.DataFrame:
    """Each aim beside what was measured.

    Returns:
        DataFrame what, aim, measured, low, high, verdict: "met" or "missed" by the measured value
        (of times the median), followed by " (range straddles)" where the range holds the aim.
    """
    full = {"net": "alexnet", "width": 1.0, "batch": 128}
    found = []
    for attack in ("none", "pgm"):
        row = of(table, "spectral_cost", "ratio", attack=attack, contestant="ours", **full)
        found.append((f"{'ERM' if attack == 'none' else 'PGM'} step", "", row.iloc[0]))
    fastest = {"float32": "snlib, channels_last", "bfloat16": "snlib, bfloat16, channels_last"}
    for (net, batch), title in attacked(table).items():
        for precision, contestant in fastest.items():
            where = dict(net=net, batch=batch, steps=15, contestant=contestant)
            row = of(table, "attacks", "ratio", **where).iloc[0]
            found.append((f"PGM-15, {precision}", title, row))
    for quantity in ("median overshoot", "worst overshoot"):
        rows = of(table, "spectral_overshoot", quantity, contestant="default", layer="all")
        for _, row in rows.sort_values(["optimizer", "seed"], ascending=[False, True]).iterrows():
            found.append((quantity, f"{row['optimizer']}, seed {row['seed']:g}", row))
    rows = []
    for name, where, row in found:
        aim = AIMS[name]
        verdict = "met" if row["value"] <= aim else "missed"
        straddles = row["low"] <= aim < row["high"]  # False where there is no range
        rows.append(
            {
                "what": f"{name}, {where}".rstrip(", "),
                "aim": aim,
                "measured": row["value"],
                "low": row["low"],
                "high": row["high"],
                "verdict": verdict + (" (range straddles)" if straddles else ""),
            }
        )
    return pd.DataFrame(rows)


def attacked(table: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Titles of the nets and batches on which attacks were timed."""
    rows = of(table, "attacks", "ratio")
    pairs = sorted(
        {(net, int(batch)) for net, batch in zip(rows["net"], rows["batch"], strict=True)}
    )
    return {(net, batch): f"{NETS.get(net, net)}, batch {batch}" for net, batch in pairs}


def _dots(ax, rows: pd.DataFrame, order: dict[str, str], shift: float = 0.0, **look) -> None:
    """Values with their ranges, one line a contestant; contestants that are ours in blue."""
    for place, name in enumerate(order):
        for _, row in rows[rows["contestant"] == name].iterrows():
            own = name.startswith(("ours", "snlib"))
            ax.errorbar(
                row["value"],
                -place + shift,
                xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
                color=style.CAPPED if own else style.PAPER,
                linestyle="none",
                **{"marker": "o", **look},
            )
    ax.set_yticks([-place for place in range(len(order))], list(order.values()))
    ax.set_ylim(0.5 - len(order), 0.5)
    ax.axvline(1.0, color="black", linewidth=1)


def step_cost(table: pd.DataFrame) -> Figure:
    """Time of a training step under a budget over the plain step, AlexNet, batch 128.

    Left ERM, right PGM-15 training; dots: median over rounds, bars: quartiles; dashed: the aim.
    """
    figure, (axes,) = style.axes(1, 2, size=(8.0, 2.4), sharey=True)
    for ax, attack, aim in zip(axes, ("none", "pgm"), ("ERM step", "PGM step"), strict=True):
        where = dict(attack=attack, net="alexnet", width=1.0, batch=128)
        _dots(ax, of(table, "spectral_cost", "ratio", **where), BUDGETS)
        ax.axvline(AIMS[aim], color=style.FREE, linestyle="--", linewidth=1)
        ax.set_title(f"{aim} (aim {AIMS[aim]:g})", fontsize=9)
    figure.supxlabel("time / time of the plain step", fontsize=9)
    return style.laid_out(figure)


def attack_cost(table: pd.DataFrame) -> Figure:
    """Time of PGM-15 (dots) and FGM (diamonds) over torchattacks', a panel a net and batch.

    Bars: smallest and largest ratio of a round; dashed: the aims of PGM-15 in float32 and bfloat16.
    """
    panels = attacked(table)
    width = 3.0 + 2.0 * len(panels)
    figure, (axes,) = style.axes(1, len(panels), size=(width, 3.2), sharey=True)
    for ax, ((net, batch), title) in zip(axes, panels.items(), strict=True):
        for steps, shift, look in ((15, 0.12, {}), (1, -0.18, {"marker": "D", "mfc": "none"})):
            rows = of(table, "attacks", "ratio", net=net, batch=batch, steps=steps)
            _dots(ax, rows, ATTACKS, shift, **look)
        for precision in PRECISIONS:
            ax.axvline(AIMS[f"PGM-15, {precision}"], color=style.FREE, linestyle="--", linewidth=1)
        ax.set_title(title, fontsize=9)
    aims = " and ".join(
        f"{AIMS[f'PGM-15, {precision}']:g} in {precision}" for precision in PRECISIONS
    )
    text = f"time / time of torchattacks      ● PGM-15   ◇ FGM   dashed: aims of PGM-15, {aims}"
    figure.supxlabel(text, fontsize=9)
    return style.laid_out(figure)


def error_against_time(table: pd.DataFrame) -> Figure:
    """Relative error of an estimated norm against the time it took, a panel a layer.

    Filled: the estimate lies below the norm; hollow: above, as an upper bound must.
    """
    errors = of(table, "spectral_error", "error")
    seconds = of(table, "spectral_error", "seconds")
    both = errors.merge(seconds, on=["contestant", "layer"], suffixes=("", " s"))
    layers = list(dict.fromkeys(both["layer"]))
    names = sorted(set(both["contestant"]), key=lambda name: (not name.startswith("ours"), name))
    figure, (axes,) = style.axes(1, len(layers), size=(9.0, 4.0), sharey=True)
    markers = dict(zip(names, "osD^vP*Xh<>p", strict=False))
    for ax, layer in zip(axes, layers, strict=True):
        for name in names:
            part = both[(both["layer"] == layer) & (both["contestant"] == name)]
            for _, row in part.iterrows():
                color = style.CAPPED if name.startswith("ours") else style.PAPER
                ax.plot(
                    row["value s"],
                    abs(row["value"]),
                    markers.get(name, "o"),
                    color=color,
                    markerfacecolor="none" if row["value"] > 0 else color,
                )
        ax.set(xscale="log", yscale="log")
        ax.set_title(layer_title(layer), fontsize=9)
    axes[0].set_ylabel("|estimate / norm − 1|")
    axes[len(layers) // 2].set_xlabel("CPU seconds (filled: below the norm, hollow: above it)")
    handles = [
        axes[0].plot([], [], markers.get(name, "o"), mfc="none", label=name,
                     color=style.CAPPED if name.startswith("ours") else style.PAPER)[0]
        for name in names
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return style.laid_out(figure)


def layer_title(layer: str) -> str:
    """'3->96_5x5_28' as '3→96, 5x5, 28'."""
    return layer.replace("->", "→").replace("_", ", ")


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Ratios of the ERM step under the default budget, one thing changed at a time.

    Returns:
        DataFrame varied (batch, width, size, net), at, ratio, low, high, plain (seconds).
    """
    ratios = of(table, "spectral_cost", "ratio", attack="none", contestant="ours")
    plain = of(table, "spectral_cost", "seconds", attack="none", contestant="plain")
    plain = plain.set_index("setting")["value"]
    rows = []
    for varied in THIN:
        part = ratios
        for name, value in THIN.items():
            part = part if name == varied else part[part[name] == value]
        for _, row in part.sort_values("value" if varied == "net" else varied).iterrows():
            rows.append(
                {
                    "varied": varied,
                    "at": row[varied],
                    "ratio": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                    "plain": plain[row["setting"]],
                }
            )
    found = pd.DataFrame(rows)
    order = ["batch", "width", "size", "net"]
    return found.sort_values("varied", key=lambda c: c.map(order.index), kind="stable")


def cost_growth(table: pd.DataFrame) -> Figure:
    """How the ratio of an ERM step moves with batch, width, image size and net.

    From a quarter-width AlexNet, batch 64, 28x28 pixels. Dots: median; bars: quartiles.
    """
    rows = growth(table)
    varied = list(dict.fromkeys(rows["varied"]))
    figure, (axes,) = style.axes(1, len(varied), size=(9.0, 2.6), sharey=True)
    for ax, name in zip(axes, varied, strict=True):
        part = rows[rows["varied"] == name].reset_index(drop=True)
        bars = [part["ratio"] - part["low"], part["high"] - part["ratio"]]
        ax.errorbar(part.index, part["ratio"], yerr=bars, fmt="o-", color=style.CAPPED)
        ax.set_xticks(part.index, [at if isinstance(at, str) else f"{at:g}" for at in part["at"]])
        ax.axhline(1.0, color="black", linewidth=1)
        ax.set_xlabel({"size": "image side", "net": "net"}.get(name, name))
        ax.set_xlim(-0.5, len(part) - 0.5)
        if name == "net":
            ax.lines[0].set_linestyle("none")
            ax.tick_params(axis="x", labelsize=7)
    axes[0].set_ylabel("time / plain step")
    return style.laid_out(figure)


def provenance(table: pd.DataFrame) -> str:
    """Commands, dates, machines and versions of a table's rows, one block a benchmark."""
    lines = []
    for name, part in table.groupby("benchmark"):
        lines.append(f"{name}: {len(part)} rows")
        for column in ("date", "command", "machine", "versions"):
            for text in sorted(set(part[column])):
                lines.append(folded(f"    {text}", " " * 8))
    return "\n".join(lines)
