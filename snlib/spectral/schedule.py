"""When the singular vectors of a layer must move, and when the old ones will do.

sigma(W) = <u, W v> along kept vectors u, v follows the weight by itself, exactly to first order; it
falls short only as far as the vectors turn or another mode rises above. Each refresh that does move
them therefore measures by how much the old ones fell short, its miss, and the number of steps to
the next one is doubled while the miss stays far below what the budget tolerates, and cut when it
does not. A layer below its budget has an effective weight without sigma in it, so there the room up
to beta is tolerated. The state is two integers; the rule reads nothing else but what the state dict
holds, so training resumed from a checkpoint is the same training.
"""

from __future__ import annotations

import math

MISS = 2e-4  # tolerated relative shortfall of a binding layer's sigma
JUMP = 1e-2  # relative change of sigma along the kept vectors that ends a wait at once
ROOM = 0.05  # below beta by this share, a layer counts as below its budget
MOST_SLACK, MOST_MATRIX, MOST_CONVOLUTION = 16, 8, 1  # longest waits, in optimizer steps


class Schedule:
    """Counts the steps since the vectors last moved.

    Attributes:
        waited: steps since then.
        interval: steps after which they move again.
        most: the longest interval while the budget binds.
    """

    def __init__(self, most: int) -> None:
        self.most, self.waited, self.interval = most, 0, 1

    def waits(self, kept: float, tracked: float, limit: float) -> bool:
        """Whether this step may keep the old vectors; counts it.

        Args:
            kept: sigma of the present weight along them; a NaN never waits.
            tracked: sigma when they last moved.
            limit: beta.
        """
        self.waited += 1
        if self.waited >= self.interval or not math.isfinite(kept) or tracked <= 0:
            return False
        allowed = JUMP * tracked
        if _slack(tracked, limit):
            allowed = min(0.25 * (limit - tracked), 0.25 * tracked)
        return abs(kept - tracked) <= allowed

    def moved(self, kept: float, tracked: float, limit: float) -> None:
        """Choose the next interval after a move.

        Args:
            kept: sigma along the old vectors.
            tracked: sigma along the new ones.
            limit: beta.
        """
        slack = _slack(tracked, limit)
        most, allowed = self.most, MISS
        if slack:
            room = limit / tracked - 1 if tracked > 0 else 0.0
            most, allowed = int(min(MOST_SLACK, 1 + 40 * room)), 0.1 * room
        miss = abs(tracked - kept) / tracked if tracked > 0 else math.inf
        if miss <= 0.25 * allowed:
            self.interval *= 2
        elif miss > allowed:
            self.interval = 1 if miss > 4 * allowed else max(1, self.interval // 2)
        self.interval = min(self.interval, max(1, most))
        self.waited = 0


def _slack(tracked: float, limit: float) -> bool:
    return tracked * (1 + ROOM) < limit
