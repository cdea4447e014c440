"""Whether the code at work is being recorded, to be replayed later without Python.

A recording holds the operations of one pass, not the choices that Python made on the way. So code
that looks at numbers to save work (stop when nothing is left to do, skip what has no effect) must,
while it is recorded, do what is right for every number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_active: ContextVar[bool] = ContextVar("capturing", default=False)


def active() -> bool:
    """Whether Python may not look at numbers now."""
    return _active.get()


@contextmanager
def unseen() -> Iterator[None]:
    """Inside, `active` is true."""
    token = _active.set(True)
    try:
        yield
    finally:
        _active.reset(token)
