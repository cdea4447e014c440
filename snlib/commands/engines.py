"""Where a plan is carried out: on this machine, on a Ray cluster, or by torchrun's processes."""

from __future__ import annotations

import argparse
import os

from snlib import journal, runner
from snlib.errors import require
from snlib.results import Store


def add(run: argparse.ArgumentParser) -> None:
    """Declare the options."""
    run.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="on Ray: ray (a cluster of this machine), auto (the one that runs here), HOST:PORT "
        "or ray://HOST:PORT",
    )
    run.add_argument(
        "--gpu-share", type=float, help="of a GPU for each run on a cluster (default 0.25)"
    )
    run.add_argument(
        "--capture",
        action="store_true",
        help="on a GPU: record each training step once and replay it as a CUDA graph",
    )
    run.add_argument(
        "--keep-nets",
        action="store_true",
        help="keep each trained net beside its record, to measure more of it without training",
    )
    run.add_argument(
        "--parallel",
        choices=["data"],
        help="one run at a time, each batch shared out to the processes that torchrun started",
    )


def speaks(options: argparse.Namespace) -> bool:
    """Whether this process shows progress and writes tables: of torchrun's, only the first."""
    return not options.parallel or os.environ.get("RANK", "0") == "0"


def execute(
    options: argparse.Namespace, plan: runner.Plan, where: Store, **common: object
) -> runner.Outcome:
    """Carry out a plan where the options say.

    Args:
        common: deadline, least, on_progress and on_done, as `runner.execute` takes them.

    Raises:
        UserError: options that exclude each other; whatever the engine refuses.
    """
    if speaks(options):
        notes = journal.Journal(where, common.get("on_progress"), common.get("on_done"))
        common |= {"on_progress": notes.progress, "on_done": notes.done}
    common |= {"data_root": options.data_root}
    require(
        options.gpu_share is None or options.cluster is not None,
        "--gpu-share goes with --cluster; at home --workers says how many runs share a GPU.",
    )
    require(
        options.cluster is None or options.parallel is None,
        "--cluster and --parallel exclude each other: many runs side by side, or one over GPUs.",
    )
    for name in ("capture", "keep_nets"):
        require(
            not getattr(options, name) or (options.cluster is None and options.parallel is None),
            f"--{name.replace('_', '-')} goes with runs at home alone, not with --cluster or "
            "--parallel.",
        )
    if options.parallel is not None:
        from snlib import parallel, team

        require(
            options.workers is None,
            "--workers and --parallel exclude each other; torchrun --nproc-per-node says how many.",
        )
        with team.joined(options.device) as together:
            return parallel.execute(plan, where, together, **common)
    require(
        os.environ.get("WORLD_SIZE", "1") == "1" or "TORCHELASTIC_RUN_ID" not in os.environ,
        "torchrun started several processes; add --parallel data, or leave torchrun out.",
    )
    common |= {"device": options.device, "workers": options.workers}
    if options.cluster is None:
        common |= {"capture": options.capture, "keep_nets": options.keep_nets}
        return runner.execute(plan, where, **common)
    from snlib import cluster

    return cluster.execute(
        plan, where, address=options.cluster, gpu_share=options.gpu_share, **common
    )
