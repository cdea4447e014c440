"""Claims 13 and 14: who is a rival, which of its settings counts, and at which norm it is met."""

import math

import pandas as pd
import pytest

from snlib.claims import rivals

INF = math.inf


def run_rows(name: str, seed: int, test: float, validation: float | None = None, **about) -> list:
    """The rows of one run; two layers of the recorded norm `sigma`."""
    sigma = about.pop("sigma", 1.0)
    settings = dict(scheme="pgm", net="alexnet", beta=INF, norm_kind=None, weight_decay=0.0) | about
    settings |= dict(run=f"{name}-{seed}", seed=seed)
    accuracies = {"train": 1.0, "validation": validation or test, "test": test}
    rows = [
        settings | dict(split=split, attack="training", quantity="accuracy", value=value)
        for split, value in accuracies.items()
    ]
    return rows + [
        settings | dict(split=layer, attack="", quantity="upper", value=sigma)
        for layer in ("conv1", "fc1")
    ]


def table(**changes: object) -> pd.DataFrame:
    rows = []
    for seed in (0, 1, 2):
        tight = dict(norm_kind="operator", beta=1.0)
        rows += run_rows("free", seed, 0.4)
        rows += run_rows("sn1", seed, 0.5, 0.5, sigma=1.0, **tight)
        rows += run_rows("sn2", seed, 0.6 + 0.01 * seed, 0.7, sigma=2.0, **tight | dict(beta=2.0))
        reshaped = dict(norm_kind="reshaped")
        rows += run_rows("m1", seed, 0.3, 0.3, sigma=1.0, beta=0.5, **reshaped)
        rows += run_rows("m2", seed, 0.5, 0.5, sigma=4.0, beta=1.0, **reshaped)
        rows += run_rows("wd1", seed, 0.2, 0.2, weight_decay=5e-4)
        rows += run_rows("wd2", seed, 0.55, 0.6, weight_decay=8.5e-3)
        rows += run_rows("bn", seed, 0.9, 0.1, net="alexnet_bn")
        rows += run_rows("drop", seed, 0.1, 0.1, net="alexnet_dropout_train")
    return pd.DataFrame(rows)


def test_every_contestant_is_known_by_its_settings() -> None:
    runs = rivals.contestants(table()).set_index("run")
    kinds = {name: runs["kind"][f"{name}-0"] for name in ("free", "sn1", "m1", "wd1", "bn", "drop")}
    assert kinds == {
        "free": "plain",
        "sn1": "operator",
        "m1": "reshaped",
        "wd1": "weight decay",
        "bn": "batch norm",
        "drop": "dropout",
    }
    assert set(runs["case"]) == {"PGM alexnet"}
    assert runs["size"]["sn2-1"] == pytest.approx(math.log10(2))


def test_the_best_rival_is_chosen_by_validation_not_by_test() -> None:
    found = rivals.against_regularizers(table())
    # batch norm tests best and validates worst; weight decay 8.5e-3 validates best
    assert found["PGM alexnet"].tolist() == pytest.approx([0.05, 0.06, 0.07])


def test_each_norm_at_its_own_validated_budget() -> None:
    found = rivals.against_reshaped(table())
    assert found["PGM alexnet"].tolist() == pytest.approx([0.10, 0.11, 0.12])


def test_miyato_is_met_at_the_true_norm() -> None:
    found = rivals.matched_by_norm(table())
    # log2 of the true norm is halfway between the rival's budgets: accuracy 0.4
    assert found["PGM alexnet"].tolist() == pytest.approx([0.20, 0.21, 0.22])


def test_out_of_reach_is_not_extrapolated() -> None:
    far = table()
    hit = far["run"].str.startswith("sn2") & (far["quantity"] == "upper")
    far.loc[hit, "value"] = 40.0
    assert rivals.matched_by_norm(far)["PGM alexnet"].isna().all()


def test_without_rivals_nothing_is_claimed() -> None:
    alone = table()
    alone = alone[(alone["norm_kind"] == "operator") | alone["beta"].eq(INF)]
    alone = alone[(alone["weight_decay"] == 0) & (alone["net"] == "alexnet")]
    assert rivals.against_regularizers(alone).dropna(how="all").empty
    assert rivals.against_reshaped(alone).dropna(how="all").empty
    assert rivals.matched_by_norm(alone).dropna(how="all").empty


def test_two_nets_are_two_cases() -> None:
    both = pd.concat(
        [table(), table().assign(net="inception").pipe(lambda t: t.assign(run="i" + t["run"]))]
    )
    both = both[~(both["net"].eq("inception") & both["weight_decay"].gt(0))]
    both = both[~both["run"].str.contains("^i(?:bn|drop)")]
    assert list(rivals.against_reshaped(both).columns) == ["PGM alexnet", "PGM inception"]
    assert list(rivals.against_regularizers(both).columns) == ["PGM alexnet"]
