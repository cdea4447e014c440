"""Which protocol a run follows: "paper", "standard", or every departure by its name."""

from __future__ import annotations

import math
import re

import pytest

from snlib.experiments import BASE, EXPERIMENTS
from snlib.protocols import PAPER, STANDARD, departures, paper_settings, protocol_of
from snlib.runs import Run

SCHEMES = ("erm", "fgm", "pgm", "wrm")

OTHERWISE = dict(  # one value of each setting that neither protocol has
    validation="train", attack_labels="true", random_start=True, clip=True, eps_ratio=0.07,
    wrm_gamma_ratio=0.003, steps=7, optimizer="adam", learning_rate=0.02, decay=0.9,
    schedule="piecewise", weight_decay=0.1, batch_size=64, epochs=10, stop_accuracy=0.9,
    select="best", augment=True, temperature=2.0, precision="bfloat16",
)  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        *(dict(scheme=scheme) for scheme in SCHEMES),
        dict(scheme="pgm", beta=1.6, seed=3),
        dict(scheme="erm", labels="random"),
        *(dict(scheme="pgm", norm=math.inf, eps=eps) for eps in (0.1, 0.3)),
        dict(data="svhn", scheme="wrm"),
        dict(data="mnist", net="elu_net", optimizer="adam", learning_rate=0.001, epochs=25),
        dict(data="mnist", scheme="wrm", optimizer="adam", learning_rate=0.001,
             wrm_gamma_ratio=0.04),
        dict(net="mlp1", scheme="fgm", optimizer="adam", learning_rate=0.001),
    ],
    ids=str,
)  # fmt: skip
def test_the_authors_runs_follow_the_papers_protocol(settings):
    assert protocol_of(Run(**settings)) == "paper" and departures(Run(**settings)) == {}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (dict(data="mnist"), "optimizer=sgd, learning_rate=0.01"),  # theirs was Adam
        (dict(net="mlp2"), "optimizer=sgd, learning_rate=0.01"),
        (dict(optimizer="adam", learning_rate=0.001), "optimizer=adam, learning_rate=0.001"),
        (dict(data="mnist", net="elu_net", optimizer="adam", learning_rate=0.001), "epochs=200"),
        (dict(scheme="pgm", norm=math.inf, eps=0.2), "eps=0.2"),
        (dict(scheme="pgm", eps=0.1), "eps=0.1"),
        (dict(scheme="trades"), "scheme=trades"),
        (dict(scheme="pgm", random_start=True, restarts=3), "random_start=True, restarts=3"),
    ],
)
def test_departures_are_named(settings, found):
    assert protocol_of(Run(**settings)) == f"custom ({found})"


@pytest.mark.parametrize("setting", sorted(OTHERWISE))
def test_no_setting_of_a_protocol_departs_unnamed(setting):
    scheme = "wrm" if setting == "wrm_gamma_ratio" else "pgm"
    run = Run(scheme=scheme, **{setting: OTHERWISE[setting]})
    assert set(departures(run)) == {setting}
    assert protocol_of(run) == f"custom ({setting}={OTHERWISE[setting]})"


def test_every_setting_of_a_protocol_is_tried_here():
    assert set(OTHERWISE) | {"restarts"} == set(PAPER) and set(STANDARD) < set(PAPER)
    assert all(getattr(Run(scheme="pgm"), k) == PAPER[k] for k in set(PAPER) - {"wrm_gamma_ratio"})


@pytest.mark.parametrize("scheme", [*SCHEMES, "trades"])
@pytest.mark.parametrize("net", ["alexnet", "mlp1"])
def test_the_standard_protocol_and_every_mixture(scheme, net):
    settings = {**paper_settings(Run(net=net)), **STANDARD, "scheme": scheme, "net": net}
    run = Run.of(**settings)
    assert protocol_of(run) == "standard"
    used = {name for name in STANDARD if getattr(run, name) == STANDARD[name]}
    expected = {"validation", "schedule", "stop_accuracy", "select", "augment"}
    if scheme != "erm":
        expected |= {"clip"}
    if scheme in ("fgm", "pgm", "wrm"):
        expected |= {"attack_labels"}
    if scheme == "pgm":
        expected |= {"random_start", "restarts"}
    assert used == expected
    for name in used - {"random_start"}:  # one setting back to the paper's is neither protocol
        mixed = protocol_of(Run.of(**settings | {name: PAPER[name]}))
        assert mixed.startswith("custom (") and f"{name}=" not in mixed
        for other in used - {name}:
            assert f"{other}={STANDARD[other]}" in mixed


def test_random_labels_have_a_standard_protocol_without_early_stopping():
    settings = {**STANDARD, "labels": "random", "select": "last"}
    assert protocol_of(Run.of(**settings)) == "standard"
    assert protocol_of(Run.of(**settings | {"labels": "true"})).startswith("custom (")


def test_a_scale_is_no_departure_but_what_it_does_not_say_is():
    base = BASE["quick"]
    run = Run.of(**base, scheme="pgm", beta=1.3)
    assert protocol_of(run, base) == "paper"
    assert protocol_of(run).startswith("custom (eps_ratio=0.15, steps=5, learning_rate=0.05, ")
    usual = Run.of(**{**base, "scheme": "pgm", **STANDARD})
    assert protocol_of(usual, base) == "standard" != protocol_of(usual)
    assert protocol_of(Run.of(**{**base, "epochs": 7}), base) == "custom (epochs=7)"


def test_every_recorded_figure_at_quick_scale_names_its_protocol():
    for experiment in EXPERIMENTS.values():
        for scale in experiment.scales:
            for run in experiment.at(scale):
                name = protocol_of(run, BASE[scale])
                assert re.fullmatch(r"paper|standard|custom \(\w+=[^,]+(, \w+=[^,]+)*\)", name)
