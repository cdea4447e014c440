"""The figures of the attacks: what is drawn is what the rows say."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from snlib.errors import UserError
from snlib.figures import REGISTRY, attacks, gap, style

INF = math.inf
NAMES = ["none", *attacks.PROTOCOLS]


def rows(scheme: str, beta: float, seed: int, values: list[float], split: str = "test") -> list:
    """Accuracies of one run under the attacks of `NAMES`."""
    run = dict(scheme=scheme, beta=beta, seed=seed, split=split, quantity="accuracy", x=math.nan)
    return [{**run, "attack": name, "value": v} for name, v in zip(NAMES, values, strict=True)]


@pytest.fixture
def table() -> pd.DataFrame:
    """Two schemes, two seeds; differences between budgets are easy to add by hand."""
    found = [
        *rows("wrm", INF, 0, [0.9, 0.7, 0.6, 0.5, 0.4]),
        *rows("wrm", 1.6, 0, [0.9, 0.7, 0.7, 0.7, 0.7]),
        *rows("erm", 1.6, 1, [0.8, 0.8, 0.5, 0.3, 0.3]),
        *rows("erm", 1.6, 0, [0.8, 0.8, 0.3, 0.3, 0.3]),
        *rows("erm", INF, 0, [0.9, 0.9, 0.2, 0.1, 0.0]),
        *rows("erm", INF, 1, [0.9, 0.9, 0.2, 0.1, 0.2]),
        *rows("erm", INF, 0, [1.0] * 5, split="train"),
    ]
    curve = {**found[0], "attack": "pgm", "x": 1.0}
    return pd.DataFrame([*found, curve, {**found[0], "quantity": "images"}])


def test_one_row_a_run_on_one_split(table) -> None:
    runs = attacks.by_protocol(table)
    assert list(runs["scheme"]) == ["erm"] * 4 + ["wrm"] * 2
    assert list(runs["beta"]) == [INF, INF, 1.6, 1.6, INF, 1.6]
    assert list(runs["pgm15_log_odds"]) == [0.0, 0.2, 0.3, 0.3, 0.4, 0.7]
    assert list(attacks.by_protocol(table, "train")["none"]) == [1.0]


def test_a_table_without_the_protocols_is_named(table) -> None:
    with pytest.raises(UserError, match="pgm15_true"):
        attacks.by_protocol(table[table["attack"] != "pgm15_true"])
    with pytest.raises(UserError, match="'validation'"):
        attacks.by_protocol(table, "validation")


def test_gains_are_taken_seed_by_seed(table) -> None:
    found = attacks.gains(attacks.by_protocol(table)).set_index(["scheme", "protocol"])
    assert found.loc[("erm", "training"), "mean"] == pytest.approx(-0.1)
    assert found.loc[("erm", "pgm15_log_odds"), "mean"] == pytest.approx((0.3 + 0.1) / 2)
    # two seeds: t(0.975, 1) = 12.706 times half the difference of the two values
    assert found.loc[("erm", "pgm15_log_odds"), "half"] == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert found.loc[("wrm", "pgm15_log_odds"), "mean"] == pytest.approx(0.3)
    assert math.isnan(found.loc[("wrm", "training"), "half"])


def test_every_panel_draws_both_budgets_and_the_published_point(table) -> None:
    figure = attacks.protocols(table)
    erm, wrm = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["ERM training", "WRM training"]
    lines = {line.get_color(): line for line in erm.lines if line.get_marker() in "oD"}
    assert np.allclose(lines[style.FREE].get_ydata(), [90, 20, 10, 10])
    assert np.allclose(lines[style.CAPPED].get_ydata(), [80, 40, 30, 30])
    dots = [c for c in erm.collections if isinstance(c, PathCollection)]
    assert sorted(y for c in dots for y in c.get_offsets()[:, 1].round(6))[:2] == [0.0, 10.0]
    hollow = {
        line.get_markeredgecolor(): float(line.get_ydata()[0])
        for line in wrm.lines
        if line.get_markerfacecolor() == "none"
    }
    paper = 100 * gap.published_rows("wrm").set_index("beta")["test"]
    assert hollow == pytest.approx({style.FREE: paper[INF], style.CAPPED: paper[1.3]})


def test_without_the_paper_nothing_is_hollow(table) -> None:
    figure = attacks.protocols(table, paper=False)
    assert not [
        line for ax in figure.axes for line in ax.lines if line.get_markerfacecolor() == "none"
    ]


def test_perturbations_show_the_difference_and_the_classes() -> None:
    image = np.arange(6.0).reshape(2, 3)
    found = {"FGM": image + 1, "none": image}
    figure = attacks.perturbations(image, found, 3, {"FGM": 5, "none": 3})
    pictures = {ax.get_title(): ax.images[0].get_array() for ax in figure.axes if ax.images}
    assert np.array_equal(pictures["image: “3”"], image)
    assert np.array_equal(pictures[f"FGM\n‖δ‖₂ = {math.sqrt(6):.2f}"], np.ones((2, 3)))
    assert np.array_equal(pictures["“5”"], image + 1) and np.array_equal(pictures["“3”"], image)
    colors = {ax.get_title(): ax.title.get_color() for ax in figure.axes}
    assert colors["“5”"] == style.FREE and colors["“3”"] == "black"


def test_perturbations_refuse_what_does_not_fit() -> None:
    image = np.zeros((2, 3))
    with pytest.raises(UserError, match="attacked"):
        attacks.perturbations(image, {"FGM": image.T}, 0, {"FGM": 0})
    with pytest.raises(UserError, match="PGM"):
        attacks.perturbations(image, {"FGM": image}, 0, {"PGM": 0})


def test_the_registry_knows_the_figure() -> None:
    entry = REGISTRY["attack_protocols"]
    assert (entry.notebook, entry.experiment) == ("02", "protocols")
    assert entry.function is attacks.protocols
