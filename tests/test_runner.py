"""Carrying out a plan: cost, devices, failures that stay with their run, deadlines."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import signal
import threading
import time
import types
import urllib.request
from concurrent.futures import process as pools
from multiprocessing import popen_fork
from pathlib import Path

import psutil
import pytest
import threads
import torch
from tiny_experiment import SMALL, TINY

from snlib import deadlines, measurements, results, room, runner, training, worker
from snlib.errors import UserError
from snlib.results import Store, load_record
from snlib.runs import OF_TRAINING, Run

SUITES = frozenset({"history", "accuracy"})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture(autouse=True)
def as_a_worker():
    with threads.one_thread():
        yield


@pytest.mark.parametrize(
    ("settings", "expected"),
    [  # (3 + 2 gradients) / 3 a pass, times epochs, times thousands of images
        (dict(scheme="erm"), 1.0),
        (dict(scheme="fgm"), 5 / 3),
        (dict(scheme="pgm", steps=15), 11.0),
        (dict(scheme="wrm", steps=15), 35 / 3),
        (dict(scheme="erm", epochs=200, train_size=500), 100.0),
        (dict(scheme="erm", train_size=None), 50.0),
    ],
)
def test_cost_by_hand(settings, expected):
    run = Run.of(**{"epochs": 1, "train_size": 1000} | settings)
    assert runner.cost(run) == pytest.approx(expected)


def test_missing_is_what_has_no_record_or_lacks_a_suite(store):
    done, partial, absent = (Run(seed=seed) for seed in range(3))
    about = {"diverged": False, "rows": {"quantity": ["a"], "x": [0.0], "value": [1.0]}}
    about |= {"provenance": {}}
    results.save_record({"settings": done.settings(), "suites": sorted(SUITES), **about}, store)
    results.save_record({"settings": partial.settings(), "suites": ["accuracy"], **about}, store)
    plan = dict.fromkeys((done, partial, absent), SUITES)
    assert runner.missing(plan, store) == {partial: SUITES, absent: SUITES}


def test_a_processor_has_room_for_a_worker():
    assert room.room("cpu", ()).workers >= 1


def test_cuda_asked_for_and_absent(store, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device is 'cuda', .* no CUDA GPU here; use --device cpu"):
        runner.execute({Run.of(**SMALL): SUITES}, store, device="cuda")
    assert not store.records.exists()


def test_runs_whose_time_is_measured_go_alone_after_all_others(store, monkeypatch):
    """Side by side they would take each other's time. Of them nothing but training is measured."""
    pools, ended = [], []

    class Noted(concurrent.futures.ProcessPoolExecutor):
        def __init__(self, workers, **options):
            pools.append(workers)
            super().__init__(workers, **options)

    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Noted)
    monkeypatch.setattr(room, "room", lambda device, runs: room.Room(2, "by hand"))
    runs = [Run.of(**SMALL, epochs=1, seed=seed) for seed in range(4)]
    plan = dict(zip(runs, (OF_TRAINING, SUITES, OF_TRAINING, SUITES), strict=True))
    outcome = runner.execute(plan, store, on_done=lambda run, status: ended.append(run))
    assert pools == [2, 1] and ended[2:] == [runs[0], runs[2]] and set(ended) == set(runs)
    assert set(outcome.done) == {run.name for run in runs} and not outcome.failed
    rows = [results.load_record(run.name, store)["rows"] for run in runs]
    assert "accuracy" in rows[1]["quantity"] and "accuracy" not in rows[0]["quantity"]
    assert "seconds" in rows[0]["quantity"]
    store.record_path(runs[0].name).unlink()
    store.record_path(runs[2].name).unlink()
    runner.execute(plan, store, workers=2)  # who says how many gets as many
    assert pools == [2, 1, 2]


def test_no_workers(store):
    for workers in (0, -1):
        with pytest.raises(UserError, match=f"workers is {workers}; it must be an integer >= 1"):
            runner.execute({Run.of(**SMALL, epochs=1): SUITES}, store, workers=workers)


def test_data_absent_without_network(store, tmp_path, monkeypatch):
    monkeypatch.setattr(
        urllib.request, "_opener", None
    )  # urllib remembers the first proxies it saw
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "sets"
    with pytest.raises(UserError) as refused:
        runner.execute({Run(data="mnist", net="softmax"): SUITES}, store, data_root=folder)
    line = str(refused.value)
    assert "\n" not in line and "MNIST" in line and str(folder) in line


