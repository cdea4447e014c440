"""Table 1: the published rows as the paper has them, ours by hand, and the statistics over them."""

import math

import numpy as np
import pandas as pd
import pytest

from snlib import choice, claims, experiments
from snlib.claims import beside, table1
from snlib.errors import UserError
from snlib.results import ROOT

INF = math.inf
RAW = pd.read_csv(ROOT / "data" / "paper" / "table1.csv")


def rows(cells: dict, **common: object) -> pd.DataFrame:
    """A table of table1_*; cells: (net, scheme, beta, seed) -> (train, validation, test)."""
    found = []
    for (net, scheme, beta, seed), values in cells.items():
        linf = scheme.endswith("_inf")
        about = dict(net=net, scheme=scheme.removesuffix("_inf"), beta=beta, seed=seed)
        about["norm"] = math.nan if scheme == "erm" else INF if linf else 2.0
        about["eps"] = 0.1 if linf else math.nan
        for split, value in zip(("train", "validation", "test"), values, strict=True):
            for attack, shift in (("training", 0.0), ("none", 0.05)):
                found.append(
                    about
                    | dict(split=split, attack=attack, quantity="accuracy", value=value + shift)
                )
    table = pd.DataFrame(found)
    table.attrs["provenance"] = {"settings": {"data": "mnist", "train_size": None} | common}
    return table


def three_seeds(net: str, scheme: str, free: tuple, capped: tuple, beta: float = 4.0) -> dict:
    """A configuration with one budget; test accuracy with it rises by a point a seed."""
    cells = {}
    for seed in (0, 1, 2):
        cells[net, scheme, INF, seed] = free
        cells[net, scheme, beta, seed] = (*capped[:2], capped[2] + 0.01 * seed)
    return cells


# ---------------------------------------------------------------------------------------- published


def test_the_published_rows_are_those_of_the_paper() -> None:
    theirs = table1.published()
    printed = theirs[theirs["in_table"]]
    assert (len(theirs), len(printed)) == (62, 42)
    assert not theirs.duplicated(table1.KEY).any()
    assert ((printed["gain"] > 0).sum(), (printed["gain"] < 0).sum()) == (38, 1)
    assert (printed["reduction"] > 0).sum() == 33
    assert printed["gain"].mean() == pytest.approx(0.0475, abs=5e-5)
    for row in theirs.to_dict("records"):
        assert row["gain"] == pytest.approx(row["rise"] + row["reduction"], abs=1e-12)


def test_a_published_row_is_read_as_printed() -> None:
    theirs = table1.published().set_index(table1.KEY)
    row = theirs.loc[("cifar10", "alexnet", "pgm", INF, 0.3)]
    raw = RAW[(RAW["architecture"] == "alexnet") & (RAW["training"] == "pgm") & (RAW["eps"] == 0.3)]
    raw = raw.set_index("setting")
    assert (
        row["free_test"] == raw["test_acc"]["no_sn"] and row["sn_train"] == raw["train_acc"]["sn"]
    )
    assert row["sn_val"] == raw["val_acc"]["sn"] and row["beta"] == 1.3 and not row["in_table"]
    assert theirs.loc[("mnist", "elu_net", "erm", 0.0, 0.0)]["beta"] == INF


def test_published_references_are_means_of_the_printed_rows() -> None:
    printed = table1.published().query("in_table")
    attacked = printed[printed["scheme"] != "erm"]
    means = attacked.groupby("data")["gain"].mean()
    several = {number: claims.CLAIMS[number - 1].evidence[1].published[""] for number in (1, 2, 5)}
    assert several[2] == pytest.approx(means["cifar10"], abs=5e-5)
    cifar = printed[printed["data"] == "cifar10"]
    assert several[5] == pytest.approx(cifar["reduction"].mean(), abs=5e-5)
    mnist, svhn = claims.CLAIMS[17].evidence
    assert mnist.published[""] == pytest.approx(means["mnist"], abs=5e-5)
    assert svhn.published[""] == pytest.approx(means["svhn"], abs=5e-5)
    linf = printed[np.isinf(printed["norm"])]["gain"].mean()
    assert claims.CLAIMS[16].evidence[1].published[""] == pytest.approx(linf, abs=5e-5)
    plain = cifar[cifar["norm"] < 3].assign(gap=lambda r: r["free_train"] - r["free_test"])
    erm = plain[plain["scheme"] == "erm"].set_index("net")["gap"]
    other = plain[plain["scheme"] != "erm"]
    excess = (other["gap"] - other["net"].map(erm)).mean()
    assert several[1] == pytest.approx(excess, abs=5e-5)


