"""The figures of notebook 12: what is drawn is what the rows say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from snlib.errors import UserError
from snlib.experiments.extensions import EXTENSION
from snlib.figures import REGISTRY, beyond, extensions, ways

INF = math.inf
NAMES = ("select", "schedule", "augment", "attack_labels")
OFF, ON = ("last", "constant", False, "predicted"), ("best", "piecewise", True, "true")

# ------------------------------------------------------------------------------------------- tables


def row(run: str, split: str, attack: str, value: float, **settings) -> dict:
    """A row of a table: one accuracy of one run."""
    place = dict(run=run, split=split, attack=attack, value=value, quantity="accuracy", x=math.nan)
    return {"labels": "true", **settings, **place}


def accuracies(run: str, own: float, standard: float, **settings) -> list[dict]:
    """A run's rows; training accuracy 0.9, validation as test."""
    return [
        row(run, "train", "training", 0.9, **settings),
        row(run, "validation", "training", own, **settings),
        row(run, "test", "training", own, **settings),
        row(run, "test", "targeted", standard, **settings),
        row(run, "test", "none", 0.95, **settings),
    ]


@pytest.fixture
def table() -> pd.DataFrame:
    """The factorial and the named pairs: every accuracy is a sum that a reader can redo.

    Without SN the standard accuracy is 0.40, and each factor adds 0.01, 0.02, 0.04, 0.08; SN adds
    0.10, and takes back 0.03 where the second factor is at work; the second seed has 0.01 more
    without SN.
    """
    rows = []
    for seed in (0, 1):
        for flags in itertools.product((0, 1), repeat=4):
            for beta in (INF, 1.3):
                standard = 0.40 + sum(
                    flag * step for flag, step in zip(flags, (0.01, 0.02, 0.04, 0.08), strict=True)
                )
                standard += seed * 0.01 if beta == INF else 0.10 - 0.03 * flags[1]
                settings = {
                    name: (off, on)[flag]
                    for name, off, on, flag in zip(NAMES, OFF, ON, flags, strict=True)
                }
                settings |= dict(scheme="fgm", beta=beta, seed=seed, clip=False)
                name = f"{seed}{flags}{beta}"
                rows += accuracies(name, standard + 0.2, standard, **settings)
        for clip, beta in itertools.product((False, True), (INF, 1.3)):
            settings = dict(zip(NAMES, ON if clip else OFF, strict=True))
            settings |= dict(scheme="pgm", beta=beta, seed=seed, clip=clip)
            standard = 0.3 + 0.05 * clip + (0.02 if beta == 1.3 else 0.0)
            rows += accuracies(f"pgm{seed}{clip}{beta}", 0.5, standard, **settings)
    table = pd.DataFrame(rows)
    return table.assign(augment=table["augment"].astype(str))  # as a table read from its file


def test_cells_are_ordered_and_gains_are_paired(table) -> None:
    found = ways.cells(ways.runs_of(table))
    assert len(found) == 2 * 2 * 18
    first = found[found["cell"] == 0]
    assert not first[list(NAMES)].any().any()
    assert found[found["cell"] == 1]["select"].all()  # single factors in the order of their names
    assert found[found["cell"] == 4]["attack_labels"].all()
    assert found[found["cell"] == 15][list(NAMES)].all().all()
    by_seed = ways.gains(found)
    assert np.allclose(by_seed[0], [0.10, 0.09])  # the second seed is better without SN
    assert np.allclose(by_seed[2], [0.07, 0.06])  # the falling rate takes 0.03
    assert np.allclose(by_seed[16], [0.02, 0.02]) and np.allclose(by_seed[17], [0.02, 0.02])
    assert np.allclose(ways.gains(found, ways.OWN)[16], 0)


def test_effects_are_those_put_in(table) -> None:
    found = ways.effects(ways.cells(ways.runs_of(table)))
    assert np.allclose(found["without"], [0.01, 0.02, 0.04, 0.08])
    assert np.allclose(found["with"], [0.01, -0.01, 0.04, 0.08])
    assert np.allclose(found["gain"], [0, -0.03, 0, 0])
    assert np.allclose(found["gain half"], 0)


def test_the_summary_names_ways_and_prints_points(table) -> None:
    found = ways.summary(ways.cells(ways.runs_of(table)))
    assert np.isclose(found.loc["falling rate alone", "standard"], 0.065)
    assert np.isclose(found.loc["mean of the sixteen", "standard"], 0.095 - 0.015)
    assert np.isclose(found.loc["PGM, standard protocol", "own"], 0)
    shown = ways.printed(found)
    # Student's t for two seeds: 12.706 * 0.005
    assert shown.loc["falling rate alone", "standard"] == "+6.5 ± 6.4"
    assert list(shown) == ["standard", "own"]


def test_the_figure_of_the_factorial_draws_gains_and_factors(table) -> None:
    figure = beyond.factorial(table)
    matrix, levels, gain = figure.axes
    dark = sorted(
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in matrix.lines
        if line.get_marker() == "o" and line.get_color() == "black"
    )
    assert len(dark) == 32 and (0.0, 1.0) in dark and (0.0, 0.0) not in dark
    centres = [part.lines[0].get_xydata() for part in gain.containers]
    assert np.allclose(centres[0][[0, 2, 17], 0], [9.5, 6.5, 2.0])
    assert np.allclose(centres[1][16, 0], 0)
    assert np.allclose(levels.containers[0].lines[0].get_xdata()[0], 40.5)
    assert np.allclose(levels.containers[1].lines[0].get_xdata()[0], 50)
    # Student's t for two seeds: 12.706 * 0.5 * 2 / 2, around 9.5
    bar = gain.containers[0].lines[2][0].get_segments()[0]
    assert np.allclose(bar[:, 0], [9.5 - 6.353, 9.5 + 6.353], atol=0.01)


