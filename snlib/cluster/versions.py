"""Which snlib and torch a node has: runs go to those alone that compute as this machine would."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from pathlib import Path
from types import ModuleType

from snlib import provenance, results
from snlib.errors import UserError

PATIENCE = 180.0
"""Seconds within which every node must have started a worker and answered."""

SAME = ("snlib", "engine", "code", "torch")
"""What must be equal; the commit only helps to find out why it is not."""

APART = ("__main__", "claims", "commands", "explore", "figures", "workbook")
"""Rooms that no run passes through: they may be edited while a plan is under way."""


class OtherVersions(UserError):
    """A node computes with something else; no run may go there."""


@functools.lru_cache(maxsize=1)
def here() -> dict[str, str]:
    """What this process would compute with.

    `code` is a hash of the sources that a run depends on, so that it also tells two edits of one
    commit, and an installed copy from a clone. torch without its build: a CPU may drive nodes with
    CUDA.
    """
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0].removesuffix(".py") in APART:
            continue
        digest.update(place.as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return {
        "snlib": importlib.metadata.version("snlib"),
        "engine": str(results.ENGINE),
        "code": digest.hexdigest()[:10],
        "torch": importlib.metadata.version("torch").partition("+")[0],
        "commit": provenance.commit(),
        "node": platform.node(),
    }


def told(which: dict[str, str]) -> str:
    """Versions in words."""
    return (
        f"snlib {which['snlib']} (engine {which['engine']}, commit {which['commit']}, sources "
        f"{which['code']}) and torch {which['torch']}"
    )


def require_same(driver: dict[str, str], node: dict[str, str]) -> None:
    """Raise `OtherVersions`, naming both, unless a node computes as the driver would."""
    if any(driver[name] != node[name] for name in SAME):
        raise OtherVersions(
            f"node {node['node']} has {told(node)}; here is {told(driver)}. Install the same on "
            "every node: check out one commit everywhere."
        )


def _asked() -> dict[str, str]:
    """What a node answers."""
    return here()


def check(ray: ModuleType) -> None:
    """Ask every node what it has.

    Raises:
        UserError: naming a node that has something else, nothing, or does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    ask = ray.remote(num_cpus=0, max_retries=0)(_asked)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    answers = {
        ask.options(scheduling_strategy=On(name, soft=False)).remote(): address
        for name, address in nodes.items()
    }
    ready, late = ray.wait(list(answers), num_returns=len(answers), timeout=PATIENCE)
    for answer in ready:
        try:
            node = ray.get(answer)
        except Exception as error:  # among them: snlib or torch is missing, or too old to say
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UserError(
                f"node {answers[answer]} cannot say which snlib it has ({reason}); here is "
                f"{told(here())}. Install the same there."
            ) from error
        require_same(here(), {**node, "node": f"{node['node']} ({answers[answer]})"})
    if late:
        names = ", ".join(sorted(answers[answer] for answer in late))
        raise UserError(f"these nodes did not answer within {PATIENCE:.0f} s: {names}.")
