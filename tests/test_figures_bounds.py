"""Figures of notebook 07, read back from the drawn marks: what is drawn is what was computed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from snlib.errors import UserError
from snlib.figures import REGISTRY, bounds, ranks, style

INF = math.inf


def bound(net: str, scheme: str, beta: float, name: str, values: tuple, **changes) -> pd.DataFrame:
    """One bound of one configuration, a row a seed, as `snlib.bounds.looseness` has it."""
    about = {"net": net, "scheme": scheme, "beta": beta, "bound": name, "labels": "true"}
    about |= {"width": 1.0, "samples": 100, "defined": True} | changes
    rows = [{**about, "seed": seed, "log10_bound": value} for seed, value in enumerate(values)]
    return pd.DataFrame(rows)


@pytest.fixture
def loose() -> pd.DataFrame:
    nan = (math.nan,) * 3
    return pd.concat(
        [
            bound("alexnet", "erm", INF, "erm", (5.0, 6.0, 7.0)),
            bound("alexnet", "erm", 1.3, "erm", (4.0, 4.0, 4.0)),
            bound("alexnet", "erm", INF, "bartlett2017", (6.5, 6.5, 6.5)),
            bound("mlp1", "erm", INF, "erm", (2.0, 2.0, 2.0)),
            bound("mlp1", "erm", INF, "erm", (99.0,) * 3, width=0.25),
            bound("mlp1", "erm", INF, "erm", (98.0,) * 3, labels="random"),
            bound("mlp1", "erm", INF, "erm", (97.0,) * 3, samples=25),
            bound("mlp2", "erm", INF, "erm", (96.0,) * 3),
            bound("alexnet", "pgm", INF, "pgm", (60.0, 60.0, 60.0)),
            bound("alexnet", "pgm", INF, "pgm_recalled", (61.0, 61.0, 61.0)),
            bound("alexnet", "pgm", INF, "xiao2023", (5.0, 5.0, 5.0)),
            bound("alexnet", "wrm", INF, "wrm", nan, defined=False),
            bound("mlp1", "wrm", 0.4, "wrm", (2.0, 2.0, 2.0)),
        ],
        ignore_index=True,
    )


def drawn(ax) -> list[list[tuple]]:
    """Lines of error bars in a panel, as lists of points."""
    return [
        [tuple(point) for point in container.lines[0].get_xydata()] for container in ax.containers
    ]


def test_bounds_are_means_at_their_budget(loose) -> None:
    figure = bounds.looseness(loose)
    erm, pgm, _ = figure.axes
    assert [label.get_text() for label in erm.get_xticklabels()] == ["1.3", "∞"]
    points = drawn(erm)
    assert [(0, 4), (1, 6)] in points and [(1, 6.5)] in points and [(1, 2)] in points
    assert len(points) == 3  # the narrow, small and random-label nets are not shown
    assert [(0, 60)] in drawn(pgm) and [(0, 61)] in drawn(pgm) and [(0, 5)] in drawn(pgm)
    bar = next(one for one in erm.containers if one.lines[0].get_xydata()[-1, 1] == 6)
    low, high = bar.lines[2][0].get_segments()[-1][:, 1]
    assert (high - low) / 2 == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)  # t, 2 degrees, sd 1


def test_the_line_of_one_is_in_every_panel(loose) -> None:
    for ax in bounds.looseness(loose).axes:
        assert any(np.allclose(line.get_ydata(), 0) for line in ax.lines)
        assert ax.get_ylim()[0] < 0 < ax.get_ylim()[1]


def test_an_undefined_bound_is_a_cross_and_no_point(loose) -> None:
    wrm = bounds.looseness(loose).axes[2]
    assert drawn(wrm) == [[(0, 2)]]
    crosses = [line for line in wrm.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [1]


def test_published_points(loose) -> None:
    erm, pgm, _ = bounds.looseness(loose).axes
    diamonds = [line.get_xydata() for line in erm.lines if line.get_marker() == "D"]
    points = {place: value for place, value in diamonds[0]}
    # FACTS: about 9e5 at beta 1.3, 4e7 without SN
    assert points[0] == pytest.approx(math.log10(9e5), abs=0.05)
    assert points[1] == pytest.approx(math.log10(4e7), abs=0.05)
    (vgg,) = [line.get_ydata() for line in pgm.lines if line.get_marker() == "D"]
    assert sorted(10**vgg) == pytest.approx([3.2e4, 6.0e10, 1.7e13])
    assert pgm.get_xticklabels()[-1].get_text() == "VGG"


def measured() -> pd.DataFrame:
    """ERM and FGM nets over two values of each setting, as `snlib.bounds.measures` has them.

    The capacity follows beta and the gap follows the number of images, and only these.
    """
    rows = []
    for scheme, beta, samples, width, net, labels, seed in itertools.product(
        ("erm", "fgm"), (1.0, INF), (50, 200), (1.0, 0.25), ("mlp1", "mlp2"), ("true", "random"),
        (0, 1, 2),
    ):  # fmt: skip
        if scheme == "fgm" and labels == "random":
            continue
        noise = 1e-3 * (width + 3 * (net == "mlp2") + 7 * (labels == "true"))
        capacity = 5.0 * math.isinf(beta) + noise
        gap = 0.5 * (samples == 50) + 0.1 * math.isinf(beta) - noise
        values = dict.fromkeys(ranks.MEASURES, capacity) | {"gap": gap, "capacity": capacity}
        about = {"scheme": scheme, "beta": beta, "samples": samples, "width": width, "net": net}
        rows.append({**about, "labels": labels, "seed": seed, **values})
    return pd.DataFrame(rows)


def test_ranks_draws_every_pair_and_writes_tau() -> None:
    figure = ranks.ranks(measured())
    panels = {
        (ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start): ax
        for ax in figure.axes
    }
    texts = {place: ax.texts[0].get_text() for place, ax in panels.items() if ax.get_visible()}
    columns = ["all", *ranks.SETTINGS]
    assert texts[0, columns.index("beta")].startswith("τ = +1.00 ± 0.00")
    assert texts[0, columns.index("width")].startswith("τ = -1.00")  # capacity + noise, gap - noise
    assert texts[0, columns.index("labels")].startswith("τ = -1.00")
    # the number of images leaves the capacity as it is: neither right nor wrong
    assert texts[0, columns.index("samples")].startswith("τ = +0.00")
    assert not panels[1, columns.index("labels")].get_visible()  # FGM has true labels only
    beta = panels[0, columns.index("beta")]
    (joined,) = beta.collections
    lines = joined.get_segments()
    assert len(lines) == 16  # 32 configurations, joined in pairs
    assert all(np.diff(line[:, 1])[0] == pytest.approx(10) for line in lines)  # points
    dots = next(line for line in beta.lines if line.get_marker() == "o")
    assert len(dots.get_xdata()) == 32


def test_a_repainted_figure_is_the_one_drawn_anew() -> None:
    table = measured()
    table["normalized"] = 100 - 3 * table["capacity"] ** 2
    paint = ranks.each_measure(table)
    before = paint("capacity")
    figure, anew = paint("normalized"), ranks.ranks(table, "normalized")
    assert figure is before
    assert figure.get_supxlabel() == anew.get_supxlabel() == "log10 of √Φ / margin"
    for ax, other in zip(figure.axes, anew.axes, strict=True):
        assert ax.get_visible() == other.get_visible()
        assert (ax.get_xlim(), ax.get_ylim()) == (other.get_xlim(), other.get_ylim())
        assert [text.get_text() for text in ax.texts] == [text.get_text() for text in other.texts]
        for line, drawn in zip(ax.lines, other.lines, strict=True):
            assert (line.get_xydata() == drawn.get_xydata()).all()
        for pairs, drawn in zip(ax.collections, other.collections, strict=True):
            assert np.array_equal(pairs.get_segments(), drawn.get_segments())


def test_nets_without_a_positive_margin_are_ranked_by_no_measure() -> None:
    """`bounds.measures` has NaN for what divides by it, which no correlation takes."""
    table = measured()
    table.loc[3, ["normalized", "published", "term", "margin_alone"]] = math.nan
    found, without = ranks.summary(table.assign(images=100)), table.drop(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, ranks.summary(without.assign(images=100)))
    paint, anew = ranks.each_measure(table), ranks.each_measure(without)
    for measure in ranks.MEASURES:
        texts = [[text.get_text() for text in ax.texts] for ax in paint(measure).axes]
        assert texts == [[text.get_text() for text in ax.texts] for ax in anew(measure).axes]


def test_taus_are_those_of_the_ranking() -> None:
    figure = ranks.taus(measured())
    erm = figure.axes[0]
    names = [label.get_text() for label in erm.get_yticklabels()]
    first = erm.containers[0].lines[0].get_xydata()  # of the capacity
    found = {round(place): tau for tau, place in first}
    assert found[names.index("β")] == 1 and found[names.index("width")] == -1
    assert found[names.index("training images")] == 0
    # beta +1; width, depth and labels -1; images 0
    assert found[names.index("mean of the rows below")] == pytest.approx(-2 / 5)
    assert len(erm.containers) == len(ranks.MEASURES)


def test_the_summary_has_the_taus_and_the_errors_by_hand() -> None:
    found = ranks.summary(measured().assign(images=10_000))
    erm = found.loc["erm", "capacity"]
    assert erm[list(ranks.SETTINGS)].tolist() == [1, -1, 0, -1, -1] and erm["beta half"] == 0
    assert erm["mean"] == pytest.approx(-2 / 5)
    # Gaps 0.1 apart surely differ on so many images: the pairs over beta (16, right) and over the
    # number of images (16, tied: half an error).
    assert (erm["error"], erm["worst"], erm["of"]) == (0.25, 0.5, 32)
    assert math.isnan(found.loc["fgm", "capacity"]["labels"])
    lines = ranks.in_words(found).splitlines()
    assert lines[0].split() == [*ranks.MEASURES] and len(lines) == 2 + 2 * 10
    names = [*ranks.PLACES, "error", "worst", "of"]
    assert [line[7:].split()[0] for line in lines[2:]] == [*names, *names]
    assert [line[0] for line in lines[2:] if line[0] != " "] == ["e", "f"]  # erm, fgm
    at = names.index("beta")
    assert lines[2 + at].split()[1:4] == ["1.00", "±", "0.00"]
    assert lines[2 + names.index("worst")].split()[1] == "0.50"
    labels = lines[2 + 10 + names.index("labels")]
    assert labels.split() == ["labels"]  # FGM knows true ones only


def test_budgets_alone_rank_the_alexnets() -> None:
    nets = pd.DataFrame(
        [
            dict(scheme="pgm", net="alexnet", seed=seed, capacity=c, gap=gap)
            for seed, gaps in enumerate([(0.1, 0.2, 0.3), (0.1, 0.3, 0.2)])
            for c, gap in zip((1.0, 2.0, 3.0), gaps, strict=True)
        ]
        + [dict(scheme="wrm", net="alexnet", seed=0, capacity=math.nan, gap=0.5)]
        + [dict(scheme="pgm", net="mlp1", seed=0, capacity=0.0, gap=0.9)]
    )
    (row,) = ranks.over_budgets(nets).to_dict("records")
    assert row["scheme"] == "pgm" and row["seeds"] == 2
    assert row["mean"] == pytest.approx((1 + 1 / 3) / 2)


def test_sizes_are_means_and_explicit_ones_stand_beside(loose) -> None:
    loose["log10_explicit"] = np.where(loose["bound"] == "erm", loose["log10_bound"] + 2.5, np.nan)
    found = bounds.sizes(loose).set_index(["scheme", "net", "bound", "beta"])
    assert found.loc[("erm", "alexnet", "erm", INF), "mean"] == 6.0
    assert found.loc[("erm", "alexnet", "erm, explicit", INF), "mean"] == 8.5
    assert ("wrm", "alexnet") not in found.index.droplevel(["bound", "beta"])  # it has no bound
    sizes = bounds.sizes(loose)
    words = bounds.in_words(sizes)
    assert "6.0 ± 2.5" in words and "8.5 ± 2.5" in words and "nan" not in words
    parts = [part.splitlines() for part in words.split("\n\n")]
    assert [part[0] for part in parts] == sorted(set(sizes["net"]))
    for net, head, *_ in parts:  # no budget that the network has not
        betas = sizes[sizes["net"] == net]["beta"].unique()
        assert [float(one) for one in head.split()[1:]] == sorted(betas)


def test_the_premise_of_theorem_4_is_by_net_and_budget() -> None:
    about = dict(log10_lip=-1.0, size=2.0, train=0.5, test=0.25)
    within = bound("mlp1", "wrm", 0.4, "wrm", (2.0, 3.0, 4.0), **about)
    beyond = about | dict(log10_lip=3.0, defined=False)
    without = bound("mlp1", "wrm", INF, "wrm", (math.nan,) * 3, **beyond)
    other = bound("mlp1", "erm", INF, "erm", (9.0,) * 3, **about)
    found = bounds.premise(pd.concat([within, without, other]))
    assert list(found.index) == [("mlp1", 0.4), ("mlp1", INF)]
    first = found.loc["mlp1", 0.4]
    assert first["Lip"] == pytest.approx(0.1) and first["lambda"] == pytest.approx(0.5**1.5)
    assert first["Lip < lambda"] == 1 and first["log10_bound"] == 3 and first["test"] == 0.25
    last = found.loc["mlp1", INF]
    assert last["Lip < lambda"] == 0 and math.isnan(last["log10_bound"])


def test_nothing_to_rank_is_refused() -> None:
    with pytest.raises(UserError, match="fully connected"):
        ranks.ranks(measured().assign(net="alexnet"))
    with pytest.raises(UserError, match="no net"):
        bounds.looseness(bound("alexnet", "sgd", 1.0, "erm", (1.0,)))


def test_every_measure_and_setting_has_a_colour() -> None:
    assert len(ranks.COLORS) == len(ranks.MEASURES) == len(set(ranks.COLORS))
    assert len({color for _, color in ranks.SETTINGS.values()}) == len(ranks.SETTINGS)
    assert set(style.SCHEMES) >= {"erm", "fgm"}


@pytest.mark.parametrize("name", ["looseness", "ranks", "taus"])
def test_captions_say_what_the_bars_are(name) -> None:
    entry = REGISTRY[name]
    assert entry.notebook == "07" and entry.experiment == "bounds"
    assert "95 %" in entry.caption and "seeds" in entry.caption
