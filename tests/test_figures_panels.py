"""The paper's further training curves: panels, values and runs against the facts, typed in."""

import math

import numpy as np
import pandas as pd
import pytest

from snlib import tables
from snlib.errors import UserError
from snlib.experiments import experiment
from snlib.figures import REGISTRY, curves, panels, style

INF = math.inf

ENDS = {  # facts, section 3: final validation accuracy without SN and with it
    "ELU-AlexNet FGM": (0.500, 0.605),
    "ELU-AlexNet PGM": (0.520, 0.603),
    "ELU-AlexNet WRM": (0.553, 0.611),
    "Inception PGM": (0.519, 0.571),
    "Inception WRM": (0.607, 0.625),
    "ResNet PGM": (0.482, 0.565),
    "ResNet WRM": (0.577, 0.594),
    "AlexNet FGM linf eps=0.1": (0.478, 0.573),
    "AlexNet PGM linf eps=0.1": (0.422, 0.525),
    "AlexNet FGM linf eps=0.3": (0.570, 0.664),
    "AlexNet PGM linf eps=0.3": (0.224, 0.331),
}

BUDGETS = (1.6, 1.6, 1.3, 1.6, 1.0, 2.5, 1.6, 1.3, 1.6, 1.3, 1.3)
"""Of the panels' curves with SN, in the order of `ENDS`."""


def height(run) -> float:
    """An accuracy that tells a run's settings from those of every other."""
    place = {"fgm": 0.0, "pgm": 0.1, "wrm": 0.2}[run.scheme]
    place += {"alexnet": 0.0, "elu_alexnet": 0.0, "inception": 0.02, "resnet": 0.04}[run.net]
    return 0.3 + place + (run.eps or 0.0) / 10 + (0.005 if math.isinf(run.beta) else 0.0)


def table_of(name: str, scale: str) -> pd.DataFrame:
    """A table as `tables.load` gives it: four epochs a run, every accuracy the run's `height`."""
    runs = experiment(name).at(scale)
    columns, rows = tables.varying(runs), []
    for run in runs:
        settings = {column: getattr(run, column) for column in columns}
        for quantity, split in (
            ("running_accuracy", "train"),
            ("validation_accuracy", "validation"),
        ):
            about = {"run": run.name, "quantity": quantity, "split": split, "value": height(run)}
            rows += [{**settings, **about, "x": float(epoch)} for epoch in range(1, 5)]
    table = pd.DataFrame(rows)
    common = {key: value for key, value in runs[0].settings().items() if key not in columns}
    table.attrs["provenance"] = {"settings": common}
    return table


def test_every_panel_is_there_with_its_budget_and_its_end():
    found = panels.ends({})
    assert list(found["panel"].unique()) == list(ENDS)
    assert found["validation_here"].isna().all() and (found["seeds"] == 0).all()
    ends = found.set_index(["panel", "beta"])["validation"]
    for (panel, (free, capped)), beta in zip(ENDS.items(), BUDGETS, strict=True):
        assert ends[panel, INF] == pytest.approx(free, abs=0.008), panel
        assert ends[panel, beta] == pytest.approx(capped, abs=0.008), panel


@pytest.mark.parametrize("name", list(panels.FIGURES))
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_run_of_the_experiment_belongs_to_one_panel(name, scale):
    table = table_of(name, scale)
    parts = [panel.rows(table) for panel in panels.FIGURES[name][2]]
    assert sum(len(part) for part in parts) == len(table)
    for part in parts:
        assert part["seed"].nunique() == 3 and part["beta"].nunique() == 2
        assert part.groupby("beta")["accuracy"].nunique().eq(1).all(), "runs of several settings"


def test_ends_are_those_of_the_panels_runs():
    found = panels.ends({name: table_of(name, "paper") for name in panels.FIGURES})
    assert (found["seeds"] == 3).all()
    here = found.set_index(["panel", "beta"])["validation_here"]
    assert here["ELU-AlexNet PGM", 1.6] == pytest.approx(0.4)
    assert here["ResNet WRM", INF] == pytest.approx(0.545)
    assert here["Inception PGM", 1.6] == pytest.approx(0.42)
    assert here["AlexNet FGM linf eps=0.3", INF] == pytest.approx(0.335)
    assert here["AlexNet PGM linf eps=0.1", 1.6] == pytest.approx(0.41)


