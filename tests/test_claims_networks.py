"""Statistics of claims about networks: margins, random labels, radii, inequalities, cost."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snlib import bounds, claims
from snlib.claims import cost, labels, margins, robustness, theorems
from snlib.errors import UserError
from snlib.results import ROOT

INF = math.inf
CURVES = pd.read_csv(ROOT / "data" / "paper" / "curves.csv")


def of(figure: str) -> pd.DataFrame:
    return CURVES[CURVES["figure"] == figure]


def evidence(number: int, place: int = 0) -> claims.Evidence:
    return claims.CLAIMS[number - 1].evidence[place]


# ------------------------------------------------------------------------------------------ margins

LEVELS = np.linspace(0, 1, 101)


def margin_rows(run, scheme, beta, kind, seed, centre, spread=1.0) -> list[dict]:
    """Quantiles of a normal distribution of margins, cut at three deviations."""
    values = stats.norm.ppf(np.clip(LEVELS, 0.00135, 0.99865), centre, spread)
    about = dict(run=run, scheme=scheme, beta=beta, labels=kind, seed=seed, split="train")
    attack = "none" if scheme == "erm" else "training"
    return [
        about | dict(attack=attack, quantity="margin", x=level, value=value)
        for level, value in zip(LEVELS, values, strict=True)
    ]


@pytest.fixture
def margin_table(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Raw margins 5 and 5.5 without SN, normalized 5e-3 and 5.5e-5; apart by much with SN."""
    nets = {
        ("erm", INF, "true"): (5.0, 3.0),
        ("erm", INF, "random"): (5.5, 5.0),
        ("erm", 1.3, "true"): (5.0, 1.0),
        ("erm", 1.3, "random"): (0.5, 1.0),
        ("fgm", INF, "true"): (4.0, 6.0),
        ("fgm", 1.6, "true"): (4.0, 2.5),
        ("pgm", INF, "true"): (4.0, 7.0),
        ("pgm", 1.6, "true"): (4.0, 2.0),
    }
    rows, norms = [], []
    for seed in (0, 1, 2):
        for place, ((scheme, beta, kind), (centre, norm)) in enumerate(nets.items()):
            run = f"{seed}-{place}"
            rows += margin_rows(run, scheme, beta, kind, seed, centre)
            norms.append(
                dict(run=run, scheme=scheme, beta=beta, labels=kind, seed=seed)
                | dict(published=norm, theorem=2 * norm)
            )
    monkeypatch.setattr(bounds, "normalizations", lambda table: pd.DataFrame(norms))
    return pd.DataFrame(rows)


def test_distance_against_scipy() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(0, 1, 400), generator.normal(0.7, 1, 300)
    expected = stats.ks_2samp(one, other).statistic
    assert margins.distance(one, other) == pytest.approx(expected, abs=1e-12)
    assert margins.distance(one, one) == 0.0
    assert margins.distance(one, other + 100) == 1.0


def test_separation_of_normal_margins(margin_table: pd.DataFrame) -> None:
    found = margins.separation(margin_table)
    assert list(found.index) == [0, 1, 2]
    # of two normals of equal spread, centres d apart, the distance is 2 Phi(d / 2) - 1
    raw, apart = (2 * stats.norm.cdf(gap / 2) - 1 for gap in (0.5, 4.5))
    assert found["raw overlap"].tolist() == pytest.approx([0.5 - raw] * 3, abs=0.02)
    assert found["normalized apart"].tolist() == pytest.approx([0.5] * 3, abs=0.01)
    assert found["raw apart with SN"].tolist() == pytest.approx([apart - 0.5] * 3, abs=0.02)


def test_growth_is_the_difference_of_logarithms(margin_table: pd.DataFrame) -> None:
    found = margins.growth(margin_table)
    for scheme, steps in (("ERM", 2.0), ("FGM", 3.5), ("PGM", 5.0)):  # modes alike, norms not
        assert found[scheme].tolist() == pytest.approx([steps] * 3, abs=0.02)
    assert margins.growth_by_theorem(margin_table)["PGM"][0] == pytest.approx(10.0, abs=0.02)


def test_a_negative_mode_has_no_logarithm(margin_table: pd.DataFrame) -> None:
    capped = margin_table["run"] == "1-5"
    margin_table.loc[capped, "value"] -= 9
    found = margins.growth(margin_table)
    assert found["FGM"].isna().tolist() == [False, True, False]


