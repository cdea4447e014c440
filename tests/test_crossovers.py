"""Error against eps: advantages and crossovers, on tables by hand and on the paper's curves."""

import math

import pandas as pd
import pytest

from snlib import crossovers
from snlib.errors import UserError
from snlib.figures import robustness

INF = math.inf


def curve(scheme, beta, attack, radii, accuracies, *, unit=2.0, norm=math.nan, seed=0) -> list:
    """Rows of one run's curve, as the table of `robustness` holds them."""
    name = f"{scheme}-{norm}-{beta}-{seed}"
    run = dict(run=name, scheme=scheme, beta=beta, seed=seed, norm=norm, attack=attack)
    run |= dict(eps=unit if norm == INF else math.nan)  # a setting, not the radius of an attack
    rows = [
        {**run, "quantity": "accuracy", "split": "test", "x": x, "value": value}
        for x, value in zip(radii, accuracies, strict=True)
    ]
    return [*rows, {**run, "quantity": "unit", "split": "test", "x": math.nan, "value": unit}]


@pytest.fixture
def table() -> pd.DataFrame:
    """ERM under FGM and a net trained on linf attacks under its own; with what else a table has."""
    rows = [
        *curve("erm", INF, "fgm", [0, 1, 2, 4], [0.9, 0.7, 0.5, 0.4]),
        *curve("erm", 1.6, "fgm", [0, 1, 2, 4], [0.9, 0.8, 0.6, 0.3]),
        *curve("pgm", INF, "pgm_inf", [0, 0.1], [0.9, 0.2], unit=0.1, norm=INF),
        *curve("pgm", 1.6, "pgm_inf", [0, 0.1], [0.8, 0.5], unit=0.1, norm=INF),
    ]
    return pd.DataFrame(
        [
            *rows,
            {**rows[0], "attack": "training", "x": math.nan},
            {**rows[0], "attack": "strongest", "x": 2.0, "value": 0.1},
        ]
    )


def test_errors_are_read_in_radii_of_training(table) -> None:
    rows = crossovers.errors(table)
    assert set(rows["net"]) == {"erm", "pgm_inf"} and set(rows["attack"]) == {"fgm", "pgm_inf"}
    free = rows[(rows["net"] == "erm") & (rows["beta"] == INF)]
    assert free["share"].tolist() == [0, 0.5, 1, 2] and free["eps"].tolist() == [0, 1, 2, 4]
    assert free["error"].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.6])
    linf = rows[(rows["net"] == "pgm_inf") & (rows["beta"] == 1.6)]
    assert linf["share"].tolist() == [0, 1] and linf["error"].tolist() == pytest.approx([0.2, 0.5])


def test_a_table_without_curves_or_radii_is_refused(table) -> None:
    for lacking in (table[table["quantity"] == "unit"], table[table["quantity"] != "unit"]):
        with pytest.raises(UserError, match="experiment robustness"):
            crossovers.errors(lacking)


def test_advantages_below_the_radius_of_training(table) -> None:
    rows = crossovers.advantages(crossovers.errors(table))
    erm = rows[rows["net"] == "erm"]
    assert erm["advantage"].tolist() == pytest.approx([0.0, 0.1, 0.1, -0.1])
    means = crossovers.below(rows).set_index(["net", "attack"])["advantage"]
    assert means["erm", "fgm"] == pytest.approx((0.1 + 0.1) / 2)  # 0 and twice the radius left out
    assert means["pgm_inf", "pgm_inf"] == pytest.approx(0.3)
    found = crossovers.crossovers(rows)
    assert found["erm", "fgm"] == pytest.approx(1.5)  # halfway from 1 to 2
    assert found["pgm_inf", "pgm_inf"] == INF


def test_a_crossover_is_that_of_the_mean_over_seeds(table) -> None:
    more = pd.DataFrame(
        curve("erm", INF, "fgm", [0, 1, 2, 4], [0.9, 0.7, 0.5, 0.4], seed=1)
        + curve("erm", 1.6, "fgm", [0, 1, 2, 4], [0.9, 0.7, 0.4, 0.0], seed=1)
    )
    rows = crossovers.advantages(crossovers.errors(pd.concat([table, more])))
    # seed 1: 0, 0, -0.1, -0.4; mean: 0, .05, 0, -.25
    assert crossovers.crossovers(rows)["erm", "fgm"] == pytest.approx(1.0)


def test_budgets_that_cannot_be_compared_are_refused(table) -> None:
    rows = crossovers.errors(table)
    with pytest.raises(UserError, match=r"budgets \[1.6\]"):
        crossovers.advantages(rows[rows["beta"] == 1.6])
    other = rows[(rows["net"] == "erm") & (rows["beta"] == 1.6)].assign(beta=1.0)
    with pytest.raises(UserError, match=r"\[1.0, 1.6, inf\]"):
        crossovers.advantages(pd.concat([rows, other]))


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        ([0.1, 0.1, 0.1], INF),
        ([0.0, 0.0, 0.0], INF),
        ([0.1, 0.1, -0.1], 1.5),
        ([0.1, 0.2, -0.6], 1.25),
        ([0.1, -0.1, 0.1], 0.5),  # the first of several
        ([-0.1, -0.1, 0.1], 0.0),  # never better before it is worse
        ([0.0, -0.1, -0.1], 0.0),
        ([-0.1, 0.1, 0.1], INF),  # clean error is not robustness
        ([0.1, 0.0, -0.1], 1.0),
    ],
)
def test_crossover(advantage, expected) -> None:
    found = crossovers.crossover(pd.Series([0.0, 1.0, 2.0]), pd.Series(advantage))
    assert found == pytest.approx(expected)


def test_radii_in_disorder_are_refused() -> None:
    with pytest.raises(UserError, match="ascending radii"):
        crossovers.crossover(pd.Series([0.0, 0.0]), pd.Series([1.0, 2.0]))


def test_the_papers_crossovers_are_those_read_off_its_figure() -> None:
    """FACTS, F-adv: in the paper's units 2.5, 4, .1, .75; 4.4, 4.9, .2, 4.7."""
    read = dict(zip(crossovers.PANELS, (2.5, 4, 0.1, 0.75, 4.4, 4.9, 0.2, 4.7), strict=True))
    found = crossovers.crossovers(robustness.published_advantages())
    assert set(found.index) == set(read)
    for (net, attack), eps in read.items():
        ours = found[net, attack] * robustness.PUBLISHED_UNIT[attack]
        assert ours == pytest.approx(eps, rel=0.06, abs=0.016), (net, attack)
