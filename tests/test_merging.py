"""Merging: what came is home, once, checked; what is doubtful changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import tiny_experiment
import torch
from test_results import record_of
from tiny_experiment import TINY

from snlib import bundles, checkpoints, experiments, merging, tables
from snlib.__main__ import main
from snlib.errors import UserError
from snlib.results import Store, load_record, lock, save_record

RUNS = TINY.at("quick")
NAMES = [run.name for run in RUNS]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(
        experiments, "EXPERIMENTS", {**experiments.EXPERIMENTS, **tiny_experiment.EXPERIMENTS}
    )


def record(run, accuracy: float = 0.5, suites=("history", "accuracy", "spectrum"), **changes):
    """A record whose suites hold one row each."""
    suites = sorted(suites)
    rows = {
        "suite": suites,
        "split": ["test"] * len(suites),
        "attack": ["training"] * len(suites),
        "quantity": ["accuracy"] * len(suites),
        "x": ["nan"] * len(suites),
        "value": [accuracy] * len(suites),
    }
    return record_of(run, rows=rows, suites=suites, epochs=2, **changes)


def checkpoint(path: Path, name: str, epochs: int) -> None:
    """A file that is a checkpoint as far as merging looks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    history = json.dumps({"epoch": [*range(epochs)]})
    torch.save({"run": name, "history": history, "net": {"w": torch.ones(3)}}, path)


