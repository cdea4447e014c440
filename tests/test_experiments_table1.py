"""Table 1 and its like: every row of the paper against its runs, the facts typed in."""

from __future__ import annotations

import dataclasses
import functools
import math
import re

import pandas as pd
import pytest

from snlib.experiments import EXPERIMENTS, experiment
from snlib.experiments.table1 import Configuration, configuration_of, published_configurations
from snlib.protocols import protocol_of
from snlib.results import ROOT
from snlib.runs import Run
from snlib.statistics import overhead

TABLE = pd.read_csv(ROOT / "data" / "paper" / "table1.csv")
CURVES = pd.read_csv(ROOT / "data" / "paper" / "curves.csv")
ROWS = [pytest.param(row, id=f"{row.Index}") for row in TABLE.itertuples()]

NETS = {"alexnet_elu": "elu_alexnet", "elunet": "elu_net", "mlp1_elu": "mlp1", "mlp2_elu": "mlp2"}
MEAN_NORM = {"cifar10": 48.654, "mnist": 9.2157}  # E||x||_2, measured and printed
GAMMA = {"cifar10": 0.002, "svhn": 0.002, "mnist": 0.04}
GRIDS = {  # every budget that the facts name for a net on CIFAR-10
    "alexnet": {1.0, 1.3, 1.6, 2.0, 4.0},
    "elu_alexnet": {1.3, 1.6, 2.0, 4.0},
    "mlp1": {0.8, 1.0},
    "mlp2": {0.8, 1.0},
    "inception": {1.0, 1.6},
    "resnet": {1.0, 1.6, 2.5},
}


@functools.cache
def table_of(data: str) -> list[Run]:
    return experiment(f"table1_{data}").at("paper")


def runs_of(row, beta: float) -> list[Run]:
    """The runs of a row of the file, found without the code under test."""
    norm = {"none": None, "linf": math.inf}.get(row.norm, 2.0)
    return [
        run
        for run in table_of(row.dataset)
        if run.net == NETS.get(row.architecture, row.architecture)
        and run.scheme == row.training
        and run.norm == norm
        and (run.norm != math.inf or run.eps == row.eps)
        and run.beta == beta
    ]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_file_has_its_runs_with_the_authors_settings(row):
    runs = runs_of(row, row.beta)
    assert sorted(run.seed for run in runs) == [0, 1, 2]
    adam = row.dataset == "mnist" or row.architecture.startswith("mlp")
    for run in runs:
        assert (run.data, run.train_size, run.labels, run.validation) == (
            row.dataset, None, "true", "test",
        )  # fmt: skip
        assert run.width == 1.0 and run.batch_size == 128 and run.weight_decay == 0.0
        assert run.epochs == (25 if row.architecture == "elunet" else 200)
        assert (run.optimizer, run.learning_rate) == (("adam", 0.001) if adam else ("sgd", 0.01))
        assert run.decay == (1.0 if adam else 0.95) and run.schedule == "constant"
        assert run.stop_accuracy == 0.999 and run.select == "last" and not run.augment
        assert not run.random_start and run.restarts == 1 and not run.clip
        assert run.temperature == 1.0 and run.precision == "float32"
        assert run.attack_labels == (None if row.training == "erm" else "predicted")
        assert run.steps == (15 if row.training in ("pgm", "wrm") else None)
        assert protocol_of(run) == "paper"
        if row.norm == "linf":
            assert run.eps == row.eps and run.eps in (0.1, 0.3) and run.eps_ratio is None
        elif row.norm == "l2":
            assert run.eps is None and run.eps_ratio == 0.05
            if row.dataset in MEAN_NORM:
                assert row.eps == pytest.approx(0.05 * MEAN_NORM[row.dataset], rel=1e-3)
        elif row.norm == "wrm_l2sq":
            assert run.wrm_gamma_ratio == GAMMA[row.dataset] and run.eps is None
            if row.dataset in MEAN_NORM:
                gamma = run.wrm_gamma_ratio * MEAN_NORM[row.dataset]
                assert row.eps == pytest.approx(1 / (2 * gamma), rel=1e-3)


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0].setting == "no_sn"])
def test_every_configuration_has_its_whole_grid(row):
    tried = {run.beta for run in table_of(row.dataset)}
    runs = [run for beta in tried for run in runs_of(row, beta)]
    betas = {run.beta for run in runs}
    net = NETS.get(row.architecture, row.architecture)
    if row.dataset == "cifar10":
        assert betas == GRIDS[net] | {math.inf}
    elif row.dataset == "svhn":
        assert betas == {math.inf, 1.0, 1.3, 1.6, 2.0, 4.0}
    elif net == "softmax":
        assert betas == {math.inf, 1.0, 4.0, 16.0}
    else:
        assert betas == {math.inf, 2.0, 4.0, 8.0, 16.0}
    assert len(runs) == 3 * len(betas)


