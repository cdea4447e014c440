"""The figures of notebook 09: what is drawn is what the rows say."""

import math

import numpy as np
import pandas as pd
import pytest
from layout import fits

from snlib import crossovers
from snlib.errors import UserError
from snlib.figures import robustness, strengths, style

INF = math.inf
NETS = {"erm": ("erm", math.nan), "fgm": ("fgm", 2.0), "pgm": ("pgm", 2.0), "wrm": ("wrm", 2.0)}
NETS |= {"pgm_inf": ("pgm", INF)}


@pytest.fixture
def table() -> pd.DataFrame:
    """Every net under every attack, two seeds: errors 10 % times the place of net and attack."""
    rows = []
    attacks = [*crossovers.ATTACKS, "pgm_log_odds"]
    for place, (net, (scheme, norm)) in enumerate(NETS.items()):
        for seed in (0, 1):
            for beta in (INF, 1.6):
                run = dict(run=f"{net}{seed}{beta}", scheme=scheme, norm=norm, beta=beta, seed=seed)
                run |= dict(split="test")
                for other, attack in enumerate(attacks):
                    error = 0.1 * place + 0.1 * other + 0.02 * seed + 0.1 * (beta < INF)
                    about = {**run, "attack": attack}
                    rows.append({**about, "quantity": "unit", "x": math.nan, "value": 0.5})
                    for x in (0.0, 0.5, 1.0):
                        row = {**about, "quantity": "accuracy", "x": x}
                        rows.append({**row, "value": 1 - error - 0.05 * x})
    return pd.DataFrame(rows)


def drawn(ax, color: str) -> np.ndarray:
    """The points of the one line of that colour."""
    (line,) = [one for one in ax.lines if one.get_color() == color and one.get_linestyle() == "-"]
    return np.stack([line.get_xdata(), line.get_ydata()])


def test_the_eight_panels_are_the_papers(table) -> None:
    figure = robustness.against_eps(table)
    assert len(figure.axes) == 8
    names = [ax.get_title().replace("$\\ell_\\infty$", "linf") for ax in figure.axes]
    assert names[2] == "ERM net, PGM linf attack" and names[7] == "WRM net, WRM attack"
    paper = robustness.published_errors()
    for place, (ax, (net, attack)) in enumerate(zip(figure.axes, crossovers.PANELS, strict=True)):
        error = 10 * (list(NETS).index(net) + crossovers.ATTACKS.index(attack)) + 1  # mean of seeds
        expected = [[0, 1, 2], [error, error + 2.5, error + 5]]
        assert np.allclose(drawn(ax, style.FREE), expected), place
        assert np.allclose(drawn(ax, style.CAPPED)[1], np.array(expected[1]) + 10), place
        theirs = paper[(paper["net"] == net) & (paper["attack"] == attack) & paper["sn"]]
        assert np.allclose(drawn(ax, "#444444"), [theirs["share"], 100 * theirs["error"]])


def test_advantages_stand_beside_the_papers(table) -> None:
    shown = robustness.beside_paper(table)
    assert list(shown.index) == list(crossovers.PANELS)
    assert set(shown["below"]) == {"-10.0 ± 0.0"}  # ten points more error under the budget
    assert (shown["crossover"] == 0).all()
    # the mean of the paper's differences at one step of its axis, 0 left out
    theirs = robustness.published_advantages()
    one = theirs[(theirs["share"] > 0) & (theirs["share"] < 1.01)]
    mean = 100 * one.groupby(["net", "attack"])["advantage"].mean()
    assert np.allclose(shown["| paper"], mean[shown.index])
    assert 0 < shown.loc[("pgm_inf", "pgm_inf"), "| paper "] < 3


def test_published_errors_are_those_that_the_authors_printed() -> None:
    """FACTS, F-adv, panel 7: accuracies printed in an executed notebook; radii 0 to 5 elsewhere."""
    rows = robustness.published_errors().set_index(["net", "attack", "sn"]).sort_index()
    free = (0.7100, 0.4379, 0.2583, 0.1935, 0.1755, 0.1698)
    capped = (0.7536, 0.5416, 0.2600, 0.1375, 0.1119, 0.1071)
    for sn, accuracies in ((False, free), (True, capped)):
        own = rows.loc[("pgm_inf", "pgm_inf", sn)]
        assert own["error"].tolist() == pytest.approx([1 - value for value in accuracies], abs=1e-4)
        assert own["share"].tolist() == pytest.approx(range(6))
    for pair in crossovers.PANELS:
        assert len(rows.loc[(*pair, True)]) >= 6
    assert rows.loc[("pgm", "pgm", True)]["eps"].tolist() == [0, 1, 2, 3, 4, 5]


