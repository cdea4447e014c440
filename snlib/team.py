"""One training over several processes: each attacks and differentiates its share of every batch.

All ranks hold the same net, the same budget and the same order of images. The gradients of their
shares add up to the gradient of the batch, each rank makes the same optimizer step and the same
refresh, and the bits of all weights and singular vectors are compared after every step; should they
ever differ (a GPU may add in another order), those of rank 0 are taken by all.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from snlib import devices
from snlib.errors import NotFinite, require

PATIENCE = datetime.timedelta(hours=6)
"""How long ranks wait for one another: rank 0 measures a finished net while the others stand by."""

COUPLED = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers whose output for one image depends on the others of its batch, or on a draw."""


@dataclass
class Team:
    """The processes that train one net together, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        device: where this one computes.
        mended: after how many steps the ranks had to be made equal again.
    """

    rank: int
    size: int
    device: torch.device
    mended: int = 0

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def check(self, net: nn.Module, batch_size: int) -> None:
        """Raise a UserError for a net or batch that cannot be shared out."""
        coupled = {
            type(layer).__name__
            for layer in net.modules()
            if isinstance(layer, COUPLED) or "Dropout" in type(layer).__name__
        }
        require(
            not coupled,
            f"parallel is 'data', but the net holds {', '.join(sorted(coupled))}, whose result "
            "depends on the whole batch; train it in one process.",
        )
        require(
            batch_size >= self.size,
            f"batch_size is {batch_size} for {self.size} processes; it must be at least as many.",
        )

    def share(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch (N, ...), about N / size rows."""
        count = len(batch)
        return batch[self.rank * count // self.size : (self.rank + 1) * count // self.size]

    def own(self, shared: torch.Generator) -> torch.Generator:
        """A generator of this rank's own, made by one draw from the one that all share."""
        seed = int(torch.randint(2**62, (), generator=shared))
        return torch.Generator().manual_seed(seed + self.rank)

    def gradient(
        self,
        net: nn.Module,
        compute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        x: Tensor,
        y: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Leave the gradient of the whole batch in the parameters of every rank.

        Args:
            net: the same on every rank.
            compute: (x, y) -> how many are right, mean loss; leaves the gradient of that mean.
            x, y: the whole batch.

        Returns:
            How many of the whole batch are right, and its mean loss.

        Raises:
            NotFinite: on every rank, if `compute` raised it on any.
        """
        own_x, own_y = self.share(x), self.share(y)
        weight, failed = len(own_y) / len(y), 0.0
        try:
            right, loss = compute(own_x, own_y)
        except NotFinite:
            right = loss = torch.zeros((), device=self.device)
            failed = 1.0
        gradients = []
        for parameter in net.parameters():
            if failed or parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        about = torch.stack(
            [right.float(), loss.float() * weight, torch.full_like(loss.float(), failed)]
        )
        # One message for all: a step waits for the slowest rank once.
        flat = torch.cat([*[part.reshape(-1) * weight for part in gradients], about])
        distributed.all_reduce(flat)
        self._all_or_none(flat[-1])
        sizes = [part.numel() for part in gradients]
        for part, summed in zip(gradients, flat[:-3].split(sizes), strict=True):
            part.copy_(summed.view(part.shape))
        return flat[-3], flat[-2]

    def mean(self, compute: Callable[[Tensor, Tensor], float], x: Tensor, y: Tensor) -> float:
        """The mean over all images of what `compute` says of each rank's share.

        Raises:
            NotFinite: on every rank, if `compute` raised it on any.
        """
        own_x, own_y = self.share(x), self.share(y)
        try:
            about = [compute(own_x, own_y) * len(own_y), 0.0]
        except NotFinite:
            about = [0.0, 1.0]
        both = torch.tensor(about, dtype=torch.float64, device=self.device)
        distributed.all_reduce(both)
        self._all_or_none(both[1])
        return float(both[0]) / len(y)

    def _all_or_none(self, failed: Tensor) -> None:
        if float(failed) > 0:
            raise NotFinite("the net gives NaN or infinity on one of the processes.")

    def agree(self, net: nn.Module) -> None:
        """Compare weights and singular vectors over all ranks, bit for bit; take rank 0's if not.

        The sum of all bits, read as whole numbers, is exact and the same in every order.
        """
        state = net.state_dict()
        bits = [part.to(self.device).reshape(-1).view(torch.int32) for part in state.values()]
        own = torch.cat(bits).sum(dtype=torch.int64)
        # The largest of x and of -x over all ranks: these cancel only if all x are equal.
        ends = torch.stack([own, -own])
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        if int(ends.sum()) == 0:
            return
        self.mended += 1
        for name, part in state.items():
            sent = part.detach().to(self.device, copy=True).contiguous()
            distributed.broadcast(sent, 0)
            state[name] = sent.to(part.device)
        net.load_state_dict(state)

    def decide(self, flag: bool) -> bool:
        """What rank 0 decided, told to all."""
        told = torch.tensor([int(flag)], device=self.device)
        distributed.broadcast(told, 0)
        return bool(told)

    def anywhere(self, flags: list[bool]) -> list[bool]:
        """Which of these flags are set on any rank; as many on each, in the same order."""
        told = torch.tensor([False, *flags], dtype=torch.int32, device=self.device)
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        return told.bool().tolist()[1:]

    def given(self, content: bytes | None) -> bytes | None:
        """What rank 0 holds, told to all; None is told too."""
        size = torch.tensor([-1 if content is None else len(content)], device=self.device)
        distributed.broadcast(size, 0)
        if int(size) < 0:
            return None
        told = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.first and content:
            told.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        if int(size):
            distributed.broadcast(told, 0)
        return told.cpu().numpy().tobytes()

    def fetch(self, path: Path) -> None:
        """Give every rank rank 0's file at its own `path`; none, if rank 0 has none."""
        content = self.given(path.read_bytes() if self.first and path.exists() else None)
        if self.first:
            return
        path.unlink(missing_ok=True)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextlib.contextmanager
def joined(device: str = "cpu") -> Iterator[Team]:
    """The team of processes that torchrun started.

    Args:
        device: "cpu", or "cuda": then each process takes the GPU of its local rank, which is why
            none can be named.

    Raises:
        UserError: the process was not started by torchrun, no such device, one GPU for all, or
            there are fewer GPUs than processes.
    """
    absent = [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if name not in os.environ]
    require(
        not absent,
        f"--parallel data needs torchrun ({', '.join(absent)} not set): "
        "torchrun --nproc-per-node 2 -m snlib run EXPERIMENT --first 1 --parallel data",
    )
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    devices.check(device)
    require(
        device in ("cpu", "cuda"),
        f"device is {device!r} with --parallel data, which gives each process a GPU of its own; "
        "allowed are cpu, cuda (CUDA_VISIBLE_DEVICES chooses among the GPUs).",
    )
    if device == "cuda":
        require(
            local < torch.cuda.device_count(),
            f"process {local} of this machine finds no GPU of its own: there are "
            f"{torch.cuda.device_count()}; give torchrun at most that many --nproc-per-node.",
        )
        torch.cuda.set_device(local)
    where = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(rank, size, where)
    finally:
        distributed.destroy_process_group()