def spread(table: pd.DataFrame, added: dict[tuple[bool, int], float]) -> pd.DataFrame:
    """The table with more accuracy for runs with (True) or without a budget, seed by seed."""
    pairs = zip(np.isfinite(table["beta"]), table["seed"], strict=True)
    values = table["value"] + [added.get(pair, 0.0) for pair in pairs]
    other = table.assign(value=values)
    other.attrs = table.attrs
    return other


def test_gains_are_paired_by_seed():
    # with SN .395 + (.01, .02, .06), without .4: differences of .5, 1.5 and 5.5 points
    table = spread(
        table_of("curves_elu", "laptop"), {(True, 0): 0.01, (True, 1): 0.02, (True, 2): 0.06}
    )
    found = panels.gains({"curves_elu": table}).loc["ELU-AlexNet PGM"]
    assert found["mean"] == pytest.approx(2.5) and found["seeds"] == 3
    deviation = math.sqrt((2**2 + 1**2 + 3**2) / 2)
    assert found["half"] == pytest.approx(4.302653 * deviation / math.sqrt(3), rel=1e-6)
    assert found["paper"] == pytest.approx(8.3, abs=1.2)


def test_gains_take_whole_pairs_alone():
    table = table_of("curves_linf", "laptop")
    whole = table[~((table["beta"] == INF) & (table["seed"] == 2))]
    whole.attrs = table.attrs
    found = panels.gains({"curves_linf": whole})
    assert found.loc["AlexNet FGM linf eps=0.1", "seeds"] == 2
    assert found.loc["AlexNet FGM linf eps=0.1", "mean"] == pytest.approx(-0.5)
    assert found.loc["ResNet WRM", "seeds"] == 0 and math.isnan(found.loc["ResNet WRM", "mean"])
    assert list(found.index) == list(ENDS)
    free = table[table["beta"] == INF]
    free.attrs = table.attrs
    assert (panels.gains({"curves_linf": free})["seeds"] == 0).all()


def test_ends_are_printed_with_their_intervals_and_the_papers():
    table = spread(table_of("curves_elu", "laptop"), {(False, 0): 0.03})
    shown = panels.beside_paper(panels.ends({"curves_elu": table}))
    row = shown.loc[("F-elu", "ELU-AlexNet PGM", INF)]
    # .405, .405 and .435: the deviation is .03 / sqrt(3), the half 4.302653 x .03 / 3
    assert row["train"] == row["validation"] == "41.5 ± 4.3" and row["seeds"] == 3
    assert row["| paper"] > 95 and row["| paper "] == pytest.approx(52, abs=1)
    bare = shown.loc[("F-inc-res", "ResNet WRM", INF)]
    assert bare["train"] == bare["validation"] == "" and bare["seeds"] == 0
    assert shown.columns.is_unique and len(shown) == 22


def test_quick_shows_what_is_nearest_and_other_scales_themselves(monkeypatch):
    paper, laptop = table_of("curves_elu", "paper"), table_of("curves_elu", "laptop")
    near = {"curves_elu": {"paper": paper, "laptop": laptop}, "curves_linf": {"laptop": laptop}}
    monkeypatch.setattr(tables, "nearer", lambda name: near.get(name, {}))
    found = panels.nearest("quick", "elsewhere")
    assert list(found) == list(panels.FIGURES)
    assert found["curves_elu"] is paper and found["curves_linf"] is laptop
    assert found["curves_inception_resnet"] is None
    monkeypatch.setattr(panels, "load", lambda *where: where)
    assert panels.nearest("laptop", "elsewhere") == ("laptop", "elsewhere")


def test_without_records_the_papers_panels_stand_alone():
    figure = panels.further_curves({})
    assert len(figure.axes) == 11 and all(len(ax.lines) == 4 for ax in figure.axes)
    assert figure.axes[0].get_title() == "ELU-AlexNet FGM, β = 1.6"
    assert figure.axes[-1].get_title() == "AlexNet PGM ℓ∞ ε = 0.3, β = 1.3"
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) == 4 and all(word.startswith("published") for word in words)


