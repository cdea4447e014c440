"""Ways to train, with and without SN: gains by way, and what each factor does; notebook 12."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from snlib import statistics
from snlib.errors import require

FACTORS = {
    "select": ("early stopping", "best"),
    "schedule": ("falling rate", "piecewise"),
    "augment": ("augmentation", True),
    "attack_labels": ("true labels", "true"),
}
"""What the factorial varies: name of the setting, as axes show it, and its value when at work."""

OWN, STANDARD = "own", "standard"
"""How a net is measured: under the attack of its own training, or by the standard one of the suite
`targeted`, PGM-15 with true labels on log-odds and then towards each other class."""

ATTACKS = {OWN: "training", STANDARD: "targeted"}

NAMED = {False: "PGM, the authors' way", True: "PGM, standard protocol"}
"""Rows of the named protocols, by whether attacks are clipped to pixels."""


def runs_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: scheme, beta, seed, the factors as booleans, `named`, and its accuracies.

    Args:
        table: of the experiment `beyond`.

    Returns:
        DataFrame with columns scheme, beta, seed, those of `FACTORS`, named (trained by the
        standard protocol), train, own, standard, clean: training accuracy under its own attack, and
        test accuracies under its own attack, under the standard one and without.

    Raises:
        UserError: if the table lacks a factor or an attack.
    """
    lacking = [name for name in (*FACTORS, "clip") if name not in table]
    rows = table[table["quantity"] == "accuracy"]
    lacking += sorted(set(ATTACKS.values()) - set(rows["attack"]))
    require(
        not lacking,
        f"table has no {', '.join(lacking)}; give the table of the experiment beyond.",
    )
    wide = rows.pivot(index="run", columns=["split", "attack"], values="value")
    about = table.drop_duplicates("run").set_index("run")
    found = about[["scheme", "beta", "seed"]].copy()
    for name, (_, at_work) in FACTORS.items():
        found[name] = about[name].astype(str) == str(at_work)
    found["named"] = about["clip"].astype(str) == "True"
    found["train"] = wide["train", "training"]
    for name, attack in ATTACKS.items():
        found[name] = wide["test", attack]
    found["clean"] = wide["test", "none"]
    return found.reset_index(drop=True)


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Every way to train, one row a cell, seed and budget: the factorial, then the named ones.

    The factorial is of the scheme that has a cell for each combination of `FACTORS`.

    Args:
        runs: as `runs_of` returns it.

    Returns:
        The same columns and `cell`, an integer in the order in which figures show them.
    """
    plain = runs[~runs["named"]]
    counts = plain.groupby("scheme").apply(lambda own: len(own[list(FACTORS)].drop_duplicates()))
    whole = counts[counts == 2 ** len(FACTORS)].index
    require(
        len(whole) == 1,
        f"table has {2 ** len(FACTORS)} combinations of {', '.join(FACTORS)} for "
        f"{len(whole)} training schemes; give the table of the experiment beyond.",
    )
    factorial = plain[plain["scheme"] == whole[0]].copy()
    order = sorted(itertools.product((False, True), repeat=len(FACTORS)), key=_rank)
    place = {flags: index for index, flags in enumerate(order)}
    factorial["cell"] = [place[flags] for flags in _flags(factorial)]
    pgm = runs[
        (runs["scheme"] == "pgm") & (runs["named"] | ~runs[list(FACTORS)].any(axis=1))
    ].copy()
    pgm["cell"] = len(order) + pgm["named"].astype(int)
    return pd.concat([factorial, pgm], ignore_index=True)


def _flags(runs: pd.DataFrame) -> list[tuple[bool, ...]]:
    return [tuple(map(bool, flags)) for flags in runs[list(FACTORS)].to_numpy()]


def _rank(flags: tuple[bool, ...]) -> tuple:
    """Fewer factors first, then in the order of `FACTORS`."""
    return sum(flags), tuple(not flag for flag in flags)


def gains(cells: pd.DataFrame, attack: str = STANDARD) -> pd.DataFrame:
    """Test accuracy with SN minus without, seed by seed: a row a seed, a column a cell.

    Args:
        cells: as `cells` returns it.
        attack: "own" or "standard".
    """
    wide = cells.assign(sn=np.isfinite(cells["beta"])).pivot(
        index="seed", columns=["sn", "cell"], values=attack
    )
    return (wide[True] - wide[False]).sort_index(axis=1)


def effects(cells: pd.DataFrame, attack: str = STANDARD) -> pd.DataFrame:
    """What each factor does to test accuracy, without and with SN, and so to the gain.

    The mean over the other factors' combinations of "at work" minus "not", seed by seed.

    Args:
        cells: as `cells` returns it.
        attack: "own" or "standard".

    Returns:
        DataFrame factor, without, with, gain, each followed by a column with half of its 95 %
        interval over seeds ("without half", ...); gain is the effect on the gain of SN.
    """
    factorial = cells[cells["cell"] < 2 ** len(FACTORS)]
    factorial = factorial.assign(sn=np.isfinite(factorial["beta"]))
    rows = []
    for name, (title, _) in FACTORS.items():
        means = factorial.groupby(["seed", "sn", name])[attack].mean().unstack(name)
        change = (means[True] - means[False]).unstack("sn")
        row = {"factor": title}
        parts = {"without": change[False], "with": change[True]}
        for part, values in (parts | {"gain": change[True] - change[False]}).items():
            row[part], row[f"{part} half"] = statistics.interval(values)
        rows.append(row)
    return pd.DataFrame(rows).set_index("factor")


def summary(cells: pd.DataFrame) -> pd.DataFrame:
    """The gain of SN in the ways that matter most, under both attacks.

    Args:
        cells: as `cells` returns it.

    Returns:
        DataFrame indexed by way: standard, own (mean gain over seeds), each followed by a column
        with half of its 95 % interval ("standard half", ...).
    """
    count = 2 ** len(FACTORS)
    chosen = {"the authors' way": [0]}
    chosen |= {f"{title} alone": [1 + place] for place, (title, _) in enumerate(FACTORS.values())}
    chosen |= {"all four": [count - 1], "mean of the sixteen": list(range(count))}
    chosen |= {NAMED[named]: [count + named] for named in (False, True)}
    rows = {}
    for way, places in chosen.items():
        row = {}
        for attack in (STANDARD, OWN):
            by_seed = gains(cells, attack)[places].mean(axis=1).dropna()
            row[attack], row[f"{attack} half"] = statistics.interval(by_seed)
        rows[way] = row
    return pd.DataFrame(rows).T.rename_axis("gain of SN")


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Shares as points to print: each column x that has a column "x half" becomes "x ± half"."""
    return statistics.with_halves(100 * table, "+.1f")
