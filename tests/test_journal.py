"""What a command notes for `status`: progress, failures, and that a retry clears them."""

from __future__ import annotations

import json
import math
import types

import pytest

from snlib import journal
from snlib.errors import UserError
from snlib.journal import Journal
from snlib.results import Store
from snlib.runs import Run

RUN = Run(data="digits", net="softmax")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    one = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(journal.time, "time", lambda: one.now)
    return one


def test_progress_gives_the_time_left(store, clock):
    heard = []
    notes = Journal(store, on_progress=lambda *about: heard.append(about))
    assert journal.progress(RUN.name, store) is None
    notes.progress(RUN.name, 0.25)
    noted = journal.progress(RUN.name, store)
    assert noted.fraction == 0.25 and math.isnan(noted.left)
    clock.now += 1.0
    notes.progress(RUN.name, 0.3)  # too soon to be noted again
    assert journal.progress(RUN.name, store).fraction == 0.25
    clock.now += 9.0
    notes.progress(RUN.name, 0.5)  # a quarter in ten seconds: half in twenty
    assert journal.progress(RUN.name, store) == journal.Progress(0.5, pytest.approx(20.0))
    assert heard == [(RUN.name, 0.25), (RUN.name, 0.3), (RUN.name, 0.5)]


def test_a_failure_is_kept_until_the_next_try(store):
    ended = []
    notes = Journal(store, on_done=lambda run, status: ended.append(status))
    notes.progress(RUN.name, 0.5)
    notes.done(RUN, "failed: out of memory")
    assert journal.failure(RUN.name, store) == "out of memory"
    assert journal.progress(RUN.name, store) is None
    Journal(store).progress(RUN.name, 0.0)
    assert journal.failure(RUN.name, store) is None
    notes.done(RUN, "failed: again")
    notes.done(RUN, "done")
    assert journal.failure(RUN.name, store) is None and not list(store.work.iterdir())
    assert ended == ["failed: out of memory", "failed: again", "done"]


def test_an_unfinished_run_keeps_its_progress(store):
    notes = Journal(store)
    notes.progress(RUN.name, 0.5)
    notes.done(RUN, "unfinished")
    assert journal.progress(RUN.name, store).fraction == 0.5


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"fraction": "x"}', b"\xff\x00"])
def test_damaged_notes_are_no_notes(store, content):
    store.work.mkdir()
    (store.work / f"{RUN.name}.progress").write_bytes(content)
    (store.work / f"{RUN.name}.failed").write_bytes(content)
    assert journal.progress(RUN.name, store) is None
    expected = "no reason noted" if content.startswith(b"{") else None
    assert journal.failure(RUN.name, store) == expected


@pytest.mark.parametrize("error", [UserError("no space left"), OSError("read-only")])
def test_a_full_disk_costs_only_the_notes(store, error, monkeypatch):
    def full(*_):
        raise error

    monkeypatch.setattr(journal, "write_atomically", full)
    notes = Journal(store)
    notes.progress(RUN.name, 0.5)
    notes.done(RUN, "failed: why")
    assert journal.failure(RUN.name, store) is None


def test_notes_are_plain_json(store):
    Journal(store).progress(RUN.name, 0.5)
    (path,) = store.work.iterdir()
    assert json.loads(path.read_text())["fraction"] == 0.5