def test_on_all_of_cifar10_both_stand_in_the_same_axes():
    figure = panels.further_curves({"curves_linf": table_of("curves_linf", "paper")})
    assert len(figure.axes) == 11
    last = figure.axes[-1]
    ours = [line for line in last.lines if line.get_color() in (style.FREE, style.CAPPED)]
    assert len(ours) == 4 and len(last.lines) == 8
    assert ours[0].get_xdata() == pytest.approx([0.39, 0.78, 1.17, 1.56])  # 390 steps an epoch
    assert ours[0].get_ydata() == pytest.approx([43.5] * 4)  # PGM, 0.3, without SN
    assert len(figure.axes[0].lines) == 4, "nothing is recorded of ELU-AlexNet"


def test_on_a_part_of_the_images_ours_stand_above():
    figure = panels.further_curves({"curves_elu": table_of("curves_elu", "laptop")})
    assert len(figure.axes) == 3 + 11
    ours, theirs = figure.axes[0], figure.axes[3]
    assert ours.get_xlabel() == "epoch" and "published" in theirs.get_xlabel()
    assert ours.get_title() == theirs.get_title() == "ELU-AlexNet FGM, β = 1.6"
    assert ours.lines[0].get_xdata() == pytest.approx([1, 2, 3, 4])


def test_a_panel_without_records_says_so_beside_those_that_have_some():
    table = table_of("curves_elu", "laptop")
    part = table[table["scheme"] != "pgm"]
    part.attrs = table.attrs
    figure = panels.further_curves({"curves_elu": part})
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said[:3] == [[], ["not recorded"], []] and not any(said[3:])
    empty = figure.axes[1]
    assert not empty.lines and not len(empty.get_xticks()) and empty.get_title().count("PGM")


def test_missing_tables_are_none_and_broken_ones_are_said(monkeypatch):
    assert panels.load("quick") == dict.fromkeys(panels.FIGURES)
    assert set(panels.load("paper@mnist").values()) == {None}

    def stale(name, **where):
        raise UserError(f"{name} was recorded with other settings. Record it again")

    monkeypatch.setattr(tables, "load", stale)
    with pytest.raises(UserError, match="Record it again"):
        panels.load("paper")


def test_the_papers_ground_is_all_of_cifar10():
    def about(**settings):
        table = pd.DataFrame()
        table.attrs["provenance"] = {"settings": settings}
        return curves.on_papers_ground(table)

    assert about(data="cifar10", train_size=None) and about(data="cifar10_jpeg", train_size=None)
    assert not about(data="cifar10_jpeg", train_size=2000)
    assert not about(data="cifar100", train_size=None) and not about(data="digits", train_size=200)
    assert not curves.on_papers_ground(pd.DataFrame())


def test_the_register_draws_them_with_and_without_records():
    entry = REGISTRY["further_training_curves"]
    assert entry.notebook == "05" and "CIFAR-10" in entry.caption and "95 %" in entry.caption
    assert len(entry.draw("quick").axes) == 11


def test_logarithmic_axes_have_ticks_of_one_size():
    figure, array = style.axes(1, 1)
    ax = array[0, 0]
    ax.plot([0.9, 4.2], [0, 1])
    style.log_axis(ax, "norm")
    style.laid_out(figure)
    shown = [t.get_text() for t in ax.get_xticklabels() if t.get_text()]
    assert {"1", "2", "3"} <= set(shown)
    assert not any(t.get_text() for t in ax.get_xticklabels(minor=True))


def test_budgets_have_colours_apart():
    betas = (1.0, 1.3, 1.6, 2.0, 4.0)
    shades = np.array([style.beta_color(beta)[:3] for beta in betas])
    apart = np.abs(np.diff(shades, axis=0)).max(1)
    assert (apart > 0.14).all(), apart
    others = [style.beta_color(beta) for beta in (0.1, 0.4, 0.8, 2.5, 8.0, 16.0, 100.0)]
    assert len({*others, *map(style.beta_color, betas)}) == 10  # the ends hold what lies beyond
    assert style.beta_color(INF) == style.FREE
