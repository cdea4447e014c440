"""The eighteen claims in order. Each was written, with what decides it, before the evidence.

`published` of an evidence is the same number from the paper's data; tests derive it again from
`data/paper/`.
"""

from __future__ import annotations

from snlib.claims import about_accuracy, about_networks, about_rivals
from snlib.claims.rule import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (*about_accuracy.CLAIMS, *about_networks.CLAIMS, *about_rivals.CLAIMS),
        key=lambda claim: claim.number,
    )
)
