"""The paper's claims: sentence, statistic, published value, and a verdict by one rule.

`rule` states the rule, `catalogue` the eighteen claims; a file a theme holds the statistics, each
from a table to one number a seed; `judging` puts them together from records alone, `words` says it.
"""

from snlib.claims.catalogue import CLAIMS
from snlib.claims.judging import STRICT, judge, judge_all, weigh, weigh_all
from snlib.claims.rule import LEAST_SEEDS, SCALES, Claim, Evidence, verdict
from snlib.claims.words import (
    findings,
    firm,
    numbers,
    numbers_in_words,
    overview,
    overview_in_words,
    reasons,
    reasons_in_words,
    report,
    sources_in_words,
    summary,
)

__all__ = [
    "CLAIMS",
    "LEAST_SEEDS",
    "SCALES",
    "STRICT",
    "Claim",
    "Evidence",
    "findings",
    "firm",
    "judge",
    "judge_all",
    "numbers",
    "numbers_in_words",
    "overview",
    "overview_in_words",
    "reasons",
    "reasons_in_words",
    "report",
    "sources_in_words",
    "summary",
    "verdict",
    "weigh",
    "weigh_all",
]
