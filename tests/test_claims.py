"""Claims: statistics by hand on small tables, the rule on intervals known from scipy."""

import math

import pandas as pd
import pytest
from scipy import stats

from snlib import claims, tables
from snlib.errors import UserError
from snlib.results import ROOT
from snlib.workbook.record import fill


def gap_table(cells: dict) -> pd.DataFrame:
    """Rows of a table of `gap`; cells: (scheme, beta, seed) -> (train, validation, test, clean)."""
    rows = []
    for (scheme, beta, seed), (train, validation, test, clean) in cells.items():
        values = {"train": train, "validation": validation, "test": test}
        for split, value in values.items():
            for attack, shown in (("training", value), ("none", clean)):
                rows.append(
                    dict(scheme=scheme, beta=beta, seed=seed, split=split, attack=attack)
                    | dict(quantity="accuracy", x=math.nan, value=shown, labels="true")
                )
    return pd.DataFrame(rows)


def example() -> pd.DataFrame:
    cells = {}
    for seed in (0, 1, 2):
        shift = 0.01 * seed
        cells["erm", math.inf, seed] = (1.0, 0.9, 0.9, 0.9)
        cells["erm", 1.6, seed] = (1.0, 0.8, 0.9, 0.9)
        for scheme in claims.ADVERSARIAL:
            cells[scheme, math.inf, seed] = (0.9, 0.4, 0.5, 0.8)
            cells[scheme, 1.6, seed] = (0.8, 0.6, 0.6 + shift, 0.7)
    return gap_table(cells)


def test_statistics_by_hand() -> None:
    table = example()
    # gaps without SN: erm 0.1, the others 0.4; validation chooses inf for erm, 1.6 for the others
    assert list(claims._adversarial_gap(table)) == pytest.approx([0.3, 0.3, 0.3])
    assert list(claims._test_gain(table)) == pytest.approx([0.10, 0.11, 0.12])
    assert list(claims._gap_reduction(table)) == pytest.approx([0.20, 0.21, 0.22])
    assert list(claims._clean_gain(table)) == pytest.approx([-0.075] * 3)


def test_rule_against_scipy() -> None:
    values = pd.Series([0.10, 0.11, 0.12])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    word, mean, half = claims.verdict(values, low - 1e-9)
    assert (word, mean - half, mean + half) == (
        "supported",
        pytest.approx(low),
        pytest.approx(high),
    )
    assert claims.verdict(values, low + 1e-9)[0] == "undecided"
    assert claims.verdict(values, high + 1e-9)[0] == "not supported"
    assert claims.verdict(values[:2], -10.0)[0] == "undecided"
    assert claims.verdict(values[:1], -10.0)[0] == "undecided"


def test_every_claim_has_a_row_and_no_evidence_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str, **options: object) -> pd.DataFrame:
        raise UserError("nothing is recorded")

    monkeypatch.setattr(tables, "load", nothing)
    judged = claims.judge("paper")
    assert list(judged["number"]) == list(range(1, 19))
    assert judged["verdict"].str.startswith("not testable").all()
    assert judged["mean"].isna().all()


def test_a_reversed_effect_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    table = example()
    table.loc[table["beta"].eq(1.6) & table["split"].eq("test"), "value"] -= 0.4

    def gap_alone(name: str, **options: object) -> pd.DataFrame:
        if name != "gap":
            raise UserError("nothing is recorded")
        return table

    monkeypatch.setattr(tables, "load", gap_alone)
    words = claims.judge().set_index("number")["verdict"]
    assert words[1] == "supported"
    assert words[2] == "not supported"
    assert words[9].startswith("not testable: nothing recorded of gain")


def test_random_labels_by_hand() -> None:
    rows = [
        dict(scheme="erm", labels="random", beta=beta, seed=0, split="train", attack="training")
        | dict(quantity="accuracy", value=value)
        for beta, value in ((math.inf, 1.0), (1.3, 0.4))
    ]
    assert list(claims._random_label_drop(pd.DataFrame(rows))) == pytest.approx([0.6])


def test_the_readme_says_what_the_records_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill(readme, "claims", claims.summary()) == readme, "run: make record"


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(UserError, match="no markers <!-- claims -->"):
        fill("nothing here", "claims", "table")