def test_a_net_without_a_bound_speaks_for_nothing(
    margin_table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = bounds.normalizations(margin_table)
    norms.loc[norms["run"].isin(["1-5", "2-4"]), "theorem"] = math.nan  # FGM, with SN and without
    monkeypatch.setattr(bounds, "normalizations", lambda table: norms)
    assert margins.growth(margin_table)["FGM"].tolist() == pytest.approx([3.5] * 3, abs=0.02)
    found = margins.growth_by_theorem(margin_table)
    assert found["FGM"].isna().tolist() == [False, True, True]
    assert claims.verdict(found["FGM"].dropna(), 1.0)[0] == "undecided"
    assert found["PGM"].notna().all()


def test_published_growth_is_that_of_the_figure() -> None:
    rows = of("fig_margins").set_index("panel")
    rows = rows[rows["series"].str.startswith("True")]["x"]
    for scheme, value in evidence(7).published.items():
        free = rows[f"{scheme} normalized"]
        free = np.max(free)  # PGM has two modes
        assert math.log10(rows[f"{scheme} SN normalized"] / free) == pytest.approx(value, abs=0.01)


# ----------------------------------------------------------------------------------- random labels


def label_rows(values: dict) -> pd.DataFrame:
    """(scheme, labels, beta) -> training accuracy, three seeds alike."""
    return pd.DataFrame(
        [
            dict(scheme=scheme, labels=kind, beta=beta, seed=seed, split="train", value=value)
            | dict(attack="training", quantity="accuracy")
            for (scheme, kind, beta), value in values.items()
            for seed in (0, 1, 2)
        ]
    )


def everyone(free: float, capped: float, true: float) -> dict:
    cells = {}
    for scheme, beta in labels.PANEL_BETA.items():
        cells |= {(scheme, "random", INF): free, (scheme, "random", beta): capped}
        cells[scheme, "true", beta] = true
    return cells


def test_memorization_by_hand() -> None:
    found = labels.memorization(label_rows(everyone(0.95, 0.5, 0.9)))
    assert found.shape == (3, 12)
    assert found["WRM fits"].tolist() == pytest.approx([0.05] * 3)
    assert found["WRM resists"].tolist() == pytest.approx([0.45] * 3)
    assert found["WRM learns"].tolist() == pytest.approx([0.4] * 3)


def test_a_scheme_that_is_missing_is_not_there() -> None:
    cells = {key: value for key, value in everyone(0.95, 0.5, 0.9).items() if key[0] != "pgm"}
    found = labels.memorization(label_rows(cells))
    assert found["PGM fits"].isna().all() and found["FGM fits"].notna().all()


def test_published_memorization_is_that_of_the_figure() -> None:
    last = of("fig_random_labels").sort_values("x").groupby(["panel", "series"]).tail(1)
    wide = last.pivot(index="series", columns="panel", values="y")
    free, capped = wide["Random labels (no SN)"], wide.filter(like="Random labels (SN").iloc[:, 0]
    true = wide["True labels (SN: same betas)"]
    parts = {"fits": free - 0.9, "resists": free - capped, "learns": true - capped}
    expected = {
        f"{scheme} {part}": values[scheme]
        for part, values in parts.items()
        for scheme in wide.index
    }
    assert pytest.approx(expected, abs=1e-9) == labels.PUBLISHED


# -------------------------------------------------------------------------------------- robustness


def paper_curves() -> pd.DataFrame:
    """The paper's figure in the form of our table; errors become accuracies."""
    nets = {
        "ERM": ("erm", math.nan),
        "FGM l2": ("fgm", 2.0),
        "PGM l2": ("pgm", 2.0),
        "PGM linf": ("pgm", INF),
        "WRM": ("wrm", 2.0),
    }
    attacks = {"FGM l2": "fgm", "PGM l2": "pgm", "PGM linf": "pgm_inf", "WRM": "wrm"}
    rows = []
    for row in of("fig_advrobustness_alexnet_cifar10").to_dict("records"):
        net, attack = row["panel"].removesuffix(" attack").split(" train / ")
        scheme, norm = nets[net]
        beta = INF if "inf" in row["series"] else 1.6
        rows.append(
            dict(scheme=scheme, norm=norm, beta=beta, seed=0, attack=attacks[attack], split="test")
            | dict(quantity="accuracy", x=round(row["x"], 2), value=1 - row["y"])
        )
    return pd.DataFrame(rows)


def test_over_eps_by_hand() -> None:
    index = pd.Index([7] * 12, name="seed")
    curves = pd.DataFrame(
        {
            "x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] * 2,
            "sn": [False] * 6 + [True] * 6,
            "value": [0.9, 0.5, 0.3, 0.2, 0.1, 0.1, 0.1, 0.6, 0.5, 0.1, 0.1, 0.0],
        },
        index,
    )
    lower = robustness.margins_over_eps(curves, "lower")
    assert lower.to_dict() == pytest.approx({7: 0.15})  # eps 1 and 2; 0 and the axis's end left out
    assert robustness.margins_over_eps(curves, "upper").to_dict() == pytest.approx({7: -0.2 / 3})


@pytest.mark.parametrize(("place", "half"), [(0, "lower"), (1, "upper")])
def test_published_radii_are_those_of_the_figure(place: int, half: str) -> None:
    found = robustness.over_eps(paper_curves(), half)
    assert found.iloc[0].to_dict() == pytest.approx(evidence(11, place).published, abs=6e-4)


def test_a_panel_that_is_missing_leaves_its_attack_out() -> None:
    table = paper_curves()
    found = robustness.over_eps(table[table["scheme"] != "wrm"])
    assert found["WRM"].isna().all() and found["FGM"].notna().all()


def test_linf_gain_by_hand() -> None:
    rows = [
        dict(scheme="pgm", norm=norm, beta=beta, seed=seed, split="test", attack="training")
        | dict(quantity="accuracy", x=math.nan, value=value)
        for (norm, beta), value in {
            (INF, INF): 0.4,
            (INF, 1.6): 0.5,
            (2.0, INF): 0.9,
            (2.0, 1.6): 0.1,
        }.items()
        for seed in (0, 1, 2)
    ]
    found = robustness.linf_gain(pd.DataFrame(rows))
    assert found["PGM"].tolist() == pytest.approx([0.1] * 3)


# --------------------------------------------------------------------------- inequalities and cost


def test_a_violation_is_a_counterexample() -> None:
    rows = [
        dict(contestant=name, seed=seed, quantity=quantity, value=value)
        for name in theorems.INEQUALITIES
        for seed in (0, 1, 2)
        for quantity, value in (("smallest log10 slack", 0.5), ("violations", 0))
    ]
    table = pd.DataFrame(rows)
    assert (theorems.slack(table) == 0.5).all(axis=None)
    hit = (table["contestant"] == "d WRM") & (table["seed"] == 1)
    table.loc[hit & (table["quantity"] == "violations"), "value"] = 1
    found = theorems.slack(table)["d WRM"]
    assert claims.verdict(found) == ("not supported", -INF, pytest.approx(math.nan, nan_ok=True))


def cost_rows(ratios: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            dict(contestant="ours", quantity="ratio of a round", value=ratio, round=place)
            | dict(net="alexnet", width=1.0, batch=128.0, attack=attack)
            for attack, values in ratios.items()
            for place, ratio in enumerate(values)
        ]
    )


