"""A deadline that is kept: a run stops before an epoch that would end after it."""

from __future__ import annotations

import time


class Until:
    """Says after each epoch whether the next one would end after the deadline.

    Made right before training: the first epoch counts with what goes before it.

    Args:
        deadline: a time.time(), or None for none.
    """

    def __init__(self, deadline: float | None) -> None:
        self.deadline, self.epochs, self.longest = deadline, 0, 0.0
        self.last = time.monotonic()

    def over(self) -> bool:
        """Whether to stop now."""
        now = time.monotonic()
        self.epochs += 1
        # The first is dearer than the others; it stands for them only until there is a second.
        self.longest = max(self.longest if self.epochs > 2 else 0.0, now - self.last)
        self.last = now
        return self.deadline is not None and time.time() + self.longest > self.deadline
