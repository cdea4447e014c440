"""Leave a net exactly as it was found: modes, frozen parameters, buffers, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snlib import capturing

Net = nn.Module | Callable[[Tensor], Tensor]


@contextmanager
def untouched(net: Net, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with `net` in evaluation mode and its parameters frozen, then restore all of it.

    Inside, every module is in evaluation mode (dropout off, batch norm with its running
    statistics) and no parameter requires a gradient: a backward pass then costs only what the
    gradient with respect to the input costs. Afterwards, also after an exception, the mode of
    every single module, `requires_grad` of every parameter, every buffer and torch's random
    state (CPU and `device`) are bit for bit what they were. A `.grad` is never read or written.

    Args:
        net: a module, or a plain function from (N, ...) to (N, K), which has no state to keep.
        device: where the inputs live; its random state is kept beside the CPU's.
    """
    device = torch.device(device)
    parts = list(_parts(net)) if isinstance(net, nn.Module) else []
    # Written to the dictionary: nn.Module's own way takes as long as a small layer's forward.
    training = [part.__dict__ for part in parts if part.training]
    free = [p for part in parts for p in part._parameters.values() if p is not None]
    free = [p for p in free if p.requires_grad and p.is_leaf]
    modes = [(part.__dict__, part.training) for part in parts]
    buffers = _buffers(parts)
    random = torch.get_rng_state()
    # What is recorded for replay draws nothing, and may not ask for the state.
    kept = device.type == "cuda" and not capturing.active()
    device_random = torch.cuda.get_rng_state(device) if kept else None
    try:
        for state in training:
            state["training"] = False
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for state, mode in modes:
            state["training"] = mode
        for parameter in free:
            parameter.requires_grad_(True)
        _restore(buffers)
        torch.set_rng_state(random)
        if device_random is not None:
            torch.cuda.set_rng_state(device_random, device)


def _parts(net: nn.Module) -> Iterator[nn.Module]:
    """Every module of a net once; `net.modules()` without its names, which cost most of it."""
    waiting, seen = [net], {net}
    while waiting:
        part = waiting.pop()
        yield part
        for child in part._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                waiting.append(child)


def _buffers(parts: list[nn.Module]) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """Every buffer with its owner, its name and a copy of its values.

    A module whose class says `still` vouches that its forward never writes to its buffers.
    """
    return [
        (part, name, buffer, buffer.detach().clone())
        for part in parts
        if part._buffers and not getattr(type(part), "still", False)
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]


def _restore(buffers: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    """Write the old values back.

    Through `.data`, which leaves the version counter alone: a graph recorded before the attack
    may hold these buffers, and their values are the old ones again.
    """
    for part, name, buffer, values in buffers:
        if part._buffers.get(name) is not buffer:
            part._buffers[name] = buffer
        buffer.data.copy_(values)
