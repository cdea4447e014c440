"""Bringing records home: from bundles or from another store, checked first, never half.

Everything is unpacked and checked in a corner of the store's `.work/`: checksums, names against
settings, engine, the shape of every record, checkpoints; the tables that would follow are derived.
Only then are records put in place, one by one and each whole, so that whatever ends the process,
the same merge again goes on. A record that is here with other rows is in **conflict**: it stays as
it is, and the report names both. One that is here and damaged gives way to a sound one.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from snlib import bundles, checkpoints, files, results, tables
from snlib.arrivals import Arrival, clash, read, supersedes
from snlib.errors import UserError, require
from snlib.results import Store


@dataclass
class Report:
    """What a merge did, by record name; conflicts with what differs, in words."""

    new: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    conflicting: dict[str, str] = field(default_factory=dict)
    checkpoints: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)

    @property
    def taken(self) -> tuple[list[str], ...]:
        """The records that take their place here, by why."""
        return self.new, self.extended, self.mended


@dataclass(frozen=True)
class Place:
    """Where something that came lies: what the reader called it, its files, its tables' names."""

    source: str
    records: Path
    checkpoints: Path
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Overlay(Store):
    """A store as it would be with these records in it."""

    incoming: Path = Path()

    def record_path(self, name: str) -> Path:
        path = self.incoming / f"{name}.json"
        return path if path.exists() else super().record_path(name)


def merge(sources: Iterable[str | Path], where: Store) -> Report:
    """Bring the records and checkpoints of bundles and other stores into a store.

    Args:
        sources: bundle files (all parts of a split one) and folders of other stores.
        where: the store that receives.

    Raises:
        UserError: naming the bundle, record or checkpoint that is damaged, hostile or was made by
            another engine; nothing has changed then. Also if the disk is full, or another merge is
            at work here.
    """
    with files.lock(where.work / "merge.lock") as alone:
        require(alone, f"another merge is at work in {where.root}; wait for its end.")
        with _corner(where.work / "merge") as corner:
            places = _places([Path(source) for source in sources], where, corner)
            arrivals, report = _records(places, where)
            chosen = corner / "chosen"
            chosen.mkdir()
            for name in itertools.chain(*report.taken):
                (chosen / f"{name}.json").write_bytes(arrivals[name].content)
            named = _tables(places, where)
            merged, wanted = Overlay(where.root, chosen), _wanted(named)
            furthest = _furthest(places, merged, wanted)
            for name, scale in named:  # in memory, to see that they can be made
                tables.make(name, scale, merged)
            _put_records(chosen, where, report, wanted)
            _put_checkpoints(furthest, where, report)
            written = [tables.write(name, scale, where) for name, scale in named]
    report.tables = [path for path in written if path is not None]
    return report


