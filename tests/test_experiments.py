"""The grids against the paper's protocol, its numbers typed in from the published code."""

from __future__ import annotations

import math
import re

import pytest

from snlib import datasets, experiments, models
from snlib.errors import UserError
from snlib.experiments import EXPERIMENTS, SCALES, experiment, plan, settings_of
from snlib.runs import OF_TRAINING, Run

EVERY = [
    (name, scale)
    for name, one in EXPERIMENTS.items()
    for scale in (*SCALES, "paper@cifar10_jpeg")
    if scale.partition("@")[0] in one.scales
]
QUICK = [name for name, scale in EVERY if scale == "quick"]
FOLDERS = ("cifar10_jpeg", "tiny_imagenet", "tiny_imagenet_subset")
"""Image folders that experiments name, here or not."""

PROTOCOL = dict(  # of the paper's AlexNet on CIFAR-10
    data="cifar10", train_size=None, validation="test", net="alexnet", width=1.0,
    norm_kind="operator", optimizer="sgd", learning_rate=0.01, decay=0.95, weight_decay=0.0,
    batch_size=128, epochs=200, stop_accuracy=0.999, augment=False, precision="float32",
)  # fmt: skip
ATTACKED = dict(norm=2.0, eps=None, eps_ratio=0.05, attack_labels="predicted")
SCHEME = {
    "erm": {},
    "fgm": ATTACKED,
    "pgm": ATTACKED | dict(steps=15),
    "wrm": dict(norm=2.0, wrm_gamma_ratio=0.002, steps=15, attack_labels="predicted"),
}


def holds(run: Run, expected: dict) -> bool:
    return all(getattr(run, key) == value for key, value in expected.items())


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_every_grid(name, scale):
    runs = experiment(name).at(scale)
    assert runs and len({run.name for run in runs}) == len(runs) == len(set(runs))
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds) and len(set(seeds)) >= 3
    of_seed = [{run.name for run in runs if run.seed == seed} for seed in set(seeds)]
    assert len({len(names) for names in of_seed}) == 1  # the same grid for every seed
    assert {run.net for run in runs} <= set(models.NAMES)
    assert {run.data for run in runs} <= {*datasets.names(), *FOLDERS}
    suites = experiment(name).suites
    assert "history" in suites and ("accuracy" in suites or suites == OF_TRAINING)
    assert re.fullmatch(r"\d\d", experiment(name).notebook)


def test_gap_at_scale_paper_is_the_published_grid():
    runs = experiment("gap").at("paper")
    assert {run.beta for run in runs} == {math.inf, 1.0, 1.3, 1.6, 2.0, 4.0}
    assert len(runs) == 6 * 4 * 3
    for run in runs:
        assert holds(run, {} if math.isinf(run.beta) else dict(norm_kind="operator"))
        protocol = {key: PROTOCOL[key] for key in PROTOCOL if key != "norm_kind"}
        assert holds(run, protocol | SCHEME[run.scheme] | dict(labels="true"))


