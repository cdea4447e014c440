"""Rank correlations against scipy, and against cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snlib import ranking
from snlib.errors import UserError

INF = math.inf


@pytest.mark.parametrize("values", [1000, 4])  # hardly a tie, many ties
@pytest.mark.parametrize("count", [2, 3, 17, 60])
def test_kendall_is_scipys_tau_b(count: int, values: int) -> None:
    draw = np.random.default_rng(count)
    for _ in range(20):
        first, second = draw.integers(values, size=(2, count))
        expected = stats.kendalltau(first, second).statistic
        assert ranking.kendall(first, second) == pytest.approx(expected, nan_ok=True)


def test_kendall_by_hand() -> None:
    # pairs: (1,2) agree, (1,3) agree, (2,3) disagree -> (2 - 1) / 3
    assert ranking.kendall([1, 2, 3], [10, 30, 20]) == pytest.approx(1 / 3)
    assert ranking.kendall([1, 2, 3], [3, 2, 1]) == -1
    # one tie of three pairs in the second list, two agree: 2 / 3, or 2 / sqrt(3 * 2)
    assert ranking.kendall([1, 2, 3], [1, 1, 2], ties=False) == pytest.approx(2 / 3)
    assert ranking.kendall([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(ranking.kendall([1, 2], [5, 5]))
    assert ranking.kendall([1, 2], [5, 5], ties=False) == 0


def test_kendall_is_antisymmetric_and_blind_to_scale() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    tau = ranking.kendall(first, second)
    assert ranking.kendall(first, -second) == pytest.approx(-tau)
    assert ranking.kendall(np.exp(first), second) == pytest.approx(tau)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [([1], [1], "n > 1"), ([1, 2], [1, 2, 3], "shapes"), ([1, math.nan], [1, 2], "NaN")],
)
def test_broken_lists_are_refused(first, second, message) -> None:
    with pytest.raises(UserError, match=message):
        ranking.kendall(first, second)


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two settings; the measure follows beta rightly and the width wrongly, and beta rules."""
    rows = [
        # width, beta, measure, gap
        (1, 1.0, 1.0, 0.10),
        (2, 1.0, 2.0, 0.05),
        (1, INF, 8.0, 0.50),
        (2, INF, 9.0, 0.40),
    ]
    table = pd.DataFrame(rows, columns=["width", "beta", "measure", "gap"])
    return table.assign(seed=0)


def test_granulated_tells_settings_apart(runs) -> None:
    psi = ranking.granulated(runs, "measure", "gap", ["width", "beta"])
    assert psi == {"width": -1.0, "beta": 1.0}
    # all six pairs: the two over width alone disagree, four agree
    assert ranking.kendall(runs["measure"], runs["gap"]) == pytest.approx((4 - 2) / 6)


def test_granulated_averages_over_the_other_settings(runs) -> None:
    runs.loc[1, "gap"] = 0.20  # at beta 1 the width is now ranked rightly: (1 - 1) / 2
    assert ranking.granulated(runs, "measure", "gap", ["width", "beta"])["width"] == 0
    runs.loc[1, "gap"] = 0.10  # a tie there: (0 - 1) / 2
    assert ranking.granulated(runs, "measure", "gap", ["width", "beta"])["width"] == -0.5


def test_granulated_over_three_values() -> None:
    table = pd.DataFrame({"beta": [1.0, 2.0, INF], "measure": [1, 3, 2], "gap": [1, 2, 3]})
    assert ranking.granulated(table, "measure", "gap", ["beta"]) == {"beta": pytest.approx(1 / 3)}


def test_a_setting_that_does_not_vary_has_no_psi(runs) -> None:
    psi = ranking.granulated(runs.assign(net="mlp1"), "measure", "gap", ["width", "beta", "net"])
    assert math.isnan(psi["net"]) and psi["beta"] == 1


def test_by_seed_keeps_seeds_apart(runs) -> None:
    other = runs.assign(seed=1, measure=-runs["measure"])
    both = pd.concat([runs, other])
    with pytest.raises(UserError, match="same width, beta"):
        ranking.granulated(both, "measure", "gap", ["width", "beta"])
    taus = ranking.by_seed(both, "measure", "gap", ["width", "beta"])
    wide = taus.pivot(index="setting", columns="seed", values="tau")
    assert wide[0].to_dict() == {"all": pytest.approx(1 / 3), "beta": 1, "width": -1, "mean": 0}
    assert (wide[1] == -wide[0]).all()


def test_weights_are_the_authors() -> None:
    # 2 n (d/2)^2 = 2 * 800 * .0025 = 4 -> (1 - 2 e^-4)^2
    assert ranking.weight(0.1, 800) == pytest.approx((1 - 2 * math.exp(-4)) ** 2)
    assert ranking.weight(-0.1, 800) == ranking.weight(0.1, 800)
    assert ranking.weight(0.01, 800) == 0 and ranking.weight(1, 10_000) == pytest.approx(1)


def seeds(runs: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    return pd.concat([runs.assign(seed=seed) for seed in range(count)])


def test_sign_errors_by_environment(runs) -> None:
    found = ranking.sign_errors(seeds(runs), "measure", "gap", ["width", "beta"], images=10_000)
    errors = found.set_index(["setting", "low", "high"])["error"].groupby(level=[0, 1, 2]).max()
    assert errors["beta", 1.0, INF] == 0
    assert errors["width", 1, 2] == 1
    assert len(found) == 4 and np.allclose(found["pairs"], 9)
    assert set(found.loc[found["setting"] == "beta", "width"]) == {1, 2}


def test_gaps_within_the_noise_of_the_test_set_are_left_out(runs) -> None:
    # with 1,000 images differences of .05 and .10 weigh (1 - 2 e^-1.25)^2 = .18 and .99
    found = ranking.sign_errors(seeds(runs), "measure", "gap", ["width", "beta"], images=1000)
    assert (ranking.weight(0.05, 1000) < ranking.CUT) and (ranking.weight(0.10, 1000) > 0.5)
    widths = found[found["setting"] == "width"]
    assert list(widths["beta"]) == [INF]
    assert ranking.sign_errors(runs, "measure", "gap", ["width", "beta"], images=10_000).empty


def test_a_pair_of_equal_measures_is_half_an_error(runs) -> None:
    found = ranking.sign_errors(
        seeds(runs.assign(measure=1.0)), "measure", "gap", ["width", "beta"], images=10_000
    )
    assert (found["error"] == 0.5).all()


def test_weights_count_in_the_error() -> None:
    # one pair of runs far apart and ranked rightly, one close and ranked wrongly
    table = pd.DataFrame(
        {
            "beta": [1.0, INF, INF],
            "measure": [1.0, 2.0, 0.0],
            "gap": [0.0, 0.5, 0.08],
        }
    )
    (found,) = ranking.sign_errors(table, "measure", "gap", ["beta"], images=2000, least=1).to_dict(
        "records"
    )
    sure, doubtful = ranking.weight(0.5, 2000) - 0.5, ranking.weight(0.08, 2000) - 0.5
    assert 0 < doubtful < sure
    assert found["error"] == pytest.approx(doubtful / (sure + doubtful))
    assert found["pairs"] == pytest.approx((sure + doubtful) ** 2 / (sure**2 + doubtful**2))


def test_missing_columns_are_named(runs) -> None:
    with pytest.raises(UserError, match="no column depth"):
        ranking.granulated(runs, "measure", "gap", ["depth"])
    with pytest.raises(UserError, match="images is 0"):
        ranking.sign_errors(runs, "measure", "gap", ["width"], images=0)
