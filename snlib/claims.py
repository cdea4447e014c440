"""The paper's claims: sentence, statistic, published value, and a verdict by a rule stated here.

A statistic is one number a seed, signed so that the claim says "above `threshold`". The rule is one
for all claims and scales: **supported** if the 95 % Student interval of its mean over seeds lies
above the threshold, **not supported** if it lies at or below it, else **undecided**; undecided also
with fewer than three seeds. A claim without an experiment is **not testable** yet, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from snlib import tables
from snlib.errors import UserError
from snlib.statistics import accuracies, chosen, interval

ADVERSARIAL = ("fgm", "pgm", "wrm")
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, in our words.

    Args:
        number: as in the list of claims.
        sentence: what is claimed.
        published: what the paper's own numbers say, one run each.
        statistic: what is computed, in words.
        experiment: whose table decides; "" if there is none yet.
        compute: table -> one number a seed, indexed by seed.
        threshold: the claim says that the statistic is above it.
        why: for a claim that is not testable, the reason.
    """

    number: int
    sentence: str
    published: str
    statistic: str = ""
    experiment: str = ""
    compute: Callable[[pd.DataFrame], pd.Series] | None = None
    threshold: float = 0.0
    why: str = ""


def verdict(values: pd.Series, threshold: float) -> tuple[str, float, float]:
    """The verdict on one number a seed, its mean and the half-width of its 95 % interval."""
    mean, half = interval(values)
    if len(values) < LEAST_SEEDS or not math.isfinite(half):
        return "undecided", mean, half
    if mean - half > threshold:
        return "supported", mean, half
    return ("not supported" if mean + half <= threshold else "undecided"), mean, half


def judge(scale: str = "quick", store: str = "recorded") -> pd.DataFrame:
    """Every claim with its evidence at a scale.

    Returns:
        DataFrame: number, claim, statistic, published, mean, half, threshold, seeds, verdict.
        `half` is the half-width of the 95 % interval; NaN where there is no evidence.
    """
    rows = []
    for claim in CLAIMS:
        mean = half = math.nan
        seeds, word = 0, f"not testable: {claim.why}"
        if claim.compute is not None:
            try:
                values = claim.compute(tables.load(claim.experiment, scale=scale, store=store))
                seeds = len(values)
                word, mean, half = verdict(values, claim.threshold)
            except UserError:
                word = f"not testable: nothing recorded of {claim.experiment} at {scale}"
        rows.append(
            {
                "number": claim.number,
                "claim": claim.sentence,
                "statistic": claim.statistic,
                "published": claim.published,
                "mean": mean,
                "half": half,
                "threshold": claim.threshold,
                "seeds": seeds,
                "verdict": word,
            }
        )
    return pd.DataFrame(rows)


def summary(scale: str = "quick", store: str = "recorded") -> str:
    """The judged claims as a Markdown table, as the README shows it; claims not testable left out.

    Numbers are mean ± half-width of the 95 % interval over seeds.
    """
    judged = judge(scale, store)
    shown = judged[judged["seeds"] > 0]
    lines = ["| claim | statistic | here | supports if | verdict |", "|---|---|---|---|---|"]
    for row in shown.to_dict("records"):
        number = f"{row['mean']:+.3f} ± {row['half']:.3f}"
        cells = (row["claim"], row["statistic"], number, f"above {row['threshold']:g}")
        lines.append(f"| {row['number']}. {' | '.join(cells)} | {row['verdict']} |")
    left = ", ".join(str(number) for number in judged.loc[judged["seeds"] == 0, "number"])
    lines += ["", f"Not testable on what is recorded at scale {scale}: claims {left}."]
    return "\n".join(lines)


# -------------------------------------------------------------------------------------- statistics


def _complete(by_seed: pd.DataFrame) -> pd.Series:
    """The mean over columns of the seeds that have all of them."""
    return by_seed.dropna().mean(axis=1)


def _free(table: pd.DataFrame, column: str, attack: str = "training") -> pd.DataFrame:
    runs = accuracies(table, attack)
    free = runs[np.isinf(runs["beta"])]
    return free.pivot(index="seed", columns="scheme", values=column)


def _at_choice(table: pd.DataFrame, column: str, attack: str = "training") -> pd.DataFrame:
    """A column at the budget that validation under the training attack chose, seed by scheme."""
    budgets = chosen(accuracies(table))
    runs = accuracies(table, attack)
    picked = runs[runs["beta"] == runs["scheme"].map(budgets)]
    return picked.pivot(index="seed", columns="scheme", values=column)


def _adversarial_gap(table: pd.DataFrame) -> pd.Series:
    gaps = _free(table, "gap")
    return _complete(gaps[list(ADVERSARIAL)].sub(gaps["erm"], axis=0))


def _test_gain(table: pd.DataFrame) -> pd.Series:
    return _complete((_at_choice(table, "test") - _free(table, "test"))[list(ADVERSARIAL)])


def _clean_gain(table: pd.DataFrame) -> pd.Series:
    return _complete(_at_choice(table, "test", "none") - _free(table, "test", "none"))


def _gap_reduction(table: pd.DataFrame) -> pd.Series:
    return _complete((_free(table, "gap") - _at_choice(table, "gap"))[list(ADVERSARIAL)])