def test_a_data_set_that_cannot_be_had_fails_its_own_runs_alone(store, tmp_path):
    good = Run.of(**SMALL, epochs=1)
    lacking = [Run.of(**SMALL | {"data": "tiny_imagenet"}, seed=seed) for seed in range(2)]
    plan, ended = dict.fromkeys((lacking[0], good, lacking[1]), SUITES), {}
    options = dict(
        data_root=tmp_path, workers=2, on_done=lambda run, said: ended.update({run: said})
    )
    outcome = runner.execute(plan, store, **options)
    assert outcome.done == [good.name] and list(outcome.failed) == [run.name for run in lacking]
    for run in lacking:
        assert outcome.failed[run.name].startswith(
            f"Tiny ImageNet is not in {tmp_path}; its images"
        )
        assert ended[run] == f"failed: {outcome.failed[run.name]}"
    assert [path.stem for path in store.records.iterdir()] == [good.name]
    again = runner.execute(plan, store, **options)  # all that is left lacks its data
    assert again == runner.Outcome(failed=outcome.failed)


def test_no_run_of_a_plan_has_data(store, tmp_path):
    runs = [Run.of(**SMALL | {"data": name}) for name in ("tiny_imagenet", "cifar10_jpeg")]
    with pytest.raises(UserError, match=r"^Tiny ImageNet is not in"):
        runner.execute(dict.fromkeys(runs, SUITES), store, data_root=tmp_path)
    assert not store.root.exists() or not list(store.root.iterdir())


def test_one_run_stands_for_its_data_set_unless_it_asks_for_too_many_images(monkeypatch):
    some, too_many = Run.of(**SMALL), Run.of(**SMALL | {"train_size": 10**6})
    later, loads, load = Run.of(**SMALL | {"train_size": 50}), [], worker.load_data
    monkeypatch.setattr(worker, "load_data", lambda run, root: loads.append(run) or load(run, root))
    found = runner.without_data(dict.fromkeys((too_many, some, later), SUITES))
    assert list(found) == [too_many] and "train_size is 1000000" in found[too_many]
    assert loads == [too_many, some]


