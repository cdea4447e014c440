"""Files that survive a kill, a full disk and a second process: whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from snlib.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either the old file or the whole new one.

    Raises:
        UserError: if the disk is full; what was finished before stays whole.
    """
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A temporary file to fill, which takes the place of `path` if nothing is raised meanwhile.

    Raises:
        UserError: if the disk is full.
    """
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            with _held(handle):
                yield temporary
                with open(temporary, "rb+") as stream:
                    os.fsync(stream.fileno())
                os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    """A file is locked while it is filled, so that nobody sweeps it away; then it is closed."""
    with os.fdopen(handle, "rb"):
        with contextlib.suppress(ImportError, OSError):  # Windows, or a disk that knows no locks
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Inside, a full disk is told in one line that names what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left for {path.name} in {path.parent}; results finished before are "
            "whole. Free some space and give the same command again."
        ) from error


def sweep(path: Path) -> None:
    """Remove what processes killed while writing `path` left beside it; call under its lock.

    Where there is none, as for a bundle, what another process is filling right now stays.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        if not locked(left):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Whether this process alone holds the lock file at `path`; a kill sets it free by itself."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: two processes may then do the same work twice
        yield True
        return
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "w")  # noqa: SIM115 (closed below)
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def locked(path: Path) -> bool:
    """Whether some process holds the lock file at `path` now."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with open(path) as stream:
            # Shared: two that ask at once don't take each other for the holder.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