@pytest.fixture
def home(tmp_path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def away(tmp_path) -> Store:
    """A store elsewhere: three records and, of the fourth run, a checkpoint after five epochs."""
    away = Store(tmp_path / "away")
    for run in RUNS[:3]:
        save_record(record(run), away)
    checkpoint(away.checkpoint_path(NAMES[3]), NAMES[3], 5)
    return away


def bundle_of(store: Store, path: Path) -> Path:
    bundles.write(path, store, NAMES, tables=["tiny.quick"])
    return path


@pytest.fixture
def bundle(away, tmp_path) -> Path:
    return bundle_of(away, tmp_path / "a.zip")


def snapshot(store: Store) -> dict[str, bytes]:
    """Every file of a store but its lock files."""
    paths = [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", ["bundle", "folder"])
def test_records_checkpoints_and_tables_come_home(home, away, bundle, kind):
    tables.write("tiny", "quick", away)
    report = merging.merge([bundle if kind == "bundle" else away.root], home)
    assert report.new == sorted(NAMES[:3]) and report.checkpoints == [NAMES[3]]
    assert not (report.same or report.conflicting or report.extended or report.at_work)
    assert snapshot(home) == snapshot(away)  # the table, too, is made again to the last byte
    assert report.tables == [home.table_path("tiny", "quick")] and not tables.verify(home)
    before = snapshot(home)
    again = merging.merge([bundle, away.root], home)
    assert again.same == sorted(NAMES[:3]) and not (again.new or again.checkpoints)
    assert snapshot(home) == before


def test_a_record_with_further_suites_extends_and_one_with_fewer_is_the_same(home, tmp_path):
    few, many = Store(tmp_path / "few"), Store(tmp_path / "many")
    save_record(record(RUNS[0], suites=("accuracy", "history")), few)
    save_record(record(RUNS[0]), many)
    assert merging.merge([few.root], home).new == [NAMES[0]]
    assert merging.merge([many.root], home).extended == [NAMES[0]]
    assert merging.merge([few.root], home).same == [NAMES[0]]
    assert load_record(NAMES[0], home)["suites"] == ["accuracy", "history", "spectrum"]


def test_the_same_rows_from_another_machine_are_no_conflict(home, away, tmp_path):
    about = {**record(RUNS[0])["provenance"], "device": "GPU", "seconds": 1.0}
    save_record(record(RUNS[0], provenance=about), home)
    assert merging.merge([away.root], home).same == [NAMES[0]]
    assert load_record(NAMES[0], home)["provenance"]["device"] == "GPU"


def test_times_are_no_conflict_but_only_times(home, tmp_path):
    away = Store(tmp_path / "away")
    for store, seconds in ((home, 1.0), (away, 2.0)):
        timed = record(RUNS[0], suites=("accuracy", "runtime"))
        timed["rows"]["quantity"][1], timed["rows"]["value"][1] = "seconds", seconds
        save_record(timed, store)
    assert merging.merge([away.root], home).same == [NAMES[0]]
    timed["rows"]["value"][0] = 0.9
    save_record(timed, away)
    assert "accuracy" in merging.merge([away.root], home).conflicting[NAMES[0]]


@pytest.mark.parametrize("changes", [{"accuracy": 0.6}, {"diverged": True}], ids=str)
def test_a_conflict_stays_out_and_both_sides_are_named(home, bundle, changes):
    about = {**record(RUNS[0])["provenance"], "device": "GPU XY", "commit": "fedcba"}
    save_record(record(RUNS[0], provenance=about, **changes), home)
    mine = load_record(NAMES[0], home)
    report = merging.merge([bundle], home)
    assert list(report.conflicting) == [NAMES[0]] and len(report.new) == 2
    line = report.conflicting[NAMES[0]]
    for part in (NAMES[0], str(bundle), "GPU XY", "fedcba", "CPU", "abc", "seed 0", "stays"):
        assert part in line
    assert ("accuracy" in line) == ("accuracy" in changes)
    assert load_record(NAMES[0], home) == mine and not tables.verify(home)


@pytest.mark.parametrize("kind", ["cut off", "by hand", "of another run"])
def test_a_record_that_is_damaged_here_gives_way_to_a_sound_one(home, bundle, kind, capsys):
    merging.merge([bundle], home)
    whole, path = snapshot(home), home.record_path(NAMES[0])
    damaged = {
        "cut off": path.read_bytes()[:200],
        "by hand": path.read_bytes().replace(b"0.5", b"0.9", 1),
        "of another run": home.record_path(NAMES[1]).read_bytes(),
    }
    path.write_bytes(damaged[kind])
    assert main(["merge", str(bundle), "--store", str(home.root)]) == 0
    assert "mended       1 records" in capsys.readouterr().out
    assert snapshot(home) == whole


def test_two_bundles_that_contradict_each_other(home, away, bundle, tmp_path):
    other = Store(tmp_path / "other")
    save_record(record(RUNS[0], 0.6), other)
    second = bundle_of(other, tmp_path / "b.zip")
    report = merging.merge([bundle, second], home)
    assert list(report.conflicting) == [NAMES[0]] and report.new == sorted(NAMES[1:3])
    line = report.conflicting[NAMES[0]]
    assert str(bundle) in line and str(second) in line and "neither was taken" in line
    assert load_record(NAMES[0], home) is None


def test_what_is_being_computed_here_is_left_alone(home, bundle):
    with lock(home, NAMES[0]), lock(home, NAMES[3]):
        report = merging.merge([bundle], home)
    assert sorted(report.at_work) == sorted([NAMES[0], NAMES[3]])
    assert report.new == sorted(NAMES[1:3]) and not report.checkpoints
    assert merging.merge([bundle], home).new == [NAMES[0]]


def test_two_merges_at_once(home, bundle):
    with lock(home, "merge"), pytest.raises(UserError, match="another merge is at work"):
        merging.merge([bundle], home)
    assert not snapshot(home)


# ------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(("epochs", "kept"), [(4, 5), (5, 5), (6, 6)])
def test_of_two_checkpoints_the_one_further_on_stays(home, bundle, epochs, kept):
    checkpoint(home.checkpoint_path(NAMES[3]), NAMES[3], epochs)
    merging.merge([bundle], home)
    assert checkpoints.look(home.checkpoint_path(NAMES[3]), NAMES[3]) == kept


def test_a_finished_run_takes_no_checkpoint_and_loses_its_own(home, away, bundle):
    save_record(record(RUNS[3]), home)
    checkpoint(home.checkpoint_path(NAMES[0]), NAMES[0], 1)
    report = merging.merge([bundle], home)
    assert not report.checkpoints and not list(home.work.glob("*.pt"))


def test_a_run_that_lacks_a_suite_takes_a_checkpoint_beside_its_record(home, away, tmp_path):
    """It is trained again for what it lacks, perhaps over several machines' budgets."""
    fewer = ("history", "accuracy")  # of three that the table asks for
    for store in (home, away):
        save_record(record(RUNS[3], suites=fewer), store)
    report = merging.merge([bundle_of(away, tmp_path / "b.zip")], home)
    assert report.checkpoints == [NAMES[3]] and NAMES[3] in report.same
    assert checkpoints.look(home.checkpoint_path(NAMES[3]), NAMES[3]) == 5
    checkpoint(home.checkpoint_path(NAMES[0]), NAMES[0], 3)  # one at home stays beside a record
    save_record(record(RUNS[0], suites=fewer), away)  # that came and lacks what it is for
    report = merging.merge([bundle_of(away, tmp_path / "b.zip")], Store(home.root))
    assert checkpoints.look(home.checkpoint_path(NAMES[0]), NAMES[0]) == 3


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["hostile", "truncated", "noise", "of another run"])
def test_a_bad_checkpoint_refuses_everything_and_is_never_executed(home, away, tmp_path, kind):
    path = away.checkpoint_path(NAMES[3])
    if kind == "hostile":
        torch.save({"run": NAMES[3], "history": '{"epoch": []}', "x": Evil(tmp_path / "x")}, path)
    elif kind == "of another run":
        checkpoint(path, NAMES[2], 3)
    else:
        path.write_bytes(path.read_bytes()[:400] if kind == "truncated" else b"noise" * 99)
    bundle = bundle_of(away, tmp_path / "a.zip")
    message = f"{NAMES[3]}.pt .*It came with .*a.zip; nothing was merged"
    with pytest.raises(UserError, match=message):
        merging.merge([bundle], home)
    assert not snapshot(home) and not (tmp_path / "x").exists()
