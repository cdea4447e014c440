"""Experiments on rivals of SN and beyond the paper: they hold what they say, and no net misfits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from snlib import models
from snlib.experiments import BASE, experiment
from snlib.experiments.extensions import EXTENSION
from snlib.protocols import protocol_of

NAMES = ("select", "schedule", "augment", "attack_labels")
OFF, ON = ("last", "constant", False, "predicted"), ("best", "piecewise", True, "true")

# -------------------------------------------------------------------------------------- the paper's


def rivals(scale: str, **settings) -> list:
    """The runs of the experiment `rivals` with these settings."""
    return [
        run
        for run in experiment("rivals").at(scale)
        if all(getattr(run, name) == value for name, value in settings.items())
    ]


def test_weight_decay_is_what_the_authors_graph_made_of_it():
    # nominal 5e-4: one term for each copy of the network, 2 in FGM training, 17 in PGM and WRM
    assert {run.weight_decay for run in rivals("paper")} == {0.0, 5e-4, 1e-3, 8.5e-3}
    assert {run.weight_decay for run in rivals("quick")} == {0.0, 1e-3, 8.5e-3}
    assert all(math.isinf(run.beta) for run in rivals("paper") if run.weight_decay)


@pytest.mark.parametrize(
    ("scale", "net", "scheme", "nets"),
    [
        ("quick", "elu_alexnet", "fgm", {"bn", "dropout_train"}),
        ("laptop", "alexnet", "pgm", {"bn", "dropout_train", "dropout"}),
        ("paper", "alexnet", "pgm", {"bn", "dropout_train", "dropout"}),
    ],
)
def test_rivals_stand_beside_both_norms_and_the_plain_net(scale, net, scheme, nets):
    runs = rivals(scale)
    variants = {run.net.removeprefix(f"{net}_") for run in runs if run.net.startswith(f"{net}_")}
    assert variants == nets and {run.scheme for run in runs} == {scheme}
    assert all(math.isinf(run.beta) for run in runs if run.net.startswith(f"{net}_"))
    assert rivals(scale, net=net, beta=math.inf, weight_decay=0.0)
    operator = {run.beta for run in rivals(scale, net=net, norm_kind="operator")}
    reshaped = {run.beta for run in rivals(scale, net=net, norm_kind="reshaped")}
    assert operator == {1.0, 1.3, 1.6, 2.0, 4.0} and len(reshaped) >= 3
    assert {run.net for run in runs if "inception" in run.net} == (
        {"inception"} if scale == "paper" else set()
    )


# --------------------------------------------------------------------------------- beyond the paper


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])
def test_the_factorial_has_every_combination_with_and_without_sn(scale):
    runs = [run for run in experiment("beyond").at(scale) if not run.clip]
    scheme = "fgm" if scale == "quick" else "pgm"
    found = [
        (run.seed, math.isinf(run.beta), *(getattr(run, name) for name in NAMES))
        for run in runs
        if run.scheme == scheme
    ]
    every = itertools.product((0, 1, 2), (True, False), *zip(OFF, ON, strict=True))
    assert sorted(found, key=str) == sorted(every, key=str)
    assert len({run.beta for run in runs}) == 2


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])
def test_the_named_protocols_are_the_named_ones(scale):
    own = {key: value for key, value in BASE[scale].items() if key not in ("data", "net", "width")}
    if scale == "quick":
        own |= dict(optimizer="sgd", epochs=72)  # shorter, and SGD as for all its nets
    for run in experiment("beyond").at(scale):
        if run.scheme == "pgm" and run.clip:
            assert protocol_of(run, own) == "standard"
        elif run.scheme == "pgm" and all(
            getattr(run, name) == value for name, value in zip(NAMES, OFF, strict=True)
        ):
            assert protocol_of(run, own) == "paper"


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])
def test_temperature_and_budget_are_never_both(scale):
    runs = experiment("temperature").at(scale)
    assert {run.temperature != 1 for run in runs if math.isinf(run.beta)} == {True, False}
    assert {run.temperature for run in runs if math.isfinite(run.beta)} == {1.0}


def test_extensions_go_where_the_summary_goes_and_say_so():
    runs = experiment("extensions").at("paper")
    assert {"cifar100", "tiny_imagenet", "fashion_mnist"} <= {run.data for run in runs}
    assert {"densenet", "wide_resnet"} <= {run.net for run in runs}
    assert "trades" in {run.scheme for run in runs}
    assert EXTENSION in experiment("extensions").title


def test_every_net_takes_the_images_that_it_is_given():
    sides = {"digits": 8, "tiny_imagenet": 56, "tiny_imagenet_subset": 56}
    seen = set()
    for scale in ("quick", "laptop", "paper"):
        for run in experiment("extensions").at(scale):
            channels = 1 if run.data in ("digits", "fashion_mnist") else 3
            side = sides.get(run.data, 28)
            seen.add((run.net, (channels, side, side)))
    for net, shape in seen:
        built = models.build(net, shape, width=0.05)
        built.eval()  # batch norm takes no single image in training
        assert built(torch.zeros(1, *shape)).shape == (1, 10), (net, shape)
