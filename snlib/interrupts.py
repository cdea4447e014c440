"""Ctrl-C where nothing is half done: noted when it comes, raised when asked for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], None]]:
    """Inside, Ctrl-C is only noted; the function given raises KeyboardInterrupt if it came.

    Python raises it between any two instructions of the main thread: after a worker was started
    and before it was told its work, or with a lock in hand. Blocking the signal in that thread does
    not prevent this, for any other thread of the process may receive it (NumPy's do).

    On leaving, a Ctrl-C that was noted and not asked for is raised. A process that ignores the
    signal goes on ignoring it, and outside the main thread nothing changes.
    """
    seen: list[int] = []

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield check
        return
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
    check()


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, not even while they are still importing."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
