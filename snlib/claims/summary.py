"""The judged claims as text: for the terminal, and as the Markdown that the README shows."""

from __future__ import annotations

import pandas as pd

from snlib.claims.catalogue import CLAIMS
from snlib.claims.judge import judge, judge_all
from snlib.claims.rule import NOT_TESTABLE, SCALES


def number(row: dict) -> str:
    """Mean and half-width, as everywhere: '+0.188 ± 0.036'."""
    return f"{row['mean']:+.3f} ± {row['half']:.3f}".replace(" ± nan", "")


def overview(judged: pd.DataFrame) -> pd.DataFrame:
    """The verdicts alone: a row a claim, a column a scale.

    Args:
        judged: of `judge_all`.
    """
    wide = judged.pivot(index="number", columns="scale", values="verdict")
    return wide[list(dict.fromkeys(judged["scale"]))].rename_axis(None, axis=1)


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


def summary(scale: str = "quick", store: str = "recorded") -> str:
    """The judged claims as a Markdown table, as the README shows it; claims not testable left out.

    Numbers are mean ± half-width of the 95 % interval over seeds.
    """
    judged = judge(scale, store)
    there = judged["verdict"] != NOT_TESTABLE
    lines = ["| claim | statistic | here | supports if | verdict |", "|---|---|---|---|---|"]
    for row in judged[there].to_dict("records"):
        cells = (row["claim"], row["statistic"], number(row), row["claimed"])
        lines.append(f"| {row['number']}. {' | '.join(cells)} | {row['verdict']} |")
    left = ", ".join(str(number) for number in judged.loc[~there, "number"])
    lines += ["", f"Not testable on what is recorded at scale {scale}: claims {left}."]
    return "\n".join(lines)
