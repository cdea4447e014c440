"""The parts of the cluster that need no cluster: versions, mail, data sets, refusals."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path

import pytest
import torch
from test_layering import ALLOWED
from tiny_experiment import SMALL, TINY

from snlib import cluster, worker
from snlib.cluster import connection, driver, nodes, versions
from snlib.errors import UserError
from snlib.results import Store
from snlib.runner import Outcome
from snlib.runs import Run

PLAN = {run: TINY.suites for run in TINY.at("quick")}
RAY = "Ray is not installed: pip install -e '.[cluster]'"


def refused(message: str, tmp_path: Path, **options) -> None:
    """The plan is refused with this message, one line long, and nothing is written."""
    with pytest.raises(UserError, match=message) as error:
        cluster.execute(PLAN, Store(tmp_path), **{"address": "ray", **options})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(device="cuda:1"), r"device is 'cuda:1'; allowed are cpu, cuda"),
        (dict(gpu_share=0.5), r"--gpu-share is 0.5 for --device cpu"),
        (dict(device="cuda", gpu_share=1.5), r"--gpu-share is 1.5; it must be above 0 and at most"),
        (dict(device="cuda", gpu_share=0.0), r"--gpu-share is 0.0; it must be above 0"),
        (dict(workers=0), r"workers is 0; it must be an integer >= 1"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    refused(message, tmp_path, **options)


def test_ray_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(r"needs Ray, which is not installed; .*'snlib\[cluster\]'", tmp_path)


@pytest.mark.parametrize(("late", "tries"), [(0, 1), (2, 3), (3, 3)])
def test_a_cluster_that_is_late_is_started_again(late, tries, monkeypatch):
    calls = []

    class Slow:
        @staticmethod
        def init(**options):
            calls.append(options)
            if len(calls) <= late:
                raise Exception("The current node timed out during startup. This could happen ...")

        @staticmethod
        def shutdown():
            pass

    monkeypatch.setattr(connection, "ray_module", lambda: Slow)
    if late < connection.TRIES:
        with connection.connected("ray", 1) as found:
            assert found is Slow
    else:
        with (
            pytest.raises(UserError, match="could not start a cluster on this machine"),
            connection.connected("ray", 1),
        ):
            pass
    assert len(calls) == tries


@pytest.fixture
def port():
    """A port where a server listens and never says a word; nobody listens on the one before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "address", ["somewhere", "host:port", "http://host:1", "ray://host", "a:b:1"]
)
def test_an_address_of_no_known_form(address, tmp_path):
    pytest.importorskip("ray", reason=RAY)
    refused(r"--cluster is '.*'; allowed are ray .*, auto .*, HOST:PORT and ray://", tmp_path,
            address=address)  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_nobody_listens(prefix, tmp_path):
    pytest.importorskip("ray", reason=RAY)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but not listening
        address = f"{prefix}127.0.0.1:{closed.getsockname()[1]}"
        begun = time.monotonic()
        refused(rf"no Ray cluster answers at {address} \(.*refused\); start one with `ray start",
                tmp_path, address=address)  # fmt: skip
    assert time.monotonic() - begun < connection.PATIENCE + 20


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_listener_that_is_silent(prefix, port, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason=RAY)
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    refused(rf"no Ray cluster answers at .*{port} \(timed out\)", tmp_path,
            address=f"{prefix}127.0.0.1:{port}")  # fmt: skip


def test_a_listener_that_is_something_else(tmp_path):
    pytest.importorskip("ray", reason=RAY)

    def answer() -> None:
        with server.accept()[0] as one:
            one.recv(100)
            one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        refused(r"\(what listens there is no Ray\)", tmp_path,
                address=f"127.0.0.1:{server.getsockname()[1]}")  # fmt: skip
        thread.join()


# ---------------------------------------------------------------------------------------- versions


def test_versions_are_what_is_installed():
    here = versions.here()
    assert here["torch"] == torch.__version__.partition("+")[0]
    assert here["snlib"] == importlib.metadata.version("snlib")
    versions.require_same(here, {**here, "node": "another", "commit": "another"})


@pytest.mark.parametrize("what", ["snlib", "engine", "code", "torch"])
def test_other_versions_are_refused_and_both_are_named(what):
    here = versions.here()
    there = {**here, what: "9.9.9", "node": "node7"}
    with pytest.raises(versions.OtherVersions) as error:
        versions.require_same(here, there)
    line = str(error.value)
    assert "\n" not in line and "node node7 has" in line and "9.9.9" in line
    assert here[what] in line.partition("; here is ")[2]


def test_a_task_refuses_a_driver_of_another_version():
    run = Run(**SMALL, scheme="pgm", epochs=1)
    driver = {**versions.here(), "torch": "1.0"}
    with pytest.raises(versions.OtherVersions, match=r"here is .* torch 1\.0"):
        nodes.train(driver, run.settings(), [], {}, None, None, "cpu", 1.0)


def test_sources_that_count_are_those_that_a_run_passes_through():
    reached, waiting = set(), {"worker", "cluster"}
    while waiting:
        room = waiting.pop()
        reached.add(room)
        waiting |= ALLOWED[room] - reached
    assert reached.isdisjoint(versions.APART) and "training" in reached
    rooms = {path.stem for path in (Path(versions.__file__).parents[1]).iterdir()}
    assert set(versions.APART) <= rooms


