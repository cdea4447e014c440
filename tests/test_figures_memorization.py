"""The figures of notebook 08: what is drawn is what the rows say."""

import math

import numpy as np
import pandas as pd
import pytest

from snlib.errors import UserError
from snlib.figures import capacity, memorization, style

INF = math.inf


def run(scheme, beta, labels, seed, accuracies) -> list[dict]:
    """Training accuracy of one run, one value an epoch, from the first on."""
    about = dict(scheme=scheme, beta=beta, labels=labels, seed=seed, split="train")
    about |= dict(attack="training", quantity="running_accuracy")
    return [{**about, "x": epoch, "value": v} for epoch, v in enumerate(accuracies, start=1)]


@pytest.fixture
def table() -> pd.DataFrame:
    """Four schemes, two seeds; free nets learn random labels, capped ones do not."""
    rows = []
    for seed in (0, 1):
        for place, (scheme, beta) in enumerate(memorization.PUBLISHED_BETA.items()):
            low = 0.2 + 0.1 * place + 0.02 * seed
            rows += run(scheme, INF, "random", seed, np.linspace(0.1, 1.0, 20))
            rows += run(scheme, beta, "random", seed, np.full(20, low))
            rows += run(scheme, beta, "true", seed, np.full(20, 0.9))
        rows += run("erm", INF, "true", seed, np.full(20, 1.0))
        rows += run("erm", 1.0, "true", seed, np.full(20, 0.5))
        rows += run("erm", 1.0, "random", seed, np.full(20, 0.1))
    other = {**rows[0], "quantity": "accuracy", "attack": "none", "value": 0.123, "x": math.nan}
    return pd.DataFrame([*rows, other, {**rows[0], "quantity": "loss", "value": 7.0}])


def test_each_panel_takes_the_papers_budget(table) -> None:
    rows = memorization.by_epoch(table)
    assert list(dict.fromkeys(rows["panel"])) == list(memorization.PANELS)
    budgets = rows.groupby(["panel", "scheme"])["beta"].agg(set)
    for scheme, beta in memorization.PUBLISHED_BETA.items():
        assert budgets["Random labels", scheme] == {INF}
        assert budgets["Random labels (SN)", scheme] == {beta}
        assert budgets["True labels (SN)", scheme] == {beta}
    assert len(rows) == 3 * 4 * 2 * 20


def test_a_table_without_a_panel_is_refused(table) -> None:
    with pytest.raises(UserError, match=r"'Random labels \(SN\)'"):
        memorization.by_epoch(table[~((table["labels"] == "random") & (table["beta"] < INF))])


def test_final_accuracies_are_means_of_the_last_epochs(table) -> None:
    ends = memorization.final(table, window=2).set_index(["panel", "scheme", "seed"])["accuracy"]
    step = 0.9 / 19
    assert ends["Random labels", "pgm", 1] == pytest.approx(1.0 - step / 2)
    assert ends["Random labels (SN)", "wrm", 1] == pytest.approx(0.52)
    assert ends["True labels (SN)", "fgm", 0] == pytest.approx(0.9)
    shown = memorization.final(table)
    assert list(dict.fromkeys(shown["panel"])) == list(memorization.PANELS)
    assert list(dict.fromkeys(shown["scheme"])) == ["erm", "fgm", "pgm", "wrm"]


def test_the_ends_stand_beside_the_papers(table) -> None:
    shown = memorization.beside_paper(table)
    assert list(shown.index) == ["erm", "fgm", "pgm", "wrm"]
    # seeds 0.20 and 0.22, 0.50 and 0.52: mean and t(0.975, 1) * 0.01, which is 12.7 points
    assert shown["Random labels (SN)"].tolist()[::3] == ["21.0 ± 12.7", "51.0 ± 12.7"]
    assert shown["True labels (SN)"]["pgm"] == "90.0 ± 0.0"
    paper = shown.filter(like="| paper").to_numpy(float)
    wrm = memorization.published_final().xs("wrm", level="scheme")
    assert np.allclose(paper[3], 100 * wrm[list(memorization.PANELS)], atol=0.051)


def test_the_probe_counts_from_guessing(table) -> None:
    runs = capacity.probe(table).set_index(["beta", "seed"])
    assert runs.loc[(1.0, 0), "edge"] == pytest.approx(0.0)  # a tenth right is guessing
    assert runs.loc[(1.6, 1), "random"] == pytest.approx(0.22)
    assert runs.loc[(1.6, 1), "edge"] == pytest.approx(0.12 / 0.9)
    assert runs.loc[(INF, 0), "true"] == pytest.approx(1.0)
    with pytest.raises(UserError, match="random labels"):
        capacity.probe(table[table["labels"] == "true"])


