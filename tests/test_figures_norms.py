"""Figures of norms: what is drawn, read from the axes, against values computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snlib import densities
from snlib.errors import UserError
from snlib.figures import convolution, kappa, margins, norm_gain

LEVELS = np.round(np.arange(101) / 100, 2)


def quantiles(low: float, high: float, **columns: object) -> pd.DataFrame:
    """Rows of a uniform distribution on [low, high]: its quantiles are known exactly."""
    values = low + (high - low) * LEVELS
    return pd.DataFrame({"x": LEVELS, "value": values}).assign(diverged=False, **columns)


# ---------------------------------------------------------------------------------- densities


def test_points_of_a_uniform_distribution_are_evenly_spread() -> None:
    sample = densities.points(LEVELS, 2 + 4 * LEVELS)
    assert np.allclose(sample, 2 + 4 * (np.arange(1000) + 0.5) / 1000)


def test_density_integrates_to_one_and_finds_the_mode_of_a_normal() -> None:
    from scipy import stats

    levels = np.concatenate([[0.0], LEVELS[1:-1], [1.0]])
    values = stats.norm(3.0, 0.5).ppf(np.clip(levels, 5e-3, 1 - 5e-3))
    sample = densities.points(levels, values)
    grid = np.linspace(0, 6, 1201)
    heights = densities.density(sample, grid)
    assert np.trapezoid(heights, grid) == pytest.approx(1.0, abs=1e-6)
    assert densities.mode(sample) == pytest.approx(3.0, abs=0.02)
    assert grid[heights.argmax()] == pytest.approx(3.0, abs=0.02)


def test_the_mode_of_two_bumps_is_the_higher_one() -> None:
    values = np.concatenate([np.linspace(0, 1, 70), np.linspace(9, 10, 31)])
    assert 0 < densities.mode(densities.points(LEVELS, values)) < 1


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        (LEVELS[:-1], LEVELS[:-1], "ascend from 0 to 1"),
        (LEVELS[::-1], LEVELS, "ascend from 0 to 1"),
        (LEVELS, -LEVELS, "descend"),
        (LEVELS, LEVELS * math.nan, "not finite"),
    ],
)
def test_broken_quantiles_are_refused(levels, values, message) -> None:
    with pytest.raises(UserError, match=message):
        densities.points(levels, values)


def test_rows_of_two_distributions_are_refused() -> None:
    both = pd.concat([quantiles(0, 1), quantiles(1, 2)])
    with pytest.raises(UserError, match="several distributions"):
        densities.of(both)
    with pytest.raises(UserError, match="several distributions or none"):
        densities.of(both[:0])
    with pytest.raises(UserError, match="recorded 0 times"):
        densities.quantile(quantiles(0, 1), 0.005)


# ---------------------------------------------------------------------------------- norm gain


def layer_rows(values: list[float], quantity: str, **columns: object) -> pd.DataFrame:
    """Rows of one norm of the layers conv1, fc1, ... of a net."""
    names = ["conv1", *(f"fc{index}" for index in range(1, len(values)))]
    rows = {"x": range(len(values)), "value": values, "split": names}
    return pd.DataFrame(rows).assign(quantity=quantity, diverged=False, **columns)


@pytest.fixture
def gain() -> pd.DataFrame:
    parts = []
    for beta, low, high in ((1.0, 0.1, 0.3), (math.inf, 2.0, 6.0)):
        for seed in (0, 1):
            run = {"scheme": "erm", "beta": beta, "seed": seed, "attack": "none"}
            test = {"quantity": "norm_gain", "split": "test"}
            train = {"quantity": "gradient_norm", "split": "train"}
            parts.append(quantiles(low + seed, high + seed, **test, **run))
            parts.append(quantiles(0.0 + beta / 100 if beta == 1 else 1e-6, 2.0, **train, **run))
            parts.append(layer_rows([2.0, 3.0 + seed, 0.5], "lower", **run))
    capped = {"scheme": "pgm", "beta": 1.3, "seed": 0, "attack": "none"}
    parts.append(quantiles(0.5, 1.5, quantity="gradient_norm", split="train", **capped))
    return pd.concat(parts, ignore_index=True)


def test_gains_are_the_recorded_quantiles_and_the_product_of_norms(gain) -> None:
    rows = norm_gain.gains(gain).set_index(["beta", "seed"])
    assert rows.loc[(1.0, 0), "median"] == pytest.approx(0.2)
    assert rows.loc[(1.0, 0), "low"] == pytest.approx(0.11)
    assert rows.loc[(math.inf, 1), "high"] == pytest.approx(6.8)
    assert rows.loc[(math.inf, 1), "product"] == pytest.approx(2.0 * 4.0 * 0.5)


def test_norm_gain_draws_medians_products_and_the_papers_modes(gain) -> None:
    left, right = norm_gain.norm_gain(gain).axes[:2]
    modes = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "D"]
    assert modes == pytest.approx([0.087, 0.141, 0.195, 0.262, 0.60, 0.83], abs=0.003)
    assert len(left.lines) - len(modes) == 4  # two budgets, two seeds
    product, paper = [line for line in right.lines if line.get_label()[0] != "_"][:2]
    assert product.get_ydata() == pytest.approx([3.5, 3.5])
    assert paper.get_ydata() == pytest.approx([0.087, 0.828])
    medians = [bar.lines[0].get_ydata() for bar in right.containers]
    assert np.concatenate(medians) == pytest.approx([0.2, 1.2, 4.0, 5.0])
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "∞"]


def test_a_table_without_gains_is_refused(gain) -> None:
    with pytest.raises(UserError, match="no norm_gain of ERM"):
        norm_gain.norm_gain(gain[gain["quantity"] != "norm_gain"])


# -------------------------------------------------------------------------------------- kappa


def test_kappas_are_the_smallest_gradient_norms(gain) -> None:
    rows = kappa.kappas(gain).set_index(["scheme", "beta", "seed"])
    assert rows.loc[("erm", 1.0, 0), "minimum"] == pytest.approx(0.01)
    assert rows.loc[("erm", 1.0, 0), "below_01"] == 0
    assert rows.loc[("erm", math.inf, 0), "below_01"] == pytest.approx(0.005, abs=1e-3)
    assert rows.loc[("pgm", 1.3, 0), "quantile_05"] == pytest.approx(0.55)


def test_kappa_draws_the_recorded_quantiles_unsmoothed(gain) -> None:
    _, _, erm, pgm = kappa.kappa(gain).axes
    line = pgm.lines[0].get_xydata()
    assert np.allclose(line, np.column_stack([0.5 + LEVELS, LEVELS]))
    assert pgm.lines[1].get_xdata() == pytest.approx([0.031, 0.031])  # the paper's mode
    assert (erm.get_title(), pgm.get_title()) == ("ERM, every β", "PGM, β = 1.3")


def test_kappa_draws_the_densities_of_the_papers_budget_above(gain) -> None:
    erm, pgm = kappa.kappa(gain).axes[:2]
    assert len(erm.lines) == 1, "no ERM net at beta 1.3, the paper's mode alone"
    assert erm.lines[0].get_xdata() == pytest.approx([0.04, 0.04])
    x, density = pgm.lines[0].get_xydata().T
    # the oracle: 1,000 evenly spread points of (0.5, 1.5) in scipy's kernel estimate
    sample = 0.5 + (np.arange(1000) + 0.5) / 1000
    factor = densities.bandwidth(sample) / sample.std(ddof=1)
    expected = stats.gaussian_kde(sample, bw_method=factor)(x)
    assert np.allclose(density, expected, atol=1e-6)
    assert pgm.get_xlim()[0] == 0 and list(pgm.get_yticks()) == []
    assert pgm.get_title() == "PGM, β = 1.3"


def test_a_table_without_gradient_norms_is_refused(gain) -> None:
    with pytest.raises(UserError, match="no gradient_norm"):
        kappa.kappa(gain[gain["quantity"] != "gradient_norm"])


def test_published_kappas_are_those_of_the_file() -> None:
    rows = kappa.published_kappas().set_index("scheme")
    assert rows.loc["erm"].tolist() == [0.04, 1.16] and rows.loc["wrm"].tolist() == [0.048, 0.72]


# ------------------------------------------------------------------------------------ margins


@pytest.fixture
def nets() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nets of every panel, with margins uniform around known centres, and their log10 norms."""
    parts, norms = [], []
    centres = {"true": 4.0, "random": -1.0}
    panels = [("erm", 1.3, label) for label in centres]
    panels += [("fgm", 1.6, "true"), ("pgm", 1.6, "true")]
    for number, (scheme, beta, label) in enumerate(
        [(name, b, label) for name, cap, label in panels for b in (cap, math.inf)]
    ):
        run = {"run": f"r{number}", "scheme": scheme, "beta": beta, "labels": label, "seed": 0}
        place = {"quantity": "margin", "split": "train"}
        clean, attacked = centres[label], centres[label] - 2
        parts.append(quantiles(clean - 1, clean + 1, attack="none", **place, **run))
        if scheme != "erm":
            parts.append(quantiles(attacked - 1, attacked + 1, attack="training", **place, **run))
        norms.append({**run, "published": 2.0, "theorem": 30.0})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(norms)