def test_a_data_set_fails_in_other_ways_too(monkeypatch):
    def refused(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(worker, "load_data", refused)
    run = Run.of(**SMALL)
    assert runner.without_data({run: SUITES}) == {run: "PermissionError: not yours"}


def test_out_of_memory_while_a_net_is_measured(store, monkeypatch):
    def burst(*_):
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(measurements, "measure", burst)
    with pytest.raises(UserError, match=r"out of memory on cpu: lower width \(now 1\.0\) or"):
        worker.work_alone(Run.of(**SMALL, epochs=1), SUITES, store, "cpu", None, None)


def test_a_failing_run_ends_no_other(store):
    good = Run.of(**SMALL, epochs=1)
    too_large = Run.of(**SMALL | {"net": "elu_net"}, epochs=1)  # digits are too small for it
    damaged = Run.of(**SMALL, epochs=1, seed=1)
    checkpoint = store.work / f"{damaged.name}.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"no checkpoint")
    progress, ended = [], {}
    outcome = runner.execute(
        dict.fromkeys((too_large, damaged, good), SUITES),
        store,
        workers=1,
        on_progress=lambda name, fraction: progress.append((name, fraction)),
        on_done=lambda run, status: ended.update({run: status}),
    )
    assert outcome.done == [good.name] and not outcome.unfinished
    assert set(outcome.failed) == {too_large.name, damaged.name}
    assert "elu_net takes images of" in outcome.failed[too_large.name]
    assert f"{damaged.name}.pt cannot be read" in outcome.failed[damaged.name]
    assert ended[good] == "done" and ended[damaged].startswith("failed: checkpoint")
    assert set(progress) <= {(good.name, 1.0)}
    assert load_record(good.name, store)["epochs"] == 1
    assert load_record(damaged.name, store) is None


def test_a_record_says_what_was_done(store):
    run = TINY.at("quick")[2]
    assert (
        run.scheme == "fgm" and worker.work_alone(run, SUITES, store, "cpu", None, None) == "done"
    )
    record, data = load_record(run.name, store), worker.load_data(run)
    assert Run.from_settings(record["settings"]) == run and record["suites"] == sorted(SUITES)
    assert record["epochs"] == 2 and not record["diverged"] and record["parameters"] == 650
    assert record["eps"] == pytest.approx(run.eps_ratio * data.mean_norm, rel=1e-6)
    about = record["provenance"]
    assert torch.__version__ in about["software"] and about["data"] == data.title
    assert about["finished"] == time.strftime("%Y-%m-%d", time.gmtime())
    assert not list(store.work.glob("*.pt"))


def test_a_record_is_extended_by_a_suite(store):
    run = TINY.at("quick")[0]
    worker.work_alone(run, SUITES, store, "cpu", None, None)
    first = load_record(run.name, store)
    worker.work_alone(run, frozenset({"spectrum"}), store, "cpu", None, None)
    second = load_record(run.name, store)
    assert second["suites"] == ["accuracy", "history", "spectrum"]
    for column, entries in first["rows"].items():  # the earlier measurements are the same
        assert second["rows"][column][: len(entries)] == entries


def test_divergence_is_a_record_too(store):
    run = Run.of(**SMALL, epochs=3, learning_rate=1e30, scheme="fgm", beta=1.3)
    suites = SUITES | {"spectrum", "distributions"}
    assert worker.work_alone(run, suites, store, "cpu", None, None) == "diverged"
    record = load_record(run.name, store)
    assert record["diverged"] and set(record["rows"]["suite"]) == {"history", "accuracy"}
    assert not runner.missing({run: suites}, store)  # it is not computed again and again


def test_a_deadline_leaves_a_checkpoint_and_the_same_record(store, tmp_path):
    run = Run.of(**SMALL, epochs=60, beta=1.3)
    assert worker.work_alone(run, SUITES, store, "cpu", None, time.time() - 1) == "unfinished"
    worker.load_data(run)
    assert worker.work_alone(run, SUITES, store, "cpu", None, time.time() + 0.1) == "unfinished"
    checkpoint = store.work / f"{run.name}.pt"
    reached = len(epochs_in(checkpoint))
    assert 1 <= reached < 60 and load_record(run.name, store) is None
    assert worker.work_alone(run, SUITES, store, "cpu", None, None) == "done"
    undisturbed = Store(tmp_path / "other")
    worker.work_alone(run, SUITES, undisturbed, "cpu", None, None)
    one, other = load_record(run.name, store), load_record(run.name, undisturbed)
    assert one["rows"] == other["rows"] and not checkpoint.exists()


def epochs_in(checkpoint: Path) -> list[int]:
    return json.loads(torch.load(checkpoint, weights_only=True)["history"])["epoch"]


def test_waiting_for_another_process_ends_at_the_deadline(store):
    run = Run.of(**SMALL, epochs=1)
    begun = time.monotonic()
    with results.lock(store, run.name) as alone:
        assert alone
        status = worker.work_alone(run, SUITES, store, "cpu", None, time.time() + 0.3)
    assert status == "unfinished" and time.monotonic() - begun >= 0.3
    assert load_record(run.name, store) is None


def test_a_record_made_meanwhile_is_used(store, monkeypatch):
    run = Run.of(**SMALL, epochs=1)
    assert worker.work_alone(run, SUITES, store, "cpu", None, None) == "done"
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained twice"))
    assert worker.work_alone(run, SUITES, store, "cpu", None, None) == "done"


def test_leftovers_of_killed_writers_are_swept(store):
    run, other = Run.of(**SMALL, epochs=1), Run.of(**SMALL, epochs=1, seed=1)
    store.work.mkdir(parents=True)
    mine = store.work / f".{run.name}.pt.abc.tmp"
    theirs = store.work / f".{other.name}.pt.abc.tmp"
    for path in (mine, theirs):
        path.write_text("half")
    worker.work_alone(run, SUITES, store, "cpu", None, None)
    assert not mine.exists() and theirs.exists()


def test_workers_keep_their_memory_unless_the_user_decides(monkeypatch):
    trim, mmap = worker.MEMORY
    monkeypatch.delenv(trim, raising=False)
    monkeypatch.setenv(mmap, "123")
    with worker.keeping_memory():
        assert os.environ[trim] == worker.MEMORY[trim] and os.environ[mmap] == "123"
    assert trim not in os.environ and os.environ[mmap] == "123"


def test_a_run_stops_before_an_epoch_that_would_not_end_in_time(monkeypatch):
    now = [100.0]
    clock = types.SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0])
    monkeypatch.setattr(deadlines, "time", clock)
    until, stopped = deadlines.Until(160.0), []
    for seconds in (20.0, 9.0, 11.0, 9.0, 1.0):  # the first one with what goes before it
        now[0] += seconds
        stopped.append((now[0], until.over()))
    # After 149 s an epoch as long as the longest, 11 s, would just end; after 150 s it would not.
    assert stopped == [
        (120.0, False),
        (129.0, False),
        (140.0, False),
        (149.0, False),
        (150.0, True),
    ]
    forever = deadlines.Until(None)
    now[0] += 1e9
    assert not forever.over()


