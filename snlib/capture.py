"""A training step's attack, forward and backward pass recorded once and replayed, as a CUDA graph.

A PGM-15 step of a small net is some two thousand kernels of a few microseconds each: Python takes
longer to launch them than a large GPU to run them. A graph launches them all at once. It holds
addresses, not tensors: each batch is copied into the graph's own input, and the gradients stand
where they stood when it was recorded. The optimizer's step (one fused kernel, with a learning rate
that changes) and the refresh of the budget (whose iteration looks at numbers) follow outside.

Not yet run on a GPU: the tests record and replay through a stand-in on a CPU.
`python benchmarks/gpu_epoch.py --device cuda` measures it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snlib import capturing

Compute = Callable[..., tuple[Tensor, ...]]
Recorder = Callable[[Callable[[], tuple[Tensor, ...]]], tuple[Callable[[], None], tuple]]

WARM = 3
"""Passes before recording: libraries choose their algorithms and allocate in them."""


def cuda_graph(
    compute: Callable[[], tuple[Tensor, ...]],
) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Record a function on the current CUDA device.

    Returns:
        A function that replays it, and the tensors in which each replay leaves the results.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # not to be recorded on the default stream
        for _ in range(WARM):
            compute()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = compute()
    return graph.replay, found


def obstacle(net: nn.Module, device: torch.device, *, draws: bool, team: bool) -> str | None:
    """Why a step cannot be recorded, in words; None if nothing is known to be in the way.

    Args:
        net: the net.
        device: where it trains.
        draws: whether the attack draws random numbers.
        team: whether several processes train the net together.
    """
    if device.type != "cuda":
        return f"CUDA graphs need a CUDA device, not {device.type}"
    if team:
        return "several processes train the net together"
    if draws:
        return "the attack draws its start at random"
    if any(hasattr(part, "calls") for part in net.modules()):
        return "the net draws dropout masks"
    return None


class Captured:
    """Calls `compute(x, y, clip)` by replaying a recording of its first call.

    Args:
        compute: leaves a gradient in every parameter of `net` and returns tensors.
        net: its buffers are put back to what they were before the passes that recording takes.
        record: how to record; `cuda_graph`, or a stand-in.
    """

    def __init__(self, compute: Compute, net: nn.Module, record: Recorder = cuda_graph) -> None:
        self.compute, self.net, self.record = compute, net, record
        self.key: tuple | None = None
        self.failed = False

    def __call__(self, x: Tensor, y: Tensor, clip: tuple | None = None) -> tuple[Tensor, ...]:
        """As `compute`; a batch of another shape than the first one is computed as ever."""
        given = [x, y, *(clip or ())]
        key = tuple((part.shape, part.dtype, part.stride()) for part in given)
        if self.key is None and not self.failed:
            self._record(given, key)
        if self.failed or key != self.key:
            return self.compute(x, y, clip)
        for own, part in zip(self.inputs, given, strict=True):
            own.copy_(part)
        for parameter, gradient in self.gradients:  # an uncaptured call may have replaced it
            parameter.grad = gradient
        self.replay()
        return tuple(part.clone() for part in self.outputs)

    def _record(self, given: list[Tensor], key: tuple) -> None:
        self.inputs = [torch.empty_like(part).copy_(part) for part in given]
        x, y, *clip = self.inputs
        buffers = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
        try:
            with capturing.unseen():
                self.replay, self.outputs = self.record(
                    lambda: self.compute(x, y, tuple(clip) or None)
                )
        except RuntimeError as error:
            self.failed = True
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(
                f"the training step cannot be captured ({reason}); training goes on without.",
                stacklevel=2,
            )
        else:
            self.key = key
            self.gradients = [(part, part.grad) for part in self.net.parameters()]
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