def test_every_pair_has_a_panel(table) -> None:
    figure = robustness.every_pair(table)
    assert len(figure.axes) == 5 * 5
    last = figure.axes[-1]  # the linf net or WRM, by the order of names, under PGM with true labels
    assert drawn(last, style.FREE)[1][0] == pytest.approx(10 * (list(NETS).index("wrm") + 4) + 1)
    assert figure.axes[4].get_title() == "PGM, true labels"


def test_a_table_without_a_panel_is_refused(table) -> None:
    with pytest.raises(UserError, match="'pgm_inf'"):
        robustness.against_eps(table[table["attack"] != "pgm_inf"])


def test_one_step_of_the_axis(table) -> None:
    draw = robustness.at_step(crossovers.errors(table))
    first = draw("erm", 0)
    figure = draw("pgm", 1)
    assert figure is first
    (ax,) = figure.axes
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    assert len(names) == 5 and names[0] == "FGM\n1.0 ×"  # 0.5 of a unit of 0.5
    # the net is third; error 20 + 10 an attack + 1 (mean of seeds) + 2.5 at this radius, SN + 10
    expected = np.array([20 + 10 * attack + 3.5 for attack in range(5)])
    lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 5]
    assert np.allclose(lines, [expected, expected + 10])
    dots = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 10]
    assert np.allclose(dots[0][:2], [22.5, 24.5])
    low, high = ax.collections[0].get_segments()[0][:, 1]
    # two seeds: t(0.975, 1) = 12.706 times half the difference of the two values
    assert (high - low) / 2 == pytest.approx(12.7062 * 1.0, rel=1e-4)
    assert fits(figure)
    with pytest.raises(UserError, match="step is 3"):
        draw("pgm", 3)


def graded_rows(beta: float, seed: int, values: dict[str, float]) -> list[dict]:
    run = dict(beta=beta, seed=seed, split="test", quantity="accuracy")
    return [{**run, "attack": name, "x": 0.5, "value": v} for name, v in values.items()]


@pytest.fixture
def graded() -> pd.DataFrame:
    """Two budgets, two seeds, attacks that get stronger; with what else such a table has."""
    rows = []
    for beta, drop in ((INF, 0.2), (1.0, 0.1)):
        for seed in (0, 1):
            rest = {"none": 0.9, "pgm15_predicted": 0.6, "pgm15_true": 0.6 - drop / 2}
            rest |= {"pgm15_log_odds": 0.6 - drop, "strongest": 0.5 - drop - 0.02 * seed}
            rows += graded_rows(beta, seed, rest | {"huge": 0.0})
    stray = {**rows[0], "x": math.nan, "value": 0.123}  # the accuracy of the suite `accuracy`
    zeros = {**rows[1], "quantity": "zero_gradient", "value": 0.0}
    return pd.DataFrame([*rows, stray, zeros])


def test_strengths_are_one_row_a_run(graded) -> None:
    runs = strengths.by_strength(graded).set_index(["beta", "seed"])
    assert list(runs) == ["none", "pgm15_predicted", "pgm15_log_odds", "strongest"]
    assert runs.loc[(INF, 1)].tolist() == pytest.approx([0.9, 0.6, 0.4, 0.28])
    with pytest.raises(UserError, match="strongest"):
        strengths.by_strength(graded[graded["attack"] != "strongest"])


def test_the_order_is_text_by_budget_with_what_is_lost(graded) -> None:
    shown = strengths.order(graded)
    names = ["none", "pgm15_predicted", "pgm15_log_odds", "strongest", "lost"]
    assert list(shown) == names and list(shown.index) == [1.0, INF]
    # 40 and 38 %: t(0.975, 1) = 12.706 times half their difference
    assert shown.loc[1.0].tolist()[2:] == ["50.0 ± 0.0", "39.0 ± 12.7", "21.0 ± 12.7"]
    lost = strengths.lost(graded)
    assert lost[1.0].to_dict() == pytest.approx({0: 20.0, 1: 22.0})
    assert lost[INF].to_dict() == pytest.approx({0: 30.0, 1: 32.0})


