"""Records: whole or absent, never lost, falsified or mistaken for another's."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snlib import results
from snlib.errors import UserError
from snlib.results import Store, load_record, lock, name_of, save_record, write_atomically
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


# ------------------------------------------------------------------------------------ safe writing


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(UserError, match=r"no space left for a\.json .*Free some space"):
                write_atomically(path, b"new")
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.json"]
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", full)
        with pytest.raises(UserError, match="no space left"):
            write_atomically(path, b"new")
    with monkeypatch.context() as patch:  # what is no full disk is not called one
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(OSError, match="broken"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.json"]


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.json"]


def lightly(script: str, *arguments: object) -> subprocess.Popen:
    """Start a script that imports `snlib.results` without the torch of `snlib/__init__.py`."""
    light = (
        "import sys, types; package = types.ModuleType('snlib'); "
        f"package.__path__ = [{str(Path(results.__file__).parent)!r}]; "
        "sys.modules['snlib'] = package\n"
    )
    command = [sys.executable, "-c", light + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


WRITER = """
import sys
from pathlib import Path
from snlib.results import write_atomically
path = Path(sys.argv[1])
write_atomically(path, b"0" * 200_000)
print("ready", flush=True)
for turn in range(10**9):
    write_atomically(path, str(turn % 10).encode() * 200_000)
"""


def test_kill_9_while_writing_leaves_one_whole_file(tmp_path):
    path = tmp_path / "a.json"
    delays = random.Random(0)
    for _ in range(5):
        process = lightly(WRITER, path)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delays.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        content = path.read_bytes()
        assert len(content) == 200_000 and len(set(content)) == 1
    results.sweep(path)
    assert os.listdir(tmp_path) == ["a.json"]


def test_sweep_takes_leftovers_of_one_file_alone(tmp_path):
    for name in (".a.json.x1.tmp", ".b.json.x2.tmp", "a.json"):
        (tmp_path / name).write_text("")
    results.sweep(tmp_path / "a.json")
    assert sorted(os.listdir(tmp_path)) == [".b.json.x2.tmp", "a.json"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_what_was_finished(small_disk):
    store = Store(small_disk)
    first, second = Run(seed=0), Run(seed=1)
    save_record(record_of(first), store)
    large = record_of(second, padding="x" * 100_000)
    with pytest.raises(UserError, match=f"no space left for {second.name}.json"):
        save_record(large, store)
    assert load_record(first.name, store)["settings"]["seed"] == 0
    assert load_record(second.name, store) is None
    assert os.listdir(store.records) == [f"{first.name}.json"]
    save_record(record_of(second), store)  # the space of the failed attempt is free again
    assert load_record(second.name, store) is not None


# ------------------------------------------------------------------------------------------- locks


HOLDER = """
import sys, time
from pathlib import Path
from snlib.results import Store, lock
with lock(Store(Path(sys.argv[1])), "a") as alone:
    print(alone, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks on Windows")
def test_kill_9_frees_a_lock(store):
    process = lightly(HOLDER, store.root)
    assert process.stdout.readline() == b"True\n"
    with lock(store, "a") as alone:
        assert not alone
    with lock(store, "b") as alone:
        assert alone
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(2):  # leaving the block frees it too
        with lock(store, "a") as alone:
            assert alone


# ------------------------------------------------------------------------------------------ stores


def test_stores_by_name_and_path(tmp_path):
    assert results.store("recorded").root == results.ROOT / "data" / "results"
    assert results.store("workbook").root == results.ROOT / "build" / "results"
    assert results.store(tmp_path).root == results.store(str(tmp_path)).root == tmp_path
    assert results.store(Store(tmp_path)) == Store(tmp_path)
    assert Store(tmp_path).table_path("gap", "paper@mnist").name == "gap.paper@mnist.csv"
