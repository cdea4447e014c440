"""Where, by what and when something was computed, for its record."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
import time
from pathlib import Path

from snlib.results import ROOT

MADE = ("device", "software", "commit", "finished")
"""What `made` tells. A record has it among its provenance, and there again under "trained" where
the net was trained another time (`snlib.nets`)."""


def made(device: str) -> dict[str, str]:
    """Where, by what and when something was computed, under the names of `MADE`."""
    return {
        "device": device_name(device),
        "software": software(),
        "commit": commit(),
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def device_name(device: str) -> str:
    """What computes, for a record."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"CPU ({name}, one thread)"


def software() -> str:
    """What computed with, for a record."""
    import torch

    return f"Python {platform.python_version()}, torch {torch.__version__}"


@functools.lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the code, with a + where files differ from it; "unknown" outside git."""
    try:
        git = functools.partial(
            subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
        changed = git(["git", "status", "--porcelain", "--", "snlib"]).stdout.strip()
        return git(["git", "rev-parse", "--short=10", "HEAD"]).stdout.strip() + (
            "+" if changed else ""
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
