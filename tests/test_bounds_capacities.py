"""Capacities: by hand, against known sizes, monotone in every argument, never overflowing."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snlib import bounds
from snlib.errors import UserError

PAIRS = [(2.0, 2.5), (3.0, 4.0)]  # P 6, S 2 + 6 = 8, Lip 48
RATIO = 2.5**2 / 4 + 16 / 9
TABLE = pd.DataFrame(
    {"layer": ["a", "b"], "upper": [2.0, 3.0], "frobenius": [2.5, 4.0], "norm21": [4.0, 9.0]}
)


def phi(theorem: str, layers=None, **settings) -> float:
    layers = PAIRS if layers is None else layers
    return 10 ** bounds.capacity(layers, theorem=theorem, **settings).log10_phi


@pytest.mark.parametrize(
    ("theorem", "arguments", "bracket"),
    [
        ("erm", {}, 1),
        ("neyshabur2018", {}, 1),
        ("xiao2023", {"eps": 0.5}, 1),
        ("fgm", {"eps": 0.5, "kappa": 2.0}, 1 + 0.25 * 48),
        ("fgm", {"eps": 0.0, "kappa": 2.0}, 1),
        ("pgm", {"step_size": 0.1, "steps": 2, "kappa": 2.0}, 1 + 2.4 * (1 + 4.8)),
        ("pgm", {"eps": 0.1, "steps": 2, "kappa": 2.0}, 1 + 2.4 * (1 + 4.8)),
        ("pgm", {"step_size": 0.1, "steps": 2, "kappa": 2.0, "form": "rigorous"}, 3.4**2),
        ("pgm", {"step_size": 0.0, "steps": 3, "kappa": 2.0}, 1),
        ("wrm", {"wrm_lambda": 50.0}, 25),
        ("wrm", {"wrm_gamma": 25.0}, 25),
        ("wrm", {"wrm_gamma": 36.0}, 72 / 24),
        ("fgm", {"eps": 0.5, "kappa": 2.0, "loss": "cross_entropy"}, 1 + 0.25 * math.sqrt(2) * 48),
        ("wrm", {"wrm_lambda": 50.0 * math.sqrt(2), "loss": "cross_entropy"}, 25),
    ],
)
def test_two_layers_by_hand(theorem, arguments, bracket):
    capacity = bounds.capacity(PAIRS, theorem=theorem, **arguments)
    assert 10**capacity.log10_bracket == pytest.approx(bracket, rel=1e-12)
    assert 10**capacity.log10_phi == pytest.approx((6 * bracket) ** 2 * RATIO, rel=1e-12)
    assert 10**capacity.log10_sqrt_phi == pytest.approx(6 * bracket * RATIO**0.5, rel=1e-12)
    assert (capacity.log10_lip, capacity.depth) == (pytest.approx(math.log10(48)), 2)


def test_bartlett_and_the_residual_form_by_hand():
    assert phi("bartlett2017", TABLE) == pytest.approx(36 * (2 ** (2 / 3) + 3 ** (2 / 3)) ** 3)
    residual = 12**2 * (2.5**2 / 9 + 4**2 / 16)
    assert phi("xiao2023", eps=1.0, residual=True) == pytest.approx(residual)


# Sizes worked out independently, to two digits: d = 5, all s_i = beta, 15 steps of size .324.
SIZES = [
    (1.0, 1, 5, 5, (123, 406), (22, 30)),
    (1.3, 3.7, 11.8, 43.6, (1.1e3, 3.5e3), (37, 44)),
    (1.6, 10.5, 25.3, 265, (6.5e3, 2.2e4), (48, 56)),
    (4.0, 1024, 1364, 1.4e6, (3.4e7, 1.1e8), (104, 112)),
]


@pytest.mark.parametrize(("beta", "product", "total", "lip", "fgm", "pgm"), SIZES)
def test_published_sizes(beta, product, total, lip, fgm, pgm):
    layers = [(beta, beta)] * 5
    for kappa, linear, logarithm in zip((0.1, 0.03), fgm, pgm, strict=True):
        first = bounds.capacity(layers, theorem="fgm", eps=0.324 * 7.5, kappa=kappa)
        second = bounds.capacity(layers, theorem="pgm", step_size=0.324, kappa=kappa)
        assert 10**first.log10_bracket == pytest.approx(linear, rel=0.04)  # two digits printed
        assert second.log10_bracket == pytest.approx(logarithm, abs=0.6)  # no decimals printed
    assert 10**first.log10_product == pytest.approx(product, rel=0.01)
    assert 10**first.log10_sum == pytest.approx(total, rel=0.004)
    assert 10**first.log10_lip == pytest.approx(lip, rel=0.02)
    for penalty in (0.1946, 0.737):
        capacity = bounds.capacity(layers, theorem="wrm", wrm_lambda=penalty)
        assert not capacity.defined and "Lip < lambda" in capacity.refuted


def test_wrm_is_defined_for_the_budgets_that_two_layers_allow():
    # P S = beta^3 (1 + beta) of a net with two weight matrices
    for beta, penalty in ((0.5, 0.1946), (0.74, 0.737)):
        assert bounds.capacity([(beta, 1.0)] * 2, theorem="wrm", wrm_lambda=penalty).defined
        wider = [(beta + 0.02, 1.0)] * 2
        assert not bounds.capacity(wider, theorem="wrm", wrm_lambda=penalty).defined


def test_the_trap_of_the_factor_two():
    by_gamma = bounds.capacity(PAIRS, theorem="wrm", wrm_gamma=30.0)
    by_lambda = bounds.capacity(PAIRS, theorem="wrm", wrm_lambda=60.0)
    assert by_gamma.log10_phi == by_lambda.log10_phi
    assert by_gamma.settings == {"wrm_lambda": 60.0, "wrm_gamma": 30.0}
    # 24 < 48 = Lip < 48.2: the same number read as gamma holds, as lambda it fails.
    assert bounds.capacity(PAIRS, theorem="wrm", wrm_gamma=24.1).defined
    assert not bounds.capacity(PAIRS, theorem="wrm", wrm_lambda=24.1).defined


def test_both_forms_of_pgm_meet_at_rho_one_and_cross_there():
    def bracket(step_size, form):
        arguments = {"step_size": step_size, "kappa": 1.0, "form": form}
        return bounds.capacity([(1.0, 1.0)], theorem="pgm", **arguments).log10_bracket

    assert bracket(1.0, "paper") == pytest.approx(15 * math.log10(2), rel=1e-12)
    assert bracket(1.0, "rigorous") == pytest.approx(15 * math.log10(2), rel=1e-12)
    assert bracket(0.5, "paper") < bracket(0.5, "rigorous")
    assert bracket(2.0, "paper") > bracket(2.0, "rigorous")
    refuted = bounds.capacity([(1.0, 1.0)], theorem="pgm", step_size=0.5, kappa=1.0).refuted
    assert any("rho >= 1" in premise for premise in refuted)


def test_rigorous_pgm_tends_to_the_exponential():
    arguments = {"eps": 0.3, "kappa": 1.0, "steps": 10**5, "form": "rigorous"}
    capacity = bounds.capacity([(1.0, 1.0)], theorem="pgm", **arguments)
    assert 10**capacity.log10_bracket == pytest.approx(math.exp(0.6), rel=1e-4)


@pytest.mark.filterwarnings("error")
def test_nothing_overflows_at_ten_to_the_110_and_far_beyond():
    layers = [(1e300, 1e301)] * 200
    for form in bounds.FORMS:
        arguments = {"eps": 2.4, "kappa": 1e-9, "form": form}
        capacity = bounds.capacity(layers, theorem="pgm", **arguments)
        assert 1e6 < capacity.log10_phi < math.inf
    arguments = {"margin": 1.0, "samples": 50_000, "input_norm": 50.0, "width": 10}
    whole = bounds.generalization(capacity, **arguments)
    assert whole.vacuous and whole.bound == math.inf and math.isfinite(whole.log10_gap)
    tiny = bounds.capacity([(1e-300, 1e-300)] * 200, theorem="fgm", eps=1.0, kappa=1.0)
    assert tiny.log10_phi == pytest.approx(-119_998 + 2.3 - 2, abs=1)
    assert bounds.capacity([(4.0, 4.0)] * 5, theorem="pgm", eps=2.43, kappa=0.03).log10_phi > 200


CALLS = {
    "erm": {},
    "fgm": {"eps": 0.4, "kappa": 0.3},
    "pgm": {"step_size": 0.05, "kappa": 0.3, "steps": 7},
    "pgm rigorous": {"step_size": 0.05, "kappa": 0.3, "steps": 7, "form": "rigorous"},
    "wrm": {"wrm_lambda": 1e7},
    "bartlett2017": {},
}
norms = st.floats(0.2, 4.0)


def log_phi(call: str, sigma, frobenius, **changed) -> float:
    table = pd.DataFrame({"upper": sigma, "frobenius": frobenius, "norm21": frobenius})
    arguments = CALLS[call] | changed
    return bounds.capacity(table, theorem=call.split()[0], **arguments).log10_phi


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=25, deadline=None)
@given(
    data=st.lists(st.tuples(norms, st.floats(1.0, 3.0)), min_size=1, max_size=5),
    which=st.integers(0, 4),
    growth=st.floats(1.0, 1.5),
)
def test_phi_grows_with_every_norm(call, data, which, growth):
    sigma = [norm for norm, _ in data]
    frobenius = [norm * ratio for norm, ratio in data]
    before, which = log_phi(call, sigma, frobenius), which % len(data)
    wider = [norm * (growth if i == which else 1) for i, norm in enumerate(sigma)]
    heavier = [norm * (growth if i == which else 1) for i, norm in enumerate(frobenius)]
    assert log_phi(call, wider, frobenius) >= before - 1e-9
    assert log_phi(call, sigma, heavier) >= before - 1e-9


@pytest.mark.parametrize(
    ("call", "argument", "sign"),
    [
        ("fgm", "eps", 1),
        ("fgm", "kappa", -1),
        ("pgm", "step_size", 1),
        ("pgm", "kappa", -1),
        ("pgm rigorous", "step_size", 1),
        ("pgm rigorous", "kappa", -1),
        ("wrm", "wrm_lambda", -1),
    ],
)
@settings(max_examples=25, deadline=None)
@given(sigma=st.lists(norms, min_size=1, max_size=5), growth=st.floats(1.001, 3.0))
def test_phi_is_strictly_monotone_in_every_argument(call, argument, sign, sigma, growth):
    larger = CALLS[call][argument] * growth
    before, after = log_phi(call, sigma, sigma), log_phi(call, sigma, sigma, **{argument: larger})
    assert (after - before) * sign >= 0
    if call != "wrm":  # its lambda is so large that the change may round to nothing
        assert after != before


@settings(max_examples=25, deadline=None)
@given(sigma=st.lists(norms, min_size=1, max_size=5), steps=st.integers(1, 40))
def test_pgm_grows_with_its_steps_and_starts_at_fgm(sigma, steps):
    for call in ("pgm", "pgm rigorous"):
        more = log_phi(call, sigma, sigma, steps=steps + 1)
        assert more > log_phi(call, sigma, sigma, steps=steps)
        first = log_phi(call, sigma, sigma, steps=1)
        assert first == pytest.approx(log_phi("fgm", sigma, sigma, eps=0.05), abs=1e-9)


def test_every_adversarial_capacity_tends_to_that_of_erm():
    erm = phi("erm")
    assert phi("fgm", eps=1e-12, kappa=1.0) == pytest.approx(erm)
    assert phi("pgm", eps=1e-12, kappa=1.0, form="rigorous") == pytest.approx(erm)
    assert phi("wrm", wrm_gamma=1e12) == pytest.approx(erm)


def test_a_net_and_its_recorded_table_give_the_same_capacity():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ELU(), nn.Flatten(), nn.Linear(8, 3))
    table = bounds.layer_norms(net, (1, 6, 6))
    recorded = pd.read_csv(pd.io.common.StringIO(table.to_csv(index=False)))
    for theorem in bounds.THEOREMS:
        arguments = {"theorem": theorem, "eps": 0.1, "kappa": 0.1, "wrm_gamma": 1e3}
        one = bounds.capacity(net, (1, 6, 6), **arguments)
        other = bounds.capacity(recorded, **arguments)
        assert one.log10_phi == pytest.approx(other.log10_phi, abs=1e-9)
    lower = bounds.capacity(recorded, sigma="lower").log10_phi
    assert lower <= bounds.capacity(recorded, sigma="upper").log10_phi


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: phi("fmg", eps=1, kappa=1), ("theorem is 'fmg'", "Did you mean 'fgm'")),
        (lambda: phi("fgm", eps=-1.0, kappa=1), ("eps is -1.0", ">= 0")),
        (lambda: phi("fgm", eps=math.nan, kappa=1), ("eps is nan",)),
        (lambda: phi("fgm", kappa=1), ("eps is None", "needs it")),
        (lambda: phi("fgm", eps=1, kappa=0), ("kappa is 0", "> 0")),
        (lambda: phi("pgm", eps=1, kappa=-0.5), ("kappa is -0.5", "> 0")),
        (lambda: phi("pgm", eps=1), ("kappa is None",)),
        (lambda: phi("pgm", eps=1, kappa=1, steps=0), ("steps is 0",)),
        (lambda: phi("pgm", eps=1, kappa=1, form="exact"), ("form is 'exact'", "rigorous")),
        (lambda: phi("wrm"), ("wrm_gamma is None", "exactly one")),
        (lambda: phi("wrm", wrm_gamma=1, wrm_lambda=2), ("exactly one",)),
        (lambda: phi("wrm", wrm_gamma=0), ("wrm_gamma is 0",)),
        (lambda: phi("xiao2023", eps=-1), ("eps is -1",)),
        (lambda: phi("bartlett2017"), ("norm21",)),
        (lambda: phi("erm", [(1.0, 0.0)]), ("frobenius norm of layer 0 is 0.0",)),
        (lambda: phi("erm", [(math.nan, 1.0)]), ("sigma of layer 0 is nan",)),
        (lambda: phi("erm", []), ("at least one layer",)),
        (lambda: phi("erm", [1.0, 2.0]), ("(sigma, frobenius)",)),
        (lambda: phi("erm", TABLE, sigma="lower"), ("lacks 'lower'",)),
        (lambda: phi("erm", TABLE, sigma="middle"), ("sigma is 'middle'",)),
        (lambda: phi("erm", nn.Linear(2, 2)), ("in_shape is None",)),
        (lambda: phi("erm", TABLE, loss="hinge"), ("loss is 'hinge'",)),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
