"""The figure and the table of run times: what they show is what the rows say."""

from __future__ import annotations

import math

import matplotlib.colors
import pandas as pd
import pytest

from snlib import tables
from snlib.errors import UserError
from snlib.figures import REGISTRY, runtimes, style

INF = math.inf
ERM, L2, LINF = ("erm", math.nan), ("pgm", 2.0), ("pgm", INF)

SECONDS = {  # by net, (scheme, norm): of each seed, an epoch without SN and one with
    ("resnet", ERM): [(2.0, 4.0), (2.0, 5.0), (4.0, 4.0)],
    ("resnet", LINF): [(10.0, 10.5)],
    ("resnet", L2): [(10.0, 11.0), (10.0, 9.0), (10.0, 12.0)],
    ("alexnet", ERM): [(1.0, 1.1), (1.0, 1.3)],
}


def of(seconds) -> pd.DataFrame:
    """The rows of runs with three epochs, whose median is the time asked for."""
    rows = []
    for (net, (scheme, norm)), pairs in seconds.items():
        for seed, pair in enumerate(pairs):
            for beta, middle in zip((INF, 1.6), pair, strict=True):
                about = dict(data="cifar10_jpeg", net=net, scheme=scheme, norm=norm, eps=norm / 20)
                about |= dict(beta=beta, seed=seed, quantity="seconds")
                rows += [{**about, "value": value} for value in (middle, middle / 2, 9 * middle)]
    return pd.DataFrame(rows)


@pytest.fixture
def table() -> pd.DataFrame:
    return of(SECONDS)


def test_rows_are_medians_and_ranges_over_seeds_in_the_order_of_the_runs(table) -> None:
    found = runtimes.rows(table)
    assert found[["net", "scheme", "norm", "seeds"]].values.tolist() == [
        ["resnet", "erm", 0.0, 3],
        ["resnet", "pgm", 2.0, 3],
        ["resnet", "pgm", INF, 1],
        ["alexnet", "erm", 0.0, 2],
    ]
    numbers = found[["free", "capped", "ratio", "low", "high"]].round(9).values.tolist()
    assert numbers == [
        [2.0, 4.0, 2.0, 1.0, 2.5],
        [10.0, 11.0, 1.1, 0.9, 1.2],
        [10.0, 10.5, 1.05, 1.05, 1.05],
        [1.0, 1.2, 1.2, 1.1, 1.3],
    ]


def test_the_table_has_a_line_a_network_and_a_column_a_training(table) -> None:
    shown = runtimes.in_words(table)
    assert list(shown.index) == ["CIFAR-10 (JPEG), resnet", "CIFAR-10 (JPEG), alexnet"]
    assert list(shown.columns) == ["ERM", "PGM", "PGM, linf"]
    assert shown.values.tolist() == [
        ["2.00×2.00", "10.00×1.10", "10.00×1.05"],
        ["1.00×1.20", "", ""],
    ]


def test_added_time_is_the_mean_of_the_pairs_of_a_seed(table) -> None:
    found = runtimes.added(table).set_index("scheme")
    assert list(found.index) == ["ERM", "PGM"] and list(found["seeds"]) == [3, 3]
    # ERM: seeds (1 + .1) / 2, (1.5 + .3) / 2, 0; PGM: (.1 + .05) / 2, -.1, .2
    assert found["mean"].to_list() == pytest.approx([(0.55 + 0.9 + 0.0) / 3, 0.175 / 3])
    # Student's t for three seeds is 4.303
    assert found.loc["ERM", "half"] == pytest.approx(4.303 * 0.45369 / math.sqrt(3), rel=1e-3)


def test_dots_stand_where_the_rows_say_and_linf_is_hollow(table) -> None:
    figure = runtimes.run_times(table)
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["ERM", "PGM"]
    at = [
        [line.get_xydata()[0].round(9).tolist() for line in ax.lines if line.get_marker() == "o"]
        for ax in (left, right)
    ]
    assert at == [[[2.0, 0.0], [1.2, 1.0]], [[1.1, 0.0], [1.05, runtimes.LINF]]]
    faces = [line.get_markerfacecolor() for line in right.lines if line.get_marker() == "o"]
    assert faces == [style.COLOR["pgm"], "white"]
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels == ["CIFAR-10 (JPEG), resnet", "CIFAR-10 (JPEG), alexnet"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ERM, or l2 attack", "linf attack"]
    assert matplotlib.colors.same_color(legend.legend_handles[1].get_markerfacecolor(), "white")


def test_without_linf_attacks_there_is_no_legend() -> None:
    without = {key: pairs for key, pairs in SECONDS.items() if key[1] != LINF}
    assert not runtimes.run_times(of(without)).legends


def test_runs_without_their_pair_are_refused(table) -> None:
    with pytest.raises(UserError, match="no run with SN beside one without"):
        runtimes.rows(table[table["beta"] == INF])


def test_the_register_draws_the_evidence_nearest_to_the_paper(monkeypatch, table) -> None:
    entry = REGISTRY["run_times"]
    paper = table[table["net"] == "alexnet"]
    monkeypatch.setattr(tables, "nearer", lambda name: {"paper": paper, "laptop": table})
    (ax,) = entry.draw("quick", "build").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["CIFAR-10 (JPEG), alexnet"]
    monkeypatch.setattr(tables, "nearer", lambda name: {})
    with pytest.raises(UserError, match="nothing is recorded of runtimes"):
        entry.draw()
