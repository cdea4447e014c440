"""Normalizations of recorded margins, against the formulas worked out by hand."""

import math

import pandas as pd
import pytest

from snlib import bounds
from snlib.errors import UserError

SIGMA, FROBENIUS, KERNEL, INPUTS = (2.0, 0.5), (3.0, 1.0), (1.5, 1.0), (48, 10)
MEAN_NORM, KAPPA, STEPS = 4.0, 0.25, 3


def recorded(scheme: str, **changes: object) -> pd.DataFrame:
    """The rows of one run with two layers, as a margins table holds them."""
    rows = [("train", "gradient_norm", 0.0, KAPPA), ("train", "gradient_norm", 0.5, 9.0)]
    for index, layer in enumerate(("conv1", "fc1")):
        for quantity, values in (
            ("lower", SIGMA),
            ("frobenius", FROBENIUS),
            ("kernel_frobenius", KERNEL),
            ("inputs", INPUTS),
        ):
            rows.append((layer, quantity, float(index), values[index]))
    table = pd.DataFrame(rows, columns=["split", "quantity", "x", "value"])
    run = {"run": scheme, "scheme": scheme, "beta": 1.3, "labels": "true", "seed": 0}
    settings = {"eps_ratio": math.nan if scheme == "erm" else 0.1, "steps": STEPS}
    table = table.assign(**{"diverged": False, "attack": "", **run, **settings, **changes})
    table.attrs["provenance"] = {"mean_norm": [MEAN_NORM], "settings": {"eps": None}}
    return table


def test_erm() -> None:
    (row,) = bounds.normalizations(recorded("erm")).to_dict("records")
    product = 2.0 * 0.5
    hat = (1.5**2 * 48 / 4) / 2.0**2 + 1.0**2 / 0.5**2
    ratio = 3.0**2 / 2.0**2 + 1.0**2 / 0.5**2
    assert row["published"] == pytest.approx(math.log10(product * math.sqrt(hat)))
    assert row["theorem"] == pytest.approx(math.log10(product * math.sqrt(ratio)))
    assert row["eps"] == 0 and row["kappa"] == KAPPA


def test_erm_needs_no_kappa() -> None:
    table = recorded("erm")
    (row,) = bounds.normalizations(table[table["quantity"] != "gradient_norm"]).to_dict("records")
    (whole,) = bounds.normalizations(table).to_dict("records")
    assert math.isnan(row.pop("kappa")) and whole.pop("kappa") == KAPPA
    assert row == whole


def test_fgm_and_pgm() -> None:
    product, total = 1.0, 2.0 + 2.0 * 0.5
    ratio = 3.0**2 / 2.0**2 + 1.0**2 / 0.5**2
    hat = (1.5**2 * 48 / 4) / 2.0**2 + 1.0**2 / 0.5**2
    eps = 0.1 * MEAN_NORM
    reach = math.sqrt(2) * product * total / KAPPA  # cross-entropy is sqrt(2)-Lipschitz
    brackets = {
        "fgm": 1 + eps * reach,
        "pgm": (1 + 2 * eps / STEPS * reach) ** STEPS,
    }
    for scheme, bracket in brackets.items():
        (row,) = bounds.normalizations(recorded(scheme)).to_dict("records")
        assert row["eps"] == pytest.approx(eps)
        assert row["theorem"] == pytest.approx(math.log10(product * bracket * math.sqrt(ratio)))
        correction = 1 + 1 + 2.0  # the published c for two layers
        assert row["published"] == pytest.approx(math.log10(correction * math.sqrt(hat)))


def test_a_gradient_of_zero_leaves_its_own_run_alone_without_a_bound() -> None:
    tables = [recorded(scheme) for scheme in ("erm", "fgm", "pgm")]
    whole = pd.concat([*tables, recorded("fgm", run="dead")])
    whole.attrs = tables[0].attrs
    smallest = (whole["quantity"] == "gradient_norm") & (whole["x"] == 0)
    whole.loc[smallest & whole["run"].isin(["erm", "dead"]), "value"] = 0.0
    found = bounds.normalizations(whole).set_index("run")
    assert found["kappa"].to_dict() == {"erm": 0, "fgm": KAPPA, "pgm": KAPPA, "dead": 0}
    assert math.isnan(found.loc["dead", "theorem"])
    assert found.loc["dead", "published"] == found.loc["fgm", "published"]
    for table in tables:  # ERM's theorem asks no kappa
        (row,) = bounds.normalizations(table).to_dict("records")
        assert found.loc[row["run"], "theorem"] == row["theorem"] < math.inf


def test_an_absolute_radius_wins_over_the_ratio() -> None:
    (row,) = bounds.normalizations(recorded("fgm", eps=0.7)).to_dict("records")
    assert row["eps"] == 0.7


def test_runs_that_diverged_are_left_out() -> None:
    assert bounds.normalizations(recorded("erm", diverged=True)).empty


@pytest.mark.parametrize("quantity", ["lower", "kernel_frobenius", "gradient_norm"])
def test_a_table_without_a_quantity_is_refused(quantity: str) -> None:
    table = recorded("fgm")
    lacking = table[table["quantity"] != quantity]
    with pytest.raises(UserError, match=quantity):
        bounds.normalizations(lacking)


def test_a_table_of_several_data_sets_is_refused() -> None:
    table = recorded("fgm")
    table.attrs["provenance"]["mean_norm"] = [1.0, 2.0]
    with pytest.raises(UserError, match="mean_norm"):
        bounds.normalizations(table)


def test_wrm_has_no_panel() -> None:
    with pytest.raises(UserError, match="scheme"):
        bounds.normalizations(recorded("wrm"))
