"""The same plan on a Ray cluster: Ray places the runs, the command at home keeps the records.

Ray is the engine: it queues tasks, gives each its GPU share or its core, and starts the runs of a
lost worker or node again. What is ours is small:

* Only the driver, the command that was given, writes. A task returns its record, and the driver
  saves it as at home, under the run's lock, so that none is lost and none comes twice.
* Data sets are loaded once, by the driver, and shipped through Ray's object store, one copy a node.
  So nodes need no data, and every one of them sees the same bits.
* Progress and checkpoints travel through one small actor, the mailbox, to the driver, who keeps the
  checkpoints where it would at home. A run that is started again asks for its own there; no disk
  need be shared. If the mailbox is lost too, the run starts afresh: the record is the same.
* Every node is asked which snlib and torch it has before it gets work, and every task again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from snlib import runner, worker
from snlib.cluster import connection, versions
from snlib.cluster.driver import Driver
from snlib.errors import one_of, require
from snlib.results import Store
from snlib.runner import Outcome, Plan
from snlib.runs import Run

GPU_SHARE = 0.25
"""Of a GPU for one run: four side by side, as at home, since one small net does not fill it."""


def execute(
    plan: Plan,
    where: Store,
    *,
    address: str,
    device: str = "cpu",
    gpu_share: float | None = None,
    workers: int | None = None,
    data_root: Path | None = None,
    deadline: float | None = None,
    least: Mapping[Run, float] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    on_done: Callable[[Run, str], None] | None = None,
) -> Outcome:
    """Train and measure every missing run of a plan on a Ray cluster; see `runner.execute`.

    All runs share nodes and GPUs, those of `runtimes` too: times worth comparing are taken at home.

    Args:
        plan, where, data_root, deadline, least, on_progress, on_done: as at home; the data sets are
            those of this machine.
        address: "ray" starts a cluster of this machine alone; "auto" is the one that runs here;
            "HOST:PORT" one that this machine is a node of; "ray://HOST:PORT" one elsewhere.
        device: "cpu": each run takes one core; "cuda": each run takes a share of a GPU.
        gpu_share: that share, above 0 and at most 1; None means a quarter.
        workers: runs side by side, at most; None means as many as the cluster has room for.

    Raises:
        UserError: no Ray, no cluster at the address, none with room for a run, another snlib or
            torch on a node, data that can be had for no run, no space left.
    """
    one_of("device", device, ("cpu", "cuda"))
    require(
        gpu_share is None or device == "cuda",
        f"--gpu-share is {gpu_share} for --device {device}; it goes with --device cuda.",
    )
    share = GPU_SHARE if gpu_share is None else gpu_share
    require(0 < share <= 1, f"--gpu-share is {share}; it must be above 0 and at most 1.")
    require(workers is None or workers >= 1, f"workers is {workers}; it must be an integer >= 1.")
    todo, outcome = worker.missing(plan, where), Outcome()
    lacking = runner.without_data(todo, data_root)  # known before anything is started
    todo = runner.left_with_data(plan, todo, lacking, outcome, on_done)
    if not todo:
        return outcome
    needs = {"num_cpus": 1} | ({"num_gpus": share} if device == "cuda" else {})
    with connection.connected(address, workers) as ray:
        versions.check(ray)
        connection.check_room(ray, needs)
        driver = Driver(ray, where, outcome, needs, device=device, data_root=data_root)
        driver.listeners = (on_progress, on_done)
        driver.carry_out(todo, workers=workers, deadline=deadline, least=least)
    return outcome
