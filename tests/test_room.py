"""How many runs go side by side: cores, memory and what a GPU has to do, each set by hand."""

from __future__ import annotations

import math

import pytest

from snlib import costs, room, speed
from snlib.costs import Machine
from snlib.runs import Run

GIB = 2**30
RUNS = [Run(seed=seed) for seed in range(3)]


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, and memory and rates that a test sets."""
    free = {"cpu": 1000 * GIB, "cuda": 1000 * GIB}
    rates = Machine("by hand", flops=20e12, launch=5e-5)
    monkeypatch.setattr(room, "_cores", lambda: 8)
    monkeypatch.setattr(room, "free_bytes", free.get)
    monkeypatch.setattr(speed, "calibrated", lambda device: rates)
    return free


def test_a_cpu_has_one_run_a_core(machine):
    assert room.room("cpu", RUNS) == room.Room(8, "one a core")


def test_memory_sets_a_limit_and_one_run_is_always_tried(machine):
    need = costs.memory(RUNS[0])
    machine["cpu"] = math.ceil(3 * need / room.SPARE) + 1
    found = room.room("cpu", RUNS)
    assert found.workers == 3 and found.reason.startswith("memory of cpu: ")
    machine["cpu"] = 1
    assert room.room("cpu", RUNS).workers == 1
    machine["cpu"] = None  # a system that does not tell
    assert room.room("cpu", RUNS).workers == 8


def test_a_gpu_has_as_many_as_keep_it_busy(machine):
    large = [Run(scheme="pgm")]
    arithmetic = costs.flops(large[0]) / 20e12
    assert room.room("cuda", large).workers == math.ceil(
        costs.seconds(large[0], speed.calibrated("cuda")) / arithmetic
    )
    assert room.room("cuda", large).workers == 2
    small = [Run(data="digits", net="mlp1", width=0.1, train_size=200)]
    assert room.room("cuda", small) == room.Room(8, "one a core")  # waits for launches alone
    machine["cuda"] = 2.5 * costs.memory(small[0], "cuda")
    assert room.room("cuda", small).workers == 2
    machine["cpu"] = 1.2 * costs.memory(small[0], "cpu")
    assert room.room("cuda", small).reason.startswith("memory of cpu: ")


def test_the_largest_run_decides_about_memory(machine):
    large = Run(net="inception")
    assert costs.memory(large) > costs.memory(RUNS[0])
    machine["cpu"] = math.ceil(2 * costs.memory(large) / room.SPARE) + 1
    assert room.room("cpu", [*RUNS, large]).workers == 2


def test_free_memory_of_this_machine():
    psutil = pytest.importorskip("psutil")
    found = room.free_bytes("cpu")
    assert found is None or 0 < found <= psutil.virtual_memory().total