def test_agreement_is_by_seed_and_names_the_best_budgets() -> None:
    rows = []
    for seed, strong in ((0, (0.2, 0.3, 0.4)), (1, (0.2, 0.5, 0.1))):
        for beta, weak, strongest in zip((1.0, 2.0, INF), (0.5, 0.6, 0.7), strong, strict=True):
            attacks = dict.fromkeys(("none", "pgm15_log_odds"), 0.9)
            attacks |= {"pgm15_predicted": weak, "strongest": strongest}
            rows += graded_rows(beta, seed, attacks)
    taus, best = strengths.agreement(pd.DataFrame(rows))
    # seed 1: of three pairs one in order, two not
    assert taus.to_dict() == pytest.approx({0: 1.0, 1: -1 / 3})
    assert best == {"pgm15_predicted": INF, "strongest": 2.0}
    lines = strengths.in_words(pd.DataFrame(rows)).splitlines()
    assert lines[0].split() == ["none", "paper", "log-odds", "strongest", "lost"]
    assert lines[-1] == f"tau by seed: 1.00 -0.33 | best beta: {best}"


def test_checks_are_one_row_a_run_weak_attacks_first(graded) -> None:
    both = pd.concat([graded.assign(scheme="pgm", norm=norm) for norm in (2.0, INF)])
    found = strengths.checked(both)
    assert list(dict.fromkeys(found["net"])) == ["pgm", "pgm_inf"] and len(found) == 8
    assert list(found)[3:] == [
        *("none", "pgm15_predicted", "pgm15_true", "pgm15_log_odds", "strongest", "huge")
    ]
    free = found[(found["net"] == "pgm_inf") & np.isinf(found["beta"]) & (found["seed"] == 1)]
    assert free["strongest"].tolist() == pytest.approx([0.28])
    zeros = strengths.checked(both, "zero_gradient")
    assert list(zeros)[3:] == ["pgm15_predicted"] and (zeros["pgm15_predicted"] == 0).all()
    with pytest.raises(UserError, match="'broken'"):
        strengths.checked(both, "broken")


def test_checks_by_net_are_means_over_seeds_in_percent(graded) -> None:
    shares = [
        graded.query("attack == @attack").assign(quantity=quantity, value=share)
        for attack, quantity, share in (("pgm15_true", "zero_gradient", 0.25),
                                        ("strongest", "broken", 0.5))
    ]  # fmt: skip
    shares[1]["attack"] = "square"
    found = strengths.by_net(pd.concat([graded, *shares]).assign(scheme="pgm"))
    assert list(found.index) == [("pgm", 1.0), ("pgm", INF)]
    assert found.loc[("pgm", 1.0), ["strongest", "huge"]].tolist() == pytest.approx([39, 0])
    assert (found["zero"] == 25).all() and (found["blind"] == 50).all()


def test_gains_are_differences_of_the_same_seed_in_points(graded) -> None:
    better = (graded["attack"] == "strongest") & (graded["beta"] == 1.0) & (graded["seed"] == 1)
    graded.loc[better, "value"] += 0.04
    found = strengths.gains(graded.assign(scheme="pgm")).loc["pgm"]
    assert found.loc["none", ["mean", "half"]].tolist() == pytest.approx([0, 0])
    assert found.loc["pgm15_log_odds", "mean"] == pytest.approx(10)
    # 10 and 14 points: t(0.975, 1) = 12.706 times half their difference
    assert found.loc["strongest", "mean"] == pytest.approx(12)
    assert found.loc["strongest", "half"] == pytest.approx(12.7062 * 2, rel=1e-4)
    with pytest.raises(UserError, match="budgets"):
        strengths.gains(graded[np.isinf(graded["beta"])].assign(scheme="pgm"))


def test_ranks_draw_accuracies_and_what_is_lost(graded) -> None:
    left, right = strengths.ranks(graded).axes
    colors = {name: look[1] for name, look in strengths.STRENGTHS.items()}
    assert np.allclose(drawn(left, colors["strongest"])[1], [39, 29])  # beta 1, then none
    assert np.allclose(drawn(right, colors["pgm15_log_odds"])[1], [10, 20])
    more = pd.concat([graded, graded[graded["attack"] == "huge"].assign(attack="autoattack")])
    with_auto = strengths.ranks(more).axes[1]
    assert colors["autoattack"] in {line.get_color() for line in with_auto.lines}