@contextlib.contextmanager
def _corner(path: Path) -> Iterator[Path]:
    """An empty folder for what is not home yet; what a killed merge left in it is thrown away."""
    with files.told_when_full(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _places(sources: list[Path], where: Store, corner: Path) -> list[Place]:
    folders = [source for source in sources if source.is_dir()]
    for folder in folders:
        require(
            (folder / "records").is_dir() or (folder / ".work").is_dir(),
            f"{folder} is no store: it holds neither records/ nor .work/.",
        )
        require(folder.resolve() != where.root.resolve(), f"{folder} is the store itself.")
    unpacked = bundles.unpack([one for one in sources if one not in folders], corner)
    return [
        Place(one.source, one.folder / "records", one.folder / "checkpoints", one.manifest.tables)
        for one in unpacked
    ] + [
        Place(
            str(folder),
            folder / "records",
            folder / ".work",
            tuple(path.stem for path in folder.glob("*.csv")),
        )
        for folder in folders
    ]


def _tables(places: list[Place], where: Store) -> list[tuple[str, str]]:
    """Experiments and scales to write: those that are here, and those that what came is for."""
    names = {path.stem for path in where.root.glob("*.csv")}
    for place in places:
        names |= set(place.tables)
    found = []
    for name in sorted(names):
        experiment, _, scale = name.partition(".")
        with contextlib.suppress(UserError):  # an experiment that this code has no more, or not yet
            tables.experiment(experiment).at(scale)
            found.append((experiment, scale))
    return found


# ----------------------------------------------------------------------------------------- records


def _records(places: list[Place], where: Store) -> tuple[dict[str, Arrival], Report]:
    """Every record that came, and what is to be done with it."""
    arrivals: dict[str, Arrival] = {}
    report = Report()
    for place in places:
        for path in sorted(place.records.glob("*.json")):
            came, name = read(path, place.source), path.stem
            other = arrivals.get(name)
            if other is None or supersedes(came.record, other.record):
                arrivals[name] = came
            elif not supersedes(other.record, came.record):
                report.conflicting[name] = (
                    clash(came.record, came.source, other.record, other.source)
                    + "; neither was taken. Merge the one to keep alone."
                )
    for name, came in arrivals.items():
        if name in report.conflicting:
            continue
        try:
            home = results.load_record(name, where)
        except UserError:
            report.mended.append(name)
            continue
        if home is None:
            report.new.append(name)
        elif supersedes(home, came.record):
            report.same.append(name)
        elif supersedes(came.record, home):
            report.extended.append(name)
        else:
            path = where.record_path(name)
            report.conflicting[name] = (
                clash(came.record, came.source, home, "here")
                + f"; the one here stays. To take the other, delete {path} and merge again."
            )
    return arrivals, report


def _put_records(
    chosen: Path, where: Store, report: Report, wanted: dict[str, frozenset[str]]
) -> None:
    for path in sorted(chosen.glob("*.json")):
        name = path.stem
        with results.lock(where, name) as alone:
            if alone:
                files.write_atomically(where.record_path(name), path.read_bytes())
                if _finished(name, where, wanted):
                    where.checkpoint_path(name).unlink(missing_ok=True)
                continue
        # A worker is about to write this record and has the last word.
        report.at_work.append(name)
        next(kind for kind in report.taken if name in kind).remove(name)


# ------------------------------------------------------------------------------------- checkpoints


def _wanted(named: list[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """What is to be measured of each run, for these tables."""
    wanted: dict[str, frozenset[str]] = {}
    for name, scale in named:
        one = tables.experiment(name)
        for run in one.at(scale):
            wanted[run.name] = wanted.get(run.name, frozenset()) | one.suites
    return wanted


def _finished(name: str, where: Store, wanted: dict[str, frozenset[str]]) -> bool:
    """Whether a run has a record with all that is wanted of it; else a checkpoint is of use."""
    record = results.load_record(name, where)
    return record is not None and wanted.get(name, frozenset()) <= set(record["suites"])


def _furthest(
    places: list[Place], where: Store, wanted: dict[str, frozenset[str]]
) -> dict[str, tuple[int, Path]]:
    """Of each unfinished run that came the checkpoint with most epochs, and how many.

    Args:
        places: where they lie.
        where: the store as it will be, with the records that came.
        wanted: the suites of each run.
    """
    furthest: dict[str, tuple[int, Path]] = {}
    for place in places:
        for path in sorted(place.checkpoints.glob("*.pt")):
            name = path.stem
            if _finished(name, where, wanted):
                continue
            try:
                epochs = checkpoints.look(path, name)
            except UserError as error:
                raise UserError(
                    f"{error} It came with {place.source}; nothing was merged."
                ) from None
            if epochs > furthest.get(name, (0, path))[0]:
                furthest[name] = epochs, path
    return furthest


def _put_checkpoints(furthest: dict[str, tuple[int, Path]], where: Store, report: Report) -> None:
    for name, (epochs, path) in furthest.items():
        with results.lock(where, name) as alone:
            if not alone:
                report.at_work.append(name)
                continue
            mine = where.checkpoint_path(name)
            if mine.exists() and checkpoints.look(mine, name) >= epochs:
                continue
            files.write_atomically(mine, path.read_bytes())
            report.checkpoints.append(name)