def test_the_hash_tells_an_edit_from_none(tmp_path, monkeypatch):
    def code(name: str, text: str) -> str:
        (tmp_path / "snlib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "snlib" / name).write_bytes(text.encode())
        versions.here.cache_clear()
        return versions.here()["code"]

    monkeypatch.setattr(versions, "__file__", str(tmp_path / "snlib" / "cluster" / "versions.py"))
    try:
        first = code("training.py", "a = 1\n")
        assert code("training.py", "a = 1\r\n") == first  # a checkout on Windows
        assert code("figures/new.py", "b = 2\n") == first  # no run passes through it
        second = code("attacks/new.py", "c = 3\n")
        third = code("training.py", "a = 2\n")
        assert len({first, second, third}) == 3
    finally:
        versions.here.cache_clear()


# -------------------------------------------------------------------------------------------- mail


def test_mail_is_taken_once():
    box = nodes.Mailbox()
    assert not box.report("a", 0.25, b"one") and not box.report("a", 0.5, b"two")
    box.report("b", 0.1)
    assert box.take() == ({"a": 0.5, "b": 0.1}, {"a": b"two"}, set())
    assert box.take() == ({}, {}, set())


def test_a_second_try_gets_the_checkpoint_that_the_driver_has():
    box = nodes.Mailbox()
    assert box.begin("a") == (False, False)  # a first try goes on from what it was given
    assert box.begin("a") == (False, True)
    assert box.answer("a") == (False, None)  # not yet
    assert box.take()[2] == {"a"}
    box.give("a", b"kept")
    assert box.answer("a") == (True, b"kept")
    assert box.begin("a") == (False, True)
    assert box.answer("a") == (False, None)  # a third try gets a newer one
    box.give("a", None)
    assert box.answer("a") == (True, None)


def test_runs_are_told_to_stop():
    box = nodes.Mailbox()
    box.begin("a")
    box.stop()
    assert box.report("a", 0.5) and box.begin("b")[0]


# --------------------------------------------------------------------------------------- data sets


@pytest.mark.parametrize("labels", ["true", "random"])
def test_a_data_set_travels_whole(labels):
    data = worker.load_data(Run(**SMALL, scheme="pgm", labels=labels))
    images = nodes.packed(data)
    assert not any(isinstance(value, torch.Tensor) for value in images.values())
    images["x_train"].flags.writeable = False  # as Ray gives them
    other = nodes.unpacked(images)
    for name in ("x", "y"):
        for split in ("train", "validation", "test"):
            ours, theirs = getattr(data, f"{name}_{split}"), getattr(other, f"{name}_{split}")
            assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert other.title == data.title and other.mean_norm == data.mean_norm
    other.x_train.zero_()
    assert not torch.equal(other.x_train, data.x_train)  # a copy: Ray's own is read-only


def test_a_data_set_that_cannot_be_had_fails_its_own_runs_alone(tmp_path, monkeypatch):
    carried = []

    class Fake:
        def __init__(self, *_, **__):
            pass

        def carry_out(self, todo, **_):
            carried.extend(todo)

    monkeypatch.setattr(connection, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(connection, "check_room", lambda *_: None)
    monkeypatch.setattr(versions, "check", lambda _: None)
    monkeypatch.setattr(cluster, "Driver", Fake)
    lacking, ended = Run.of(**SMALL | {"data": "tiny_imagenet"}), []
    options = dict(address="ray", data_root=tmp_path, on_done=lambda *how: ended.append(how))
    outcome = cluster.execute({lacking: TINY.suites, **PLAN}, Store(tmp_path / "store"), **options)
    assert carried == list(PLAN) and list(outcome.failed) == [lacking.name]
    assert ended == [(lacking, f"failed: {outcome.failed[lacking.name]}")]
    with pytest.raises(UserError, match=r"^Tiny ImageNet is not in"):
        cluster.execute({lacking: TINY.suites}, Store(tmp_path / "store"), **options)


def test_a_run_that_asks_for_too_many_images_ends_no_other(tmp_path, monkeypatch):
    good, too_many = Run.of(**SMALL), Run.of(**SMALL | {"train_size": 10**6})
    one = object.__new__(driver.Driver)  # without a cluster
    one.where, one.outcome, one.listeners = Store(tmp_path), Outcome(), (None, None)
    one.data_root, one.tasks, one.locks, one.images = None, {}, {}, {}

    def submitted(run, suites):
        worker.load_data(run)
        one.tasks[run.name] = run

    monkeypatch.setattr(one, "_submit", submitted)
    one._fill(deque(dict.fromkeys((too_many, good), TINY.suites).items()), 2)
    assert list(one.tasks) == [good.name] and set(one.locks) == {good}
    assert "train_size is 1000000" in one.outcome.failed[too_many.name]
    one.locks[good].close()


def test_whitening_travels_too():
    scale = {"train": torch.rand(3), "test": torch.rand(2)}
    assert nodes._tensors(nodes._plain(scale))["test"].equal(scale["test"])


def test_nothing_but_the_driver_writes_records():
    package = Path(nodes.__file__).parent
    writers = {
        path.name
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "save_record"
    }
    assert writers == {"driver.py"}