def _random_label_drop(table: pd.DataFrame) -> pd.Series:
    rows = table[
        (table["quantity"] == "accuracy")
        & (table["attack"] == "training")
        & (table["split"] == "train")
        & (table["scheme"] == "erm")
        & (table["labels"] == "random")
    ]
    wide = rows.pivot(index="seed", columns="beta", values="value")
    return (wide[math.inf] - wide.drop(columns=math.inf).mean(axis=1)).dropna()


def _gain_growth(table: pd.DataFrame) -> pd.Series:
    """Smallest step of the log10 of the median norm gain from a budget to the next, ERM."""
    rows = table[
        (table["quantity"] == "norm_gain")
        & (table["split"] == "test")
        & (table["x"] == 0.5)
        & (table["scheme"] == "erm")
    ]
    wide = np.log10(rows.pivot(index="seed", columns="beta", values="value").dropna())
    return wide[sorted(wide.columns)].diff(axis=1).iloc[:, 1:].min(axis=1)


def _low_gradients(table: pd.DataFrame) -> pd.Series:
    """1 % quantile of the norm of the loss's input gradient, smallest over schemes at beta 1.3."""
    rows = table[
        (table["quantity"] == "gradient_norm")
        & (table["split"] == "train")
        & (table["x"] == 0.01)
        & (table["beta"] == 1.3)
    ]
    return rows.groupby("seed")["value"].min()


def _reshaped_excess(table: pd.DataFrame) -> pd.Series:
    """1 minus the ratio of Miyato's norm to the true one, smallest over the capped convolutions."""
    layers = table[table["split"].str.startswith("conv") & np.isfinite(table["beta"])]
    keys = ["run", "seed", "split"]
    wide = layers.pivot_table(index=keys, columns="quantity", values="value")
    return (1 - wide["reshaped"] / wide["upper"]).groupby("seed").min()


NO_RUN = "needs the paper's own setting on a GPU; no such run is recorded"

CLAIMS = (
    Claim(
        1,
        "Adversarial training has a larger train-test gap than ERM.",
        "CIFAR-10 means: FGM .37, PGM .48, WRM .37 against ERM .29",
        "gap of FGM, PGM, WRM minus gap of ERM, no SN",
        "gap",
        _adversarial_gap,
    ),
    Claim(
        2,
        "SN with validated beta raises adversarial test accuracy.",
        "above 0 in all 32 published adversarial rows",
        "test accuracy with SN minus without, mean of FGM, PGM, WRM",
        "gap",
        _test_gain,
    ),
    Claim(3, "For AlexNet on CIFAR-10 the gains are .09, .11, .04.", ".084 .112 .041", why=NO_RUN),
    Claim(
        4,
        "SN does not hurt clean accuracy (by more than a point).",
        "FGM +.034, PGM +.035, WRM +.029, read off a figure",
        "clean test accuracy with SN minus without, mean of four schemes",
        "gap",
        _clean_gain,
        threshold=-0.01,
    ),
    Claim(
        5,
        "SN shrinks the generalization gap.",
        "in 33 of 42 rows",
        "gap without SN minus gap with, mean of FGM, PGM, WRM",
        "gap",
        _gap_reduction,
    ),
    Claim(
        6,
        "Normalized margins separate true from random labels; raw ones do not.",
        "ratio of modes: raw 1.1, normalized 3.5",
        why="its statistic is shown in notebook 06, without a rule yet",
    ),
    Claim(
        7,
        "SN raises normalized margins by orders of magnitude.",
        "FGM 2.5e4, ERM 46",
        why="its statistic is shown in notebook 06, without a rule yet",
    ),
    Claim(
        8,
        "Without SN a net fits random labels; with SN it resists.",
        "ERM train accuracy on random labels: 1.00 against .91 at beta 1.6",
        "ERM train accuracy on random labels, no SN minus beta 1.3",
        "margins",
        _random_label_drop,
    ),
    Claim(
        9,
        "The norm gain grows with beta.",
        "six modes, .087 to .83, in order",
        "smallest step of log10 median gain between neighbouring budgets",
        "gain",
        _gain_growth,
    ),
    Claim(
        10,
        "Input gradients stay away from 0, so that kappa is meaningful.",
        "densities highest near 0",
        "1 % quantile of gradient norms at beta 1.3, smallest of four schemes",
        "gain",
        _low_gradients,
        threshold=0.01,
    ),
    Claim(
        11, "SN improves robustness to attacks over radii.", "below a crossover", why="notebook 09"
    ),
    Claim(
        12,
        "The norm of the reshaped kernel is smaller than that of the convolution.",
        "no number",
        "1 minus reshaped over operator norm, smallest over capped convolutions",
        "gain",
        _reshaped_excess,
    ),
    Claim(13, "SN by the operator norm beats SN by the reshaped one.", "recalled", why=NO_RUN),
    Claim(14, "SN beats weight decay, dropout, batch norm.", "recalled", why=NO_RUN),
    Claim(15, "SN adds little training time.", "numbers not known", why="see benchmarks/README.md"),
    Claim(
        16,
        "The bounds of Theorems 1 to 4 hold.",
        "proofs",
        why="their perturbation inequalities are tested in tests/test_bounds_perturbation.py",
    ),
    Claim(17, "The gains extend to linf attacks.", "AlexNet FGM .51 to .56", why=NO_RUN),
    Claim(
        18,
        "The gains hold on MNIST and SVHN.",
        "MNIST FGM +.047",
        why="needs table1_mnist",
    ),
)
