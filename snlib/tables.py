"""From records to the table of an experiment, and back from its file to the reader's hands."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from snlib import results, tidy
from snlib.columns import folded
from snlib.errors import UserError, require
from snlib.experiments import Experiment, experiment
from snlib.results import Store, plain
from snlib.runs import LATER

FIXED_COLUMNS = ("scheme", "beta", "labels", "seed")
"""Settings that are columns of every table, whether they vary in it or not."""


def varying(runs: list) -> list[str]:
    """The settings that are columns of the table of these runs."""
    settings = [{**run.settings(), **_later(run.settings())} for run in runs]
    return [
        key
        for key in settings[0]
        if key in FIXED_COLUMNS or any(other[key] != settings[0][key] for other in settings)
    ]


def _later(settings: Mapping) -> dict[str, object]:
    """The settings that came after older records, said in full also where they are left out."""
    return {name: settings.get(name, value) for name, value in LATER.items()}


def make(name: str, scale: str, where: str | Path | Store = "recorded") -> str | None:
    """The text of an experiment's table, made from records alone; None if there is no record."""
    found = _collect(experiment(name), scale, results.store(where))
    return None if found is None else tidy.table_text(*found)


def measured(
    name: str,
    quantities: Iterable[str],
    scale: str = "quick",
    store: str | Path | Store = "recorded",
) -> pd.DataFrame:
    """Quantities of an experiment's runs that its table leaves out, read from the records.

    Args:
        name: the experiment.
        quantities: such as "margin"; the suites measured decide which there are.
        scale: as for `load`.
        store: as for `load`.

    Returns:
        DataFrame as of `load`, with the same columns.

    Raises:
        UserError: nothing recorded, or a quantity that the records do not hold.
    """
    chosen = dataclasses.replace(experiment(name), quantities=frozenset(quantities))
    found = _collect(chosen, scale, results.store(store))
    require(found is not None, f"nothing is recorded of {name} at scale {scale}.")
    table, header = found
    absent = sorted(chosen.quantities - set(table["quantity"]))
    require(not absent, f"the records of {name} hold no {', '.join(absent)}.")
    table["x"] = table["x"].map(results.restore).astype(float)
    table = table.replace({None: math.nan}).infer_objects()  # as `load` gives it
    table.attrs["provenance"] = header
    return table


def _collect(
    chosen: Experiment, scale: str, store: Store
) -> tuple[pd.DataFrame, dict[str, object]] | None:
    """The rows of an experiment's records, and the header of its table."""
    runs = chosen.at(scale)
    columns = varying(runs)
    parts, records = [], []
    for run in runs:
        record = results.load_record(run.name, store)
        if record is not None and chosen.suites <= set(record["suites"]):
            records.append(record)
            later = _later(record["settings"])
            parts.append(results.rows_of(record, columns, chosen.quantities, chosen.suites, later))
    if not records:
        return None
    table = pd.concat(parts, ignore_index=True).drop(columns="suite")
    return table, _header(chosen, scale, runs, columns, records)


def _header(
    chosen: Experiment, scale: str, runs: list, columns: list[str], records: list[Mapping]
) -> dict[str, object]:
    about = [record["provenance"] for record in records]
    makers = about + [entry["trained"] for entry in about if "trained" in entry]
    common = {key: plain(value) for key, value in runs[0].settings().items() if key not in columns}
    return {
        "experiment": chosen.name,
        "scale": scale,
        "title": chosen.title,
        "data": sorted({entry["data"] for entry in about}),
        "settings": common,
        "columns": columns,
        "mean_norm": sorted({record["mean_norm"] for record in records}),
        "runs": len(runs),
        "done": len(records),
        "diverged": sum(bool(record["diverged"]) for record in records),
        "seeds": sorted({record["settings"]["seed"] for record in records}),
        "devices": sorted({entry["device"] for entry in makers}),
        "software": sorted({entry["software"] for entry in makers}),
        "commits": sorted({entry["commit"] for entry in makers}),
        "hours": round(sum(entry["seconds"] for entry in about) / 3600, 3),
        "finished": max(entry["finished"] for entry in about),
    }


def write(name: str, scale: str, where: str | Path | Store = "recorded") -> Path | None:
    """Make the table from records and store it; None where there is no record yet."""
    text, store = make(name, scale, where), results.store(where)
    if text is None:
        return None
    path = store.table_path(name, scale)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        results.write_atomically(path, text.encode())
    return path


def load(name: str, scale: str = "quick", store: str | Path | Store = "recorded") -> pd.DataFrame:
    """The table of an experiment, checked against the experiment as the code now defines it.

    Args:
        name: the experiment.
        scale: "quick", "laptop", "paper" or "paper@<data set>".
        store: "recorded", the committed evidence; "workbook", what `make workbook` computed.

    Returns:
        DataFrame, one measurement a row, with columns run, (settings that vary), diverged, split,
        attack, quantity, x, value. `attrs["provenance"]` holds its header.

    Raises:
        UserError: if there is no such table, if it is damaged (the message says which command makes
            it), or if it was recorded with other settings (naming the setting that differs).
    """
    chosen, place = experiment(name), results.store(store)
    runs = chosen.at(scale)
    path = place.table_path(name, scale)
    scale_option = f"--scale {scale.replace('@', ' --data ')}"
    where = store.root if isinstance(store, Store) else store
    option = "" if store == "recorded" else f" --store {where}"
    command = f"python -m snlib run {name} {scale_option}{option}"
    require(path.exists(), f"nothing is recorded of {name} at scale {scale}. Compute it: {command}")
    table, header = tidy.read_table(path, remedy=f"Make it again from its records: {command}")
    columns = varying(runs)
    for key, value in runs[0].settings().items():
        if key in columns or key in header["columns"]:
            continue
        recorded = header["settings"].get(key, "nothing")
        if recorded != plain(value):
            raise UserError(
                f"{path.name} was recorded with {key}={recorded}, now {plain(value)}. "
                f"Record it again: {command}"
            )
    known = {run.name[:10] for run in runs}
    strange = sorted(set(table["run"]) - known)
    if strange:
        row = table[table["run"] == strange[0]].iloc[0]
        settings = ", ".join(f"{key}={row[key]}" for key in header["columns"])
        raise UserError(
            f"{path.name} holds a run that {name} no longer has ({settings}). "
            f"Record it again: {command}"
        )
    require(
        header["columns"] == columns and set(columns) <= set(table),
        f"{path.name} has the settings {', '.join(header['columns'])} as columns, now "
        f"{', '.join(columns)}. Record it again: {command}",
    )
    table.attrs["provenance"] = header
    return table