def test_summary_divides_the_mode(nets) -> None:
    rows = margins.summary(*nets).set_index(["scheme", "labels", "sn"])
    erm, pgm = rows.loc[("erm", "true", True)], rows.loc[("pgm", "true", False)]
    assert erm["median"] == pytest.approx(4.0) and pgm["median"] == pytest.approx(2.0)
    assert erm["published"] == pytest.approx(erm["mode"] / 100)
    assert pgm["theorem"] == pytest.approx(pgm["mode"] * 1e-30)
    assert rows.loc[("erm", "random", True), "negative"] == 1.0 and erm["negative"] == 0.0


def test_divided_neither_overflows_nor_loses_the_sign() -> None:
    assert margins.divided(-2.0, 100.0) == pytest.approx(-2e-100)
    assert margins.divided(0.0, 3.0) == 0.0
    assert margins.divided(np.array([1.0, -1.0]), -2.0) == pytest.approx([100.0, -100.0])


def test_margins_draw_raw_and_normalized_densities(nets) -> None:
    axes = margins.margins(*nets).axes
    assert len(axes) == 8
    raw, normalized, fgm = axes[0], axes[1], axes[2]
    for line, centre in zip(raw.lines, (4.0, -1.0), strict=False):
        x, y = line.get_xydata().T
        assert np.average(x, weights=y) == pytest.approx(centre, abs=0.02)
    x, y = normalized.lines[0].get_xydata().T
    assert np.average(x, weights=y) == pytest.approx(0.04, abs=2e-4)
    x, y = fgm.lines[0].get_xydata().T  # under the training attack
    assert np.average(x, weights=y) == pytest.approx(0.02, abs=2e-4)
    assert "units of $10^{-2}$" in fgm.get_xlabel() and "paper: 9.8e-08" in fgm.get_xlabel()
    assert "15 true, 14 random" in raw.get_xlabel()
    marked = sorted(line.get_xdata()[0] for line in raw.lines if line.get_linestyle() == ":")
    assert marked == pytest.approx([14.2, 15.3])