def test_the_published_configurations_are_those_of_the_file():
    found = {
        (one.data, one.net, one.scheme, one.norm, one.eps): one
        for one in published_configurations()
    }
    assert len(published_configurations()) == len(found) == 62
    expected = {}
    for row in TABLE.itertuples():
        norm = {"none": None, "linf": math.inf}.get(row.norm, 2.0)
        key = (row.dataset, NETS.get(row.architecture, row.architecture), row.training, norm)
        expected[(*key, row.eps if row.norm == "linf" else None)] = bool(row.in_published_table)
    assert {key: one.printed for key, one in found.items()} == expected
    assert sum(expected.values()) == 42
    for row in TABLE.itertuples():
        norm = {"none": None, "linf": math.inf}.get(row.norm, 2.0)
        eps = row.eps if row.norm == "linf" else None
        net = NETS.get(row.architecture, row.architecture)
        runs = found[row.dataset, net, row.training, norm, eps].runs()
        assert set(runs_of(row, row.beta)) <= set(runs)
        assert all(configuration_of(run, found[row.dataset, net, row.training, norm, eps].printed)
                   in found.values() for run in runs)  # fmt: skip


def test_every_run_of_the_tables_belongs_to_a_configuration_and_to_one_alone():
    configurations = published_configurations()
    for data in ("cifar10", "mnist", "svhn"):
        runs = table_of(data)
        mine = [run for one in configurations if one.data == data for run in one.runs()]
        assert sorted(run.name for run in mine) == sorted(run.name for run in runs)
    absent = Configuration("cifar10", "alexnet", "pgm", math.inf, 0.2, False)
    assert absent.runs() == []


def test_laptop_has_every_configuration_of_two_data_sets_on_subsets():
    for data, name in (("cifar10", "cifar10_jpeg"), ("mnist", "mnist")):
        for one in published_configurations():
            if one.data != data:
                continue
            runs = one.runs("laptop")
            assert runs and {run.data for run in runs} == {name}
            assert {run.train_size for run in runs} == {2000}
            assert math.inf in {run.beta for run in runs} and len({r.beta for r in runs}) >= 3


def test_digits_lay_the_table_out_on_small_nets_and_share_the_thin_alexnet():
    runs = experiment("table1_digits").at("quick")
    cells = {(run.net, run.scheme) for run in runs}
    nets = {"mlp1", "mlp2", "softmax", "elu_alexnet"}
    assert cells == {(net, scheme) for net in nets for scheme in ("erm", "fgm", "pgm", "wrm")}
    for cell in cells:
        betas = {run.beta for run in runs if (run.net, run.scheme) == cell}
        assert math.inf in betas and len(betas) == 3
    thin = {run for run in runs if run.net == "elu_alexnet"}
    assert thin <= set(experiment("gap").at("quick"))


# ------------------------------------------------------------------------------ training curves


PANEL_NETS = {"ELU-AlexNet": "elu_alexnet", "Inception": "inception", "ResNet": "resnet"}


