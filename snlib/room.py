"""How many runs a device does at once: as many as have a core, fit into its memory, and fill it.

One run more helps a GPU only while the others leave it idle: a step of a small net waits for the
launch of its layers, one of a large net for its arithmetic. So a GPU gets (arithmetic + launches) /
arithmetic runs, rounded up, by rates that were measured on it; a CPU gets one run a core. Runs
whose time is measured get the device for themselves, after all others.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from snlib import costs, speed
from snlib.runs import TIMED, Run

SPARE = 0.9
"""Share of the free memory that runs may take: the estimate of what they need is an estimate."""


@dataclass(frozen=True)
class Room:
    """How many runs go side by side, and what sets that number, in words."""

    workers: int
    reason: str


def room(device: str, runs: Collection[Run]) -> Room:
    """How many of these runs the device does best at once.

    Args:
        device: "cpu", "cuda" or "cuda:1".
        runs: what is to be done; the largest of them decides about memory.
    """
    found = {_cores(): "one a core"}
    if device != "cpu":
        found[_filling(device, runs)] = f"as many as keep {device} busy"
    for place in dict.fromkeys((device, "cpu")):  # what runs on a GPU is prepared on the CPU
        free = free_bytes(place)
        need = max((costs.memory(run, place) for run in runs), default=1)
        if free is not None:
            count = max(int(SPARE * free / need), 1)
            where = f"memory of {place}: {_gib(need)} a run, {_gib(free)} free"
            found.setdefault(count, where)
    workers = min(found)
    return Room(workers, found[workers])


Turns = list[tuple[Mapping[Run, frozenset[str]], Room]]


def turns(device: str, plan: Mapping[Run, frozenset[str]], workers: int | None = None) -> Turns:
    """The parts of a plan that go one after the other, and how many runs of each side by side.

    Args:
        plan: the runs in their order, and the suites to measure of each.
        workers: as many of any runs; None means what the device does best, and one by one those
            whose time is measured.
    """
    if workers is not None:
        return [(plan, Room(workers, "--workers"))]
    alone = {run: suites for run, suites in plan.items() if TIMED in suites}
    others = {run: suites for run, suites in plan.items() if run not in alone}
    found: Turns = [(others, room(device, others))] if others else []
    return [*found, (alone, Room(1, "their time is measured"))] if alone else found


def wall(parts: Turns, seconds: Callable[[Run, frozenset[str]], float]) -> float:
    """Seconds that all turns take, by those of each run and its suites alone on the device."""
    return sum(seconds(*one) / there.workers for part, there in parts for one in part.items())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _filling(device: str, runs: Collection[Run]) -> int:
    """How many runs of the middle kind keep a device busy."""
    machine = speed.calibrated(device)
    shares = [costs.seconds(run, machine) * machine.flops / costs.flops(run) for run in runs]
    return math.ceil(statistics.median(shares)) if shares else 1


def free_bytes(device: str) -> int | None:
    """Free memory of a device, None where the system does not tell."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(1024 * int(line.split()[1]))
    except OSError:
        return None
    group = Path("/sys/fs/cgroup")  # a container's own limit, if there is one
    with contextlib.suppress(OSError, ValueError):
        most, taken = (int((group / f"memory.{end}").read_text()) for end in ("max", "current"))
        limits.append(most - taken)
    return max(min(limits), 0) if limits else None


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
