"""The table of experiments: runs, what is done of them, cost here and on a GPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from snlib import costs, results, speed
from snlib.experiments import Experiment, experiment, plan
from snlib.experiments.catalogue import stands_for
from snlib.results import Store
from snlib.runner import Plan, default_workers, timed
from snlib.runs import Run
from snlib.speed import Speed

HEAD = ("experiment", "scale", "done", "missing", "here", "GPU", "notebook", "stands for")


def table(names: Sequence[str], scales: Sequence[str], where: Store) -> list[str]:
    """Lines that list experiments, a line an experiment and scale, and what the columns mean.

    Args:
        names: experiments; at a scale where one does not exist it is passed over.
        scales: "quick", "laptop", "paper" or "paper@<data set>".
        where: the store whose records are done.
    """
    chosen = [experiment(name) for name in names]
    runs = {
        (one.name, scale): one.at(scale)
        for one in chosen
        for scale in scales
        if scale.partition("@")[0] in one.scales
    }
    records = _records({run for part in runs.values() for run in part}, where)
    once = {
        scale: plan([one.name for one in chosen if (one.name, scale) in runs], scale)
        for scale in scales
    }
    known = speed.learned(records)
    cells = [HEAD]
    for one in chosen:
        shown = [scale for scale in scales if (one.name, scale) in runs]
        for scale in shown:
            part = runs[one.name, scale]
            row = _row(one, scale, part, records, known)
            cells.append(row if scale == shown[0] else (*row[:-1], ""))
    if len(chosen) > 1:
        cells += [_total(scale, once[scale], records, known) for scale in scales]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD) - 1)]
    lines = ["  ".join([*map(str.ljust, row[:-1], widths), row[-1]]).rstrip() for row in cells]
    return [*lines, *_notes(known, set().union(*once.values()))]


def _notes(known: Speed, runs: Collection[Run]) -> list[str]:
    """What the times stand for."""
    gpu = costs.GPU
    return [
        f"here: {default_workers('cpu')} runs side by side (those of Table 2 one by one), each at "
        f"the speed of {known.source(runs)}",
        f"GPU: {gpu.name}, one run at a time, training alone; assumed: {gpu.flops / 1e12:.0f} "
        f"TFLOP/s and {1e6 * gpu.launch:.0f} microseconds a layer and pass",
        "Runs that experiments share are computed once.",
    ]


def _records(runs: set[Run], where: Store) -> dict[Run, dict]:
    """The records that are there, without their rows."""
    found = {}
    for run in runs:
        record = results.load_record(run.name, where)
        if record is not None:
            found[run] = {key: record.get(key) for key in ("suites", "epochs", "provenance")}
    return found


def _row(
    one: Experiment, scale: str, runs: list[Run], records: dict[Run, dict], known: Speed
) -> tuple[str, ...]:
    done = sum(run in records and one.suites <= set(records[run]["suites"]) for run in runs)
    items = "; ".join(map(str, stands_for(one.name))) or f"(our own) {one.title}"
    return (
        one.name, scale, f"{done}/{len(runs)}", str(len(runs) - done),
        *_times(dict.fromkeys(runs, one.suites), known), one.notebook, items,
    )  # fmt: skip


def _total(scale: str, runs: Plan, records: dict[Run, dict], known: Speed) -> tuple[str, ...]:
    done = sum(run in records for run in runs)
    return (
        "all, once", scale, f"{done}/{len(runs)}", str(len(runs) - done), *_times(runs, known),
        "", "",
    )  # fmt: skip


def _times(runs: Plan, known: Speed) -> tuple[str, str]:
    gpu = sum(costs.seconds(run, costs.GPU) for run in runs)
    alone, workers = timed(runs), default_workers("cpu")
    here = sum(
        known.seconds(run, suites) / (1 if run in alone else workers)
        for run, suites in runs.items()
    )
    return time(here), time(gpu)


def time(seconds: float) -> str:
    """A time in its natural unit, with two digits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"
