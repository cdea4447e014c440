"""The judged claims as text: for the terminal, and as the Markdown that the README shows."""

from __future__ import annotations

import pandas as pd

from snlib import columns
from snlib.claims.catalogue import CLAIMS
from snlib.claims.judging import STRICT, judge_all
from snlib.claims.rule import AGAINST, NOT_TESTABLE, SCALES, SUPPORTED, UNDECIDED, wanted
from snlib.statistics import with_half

SHORT = {"paper@cifar10_jpeg": "paper, on CIFAR-10 (JPEG)"}
"""Scales as a table's heading shows them."""


def number(row: dict) -> str:
    """Mean and half-width, as everywhere: '+0.188 ± 0.036'."""
    return with_half(row["mean"], row["half"], "+.3f")


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """The verdicts alone: a row a claim, a column a scale.

    Args:
        judged: of `judge_all`.
    """
    wide = judged.pivot(index="number", columns="scale", values="verdict")
    return wide[list(dict.fromkeys(judged["scale"]))].rename_axis(None, axis=1)


def overview_in_words(judged: pd.DataFrame) -> str:
    """`overview` with the claims' sentences; scales at which nothing is testable are named below.

    Args:
        judged: of `judge_all`.
    """
    wide = overview(judged)
    silent = [scale for scale in wide if (wide[scale] == NOT_TESTABLE).all()]
    claims = judged.drop_duplicates("number").set_index("number")["claim"].str.removesuffix(".")
    shown = wide.drop(columns=silent).rename(columns=SHORT).assign(claim=claims)
    shown.insert(0, "", shown.index)
    lines = [_to_the_left(shown)]
    if silent:
        names = " and at ".join(SHORT.get(scale, scale) for scale in silent)
        lines.append(f"Nothing is testable yet at {names}.")
    return "\n".join(lines)


def _to_the_left(frame: pd.DataFrame) -> str:
    """A table of texts with its headings; the last column is folded where a line would be long."""
    rows = [list(frame), *frame.astype(str).to_numpy().tolist()]
    return "\n".join(columns.aligned(rows, columns.WIDTH))


def report(scales: tuple[str, ...] = SCALES, store: str = "recorded") -> str:
    """Every claim with its published numbers and, at each scale, verdict, numbers and reasons."""
    judged = judge_all(store, scales)
    lines = ["Mean ± half of the 95 % interval; the rule is stated in snlib/claims/rule.py."]
    for claim in CLAIMS:
        lines += [
            f"{claim.number:2}. {claim.sentence}",
            f"    published ({claim.trust}): {claim.published}",
        ]
        told = ""
        for row in judged[judged["number"] == claim.number].to_dict("records"):
            if row["statistic"] and row["statistic"] != told:
                told = row["statistic"]
                lines.append(f"    {told}; claim: {row['claimed']}")
            lines.append(f"    {row['scale']:<19}{row['verdict']:<14} {_detail(row)}".rstrip())
    return "\n".join(lines)


def _detail(row: dict) -> str:
    """Numbers of the deciding part, or the reason for having none."""
    if row["verdict"] == NOT_TESTABLE:
        return row["why"]
    part = f"{row['part']}: " if row["part"] else ""
    why = f"; {row['why']}" if row["why"] else ""
    return f"{part}{number(row)} ({row['seeds']} {row['over']}{why})"


def numbers(weighed: pd.DataFrame) -> pd.DataFrame:
    """Every part that something is recorded of, in words: `paper` is the same number of its data.

    `over` says over what the interval is and, where a seed's number is itself a mean, over what.

    Args:
        weighed: of `weigh_all`, or a part of it.
    """
    rows = weighed[weighed["seeds"] > 0]
    return pd.DataFrame(
        {
            "scale": rows["scale"],
            "claim": rows["number"],
            "statistic": rows["statistic"],
            "part": rows["part"],
            "paper": rows["reference"].map(lambda one: "" if pd.isna(one) else f"{one:+.3f}"),
            "here": [number(row) for row in rows.to_dict("records")],
            "claimed": [wanted(*pair) for pair in zip(rows["low"], rows["high"], strict=True)],
            "verdict": rows["verdict"],
            "99.72 %": rows["strict"].where(rows["strict"] != rows["verdict"], "same"),
            "over": rows["seeds"].astype(str) + " " + rows["over"],
        }
    )