def test_added_step_time_by_hand() -> None:
    table = cost_rows({"none": [1.05, 1.06, 1.07], "pgm": [1.01, 1.0, 1.02]})
    thin = table.assign(width=0.25, value=3.0)
    found = cost.added_step_time(pd.concat([table, thin]))
    assert found["ERM step"].tolist() == pytest.approx([0.05, 0.06, 0.07])
    assert found["PGM step"].tolist() == pytest.approx([0.01, 0.0, 0.02])
    assert found.attrs["over"] == "rounds"
    assert claims.verdict(found["ERM step"], -INF, 0.1)[0] == "supported"
    assert claims.verdict(found["ERM step"] + 1, -INF, 0.1)[0] == "not supported"


def test_no_rounds_say_so() -> None:
    with pytest.raises(UserError, match="no rounds"):
        cost.added_step_time(cost_rows({"none": [1.0]}).drop(columns="round"))


def test_added_time_by_hand() -> None:
    seconds = {("erm", INF): 100.0, ("erm", 1.6): 108.0, ("pgm", INF): 50.0, ("pgm", 8.0): 50.5}
    rows = [
        dict(net=net, scheme=scheme, norm=math.nan if scheme == "erm" else 2.0, beta=beta)
        | dict(seed=seed, quantity="seconds", x=epoch)
        # the first epoch of every run is slow; a median does not mind
        | dict(value=slower * value * (9.0 if epoch == 1 else 1.0))
        for net, slower in (("mlp1", 1.0), ("alexnet", 7.0))
        for (scheme, beta), value in seconds.items()
        for seed in (0, 1, 2)
        for epoch in (1, 2, 3)
    ]
    found = cost.added_time(pd.DataFrame(rows))
    assert found["ERM"].tolist() == pytest.approx([0.08] * 3)
    assert found["PGM"].tolist() == pytest.approx([0.01] * 3)
    assert found.attrs["over"] == "seeds, 4 pairs"
    alone = pd.DataFrame([row for row in rows if row["beta"] == INF])
    assert cost.added_time(alone).empty
