"""A record that came from elsewhere: is it sound, and does it say what another of its run says?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snlib import results
from snlib.errors import UserError, require
from snlib.provenance import MADE
from snlib.results import ENGINE
from snlib.runs import Run

TEXTS = ("data", *MADE)
"""What a record's provenance says in words."""

TIME = "seconds"
"""The quantity that no two computations of a run share."""


@dataclass(frozen=True)
class Arrival:
    """A record that came, its file's content, and where it came from."""

    source: str
    record: dict
    content: bytes


def read(path: Path, source: str) -> Arrival:
    """Read a record that came, and check all that a table will take of it.

    Raises:
        UserError: if it is damaged, was changed by hand, or was made by other settings than its
            name says, by settings that the code does not know, or by another engine.
    """
    remedy = f"It came with {source}; nothing was merged."
    require(not path.is_symlink(), f"record {path.name} is a link. {remedy}")
    content = path.read_bytes()
    record = results.read_record(content, path.stem, remedy=remedy)
    engine = record["settings"].get("engine")
    require(
        engine == ENGINE,
        f"record {path.name} was made by engine {engine}, here is engine {ENGINE}: its numbers are "
        f"not those that this code would give. {remedy}",
    )
    try:
        known = Run.from_settings(record["settings"]).name == path.stem
    except (UserError, TypeError) as error:
        raise UserError(
            f"record {path.name} has settings that this version of snlib does not know ({error}). "
            f"{remedy}"
        ) from None
    require(
        known and _sound(record),
        f"record {path.name} is damaged (what it holds are no measurements). {remedy}",
    )
    return Arrival(source, record, content)


def _sound(record: Mapping) -> bool:
    """Whether everything that a table takes of a record has the type that it should."""
    about, rows, suites = record["provenance"], record["rows"], record["suites"]
    trained = about.get("trained", about) if isinstance(about, dict) else None
    words = [word for name, column in rows.items() if name not in ("x", "value") for word in column]
    return (
        isinstance(trained, dict)
        and all(isinstance(about.get(key), str) for key in TEXTS)
        and all(isinstance(trained.get(key), str) for key in MADE)
        and _number(about.get("seconds"))
        and _number(record.get("mean_norm"))
        and isinstance(record["diverged"], bool)
        and isinstance(suites, list)
        and {"suite", "split", "attack", "quantity"} <= set(rows)
        and all(isinstance(word, str) for word in (*suites, *words))
        and all(_number(number) for number in (*rows["x"], *rows["value"]))
    )


def _number(value: object) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole or value in ("inf", "-inf", "nan")


def by_suite(record: Mapping) -> dict[str, list[tuple]]:
    """A record's rows by suite, as tuples, in order; times are left out, they never come twice.

    NaN is text in a record, so equal to itself.
    """
    rows = record["rows"]
    columns = sorted(set(rows) - {"suite"})
    found: dict[str, list[tuple]] = {suite: [] for suite in record["suites"]}
    for suite, *rest in zip(rows["suite"], *(rows[column] for column in columns), strict=True):
        if TIME not in rest:
            found.setdefault(suite, []).append(tuple(rest))
    return found


def supersedes(record: Mapping, other: Mapping) -> bool:
    """Whether a record says all that another of the same run says, and perhaps more suites."""
    if (record["diverged"], record.get("epochs")) != (other["diverged"], other.get("epochs")):
        return False
    mine = by_suite(record)
    return all(mine.get(suite) == rows for suite, rows in by_suite(other).items())


def clash(one: Mapping, place: str, other: Mapping, other_place: str) -> str:
    """Which run two records are of that do not agree, who made them, and where they differ."""
    run = Run.from_settings(one["settings"])
    first, second = by_suite(one), by_suite(other)
    suites = [suite for suite in first if suite in second and first[suite] != second[suite]]
    what = f"in suite {', '.join(suites)}" if suites else "in their suites or epochs"
    made = [
        f"{about['device']}, {about['software']}, commit {about['commit']}, {about['finished']}"
        for about in (one["provenance"], other["provenance"])
    ]
    return (
        f"record {run.name} ({run.net}, {run.scheme}, beta {run.beta:g}, seed {run.seed}) of "
        f"{place} ({made[0]}) and the one {other_place} ({made[1]}) differ {what}"
    )