def numbers_in_words(weighed: pd.DataFrame) -> str:
    """`numbers` as text, and below it the statistic of each claim and what is claimed of it.

    Args:
        weighed: of `weigh_all`, or a part of it.
    """
    told = numbers(weighed)
    lines = [told.drop(columns=["statistic", "claimed"]).to_string(index=False)]
    for row in told.drop_duplicates(["claim", "statistic"]).to_dict("records"):
        text = f"{row['claim']:2}  {row['statistic']}; claimed: {row['claimed']}"
        lines.append(columns.folded(text, " " * 4))
    return "\n".join(lines)


def sources_in_words(weighed: pd.DataFrame) -> str:
    """What the numbers were computed from, as text: experiments, their runs and data.

    Args:
        weighed: of `weigh_all`.
    """
    told = weighed[weighed["seeds"] > 0]
    return _to_the_left(told[["scale", "experiment", "runs", "data"]].drop_duplicates())


def reasons_in_words(judged: pd.DataFrame) -> str:
    """`reasons` as text."""
    return _to_the_left(reasons(judged))


def reasons(judged: pd.DataFrame) -> pd.DataFrame:
    """Why claims are not testable: a row a reason, with the claims and scales that it concerns."""
    rows = judged[judged["verdict"] == NOT_TESTABLE]
    grouped = rows.groupby(["scale", "why"], sort=False)["number"]
    found = grouped.agg(lambda group: ", ".join(map(str, group))).reset_index()
    return found[["scale", "number", "why"]].rename(columns={"number": "claims"})


def findings(judged: pd.DataFrame) -> str:
    """Which claims stand at each scale, which do not, and which nobody can tell yet."""
    lines = []
    for scale, rows in judged.groupby("scale", sort=False):
        told = [
            f"{word} {', '.join(map(str, rows.loc[rows['verdict'] == word, 'number']))}"
            for word in (SUPPORTED, AGAINST, UNDECIDED, NOT_TESTABLE)
            if (rows["verdict"] == word).any()
        ]
        lines.append(f"{scale}: {'; '.join(told)}.")
    return "\n".join(columns.folded(line) for line in [*lines, firm(judged)])


def summary(store: str = "recorded") -> str:
    """The judged claims as the README shows them: a Markdown table, a row a claim, all scales.

    A cell holds the verdict and, of the part that decides it, mean ± half of the 95 % interval.
    """
    judged = judge_all(store)
    titles = [SHORT.get(scale, scale) for scale in SCALES]
    lines = [
        f"| claim | statistic; supported if | {' | '.join(titles)} |",
        "|---" * (2 + len(titles)) + "|",
    ]
    for number_, rows in judged.groupby("number"):
        rows = rows.set_index("scale")
        told = rows[rows["statistic"] != ""]
        cells = [_cell(row) for row in rows.loc[list(SCALES)].to_dict("records")]
        first = f"{number_}. {told['claim'].iloc[0]} | {_told(told)}; {told['claimed'].iloc[0]}"
        lines.append(f"| {first} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", firm(judged)])


def _told(judged: pd.DataFrame) -> str:
    """A claim's statistic, and where another decided it, that one with its scales."""
    tested = judged[judged["verdict"] != NOT_TESTABLE]
    shown = tested if len(tested) else judged.iloc[:1]
    first, *others = shown.groupby("statistic", sort=False).groups.items()
    named = [f"at {' and '.join(SHORT.get(one, one) for one in at)}: {text}" for text, at in others]
    return "; ".join([first[0], *named])


def _cell(row: dict) -> str:
    """A claim at a scale, in a few words."""
    if row["verdict"] == NOT_TESTABLE:
        return "–"
    part = f"{row['part']} " if row["part"] else ""
    return f"{row['verdict']}, {part}{number(row)}" if row["seeds"] else row["verdict"]


def firm(judged: pd.DataFrame) -> str:
    """How many verdicts for or against there are, and how many stay at the stricter level."""
    told = judged[judged["verdict"].isin((SUPPORTED, AGAINST))]
    stay = (told["verdict"] == told["strict"]).sum()
    return (
        f"{len(told)} of {len(judged)} verdicts are for or against a claim; {stay} of them stay at "
        f"the level {100 * STRICT:.2f} %, which allows for {len(CLAIMS)} claims at once."
    )
