"""The benchmark behind claim 16 sees a bound that does not hold."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from snlib.bounds import perturbation

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark_(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import perturbation as script

    return script


def test_the_inequalities_hold_and_are_no_empty_ones(benchmark_: ModuleType) -> None:
    found = benchmark_.measure(seed=7, count=30)
    assert len(found) == 6
    for name, (slack, violations) in found.items():
        assert violations == 0 and 0 < slack < 5, name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("output_change", "a outputs"),
        ("gradient_change", "b gradients"),
        ("fgm_change", "c FGM"),
        ("wrm_change", "d WRM"),
        ("pgm_change", "e PGM"),
    ],
)
def test_a_bound_that_is_too_small_is_seen(
    benchmark_: ModuleType, monkeypatch: pytest.MonkeyPatch, function: str, name: str
) -> None:
    right = getattr(perturbation, function)
    monkeypatch.setattr(perturbation, function, lambda *args: right(*args) / 1e4)
    slack, violations = benchmark_.measure(seed=7, count=30)[name]
    assert slack < 0 and violations > 0


def test_the_nets_are_what_they_say(benchmark_: ModuleType) -> None:
    nets = benchmark_.Nets(3, "tanh", 4, seed=1)
    weights = [weight[2].numpy() for weight in nets.weights]
    x = nets.x[2].numpy()
    expected = weights[2] @ np.tanh(weights[1] @ np.tanh(weights[0] @ x))
    assert nets.logits(nets.weights, nets.x)[2].numpy() == pytest.approx(expected)
    sigma = [np.linalg.norm(weight, 2) for weight in weights]
    assert nets.sigma[2].numpy() == pytest.approx(sigma)
    moved = [np.linalg.norm(m[2].numpy() - w, 2) for m, w in zip(nets.moved, weights, strict=True)]
    assert nets.size[2].numpy() == pytest.approx(moved)
    assert np.linalg.norm(x) <= benchmark_.RADIUS
