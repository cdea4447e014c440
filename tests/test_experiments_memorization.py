"""The grids behind the figures of random labels and of robustness, against the published panels."""

from __future__ import annotations

import math

import pytest

from snlib.experiments import experiment

PAPER = dict(data="cifar10", net="alexnet", width=1.0, epochs=200, batch_size=128, train_size=None)
SCALES = ("quick", "laptop", "paper")


def test_random_labels_at_scale_paper_is_the_published_figure() -> None:
    runs = experiment("random_labels").at("paper")
    assert all(getattr(run, key) == value for run in runs for key, value in PAPER.items())
    assert {run.eps_ratio for run in runs if run.scheme in ("fgm", "pgm")} == {0.05}
    assert {run.wrm_gamma_ratio for run in runs if run.scheme == "wrm"} == {0.002}
    assert {run.steps for run in runs if run.scheme in ("pgm", "wrm")} == {15}
    grid = {(run.scheme, run.labels, run.beta) for run in runs}
    for scheme, beta in {"erm": 1.6, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}.items():
        assert {("random", math.inf), ("random", beta), ("true", beta)} == {
            (labels, budget) for name, labels, budget in grid if name == scheme
        } or scheme == "erm"  # which has every budget besides, for the probe
        assert {
            (scheme, "random", math.inf),
            (scheme, "random", beta),
            (scheme, "true", beta),
        } <= grid
    for labels in ("random", "true"):
        budgets = {beta for scheme, kind, beta in grid if (scheme, kind) == ("erm", labels)}
        assert budgets == {math.inf, 1.0, 1.3, 1.6, 2.0, 4.0}


@pytest.mark.parametrize("scale", SCALES)
def test_panels_of_random_labels_differ_in_labels_and_budget_alone(scale) -> None:
    runs = [run for run in experiment("random_labels").at(scale) if run.seed == 0]
    for scheme in ("erm", "fgm", "pgm", "wrm"):
        kept = [run.settings() for run in runs if run.scheme == scheme]
        varied = {key for key in kept[0] if len({str(one[key]) for one in kept}) > 1}
        # a net without a budget has no use for the settings of one
        assert varied == {"labels", "beta", "norm_kind", "tracker", "sigma_gradient"}


def test_where_it_can_random_labels_shares_the_runs_of_other_figures() -> None:
    ours = set(experiment("random_labels").at("paper"))
    assert ours & set(experiment("margins").at("paper"))
    true = {run for run in ours if run.labels == "true"}
    assert true <= set(experiment("gap").at("paper"))


@pytest.mark.parametrize("scale", SCALES)
def test_robustness_has_the_papers_five_nets_with_one_budget_and_none(scale) -> None:
    runs = experiment("robustness").at(scale)
    linf = [run for run in runs if run.norm == math.inf]
    assert {(run.scheme, run.eps) for run in linf} == {("pgm", 0.1)}
    nets = {(run.scheme, run.norm == math.inf, run.beta) for run in runs}
    names = (("erm", False), ("fgm", False), ("pgm", False), ("pgm", True), ("wrm", False))
    assert nets == {(*name, beta) for name in names for beta in (math.inf, 1.6)}
    others = set(runs) - set(linf)
    assert others <= set(experiment("gap").at(scale))
    if scale == "paper":
        assert all(getattr(run, key) == value for run in runs for key, value in PAPER.items())
        assert {run.steps for run in linf} == {15}


@pytest.mark.parametrize("scale", SCALES)
def test_ranks_cost_no_training_of_their_own(scale) -> None:
    runs = set(experiment("ranks").at(scale))
    assert runs < set(experiment("gap").at(scale))
    assert {run.beta for run in runs} == {math.inf, 1.0, 1.3, 1.6, 2.0, 4.0}
    assert {run.scheme for run in runs} == {"pgm"}
    if scale != "quick":
        assert set(experiment("autoattack").at(scale)) == runs
        assert experiment("autoattack").suites - experiment("ranks").suites == {"autoattack"}