def test_margin_sizes_mark_what_the_axis_cannot_hold(nets) -> None:
    raw, published, theorem = margins.margin_sizes(*nets).axes[:3]
    drawn = [x for line in raw.lines if line.get_marker() == "o" for x in line.get_xdata()]
    modes = margins.summary(*nets)["mode"]
    assert sorted(drawn) == pytest.approx(sorted(modes[modes > 0]))
    assert not [x for line in theorem.lines if line.get_marker() == "o" for x in line.get_xdata()]
    notes = [text.get_text() for text in theorem.texts]
    assert any("{-30}" in note for note in notes)
    assert [text.get_text() for text in published.texts].count("1 of 1 below 0") == 2


def test_a_net_without_a_bound_is_counted_and_blanks_its_cells(nets) -> None:
    table, norms = nets
    norms = norms.assign(kappa=0.1)
    again = {f"r{number}": f"s{number}" for number in range(len(norms))}  # a second seed
    table = pd.concat([table, table.assign(run=table["run"].map(again), seed=1)])
    norms = pd.concat([norms, norms.assign(run=norms["run"].map(again), seed=1)])
    dead = (norms["scheme"] == "fgm") & (norms["beta"] == 1.6) & (norms["seed"] == 1)
    norms.loc[dead, ["kappa", "theorem"]] = 0.0, math.nan
    found = margins.summary(table, norms)
    place = (found["scheme"] == "fgm") & found["sn"]
    assert found.loc[place, "theorem"].isna().tolist() == [False, True]
    assert found.loc[~place, "theorem"].notna().all() and found["published"].notna().all()
    shown = margins.normalized_beside_paper(found, norms)
    blank = ["mode/sqrt(Phi)", "κ", "sqrt(Phi)"]
    assert (shown.loc[("fgm", "true", True), blank] == "").all()
    assert shown.loc[("fgm", "true", True), "mode/published"] == "-1.7 ± 0.0"
    assert shown.loc[("pgm", "true", True), blank].tolist() == ["-29.7 ± 0.0", "-1.0 ± 0.0",
                                                                "30.0 ± 0.0"]  # fmt: skip
    raw, published, theorem = margins.margin_sizes(table, norms).axes[:3]
    notes = [text.get_text() for text in theorem.texts]
    assert [note for note in notes if "bound" in note] == [
        "1 of 2 to $10^{-30}$, 1 of 2 without a bound"
    ]
    assert not any("bound" in text.get_text() for ax in (raw, published) for text in ax.texts)