def test_published_values_are_those_of_the_paper() -> None:
    """FACTS, F-rand: final values, read off the figure to about 0.006."""
    read = {
        "Random labels": (1.0, 0.986, 0.969, 1.0),
        "Random labels (SN)": (0.909, 0.679, 0.667, 0.522),
        "True labels (SN)": (0.998, 0.916, 0.902, 0.760),
    }
    found = memorization.published_final()
    assert len(found) == 12
    for panel, values in read.items():
        for scheme, value in zip(memorization.MARKERS, values, strict=True):
            assert found[panel, scheme] == pytest.approx(value, abs=0.013), (panel, scheme)
    steps = memorization.published_by_epoch()["step"]
    assert steps.max() <= 200 * 390


def test_who_memorizes_draws_means_and_the_papers_curves(table) -> None:
    figure = memorization.who_memorizes(table, window=2)
    assert [ax.get_title() for ax in figure.axes[:3]] == list(memorization.PANELS)
    curves = {line.get_color(): line for line in figure.axes[1].lines if len(line.get_xdata()) > 2}
    drawn = curves[style.COLOR["wrm"]].get_ydata()
    assert np.allclose(drawn, 100 * (0.5 + 0.52) / 2)
    ends = [line.get_ydata()[-1] for line in figure.axes[4].lines if len(line.get_xdata()) > 2]
    paper = memorization.published_final()["Random labels (SN)"]
    assert sorted(ends) == pytest.approx(sorted(100 * paper))
    assert len(memorization.who_memorizes(table, paper=False).axes) == 3


def test_on_all_of_cifar10_the_papers_curves_stand_in_the_same_axes(table) -> None:
    table.attrs["provenance"] = {"settings": {"data": "cifar10_jpeg", "train_size": None}}
    figure = memorization.who_memorizes(table, window=2)
    assert [ax.get_title() for ax in figure.axes] == list(memorization.PANELS)
    curves = [line for line in figure.axes[1].lines if len(line.get_xdata()) > 2]
    dashed = [line for line in curves if line.get_linestyle() == "--"]
    ours = [line for line in curves if line.get_linestyle() == "-"]
    assert len(dashed) == 4 and len(ours) == 4
    assert max(line.get_xdata().max() for line in ours) == pytest.approx(0.39 * 20)  # 20 epochs
    paper = memorization.published_final()["Random labels (SN)"]
    assert sorted(line.get_ydata()[-1] for line in dashed) == pytest.approx(sorted(100 * paper))


def test_the_papers_markers_sit_on_its_curves(table) -> None:
    """FACTS 3.0: the epochs of the markers; of their values two of each panel."""
    read = [{"erm": (25, 0.75), "fgm": (50, 0.94)}, {"erm": (100, 0.80), "fgm": (170, 0.69)}]
    read += [{"erm": (100, 0.97), "fgm": (170, 0.92)}]
    figure = memorization.who_memorizes(table)
    for ax, values in zip(figure.axes[3:], read, strict=True):
        dots = {line.get_color(): line for line in ax.lines if len(line.get_xdata()) == 1}
        assert len(dots) == 4
        for scheme, (epoch, value) in values.items():
            (x,), (y,) = dots[style.COLOR[scheme]].get_data()
            assert x == pytest.approx(0.39 * epoch)
            assert y / 100 == pytest.approx(value, abs=0.03), scheme


def test_the_probe_is_drawn_over_both_axes(table) -> None:
    betas = {1.0: 1.0, 1.6: 2.0, INF: 4.0}
    norms = pd.DataFrame(
        [
            dict(
                scheme="erm", labels=labels, beta=beta, seed=seed, theorem=log + (labels == "true")
            )
            for labels in ("random", "true")
            for beta, log in betas.items()
            for seed in (0, 1)
        ]
    )
    shown = capacity.by_budget(table, norms)
    assert shown.loc[1.6].tolist() == ["21.0 ± 12.7", "90.0 ± 0.0", "12.2 ± 14.1", "2.0 ± 0.0"]
    assert shown.loc[1.0, "edge"] == "0.0 ± 0.0"
    left, right = capacity.fitted_and_capacity(table, norms).axes
    ticks = [tick.get_text() for tick in left.get_xticklabels()]
    assert ticks == ["1", "1.6", "∞"]
    dots = {line.get_label(): line for line in right.lines}
    assert np.allclose(dots["β = 1.6"].get_xdata(), 100.0)  # of the nets on random labels
    assert np.allclose(dots["β = 1.6"].get_ydata(), [100 * 0.1 / 0.9, 100 * 0.12 / 0.9])
