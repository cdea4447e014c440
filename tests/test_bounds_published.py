"""The authors' normalizations of margins: by hand, and by the factors they are off."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from torch import nn

from snlib import bounds
from snlib.errors import UserError

TABLE = pd.DataFrame(
    {
        "layer": ["conv1", "conv2", "fc"],
        "kind": ["conv", "conv", "linear"],
        "lower": [2.0, 3.0, 0.5],
        "upper": [2.1, 3.1, 0.6],
        "frobenius": [9.0, 9.0, 1.5],
        "kernel_frobenius": [1.0, 2.0, 1.5],
        "inputs": [28 * 28 * 3, 13 * 13 * 96, 40],
    }
)


@pytest.mark.parametrize(("mode", "expected"), [(0, 1.0), (1, 3.0), (2, 3.0 * (1 + 1 + 2 + 6))])
def test_modes_by_hand(mode, expected):
    assert 10 ** bounds.published_normalization(TABLE, mode=mode) == pytest.approx(expected)
    correction = math.sqrt(588 / 4 + 4 * 4056 / 9 + 1.5**2 / 0.25)
    found = bounds.published_normalization(TABLE, mode=mode, extra_correction=True)
    assert 10**found == pytest.approx(expected * correction)


def test_what_a_convolution_counts_for():
    hat = bounds.published_frobenius(TABLE) / TABLE["kernel_frobenius"] ** 2
    assert hat.tolist() == pytest.approx([588, 4056, 1])
    # against the bound H W of the true operator: 0.75 and 24
    assert hat[0] / 28**2 == pytest.approx(0.75)
    assert hat[1] / 13**2 == pytest.approx(24)


def test_of_a_net_it_is_that_of_its_table():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    table = bounds.layer_norms(net, (1, 6, 6))
    for mode, correction in bounds.PUBLISHED.values():
        given = {"mode": mode, "extra_correction": correction}
        one = bounds.published_normalization(net, (1, 6, 6), **given)
        assert one == pytest.approx(bounds.published_normalization(table, **given), abs=1e-12)


def test_the_theorem_normalizes_by_more_than_the_figure_does():
    # mode 1 with the true Frobenius norms in place of Fhat is sqrt(Phi) of Theorem 1
    table = TABLE.assign(kind="linear", kernel_frobenius=TABLE["frobenius"], upper=TABLE["lower"])
    figure = bounds.published_normalization(table, mode=1, extra_correction=True)
    assert figure == pytest.approx(bounds.capacity(table).log10_sqrt_phi, abs=1e-12)
    adversarial = bounds.published_normalization(table, mode=2, extra_correction=True)
    theorem = bounds.capacity(table, theorem="fgm", eps=2.43, kappa=0.1)
    assert adversarial < theorem.log10_sqrt_phi


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bounds.published_normalization(TABLE, mode=3), ("mode is 3",)),
        (
            lambda: bounds.published_normalization([(1, 1)], mode=1, extra_correction=True),
            ("column 'kind'",),
        ),
        (lambda: bounds.published_normalization(nn.Linear(2, 2), mode=1), ("in_shape is None",)),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
