"""Where to compute: which devices there are here, and what is said when the memory is used up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from snlib.errors import UserError, require

SHORTAGES = (
    "CUDA error: out of memory", "_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory",
)  # fmt: skip
"""What torch and CUDA's libraries say of used-up memory where it is not an error of its own kind:
a GPU that others have filled before torch could start on it, a library's workspace, the host."""


def check(device: str) -> None:
    """Raise a UserError unless `device` is the CPU or a GPU that torch can compute on here."""
    import torch  # a process at the command line can do without it until then

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    require(
        not (device == "cuda" or device.startswith("cuda:")) or torch.cuda.is_available(),
        f"device is {device!r}, but torch sees no CUDA GPU here; use --device cpu.",
    )
    allowed = ["cpu", "cuda", *(gpus or ["cuda:0", "..."])]
    require(
        device in ("cpu", "cuda", *gpus), f"device is {device!r}; allowed are {', '.join(allowed)}."
    )


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that a device or the host has no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in SHORTAGES)


@contextlib.contextmanager
def memory(device: object, remedy: str) -> Iterator[None]:
    """Inside, an error for want of memory becomes one line with what to do about it.

    Args:
        device: where the work is done.
        remedy: what to do, for the message.

    Raises:
        UserError: naming the device, or the CPU if it is the host's memory that is used up.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        at_home = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        raise UserError(f"out of memory on {'cpu' if at_home else device}: {remedy}.") from error
