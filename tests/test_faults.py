"""kill -9 at any moment, and two processes at once: nothing lost, nothing double, nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_experiment
from tiny_experiment import STEADY

from snlib import tables
from snlib.results import Store, load_record

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork and signals")

RUNS = STEADY.at("quick")

# One process imports everything once and forks a worker for each line that it reads; a worker
# does what the workers of a pool do, but writes a checkpoint after every epoch.
NURSERY = r"""
import functools, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from snlib import measurements, training, worker
from snlib.results import Store
from tiny_experiment import STEADY

fit = training.fit
def noted(run, *arguments, **options):
    with open(log, "a") as stream:
        stream.write(run.name + "\n")
    return fit(run, *arguments, **{**options, "checkpoint_seconds": 0.0})
training.fit = noted
for run in STEADY.at("quick"):
    worker.load_data(run)
print("ready", flush=True)
for line in sys.stdin:
    store, log = line.split()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for run in STEADY.at("quick"):
                worker.work_alone(run, STEADY.suites, Store(Path(store)), "cpu", None, None)
            status = 0
        finally:
            os._exit(status)
    print(child, flush=True)
"""


class Nursery:
    """Starts workers within a millisecond."""

    def __init__(self) -> None:
        paths = [str(Path(__file__).parent), *filter(None, sys.path)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def start(self, store: Path, log: Path) -> int:
        self.process.stdin.write(f"{store} {log}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def nursery():
    one = Nursery()
    yield one
    one.close()


def running(pid: int) -> bool:
    psutil = pytest.importorskip("psutil")
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def finish(pid: int) -> None:
    deadline = time.monotonic() + 100
    while running(pid):
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.01)


def content(store: Store) -> dict[str, dict]:
    """Every record without its provenance and without the wall times that it holds."""
    records = {run.name: load_record(run.name, store) for run in RUNS}
    for record in records.values():
        assert record is not None
        record.pop("provenance")
    return records


@pytest.fixture(scope="module")
def undisturbed(nursery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    begun = time.monotonic()
    finish(nursery.start(folder / "store", folder / "log"))
    seconds = time.monotonic() - begun
    assert (folder / "log").read_text().split() == [run.name for run in RUNS]
    return content(Store(folder / "store")), seconds


def whole_or_absent(store: Store) -> int:
    """How many records there are; each must be readable."""
    return sum(load_record(run.name, store) is not None for run in RUNS)


def test_killed_again_and_again_and_still_the_same_records(nursery, undisturbed, tmp_path):
    expected, seconds = undisturbed
    delays, kills, counts = random.Random(0), 0, []
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    while kills < 60 and whole_or_absent(store) < len(RUNS):
        pid = nursery.start(store.root, log)
        time.sleep(delays.uniform(0.0, seconds / 6))
        if running(pid):
            os.kill(pid, signal.SIGKILL)
            kills += 1
        finish(pid)
        counts.append(whole_or_absent(store))
    assert counts == sorted(counts)  # a record once there stays
    assert kills >= 4
    finish(nursery.start(store.root, log))
    assert content(store) == expected
    assert not list(store.work.glob("*.pt")) and not list(store.root.rglob("*.tmp"))


def test_two_at_once_compute_each_record_once(nursery, undisturbed, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    for pid in [nursery.start(store.root, log) for _ in range(3)]:
        finish(pid)
    assert sorted(log.read_text().split()) == sorted(run.name for run in RUNS)
    assert content(store) == undisturbed[0]


def test_one_killed_beside_another_that_waits(nursery, undisturbed, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    first = nursery.start(store.root, log)
    second = nursery.start(store.root, log)
    time.sleep(undisturbed[1] / 3)
    os.kill(first, signal.SIGKILL)
    finish(first)
    finish(second)
    assert content(store) == undisturbed[0]


@pytest.mark.parametrize(
    ("victim", "number"),
    [("command", signal.SIGKILL), ("worker", signal.SIGKILL), ("worker", signal.SIGSEGV)],
)
def test_the_command_line_survives_a_sudden_end(nursery, undisturbed, tmp_path, victim, number):
    psutil = pytest.importorskip("psutil")
    process = tiny_experiment.start("run", "steady", "--store", tmp_path, "--workers", "1")
    store, parent = Store(tmp_path), psutil.Process(process.pid)
    deadline = time.monotonic() + 90
    while not list(store.work.glob("*.lock")):  # a worker is at work
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    children = parent.children()
    if victim == "command":
        process.send_signal(number)
    else:
        for child in children:
            if "spawn_main" in " ".join(child.cmdline()):
                child.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert not psutil.wait_procs(children, timeout=30)[1]  # nothing is left running
    if victim == "worker":
        assert process.returncode == 2 and "Traceback" not in err
        killed = number == signal.SIGKILL
        assert ("a worker process was killed from outside" in err and "--workers" in err) == killed
        assert ("a worker process crashed (SIGSEGV)" in err) != killed
    assert whole_or_absent(store) < len(RUNS)
    finish(nursery.start(store.root, tmp_path / "log"))
    assert content(store) == undisturbed[0]
    assert not list(store.root.rglob("*.tmp"))


def test_tables_of_a_store_agree_with_its_records(nursery, tmp_path, monkeypatch):
    from snlib import experiments

    monkeypatch.setitem(experiments.EXPERIMENTS, "steady", STEADY)
    store = Store(tmp_path / "store")
    pid = nursery.start(store.root, tmp_path / "log")
    while running(pid):  # written at any moment, a table is one of the records there
        tables.write("steady", "quick", store)
        time.sleep(0.05)
    tables.write("steady", "quick", store)
    assert tables.verify(store) == []
    assert '"done": 4' in tables.make("steady", "quick", store)
