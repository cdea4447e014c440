"""Suite `bounds`: what the theorems need of the training images, by hand in float64."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from snlib import datasets, training
from snlib.attacks import pgm, wrm
from snlib.experiments import experiment
from snlib.measurements import KAPPA_LEVELS, MARGIN_LEVELS, measure
from snlib.runs import Run

SMALL = dict(data="digits", train_size=90, net="mlp1", width=0.05, batch_size=30, epochs=12)
SCHEMES = {
    "erm": {},
    "pgm": dict(eps_ratio=0.15, steps=3),
    "wrm": dict(wrm_gamma_ratio=0.25, steps=3),
}


@pytest.fixture(scope="module", params=SCHEMES)
def trained(request):
    """The data, a trained net, its attacked training images, and the suite's rows."""
    data = datasets.load("digits", train_size=90)
    run = Run(**SMALL, learning_rate=0.05, scheme=request.param, **SCHEMES[request.param])
    fitted = training.fit(run, data)
    rows = pd.DataFrame(measure(run, fitted, data, {"bounds"}))
    x, mean = data.x_train, data.mean_norm
    attacked = {
        "erm": lambda: None,
        "pgm": lambda: pgm(fitted.net, x, None, 0.15 * mean, steps=3, labels="predicted"),
        "wrm": lambda: wrm(fitted.net, x, None, eps=1 / (0.5 * mean), steps=3, labels="predicted"),
    }[request.param]()
    return request.param, data, fitted.net, attacked, rows[rows["suite"] == "bounds"]


def by_hand(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Norms of the loss's input gradients and margins, (N,) each, in float64."""
    net = net.double()
    try:
        z = x.double().clone().requires_grad_()
        logits = net(z)
        loss = nn.functional.cross_entropy(logits, y, reduction="sum")
        slopes = torch.autograd.grad(loss, z)[0].flatten(1).norm(dim=1)
    finally:
        net.float()
    others = logits.scatter(1, y[:, None], -math.inf).amax(1)
    return slopes.numpy(), (logits.gather(1, y[:, None])[:, 0] - others).detach().numpy()


def quantiles(rows: pd.DataFrame, quantity: str, attack: str) -> pd.Series:
    chosen = rows[(rows["quantity"] == quantity) & (rows["attack"] == attack)]
    return chosen.set_index("x")["value"]


def test_the_largest_norm_and_the_size_of_the_attack(trained):
    scheme, data, _, _, rows = trained
    assert set(rows["split"]) == {"train"}
    values = rows.set_index("quantity")["value"]
    norms = np.linalg.norm(data.x_train.flatten(1).numpy().astype(float), axis=1)
    assert values["input_norm"] == pytest.approx(norms.max())
    expected = {"erm": 0, "pgm": 0.15 * norms.mean(), "wrm": 1 / (0.5 * norms.mean())}
    assert values["attack_size"] == pytest.approx(expected[scheme])


def test_gradients_and_margins_at_clean_and_attacked_images(trained):
    scheme, data, net, attacked, rows = trained
    points = {"none": data.x_train} | ({} if scheme == "erm" else {"training": attacked})
    for name, x in points.items():
        slopes, margins = by_hand(net, x, data.y_train)
        found = quantiles(rows, "gradient_norm", name)
        assert tuple(found.index) == KAPPA_LEVELS and found.index[0] == 0
        np.testing.assert_allclose(found, np.quantile(slopes, KAPPA_LEVELS), rtol=1e-3, atol=1e-5)
    found = quantiles(rows, "margin", "training")  # of ERM: clean, under the same name
    assert tuple(found.index) == MARGIN_LEVELS
    np.testing.assert_allclose(found, np.quantile(margins, MARGIN_LEVELS), rtol=1e-3, atol=1e-4)
    assert ("training" in set(rows.loc[rows["quantity"] == "gradient_norm", "attack"])) == (
        scheme != "erm"
    )


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])
def test_the_grid_varies_more_than_the_budget(scale):
    runs = experiment("bounds").at(scale)
    assert set(experiment("gap").at(scale)) <= set(runs)  # these cost nothing
    mlps = [run for run in runs if run.net.startswith("mlp") and run.seed == 0]
    for scheme, labels in (("erm", ("true", "random")), ("fgm", ("true",))):
        own = [run for run in mlps if run.scheme == scheme]
        axes = [{getattr(run, key) for run in own} for key in ("net", "width", "train_size")]
        assert [len(axis) for axis in axes] == [2, 2, 2]
        assert {run.labels for run in own} == set(labels)
        places = {(r.net, r.width, r.train_size, r.beta, r.labels) for r in own}
        assert len(places) == len(own) == 8 * 2 * len(labels)  # all combinations, each once
        assert max(axes[1]) == 4 * min(axes[1])
        assert max(axes[2]) == 4 * min(axes[2])


def test_wrm_has_budgets_within_the_premise_of_theorem_4():
    # lambda = 2 gamma; cross-entropy is sqrt(2)-Lipschitz; MLP1 has P S = beta^3 (1 + beta)
    mean_norms = {"quick": 3.89, "laptop": 48.65, "paper": 48.65}  # 48.654: FACTS, C2 of CIFAR-10
    for scale, mean_norm in mean_norms.items():
        runs = [run for run in experiment("bounds").at(scale) if run.scheme == "wrm"]
        runs = [run for run in runs if run.net == "mlp1"]
        least = min(run.beta for run in runs)
        penalty = 2 * runs[0].wrm_gamma_ratio * mean_norm / math.sqrt(2)
        assert least**3 * (1 + least) < penalty
        assert any(math.isinf(run.beta) for run in runs)
        assert penalty < 1.0**3 * (1 + 1.0)  # and one budget at which it fails
