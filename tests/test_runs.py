"""A run's settings: their form, their name, and plain refusals of what makes no sense."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snlib import datasets, errors, results, training
from snlib.errors import UserError
from snlib.runs import Run
from snlib.worker import load_data

USED = {  # what the defaults of each scheme depend on, written down independently
    "erm": "",
    "fgm": "norm eps_ratio attack_labels",
    "pgm": "norm eps_ratio attack_labels steps",
    "wrm": "norm wrm_gamma_ratio attack_labels steps",
    "trades": "norm eps_ratio steps trades_weight",
}
OTHER = dict(norm=math.inf, eps_ratio=0.3, wrm_gamma_ratio=0.7, steps=7, trades_weight=2.0)
OTHER |= dict(attack_labels="true")

STANDARD = dict(random_start=True, restarts=4)  # of PGM alone
PROTOCOL = dict(  # of every scheme; `clip` of those that attack
    select="best", schedule="piecewise", temperature=2.0, clip=True
)

runs = st.builds(
    Run.of,
    scheme=st.sampled_from(sorted(USED)),
    beta=st.sampled_from([math.inf, 0.8, 1.3]) | st.floats(0.01, 100),
    eps_ratio=st.floats(0, 3),
    steps=st.integers(1, 30),
    optimizer=st.sampled_from(["sgd", "adam"]),
    train_size=st.none() | st.integers(1, 1000),
    learning_rate=st.floats(1e-6, 10),
    seed=st.integers(0, 2**32 - 1),
)


@given(runs)
def test_settings_round_trip_through_json(run):
    again = Run.from_settings(run.settings())
    assert again == run and again.name == run.name and hash(again) == hash(run)
    assert json.dumps(run.settings())  # only values that JSON knows, infinities aside


@pytest.mark.parametrize("scheme", sorted(USED))
@pytest.mark.parametrize("setting", sorted(OTHER))
def test_a_setting_counts_exactly_where_it_is_used(scheme, setting):
    plain = Run(scheme=scheme)
    if scheme == "wrm" and setting == "norm":
        with pytest.raises(UserError, match="norm 2 only"):
            Run(scheme=scheme, norm=math.inf)
        return
    used = setting in USED[scheme].split()
    assert (getattr(plain, setting) is not None) == used
    changed = {setting: OTHER[setting]}
    if used:
        other = Run(scheme=scheme, **changed)
        assert other.name != plain.name and other != plain == Run(scheme=scheme)
        assert Run.of(scheme=scheme, **changed) == other
        return
    with pytest.raises(UserError, match=f"{setting} is .*scheme '{scheme}' does not use it"):
        Run(scheme=scheme, **changed)
    assert Run.of(scheme=scheme, **changed) == plain  # settings that several schemes share
    assert Run(scheme=scheme, **{setting: None}) == plain  # as a record holds it


@pytest.mark.parametrize("scheme", sorted(USED))
def test_starts_and_boxes_count_for_the_attacks_that_have_them(scheme):
    plain = Run(scheme=scheme)
    if scheme == "pgm":
        assert Run(scheme=scheme, random_start=True).name != plain.name
        assert len({Run(scheme=scheme, random_start=True, restarts=n).name for n in (1, 2)}) == 2
    else:
        for name, value in STANDARD.items():
            with pytest.raises(UserError, match=f"{name} is .*does not use it; leave it out"):
                Run(scheme=scheme, **{name: value})
        assert Run.of(scheme=scheme, **STANDARD) == plain
    if scheme == "erm":
        with pytest.raises(UserError, match="clip is True, but scheme 'erm' does not use it"):
            Run(scheme=scheme, clip=True)
    else:
        assert Run(scheme=scheme, clip=True).name != plain.name


@pytest.mark.parametrize(("setting", "value"), PROTOCOL.items())
def test_later_settings_keep_the_names_of_older_records(setting, value):
    changed = Run(scheme="fgm", **{setting: value})
    assert setting not in Run(scheme="fgm").settings()
    assert changed.settings()[setting] == value and changed.name != Run(scheme="fgm").name
    assert Run.from_settings(changed.settings()) == changed


def test_recorded_runs_have_their_names():
    files = sorted((results.ROOT / "data" / "results" / "records").glob("*.json"))
    assert files
    for file in files:
        settings = results.load_record(file.stem, results.store("recorded"))["settings"]
        assert Run.from_settings(settings).name == file.stem


def test_budget_settings_count_under_a_budget_alone():
    for setting in (
        {"norm_kind": "reshaped"},
        {"tracker": "power"},
        {"sigma_gradient": "detached"},
    ):
        with pytest.raises(UserError, match="but beta inf, which leaves the weights free, does"):
            Run(**setting)
        assert Run.of(**setting) == Run() and Run.of(**setting).name == Run().name
        assert Run.of(beta="inf", **setting) == Run()
        assert Run(beta=1.3, **setting).name != Run(beta=1.3).name


def test_decay_counts_for_the_authors_schedule_alone_and_a_radius_replaces_its_ratio():
    for other in (dict(optimizer="adam"), dict(schedule="piecewise")):
        with pytest.raises(UserError, match=r"decay is 0.5, but"):
            Run(**other, decay=0.5)
        assert Run.of(**other, decay=0.5) == Run(**other)
        assert Run(**other).decay == 1.0
    assert Run(decay=0.5) != Run()
    with pytest.raises(UserError, match=r"eps_ratio is 0.2, but eps 0.1, which replaces it"):
        Run(scheme="fgm", eps=0.1, eps_ratio=0.2)
    assert Run.of(scheme="fgm", eps=0.1, eps_ratio=0.2) == Run(scheme="fgm", eps=0.1)


def test_every_other_setting_changes_the_name():
    changed = dict(
        data="mnist", train_size=10, labels="random", validation="train", net="mlp1", width=0.5,
        beta=1.0, optimizer="adam", learning_rate=0.1, decay=0.9, weight_decay=0.1, batch_size=7,
        epochs=3, stop_accuracy=0.9, augment=True, precision="bfloat16", seed=1, engine=9,
    )  # fmt: skip
    names = [Run().name, *(Run(**{key: value}).name for key, value in changed.items())]
    assert len(set(names)) == len(names) == 19
    untried = {field.name for field in dataclasses.fields(Run)} - set(changed) - set(OTHER)
    assert untried - set(STANDARD) - set(PROTOCOL) == {
        "scheme",
        "eps",
        "norm_kind",
        "tracker",
        "sigma_gradient",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dict(learning_rate=1), dict(learning_rate=1.0)),
        (dict(beta="inf"), dict(beta=math.inf)),
        (dict(scheme="pgm", norm="inf"), dict(scheme="pgm", norm=math.inf)),
        (dict(scheme="pgm", norm=2), dict(scheme="pgm", norm=2.0)),
        (dict(seed=np.int64(3)), dict(seed=3)),
        (dict(beta=np.float64(1.3)), dict(beta=1.3)),
        (dict(stop_accuracy=2, weight_decay=0), dict(stop_accuracy=2.0, weight_decay=0.0)),
        (dict(augment=1, temperature=3), dict(augment=True, temperature=3.0)),
    ],
)
def test_equal_runs_have_equal_names(one, other):
    assert Run(**one) == Run(**other)
    assert Run(**one).name == Run(**other).name


def test_the_name_is_the_documented_hash():
    settings = Run(scheme="fgm", beta=1.3).settings() | {"seed": 2}
    text = json.dumps(dict(sorted(settings.items())))
    assert (
        Run(scheme="fgm", beta=1.3, seed=2).name == hashlib.sha256(text.encode()).hexdigest()[:16]
    )


BAD = [
    (dict(beta=0), "beta", "0", "> 0 or inf"),
    (dict(beta=-1), "beta", "-1", "> 0 or inf"),
    (dict(beta=math.nan), "beta", "nan", "> 0 or inf"),
    (dict(beta="much"), "beta", "much", "> 0 or inf"),
    (dict(scheme="fgm", eps=-0.1), "eps", "-0.1", ">= 0"),
    (dict(scheme="fgm", eps="big"), "eps", "big", ">= 0"),
    (dict(scheme="fgm", eps_ratio=math.nan), "eps_ratio", "nan", ">= 0"),
    (dict(scheme="fgm", norm=3), "norm", "3.0", "2.0, inf, 1.0"),
    (dict(scheme="fgm", norm="two"), "norm", "two", "2.0, inf, 1.0"),
    (dict(scheme="pgm", steps=0), "steps", "0", ">= 1"),
    (dict(scheme="pgm", steps=1.5), "steps", "1.5", ">= 1"),
    (dict(scheme="pgm", steps=None), "steps", "None", "needs it"),
    (dict(scheme="fgm", attack_labels="correct"), "attack_labels", "correct", "predicted, true"),
    (dict(scheme="wrm", wrm_gamma_ratio=0), "wrm_gamma_ratio", "0", "> 0"),
    (dict(scheme="trades", trades_weight=-1), "trades_weight", "-1", ">= 0"),
    (dict(beta=1.3, tracker="powr"), "tracker", "powr", "Did you mean 'power'?"),
    (dict(beta=1.3, norm_kind="miyato"), "norm_kind", "miyato", "operator, reshaped"),
    (dict(scheme="pgn"), "scheme", "pgn", "Did you mean 'pgm'?"),
    (dict(optimizer="sdg"), "optimizer", "sdg", "Did you mean 'sgd'?"),
    (dict(labels="rand"), "labels", "rand", "Did you mean 'random'?"),
    (dict(precision="float16"), "precision", "float16", "bfloat16"),
    (dict(width=0), "width", "0", "> 0"),
    (dict(learning_rate=math.inf), "learning_rate", "inf", "> 0"),
    (dict(decay=0), "decay", "0", "> 0"),
    (dict(batch_size=0), "batch_size", "0", ">= 1"),
    (dict(epochs=2.5), "epochs", "2.5", ">= 1"),
    (dict(train_size=0), "train_size", "0", ">= 1"),
    (dict(seed=-1), "seed", "-1", ">= 0"),
    (dict(net=None), "net", "None", "needs it"),
    (dict(scheme="trades", wrm_gamma_ratio=0.1), "wrm_gamma_ratio", "0.1", "leave it out"),
    (dict(scheme="trades", attack_labels="true"), "attack_labels", "true", "leave it out"),
    (dict(scheme="wrm", norm=math.inf), "norm", "inf", "norm 2 only"),
    (dict(scheme="wrm", norm=1), "norm", "1.0", "norm 2 only"),
    (dict(scheme="wrm", eps=0.1), "eps", "0.1", "leave it out"),
    (dict(scheme="wrm", trades_weight=1), "trades_weight", "1", "leave it out"),
    (dict(scheme="fgm", steps=3), "steps", "3", "leave it out"),
    (dict(norm=1.0), "norm", "1.0", "'erm' does not use it"),
    (dict(scheme="pgm", restarts=2), "restarts", "2", "random_start=True"),
    (dict(scheme="pgm", random_start=True, restarts=0), "restarts", "0", ">= 1"),
    (dict(select="first"), "select", "first", "last, best"),
    (dict(select="best", labels="random"), "select", "random", "select='last'"),
    (dict(schedule="cosine"), "schedule", "cosine", "constant, piecewise"),
    (dict(temperature=0), "temperature", "0", "> 0"),
    (dict(temperature=None), "temperature", "None", "needs it"),
    (dict(augment="yes"), "augment", "yes", "False, True"),
]


@pytest.mark.parametrize(("bad", "name", "value", "allowed"), BAD, ids=lambda part: str(part)[:40])
def test_a_bad_value_gives_one_line(bad, name, value, allowed):
    with pytest.raises(UserError) as refused:
        Run(**bad)
    line = str(refused.value)
    assert "\n" not in line and line.startswith(name) and value in line and allowed in line


def test_a_scheme_with_a_radius_needs_one():
    with pytest.raises(UserError, match="eps and eps_ratio are None for scheme 'fgm'"):
        Run(scheme="fgm", eps_ratio=None)


def test_unknown_network_and_data_suggest_the_nearest():
    digits = datasets.load("digits", train_size=20)
    with pytest.raises(UserError, match=r"'alexnt'.*Did you mean 'alexnet'\?"):
        training.fit(Run(data="digits", net="alexnt"), digits)
    with pytest.raises(UserError, match=r"'digit'.*Did you mean 'digits'\?"):
        load_data(Run(data="digit"))


def test_positive_and_one_of():
    assert errors.positive("beta", "2") == 2.0
    assert errors.positive("eps", 0, zero=True) == 0.0
    assert errors.positive("beta", math.inf, infinite=True) == math.inf
    for value, options in ((0, {}), (math.inf, {}), (-math.inf, {"infinite": True}), (None, {})):
        with pytest.raises(UserError, match=re.escape(repr(value))):
            errors.positive("beta", value, **options)
    assert errors.one_of("norm", 2, (2.0, 1.0)) == 2
    with pytest.raises(UserError) as refused:
        errors.one_of("norm", "zzz", ("a", "b"))
    assert "Did you mean" not in str(refused.value) and "a, b" in str(refused.value)
