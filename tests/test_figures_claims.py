"""Figures of Table 1 and of the verdicts: what is drawn where, from tables made by hand."""

import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy import stats
from test_claims_table1 import rows, three_seeds

from snlib.claims import beside, table1
from snlib.errors import UserError
from snlib.figures import style, verdicts
from snlib.figures import table1 as drawn

matplotlib.use("Agg")
INF = math.inf


@pytest.fixture
def ours() -> pd.DataFrame:
    """Two printed MNIST rows and one that was left out; and a row on digits."""
    cells = three_seeds("mlp1", "fgm", (0.88, 0.85, 0.87), (0.99, 0.95, 0.95))
    cells |= three_seeds("mlp2", "erm", (1.0, 0.9, 0.9), (1.0, 0.8, 0.8))
    cells |= three_seeds("mlp1_relu", "fgm", (0.9, 0.1, 0.1), (0.9, 0.9, 0.9))
    digits = rows(three_seeds("mlp1", "fgm", (0.9, 0.5, 0.5), (0.8, 0.6, 0.55)), data="digits")
    return beside.rows([rows(cells), digits])


# ------------------------------------------------------------------------------------ side by side


def test_every_published_row_is_there_once_measured_or_not(ours: pd.DataFrame) -> None:
    both = beside.side_by_side(ours)
    assert len(both) == 62 and both["in_table"].sum() == 42
    assert both["seeds"].value_counts().to_dict() == {0: 59, 3: 3}
    row = both.set_index(table1.KEY).loc[("mnist", "mlp1", "fgm", 2.0, 0.0)]
    assert row["gain"] == pytest.approx(0.9593 - 0.8762)
    assert row["gain_here"] == pytest.approx(0.09)
    assert row["difference"] == pytest.approx(0.09 - (0.9593 - 0.8762))
    low, high = stats.t.interval(0.95, 2, loc=0.09, scale=stats.sem([0.08, 0.09, 0.10]))
    assert row["half"] == pytest.approx((high - low) / 2)


def test_nothing_measured_leaves_all_rows_empty(ours: pd.DataFrame) -> None:
    both = beside.side_by_side(ours[ours["data"] == "digits"])
    assert (both["seeds"] == 0).all() and both["gain_here"].isna().all()


def test_a_single_run_chooses_by_its_own_validation() -> None:
    cells = {("mlp1", "fgm", INF, seed): (0.9, 0.50, 0.5) for seed in (0, 1, 2)}
    cells |= {("mlp1", "fgm", 2.0, seed): (0.9, 0.70, 0.6) for seed in (0, 1, 2)}
    cells |= {("mlp1", "fgm", 4.0, seed): (0.9, 0.60, 0.9) for seed in (0, 1, 2)}
    cells["mlp1", "fgm", 4.0, 1] = (0.9, 0.8, 0.9)  # a lucky validation
    found = beside.alone([rows(cells)])
    assert found["beta"].tolist() == [2.0, 4.0, 2.0]
    assert found["gain"].tolist() == pytest.approx([0.1, 0.4, 0.1])
    assert found["validation_gain"].tolist() == pytest.approx([0.2, 0.3, 0.2])


def test_no_table_at_all_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(UserError, match="Compute it: python -m snlib run table1_"):
        beside.load("quick", str(tmp_path))


# ----------------------------------------------------------------------------------------- figures


def points(ax, marker: str) -> list[tuple[float, float]]:
    """Where markers of a kind stand on an axis."""
    return [
        (float(x), float(y))
        for line in ax.lines
        if line.get_marker() == marker
        for x, y in zip(*line.get_data(), strict=True)
    ]


def test_scatter_draws_published_and_measured_in_the_same_axes(ours: pd.DataFrame) -> None:
    figure = drawn.scatter(ours)
    axes = figure.axes
    assert [ax.get_title() for ax in axes] == [
        f"{n} training" for n in ("ERM", "FGM", "PGM", "WRM")
    ]
    theirs = table1.published()
    fgm = axes[1]
    for data, marker in drawn.MARKERS.items():
        mine = theirs[(theirs["scheme"] == "fgm") & theirs["in_table"] & (theirs["data"] == data)]
        expected = set(zip(mine["free_test"].round(9), mine["gain"].round(9), strict=True))
        found = {(round(x, 9), round(y, 9)) for x, y in points(fgm, marker)}
        assert expected <= found
    assert any(np.allclose(point, (0.87, 0.09)) for point in points(fgm, "o"))
    assert any(np.allclose(point, (0.5, 0.06)) for point in points(fgm, "D")), "digits are diamonds"
    narrow = drawn.scatter(ours[ours["net"] == "mlp2"]).axes[1]
    assert [text.get_text() for text in narrow.texts] == ["+0.49, +0.52"], "what is out of sight"