def test_a_missing_panel_is_refused(nets) -> None:
    table, norms = nets
    with pytest.raises(UserError, match="no net of pgm with SN"):
        margins.margins(table, norms[~((norms["scheme"] == "pgm") & (norms["beta"] == 1.6))])


def test_published_modes_are_those_of_the_file() -> None:
    modes = margins.published_modes().set_index(["kind", "scheme", "sn", "labels"])["mode"]
    assert modes["raw", "erm", True, "true"] == pytest.approx(1.37)
    assert modes["published", "erm", False, "random"] == pytest.approx(7.9e-6)
    assert sorted(modes.loc["published", "pgm", False, "true"]) == pytest.approx([3.2e-10, 6.4e-10])


# -------------------------------------------------------------------------------- convolution


def test_convergence_draws_relative_errors() -> None:
    table = pd.DataFrame(
        {"layer": "a", "products": [1, 2], "sigma": 2.0, "power": [1.0, 1.5], "krylov": [1.0, 2.0]}
    )
    (ax,) = convolution.convergence(table).axes
    power, krylov = (line.get_ydata() for line in ax.lines)
    assert power == pytest.approx([0.5, 0.25]) and krylov[0] == pytest.approx(0.5)
    assert krylov[1] <= 1e-14  # exact, below the axis
    with pytest.raises(UserError, match="it needs"):
        convolution.convergence(table.drop(columns="sigma"))


@pytest.fixture
def trained() -> pd.DataFrame:
    parts = []
    for optimizer in ("sgd", "adam"):
        for tracker, norms in (("power", [2.2, 1.9, 2.1]), ("krylov", [2.0, 1.9, 2.002])):
            run = {"optimizer": optimizer, "tracker": tracker, "beta": 2.0, "seed": 0}
            parts.append(layer_rows(norms, "lower", **run))
            parts.append(layer_rows([9.0] * 3, "upper", **run))
    return pd.concat(parts, ignore_index=True)


def test_overshoots_are_relative_to_beta_and_never_negative(trained) -> None:
    rows = convolution.overshoots(trained)
    power = rows[(rows["tracker"] == "power") & (rows["optimizer"] == "sgd")]
    assert power["layer"].tolist() == ["conv1", "fc1", "fc2"]
    assert power["overshoot"].tolist() == pytest.approx([0.1, 0.0, 0.05])


def test_the_overshoot_of_a_net_is_its_worst_layers(trained) -> None:
    again = trained.assign(
        seed=1, value=trained["value"].where(trained["tracker"] == "krylov", 2.4)
    )
    both = pd.concat([trained, again], ignore_index=True)
    found = convolution.worst_layers(convolution.overshoots(both))
    power, krylov = found.loc["sgd", "power"], found.loc["sgd", "krylov"]
    assert power["mean"] == pytest.approx(0.15) and power["worst"] == pytest.approx(0.2)
    assert power["half"] == pytest.approx(12.7062 * 0.05, rel=1e-4)  # t, 1 degree; sd 0.1 / sqrt 2
    assert power["median"] == pytest.approx(0.15)  # of 0, .05, .1, .2, .2, .2
    assert krylov["mean"] == pytest.approx(0.001) and krylov["half"] == pytest.approx(0, abs=1e-12)


def test_overshoot_draws_each_layer_and_floors_none_at_the_axis(trained) -> None:
    sgd, adam = convolution.overshoot(trained).axes[:2]
    power, krylov = (line.get_ydata() for line in sgd.lines[:2])
    assert power == pytest.approx([0.1, 1e-5, 0.05])
    assert krylov == pytest.approx([1e-5, 1e-5, 0.001])
    assert [text.get_text() for text in sgd.get_xticklabels()] == ["conv1", "fc1", "fc2"]
    assert (sgd.get_title(), adam.get_title()) == ("SGD", "Adam")
    with pytest.raises(UserError, match="no lower ends"):
        convolution.overshoot(trained[trained["quantity"] == "upper"])
