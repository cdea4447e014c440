"""What runs need of a machine: memory by net, and hours by the number of GPUs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from snlib.columns import folded
from snlib.figures import style
from snlib.figures.benchmarks import of


def memory(table: pd.DataFrame) -> pd.DataFrame:
    """Largest resident set of a run in MiB: a row a net, a column a training scheme, and expected.

    Args:
        table: of `benchmarks.load`.
    """
    rows = of(table, "memory", "peak MiB", contestant="snlib")
    wide = rows.pivot(index="net", columns="scheme", values="value")
    wide = wide[[name for name in style.SCHEMES if name in wide]].rename(columns=style.SCHEMES)
    expected = of(table, "memory", "peak MiB", contestant="expected")
    wide["expected"] = expected.groupby("net")["value"].max()
    return wide.sort_values("expected").rename_axis(columns=None)


def workers(table: pd.DataFrame) -> pd.DataFrame:
    """Measured seconds of plans of short runs: a row an engine and number of workers, if any.

    Columns: wall (of the larger plan), run (what a run itself computes), overhead (of a run beside
    that), start.
    """
    names = {
        "wall seconds": "wall",
        "run seconds": "run",
        "overhead a run": "overhead",
        "start": "start",
    }
    timed = table[(table["benchmark"] == "scaling") & (table["quantity"] == "wall seconds")]
    if timed.empty:
        return pd.DataFrame(columns=list(names.values()))
    parts = []
    for engine in timed["contestant"].unique():
        for quantity, name in names.items():
            rows = of(table, "scaling", quantity, contestant=engine)
            parts.append(rows.assign(engine=engine, what=name))
    rows = pd.concat(parts).astype({"workers": int})
    wide = rows.pivot(index=["engine", "workers"], columns="what", values="value")
    return wide[list(names.values())].sort_index(ascending=[False, True]).rename_axis(columns=None)


def simulated(table: pd.DataFrame) -> pd.DataFrame:
    """Hours, GPU hours, cost and efficiency of many runs, a row a number of GPUs."""
    rows = of(table, "scaling", "hours", contestant="simulated")
    parts = [
        of(table, "scaling", quantity, contestant="simulated")
        .set_index("gpus")["value"]
        .rename(quantity)
        for quantity in ("hours", "gpu hours", "cost", "efficiency")
    ]
    wide = pd.concat(parts, axis=1).sort_index()
    wide.index = wide.index.astype(int)
    wide.attrs |= {name: float(rows[name].iloc[0]) for name in ("runs", "share", "price")}
    return wide.rename_axis(index="GPUs")


def summary(table: pd.DataFrame) -> str:
    """The three tables as text."""
    about = simulated(table)
    runs, share, price = (about.attrs[name] for name in ("runs", "share", "price"))
    title = folded(
        f"{runs:.0f} runs of scale paper, simulated: {share:.0f} at once on a GPU, which costs "
        f"{price:g} an hour in whatever money (rates and price assumed)"
    )
    timed = workers(table)
    plans = "seconds of plans of short runs: "
    if timed.empty:
        plans += "none recorded"
    else:
        plans += "\n" + timed.to_string(float_format="{:.2f}".format)
    return "\n\n".join(
        [
            f"MiB of a run at batch 128\n{memory(table).to_string(float_format='{:.0f}'.format)}",
            plans,
            f"{title}\n{about.to_string(float_format='{:.4g}'.format)}",
        ]
    )


def many_runs(table: pd.DataFrame) -> Figure:
    """Memory of a run by net (dots: training schemes, bar: expected), and hours against GPUs."""
    figure, (axes,) = style.axes(1, 2, size=(6.6, 2.3))
    left, right = axes
    found = memory(table)
    for place, (_, row) in enumerate(found.iterrows()):
        left.plot(row["expected"] / 1024, place, "|", color="black", markersize=14)
        for scheme, name in style.SCHEMES.items():
            if name in row:
                left.plot(row[name] / 1024, place, "o", color=style.COLOR[scheme])
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=style.COLOR[scheme], label=name)
        for scheme, name in style.SCHEMES.items()
        if name in found
    ]
    left.legend(handles=handles, loc="lower right", fontsize=7, handletextpad=0.1)
    left.set_yticks(range(len(found)), found.index)
    left.set(xlabel="GiB of a run (|: expected)", xlim=(0, None), ylim=(-0.6, len(found) - 0.4))
    hours = simulated(table)
    right.plot(hours.index, hours["hours"], "o-", color=style.CAPPED)
    right.plot(hours.index, hours["hours"].iloc[0] / hours.index, "--", color=style.PAPER)
    right.set(xscale="log", yscale="log", xlabel="GPUs, simulated (dashed: no loss)")
    right.set_ylabel(f"hours of {hours.attrs['runs']:,.0f} runs")
    right.set_xticks(hours.index)
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.xaxis.set_minor_formatter(NullFormatter())
    return style.laid_out(figure)
