"""Which run comes first: one whose evidence decides most claims.

The rule: a run counts as many claims as there are whose deciding statistic reads the table of an
experiment that holds the run. Runs go by that count, the largest first; of equal ones by seed, so
that a whole grid has its first seed before any of it has a second; then in the order in which
the experiments were named. A claim is decided by three seeds of a whole table, so a table that many
claims read is completed before one that few read is begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snlib.claims import CLAIMS
from snlib.experiments import EXPERIMENTS
from snlib.runs import Run

Plan = Mapping[Run, frozenset[str]]


def claims_by_run(scale: str) -> dict[Run, set[int]]:
    """The numbers of the claims that each run helps to decide at a scale."""
    needed: dict[Run, set[int]] = {}
    for claim in CLAIMS:
        for name in {one.experiment for one in claim.at(scale) if one.decides}:
            for run in _runs(name, scale):
                needed.setdefault(run, set()).add(claim.number)
    return needed


def ordered(plan: Plan, scale: str) -> dict[Run, frozenset[str]]:
    """The same plan, the run that decides most claims first."""
    needed = claims_by_run(scale)
    return dict(
        sorted(plan.items(), key=lambda item: (-len(needed.get(item[0], ())), item[0].seed))
    )


def _runs(name: str, scale: str) -> Iterable[Run]:
    """Of an experiment at a scale; none of a benchmark, or of one that does not exist there."""
    one = EXPERIMENTS.get(name)
    if one is None or scale.partition("@")[0] not in one.scales:
        return ()
    return one.at(scale)