def test_scatter_has_room_for_our_own_gains(ours: pd.DataFrame) -> None:
    low, high = drawn.scatter(ours).axes[0].get_ylim()
    assert low <= -0.02 and high >= 0.81, "the ReLU net gains 0.81"
    assert drawn.scatter(ours[ours["net"] == "mlp2"]).axes[0].get_ylim() == drawn.GAINS


def test_the_parts_of_a_gain_stand_on_its_line(ours: pd.DataFrame) -> None:
    paper, here = drawn.parts(ours).axes
    means = beside.means(ours)
    dots = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in here.lines
        if line.get_marker() not in ("None", "none", "", None)
    ]
    assert len(dots) == len(means) == 4
    for (x, y), gain in zip(dots, means["gain_here"], strict=True):
        assert x + y == pytest.approx(gain)
    marked = [line for line in paper.lines if line.get_marker() not in ("None", "none", "", None)]
    assert len(marked) == 62
    assert sum(line.get_marker() == "x" for line in marked) == 20
    left, right = paper.get_xlim()
    inside = [line for line in marked if left < line.get_xdata()[0] < right]
    (text,) = (text.get_text() for text in paper.texts if "diverged" in text.get_text())
    assert len(inside) == 60
    assert "FGM inception, +0.59 and -0.06" in text and "FGM resnet, +0.75 and -0.26" in text


@pytest.mark.parametrize(
    ("data", "marker", "name"),
    [
        ("mnist", "o", "MNIST"),
        ("mnist, 4000 images", "o", "MNIST, 4000 images"),
        ("cifar10_jpeg", "s", "CIFAR-10 (JPEG)"),
        ("digits, 200 images", "D", "digits, 200 images"),
    ],
)
def test_data_are_called_by_their_honest_names(data: str, marker: str, name: str) -> None:
    assert (drawn.marker(data), drawn.name(data)) == (marker, name)


def judged() -> pd.DataFrame:
    """Three claims at two scales; the second has parts, the third no evidence."""
    common = dict(claim="Something holds.", low=0.0, high=INF, part="", reference=math.nan, why="")
    empty = common | dict(mean=math.nan, half=math.nan, seeds=0, verdict="not testable")
    return pd.DataFrame(
        [
            common
            | dict(number=1, scale="quick", mean=0.3, half=0.1, seeds=3, verdict="supported"),
            empty | dict(number=1, scale="paper", why="nothing recorded"),
            common
            | dict(number=2, scale="quick", mean=-0.2, half=0.1, seeds=3, verdict="not supported")
            | dict(part="PGM", reference=0.4, low=-0.02, high=0.02),
            common
            | dict(number=2, scale="paper", mean=0.1, half=math.nan, seeds=1)
            | dict(verdict="undecided", low=-0.02, high=0.02),
            empty | dict(number=3, scale="quick", why="nobody looked"),
            empty | dict(number=3, scale="paper", why="nobody looked"),
        ]
    )


def test_forest_draws_interval_bound_and_reference() -> None:
    figure = verdicts.forest(judged())
    assert len(figure.axes) == 6
    first, _, second, words, third, _ = figure.axes
    bars = [line for line in first.collections if hasattr(line, "get_segments")]
    ends = [segment for bar in bars for segment in bar.get_segments()]
    assert [tuple(np.round(end[:, 0], 9)) for end in ends] == [(0.2, 0.4)]
    assert to_rgba(first.lines[1].get_color()) == to_rgba(style.CAPPED)
    bounds = [line.get_xdata()[0] for line in second.lines if line.get_marker() in ("None", "none")]
    assert sorted(bounds) == [-0.02, 0.02]
    assert points(second, "d")[0][0] == 0.4
    assert [text.get_text() for text in second.texts] == ["PGM"]
    assert [text.get_text() for text in words.texts] == ["✗", "?"]
    assert "nobody looked" in third.texts[0].get_text()


def test_forest_shades_what_is_claimed_and_nothing_else() -> None:
    first = verdicts.forest(judged()).axes[0]
    span = first.patches[0].get_extents().transformed(first.transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((0.0, first.get_xlim()[1]))
