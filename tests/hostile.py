"""A file that would do something if it were loaded carelessly."""

from __future__ import annotations

from pathlib import Path


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self):
        return (open, (str(self.trap), "w"))