def test_published_references_of_alexnet() -> None:
    rows_ = table1.published().query("data == 'cifar10' and net == 'alexnet' and norm < 3")
    net = rows_.set_index("scheme")
    gains = net["gain"][["fgm", "pgm", "wrm"]]
    gap = net["free_train"] - net["free_test"]
    first = {number: claims.CLAIMS[number - 1].evidence[0] for number in (1, 2, 3, 5, 17)}
    assert first[2].published[""] == pytest.approx(gains.mean(), abs=5e-5)
    assert first[5].published[""] == pytest.approx(
        net["reduction"][["fgm", "pgm", "wrm"]].mean(), abs=5e-5
    )
    excess = gap[["fgm", "pgm", "wrm"]].mean() - gap["erm"]
    assert first[1].published[""] == pytest.approx(excess, abs=5e-5)
    assert pytest.approx(gains.to_dict(), abs=1e-9) == claims.gap.PUBLISHED_GAINS


# ----------------------------------------------------------------------------------------- measured


def test_measured_rows_by_hand() -> None:
    cells = three_seeds("mlp1", "fgm", (0.88, 0.85, 0.87), (0.99, 0.95, 0.95))
    cells |= {("mlp1", "fgm", 2.0, seed): (0.7, 0.6, 0.99) for seed in (0, 1, 2)}
    ours = table1.measured(rows(cells))
    assert list(ours["seed"]) == [0, 1, 2]
    assert set(ours["data"]) == {"mnist"} and set(ours["budgets"]) == {3}
    assert set(ours["beta"]) == {4.0}, "2.0 tests best, but validates worst"
    assert ours["gain"].tolist() == pytest.approx([0.08, 0.09, 0.10])
    assert ours["rise"].tolist() == pytest.approx([0.11] * 3)
    assert ours["reduction"].tolist() == pytest.approx([-0.03, -0.02, -0.01])


def test_a_tie_does_not_speak_for_sn() -> None:
    ours = table1.measured(rows(three_seeds("mlp1", "erm", (1.0, 0.9, 0.9), (1.0, 0.9, 0.8))))
    assert set(ours["beta"]) == {INF} and set(ours["gain"]) == {0.0}


