"""The tables that notebooks 03 to 06 print beside their figures, against numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snlib import statistics, tables
from snlib.figures import curves, gap, kappa, margins, norm_gain

INF = math.inf
T2 = stats.t.ppf(0.975, 1)
"""Half of the interval over two seeds, in standard errors."""


def half(*values: float) -> float:
    return T2 * np.std(values, ddof=1) / math.sqrt(2)


@pytest.fixture
def runs() -> pd.DataFrame:
    """As `statistics.accuracies` gives them: FGM with two seeds, WRM with one."""
    columns = ["scheme", "beta", "seed", "train", "validation", "test"]
    rows = [
        ("fgm", 1.3, 0, 0.7, 0.6, 0.6),
        ("fgm", 1.3, 1, 0.9, 0.6, 0.7),
        ("fgm", INF, 0, 1.0, 0.5, 0.5),
        ("fgm", INF, 1, 1.0, 0.5, 0.6),
        ("wrm", INF, 0, 0.8, 0.5, 0.4),
    ]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(gap=found["train"] - found["test"])


def test_gaps_by_budget(runs) -> None:
    shown = gap.by_budget(runs)
    assert shown.loc["fgm", 1.3] == f"15 ± {100 * half(0.1, 0.2):.0f}"
    assert shown.loc["fgm", INF] == f"45 ± {100 * half(0.5, 0.4):.0f}"
    assert shown.loc["wrm", 1.3] == "" and shown.loc["wrm", INF] == "40"


def test_the_chosen_budget_beside_the_papers(runs) -> None:
    found = gap.chosen(runs).set_index(["scheme", "quantity"])
    test = found.loc[("fgm", "test")]
    assert (test["beta"], test["free"], test["capped"]) == pytest.approx((1.3, 55, 65))
    assert test["change"] == pytest.approx(10) and test["half"] == pytest.approx(0, abs=1e-9)
    assert test["verdict"] == "up"
    change = found.loc[("fgm", "gap")]
    assert change["change"] == pytest.approx(-30) and change["verdict"] == "unclear"
    assert change["half"] == pytest.approx(100 * half(-0.4, -0.2))
    # Table 1: AlexNet, CIFAR-10, FGM: .5436 without SN, .6279 at beta 1.6
    assert (test["paper_beta"], round(test["paper_free"]), round(test["paper_capped"])) == (
        1.6, 54, 63,
    )  # fmt: skip
    assert found.loc[("wrm", "test"), "beta"] == INF


def test_where_curves_end() -> None:
    rows = [
        {"scheme": "pgm", "beta": 1.6, "seed": seed, "split": split, "epoch": epoch, "accuracy": a}
        for seed in (0, 1)
        for split, values in (
            ("train", (0.2, 0.8, 0.9)),
            ("validation", (0.7, 0.5, 0.4 + seed / 10)),
        )
        for epoch, a in enumerate(values, start=1)
    ]
    ends = curves.at_the_end(pd.DataFrame(rows), window=2).set_index("quantity")
    assert ends.loc["train", "mean"] == pytest.approx(85)
    assert ends.loc["validation", "mean"] == pytest.approx((45 + 50) / 2)
    assert ends.loc["gap", "mean"] == pytest.approx((40 + 35) / 2)
    assert ends.loc["best", "mean"] == pytest.approx(70)
    assert ends.loc["gap", "half"] == pytest.approx(half(40, 35))
    shown = curves.as_text(ends.reset_index())
    assert shown.loc[("pgm", 1.6), "best"] == "70.0 ± 0.0"
    assert [*shown.columns] == ["train", "validation", "gap", "best"]


def test_gains_beside_the_papers_modes() -> None:
    rows = [
        {"beta": beta, "seed": seed, "median": median, "product": 4 * beta}
        for beta, medians in ((1.3, (0.1, 0.3)), (5.0, (2.0, 2.0)))
        for seed, median in enumerate(medians)
    ]
    shown = norm_gain.beside_paper(pd.DataFrame(rows))
    assert shown.loc[1.3, "mean"] == pytest.approx(0.2)
    assert shown.loc[1.3, "half"] == pytest.approx(half(0.1, 0.3))
    assert shown.loc[1.3, "over"] == pytest.approx(5.2 / 0.2)
    assert shown.loc[1.3, "paper"] == pytest.approx(0.141, abs=0.003)
    assert shown.loc[1.3, "paper_over"] == pytest.approx(1.3**5 / shown.loc[1.3, "paper"])
    assert shown.loc[5.0, ["paper", "paper_over"]].isna().all()  # no such curve in the paper


def test_gradient_norms_beside_the_papers_modes() -> None:
    columns = ["scheme", "beta", "seed", "minimum", "quantile_01", "quantile_05", "below_01"]
    rows = [("erm", 1.3, 0, 1e-2, 0.1, 0.2, 0.1), ("erm", 1.3, 1, 1e-4, 0.1, 0.2, 0.3)]
    rows += [("fgm", INF, 0, 1e-3, 1e-2, 1e-1, 0.5)]
    found = kappa.beside_paper(pd.DataFrame(rows, columns=columns).assign(mode=0.5))
    erm, fgm = found.to_dict("records")
    assert erm["log10 κ"] == f"-3.00 ± {half(-2, -4):.2f}" and erm["log10 1 %"] == "-1.00 ± 0.00"
    assert (erm["beta"], erm["below .01"], erm["mode"]) == ("1.3", pytest.approx(0.2), 0.5)
    assert erm["| paper"] == pytest.approx(0.040, abs=0.005)
    assert (fgm["beta"], fgm["log10 κ"]) == ("∞", "-3.00") and math.isnan(fgm["| paper"])


def test_margins_beside_the_papers_modes() -> None:
    common = {"scheme": "erm", "labels": "true"}
    nets = pd.DataFrame(
        [
            {**common, "sn": False, "seed": 0, "mode": 4.0, "median": 5.0, "negative": 0.0},
            {**common, "sn": False, "seed": 1, "mode": 6.0, "median": 5.0, "negative": 0.2},
            {**common, "sn": True, "seed": 0, "mode": -1.0, "median": 1.0, "negative": 0.6},
        ]
    ).assign(published=[1e-3, 1e-5, -1.0], theorem=[1e-4, 1e-4, -1.0])
    raw = margins.raw_beside_paper(nets)
    free, capped = ("erm", "true", False), ("erm", "true", True)
    assert raw.loc[free, "mode"] == f"5.00 ± {half(4, 6):.2f}"
    assert raw.loc[free, "median"] == "5.00 ± 0.00" and raw.loc[capped, "mode"] == "-1.00"
    assert raw.loc[free, "negative"] == pytest.approx(0.1)
    assert raw.loc[free, "| paper"] == pytest.approx(15.3) and raw.loc[capped, "| paper"] == 1.37
    norms = pd.DataFrame(
        [
            {**common, "seed": 0, "beta": INF, "kappa": 1e-6, "theorem": 3.0},
            {**common, "seed": 1, "beta": INF, "kappa": 1e-8, "theorem": 5.0},
            {**common, "seed": 0, "beta": 1.3, "kappa": 0.1, "theorem": 1.5},
        ]
    )
    shown = margins.normalized_beside_paper(nets, norms)
    assert shown.loc[free, "mode/published"] == f"-4.0 ± {half(-3, -5):.1f}"
    assert shown.loc[free, "mode/sqrt(Phi)"] == "-4.0 ± 0.0"
    assert shown.loc[free, "κ"] == f"-7.0 ± {half(-6, -8):.1f}"
    assert shown.loc[free, "sqrt(Phi)"] == f"4.0 ± {half(3, 5):.1f}"
    assert shown.loc[capped, "mode/published"] == ""  # a negative mode has no logarithm
    assert shown.loc[free, "| paper"] == pytest.approx(math.log10(2.7e-5), abs=0.02)


def test_a_setting_is_told() -> None:
    table = pd.DataFrame({"steps": [math.nan, 5.0, 5.0]})
    table.attrs["provenance"] = {
        "scale": "laptop", "data": ["CIFAR-10 (JPEG), 2,000 training images"], "done": 3, "runs": 9,
        "settings": {"net": "alexnet", "width": 0.25, "epochs": 40},
    }  # fmt: skip
    assert tables.setting(table) == (
        "Scale laptop: CIFAR-10 (JPEG), 2,000 training images; alexnet at 0.25 of its width; "
        "40 epochs;\n  attacks of 5 steps; 3 of 9 runs"
    )
    about = table.attrs["provenance"]
    name = "CIFAR-10 (JPEG), {} training images"
    more = [name.format("2,000") + ", random labels", name.format("500")]
    about["data"] += more
    told = tables.setting(table)
    assert "(JPEG), 500 and 2,000 training images, true and random labels; alexnet" in told
    assert all(len(line) <= 100 for line in told.splitlines())
    about["data"] = [more[1], "MNIST, 500 training images"]  # different sets stay apart
    assert "500 training images and MNIST, 500 training images;" in tables.setting(table)
    about["data"] = [name.format("2,000")]
    about["settings"] = {"net": "mlp1", "width": 1, "steps": None}
    del table["steps"]
    assert tables.setting(table).endswith("images; mlp1; 3 of 9 runs")


def test_halves_stand_behind_their_means() -> None:
    table = pd.DataFrame(
        {"kind": ["a", "b"], "test": [0.5, math.nan], "test half": [0.25, math.nan], "of": [3, 1],
         "gap": [-0.125, 1.0], "gap half": [math.nan, 0.0]},
        index=[4, 7],
    )  # fmt: skip
    shown = statistics.with_halves(table, "+.2f")
    assert list(shown) == ["test", "gap"] and list(shown.index) == [4, 7]
    assert shown.values.tolist() == [["+0.50 ± 0.25", "-0.12"], ["", "+1.00 ± 0.00"]]