def test_curves_hold_the_published_budgets():
    published = {"fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
    pairs = {(run.scheme, run.beta) for run in experiment("curves").at("paper")}
    assert pairs == {(s, b) for s in published for b in (math.inf, published[s])}


def test_gain_and_margins_hold_the_published_panels():
    gain = {(run.scheme, run.beta) for run in experiment("gain").at("paper")}
    assert {("erm", b) for b in (1.0, 1.3, 1.6, 2.0, 4.0, math.inf)} <= gain
    assert {(s, 1.3) for s in ("erm", "fgm", "pgm", "wrm")} <= gain  # the figure of kappa
    margins = {(r.scheme, r.beta, r.labels) for r in experiment("margins").at("paper")}
    for labels in ("true", "random"):
        assert {("erm", math.inf, labels), ("erm", 1.3, labels)} <= margins
    for scheme in ("fgm", "pgm"):
        assert {(scheme, math.inf, "true"), (scheme, 1.6, "true")} <= margins


def test_table1_mnist_follows_the_protocol_for_one_channel():
    runs = experiment("table1_mnist").at("paper")
    for run in runs:
        assert holds(
            run, dict(data="mnist", train_size=None, optimizer="adam", learning_rate=0.001,
                      decay=1.0, batch_size=128, width=1.0, stop_accuracy=0.999)
        )  # fmt: skip
        if run.scheme == "wrm":
            assert run.wrm_gamma_ratio == 0.04 and run.steps == 15
        if run.scheme == "pgm":
            assert run.steps == 15
        if run.scheme in ("fgm", "pgm") and run.norm == 2:
            assert run.eps is None and run.eps_ratio == 0.05
        if run.norm == math.inf:
            assert run.eps == 0.1 and run.net == "elu_net" and run.scheme in ("fgm", "pgm")
        assert run.epochs == (25 if run.net == "elu_net" else 200)
        if run.net != "softmax":
            assert run.beta in (2.0, 4.0, 8.0, 16.0, math.inf)
    found = {(run.net, run.scheme, run.norm) for run in runs}
    schemes = ("erm", "fgm", "pgm", "wrm")
    norms = {"erm": None, "fgm": 2.0, "pgm": 2.0, "wrm": 2.0}
    nets = ("elu_net", "mlp1", "mlp2", "mlp1_relu", "mlp2_relu", "softmax")
    expected = {(net, scheme, norms[scheme]) for net in nets for scheme in schemes}
    expected |= {("elu_net", "fgm", math.inf), ("elu_net", "pgm", math.inf)}
    assert found == expected
    for key in found:  # every configuration with and without SN
        betas = {run.beta for run in runs if (run.net, run.scheme, run.norm) == key}
        assert math.inf in betas and len(betas) >= 4


def test_another_data_set_replaces_the_scales_own():
    for name in ("gap", "curves", "gain", "margins"):
        usual, other = experiment(name).at("paper"), experiment(name).at("paper@svhn")
        assert [Run(**run.settings() | {"data": "svhn"}) for run in usual] == other
    assert settings_of("paper@cifar10_jpeg")[0]["data"] == "cifar10_jpeg"


def test_quick_runs_use_the_embedded_data():
    assert {"gap", "curves", "gain", "margins", "overshoot"} <= set(QUICK)
    for name in QUICK:
        runs = experiment(name).at("quick")
        assert {run.data for run in runs} == {"digits"}
        for run in runs:  # every network can be built for digits
            models.build(run.net, (1, 8, 8), width=run.width)


def test_plan_takes_every_run_once_seed_by_seed():
    names = QUICK
    whole = plan(names, "quick")
    assert set(whole) == {run for name in names for run in experiment(name).at("quick")}
    seeds = [run.seed for run in whole]
    assert seeds == sorted(seeds)
    assert next(iter(whole)) == experiment(names[0]).at("quick")[0]
    first = [run for run in whole if run.seed == 0]
    shared = [run for run in experiment("gap").at("quick") if run.seed == 0]
    assert [run for run in first if run in set(shared)] == shared  # within a seed, by priority
    held = {name: set(experiment(name).at("quick")) for name in names}
    for run, suites in whole.items():
        wanted = [experiment(name).suites for name in names if run in held[name]]
        assert suites == frozenset().union(*wanted)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match=r"experiment is 'gab'; .*Did you mean 'gap'\?"):
        experiment("gab")
    with pytest.raises(UserError, match=r"scale is 'papers'; .*Did you mean 'paper'\?"):
        settings_of("papers")
    with pytest.raises(UserError, match=r"scale is 'papr'; .*Did you mean 'paper'\?"):
        settings_of("papr@mnist")
    with pytest.raises(UserError, match="scale of table1_mnist is 'quick'; allowed are laptop"):
        experiment("table1_mnist").at("quick")
    with pytest.raises(UserError, match="name a data set after the @"):
        settings_of("paper@")


def test_grid_is_the_product_of_its_tuples():
    runs = experiments.grid({"data": "digits"}, (3, 4), scheme=("erm", "fgm"), beta=(1.0, 2.0))
    expected = [
        (seed, scheme, beta) for seed in (3, 4) for scheme in ("erm", "fgm") for beta in (1.0, 2.0)
    ]
    assert [(run.seed, run.scheme, run.beta) for run in runs] == expected
    assert {run.data for run in runs} == {"digits"}