@pytest.mark.parametrize(
    ("name", "figure", "panels"),
    [
        ("curves", "fig_train_alexnet_l2", 3),
        ("curves_elu", "fig_train_elu_alexnet_l2", 3),
        ("curves_inception_resnet", "fig_train_inception_resnet_l2", 4),
        ("curves_linf", "fig_train_alexnet_linf", 4),
    ],
)
def test_training_curves_hold_the_panels_of_their_figure(name, figure, panels):
    """Nets, schemes, radii and budgets as the panels and series of the figure name them."""
    drawn = CURVES[CURVES["figure"] == figure]
    expected = set()
    for panel, series in drawn[["panel", "series"]].drop_duplicates().itertuples(index=False):
        words = panel.split()
        net = PANEL_NETS.get(words[0], "alexnet")
        scheme = next(word.lower() for word in words if word in ("FGM", "PGM", "WRM"))
        radius = re.search(r"eps=([\d.]+)", panel)
        beta = re.search(r"beta=([\d.]+)", series)
        eps = float(radius[1]) if radius else None
        expected.add((net, scheme, eps, float(beta[1]) if beta else math.inf))
    assert len(expected) == 2 * panels
    runs = experiment(name).at("paper")
    assert {(run.net, run.scheme, run.eps, run.beta) for run in runs} == expected
    assert len(runs) == 3 * len(expected)
    for run in runs:
        assert run.norm == (2.0 if run.eps is None else math.inf)
        assert protocol_of(run) == "paper" and run.data == "cifar10" and run.epochs == 200
    assert {"running_accuracy", "validation_accuracy"} <= experiment(name).quantities


# ------------------------------------------------------------------------------------- run times


def test_runtimes_pair_every_printed_row_with_itself_under_a_budget():
    runs = experiment("runtimes").at("paper")
    assert len(runs) == 42 * 2 * 3
    assert {run.epochs for run in runs} == {40} and min(run.stop_accuracy for run in runs) > 1
    free = [run for run in runs if math.isinf(run.beta)]
    capped = [run for run in runs if not math.isinf(run.beta)]
    assert {dataclasses.replace(run, beta=math.inf, tracker=None, norm_kind=None,
                                sigma_gradient=None) for run in capped} == set(free)  # fmt: skip
    assert {configuration_of(run, True) for run in free} == {
        one for one in published_configurations() if one.printed
    }
    assert "runtime" in experiment("runtimes").suites
    assert {run.epochs for run in experiment("runtimes").at("laptop")} == {4}


def test_overhead_by_hand():
    def rows(scheme: str, beta: float, seed: int, seconds: list[float], norm: float | None):
        quantities = [("seconds", value) for value in seconds] + [("accuracy", 0.5)]
        return [
            dict(data="mnist", scheme=scheme, beta=beta, seed=seed, norm=norm, quantity=q, value=v)
            for q, v in quantities
        ]

    table = pd.DataFrame(
        rows("erm", math.inf, 0, [5.0, 1.0, 2.0], None)
        + rows("erm", 4.0, 0, [2.0, 3.0, 9.0], None)
        + rows("pgm", math.inf, 0, [10.0], 2.0)
        + rows("pgm", 1.3, 0, [11.0], 2.0)
        + rows("pgm", math.inf, 1, [10.0], 2.0)  # without its pair
    )
    table.attrs["provenance"] = {"settings": {"net": "mlp1"}}
    found = overhead(table)
    assert found[["data", "net", "scheme", "norm", "seed"]].values.tolist() == [
        ["mnist", "mlp1", "erm", 0.0, 0],
        ["mnist", "mlp1", "pgm", 2.0, 0],
    ]
    assert found[["free", "capped"]].values.tolist() == [[2.0, 3.0], [10.0, 11.0]]
    assert found["ratio"].tolist() == pytest.approx([1.5, 1.1])
    assert found["fastest"].tolist() == pytest.approx([2.0, 1.1])


def test_every_table_and_curve_is_listed_once():
    names = [name for name in EXPERIMENTS if name.startswith(("table1", "curves", "runtimes"))]
    assert sorted(names) == sorted(
        ["curves", "curves_elu", "curves_inception_resnet", "curves_linf", "runtimes"]
        + [f"table1_{data}" for data in ("cifar10", "mnist", "svhn", "digits")]
    )
