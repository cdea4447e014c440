"""Records: whole or absent, never lost, falsified or mistaken for another's."""

from __future__ import annotations

import hashlib
import json
import math
import random
from pathlib import Path

import pytest

from snlib import results, tables
from snlib.errors import UserError
from snlib.results import Store, load_record, name_of, save_record
from snlib.runs import Run


def record_of(run: Run, **changes) -> dict:
    rows = {
        "suite": ["accuracy", "accuracy", "history"],
        "split": ["test", "train", "train"],
        "attack": ["none", "training", ""],
        "quantity": ["accuracy", "accuracy", "loss"],
        "x": [math.nan, math.nan, 1.0],
        "value": [0.1234567891, math.inf, math.nan],
    }
    about = {"data": "digits", "device": "CPU", "software": "Python", "commit": "abc"}
    about |= {"seconds": 3.6, "finished": "2026-11-22"}
    return {
        "settings": run.settings(), "diverged": False, "suites": ["accuracy", "history"],
        "rows": rows, "provenance": about, "mean_norm": 3.0,
    } | changes  # fmt: skip


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_a_record_comes_back(store):
    run = Run(scheme="fgm", beta=math.inf, eps=1 / 3, learning_rate=0.1 + 0.2)
    path = save_record(record_of(run), store)
    assert path == store.record_path(run.name)
    back = load_record(run.name, store)
    assert Run.from_settings(back["settings"]) == run  # 1/3 to the last bit, inf, None
    for column, entries in record_of(run)["rows"].items():
        if column not in ("x", "value"):
            assert back["rows"][column] == entries
    values = [results.restore(value) for value in back["rows"]["value"]]
    assert values[0] == 0.1234568 and values[1] == math.inf and math.isnan(values[2])
    assert load_record("0" * 16, store) is None
    json.loads(path.read_text(), parse_constant=pytest.fail)  # no bare NaN or Infinity


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.1, 3, "pgm", None, True])
def test_plain_and_restore_are_inverse(value):
    back = results.restore(json.loads(json.dumps(results.plain(value), allow_nan=False)))
    assert type(back) is type(value)
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_the_name_knows_no_order():
    settings = Run(scheme="pgm", beta=1.3).settings()
    items = list(settings.items())
    for seed in range(5):
        random.Random(seed).shuffle(items)
        assert name_of(dict(items)) == Run(scheme="pgm", beta=1.3).name
    assert name_of({"beta": math.inf}) != name_of({"beta": 1e308})


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    record = json.loads(content)
    if kind == "edited":
        record["settings"]["beta"] = 1.6
    elif kind == "uneven":
        record["rows"][0]["value"].pop()
    elif kind == "lacking":
        del record["suites"]
    new = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "zeros": bytes(len(content)),
        "binary": b"\xff\xfe" + content,
        "list": b"[]",
        "null": b"null",
        "no rows": b'{"settings": {}, "rows": 3, "provenance": {}}',
    }.get(kind, json.dumps(record).encode())
    path.write_bytes(new)


@pytest.mark.parametrize(
    "kind",
    ["truncated", "empty", "zeros", "binary", "list", "null", "no rows", "uneven", "lacking"],
)
def test_a_damaged_record_is_refused_by_name(store, kind):
    run = Run(beta=1.3)
    damage(save_record(record_of(run), store), kind)
    with pytest.raises(UserError, match=f"{run.name}.json is damaged.*Delete .* again") as refused:
        load_record(run.name, store)
    assert "\n" not in str(refused.value)


def test_a_record_of_other_settings_is_refused(store):
    run = Run(beta=1.3)
    damage(save_record(record_of(run), store), "edited")
    other = Run(beta=1.6).name
    with pytest.raises(UserError, match=f"{run.name}.json was made by other settings.*{other}"):
        load_record(run.name, store)


def test_a_record_is_refused_under_another_name(store):
    path = save_record(record_of(Run(beta=1.3)), store)
    path.rename(store.record_path(Run().name))
    with pytest.raises(UserError, match="made by other settings"):
        load_record(Run().name, store)


# ----------------------------------------------------------------------------------------- seals


def by_hand(path: Path, edit) -> None:
    """Change a record as a person with an editor would: the seal stays as it was."""
    stored = json.loads(path.read_text())
    edit(stored)
    path.write_text(json.dumps(stored))


EDITS = {
    "a row's value": lambda stored: stored["rows"][0]["value"].__setitem__(0, 0.9),
    "a row's name": lambda stored: stored["rows"][0].__setitem__("split", "train"),
    "diverged": lambda stored: stored.__setitem__("diverged", True),
    "device": lambda stored: stored["provenance"].__setitem__("device", "GPU"),
    "something added": lambda stored: stored.__setitem__("note", "none"),
    "another seal": lambda stored: stored.__setitem__(results.SEAL, "0" * 64),
    "no text as seal": lambda stored: stored.__setitem__(results.SEAL, 7),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_record_changed_by_hand_is_caught(store, edit):
    path = save_record(record_of(Run(beta=1.3)), store)
    by_hand(path, edit)
    with pytest.raises(UserError, match=r"was changed after it was written \(its checksum differs"):
        load_record(path.stem, store)
    (line,) = tables.verify(store)
    assert path.name in line


def test_the_seal_is_of_the_content_not_of_its_spelling(store):
    path = save_record(record_of(Run(beta=1.3)), store)
    stored, loaded = json.loads(path.read_text()), load_record(path.stem, store)
    seal = stored.pop(results.SEAL)
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))  # written down here again
    assert seal == hashlib.sha256(text.encode()).hexdigest() and results.SEAL not in loaded
    path.write_text(json.dumps(dict(reversed(stored.items())) | {results.SEAL: seal}, indent=2))
    assert load_record(path.stem, store)["provenance"] == loaded["provenance"]


def test_a_record_from_before_seals_still_loads_and_is_named(store):
    old, new = (save_record(record_of(Run(seed=seed)), store) for seed in range(2))
    by_hand(old, lambda stored: stored.pop(results.SEAL))
    assert load_record(old.stem, store)["settings"]["seed"] == 0
    assert tables.verify(store) == [] and results.unsealed(store) == [old.stem]
    save_record(load_record(old.stem, store), store)  # saved again, it is sealed
    assert results.unsealed(store) == [] and new.exists()


# ------------------------------------------------------------------------------------------ stores


def test_a_file_is_no_store_and_a_new_folder_is_one(tmp_path):
    file = tmp_path / "notes"
    file.write_text("text")
    for place in (file, str(file), file / "deeper"):
        with pytest.raises(UserError, match=r"store is .*notes.* is a file. Allowed: recorded"):
            results.store(place)
    assert results.store(tmp_path / "new" / "deeper").root == tmp_path / "new" / "deeper"
    assert not (tmp_path / "new").exists()


def test_stores_by_name_and_path(tmp_path):
    assert results.store("recorded").root == results.ROOT / "data" / "results"
    assert results.store("workbook").root == results.ROOT / "build" / "results"
    assert results.store(tmp_path).root == results.store(str(tmp_path)).root == tmp_path
    assert results.store(Store(tmp_path)) == Store(tmp_path)
    assert Store(tmp_path).table_path("gap", "paper@mnist").name == "gap.paper@mnist.csv"
