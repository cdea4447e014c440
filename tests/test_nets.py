"""Kept nets: what is measured of one is what was measured of it when it was trained."""

from __future__ import annotations

import json
import math
import time

import pytest
import threads
import torch
from hostile import Hostile
from tiny_experiment import TINY as EXPERIMENT
from tiny_experiment import start

from snlib import experiments, nets, provenance, runner, tables, tidy, training, worker
from snlib.errors import UserError
from snlib.results import Store, load_record
from snlib.runs import Run

SMALL = dict(data="digits", train_size=100, net="mlp1", width=0.05, batch_size=50, epochs=3)
SMALL |= dict(learning_rate=0.05, eps_ratio=0.15, wrm_gamma_ratio=0.25, steps=3)
SUITES = frozenset({"accuracy", "distributions", "spectrum"})

KINDS = [
    dict(scheme="fgm", beta=1.3),
    dict(scheme="wrm", beta=math.inf),
    dict(scheme="pgm", beta=1.0, tracker="power", net="elu_alexnet"),
    dict(scheme="fgm", net="alexnet_dropout"),  # masks that go on where they were
    dict(scheme="erm", net="alexnet_bn"),
    dict(scheme="pgm", beta=1.3, select="best", validation="train"),
    dict(scheme="fgm", temperature=2.0),
    dict(scheme="fgm", learning_rate=1e30),  # diverges
]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def as_a_worker():
    with threads.one_thread():
        yield


def no_training(*_, **__):
    raise AssertionError("a kept net was trained again")


def without_times(record: dict) -> dict:
    rows = record["rows"]
    kept = [index for index, name in enumerate(rows["quantity"]) if "seconds" not in name]
    return {name: [column[index] for index in kept] for name, column in rows.items()}


@pytest.mark.parametrize("change", KINDS, ids=lambda change: "-".join(map(str, change.values())))
def test_a_kept_net_is_measured_as_if_it_had_just_been_trained(store, monkeypatch, change):
    run = Run.of(**SMALL | change)
    ended = worker.work(run, SUITES | {"history"}, store)  # nothing kept: everything at once
    expected, path = load_record(run.name, store), store.record_path(run.name)
    assert not store.net_path(run.name).exists()
    path.unlink()

    assert worker.work(run, frozenset({"history"}), store, keep_net=True) == ended
    assert set(load_record(run.name, store)["rows"]["suite"]) <= {"history", "accuracy"}
    monkeypatch.setattr(training, "fit", no_training)
    assert worker.work(run, SUITES, store) == ended
    found = load_record(run.name, store)
    assert without_times(found) == without_times(expected)
    for key in ("suites", "epochs", "diverged", "parameters", "eps"):
        assert found[key] == expected[key]
    assert set(found["provenance"]["trained"]) == set(provenance.MADE)
    assert "trained" not in expected["provenance"]


def test_the_trained_net_is_at_hand(store):
    run = Run.of(**SMALL, scheme="fgm", beta=1.3)
    data = training.data_of(run)
    fitted = training.fit(run, data)
    nets.keep(store.net_path(run.name), run, fitted, dict.fromkeys(provenance.MADE, "then"))
    net = nets.trained(run, store)
    assert not net.training and torch.equal(net(data.x_test), fitted.net(data.x_test))
    found, about = nets.load(store.net_path(run.name), run, data)
    assert json.dumps(found.history) == json.dumps(fitted.history)  # with its NaN
    assert about["commit"] == "then"
    assert [path.name for path in store.root.rglob("*.*")] == [f"{run.name}.pt"]


@pytest.mark.parametrize("name", ["to", "load_state_dict"])
def test_a_full_device_is_not_the_fault_of_the_file(store, monkeypatch, name):
    def burst(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate")

    run = Run.of(**SMALL | {"epochs": 1}, scheme="erm")
    worker.work(run, frozenset({"history"}), store, keep_net=True)
    monkeypatch.setattr(torch.nn.Module, name, burst)
    with pytest.raises(UserError, match=r"^out of memory on cpu: take a larger device") as told:
        nets.load(store.net_path(run.name), run, training.data_of(run))
    assert "delete" not in str(told.value)


def test_no_net_of_that_run(store):
    run = Run.of(**SMALL, scheme="fgm", beta=1.3)
    with pytest.raises(UserError, match=rf"run is {run.name} .*fgm, beta 1\.3.*--keep-nets"):
        nets.trained(run, store)


def test_how_long_training_takes_is_not_asked_of_a_kept_net(store, monkeypatch):
    run = Run.of(**SMALL, scheme="erm")
    worker.work(run, frozenset({"history"}), store, keep_net=True)
    monkeypatch.setattr(training, "fit", no_training)
    with pytest.raises(AssertionError, match="trained again"):
        worker.work(run, frozenset({"runtime"}), store)


@pytest.mark.parametrize("kind", ["truncated", "text", "hostile", "shapeless", "another run's"])
def test_a_bad_file_ends_no_other_run(store, tmp_path, kind):
    runs = [Run.of(**SMALL, scheme="erm", seed=seed) for seed in (0, 1)]
    for run in runs:
        worker.work(run, frozenset({"history"}), store, keep_net=True)
    bad, trap = store.net_path(runs[0].name), tmp_path / "executed"
    if kind == "another run's":
        bad.write_bytes(store.net_path(runs[1].name).read_bytes())
    elif kind in ("hostile", "shapeless"):
        state = torch.load(bad, weights_only=True)
        state |= {"about": Hostile(trap)} if kind == "hostile" else {"net": {}}
        torch.save(state, bad)
    else:
        bad.write_bytes(bad.read_bytes()[:1000] if kind == "truncated" else b"no net")
    outcome = runner.execute(dict.fromkeys(runs, SUITES), store, workers=1)
    assert outcome.done == [runs[1].name] and not trap.exists()
    assert str(bad) in outcome.failed[runs[0].name] and "delete it" in outcome.failed[runs[0].name]
    assert load_record(runs[0].name, store)["suites"] == ["history"]  # as it was


def test_a_table_names_the_code_that_trained_and_the_code_that_measured(store, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "trained")
    runs = EXPERIMENT.at("quick")
    for run in runs:
        worker.work(run, frozenset({"history"}), store, keep_net=run.scheme == "fgm")
    monkeypatch.setattr(provenance, "commit", lambda: "measured")
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2031, 2, 3) + (0,) * 6))
    for run in runs:
        worker.work(run, EXPERIMENT.suites, store)
    monkeypatch.setitem(experiments.EXPERIMENTS, EXPERIMENT.name, EXPERIMENT)
    header = tidy.read_header(tables.write(EXPERIMENT.name, "quick", store))
    assert header["commits"] == ["measured", "trained"] and header["finished"] == "2031-02-03"


def test_the_command_line_keeps_them_at_home_alone(store):
    for option in ([], ["--keep-nets"]):  # also of runs that have a record
        assert not (store.root / "nets").exists()
        process = start("run", "tiny", "--store", store.root, "--workers", "1", *option)
        assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
    kept = sorted(path.stem for path in (store.root / "nets").iterdir())
    assert kept == sorted(run.name for run in EXPERIMENT.at("quick"))
    process = start("run", "tiny", "--store", store.root, "--keep-nets", "--cluster", "ray")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "--keep-nets goes with runs at home alone" in said
