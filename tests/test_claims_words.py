"""Judging many parts at many scales, and the words that are made of it."""

import math
import re

import pandas as pd
import pytest

from snlib import claims, tables
from snlib.claims import judging, words
from snlib.claims.rule import Claim, Evidence
from snlib.columns import WIDTH
from snlib.commands import claims as command
from snlib.errors import UserError

INF = math.inf


def parts(**columns: list[float]) -> pd.DataFrame:
    """A statistic with these parts, three seeds each."""
    return pd.DataFrame(columns, index=[0, 1, 2])


HIGH, LOW, BROAD = [1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 0.0, 1.5]


def claim(number: int, *evidence: Evidence, **options: object) -> Claim:
    return Claim(number, f"Claim {number} holds.", "a number", "exact", evidence, **options)


def says(values: object, name: str = "here", **options: object) -> Evidence:
    """Evidence that finds these values in any table."""
    return Evidence(f"statistic of {name}", name, lambda table: values, **options)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Five claims; the experiment `here` is recorded at quick, and nothing else is."""

    def refuses(table: pd.DataFrame) -> pd.Series:
        raise UserError("the table has no budgets.")

    catalogue = (
        claim(1, says(parts(a=HIGH, b=BROAD, c=HIGH)), says(parts(d=LOW), decides=False)),
        claim(2, says(parts(a=HIGH, b=LOW))),
        claim(3, says(pd.Series(HIGH), published={"": 0.7}), low=-2.0, high=2.0),
        claim(4, says(pd.Series(HIGH), "here"), says(pd.Series(HIGH), "elsewhere")),
        claim(5, Evidence("s", "here", refuses), why="nobody asked"),
        claim(6, says(pd.Series(HIGH), scales=("paper",)), why="nobody asked"),
    )

    def load(name: str, *, scale: str, store: str) -> pd.DataFrame:
        if (name, scale) != ("here", "quick"):
            raise UserError(f"nothing is recorded of {name}")
        table = pd.DataFrame({"run": ["one"]})
        table.attrs["provenance"] = {"done": 2, "runs": 3, "data": ["digits"], "store": store}
        return table

    monkeypatch.setattr(tables, "load", load)
    monkeypatch.setattr(judging, "CLAIMS", catalogue)
    monkeypatch.setattr(words, "CLAIMS", catalogue)
    return claims.judge_all("/nowhere", ("quick", "paper"))


def row(judged: pd.DataFrame, number: int, scale: str = "quick") -> pd.Series:
    chosen = judged[(judged["number"] == number) & (judged["scale"] == scale)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_the_worst_part_decides_and_is_shown(judged: pd.DataFrame) -> None:
    first, second = row(judged, 1), row(judged, 2)
    assert (first["verdict"], first["part"], first["parts"]) == ("undecided", "b", 3)
    assert (second["verdict"], second["part"]) == ("not supported", "b")
    assert second["mean"] == pytest.approx(-1.1)
    assert first["runs"] == "2 of 3" and first["data"] == "digits"


def test_what_stands_beside_is_not_counted(judged: pd.DataFrame) -> None:
    weighed = claims.weigh_all("/nowhere", ("quick",))
    aside = weighed[~weighed["decides"]]
    assert list(aside["part"]) == ["d"] and list(aside["verdict"]) == ["not supported"]
    assert row(judged, 1)["verdict"] == "undecided"


def test_a_range_and_a_reference(judged: pd.DataFrame) -> None:
    third = row(judged, 3)
    assert (third["verdict"], third["claimed"], third["reference"]) == (
        "supported",
        "within ±2",
        0.7,
    )


def test_half_of_the_evidence_is_undecided_at_best(judged: pd.DataFrame) -> None:
    assert row(judged, 4)["verdict"] == "undecided"
    assert row(judged, 4, "paper")["verdict"] == "not testable"


def test_reasons_are_given(judged: pd.DataFrame) -> None:
    assert row(judged, 5)["why"] == "the table has no budgets."
    assert row(judged, 6)["why"] == "nobody asked"
    found = claims.reasons(judged)
    at_paper = found[found["scale"] == "paper"].set_index("why")["claims"]
    assert at_paper["nothing recorded of here at paper"] == "1, 2, 3, 4, 5, 6"
    assert set(found[found["scale"] == "quick"]["claims"]) == {"5", "6"}


def test_only_one_scale_comes_from_a_store(
    judged: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(name: str, *, scale: str, store: str) -> pd.DataFrame:
        asked.append((scale, store))
        raise UserError("nothing")

    monkeypatch.setattr(tables, "load", load)
    claims.judge_all("workbook", ("quick", "paper"), only="quick")
    assert set(asked) == {("quick", "workbook"), ("paper", "recorded")}


def test_words_of_findings(judged: pd.DataFrame) -> None:
    first, second, last, rest = claims.findings(judged).splitlines()
    assert first == "quick: supported 3; not supported 2; undecided 1, 4; not testable 5, 6."
    assert second == "paper: not testable 1, 2, 3, 4, 5, 6."
    # 1.1 ± t * 0.058: at 99.72 % the half-width is 1.1, so -2 to 2 does not hold it
    assert last.startswith("2 of 12 verdicts are for or against a claim; 1 of them stay")
    assert len(last) <= WIDTH and rest.startswith("  ") and rest.endswith("at once.")


def test_overview_and_numbers(judged: pd.DataFrame) -> None:
    shown = claims.overview(judged)
    assert list(shown.columns) == ["quick", "paper"] and shown.loc[2, "quick"] == "not supported"
    told = claims.numbers(claims.weigh_all("/nowhere", ("quick",)))
    third = told[told["claim"] == 3].iloc[0]
    assert (third["paper"], third["here"][:6], third["over"]) == ("+0.700", "+1.100", "3 seeds")
    assert len(told) == 3 + 1 + 2 + 1 + 1


def test_the_numbers_and_their_sources_as_text(judged: pd.DataFrame) -> None:
    weighed = claims.weigh_all("/nowhere", ("quick",))
    head, *lines = claims.numbers_in_words(weighed[weighed["decides"]]).splitlines()
    assert "claimed" not in head and "statistic" not in head
    assert len(lines) == 3 + 2 + 1 + 1 + 4  # a line a part; a line a claim
    assert lines[-2:] == [
        " 3  statistic of here; claimed: within ±2",
        " 4  statistic of here; claimed: above 0",
    ]
    head, *lines = claims.sources_in_words(weighed).splitlines()
    assert head.split() == ["scale", "experiment", "runs", "data"]
    assert [line.split() for line in lines] == [["quick", "here", "2", "of", "3", "digits"]]


def test_tables_of_verdicts_as_text(judged: pd.DataFrame) -> None:
    head, *rows, last = claims.overview_in_words(judged).splitlines()
    assert head.split() == ["quick", "claim"]  # at paper nothing is testable
    assert last == "Nothing is testable yet at paper."
    place = head.index("claim")
    assert len(rows) == 6 and all(row[place - 1] == " " != row[place] for row in rows)
    assert rows[1].split()[:3] == ["2", "not", "supported"]
    head, *rows = claims.reasons_in_words(judged).splitlines()
    place = head.index("why")
    assert all(row[place - 1] == " " != row[place] for row in rows)
    assert any(row[place:].rstrip() == "nobody asked" for row in rows)


def test_the_readme_s_table_has_a_row_a_claim(judged: pd.DataFrame) -> None:
    text = claims.summary("/nowhere")
    rows = [line for line in text.splitlines() if re.match(r"\| \d+\. ", line)]
    assert len(rows) == 6
    assert "| not supported, b -1.100 ± 0.248 | – | – | – |" in rows[1]
    assert all(line.count("|") == 7 for line in rows)


def test_the_readme_names_each_statistic_with_the_scales_that_it_decides() -> None:
    about = {"claim": "C", "claimed": "above 0", "part": "", "seeds": 3, "mean": 1.0, "half": 0.1}
    there = pd.DataFrame(
        [
            {**about, "scale": scale, "statistic": statistic, "verdict": verdict}
            for scale, statistic, verdict in (
                ("quick", "steps", "supported"),
                ("laptop", "runs", "not supported"),
                ("paper", "runs", "not testable"),
                ("paper@cifar10_jpeg", "runs", "undecided"),
            )
        ]
    ).set_index("scale")
    assert words._told(there) == "steps; at laptop and paper, on CIFAR-10 (JPEG): runs"
    assert words._told(there.drop(index="quick")) == "runs"
    assert words._told(there.loc[["paper"]]) == "runs"


def test_the_command_prints_every_scale_unless_one_is_named(
    judged: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    for arguments, scales in (
        ([], list(claims.SCALES)),
        (["--scale", "quick"], ["quick"]),
        (["--data", "cifar10_jpeg"], ["paper@cifar10_jpeg"]),
    ):
        options = parser.parse_args(["claims", *arguments, "--store", "/nowhere"])
        assert options.command(options) == 0
        text = capsys.readouterr().out
        block = text[text.index(" 2. Claim 2") : text.index(" 3. Claim 3")]
        assert re.findall(r"^    (\S+) +(?:not|undecided|supported)", block, re.M) == scales
    assert "not supported  b: -1.100 ± 0.248 (3 seeds)" in claims.report(("quick",), "/nowhere")
    for arguments in (["--scale", "paper", "--data", "mnist"], ["--scale", "quick@mnist"]):
        options = parser.parse_args(["claims", *arguments])
        with pytest.raises(UserError, match=r"scale is .*@mnist'; claims are judged at quick"):
            options.command(options)
