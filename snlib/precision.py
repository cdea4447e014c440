"""The arithmetic in which a net is trained: float32, TF32 on CUDA, or bfloat16 autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from snlib.errors import require


def check(precision: str, device: torch.device) -> None:
    """Refuse TF32 where there is none: a record must not claim an arithmetic that it did not have.

    Raises:
        UserError: for "tf32" on anything but CUDA.
    """
    require(
        precision != "tf32" or device.type == "cuda",
        f"precision is 'tf32' on device {str(device)!r}; only CUDA has it. Use precision='float32' "
        "or --device cuda.",
    )


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """A context for forward passes: autocast where the precision is bfloat16."""
    enabled = precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def products(precision: str, device: torch.device | str) -> AbstractContextManager:
    """A context for all passes: whether float32 products may be TF32; as before, afterwards.

    On CUDA torch lets convolutions use TF32 unless told otherwise; "float32" here means float32.
    """
    return _tf32(precision != "float32") if torch.device(device).type == "cuda" else nullcontext()


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
