"""The claims about networks, their margins and the theorems: 6 to 10, 12, 16."""

from __future__ import annotations

from snlib.claims import labels, margins, norms, theorems
from snlib.claims.rule import Claim, Evidence

ORDER = 1.0
"""A factor of ten, in log10: the least that counts as an order of magnitude."""

CLAIMS = (
    Claim(
        6,
        "Normalized margins separate true from random labels; raw ones do not.",
        "ratio of modes: raw 1.1, normalized 3.5",
        "read off",
        (
            Evidence(
                "Kolmogorov-Smirnov distance of true and random margins against 1/2, ERM",
                "margins",
                margins.separation,
            ),
        ),
    ),
    Claim(
        7,
        "SN raises normalized margins by orders of magnitude.",
        "FGM 2.5e4, PGM 4 to 8e4, ERM 46",
        "read off",
        (
            Evidence(
                "log10 of the mode of margins, divided as published, with SN over without",
                "margins",
                margins.growth,
                published={"ERM": 1.67, "FGM": 4.40, "PGM": 4.59},
            ),
            Evidence(
                "the same in units of the theorem's own sqrt(Phi)",
                "margins",
                margins.growth_by_theorem,
                decides=False,
            ),
        ),
        low=ORDER,
    ),
    Claim(
        8,
        "Without SN a net fits random labels; with SN it resists.",
        "train accuracy on random labels, ERM 1.00 against .91 at beta 1.6; all four schemes alike",
        "read off",
        (
            Evidence(
                "train accuracy: random labels above .9 without SN, lower with; true ones higher",
                "random_labels",
                labels.memorization,
                published=labels.PUBLISHED,
            ),
            Evidence(
                "ERM train accuracy on random labels, no SN minus beta 1.3",
                "margins",
                labels.random_label_drop,
                decides=False,
            ),
        ),
    ),
    Claim(
        9,
        "The norm gain grows with beta.",
        "six modes, .087 to .83, in order",
        "read off",
        (
            Evidence(
                "smallest step of log10 median gain between neighbouring budgets",
                "gain",
                norms.gain_growth,
                published={"": 0.128},
            ),
        ),
    ),
    Claim(
        10,
        "Input gradients stay away from 0, so that kappa is meaningful.",
        "densities highest near 0",
        "read off",
        (
            Evidence(
                "1 % quantile of gradient norms at beta 1.3, smallest of four schemes",
                "gain",
                norms.low_gradients,
            ),
        ),
        low=0.01,
    ),
    Claim(
        12,
        "The norm of the reshaped kernel is smaller than that of the convolution.",
        "no number",
        "none",
        (
            Evidence(
                "1 minus reshaped over operator norm, smallest over capped convolutions",
                "gain",
                norms.reshaped_excess,
            ),
        ),
    ),
    Claim(
        16,
        "The perturbation inequalities behind Theorems 1 to 4 hold.",
        "proofs, re-derived here",
        "recalled",
        (
            Evidence(
                "smallest log10 of right over left side, 18,000 random nets",
                "benchmarks/perturbation",
                theorems.slack,
                ("quick",),
            ),
        ),
        why="random nets belong to no scale; they stand at quick",
    ),
)
