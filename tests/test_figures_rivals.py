"""The figure of SN beside its rivals: what is drawn is what the rows say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from snlib.errors import UserError
from snlib.figures import REGISTRY, rivals

INF = math.inf


def run(name: str, train, validation, test, norms, **settings) -> list[dict]:
    """Rows of runs with seeds 0, 1: accuracies by seed, and the norms of two layers."""
    plain = dict(scheme="fgm", labels="true", beta=INF, norm_kind="", net="tiny", weight_decay=0.0)
    rows = []
    for seed in (0, 1):
        about = {**plain, **settings, "run": f"{name}{seed}", "seed": seed, "x": math.nan}
        for split, values in (("train", train), ("validation", validation), ("test", test)):
            place = dict(split=split, attack="training", quantity="accuracy", value=values[seed])
            rows += [{**about, **place}, {**about, **place, "attack": "none", "value": 1.0}]
        for layer, norm in zip(("conv1", "fc1"), norms, strict=True):
            place = dict(split=layer, attack="", quantity="upper", value=norm)
            rows += [{**about, **place}, {**about, **place, "quantity": "reshaped", "value": 1.0}]
    return rows


@pytest.fixture
def table() -> pd.DataFrame:
    """Every kind; SN at two budgets, of which validation prefers the one that tests worse."""
    sn = dict(norm_kind="operator")
    return pd.DataFrame(
        run("free", (0.9, 1.0), (0.5, 0.5), (0.5, 0.6), (8, 2))
        + run("tight", (0.6, 0.6), (0.7, 0.7), (0.5, 0.54), (1, 1), beta=1.0, **sn)
        + run("loose", (0.8, 0.8), (0.6, 0.7), (0.7, 0.7), (2, 2), beta=2.0, **sn)
        + run("miyato", (0.8, 0.8), (0.6, 0.6), (0.6, 0.6), (9, 1), beta=1.0, norm_kind="reshaped")
        + run("decay", (0.9, 0.9), (0.4, 0.4), (0.4, 0.4), (4, 4), weight_decay=0.001)
        + run("norm", (0.9, 0.9), (0.4, 0.4), (0.3, 0.5), (4, 4), net="tiny_bn")
        + run("drop", (0.7, 0.7), (0.4, 0.4), (0.4, 0.4), (4, 4), net="tiny_dropout_train")
        + run("always", (0.7, 0.7), (0.4, 0.5), (0.2, 0.4), (4, 4), net="tiny_dropout")
    )


def test_each_contestant_stands_at_the_setting_of_its_validation(table) -> None:
    found = rivals.summary(table).set_index("kind")
    assert list(found.index) == list(rivals.KINDS)
    assert found.loc["operator", "setting"] == "β = 1"
    assert np.isclose(found.loc["operator", "test"], 0.52)  # though β = 2 has 0.7
    assert np.isclose(found.loc["operator", "gap"], 0.08)
    assert found.loc["dropout", "setting"] == "0.2, always on"
    assert found.loc["weight decay", "setting"] == "effective 0.001"
    # Student's t for two seeds: 12.706 * standard deviation / sqrt(2), here 12.706 * 0.1
    assert np.isclose(found.loc["batch norm", "test half"], 1.2706, atol=1e-4)
    head, *lines = rivals.in_words(table).splitlines()
    assert head.split() == ["case", "kind", "setting", "train", "test", "gap"]
    assert len(lines) == len(found)
    assert lines[list(found.index).index("batch norm")].endswith(" 0.400 ± 1.271 0.500 ± 1.271")


def test_differences_are_those_of_each_seed(table) -> None:
    found = rivals.differences(table).set_index("rival")
    assert list(found["case"]) == ["FGM tiny"] * 3
    # SN by validation is 0.5 and 0.54; no budget of Miyato's comes near its norm of 1
    assert found.loc["Miyato's norm, equal true norms", "seeds"] == 0
    assert np.isclose(found.loc["Miyato's norm, each validated", "mean"], -0.08)
    # the best other by validation is dropout, always on: 0.2 and 0.4
    assert np.isclose(found.loc["best other regularizer", "mean"], 0.22)


def test_the_figure_draws_accuracy_gap_and_norms(table) -> None:
    figure = rivals.rivals(table)
    test, gap, norm = figure.axes
    dots = [part.lines[0].get_xydata()[0] for part in test.containers]
    assert np.allclose(dots, [[55, 0], [52, 1], [60, 2], [40, 3], [30, 4], [40, 5]])
    assert np.allclose(gap.containers[0].lines[0].get_xdata(), [40])
    rules = [line for line in test.lines if not line.get_marker().strip("None")]
    assert any(np.allclose(rule.get_xdata(), [55, 55]) for rule in rules)  # where nothing is done
    lines = {part.get_label(): part.lines[0].get_xydata() for part in norm.containers}
    assert np.allclose(lines["SN, operator norm"], [[1, 52], [2, 70]])
    assert np.allclose(lines["SN, Miyato's norm"], [[3, 60]])  # sqrt(9 * 1), not its own norm
    assert np.allclose(lines["nothing"], [[4, 55]])  # sqrt(8 * 2)
    assert "batch norm" not in lines  # whose scale is in no layer's norm
    assert test.get_title() == "tiny, FGM training"


def test_two_networks_have_a_row_each(table) -> None:
    names = ("free", "tight", "miyato")
    other = table[table["run"].str.startswith(names)]
    other = other.assign(net="other", run="other" + other["run"])
    figure = rivals.rivals(pd.concat([table, other], ignore_index=True))
    assert [ax.get_title() for ax in figure.axes[::3]] == [
        "tiny, FGM training", "other, FGM training",
    ]  # fmt: skip
    assert len(figure.axes[0].containers) == 6 and len(figure.axes[3].containers) == 3


def test_a_table_without_the_plain_net_is_refused(table) -> None:
    with pytest.raises(UserError, match="no net without SN"):
        rivals.rivals(table[~table["run"].str.startswith("free")])


def test_the_caption_says_what_the_bars_are() -> None:
    assert "95 %" in REGISTRY["rivals"].caption and "not known" in REGISTRY["rivals"].caption
