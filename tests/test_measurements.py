"""What is recorded of a trained net, against hand computation in float64.

The suite `standard` is tested in test_protocols, those of attacks in test_robustness.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from snlib import datasets, measurements, training
from snlib.attacks import pgm
from snlib.checkpoints import Fitted
from snlib.measurements import COLUMNS, LEVELS, Rows, measure
from snlib.runs import Run

SUITES = {"history", "accuracy", "distributions", "spectrum"}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def trained():
    """A small net under a budget, trained against PGM, and every measurement of it."""
    data = datasets.load("digits", train_size=110)
    run = Run(
        data="digits", train_size=110, net="mlp1", width=0.05, batch_size=50, epochs=22,
        learning_rate=0.05, eps_ratio=0.15, steps=3, scheme="pgm", beta=1.3,
    )  # fmt: skip
    fitted = training.fit(run, data)
    return run, data, fitted, pd.DataFrame(measure(run, fitted, data, SUITES))


def pick(table: pd.DataFrame, **place) -> pd.DataFrame:
    for key, value in place.items():
        table = table[table[key] == value]
    return table


def only(table: pd.DataFrame, **place) -> float:
    (value,) = pick(table, **place)["value"]
    return value


def test_columns_and_suites(trained):
    table = trained[3]
    assert tuple(table.columns) == COLUMNS and set(table["suite"]) == SUITES
    assert table["value"].notna().all()
    places = [column for column in COLUMNS if column != "value"]
    assert not table.duplicated(places).any()  # one measurement, one row


def test_history_is_what_training_saw(trained):
    _, _, fitted, table = trained
    history = pick(table, suite="history", attack="training")
    for quantity, split in (
        ("running_accuracy", "train"), ("last_batch_accuracy", "train"), ("loss", "train"),
        ("validation_accuracy", "validation"),
    ):  # fmt: skip
        rows = pick(history, quantity=quantity, split=split)
        found = dict(zip(rows["x"], rows["value"], strict=True))
        expected = dict(zip(fitted.history["epoch"], fitted.history[quantity], strict=True))
        assert found == {epoch: value for epoch, value in expected.items() if value == value}
        assert fitted.epochs in found  # the last epoch is always watched
    assert set(pick(history, quantity="validation_accuracy")["x"]) == {17, 22}  # 6 x 300 / 110


def test_accuracies_by_hand(trained):
    _, data, fitted, table = trained
    mean = np.mean([np.linalg.norm(x) for x in data.x_train.numpy().astype(float)])
    for split in SPLITS:
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        with torch.no_grad():
            clean = (fitted.net(x).argmax(1) == y).double().mean().item()
        x_adv = pgm(fitted.net, x, None, 0.15 * mean, steps=3, labels="predicted")
        attacked = (fitted.net(x_adv).argmax(1) == y).double().mean().item()
        place = {"suite": "accuracy", "split": split}
        assert only(table, quantity="accuracy", attack="none", **place) == pytest.approx(clean)
        found = only(table, quantity="accuracy", attack="training", **place)
        assert found == pytest.approx(attacked, abs=1.5 / len(x))
        assert only(table, quantity="images", **place) == len(x)
        assert attacked < clean - 0.05  # so the two cannot be mixed up


@pytest.mark.parametrize("split", ["train", "test"])
def test_distributions_are_quantiles_of_what_they_say(trained, split):
    _, data, fitted, table = trained
    net = fitted.net.double()
    try:
        x, y = getattr(data, f"x_{split}").double(), getattr(data, f"y_{split}")
        z = x.clone().requires_grad_()
        logits = net(z)
        loss = nn.functional.cross_entropy(logits, y, reduction="sum")
        slopes = torch.autograd.grad(loss, z)[0].flatten(1).norm(dim=1)
        others = logits.scatter(1, y[:, None], -math.inf).amax(1)
        samples = {
            "margin": logits.gather(1, y[:, None])[:, 0] - others,
            "norm_gain": logits.norm(dim=1) / x.flatten(1).norm(dim=1),
            "gradient_norm": slopes,
        }
    finally:
        net.float()
    for quantity, values in samples.items():
        rows = pick(table, suite="distributions", split=split, attack="none", quantity=quantity)
        assert tuple(rows["x"]) == LEVELS == tuple(np.round(np.linspace(0, 1, 101), 2))
        expected = np.quantile(values.detach().numpy(), LEVELS)
        np.testing.assert_allclose(rows["value"], expected, rtol=1e-3, atol=1e-4)
    attacked = pick(table, split=split, quantity="margin", attack="training")["value"].to_numpy()
    clean = pick(table, split=split, quantity="margin", attack="none")["value"].to_numpy()
    assert len(attacked) == 101 and attacked.mean() < clean.mean() - 0.1


def test_spectrum_against_dense_svd(trained):
    _, _, fitted, table = trained
    spectrum = pick(table, suite="spectrum")
    layers = [(n, m) for n, m in fitted.net.named_modules() if isinstance(m, nn.Linear)]
    assert list(dict.fromkeys(spectrum["split"])) == [name for name, _ in layers]
    for index, (name, layer) in enumerate(layers):
        rows = pick(spectrum, split=name)
        assert set(rows["x"]) == {index}
        sigmas = np.linalg.svd(layer.weight.detach().double().numpy(), compute_uv=False)
        lower, upper = only(rows, quantity="lower"), only(rows, quantity="upper")
        assert lower * (1 - 1e-6) <= sigmas[0] <= upper * (1 + 1e-6) and upper < 1.02 * lower
        assert sigmas[0] <= 1.3 * (1 + 1e-3)  # the budget
        frobenius = math.sqrt((sigmas**2).sum())
        assert only(rows, quantity="frobenius") == pytest.approx(frobenius, rel=1e-4)
        assert only(rows, quantity="inputs") == layer.in_features
        assert only(rows, quantity="outputs") == layer.out_features


def test_a_suite_that_is_not_asked_for_is_not_measured(trained):
    run, data, fitted, _ = trained
    rows = measure(run, fitted, data, {"history", "accuracy"})
    assert set(rows["suite"]) == {"history", "accuracy"}


def test_erm_has_one_accuracy_under_two_names(trained):
    _, data, fitted, _ = trained
    rows = pd.DataFrame(measure(Run(data="digits", net="mlp1"), fitted, data, SUITES))
    for split in SPLITS:
        none, own = (
            only(rows, suite="accuracy", split=split, quantity="accuracy", attack=attack)
            for attack in ("none", "training")
        )
        assert none == own
    assert not len(pick(rows, suite="distributions", attack="training"))


@pytest.mark.parametrize("scheme", ["erm", "fgm", "wrm", "trades"])
def test_a_diverged_net_has_a_history_and_an_accuracy(trained, scheme):
    _, data, _, _ = trained
    run = Run(data="digits", net="mlp1", scheme=scheme, epochs=1)
    net = training.network_of(run, data)
    nn.init.constant_(net.fc1.weight, math.nan)
    history = {key: [math.nan] for key in ("running_accuracy", "validation_accuracy", "loss")}
    history |= {"epoch": [1], "last_batch_accuracy": [0.0], "seconds": [0.0]}
    rows = pd.DataFrame(measure(run, Fitted(net, history, diverged=True), data, SUITES))
    assert set(rows["suite"]) == {"history", "accuracy"}
    share = (data.y_test == 0).double().mean().item()  # of all-NaN logits the first class wins
    assert only(rows, suite="accuracy", quantity="accuracy", split="test", attack="training") == (
        pytest.approx(share)
    )


def test_distributions_take_the_first_images_alone(trained, monkeypatch):
    run, data, fitted, table = trained
    monkeypatch.setattr(measurements, "DISTRIBUTION_IMAGES", 7)
    few = pd.DataFrame(measure(run, fitted, data, {"distributions"}))
    place = {"suite": "distributions", "split": "test", "quantity": "norm_gain"}
    x = data.x_test[:7].double()
    with torch.no_grad():
        gains = fitted.net(data.x_test[:7]).double().norm(dim=1) / x.flatten(1).norm(dim=1)
    np.testing.assert_allclose(
        pick(few, **place)["value"], np.quantile(gains.numpy(), LEVELS), rtol=1e-4
    )
    assert not np.allclose(pick(few, **place)["value"], pick(table, **place)["value"], rtol=1e-3)


def test_quantiles_of_a_known_sample():
    rows = Rows()
    rows.add_quantiles("distributions", "margin", torch.arange(101.0).flip(0), split="test")
    assert rows.columns["value"] == pytest.approx(range(101))
    assert rows.columns["x"] == list(LEVELS) and set(rows.columns["split"]) == {"test"}
    rows.add("accuracy", "accuracy", math.inf)
    assert rows.columns["value"][-1] == math.inf and math.isnan(rows.columns["x"][-1])
