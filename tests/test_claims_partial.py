"""Evidence grows run by run: whatever part of it is there, judging it is no error."""

import numpy as np
import pandas as pd
import pytest

from snlib import claims, tables
from snlib.claims import judging


@pytest.fixture(scope="module")
def recorded() -> dict[str, pd.DataFrame]:
    """The committed quick tables that any claim reads."""
    names = {one.experiment for claim in claims.CLAIMS for one in claim.at("quick")}
    found = {name: judging._table(name, "quick", "recorded") for name in sorted(names)}
    found = {name: table for name, table in found.items() if not isinstance(table, str)}
    found = {name: table for name, table in found.items() if "run" in table}
    assert {"gap", "gain", "margins"} <= set(found), "no evidence is left to be cut"
    return found


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.7])
def test_any_part_of_the_runs_can_be_judged(
    recorded: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    generator = np.random.default_rng(int(100 * share))

    def part(name: str, *, scale: str, store: str) -> pd.DataFrame:
        table = recorded[name]
        runs = pd.Series(table["run"].unique())
        kept = generator.random(len(runs)) < share
        kept[generator.integers(len(runs))] = True  # a table has one run at least
        return table[table["run"].isin(runs[kept])]

    monkeypatch.setattr(tables, "load", part)
    for _ in range(2):
        judged = claims.judge("quick")
        assert list(judged["number"]) == list(range(1, 19))
        few = judged[(judged["seeds"] < 3) & (judged["mean"] != -np.inf)]
        assert set(few["verdict"]) <= {"undecided", "not testable", "not supported"}
        assert not ((few["parts"] == 1) & (few["verdict"] == "not supported")).any()


def test_one_seed_decides_nothing(
    recorded: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(name: str, *, scale: str, store: str) -> pd.DataFrame:
        return recorded[name][recorded[name]["seed"] == 0]

    monkeypatch.setattr(tables, "load", first)
    judged = claims.judge("quick")
    own = judged[~judged["experiment"].str.startswith("benchmarks/")]
    assert set(own["verdict"]) == {"undecided", "not testable"}
