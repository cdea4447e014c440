"""The map of the README: figure or table, notebook, experiment, command, state of the evidence."""

from __future__ import annotations

from pathlib import Path

from snlib import results, tidy
from snlib.experiments import EXPERIMENTS, SCALES, Experiment
from snlib.experiments.catalogue import ITEMS
from snlib.results import ROOT, Store

HEAD = "| figure or table | notebook | experiment | command | evidence |\n|---|---|---|---|---|"


def evidence(where: Store | str = "recorded", notebooks: Path = ROOT / "notebooks") -> str:
    """The map as Markdown: the paper's figures and tables first, then what is this workbook's own.

    Args:
        where: the store whose tables are the evidence.
        notebooks: the folder of the notebooks.
    """
    store = results.store(where)
    found = {path.name[:2]: path.name for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    rows = [
        (
            f"{item.name}: {item.shows}",
            item.notebook,
            [EXPERIMENTS[name] for name in item.experiments],
        )
        for item in ITEMS
    ]
    shown = {name for item in ITEMS for name in item.experiments}
    rows += [
        (f"our own: {one.title}", one.notebook, [one])
        for one in EXPERIMENTS.values()
        if one.name not in shown
    ]
    lines = [HEAD]
    for words, number, experiments in rows:
        title, notebook = words.replace("|", "\\|"), found.get(number)
        link = f"[{notebook[:-6]}](notebooks/{notebook})" if notebook else number
        names = ", ".join(f"`{one.name}`" for one in experiments)
        cells = (title, link, names, f"`{command(experiments)}`", state(experiments, store))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def command(experiments: list[Experiment]) -> str:
    """What computes them at the paper's own scale, where there is one."""
    scale = "paper" if any("paper" in one.scales for one in experiments) else "quick"
    names = " ".join(one.name for one in experiments if scale in one.scales)
    return f"python -m snlib run {names} --scale {scale}"


def state(experiments: list[Experiment], store: Store) -> str:
    """How many runs are recorded, by scale; none where there is no table of any of them."""
    counts: dict[str, list[int]] = {}
    for one in experiments:
        for path in sorted(store.root.glob(f"{one.name}.*.csv")):
            scale = path.name.removeprefix(f"{one.name}.").removesuffix(".csv")
            header = tidy.read_header(path)
            count = counts.setdefault(scale, [0, 0])
            count[0] += header["done"]
            count[1] += header["runs"]
    if not counts:
        return "none yet"
    for scale, count in counts.items():  # those without a table have runs there, too
        for one in experiments:
            there = scale.partition("@")[0] in one.scales
            if there and not (store.root / f"{one.name}.{scale}.csv").exists():
                count[1] += len(one.at(scale))
    order = sorted(counts, key=lambda scale: (SCALES.index(scale.partition("@")[0]), scale))
    return ", ".join(f"{scale} {counts[scale][0]} of {counts[scale][1]}" for scale in order)
