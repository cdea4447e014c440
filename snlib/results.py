"""Records and tables: what a run left behind, kept so that nothing can lose or falsify it.

A record is one JSON file, `records/<name>.json`, whose name is a hash of the run's settings. It is
written to a temporary file, flushed and renamed, so a reader sees a whole record or none. A table,
`<experiment>.<scale>.csv` (`tidy`), holds rows made from records, below the settings that all runs
share and their provenance.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from snlib import files, series
from snlib.columns import folded
from snlib.errors import require
from snlib.files import sweep as sweep
from snlib.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
"""The repository, when the package is installed from it."""

STORES = {"recorded": ROOT / "data" / "results", "workbook": ROOT / "build" / "results"}
"""Where results lie, by name: what is committed, and what `make workbook` computes."""

PARTS = {"settings", "diverged", "suites", "rows", "provenance"}
"""What every record holds, at least."""

SEAL = "sha256"
"""Where a record holds the checksum of everything else in it; the oldest records have none."""

ENGINE = 1
"""Raised whenever training or measuring changes in a way that changes numbers."""


@dataclass(frozen=True)
class Store:
    """A folder of results: `records/`, the tables, `nets/`, and `.work/` for what is unfinished."""

    root: Path

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def work(self) -> Path:
        return self.root / ".work"

    def record_path(self, name: str) -> Path:
        return self.records / f"{name}.json"

    def checkpoint_path(self, name: str) -> Path:
        return self.work / f"{name}.pt"

    def net_path(self, name: str) -> Path:
        return self.root / "nets" / f"{name}.pt"

    def lock_path(self, name: str) -> Path:
        return self.work / f"{name}.lock"

    def table_path(self, experiment: str, scale: str) -> Path:
        return self.root / f"{experiment}.{scale}.csv"


def store(where: str | Path | Store = "recorded") -> Store:
    """The store of that name, or in that folder, there or not; a file is refused (UserError)."""
    found = where if isinstance(where, Store) else Store(Path(STORES.get(where, where)))
    root = found.root
    file = next((part for part in (root, *root.parents) if part.exists() and not part.is_dir()), "")
    require(not file, f"store is {root}; {file} is a file. Allowed: {_list(STORES)}, or a folder.")
    return found


# --------------------------------------------------------------------------------- settings, names


def plain(value: object) -> object:
    """A value as JSON holds it: infinities and NaN as strings, since JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def restore(value: object) -> object:
    """The inverse of `plain`."""
    return float(value) if value in ("inf", "-inf", "nan") else value


def name_of(settings: Mapping[str, object]) -> str:
    """The name of the record with these settings: 16 hexadecimal digits of their SHA-256."""
    text = json.dumps({key: plain(value) for key, value in settings.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ----------------------------------------------------------------------------------------- records


def lock(where: Store, name: str) -> contextlib.AbstractContextManager[bool]:
    """Whether this process alone works on run `name`; a kill sets the lock free by itself."""
    return files.lock(where.lock_path(name))


def save_record(record: Mapping[str, object], where: Store) -> Path:
    """Write a record, sealed, under the name that its settings give it."""
    path = where.record_path(name_of(record["settings"]))
    write_atomically(path, record_bytes(record))
    return path


def record_bytes(record: Mapping[str, object]) -> bytes:
    """A record as its file holds it: rows packed, and sealed by a checksum of all the rest."""
    stored = storable({**record, "rows": series.pack(record["rows"])})
    return (_text({**stored, SEAL: _seal(stored)}) + "\n").encode()


def _text(stored: Mapping[str, object]) -> str:
    return json.dumps(stored, separators=(",", ":"), allow_nan=False)


def _seal(stored: Mapping[str, object]) -> str:
    """SHA-256 of a record without its seal, whatever the order of its keys and its spacing."""
    rest = {key: value for key, value in stored.items() if key != SEAL}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def load_record(name: str, where: Store) -> dict | None:
    """The record of that name, or None where there is none.

    Raises:
        UserError: if the file is damaged, was changed by hand, or its settings are not those its
            name stands for.
    """
    path = where.record_path(name)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return read_record(content, name, remedy=f"Delete {path} and run the experiment again.")


def read_record(content: bytes, name: str, *, remedy: str) -> dict:
    """The record that a file of that name with this content holds, without its seal.

    A record from before there were seals is taken as it is (`unsealed` names them).

    Raises:
        UserError: as `load_record`, ending with `remedy`.
    """
    try:
        stored = json.loads(content)
        settings = {key: restore(value) for key, value in stored["settings"].items()}
        rows = series.unpack(stored["rows"])
        whole = set(stored) >= PARTS and "quantity" in rows
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    require(whole, f"record {name}.json is damaged (no complete JSON record). {remedy}")
    require(
        name_of(settings) == name,
        f"record {name}.json was made by other settings, of record {name_of(settings)}. {remedy}",
    )
    require(
        stored.get(SEAL) in (None, _seal(stored)),
        f"record {name}.json was changed after it was written (its checksum differs). {remedy}",
    )
    record = {key: value for key, value in stored.items() if key != SEAL}
    return {**record, "settings": settings, "rows": rows}


def unsealed(where: Store) -> list[str]:
    """Names of the readable records that carry no checksum: made before there was one."""
    seal = f'"{SEAL}":'.encode()
    paths = sorted(where.records.glob("*.json"))
    return [path.stem for path in paths if seal not in path.read_bytes()]


def storable(value: object) -> object:
    """A value as it is stored: measurements to seven digits, settings to the last bit."""
    if isinstance(value, Mapping):
        return {
            str(key): {name: plain(entry) for name, entry in item.items()}
            if key == "settings"
            else storable(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float):
        return plain(value) if not math.isfinite(value) else float(f"{value:.7g}")
    return value


# ------------------------------------------------------------------------------------------ tables


def rows_of(
    record: Mapping,
    columns: list[str],
    quantities: frozenset[str] | None = None,
    suites: frozenset[str] | None = None,
    later: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """A record's measurements, one a row, with the settings named in `columns` beside them.

    Only rows of these `quantities` and `suites`, so that a table stays the same when another
    experiment measures more of the same runs. `later` holds settings that an older record leaves
    out.
    """
    rows = pd.DataFrame(record["rows"])
    if quantities is not None:
        rows = rows[rows["quantity"].isin(quantities)]
    if suites is not None:
        rows = rows[rows["suite"].isin(suites)]
    rows["value"] = rows["value"].map(restore).astype(float)
    settings = {**(later or {}), **record["settings"]}
    for position, column in enumerate(columns):
        rows.insert(position, column, [settings[column]] * len(rows))
    rows.insert(0, "run", name_of(record["settings"])[:10])
    rows.insert(len(columns) + 1, "diverged", bool(record["diverged"]))
    return rows


def provenance(table: pd.DataFrame) -> str:
    """Where the numbers of a table come from, in lines to print; the same text on every machine."""
    about = table.attrs["provenance"]
    told = {
        "runs": f"{about['done']} of {about['runs']}, seeds {_list(about['seeds'])}",
        "diverged": about["diverged"],
        "device": _list(about["devices"]),
        "software": _list(about["software"]),
        "computing": f"{about['hours']:.2f} hours, finished {about['finished']}",
    }
    title = folded(f"{about['experiment']} at scale {about['scale']}: {about['title']}")
    lines = [folded(f"{name:<10}{text}", " " * 10) for name, text in told.items()]
    return "\n".join([title, *lines])


def _list(values: Iterable) -> str:
    return ", ".join(str(value) for value in values)
