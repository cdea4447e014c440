"""Functions with a gradient written by hand, at the least that autograd charges for one.

torch binds the arguments of a function that has a `setup_context` by `inspect` at every call, which
takes longer than a small layer; without one it cannot be transformed (vmap). So each function here
is two: the one as written, for transforms, and its twin without `setup_context`, for the rest.
"""

from __future__ import annotations

from typing import Any

import torch


class Function(torch.autograd.Function):
    """An autograd function to be called by `call`; write `forward`, `setup_context`, `backward`."""

    generate_vmap_rule = True
    direct: type[torch.autograd.Function]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        compute, keep = cls.forward, cls.setup_context

        def forward(ctx: Any, *inputs: Any) -> Any:
            output = compute(*inputs)
            keep(ctx, inputs, output)
            return output

        own = {"forward": staticmethod(forward), "backward": staticmethod(cls.backward)}
        cls.direct = type(cls.__name__, (torch.autograd.Function,), own)

    @classmethod
    def call(cls, *inputs: Any) -> Any:
        """`apply`, by the shorter way where no transform of torch.func is at work."""
        if torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling():
            return cls.apply(*inputs)
        return cls.direct.apply(*inputs)
