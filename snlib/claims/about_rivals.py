"""The claims about cost and rivals: 13 to 15."""

from __future__ import annotations

import math

from snlib.claims import cost, rivals
from snlib.claims.rule import LARGE, Claim, Evidence

CLAIMS = (
    Claim(
        13,
        "SN by the operator norm beats SN by the reshaped one.",
        "no number known",
        "recalled",
        (
            Evidence(
                "test accuracy at the validated budget minus Miyato's at equal true norms",
                "rivals",
                rivals.matched_by_norm,
            ),
            Evidence(
                "test accuracy minus Miyato's, each at its validated budget",
                "rivals",
                rivals.against_reshaped,
                decides=False,
            ),
        ),
    ),
    Claim(
        14,
        "SN beats weight decay, dropout, batch norm.",
        "no number known",
        "recalled",
        (
            Evidence(
                "test accuracy with SN minus that of the best rival by validation",
                "rivals",
                rivals.against_regularizers,
            ),
        ),
    ),
    Claim(
        15,
        "SN adds little training time (a tenth at most).",
        "numbers not known",
        "none",
        (
            Evidence(
                "CPU time of a step of the paper's AlexNet with SN over the plain step, minus 1",
                "benchmarks/spectral_cost",
                cost.added_step_time,
                ("quick",),
            ),
            Evidence(
                "time of training with SN over training without, minus 1",
                "runtimes",
                cost.added_time,
                LARGE,
            ),
        ),
        low=-math.inf,
        high=cost.SMALL,
    ),
)
