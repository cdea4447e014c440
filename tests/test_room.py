"""How many runs go side by side: cores, memory and what a GPU has to do, each set by hand."""

from __future__ import annotations

import math
import time

import pytest

from snlib import costs, room, speed
from snlib.commands import budget
from snlib.costs import Machine
from snlib.runs import OF_TRAINING, Run
from snlib.speed import Speed

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


def test_runs_whose_time_is_measured_come_last_and_alone(machine):
    timed, one, other = RUNS
    plan = {timed: OF_TRAINING, one: frozenset({"accuracy"}), other: frozenset({"accuracy"})}
    (first, many), (last, alone) = room.turns("cpu", plan)
    assert list(first) == [one, other] and many == room.Room(8, "one a core")
    assert last == {timed: OF_TRAINING} and alone.workers == 1
    seconds = {timed: 5.0, one: 16.0, other: 24.0}
    assert room.wall(room.turns("cpu", plan), lambda run, suites: seconds[run]) == 5 + 2 + 3
    assert room.turns("cpu", plan, 3) == [(plan, room.Room(3, "--workers"))]  # who says how many
    assert room.turns("cpu", {}) == [] and room.wall([], lambda run, suites: 1.0) == 0


def test_a_budget_has_room_for_one_turn_after_the_other(machine):
    timed, one, other = RUNS
    plan = {timed: OF_TRAINING, one: frozenset({"accuracy"}), other: frozenset({"accuracy"})}
    known = Speed(
        "a device", dict.fromkeys(RUNS, 1000.0), dict.fromkeys(RUNS, OF_TRAINING | {"accuracy"})
    )
    for seconds, finish in ((2900, 3), (1900, 2), (1000, 0)):
        found = budget.allow(seconds, time.time(), room.turns("cpu", plan), known)
        assert found.finish == finish and set(found.least) == set(RUNS)


def test_the_largest_run_decides_about_memory(machine):
    large = Run(net="inception")
    assert costs.memory(large) > costs.memory(RUNS[0])
    machine["cpu"] = math.ceil(2 * costs.memory(large) / room.SPARE) + 1
    assert room.room("cpu", [*RUNS, large]).workers == 2


def test_free_memory_of_this_machine():
    psutil = pytest.importorskip("psutil")
    found = room.free_bytes("cpu")
    assert found is None or 0 < found <= psutil.virtual_memory().total
