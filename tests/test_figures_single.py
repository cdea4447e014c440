"""Figures of one setting: what is painted, read from the axes, against values set by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from layout import fits
from matplotlib.colors import to_hex

from snlib.errors import UserError
from snlib.figures import single, style
from snlib.figures.margins import published_modes
from snlib.figures.norm_gain import published_gains

LEVELS = np.round(np.arange(101) / 100, 2)


def quantiles(low: float, high: float, **columns: object) -> pd.DataFrame:
    """Rows of a uniform distribution on [low, high]."""
    values = low + (high - low) * LEVELS
    return pd.DataFrame({"x": LEVELS, "value": values}).assign(diverged=False, **columns)


def chosen(ax) -> list:
    """The lines in front, and that they have one colour."""
    lines = [line for line in ax.lines if line.get_zorder() == 3]
    assert len({to_hex(line.get_color()) for line in lines}) == 1
    return lines


def middle(line) -> float:
    """Where the mass under a line lies, on average."""
    x, y = line.get_data()
    return float(np.average(x, weights=np.gradient(x) * y))


# ------------------------------------------------------------------------------------ norm gain


@pytest.fixture(scope="module")
def gains() -> pd.DataFrame:
    """ERM at three budgets and two seeds: gains around beta / 10 (3 for none), norms beta twice."""
    parts = []
    for beta, middle_of, norm in ((1.3, 0.13, 1.3), (4.0, 0.4, 4.0), (math.inf, 3.0, 10.0)):
        for seed in (0, 1):
            about = dict(scheme="erm", beta=beta, seed=seed, run=f"{beta}{seed}", attack="none")
            rows = quantiles(0.9 * middle_of, 1.1 * middle_of, quantity="norm_gain", split="test")
            layers = pd.DataFrame({"x": [0, 1], "value": [norm, norm], "split": ["conv1", "fc1"]})
            layers = layers.assign(quantity="lower", diverged=False)
            parts += [rows.assign(**about), layers.assign(**about)]
    return pd.concat(parts, ignore_index=True)


def test_the_chosen_budget_comes_to_the_front(gains):
    draw = single.norm_gain(gains)
    places = []
    for beta, center in ((1.3, 0.13), (math.inf, 3.0), (4.0, 0.4), (1.3, 0.13)):
        figure = draw(beta)
        (ax,) = figure.axes
        lines = chosen(ax)
        assert len(lines) == 2  # a seed each
        assert to_hex(lines[0].get_color()) == to_hex(style.beta_color(beta))
        for line in lines:
            assert middle(line) == pytest.approx(center, rel=0.05)
        places.append((ax.get_xlim(), ax.get_ylim(), ax.get_position().bounds))
    assert len(set(places)) == 1  # the axes stay
    greys = [line for line in ax.lines if to_hex(line.get_color()) == single.OTHERS]
    assert len(greys) == 4


def test_bound_and_the_papers_mode_are_those_of_the_budget(gains):
    draw = single.norm_gain(gains)
    for beta, product in ((1.3, 1.69), (math.inf, 100.0)):
        (ax,) = draw(beta).axes
        upright = {line.get_linestyle(): line.get_xdata()[0] for line in ax.lines[-2:]}
        assert upright["--"] == pytest.approx(product)
        assert upright[":"] == published_gains()[beta]
        assert f"product {product:.3g}" in ax.get_title()
        assert fits(ax.figure)


def test_a_budget_that_is_not_recorded(gains):
    with pytest.raises(UserError, match=r"beta is 2.5; recorded are \[1.3, 4.0, inf\]"):
        single.norm_gain(gains)(2.5)


# -------------------------------------------------------------------------------------- margins


@pytest.fixture(scope="module")
def margins() -> tuple[pd.DataFrame, pd.DataFrame]:
    """ERM and FGM at two budgets: margins from -1 to 3 (tight) or 4 to 12 (none)."""
    table, norms = [], []
    for scheme, attack in (("erm", "none"), ("fgm", "training")):
        for beta, ends, log_norm in ((1.6, (-1.0, 3.0), 2.0), (math.inf, (4.0, 12.0), 5.0)):
            about = dict(run=f"{scheme}{beta}", scheme=scheme, beta=beta, labels="true", seed=0)
            rows = quantiles(*ends, quantity="margin", split="train", attack=attack)
            clean = quantiles(90.0, 91.0, quantity="margin", split="train", attack="other")
            table += [rows.assign(**about), clean.assign(**about)]
            norms.append({**about, "published": log_norm, "theorem": log_norm + 30})
    return pd.concat(table, ignore_index=True), pd.DataFrame(norms)


def test_margins_raw_and_divided(margins):
    draw = single.margins(*margins)
    raw, divided = draw("fgm", math.inf).axes
    assert middle(chosen(raw)[0]) == pytest.approx(8.0, rel=0.01)
    # the mean of log10 of a uniform variable on [a, b], by its integral
    a, b = 4.0, 12.0
    mean = (b * math.log10(b) - a * math.log10(a)) / (b - a) - 1 / math.log(10)
    assert middle(chosen(divided)[0]) == pytest.approx(mean - 5.0, abs=0.01)
    assert raw.get_xlabel() == "margin; 0% are negative"
    _, divided = draw("fgm", math.inf, "theorem").axes
    assert middle(chosen(divided)[0]) == pytest.approx(mean - 35.0, abs=0.01)
    assert "√Φ" in divided.get_xlabel()
    raw, _ = draw("erm", 1.6).axes
    assert raw.get_xlabel() == "margin; 25% are negative"
    assert middle(chosen(raw)[0]) == pytest.approx(1.0, abs=0.02)


def test_the_papers_modes_of_margins_are_drawn_where_it_has_them(margins):
    draw = single.margins(*margins)
    theirs = published_modes().query("labels == 'true'").set_index(["kind", "scheme", "sn"])["mode"]

    def dotted(ax) -> float:
        (line,) = (line for line in ax.lines if line.get_linestyle() == ":")
        return line.get_xdata()[0]

    raw, divided = draw("erm", math.inf).axes
    assert dotted(raw) == theirs["raw", "erm", False]
    assert dotted(divided) == pytest.approx(math.log10(theirs["published", "erm", False]))
    raw, divided = draw("erm", 1.6).axes  # the paper's ERM nets have 1.3
    assert math.isnan(dotted(raw)) and math.isnan(dotted(divided))
    raw, divided = draw("fgm", 1.6).axes
    assert math.isnan(dotted(raw))
    assert dotted(divided) == pytest.approx(math.log10(theirs["published", "fgm", True]))
    low, high = divided.get_xlim()
    assert low < dotted(divided) < high
    assert math.isnan(dotted(draw("fgm", 1.6, "theorem").axes[1]))


def test_wrong_settings_are_named(margins):
    draw = single.margins(*margins)
    with pytest.raises(UserError, match=r"no run of scheme=pgm, beta=1.6 is recorded"):
        draw("pgm", 1.6)
    with pytest.raises(UserError, match=r"divided_by is 'phi'; allowed are published, theorem"):
        draw("erm", 1.6, "phi")
