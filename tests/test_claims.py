"""Claims: statistics by hand on small tables, the rule on intervals known from scipy."""

import math

import pandas as pd
import pytest
from scipy import stats

from snlib import claims, tables
from snlib.claims import gap, labels, rule
from snlib.errors import UserError
from snlib.results import ROOT
from snlib.workbook.record import fill

INF = math.inf


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
        cells["erm", INF, seed] = (1.0, 0.9, 0.9, 0.9)
        cells["erm", 1.6, seed] = (1.0, 0.8, 0.9, 0.9)
        for scheme in gap.ADVERSARIAL:
            cells[scheme, INF, seed] = (0.9, 0.4, 0.5, 0.8)
            cells[scheme, 1.6, seed] = (0.8, 0.6, 0.6 + shift, 0.7)
    return gap_table(cells)


def only(table: pd.DataFrame, name: str):
    """A stand-in for `tables.load` that knows one experiment."""

    def load(asked: str, **options: object) -> pd.DataFrame:
        if asked != name:
            raise UserError("nothing is recorded")
        return table

    return load


# --------------------------------------------------------------------------------------- the rule


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
    assert claims.verdict(values[:0], -10.0)[0] == "undecided"


def test_rule_with_two_bounds_against_scipy() -> None:
    values = pd.Series([0.10, 0.11, 0.12])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert claims.verdict(values, low - 1e-9, high + 1e-9)[0] == "supported"
    assert claims.verdict(values, low - 1e-9, high - 1e-9)[0] == "undecided"
    assert claims.verdict(values, -INF, low - 1e-9)[0] == "not supported"
    assert claims.verdict(values, -INF, high + 1e-9)[0] == "supported"
    strict = stats.t.interval(claims.STRICT, 2, loc=values.mean(), scale=stats.sem(values))
    assert claims.verdict(values, strict[0] + 1e-9, level=claims.STRICT)[0] == "undecided"
    assert claims.verdict(values, strict[0] - 1e-9, level=claims.STRICT)[0] == "supported"
    assert pytest.approx(1 - 0.05 / 18) == claims.STRICT


def test_one_counterexample_is_enough() -> None:
    assert claims.verdict(pd.Series([5.0, 5.0, -INF]))[0] == "not supported"
    assert claims.verdict(pd.Series([5.0, 5.0, 5.0]))[0] == "supported"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["supported", "not supported", "undecided"], "not supported"),
        (["supported", "not testable"], "undecided"),
        (["not testable", "not testable"], "not testable"),
        ([], "not testable"),
    ],
)
def test_parts_together(words: list[str], expected: str) -> None:
    assert rule.together(words) == expected


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.0, INF, "above 0"), (-INF, 0.1, "below 0.1"), (-0.02, 0.02, "within ±0.02")],
)
def test_ranges_in_words(low: float, high: float, text: str) -> None:
    assert rule.wanted(low, high) == text


# -------------------------------------------------------------------------------- claims of the gap


def test_statistics_by_hand() -> None:
    table = example()
    # gaps without SN: erm 0.1, the others 0.4; validation chooses inf for erm, 1.6 for the others
    assert list(gap.adversarial_gap(table)) == pytest.approx([0.3, 0.3, 0.3])
    assert list(gap.test_gain(table)) == pytest.approx([0.10, 0.11, 0.12])
    assert list(gap.gap_reduction(table)) == pytest.approx([0.20, 0.21, 0.22])
    assert list(gap.clean_gain(table)) == pytest.approx([-0.075] * 3)


def test_a_lucky_seed_alone_chooses_no_budget() -> None:
    cells = {("fgm", beta, seed): (0.9, 0.5, 0.5, 0.5) for beta in (INF, 1.6) for seed in (0, 1, 2)}
    cells = {key: row for key, row in cells.items() if key[2] == 0 or math.isinf(key[1])}
    cells |= {("fgm", beta, 0): (0.9, 0.6, 0.7, 0.7) for beta in (1.6,)}
    cells["fgm", INF, 0] = (0.9, 0.5, 0.4, 0.5)
    found = gap.gains(gap_table(cells))["fgm"]
    assert found.dropna().to_dict() == pytest.approx({0: 0.3})  # seeds 1 and 2 have no budget yet


def test_before_any_budget_is_run_there_is_no_gain() -> None:
    table = example()
    free = table[table["beta"] == INF]
    assert gap.test_gain(free).empty and gap.gap_reduction(free).empty
    assert len(gap.adversarial_gap(free)) == 3


def test_a_table_half_computed_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    table = example()
    monkeypatch.setattr(tables, "load", only(table[table["scheme"] != "wrm"], "gap"))
    words = claims.judge().set_index("number")["verdict"]
    assert list(words[[1, 2, 4, 5]]) == ["undecided"] * 4


# ---------------------------------------------------------------------------------------- judging


def test_every_claim_has_a_row_and_no_evidence_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "load", only(pd.DataFrame(), "nothing"))
    monkeypatch.setattr(tables, "benchmarks", only(pd.DataFrame(), "nothing"))
    judged = claims.judge("laptop", "/nowhere")
    assert list(judged["number"]) == list(range(1, 19))
    assert set(judged["verdict"]) == {"not testable"}
    assert judged["why"].str.len().min() > 0
    assert judged["mean"].isna().all()


def test_a_reversed_effect_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    table = example()
    table.loc[table["beta"].eq(1.6) & table["split"].eq("test"), "value"] -= 0.4
    monkeypatch.setattr(tables, "load", only(table, "gap"))
    judged = claims.judge(store="/nowhere").set_index("number")
    assert judged["verdict"][1] == "supported"
    assert judged["verdict"][2] == "not supported"
    assert judged["verdict"][9] == "not testable"
    assert judged["why"][9] == "nothing recorded of gain at quick"


def test_a_table_of_other_settings_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(name: str, **options: object) -> pd.DataFrame:
        raise UserError(f"{name}.quick.csv was recorded with epochs=3")

    monkeypatch.setattr(tables, "load", stale)
    why = claims.judge().set_index("number")["why"]
    assert why[9] == "gain.quick.csv was recorded with epochs=3"


@pytest.mark.parametrize("scale", ["paper@mnist", "quick@mnist", "papr"])
def test_a_scale_at_which_nothing_is_judged_is_refused(scale: str) -> None:
    with pytest.raises(UserError) as caught:
        claims.judge(scale)
    for word in (f"scale is '{scale}'", "judged at", *claims.SCALES):
        assert word in str(caught.value)


def test_random_labels_by_hand() -> None:
    rows = [
        dict(scheme="erm", labels="random", beta=beta, seed=0, split="train", attack="training")
        | dict(quantity="accuracy", value=value)
        for beta, value in ((INF, 1.0), (1.3, 0.4))
    ]
    assert list(labels.random_label_drop(pd.DataFrame(rows))) == pytest.approx([0.6])


def test_the_readme_says_what_the_records_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill(readme, "claims", claims.summary()) == readme, "run: make record"


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(UserError, match="no markers <!-- claims -->"):
        fill("nothing here", "claims", "table")
