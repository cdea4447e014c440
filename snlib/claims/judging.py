"""The claims judged from recorded tables, at one scale or at all."""

from __future__ import annotations

import math

import pandas as pd

from snlib import results, tables
from snlib.claims.catalogue import CLAIMS
from snlib.claims.rule import (
    AGAINST,
    LEVEL,
    NOT_TESTABLE,
    SCALES,
    UNDECIDED,
    Claim,
    Evidence,
    together,
    verdict,
    wanted,
)
from snlib.errors import UserError, require

STRICT = 1 - (1 - LEVEL) / len(CLAIMS)
"""The level at which a verdict stands although so many claims are judged at once (Bonferroni)."""


def weigh(scale: str = "quick", store: str = "recorded") -> pd.DataFrame:
    """Every part of every claim's evidence at a scale, one row each.

    Returns:
        DataFrame: number, claim, experiment, statistic, part, decides, reference (the same number
        from the paper's data, NaN if there is none), mean, half, low, high, seeds, over, verdict,
        strict (the verdict at the stricter level), runs ("9 of 24"), data, why.

    Raises:
        UserError: if no claim is judged at that scale.
    """
    require(scale in SCALES, f"scale is {scale!r}; claims are judged at {', '.join(SCALES)} alone.")
    loaded: dict[str, pd.DataFrame | str] = {}
    rows = []
    for claim in CLAIMS:
        for evidence in claim.at(scale):
            name = evidence.experiment
            if name not in loaded:
                loaded[name] = _table(name, scale, store)
            rows += _parts(claim, evidence, loaded[name])
    return pd.DataFrame(rows, columns=list(_row(CLAIMS[0], Evidence("", "", verdict), "")))


def judge(scale: str = "quick", store: str = "recorded") -> pd.DataFrame:
    """Every claim with its verdict at a scale.

    Returns:
        DataFrame, one row a claim: as `weigh`, with the numbers of the part that decides (the
        worst, of equal ones that with the lowest interval), and published, trust, parts (how
        many), threshold (`low`), claimed (the range in words). `half` is the half-width of the
        95 % interval; NaN where there is no evidence.

    Raises:
        UserError: as `weigh`.
    """
    weighed = weigh(scale, store)
    weighed = weighed[weighed["decides"]]
    rows = []
    for claim in CLAIMS:
        parts = weighed[weighed["number"] == claim.number]
        if parts.empty:
            row = _row(claim, Evidence("", "", verdict), "") | {"why": claim.why}
        else:
            row = _worst(parts)
        row |= {
            "published": claim.published,
            "trust": claim.trust,
            "parts": len(parts),
            "threshold": row["low"],
            "claimed": wanted(row["low"], row["high"]),
            "verdict": together(parts["verdict"]),
            "strict": together(parts["strict"]),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def judge_all(
    store: str = "recorded", scales: tuple[str, ...] = SCALES, *, only: str | None = None
) -> pd.DataFrame:
    """`judge` at several scales, one below the other, with a column scale.

    Args:
        store: where the tables are.
        scales: in order.
        only: the one scale that is read from `store`, the others from the committed evidence.
    """
    return _at_scales(judge, store, scales, only)


def weigh_all(
    store: str = "recorded", scales: tuple[str, ...] = SCALES, *, only: str | None = None
) -> pd.DataFrame:
    """`weigh` at several scales, as `judge_all`."""
    return _at_scales(weigh, store, scales, only)


def _at_scales(function, store: str, scales: tuple[str, ...], only: str | None) -> pd.DataFrame:
    found = [
        function(scale, store if only in (None, scale) else "recorded").assign(scale=scale)
        for scale in scales
    ]
    return pd.concat(found, ignore_index=True)


def _table(name: str, scale: str, store: str) -> pd.DataFrame | str:
    """The table of an experiment or, as benchmarks/NAME, of a benchmark; or why there is none."""
    try:
        if name.startswith("benchmarks/"):
            return tables.benchmarks(name.partition("/")[2])
        return tables.load(name, scale=scale, store=store)
    except UserError as error:
        there = results.store(store).table_path(name, scale).exists()
        return str(error) if there else f"nothing recorded of {name} at {scale}"


def _row(claim: Claim, evidence: Evidence, part: str) -> dict[str, object]:
    """A row of `weigh` without numbers."""
    return {
        "number": claim.number,
        "claim": claim.sentence,
        "experiment": evidence.experiment,
        "statistic": evidence.statistic,
        "part": part,
        "decides": evidence.decides,
        "reference": evidence.published.get(part, math.nan),
        "mean": math.nan,
        "half": math.nan,
        "low": claim.low if evidence.low is None else evidence.low,
        "high": claim.high if evidence.high is None else evidence.high,
        "seeds": 0,
        "over": "seeds",
        "verdict": NOT_TESTABLE,
        "strict": NOT_TESTABLE,
        "runs": "",
        "data": "",
        "why": "",
    }


def _parts(claim: Claim, evidence: Evidence, table: pd.DataFrame | str) -> list[dict]:
    """The rows of one claim's evidence from one experiment."""
    if isinstance(table, str) or table.empty:
        why = table if isinstance(table, str) else f"the table of {evidence.experiment} is empty"
        return [_row(claim, evidence, "") | {"why": why}]
    try:
        values = evidence.compute(table)
    except UserError as error:
        return [_row(claim, evidence, "") | {"why": str(error)}]
    over = values.attrs.get("over", "seeds")
    parts = values.to_frame("") if isinstance(values, pd.Series) else values
    about = table.attrs.get("provenance", {})
    rows = []
    for part in parts:
        row = _row(claim, evidence, str(part))
        numbers = parts[part].dropna()
        word, mean, half = verdict(numbers, row["low"], row["high"])
        strict, _, _ = verdict(numbers, row["low"], row["high"], level=STRICT)
        row |= {
            "mean": mean,
            "half": half,
            "seeds": len(numbers),
            "over": over,
            "verdict": word,
            "strict": strict,
            "runs": f"{about['done']} of {about['runs']}" if about else "",
            "data": tables.images(about.get("data", ())),
            "why": _why(word, len(numbers)),
        }
        rows.append(row)
    return rows or [_row(claim, evidence, "") | {"why": "the table lacks what it needs"}]


def _why(word: str, seeds: int) -> str:
    """What leaves a part undecided."""
    if word != UNDECIDED:
        return ""
    return "the interval holds the bound" if seeds > 2 else f"seeds: {seeds}, three are needed"


def _worst(parts: pd.DataFrame) -> dict[str, object]:
    """The row of the part that decides."""
    order = [AGAINST, UNDECIDED, NOT_TESTABLE]
    rank = parts["verdict"].map(lambda word: order.index(word) if word in order else len(order))
    room = pd.concat([parts["mean"] - parts["low"], parts["high"] - parts["mean"]], axis=1)
    room = room.min(axis=1) - parts["half"]
    first = parts.assign(rank=rank, room=room).sort_values(["rank", "room"], kind="stable")
    return first.iloc[0].drop(["rank", "room"]).to_dict()
