"""To a Ray cluster and away from it, with one plain line for everything that can go wrong."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from types import ModuleType

from snlib.errors import UserError, require

PATIENCE = 10.0
"""Seconds within which a cluster's port must answer."""

TRIES, LATE = 3, "timed out during startup"
"""How often a cluster is started here, and what Ray says of one that did not come up. On a busy
machine a node's agent may take longer than 15 s to tell its ports, which ends the node and which no
setting prolongs (ray-project/ray issue 65983)."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # No warning about what this will mean to future versions; tasks without a GPU see none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


HERE = {
    "RAY_worker_niceness": "0",  # Ray's 15 starves beside other work
    "RAY_raylet_start_wait_time_s": "60",  # a busy machine takes longer than Ray waits
    "RAY_agent_register_timeout_ms": "180000",
}
"""Settings of a cluster that is started here."""


def ray_module() -> ModuleType:
    """Ray, silent about usage.

    Raises:
        UserError: saying how to install it.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UserError(
            "--cluster needs Ray, which is not installed; get the extra `cluster`: "
            "python -m pip install 'snlib[cluster]' (in a clone: pip install -e '.[cluster]')."
        ) from None
    return ray


@contextlib.contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[ModuleType]:
    """Inside, Ray is connected to the cluster at `address`; afterwards it is not.

    Args:
        address: as `cluster.execute` takes it.
        workers: cores of a cluster that is started here; None means those of this machine.

    Raises:
        UserError: no Ray, an address of another form, no cluster there.
    """
    ray = ray_module()
    options: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "ray":
        for name, value in HERE.items():
            os.environ.setdefault(name, value)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        options |= {"address": "local", "include_dashboard": False, "num_cpus": workers or cores}
    else:
        _knock(address)
        options["address"] = address
    for left in reversed(range(TRIES)):
        try:
            ray.init(**options)
            break
        except (Exception, SystemExit) as error:  # Ray reports in many ways, and even asks to exit
            if not left or LATE not in str(error):
                raise UserError(_plainly(address, error)) from error
            ray.shutdown()
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise a UserError unless a server of Ray's kind answers: Ray itself waits for minutes."""
    if address == "auto":
        return
    found = re.fullmatch(r"(ray://)?([^/:\s]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address)
    require(
        found is not None,
        f"--cluster is {address!r}; allowed are ray (a cluster of this machine), auto (the one "
        "that runs here), HOST:PORT and ray://HOST:PORT.",
    )
    try:
        with socket.create_connection(
            (found[2].strip("[]"), int(found[3])), timeout=PATIENCE
        ) as connection:
            reason = None if _greets(connection) else "what listens there is no Ray"
    except (OSError, OverflowError) as error:
        reason = str(error)
    require(
        reason is None,
        f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, or "
        "give another --cluster: HOST:6379 on its nodes, ray://HOST:10001 from elsewhere.",
    )


def _greets(connection: socket.socket) -> bool:
    """Whether the other side speaks HTTP/2, as all of Ray's servers do (RFC 9113, section 3.4).

    Both sides begin with a frame of settings: 3 bytes of length, then its type, 4.
    """
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    answer = b""
    while len(answer) < 4:
        part = connection.recv(4 - len(answer))
        if not part:
            return False
        answer += part
    return answer[3] == 4


def _plainly(address: str, error: BaseException) -> str:
    """What Ray said on connecting, as one line."""
    reason = " ".join(str(error).split())
    if "Version mismatch" in reason:
        return f"the cluster at {address} runs another Ray or Python: {reason}"
    if "ray[client]" in reason:
        return (
            "--cluster ray://HOST:PORT needs Ray's client, which is not installed; get the extra "
            "`cluster`: python -m pip install 'snlib[cluster]'."
        )
    if address == "ray":
        return f"Ray could not start a cluster on this machine: {reason or type(error).__name__}"
    remedy = "start one with `ray start --head`"
    if "raylet" in reason or "This node has an IP" in reason:
        remedy = "run the command on one of its nodes, or from elsewhere with ray://HOST:10001"
    return f"cannot join the Ray cluster at {address} ({reason or type(error).__name__}); {remedy}."


def check_room(ray: ModuleType, needs: Mapping[str, float]) -> None:
    """Raise a UserError unless some node could hold one run."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in {"CPU": needs["num_cpus"], "GPU": needs.get("num_gpus", 0)}.items():
        require(
            any(node.get(name, 0) >= wanted for node in alive),
            f"no node of the cluster has a {name} for a run (each takes {wanted:g}); "
            + ("start a node that has one." if name == "CPU" else "give --device cpu."),
        )
