"""The table of experiments: runs, what is done of them, cost here and on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snlib import columns, costs, results, room, speed
from snlib.experiments import Experiment, experiment, plan
from snlib.experiments.catalogue import stands_for
from snlib.results import Store
from snlib.runner import Plan
from snlib.runs import TIMED, Run
from snlib.speed import Speed

HEAD = ("experiment", "scale", "done", "missing", "here", "left", "GPU", "notebook", "stands for")


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
    return [*columns.aligned(cells), *_notes(known, once)]


def _notes(known: Speed, once: Mapping[str, Plan]) -> list[str]:
    """What the times stand for.

    Args:
        known: the speed by which they are estimated.
        once: scale -> its runs, each once, in turns that may have room for more or fewer.
    """
    gpu, runs = costs.GPU, set().union(*once.values())
    turns = [turn for part in once.values() for turn in room.turns("cpu", part)]
    untimed = [there for part, there in turns if not any(TIMED in one for one in part.values())]
    counts = sorted(there.workers for there in untimed) or [1]
    beside = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return [
        f"here: all of it, left: what is missing; {beside} runs side by side "
        f"(those of Table 2 one by one), each at the speed of {known.source(runs)}",
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
    items = "; ".join(map(str, stands_for(one.name))) or f"(our own) {one.title}"
    counts = _counts(dict.fromkeys(runs, one.suites), records, known)
    return (one.name, scale, *counts, one.notebook, items)


def _total(scale: str, runs: Plan, records: dict[Run, dict], known: Speed) -> tuple[str, ...]:
    return ("all, once", scale, *_counts(runs, records, known), "", "")


def _counts(runs: Plan, records: dict[Run, dict], known: Speed) -> tuple[str, ...]:
    """Runs done and missing, time of all of them here, of the missing ones, and of all on a GPU."""
    missing = {
        run: suites
        for run, suites in runs.items()
        if run not in records or not suites <= set(records[run]["suites"])
    }
    gpu = sum(costs.seconds(run, costs.GPU) for run in runs)
    return (
        f"{len(runs) - len(missing)}/{len(runs)}",
        str(len(missing)),
        time(_here(runs, known)),
        time(_here(missing, known)),
        time(gpu),
    )


def _here(runs: Plan, known: Speed) -> float:
    """Seconds on this machine, with as many runs side by side as it does best."""
    return room.wall(room.turns("cpu", runs), known.seconds)


def time(seconds: float) -> str:
    """A time in its natural unit, with two digits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"
