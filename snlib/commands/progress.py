"""A bar of the arithmetic done, for a person who watches."""

from __future__ import annotations

from collections.abc import Mapping

from tqdm import tqdm

from snlib import runner
from snlib.runs import Run


class Progress:
    """A bar of the arithmetic done, with the time left; silent when nobody watches."""

    def __init__(self, todo: Mapping[Run, object], *, quiet: bool) -> None:
        self.costs = {run.name: runner.cost(run) for run in todo}
        self.seen = dict.fromkeys(self.costs, 0.0)
        self.finished = 0
        self.bar = tqdm(
            total=round(sum(self.costs.values()), 3),
            disable=quiet,
            bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed} gone, {remaining} left]",
        )
        self._describe()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def _describe(self) -> None:
        self.bar.set_description_str(f"{self.finished}/{len(self.costs)} runs", refresh=False)

    def epoch(self, name: str, fraction: float) -> None:
        """A run has done this fraction of its epochs."""
        if fraction > self.seen[name]:
            self.bar.update((fraction - self.seen[name]) * self.costs[name])
            self.seen[name] = fraction

    def done(self, run: Run, status: str) -> None:
        """A run has ended, and how."""
        if not status.startswith("unfinished"):
            self.finished += 1
            self._describe()
            self.epoch(run.name, 1.0)
