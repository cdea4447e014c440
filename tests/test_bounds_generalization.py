"""The whole bound, the premises of the theorems, and the table of norms they rest on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snlib import bounds, spectral
from snlib.errors import UserError
from snlib.models.layers import SameConv2d

PAIRS = [(2.0, 2.5), (3.0, 4.0)]  # P 6, S 8, Lip 48
RATIO = 2.5**2 / 4 + 16 / 9


def holds(capacity: bounds.Capacity, words: str):
    rows = capacity.premises[capacity.premises["premise"].str.contains(words, regex=False)]
    assert len(rows) == 1
    return rows["holds"].iloc[0]


def test_premises_tell_what_the_net_is():
    elu = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ELU(), nn.Linear(5, 3, bias=False))
    biased = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ELU(), nn.MaxPool2d(2), nn.Flatten())
    arguments = {"theorem": "fgm", "eps": 0.1, "kappa": 0.1}
    found = []
    for net, shape in ((elu, (6,)), (biased, (6,)), (pooled, (1, 6, 6))):
        capacity = bounds.capacity(net, shape, **arguments)
        found.append([holds(capacity, words) for words in ("biases", "a chain", "1-smooth with")])
        assert holds(capacity, "kappa") is None and capacity.defined
    assert found == [[True, True, True], [False, True, False], [False, False, False]]
    unknown = bounds.capacity(PAIRS, **arguments)
    assert [holds(unknown, words) for words in ("biases", "a chain")] == [None, None]


def test_the_whole_bound_by_hand():
    erm = bounds.capacity(PAIRS)
    known = {"margin": 0.7, "samples": 900, "input_norm": 3.0, "width": 11}
    size = 36 * RATIO
    order = math.sqrt(
        (9 * 4 * 11 * math.log(22) * size + math.log(2 * 900 / 0.05)) / (0.7**2 * 900)
    )
    found = bounds.generalization(erm, risk=0.25, **known)
    assert found.bound == pytest.approx(0.25 + order)
    kl = (42 * math.e * 2 * 3) ** 2 * 11 * math.log(4 * 11 * 2) * size / (2 * 0.7**2)
    explicit = 4 * math.sqrt((kl + math.log(6 * 900 * 2 * 900**0.25 / 0.05)) / 899)
    found = bounds.generalization(erm, constants="explicit", **known)
    assert found.bound == pytest.approx(explicit)
    # R = B + P / lambda for wrm, B + eps for fgm, the l_inf factor sqrt(n) for xiao2023
    wrm = bounds.capacity(PAIRS, theorem="wrm", wrm_lambda=60.0)
    fgm = bounds.capacity(PAIRS, theorem="fgm", eps=0.5, kappa=1.0)
    xiao = bounds.capacity(PAIRS, theorem="xiao2023", eps=0.5)
    assert 10 ** bounds.generalization(wrm, **known).log10_radius == pytest.approx(3.1)
    assert 10 ** bounds.generalization(fgm, **known).log10_radius == pytest.approx(3.5)
    wide = bounds.generalization(xiao, norm=math.inf, input_size=16, **known)
    assert 10**wide.log10_radius == pytest.approx(5.0)


def test_an_undefined_capacity_stays_undefined():
    wrm = bounds.capacity(PAIRS, theorem="wrm", wrm_lambda=48.0)
    known = {"margin": 0.7, "samples": 900, "input_norm": 3.0, "width": 11}
    whole = bounds.generalization(wrm, **known)
    assert math.isnan(whole.log10_gap) and whole.vacuous and not wrm.defined


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 5), st.floats(1.01, 3), st.sampled_from(["order", "explicit"]))
def test_the_bound_shrinks_with_margin_and_samples_and_grows_with_the_rest(margin, up, constants):
    def gap(**changed):
        known = {"margin": margin, "samples": 1000, "input_norm": 5.0, "width": 20}
        return bounds.generalization(capacity, constants=constants, **(known | changed)).log10_gap

    capacity = bounds.capacity(PAIRS, theorem="xiao2023", eps=0.4)
    assert gap(margin=margin * up) < gap()
    assert gap(samples=int(1000 * up)) < gap()
    assert gap(input_norm=5 * up) > gap()
    assert gap(width=int(20 * up + 1)) > gap()
    assert gap(eta=0.05 / up) > gap()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"margin": 0.0}, "margin is 0.0"),
        ({"samples": 1}, "samples is 1"),
        ({"width": 2.5}, "width is 2.5"),
        ({"input_norm": -1.0}, "input_norm is -1.0"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"risk": 1.5}, "risk is 1.5"),
        ({"norm": math.inf}, "input_size is None"),
        ({"norm": 0.5}, "norm is 0.5"),
        ({"constants": "explicit"}, "not for 'fgm'"),
    ],
)
def test_bad_input_to_the_whole_bound_is_refused_in_one_line(changed, words):
    known = {"margin": 0.7, "samples": 900, "input_norm": 3.0, "width": 11}
    capacity = bounds.capacity(PAIRS, theorem="fgm", eps=1.0, kappa=1.0)
    with pytest.raises(UserError) as caught:
        bounds.generalization(capacity, **(known | changed))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_layer_norms_are_those_of_the_dense_matrices():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        SameConv2d(4, 3, 3, 2, size=(7, 7)),
        nn.Conv2d(3, 3, 3, padding=2, padding_mode="reflect", dilation=2),
        nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"),
        nn.Flatten(),
        nn.Linear(32, 5, bias=False),
    ).double()
    spectral.constrain(net, 0.7, (2, 7, 7))
    table = bounds.layer_norms(net, (2, 7, 7)).set_index("layer")
    for name, layer, shape in spectral.layers(net, (2, 7, 7)):
        dense, row = spectral.dense_matrix(layer, shape), table.loc[name]
        assert row["norm21"] == pytest.approx(float(dense.norm(dim=1).sum()), rel=1e-9)
        assert row["frobenius"] == pytest.approx(float(dense.norm()), rel=1e-6)
        assert (row["outputs"], row["inputs"]) == tuple(dense.shape)
        assert row["kernel_frobenius"] == pytest.approx(float(layer.weight.detach().norm()))
    assert table["bias"].tolist() == [True] * 4 + [False]
    assert table["kind"].tolist() == ["conv"] * 4 + ["linear"]