def test_what_does_not_stop_in_time_is_ended(store):
    endless = Run.of(**SMALL | {"steps": 10**7}, scheme="pgm", epochs=2)  # an epoch of hours
    later = Run.of(**SMALL, epochs=1)
    children, ended = set(psutil.Process().children()), []
    begun = time.monotonic()
    outcome = runner.execute(
        dict.fromkeys((endless, later), SUITES), store, workers=1, deadline=time.time() + 15,
        on_done=lambda run, status: ended.append((run, status)),
    )  # fmt: skip
    assert time.monotonic() - begun < 15 + runner.GRACE + 30
    assert ended == [(endless, "unfinished"), (later, "unfinished")]
    assert outcome == runner.Outcome(unfinished=[endless.name, later.name])
    mine = [one for one in set(psutil.Process().children()) - children if _is_worker(one)]
    assert not psutil.wait_procs(mine, timeout=30)[1]
    with results.lock(store, endless.name) as alone:
        assert alone


def _is_worker(process) -> bool:
    """A process that is being killed has no command line any more, but still the lock."""
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.ZombieProcess:
        return True
    except psutil.NoSuchProcess:
        return False


def test_nothing_of_a_broken_pool_is_left_at_work(store, monkeypatch):
    """The interpreter, at its end, would write into a pipe that the pool's thread closes."""
    wakeup = pools._ThreadWakeup
    close, there = wakeup.close, set(threading.enumerate())

    def late(self) -> None:
        time.sleep(1)
        close(self)

    monkeypatch.setattr(wakeup, "close", late)

    def kill(*_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    plan = {Run(**SMALL, scheme="pgm", epochs=10**6): SUITES}
    with pytest.raises(UserError, match="killed from outside"):
        runner.execute(plan, store, workers=1, on_progress=kill)
    assert set(threading.enumerate()) <= there


def test_how_a_worker_ended_is_known_whichever_thread_reaped_it(store, monkeypatch):
    def poll(self, flag=os.WNOHANG):
        """As it is, but that the pool's thread reaps first and is slow to say what it found."""
        mine = threading.current_thread() is threading.main_thread()
        if self.returncode is None:
            time.sleep(0.2 if mine else 0.0)
            try:
                pid, status = os.waitpid(self.pid, flag)
            except OSError:
                return None
            if pid == self.pid:
                time.sleep(0.0 if mine else 1.0)
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def crash(*_: object) -> None:
        children = multiprocessing.active_children()
        monkeypatch.setattr(multiprocessing, "active_children", list)  # once
        monkeypatch.setattr(popen_fork.Popen, "poll", poll)
        for child in children:
            os.kill(child.pid, signal.SIGSEGV)

    plan = {Run(**SMALL, scheme="pgm", epochs=10**6): SUITES}
    with pytest.raises(UserError, match=r"a worker process crashed \(SIGSEGV\)"):
        runner.execute(plan, store, workers=1, on_progress=crash)


def test_a_run_whose_epoch_does_not_fit_is_not_begun(store, monkeypatch):
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("begun"))
    run, soon = Run.of(**SMALL, epochs=1), time.time() + 60
    assert worker.work_alone(run, SUITES, store, "cpu", None, soon, 100.0) == "unfinished"