def test_a_budget_that_one_seed_alone_has_is_chosen_from_that_seed() -> None:
    cells = three_seeds("mlp1", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    for seed in (1, 2):
        del cells["mlp1", "fgm", 4.0, seed]
    ours = table1.measured(rows(cells))
    assert ours[["seed", "beta"]].to_numpy().tolist() == [[0, 4.0]]


def test_a_row_without_any_budget_yet_is_not_measured() -> None:
    """Choosing "none" of one is no choice; a gain of 0 would be made up."""
    cells = {("mlp1", "fgm", INF, seed): (0.9, 0.5, 0.5) for seed in (0, 1, 2)}
    assert table1.measured(rows(cells)).empty
    assert table1.gain(rows(cells)).empty
    both = three_seeds("mlp2", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    assert table1.gain(rows(cells | both)).tolist() == pytest.approx([0.10, 0.11, 0.12])


def test_rows_that_are_not_the_papers_never_meet_it() -> None:
    cells = three_seeds("mlp1", "fgm", (0.88, 0.85, 0.87), (0.99, 0.95, 0.95))
    whole = table1.compare(table1.measured(rows(cells)))
    assert whole["gain_here"].notna().sum() == 3
    for other in (dict(train_size=4000), dict(data="cifar10_jpeg"), dict(data="digits")):
        ours = table1.measured(rows(cells, **other))
        assert table1.compare(ours)["gain_here"].notna().sum() == 0
    assert set(table1.measured(rows(cells, train_size=4000))["data"]) == {"mnist, 4000 images"}


def test_linf_rows_are_known_by_their_radius() -> None:
    cells = three_seeds("elu_net", "fgm_inf", (0.98, 0.9, 0.94), (0.98, 0.95, 0.95))
    both = table1.compare(table1.measured(rows(cells))).dropna(subset=["gain_here"])
    assert set(both["eps"]) == {0.1} and not both["in_table"].any()


# -------------------------------------------------------------------------------------- statistics


def several() -> pd.DataFrame:
    cells = three_seeds("mlp1", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    cells |= three_seeds("mlp2", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.8))
    cells |= three_seeds("mlp1", "erm", (1.0, 0.9, 0.9), (1.0, 0.8, 0.8))
    cells |= three_seeds("mlp1_relu", "fgm", (0.9, 0.1, 0.1), (0.9, 0.9, 0.9))
    return rows(cells)


def test_gains_are_paired_and_averaged_over_printed_rows() -> None:
    found = table1.gain(several())
    # 0.1 and 0.3 of the two printed rows, a point a seed more; the ReLU net was left out there
    assert found.tolist() == pytest.approx([0.20, 0.21, 0.22])
    assert found.attrs["over"] == "seeds, 2 rows"


def test_a_mean_over_the_papers_rows_needs_half_of_them() -> None:
    """It printed nine adversarial ones of MNIST: three nets, each trained on three attacks."""
    schemes, cells = ("fgm", "pgm", "wrm"), {}
    for scheme in schemes:
        cells |= three_seeds("mlp1", scheme, (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    cells |= three_seeds("mlp2", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    of_mnist = table1.gain_on("mnist")
    with pytest.raises(UserError, match=r"4 of the 9 adversarial rows .* of mnist"):
        of_mnist(rows(cells | three_seeds("mlp1", "erm", (1.0, 0.9, 0.9), (1.0, 0.8, 0.8))))
    more = three_seeds("mlp2", "pgm", (0.9, 0.5, 0.1), (0.9, 0.6, 0.6))
    one_seed = {key: value for key, value in more.items() if key[3] == 0}
    with pytest.raises(UserError, match="4 of the 9"):
        of_mnist(rows(cells | one_seed))
    found = of_mnist(rows(cells | more, train_size=2000))
    assert found.tolist() == pytest.approx([(4 * 0.1 + 0.5) / 5 + s for s in (0, 0.01, 0.02)])


def test_a_claim_waits_at_no_scale_for_data_that_are_not_part_of_it() -> None:
    for claim in claims.CLAIMS:
        for evidence in claim.evidence:
            if evidence.experiment.startswith("table1_"):
                there = experiments.experiment(evidence.experiment).scales
                assert {scale.partition("@")[0] for scale in evidence.scales} <= set(there)


def test_other_data_keep_all_their_rows() -> None:
    table = several()
    table.attrs["provenance"] = {"settings": {"data": "digits", "train_size": 200}}
    assert table1.gain(table).tolist() == pytest.approx(
        [(0.1 + 0.3 + 0.8) / 3 + s for s in (0, 0.01, 0.02)]
    )


def test_the_excess_gap_is_paired_by_net() -> None:
    found = table1.adversarial_gap(several())
    # mlp1 alone has an ERM row: gap 0.4 against 0.1
    assert found.tolist() == pytest.approx([0.3] * 3)


def test_a_row_with_one_seed_waits() -> None:
    cells = three_seeds("mlp1", "fgm", (0.9, 0.5, 0.5), (0.9, 0.6, 0.6))
    more = three_seeds("mlp2", "fgm", (0.9, 0.5, 0.1), (0.9, 0.6, 0.9))
    cells |= {key: value for key, value in more.items() if key[3] == 0}
    assert table1.gain(rows(cells)).tolist() == pytest.approx([0.10, 0.11, 0.12])
    first = {key: value for key, value in cells.items() if key[3] == 0}
    alone = table1.gain(rows(first))
    assert alone.tolist() == pytest.approx([(0.1 + 0.8) / 2])
    assert claims.verdict(alone)[0] == "undecided"


def test_whole_seeds_and_the_larger_of_equals() -> None:
    runs = pd.DataFrame(
        [
            dict(case="a", seed=0, beta=beta, validation=value)
            for beta, value in ((1.0, 0.5), (2.0, 0.5), (4.0, 0.4))
        ]
        + [dict(case="a", seed=1, beta=4.0, validation=1.0)]
    )
    assert list(choice.whole(runs, ["case"])["seed"]) == [0, 0, 0]
    assert choice.chosen(runs, ["case"], "beta").to_dict("records") == [{"case": "a", "beta": 2.0}]


def test_rows_on_a_part_of_the_data_stand_beside_the_papers_own() -> None:
    cells = three_seeds("mlp1", "fgm", (0.90, 0.80, 0.70), (0.95, 0.85, 0.80))
    cells |= three_seeds("wide_resnet", "fgm", (0.9, 0.8, 0.7), (0.9, 0.8, 0.7))  # not the paper's
    part = table1.measured(rows(cells, train_size=2000))
    whole = table1.measured(rows(three_seeds("mlp1", "fgm", (0.9, 0.8, 0.7), (0.9, 0.8, 0.7))))
    (found,) = beside.analogues(pd.concat([part, whole])).to_dict("records")
    assert found["data"].startswith("mnist, ") and found["net"] == "mlp1"
    assert found["gain_here"] == pytest.approx(0.11) and found["seeds"] == 3
    assert found["rise_here"] == pytest.approx(0.05)
    theirs = table1.published().set_index(table1.KEY).loc[("mnist", "mlp1", "fgm", 2.0, 0.0)]
    assert (found["gain"], found["beta"]) == (theirs["gain"], theirs["beta"])
    (line,) = beside.printed_analogues(pd.DataFrame([found])).to_dict("records")
    assert line["gain"].startswith("+0.110 ± ") and line["rise"] == "+0.050"
    assert line["gain "] == f"{theirs['gain']:+.3f}" and line["train "] == "0.88"
    words = beside.analogues_in_words(pd.concat([pd.DataFrame([found])] * 2)).splitlines()
    assert words[0] == f"{found['data']} | the paper's rows" and len(words) == 4
    assert words[1].split()[0] == "net"
    jpeg = table1.measured(
        rows(three_seeds("alexnet", "pgm", (0.9, 0.5, 0.5), (0.8, 0.6, 0.6)), data="cifar10_jpeg")
    )
    found = beside.analogues(jpeg)
    assert found["free_test"].round(2).tolist() == [0.50]
    for shown in (beside.printed_analogues(found), beside.stand_ins(jpeg)):
        assert shown["data"].tolist() == ["CIFAR-10 (JPEG)"]


def test_a_measured_row_stands_below_the_papers() -> None:
    cells = three_seeds("mlp1", "fgm", (0.9, 0.8, 0.7), (0.9, 0.9, 0.7), 2.0)
    ours = table1.measured(rows(cells))
    both = beside.side_by_side(ours).query("data == 'mnist' and in_table")
    shown = beside.printed(both)
    place = list(shown["of"]).index("here")
    theirs, mine = shown.iloc[place - 1], shown.iloc[place]
    assert (theirs["net"], theirs["training"], theirs["of"]) == ("mlp1", "FGM", "paper")
    assert (theirs["beta"], theirs["gain"]) == ("8", "+0.083") and not theirs["less"]
    assert (mine["net"], mine["beta"], mine["test SN"], mine["gain"]) == ("", "2", "0.71", "+0.010")
    # 0, .01, .02: Student's t for three seeds, 4.303, times .01 / sqrt(3)
    assert (mine["±"], mine["less"], mine["seeds"], mine["budgets"]) == (
        "0.025",
        "-0.073",
        "3",
        "2",
    )
    assert len(shown) == len(both) + 1
    text = beside.printed_in_words(both).splitlines()
    assert text[0] == "mnist" and text[-1] == "1 of 12 rows are measured."
    alone = table1.measured(rows({key: value for key, value in three_seeds(
        "mlp1", "fgm", (0.9, 0.8, 0.7), (0.9, 0.8, 0.7)).items() if key[3] == 0}))  # fmt: skip
    (mine,) = beside.printed(beside.side_by_side(alone)).query("of == 'here'").to_dict("records")
    assert (mine["seeds"], mine["±"]) == ("1", "")  # no interval


def test_where_no_row_is_measured_nothing_is_said_of_ours() -> None:
    both = beside.side_by_side(table1.measured(rows(three_seeds("mlp1", "fgm", *[(0.9,) * 3] * 2),
                                                    )).iloc[:0])  # fmt: skip
    shown = beside.printed(both)
    assert len(shown) == len(both) and list(shown)[3:] == [
        *("beta", "train", "test", "train SN", "test SN", "gain")
    ]
    assert beside.printed_in_words(both).endswith(f"\n\n0 of {len(both)} rows are measured.")


def test_rows_are_counted_by_the_sign_of_their_gain() -> None:
    shown = pd.DataFrame({"gain": [0.1, 0.2, -0.06, 0.0], "reduction": [0.1, -0.1, 0.0, 0.2]})
    assert beside.counted(shown) == "  4 rows, gain +0.060, +2 -1 =1, gap shrinks 2"