def nearer(name: str, store: str | Path | Store = "recorded") -> dict[str, pd.DataFrame]:
    """The tables of an experiment at the scales that are nearer to the paper than quick.

    Args:
        name: the experiment.
        store: as for `load`; the committed evidence has them, what `make workbook` computes not.

    Returns:
        scale -> table as of `load`, of those that are recorded, nearest first: "paper" and
        "paper@<data set>", then "laptop".

    Raises:
        UserError: as of `load`, for a table that is there and does not fit.
    """
    folder = results.store(store).root
    found = {path.stem.partition(".")[2] for path in folder.glob(f"{name}.*.csv")} - {"quick"}
    return {scale: load(name, scale=scale, store=store) for scale in sorted(found, key=farness)}


def farness(scale: str) -> tuple[bool, bool, str]:
    """A key that sorts scales by how far from the paper's setting they are."""
    return scale == "laptop", "@" in scale, scale


def setting(table: pd.DataFrame) -> str:
    """On what the numbers of a table were made: images, network, epochs, steps, runs.

    Lines of at most `snlib.columns.WIDTH` characters, each but the first indented.
    """
    about = table.attrs["provenance"]
    common = about["settings"]
    parts = [images(about["data"])]
    if "net" in common:
        width = common.get("width", 1)
        parts.append(common["net"] + ("" if width == 1 else f" at {width:g} of its width"))
    if "epochs" in common:
        parts.append(f"{common['epochs']} epochs")
    steps = table["steps"].dropna() if "steps" in table else pd.Series(common.get("steps"))
    if len(steps):
        parts.append(f"attacks of {', '.join(map(str, sorted(steps.astype(int).unique())))} steps")
    parts.append(f"{about['done']} of {about['runs']} runs")
    return folded(f"Scale {about['scale']}: {'; '.join(parts)}")


def images(names: Sequence[str]) -> str:
    """Data sets in words; parts of one data set, with true or random labels, are told together."""
    found = [
        re.fullmatch(r"(.+), ([\d,]+) training images(, random labels)?", one) for one in names
    ]
    if not all(found) or len({one[1] for one in found}) > 1 or len(found) < 2:
        return " and ".join(names)
    sizes = sorted({one[2] for one in found}, key=lambda size: int(size.replace(",", "")))
    labels = " and ".join(
        word for word, random in (("true", False), ("random", True))
        if any(bool(one[3]) == random for one in found)
    )  # fmt: skip
    told = f"{found[0][1]}, {' and '.join(sizes)} training images"
    return told if labels == "true" else f"{told}, {labels} labels"


def benchmarks(name: str = "*", folder: Path | None = None) -> pd.DataFrame:
    """What benchmarks measured, one quantity of one contestant in one setting a row.

    Args:
        name: of a benchmark; "*" takes all.
        folder: where their tables lie; None: data/results/benchmarks.

    Returns:
        DataFrame benchmark, contestant, setting, quantity, value, low, high, repeats, date,
        machine, versions, command, and a column for every name in a setting such as
        "net=alexnet batch=64" (NaN where a setting lacks it).

    Raises:
        UserError: no table there.
    """
    folder = folder or results.STORES["recorded"] / "benchmarks"
    paths = sorted(folder.glob(f"{name}.csv"))
    what = "no benchmark is recorded" if name == "*" else f"nothing is recorded of benchmark {name}"
    require(bool(paths), f"{what}; run the scripts in benchmarks/ with --record.")
    table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    parts = [dict(part.split("=", 1) for part in text.split()) for text in table["setting"]]
    columns = pd.DataFrame(parts)
    for column in columns:
        numbers = pd.to_numeric(columns[column], errors="coerce")
        if (numbers.notna() == columns[column].notna()).all():
            columns[column] = numbers
    return table.join(columns)


def verify(where: str | Path | Store = "recorded") -> list[str]:
    """Read every record and derive every table again; returns one line for each mismatch."""
    store, wrong = results.store(where), []
    for path in sorted(store.records.glob("*.json")):
        try:
            results.load_record(path.stem, store)
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        return wrong
    for path in sorted(store.root.glob("*.csv")):
        name, _, scale = path.stem.partition(".")
        try:
            text = make(name, scale, store)
        except UserError as error:
            wrong.append(f"{path.name} belongs to no experiment: {error}")
            continue
        if text is None or text.encode() != path.read_bytes():
            wrong.append(
                f"{path.name} differs from its records; made again by python -m snlib run {name} "
                f"--scale {scale.replace('@', ' --data ')}."
            )
    return wrong
