"""The suite `standard`: every net at the right radius, aimed as each name says.

The oracle is a linear net of two classes. There the nearest point of the other class is at distance
|margin| / ||w_0 - w_1||, PGM goes straight to it, and accuracies under attack can be counted.
"""

import math

import pandas as pd
import pytest
import torch
from torch import nn

from snlib.checkpoints import Fitted
from snlib.datasets import Data
from snlib.experiments import BASE, experiment
from snlib.measurements import measure
from snlib.robustness import evaluation_radius
from snlib.runs import Run


@pytest.fixture(scope="module")
def data() -> Data:
    """Three splits of two classes in the plane, 60 images of 1x1x2 each; mean norm as if 10."""
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for split in ("train", "validation", "test"):
        x = 2 * torch.randn(60, 1, 1, 2, generator=generator)
        noise = torch.randn(60, generator=generator)
        splits[f"x_{split}"], splits[f"y_{split}"] = x, (x[:, 0, 0, 0] + noise > 0).long()
    return Data("digits", "points", 2, ("left", "right"), **splits, mean_norm=10.0)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-0.6, 0.3], [0.6, -0.3]]))
        net[1].bias.copy_(torch.tensor([0.1, -0.1]))
    return net


def rows_of(run: Run, data: Data, net: nn.Module, suite: str) -> pd.DataFrame:
    rows = pd.DataFrame(measure(run, Fitted(net), data, {suite}))
    return rows[rows["suite"] == suite]


def counted(data: Data, split: str, eps: float, labels: str, norm: float = 2) -> float:
    """Accuracy of the net above under any attack of radius eps, counted in float64."""
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    w, b = torch.tensor([1.2, -0.6], dtype=torch.float64), -0.2
    side = x.double().reshape(-1, 2) @ w + b
    distance = side.abs() / (w.norm() if norm == 2 else w.abs().sum())
    right, moved = (side > 0) == (y == 1), distance < eps
    survives = right & ~moved
    if labels == "predicted":  # a wrong image is pushed away from its wrong class
        survives = survives | (~right & moved)
    return float(survives.double().mean())


@pytest.mark.parametrize("scheme", ["erm", "fgm", "pgm", "wrm", "trades"])
def test_every_net_is_attacked_at_the_same_radius_on_every_split(scheme, data, net) -> None:
    run = Run.of(**{**BASE["quick"], "scheme": scheme})
    rows = rows_of(run, data, net, "standard")
    assert len(rows) == 9 and not rows.duplicated(["split", "attack"]).any()
    assert set(rows["quantity"]) == {"accuracy"} and (rows["x"] - 1.5).abs().max() < 1e-12
    for row in rows.itertuples():
        labels = "predicted" if row.attack == "pgm15_predicted" else "true"
        assert row.value == pytest.approx(counted(data, row.split, 1.5, labels)), row.attack


def test_predicted_labels_flatter_in_this_example(data, net) -> None:
    run = Run.of(**{**BASE["quick"], "scheme": "erm"})
    value = rows_of(run, data, net, "standard").set_index(["split", "attack"])["value"]
    assert value["test", "pgm15_predicted"] > value["test", "pgm15_true"]


def test_a_net_with_a_radius_of_its_own_is_attacked_there_and_in_its_norm(data, net) -> None:
    settings = {**BASE["quick"], "scheme": "pgm"}
    assert evaluation_radius(Run.of(**{**settings, "eps_ratio": 0.02}), data) == 0.2
    run = Run.of(**{**settings, "norm": math.inf, "eps": 0.4})
    rows = rows_of(run, data, net, "standard")
    assert set(rows["x"]) == {0.4}
    test = rows[rows["split"] == "test"].set_index("attack")["value"]
    assert test["pgm15_log_odds"] == pytest.approx(counted(data, "test", 0.4, "true", math.inf))


def test_saturated_logits_hide_a_net_from_cross_entropy_only(data, net) -> None:
    big = nn.Sequential(*net, _Scale(1e4))
    run = Run.of(**{**BASE["quick"], "scheme": "erm"})
    value = rows_of(run, data, big, "standard").set_index(["split", "attack"])["value"]
    for split in ("train", "validation", "test"):
        sound = counted(data, split, 1.5, "true")
        assert value[split, "pgm15_log_odds"] == pytest.approx(sound)
        assert value[split, "pgm15_true"] > sound + 0.1


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return self.factor * logits


def test_its_runs_are_those_of_the_gap() -> None:
    for scale in ("quick", "laptop", "paper"):
        runs = experiment("protocols").at(scale)
        assert set(runs) <= set(experiment("gap").at(scale))
        assert {(run.scheme, run.beta) for run in runs} == {
            (scheme, beta) for scheme in ("erm", "fgm", "pgm", "wrm") for beta in (math.inf, 1.6)
        }
