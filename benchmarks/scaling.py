"""How a plan of many runs scales: measured with one and two workers, simulated beyond.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py --repeats 3

Measured: the wall time of plans of 2 and of 6 short runs (a two-layer perceptron on digits),
by the plain runner and on a Ray cluster of this machine that is there already, with one worker and
with two; and how long such a cluster takes to come up.
A plan of n runs on w workers takes start + n / w (t + overhead), where t is what a run itself
computes, as its record says: the difference of the two plans gives the overhead of a run, the rest
is the start. The fastest of the repeats, contestants in a random order: whatever else a machine
does can only make a plan longer.

Simulated: the first 1,000 runs of scale paper in order of priority, on 1 to 64 GPUs, by
`snlib.costs.seconds` on one H200 (assumed rates, not measured), four runs a GPU. While they share
it, a run takes as long as alone or as its arithmetic times four, whichever is longer. Ray ends the
process of a GPU task with its run, so that each pays the start of a process besides the overhead;
the driver handles one result after another. The price of a GPU hour is an assumption (`--price`).
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import recording

from snlib import cluster, costs, experiments, priority, results, runner, worker
from snlib.cluster import connection
from snlib.results import Store
from snlib.runs import Run

SUITES = frozenset({"history", "accuracy", "spectrum"})
SHORT, LONG = 2, 6
"""Runs of the two plans that are timed."""

SHARE = 4
"""Runs that share a GPU, the default of --gpu-share."""

HANDLING = 0.1
"""Seconds that the driver is assumed to need for one result: it writes records one by one."""

GPUS = (1, 2, 4, 8, 16, 32, 64)
RUNS = 1000


@dataclass(frozen=True)
class Timed:
    """What one engine with one number of workers took, in seconds.

    Attributes:
        short, long: wall time of the two plans.
        own_short, own_long: what a run of each plan itself computed, the mean of its records: on a
            busy machine not the same in both.
        workers: side by side.
    """

    short: float
    own_short: float
    long: float
    own_long: float
    workers: int

    @property
    def overhead(self) -> float:
        """Of a run, beside what it computes itself."""
        rest_long = self.long - LONG / self.workers * self.own_long
        rest_short = self.short - SHORT / self.workers * self.own_short
        return (rest_long - rest_short) * self.workers / (LONG - SHORT)

    @property
    def start(self) -> float:
        """Before the first run and after the last."""
        return self.short - SHORT / self.workers * (self.own_short + self.overhead)


def plan(count: int) -> dict[Run, frozenset[str]]:
    """Short runs that differ in their seed alone."""
    settings = dict(data="digits", train_size=200, net="mlp1", width=0.25, batch_size=50)
    return {
        Run(**settings, scheme="fgm", beta=1.6, epochs=20, stop_accuracy=2.0, seed=seed): SUITES
        for seed in range(count)
    }


@contextlib.contextmanager
def ray_cluster() -> Iterator[tuple[str, float]]:
    """A Ray cluster of one node with two cores: its address, and the seconds of its start."""
    for name, value in (connection.QUIET | connection.HERE).items():
        os.environ.setdefault(name, value)
    from ray.cluster_utils import Cluster

    node = dict(num_cpus=2, include_dashboard=False)
    for left in reversed(range(2 * connection.TRIES)):
        begun = time.monotonic()
        try:
            one = Cluster(initialize_head=True, head_node_args=node)
            break
        except Exception as error:  # see `connection.LATE`
            if not left or connection.LATE not in str(error):
                raise
    try:
        yield one.address, time.monotonic() - begun
    finally:
        one.shutdown()


def timed(engine: str, workers: int, count: int, address: str | None) -> tuple[float, float]:
    """Wall seconds of a plan, and the mean of what its runs themselves computed."""
    with tempfile.TemporaryDirectory() as folder:
        where, runs = Store(Path(folder)), plan(count)
        begun = time.monotonic()
        if engine == "ray":
            outcome = cluster.execute(runs, where, address=address, workers=workers)
        else:
            outcome = runner.execute(runs, where, workers=workers)
        wall = time.monotonic() - begun
        if len(outcome.done) != count:
            raise SystemExit(f"{engine}: {len(outcome.done)} of {count} runs: {outcome.failed}")
        own = [results.load_record(run.name, where)["provenance"]["seconds"] for run in runs]
    return wall, statistics.mean(own)


def measure(repeats: int, address: str | None) -> dict[tuple[str, int], Timed]:
    """Each engine with one and two workers, of each plan the fastest of the repeats.

    Args:
        repeats: of each plan.
        address: of a Ray cluster; None leaves Ray out.
    """
    engines = ("runner",) if address is None else ("runner", "ray")
    turns = [
        (engine, workers, count)
        for engine in engines
        for workers in (1, 2)
        for count in (SHORT, LONG)
    ]
    taken: dict[tuple, list[tuple[float, float]]] = {turn: [] for turn in turns}
    order, shuffle = list(turns), random.Random(0)
    for _ in range(repeats):
        shuffle.shuffle(order)
        for turn in order:
            wall, own = timed(*turn, address)
            print(f"{turn}: {wall:.1f} s, a run itself {own:.2f} s", file=sys.stderr)
            taken[turn].append((wall, own))
    return {
        (engine, workers): Timed(
            *min(taken[engine, workers, SHORT]), *min(taken[engine, workers, LONG]), workers
        )
        for engine in engines
        for workers in (1, 2)
    }


def process_start() -> float:
    """Seconds that a fresh process takes to import what a run needs."""
    begun = time.monotonic()
    code = "import snlib.training, snlib.measurements, snlib.datasets"
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - begun


def simulate(
    seconds: Sequence[float], slots: int, *, start: float, overhead: float, handling: float
) -> float:
    """When the last of these runs is home, given to the first free slot in their order.

    Args:
        seconds: of each run, once it computes.
        slots: runs side by side.
        start: before the first run.
        overhead: of each run, in its slot.
        handling: of each result, by the one driver; results wait for each other.
    """
    free, driver, finished = [start] * min(slots, len(seconds)), start, []
    for one in seconds:
        end = heapq.heappop(free) + overhead + one
        heapq.heappush(free, end)
        finished.append(end)
    for end in sorted(finished):
        driver = max(driver, end) + handling
    return driver


def shared(run: Run, share: int = SHARE) -> float:
    """Seconds of a run that shares a GPU with as many others as `share` allows."""
    arithmetic = costs.flops(run) / costs.GPU.flops
    return max(costs.seconds(run, costs.GPU), share * arithmetic)


def first_runs(count: int) -> list[Run]:
    """The first runs of scale paper, in the order in which `run all` takes them."""
    names = [name for name, one in experiments.EXPERIMENTS.items() if "paper" in one.scales]
    whole = priority.ordered(experiments.plan(names, "paper"), "paper")
    return list(whole)[:count]


def measured_rows(found: dict[tuple[str, int], Timed]) -> list[dict]:
    """Print what was measured, and the same as rows."""
    rows = []
    names = ["engine", "workers", f"{SHORT} runs s", "a run s", f"{LONG} runs s", "a run s"]
    names += ["overhead a run s", "start s"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for (engine, workers), one in found.items():
        print(
            f"| {engine} | {workers} | {one.short:.1f} | {one.own_short:.1f} | {one.long:.1f} | "
            f"{one.own_long:.1f} | {one.overhead:.1f} | {one.start:.1f} |"
        )
        where = recording.setting(workers=workers, runs=LONG)
        for quantity, value in (
            ("wall seconds", one.long), ("run seconds", one.own_long),
            ("overhead a run", one.overhead), ("start", one.start),
        ):  # fmt: skip
            rows.append(recording.row(engine, where, quantity, value))
    return rows


def simulated_rows(start: float, overhead: float, price: float) -> list[dict]:
    """Print hours and cost on paper, and the same as rows."""
    runs = first_runs(RUNS)
    alone = sum(costs.seconds(run, costs.GPU) for run in runs)
    seconds = [shared(run) for run in runs]
    print(f"\n{len(runs)} runs of scale paper, {alone / 3600:.0f} hours of one GPU if alone on it;")
    print(f"longest {max(seconds) / 3600:.1f} h; {overhead:.1f} s overhead; {price:g} a GPU hour\n")
    print("| GPUs | hours | GPU hours | cost | share of the time computed |\n|---|---|---|---|---|")
    rows, one = [], None
    costly = dict(start=start, overhead=overhead, handling=HANDLING)
    for gpus in GPUS:
        hours = simulate(seconds, SHARE * gpus, **costly) / 3600
        one = one or hours
        busy = one / (gpus * hours)
        print(f"| {gpus} | {hours:.1f} | {gpus * hours:.0f} | {price * gpus * hours:.0f} | "
              f"{busy:.2f} |")  # fmt: skip
        where = recording.setting(gpus=gpus, runs=len(runs), share=SHARE, price=price)
        for quantity, value in (
            ("hours", hours), ("gpu hours", gpus * hours), ("cost", price * gpus * hours),
            ("efficiency", busy),
        ):  # fmt: skip
            rows.append(recording.row("simulated", where, quantity, value))
    return rows


def timed_plans(repeats: int, *, ray: bool) -> tuple[list[dict], float, float]:
    """Time the plans and print; returns rows, and seconds of the start and of a run's overhead."""
    worker.load_data(next(iter(plan(1))))
    rows, cluster_start = [], 0.0
    if ray:
        with ray_cluster() as (address, cluster_start):
            found = measure(repeats, address)
        where = recording.setting(nodes=1)
        rows.append(recording.row("ray", where, "cluster start", cluster_start))
    else:
        found = measure(repeats, None)
    one = found["ray" if ray else "runner", 2]
    rows += measured_rows(found)
    return rows, cluster_start + max(one.start, 0.0), max(one.overhead, 0.0)


def main() -> None:
    """Measure, simulate, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--price", type=float, default=3.0, help="of a GPU hour (assumed)")
    parser.add_argument("--no-ray", action="store_true", help="time the plain runner alone")
    parser.add_argument("--simulate", action="store_true", help="time no plan, only a process")
    parser.add_argument("--record", action="store_true", help="write to data/results/benchmarks")
    options = parser.parse_args()
    rows, start, overhead = [], 0.0, 0.0
    if not options.simulate:
        rows, start, overhead = timed_plans(options.repeats, ray=not options.no_ray)
    process = process_start()
    print(f"\na fresh process has imported what a run needs after {process:.1f} s")
    rows.append(recording.row("process", recording.setting(workers=1), "start", process))
    rows += simulated_rows(start + process, overhead + process, options.price)
    rivals = () if options.no_ray or options.simulate else ("ray",)
    print(recording.write("scaling", rows, rivals, recording.folder(options.record)))


if __name__ == "__main__":
    main()
