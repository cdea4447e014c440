"""Bounds of recorded runs against the formulas written out, on a table made by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from snlib.bounds import looseness, measures
from snlib.bounds.looseness import runs
from snlib.errors import UserError

UPPER, FROBENIUS, NORM21, OUTPUTS = (2.0, 0.5), (3.0, 1.0), (5.0, 2.0), (7, 10)
P, S = 1.0, 2.0 + 1.0
LIP = P * S
RATIO = 3.0**2 / 2.0**2 + 1.0**2 / 0.5**2
SAMPLES, IMAGES, B, EPS, STEPS, KAPPA = 40, 200, 4.0, 0.5, 3, 0.25
MARGINS = {0.0: -1.0, 0.25: -0.1, 0.5: 0.2, 0.6: 0.5, 0.65: 0.8, 1.0: 3.0}
TRAIN, TEST = 0.75, 0.5
GAMMA, RISK = 0.8, 0.65  # at least half of the .75 that are right, hence level >= .625
ETA = 0.05
ROOT2 = math.sqrt(2)  # cross-entropy is sqrt(2)-Lipschitz


def recorded(scheme: str, **changes: object) -> pd.DataFrame:
    """The rows of one run, as a table of the experiment bounds holds them."""
    size = {"erm": 0.0, "wrm": 1 / 10.0}.get(scheme, EPS)  # WRM: 1 / lambda
    rows = [
        ("train", "training", "accuracy", math.nan, TRAIN),
        ("train", "none", "accuracy", math.nan, 1.0),
        ("test", "training", "accuracy", math.nan, TEST),
        ("test", "none", "accuracy", math.nan, 0.9),
        ("train", None, "images", math.nan, SAMPLES),
        ("test", None, "images", math.nan, IMAGES),
        ("train", None, "input_norm", math.nan, B),
        ("train", None, "attack_size", math.nan, size),
        *(("train", "training", "margin", level, value) for level, value in MARGINS.items()),
        ("train", "none", "gradient_norm", 0.0, 2 * KAPPA),
        ("train", "none", "gradient_norm", 0.05, 3 * KAPPA),
    ]
    if scheme != "erm":
        rows += [
            ("train", "training", "gradient_norm", 0.0, KAPPA),
            ("train", "training", "gradient_norm", 0.05, 9 * KAPPA),
        ]
    for index, layer in enumerate(("fc1", "fc2")):
        for quantity, values in (
            ("upper", UPPER), ("lower", (1.9, 0.4)), ("frobenius", FROBENIUS),
            ("kernel_frobenius", FROBENIUS), ("norm21", NORM21), ("inputs", (64, 7)),
            ("outputs", OUTPUTS),
        ):  # fmt: skip
            rows.append((layer, None, quantity, float(index), values[index]))
    table = pd.DataFrame(rows, columns=["split", "attack", "quantity", "x", "value"])
    run = {"run": scheme, "scheme": scheme, "beta": 1.3, "labels": "true", "seed": 0}
    run |= {"steps": STEPS if scheme in ("pgm", "wrm") else math.nan, "width": 1.0}
    table = table.assign(**{"diverged": False, **run, **changes})
    table.attrs["provenance"] = {"settings": {"net": "mlp1"}}
    return table


def of(scheme: str, **options) -> dict[str, dict]:
    loose = looseness(recorded(scheme), **options)
    return {row["bound"]: row for row in loose.to_dict("records")}


def term(phi: float, radius: float, second: float) -> float:
    """The generalization term with constants 1, for d = 2 layers, h = 10."""
    first = radius**2 * 2**2 * 10 * math.log(2 * 10) * phi
    return math.sqrt((first + second) / (GAMMA**2 * SAMPLES))


def test_a_run_is_read_from_its_rows() -> None:
    (row,) = runs(recorded("fgm")).to_dict("records")
    assert row["train"] == TRAIN and row["test"] == TEST and row["gap"] == 0.25
    assert (row["samples"], row["images"], row["net"]) == (SAMPLES, IMAGES, "mlp1")
    assert (row["margin"], row["risk"]) == (GAMMA, RISK)
    assert row["kappa"] == KAPPA  # of the attacked images, which are the smaller ones
    assert (row["input_norm"], row["size"]) == (B, EPS)
    assert list(row["layers"]["layer"]) == ["fc1", "fc2"]
    (row,) = runs(recorded("fgm"), level=0.05).to_dict("records")
    assert row["kappa"] == 3 * KAPPA
    (row,) = runs(recorded("erm")).to_dict("records")
    assert row["kappa"] == 2 * KAPPA  # there are only clean ones


def test_erm() -> None:
    found = of("erm")
    phi = P**2 * RATIO
    second = math.log(2 * SAMPLES / ETA)
    expected = term(phi, B, second)
    assert found["erm"]["log10_phi"] == pytest.approx(math.log10(phi))
    assert found["erm"]["log10_term"] == pytest.approx(math.log10(expected))
    assert found["erm"]["log10_bound"] == pytest.approx(math.log10(RISK + expected))
    # the explicit constants of the proof that Xiao, Sun & Luo write out
    kl = (42 * math.e * 2 * B) ** 2 * 10 * math.log(4 * 10 * 2) * phi / (2 * GAMMA**2)
    covered = 2 * SAMPLES ** (1 / 4)
    total = kl + math.log(6 * SAMPLES * covered / ETA)
    explicit = RISK + 4 * math.sqrt(total / (SAMPLES - 1))
    assert found["erm"]["log10_explicit"] == pytest.approx(math.log10(explicit))
    assert found["erm"]["log10_explicit"] > found["erm"]["log10_bound"] + 1


def test_bartlett() -> None:
    row = of("erm")["bartlett2017"]
    complexity = P * ((5 / 2) ** (2 / 3) + (2 / 0.5) ** (2 / 3)) ** 1.5
    expected = B * complexity * math.log(10) / (GAMMA * math.sqrt(SAMPLES))
    expected += math.sqrt(math.log(1 / ETA) / SAMPLES)
    assert row["log10_term"] == pytest.approx(math.log10(expected))
    assert math.isnan(row["log10_explicit"])


def test_fgm_and_its_successor_without_kappa() -> None:
    found = of("fgm")
    phi = (P * (1 + EPS * ROOT2 / KAPPA * LIP)) ** 2 * RATIO
    second = 2 * math.log(2 * SAMPLES * 1 / ETA)  # max(log M, 1) = 1
    assert found["fgm"]["log10_phi"] == pytest.approx(math.log10(phi))
    assert found["fgm"]["log10_term"] == pytest.approx(math.log10(term(phi, B + EPS, second)))
    successor = term(P**2 * RATIO, B + EPS, math.log(2 * SAMPLES / ETA))
    assert found["xiao2023"]["log10_term"] == pytest.approx(math.log10(successor))
    assert found["xiao2023"]["log10_explicit"] > found["xiao2023"]["log10_bound"]


def test_pgm_in_both_forms() -> None:
    found = of("pgm")
    rho = 2 * EPS / STEPS * ROOT2 / KAPPA * LIP
    brackets = {
        "pgm": (1 + rho) ** STEPS,
        "pgm_recalled": 1 + rho * (1 - (2 * rho) ** STEPS) / (1 - 2 * rho),
    }
    for name, bracket in brackets.items():
        phi = (P * bracket) ** 2 * RATIO
        assert found[name]["log10_phi"] == pytest.approx(math.log10(phi))


def test_wrm_within_its_premise() -> None:
    row = of("wrm")["wrm"]
    penalty = 10 / ROOT2
    phi = (P * penalty / (penalty - LIP)) ** 2 * RATIO
    second = 2 * math.log(2 * SAMPLES / ETA)
    assert row["log10_phi"] == pytest.approx(math.log10(phi))
    assert row["log10_term"] == pytest.approx(math.log10(term(phi, B + P / 10, second)))
    assert row["defined"] and "Lip < lambda" not in row["failed"]


def test_wrm_outside_its_premise() -> None:
    table = recorded("wrm")
    table.loc[table["quantity"] == "attack_size", "value"] = 1 / 4.0  # 4 / sqrt(2) < 3 = Lip
    (row,) = looseness(table).to_dict("records")
    assert not row["defined"] and "Lip < lambda" in row["failed"]
    assert math.isnan(row["log10_phi"]) and math.isnan(row["log10_bound"])
    assert row["log10_lip"] == pytest.approx(math.log10(LIP))


@pytest.mark.parametrize(("scheme", "attack"), [("fgm", "training"), ("pgm", "none")])
def test_a_gradient_of_zero_leaves_the_theorem_alone_without_a_bound(scheme, attack) -> None:
    table = recorded(scheme)
    smallest = (table["quantity"] == "gradient_norm") & (table["x"] == 0)
    table.loc[smallest & (table["attack"] == attack), "value"] = 0.0
    loose = looseness(table).set_index("bound")
    theirs = loose.drop(index="xiao2023")
    assert (theirs["kappa"] == 0).all() and not theirs["defined"].any()
    assert (theirs["failed"] == "kappa > 0").all()
    logs = ["log10_phi", "log10_term", "log10_bound", "log10_explicit"]
    assert theirs[logs].isna().all(axis=None)
    assert theirs["log10_lip"].tolist() == pytest.approx([math.log10(LIP)] * len(theirs))
    whole = of(scheme)
    for column in ("log10_phi", "log10_bound", "defined", "log10_published"):  # needs no kappa
        assert loose.loc["xiao2023", column] == whole["xiao2023"][column]
    (row,) = looseness(table, level=0.05).query("bound == @scheme").to_dict("records")
    assert row["defined"] and row["kappa"] == 3 * KAPPA  # the other quantiles are not 0
    both = pd.concat([looseness(table), looseness(recorded("erm"))])
    assert list(measures(both)["scheme"]) == ["erm"]  # what has no Phi cannot be ranked by it


def test_a_net_that_gets_no_margin_has_no_bound() -> None:
    table = recorded("erm")
    table.loc[(table["quantity"] == "margin"), "value"] -= 5
    loose = looseness(table)
    assert loose["log10_bound"].isna().all() and not loose["defined"].any()
    assert loose["log10_phi"].notna().all()  # the capacity is there all the same


def test_measures_take_a_runs_own_theorem() -> None:
    tables = [recorded(scheme) for scheme in ("erm", "fgm", "pgm", "wrm")]
    whole = pd.concat(tables)
    whole.attrs = tables[0].attrs
    found = measures(looseness(whole)).set_index("scheme")
    assert (
        list(found.index) == ["erm", "fgm", "pgm", "wrm"] and (found["bound"] == found.index).all()
    )
    assert found.loc["erm", "capacity"] == pytest.approx(math.log10(P**2 * RATIO) / 2)
    assert found.loc["erm", "normalized"] == pytest.approx(math.log10(P * math.sqrt(RATIO) / GAMMA))
    hat = 3.0**2 / 1.9**2 + 1.0**2 / 0.4**2  # linear layers, lower ends, as the authors have it
    published = 1.9 * 0.4 * math.sqrt(hat)
    assert found.loc["erm", "published"] == pytest.approx(math.log10(published / GAMMA))
    assert found.loc["fgm", "published"] == pytest.approx(
        math.log10(published * (1 + 1 + 1.9) / GAMMA)
    )
    assert math.isnan(found.loc["wrm", "published"])
    assert (found["margin_alone"] == -math.log10(GAMMA)).all()
    assert (found["term"] == found["log10_term"]).all()
    assert (found["samples_alone"] == -math.log10(math.sqrt(SAMPLES))).all()


def test_diverged_runs_are_left_out() -> None:
    assert runs(recorded("erm", diverged=True)).empty


@pytest.mark.parametrize("quantity", ["input_norm", "margin", "norm21", "gradient_norm"])
def test_a_table_without_a_quantity_is_refused(quantity: str) -> None:
    table = recorded("fgm")
    with pytest.raises(UserError, match=quantity):
        runs(table[table["quantity"] != quantity])


def test_a_level_that_is_not_recorded_is_refused() -> None:
    with pytest.raises(UserError, match=r"gradient_norm.*at level 0.02"):
        runs(recorded("fgm"), level=0.02)
    table = recorded("fgm").assign(scheme="trades")
    with pytest.raises(UserError, match="scheme is 'trades'"):
        looseness(table)