def test_the_figure_of_factors_draws_effects(table) -> None:
    figure = beyond.factors(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "early stopping", "falling rate", "augmentation", "true labels",
    ]  # fmt: skip
    black = figure.axes[0].containers[2].lines[0]
    assert np.allclose(black.get_xdata(), [0, -3, 0, 0])


def test_tables_of_other_experiments_are_refused(table) -> None:
    with pytest.raises(UserError, match="no clip; give the table of the experiment beyond"):
        ways.runs_of(table.drop(columns="clip"))
    with pytest.raises(UserError, match="no targeted"):
        ways.runs_of(table[table["attack"] != "targeted"])
    with pytest.raises(UserError, match="16 combinations of select"):
        ways.cells(ways.runs_of(table[table["select"] == "last"]))
    with pytest.raises(UserError, match="give the table of the experiment temperature"):
        extensions.sizes(table)
    with pytest.raises(UserError, match="give the table of the experiment extensions"):
        extensions.cases(table[table["attack"] != "targeted"])


@pytest.fixture
def cooled() -> pd.DataFrame:
    """Gains e^4 (neither), e^2 (T 4), e^0 (T 8), and under a budget e^1 and e^-1 (too small)."""
    rows = []
    for seed in (0, 1):
        for beta, temperature, power, standard in (
            (INF, 1.0, 4, 0.5),
            (INF, 4.0, 2, 0.6 + 0.02 * seed),
            (INF, 8.0, 0, 0.4),
            (1.6, 1.0, 1, 0.7),
            (1.0, 1.0, -1, 0.3),
        ):
            name = f"{seed} {beta} {temperature}"
            settings = dict(beta=beta, temperature=temperature, seed=seed, scheme="fgm")
            rows += accuracies(name, standard + 0.1, standard, **settings)
            for level in (0.25, 0.5):
                place = dict(quantity="norm_gain", x=level, attack="none")
                value = math.exp(power) if level == 0.5 else 99.0
                rows.append({**row(name, "test", "none", value, **settings), **place})
    return pd.DataFrame(rows)


def test_accuracy_is_compared_at_equal_size_of_the_outputs(cooled) -> None:
    runs = extensions.sizes(cooled)
    assert list(runs["way"][:5]) == ["free", "temperature", "temperature", "budget", "budget"]
    found = extensions.matched(runs)
    # half way in log gain between T = 4 and T = 8: 0.5 and 0.51
    assert np.allclose(found[1.6], [0.2, 0.19])
    assert found[1.0].isna().all()  # no temperature reaches so small an output


def test_the_figure_of_sizes_draws_means_over_the_gain(cooled) -> None:
    figure = extensions.against_size(cooled)
    budget, temperature = (part.lines[0].get_xydata() for part in figure.axes[0].containers)
    assert np.allclose(budget, [[math.exp(-1), 30], [math.e, 70], [math.exp(4), 50]])
    assert np.allclose(temperature, [[1, 40], [math.exp(2), 61], [math.exp(4), 50]])
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"β = 1", "β = 1.6", "T = 4", "T = 8"}


@pytest.fixture
def elsewhere() -> pd.DataFrame:
    """Two cases, two seeds, two budgets; SN adds 0.1 to TRADES and takes 0.05 from PGM."""
    rows = []
    for seed, beta, (scheme, net) in itertools.product(
        (0, 1), (INF, 1.6), (("trades", "alexnet"), ("pgm", "wide_resnet"))
    ):
        change = 0.0 if beta == INF else 0.1 if scheme == "trades" else -0.05
        settings = dict(scheme=scheme, net=net, beta=beta, seed=seed)
        rows += accuracies(f"{scheme}{beta}{seed}", 0.6 + change, 0.5 + 2 * change, **settings)
    table = pd.DataFrame(rows)
    table.attrs["provenance"] = {"settings": {"data": "cifar10"}}
    return table


def test_extensions_are_judged_at_the_validated_budget(elsewhere) -> None:
    runs = extensions.cases(elsewhere)
    trades, pgm = "TRADES training\nalexnet, cifar10", "PGM training\nwide_resnet, cifar10"
    assert extensions.budgets(runs) == {trades: 1.6, pgm: INF}
    found = extensions.gains(runs)
    assert set(found.index) == {(case.replace("\n", ", "), 1.6) for case in (trades, pgm)}
    found = found.droplevel(1)
    assert np.isclose(found.loc["TRADES training, alexnet, cifar10", "standard"], 0.2)
    assert np.isclose(found.loc["PGM training, wide_resnet, cifar10", "test"], -0.05)  # no better
    assert np.isclose(found.loc["TRADES training, alexnet, cifar10", "gap"], -0.1)
    assert np.allclose(found[["standard half", "clean half"]], 0)


def test_the_figure_of_extensions_says_what_they_are(elsewhere) -> None:
    figure = extensions.against_budget(elsewhere)
    assert figure.get_suptitle() == EXTENSION
    trades, pgm = figure.axes
    assert np.allclose(trades.containers[2].lines[0].get_xydata(), [[0, 70], [1, 50]])
    centres = [ax.patches[0].get_x() + ax.patches[0].get_width() / 2 for ax in (trades, pgm)]
    assert np.allclose(centres, [0, 1])


def test_registered_captions_say_what_the_bars_are_and_where_extensions_come_from() -> None:
    for name in ("beyond_factorial", "beyond_factors", "temperature", "extensions"):
        assert "95 %" in REGISTRY[name].caption
    assert EXTENSION in REGISTRY["extensions"].caption
