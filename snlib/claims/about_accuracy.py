"""The claims about accuracy and its gap: 1 to 5, 11, 17, 18."""

from __future__ import annotations

from snlib.claims import gap, robustness, table1
from snlib.claims.rule import FULL, LARGE, Claim, Evidence

NEAR = 0.02
"""How near to the paper's number a reproduction of it has to be."""

TABLE1 = (("table1_digits", ("quick",)), ("table1_cifar10", LARGE))
"""Where several networks are trained: beside the one that decides."""


def _several(statistic: str, compute, published: float) -> tuple[Evidence, ...]:
    """The same statistic over the configurations of Table 1, beside the verdict."""
    return tuple(
        Evidence(statistic, name, compute, scales, decides=False, published={"": published})
        for name, scales in TABLE1
    )


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
                published={"": 0.2251},
            ),
            *_several(
                "gap of adversarial minus gap of ERM training of the same net, no SN",
                table1.adversarial_gap,
                0.0881,
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
                published={"": 0.0789},
            ),
            *_several("test accuracy with SN minus without, several nets", table1.gain, 0.0797),
        ),
    ),
    Claim(
        3,
        "For AlexNet on CIFAR-10 the gains are .09, .11, .04.",
        ".084 .112 .041",
        "exact",
        (
            Evidence(
                "test accuracy with SN minus without, less the published gain",
                "gap",
                gap.gains_less_published,
                FULL,
                published=dict.fromkeys(("FGM", "PGM", "WRM"), 0.0),
            ),
        ),
        low=-NEAR,
        high=NEAR,
        why="it is about AlexNet on CIFAR-10, which only scale paper trains",
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
                published={"": 0.0247},
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
                published={"": 0.2},
            ),
            *_several("gap without SN minus gap with, several nets", table1.gap_reduction, 0.1674),
        ),
    ),
    Claim(
        11,
        "SN improves robustness to attacks over radii.",
        "better below a crossover in all panels but ERM against linf and WRM, worse beyond",
        "read off",
        (
            Evidence(
                "accuracy with SN minus without, lower half of the paper's axis of eps",
                "robustness",
                robustness.over_eps,
                published={"FGM": 0.0751, "PGM": 0.0972, "PGM linf": 0.0213, "WRM": 0.0117},
            ),
            Evidence(
                "accuracy with SN minus without, upper half of the paper's axis of eps",
                "robustness",
                robustness.beyond,
                decides=False,
                published={"FGM": -0.0323, "PGM": 0.0298, "PGM linf": -0.0374, "WRM": -0.1022},
            ),
        ),
    ),
    Claim(
        17,
        "The gains extend to linf attacks.",
        "AlexNet FGM .51 to .56, PGM .44 to .54; Inception .48 to .56; ResNet .44 to .53",
        "exact",
        (
            Evidence(
                "test accuracy under the linf training attack, with SN minus without",
                "robustness",
                robustness.linf_gain,
                published={"PGM": 0.1037},
            ),
            Evidence(
                "the same at validated budgets, mean of several nets",
                "table1_cifar10",
                table1.linf_gain,
                LARGE,
                decides=False,
                published={"": 0.0807},
            ),
        ),
    ),
    Claim(
        18,
        "The gains hold on MNIST and SVHN.",
        "mean gains of FGM, PGM, WRM rows: MNIST +.019, SVHN +.037",
        "exact",
        tuple(
            Evidence(
                f"test accuracy with SN minus without, adversarial rows, {data.upper()}",
                f"table1_{data}",
                table1.gain_on(data),
                scales,
                published={"": value},
            )
            for data, scales, value in (
                ("mnist", ("laptop", "paper"), 0.0192),
                ("svhn", ("paper",), 0.0366),
            )
        ),
        why="MNIST and SVHN are not part of this scale",
    ),
)
