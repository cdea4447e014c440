"""The eighteen claims, and what decides each."""

from __future__ import annotations

from snlib.claims import gap, labels, norms
from snlib.claims.rule import Claim, Evidence

NO_RUN = "needs the paper's own setting on a GPU; no such run is recorded"

CLAIMS = (
    Claim(
        1,
        "Adversarial training has a larger train-test gap than ERM.",
        "CIFAR-10 means: FGM .37, PGM .48, WRM .37 against ERM .29",
        "exact",
        (
            Evidence(
                "gap of FGM, PGM, WRM minus gap of ERM, no SN",
                "gap",
                gap.adversarial_gap,
            ),
        ),
    ),
    Claim(
        2,
        "SN with validated beta raises adversarial test accuracy.",
        "above 0 in all 32 published adversarial rows",
        "exact",
        (
            Evidence(
                "test accuracy with SN minus without, mean of FGM, PGM, WRM",
                "gap",
                gap.test_gain,
            ),
        ),
    ),
    Claim(
        3,
        "For AlexNet on CIFAR-10 the gains are .09, .11, .04.",
        ".084 .112 .041",
        "exact",
        why=NO_RUN,
    ),
    Claim(
        4,
        "SN does not hurt clean accuracy (by more than a point).",
        "FGM +.034, PGM +.035, WRM +.029, read off a figure",
        "read off",
        (
            Evidence(
                "clean test accuracy with SN minus without, mean of four schemes",
                "gap",
                gap.clean_gain,
            ),
        ),
        low=-0.01,
    ),
    Claim(
        5,
        "SN shrinks the generalization gap.",
        "in 33 of 42 rows",
        "exact",
        (
            Evidence(
                "gap without SN minus gap with, mean of FGM, PGM, WRM",
                "gap",
                gap.gap_reduction,
            ),
        ),
    ),
    Claim(
        6,
        "Normalized margins separate true from random labels; raw ones do not.",
        "ratio of modes: raw 1.1, normalized 3.5",
        "read off",
        why="its statistic is shown in notebook 06, without a rule yet",
    ),
    Claim(
        7,
        "SN raises normalized margins by orders of magnitude.",
        "FGM 2.5e4, ERM 46",
        "read off",
        why="its statistic is shown in notebook 06, without a rule yet",
    ),
    Claim(
        8,
        "Without SN a net fits random labels; with SN it resists.",
        "ERM train accuracy on random labels: 1.00 against .91 at beta 1.6",
        "read off",
        (
            Evidence(
                "ERM train accuracy on random labels, no SN minus beta 1.3",
                "margins",
                labels.random_label_drop,
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
        11,
        "SN improves robustness to attacks over radii.",
        "below a crossover",
        "read off",
        why="notebook 09",
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
        13,
        "SN by the operator norm beats SN by the reshaped one.",
        "recalled",
        "recalled",
        why=NO_RUN,
    ),
    Claim(14, "SN beats weight decay, dropout, batch norm.", "recalled", "recalled", why=NO_RUN),
    Claim(
        15,
        "SN adds little training time.",
        "numbers not known",
        "none",
        why="see benchmarks/README.md",
    ),
    Claim(
        16,
        "The bounds of Theorems 1 to 4 hold.",
        "proofs",
        "recalled",
        why="their perturbation inequalities are tested in tests/test_bounds_perturbation.py",
    ),
    Claim(
        17,
        "The gains extend to linf attacks.",
        "AlexNet FGM .51 to .56",
        "exact",
        why=NO_RUN,
    ),
    Claim(
        18,
        "The gains hold on MNIST and SVHN.",
        "MNIST FGM +.047",
        "exact",
        why="needs table1_mnist",
    ),
)
