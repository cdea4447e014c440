"""Priority: the evidence that decides most claims first, against the claims counted by hand."""

from __future__ import annotations

import pytest

from snlib import experiments, priority
from snlib.claims import CLAIMS
from snlib.experiments import EXPERIMENTS, experiment

# By experiment, the claims that it decides at scale paper, read off the eighteen sentences.
AT_PAPER = {
    "gap": {1, 2, 3, 4, 5}, "margins": {6, 7}, "random_labels": {8}, "gain": {9, 10, 12},
    "robustness": {11, 17}, "rivals": {13, 14}, "runtimes": {15}, "table1_mnist": {18},
    "table1_svhn": {18},
}  # fmt: skip


def test_claims_by_run_at_scale_paper():
    found = priority.claims_by_run("paper")
    held = {name: set(experiment(name).at("paper")) for name in AT_PAPER}
    for runs in held.values():
        for run in runs:
            holding = [name for name, others in held.items() if run in others]
            assert found[run] == set().union(*(AT_PAPER[name] for name in holding))
    assert {number for numbers in found.values() for number in numbers} == set(range(1, 19)) - {16}


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper", "paper@cifar10_jpeg", "paper@svhn"])
def test_the_plan_is_the_same_runs_in_another_order(scale):
    names = [name for name, one in EXPERIMENTS.items() if scale.partition("@")[0] in one.scales]
    plan = experiments.plan(names, scale)
    ordered, needed = priority.ordered(plan, scale), priority.claims_by_run(scale)
    assert ordered == plan and list(ordered) == list(priority.ordered(plan, scale))
    counts = [len(needed.get(run, ())) for run in ordered]
    assert counts == sorted(counts, reverse=True)
    for count in set(counts):
        seeds = [run.seed for run in ordered if len(needed.get(run, ())) == count]
        assert seeds == sorted(seeds)


def test_the_headline_comes_before_what_decides_nothing():
    plan = experiments.plan(["overshoot", "gap"], "paper")
    first = list(priority.ordered(plan, "paper"))[:72]
    assert set(first) == set(experiment("gap").at("paper"))


def test_every_claim_with_evidence_names_something_that_exists():
    for claim in CLAIMS:
        for one in claim.evidence:
            assert one.experiment in EXPERIMENTS or one.experiment.startswith("benchmarks/")
