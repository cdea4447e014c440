"""Safe writing and locks: kill -9, a full disk, an interrupt, a second process."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_results import record_of

from snlib import files
from snlib.errors import UserError
from snlib.files import write_atomically
from snlib.results import Store, load_record, lock, save_record
from snlib.runs import Run


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


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
    """Start a script that imports a room of snlib without the torch of `snlib/__init__.py`."""
    light = (
        "import sys, types; package = types.ModuleType('snlib'); "
        f"package.__path__ = [{str(Path(files.__file__).parent)!r}]; "
        "sys.modules['snlib'] = package\n"
    )
    command = [sys.executable, "-c", light + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


WRITER = """
import sys
from pathlib import Path
from snlib.files import write_atomically
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
    files.sweep(path)
    assert os.listdir(tmp_path) == ["a.json"]


def test_sweep_takes_leftovers_of_one_file_alone(tmp_path):
    for name in (".a.json.x1.tmp", ".b.json.x2.tmp", "a.json"):
        (tmp_path / name).write_text("")
    files.sweep(tmp_path / "a.json")
    assert sorted(os.listdir(tmp_path)) == [".b.json.x2.tmp", "a.json"]


FILLING = """
import sys, time
from pathlib import Path
from snlib.files import written_atomically
with written_atomically(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_another_process_fills_is_not_swept_away_until_it_is_killed(tmp_path):
    path = tmp_path / "a.zip"
    process = lightly(FILLING, path)
    try:
        assert process.stdout.readline() == b"ready\n"
        files.sweep(path)
        (left,) = os.listdir(tmp_path)
        assert left.startswith(".a.zip.")
        with files.written_atomically(path) as mine:  # nor what this one fills
            mine.write_text("whole")
            files.sweep(path)
        assert path.read_text() == "whole" and len(os.listdir(tmp_path)) == 2
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    files.sweep(path)
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_disk_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    write_atomically(tmp_path / "a.json", b"new")
    assert os.listdir(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_bytes() == b"new"


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


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks on Windows")
def test_who_asks_whether_a_lock_is_held_does_not_hold_it(store):
    path = store.work / "a.lock"
    assert not files.locked(path) and not path.exists()  # asking makes no file
    with lock(store, "a"):
        assert files.locked(path) and files.locked(path)
    assert path.exists() and not files.locked(path)
    with lock(store, "a") as alone:
        assert alone
