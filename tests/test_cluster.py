"""A real Ray cluster of several nodes on this machine: the same records, whatever is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
import types
from pathlib import Path

import pytest
import threads
import tiny_experiment
import torch
from tiny_experiment import SLOW, SMALL, STEADY

from snlib import cluster, provenance, results, runner, worker
from snlib.cluster import connection, driver
from snlib.errors import UserError
from snlib.results import Store, load_record
from snlib.runs import Run

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[cluster]'")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Ray's test cluster needs fork")

SUITES = frozenset({"history", "accuracy", "spectrum"})
PLAN = {run: SUITES for run in STEADY.at("quick")}
LONG = {
    Run(**SMALL, scheme="pgm", beta=1.3, epochs=400, seed=seed, learning_rate=0.01): SUITES
    for seed in range(4)
}


@pytest.fixture(scope="module", autouse=True)
def none_left():
    """No process of Ray outlives this file."""
    me = psutil.Process()
    before = set(me.children(recursive=True))
    yield
    ray.shutdown()
    _, left = psutil.wait_procs(set(me.children(recursive=True)) - before, timeout=30)
    assert not left


PORTS = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port",
         "runtime_env_agent_port")  # fmt: skip


def ports() -> dict[str, int]:
    """Free ports for a node's agents: for one that it is not told it waits 15 s, then ends."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return dict(zip(PORTS, (one.getsockname()[1] for one in found), strict=True))


def patiently(start):
    """What `start` starts; tried again where a busy machine took longer than Ray waits."""
    before = set(psutil.Process().children(recursive=True))
    for left in reversed(range(connection.TRIES)):
        try:
            return start()
        except Exception as error:
            if not left or connection.LATE not in str(error):
                raise
            for process in set(psutil.Process().children(recursive=True)) - before:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()  # what the late one left


@pytest.fixture(scope="module")
def nodes():
    """A head without cores, which the driver joins, and two nodes with one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (connection.QUIET | connection.HERE).items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        # A node is given up 5 s after it last answered, not half a minute.
        health = dict(health_check_period_ms=1000, health_check_failure_threshold=5)
        head = dict(num_cpus=0, include_dashboard=False, _system_config=health, **ports())
        one = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        for _ in range(2):
            patiently(lambda: one.add_node(num_cpus=1, **ports()))
        try:
            yield one
        finally:
            one.shutdown()


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The records of both plans, made without Ray."""
    store = Store(tmp_path_factory.mktemp("home"))
    with threads.one_thread():
        for run, suites in {**PLAN, **LONG}.items():
            worker.work_alone(run, suites, store, "cpu", None, None)
    return content(store, {**PLAN, **LONG})


def content(store: Store, plan) -> dict[str, dict]:
    """Every record of a plan, without what tells where and when it was made."""
    found = {run.name: load_record(run.name, store) for run in plan}
    for record in found.values():
        assert record is not None
        record.pop("provenance")
        record.pop(results.SEAL, None)
    return found


def of(plan, records: dict[str, dict]) -> dict[str, dict]:
    return {run.name: records[run.name] for run in plan}


class Watch:
    """Listens to a plan, and does something once when a run reports its progress."""

    def __init__(self, act=lambda name: None) -> None:
        self.ended: list[tuple[str, str]] = []
        self.seen: dict[str, list[float]] = {}
        self.act, self.acted = act, False

    def progress(self, name: str, fraction: float) -> None:
        self.seen.setdefault(name, []).append(fraction)
        if not self.acted and self.act(name) is not None:
            self.acted = True

    def done(self, run: Run, status: str) -> None:
        self.ended.append((run.name, status))


def carry_out(plan, store: Store, nodes, watch: Watch, **options) -> runner.Outcome:
    return cluster.execute(
        plan, store, address=nodes.address, on_progress=watch.progress, on_done=watch.done,
        **options,
    )  # fmt: skip


def processes(word: str) -> list:
    """Our processes with a word in their command line; a task of Ray calls itself by its name."""
    return [
        one
        for one in psutil.Process().children(recursive=True)
        if one.is_running() and word in " ".join(one.cmdline())
    ]


def assert_complete(plan, store: Store, watch: Watch, at_home) -> None:
    """Every run ended once, with the record that it has without Ray."""
    assert sorted(watch.ended) == sorted((run.name, "done") for run in plan)
    assert content(store, plan) == of(plan, at_home)
    assert sorted(store.records.iterdir()) == sorted(store.record_path(run.name) for run in plan)
    assert not list(store.work.glob("*.pt")) and not list(store.root.rglob("*.tmp"))


def test_the_same_records_as_without_ray(nodes, store, at_home):
    watch = Watch()
    outcome = carry_out(PLAN, store, nodes, watch)
    assert sorted(outcome.done) == sorted(run.name for run in PLAN)
    assert not outcome.failed and not outcome.unfinished
    assert_complete(PLAN, store, watch, at_home)
    record = load_record(next(iter(PLAN)).name, store)
    assert record["provenance"]["commit"] == provenance.commit()
    again = Watch()
    assert carry_out(PLAN, store, nodes, again) == runner.Outcome() and not again.ended


def test_a_worker_and_a_node_are_lost(nodes, store, at_home, monkeypatch):
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    lost: dict[str, int] = {}

    def kill_one(name: str):
        """First a worker at work, then a node with all that is on it."""
        if watch.seen[name][-1] < 0.2 or not checkpoint_epochs(store, name):
            return None
        if not lost:
            (victim,) = [one for one in processes("ray::train")][:1]
            lost["worker"] = len(watch.seen[name])
            victim.kill()
        elif len(watch.ended) >= 1:
            lost["node"] = len(watch.ended)
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
            nodes.add_node(num_cpus=1, wait=False, **ports())
            return True
        return None

    watch = Watch(kill_one)
    outcome = carry_out(LONG, store, nodes, watch)
    assert watch.acted and set(lost) == {"worker", "node"}
    assert len(outcome.done) == len(LONG) and not outcome.failed
    assert_complete(LONG, store, watch, at_home)
    # Whoever was started again went on from its checkpoint: no progress falls back to the start.
    for fractions in watch.seen.values():
        assert all(later > 0.1 for later in fractions[fractions.index(max(fractions)) :])


def checkpoint_epochs(store: Store, name: str) -> int:
    """Epochs in the checkpoint that has come home."""
    import json

    path = worker.checkpoint_of(store, name)
    if not path.exists():
        return 0
    return len(json.loads(torch.load(path, weights_only=True)["history"])["epoch"])


def test_the_time_is_over(nodes, store, monkeypatch):
    plan = {run: SUITES for run in SLOW.at("quick")}
    endless = max(plan, key=lambda run: run.epochs)
    clock = types.SimpleNamespace(time=lambda: 0.0, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(driver, "time", clock)

    def run_out(name: str):
        if name == endless.name:  # it is at work
            clock.time = lambda: 2.0
            return True

    watch = Watch(run_out)
    outcome = carry_out(plan, store, nodes, watch, deadline=1.0)
    assert watch.acted and endless.name in outcome.unfinished and not outcome.failed
    reached = checkpoint_epochs(store, endless.name)
    assert reached > 0 and load_record(endless.name, store) is None
    # At home it goes on from there.
    assert worker.work_alone(endless, SUITES, store, "cpu", None, time.time() + 1) == "unfinished"
    assert checkpoint_epochs(store, endless.name) > reached


def test_what_does_not_stop_in_time_is_broken_off(nodes, store, at_home, monkeypatch):
    monkeypatch.setattr(driver, "LEAST_PATIENCE", 2.0)
    endless = Run(**SMALL | {"steps": 10**7}, scheme="pgm", epochs=2)  # an epoch of hours
    too_long = Run.of(**SMALL, epochs=1)
    watch = Watch()
    outcome = carry_out(
        dict.fromkeys((endless, too_long), SUITES), store, nodes, watch,
        deadline=time.time() + 10, least={too_long: 100.0},
    )  # fmt: skip
    assert sorted(watch.ended) == sorted((run.name, "unfinished") for run in (endless, too_long))
    assert not outcome.done and not outcome.failed and not store.records.exists()
    first = dict(list(PLAN.items())[:1])  # its core is free again
    again = Watch()
    carry_out(first, store, nodes, again)
    assert_complete(first, store, again, at_home)


def test_a_run_that_fails_or_is_done_elsewhere_ends_no_other(nodes, store, at_home):
    first, second, *_ = PLAN
    too_large = Run(**SMALL | {"net": "elu_net"}, scheme="pgm", epochs=1)
    elsewhere = Store(store.root.parent / "elsewhere")
    worker.work_alone(second, SUITES, elsewhere, "cpu", None, None)
    watch = Watch()
    with results.lock(store, second.name):  # another process works on it ...

        def finish(run: Run, status: str) -> None:
            watch.done(run, status)
            if run == first:  # ... and ends while the driver waits
                shutil.copytree(elsewhere.records, store.records, dirs_exist_ok=True)
                os.unlink(store.work / f"{second.name}.lock")

        outcome = cluster.execute(
            dict.fromkeys((too_large, second, first), SUITES), store, address=nodes.address,
            on_done=finish,
        )  # fmt: skip
    assert sorted(outcome.done) == sorted((first.name, second.name))
    assert list(outcome.failed) == [too_large.name]
    assert "elu_net takes images of" in outcome.failed[too_large.name]
    assert [name for name, _ in watch.ended].count(second.name) == 1


def test_a_cluster_without_a_gpu(nodes, store):
    with pytest.raises(UserError, match=r"no node of the cluster has a GPU .* --device cpu"):
        cluster.execute(PLAN, store, address=nodes.address, device="cuda")


def test_another_snlib_on_one_node(nodes, store, tmp_path, monkeypatch):
    copy = tmp_path / "other" / "snlib"
    shutil.copytree(Path(cluster.__file__).parents[1], copy)
    source = copy / "results.py"
    source.write_text(source.read_text().replace("ENGINE = 1", "ENGINE = 99"))
    monkeypatch.chdir(tmp_path)  # else nodes on this machine would find the driver's own folder
    path = os.pathsep.join([str(copy.parent), os.environ.get("PYTHONPATH", "")])
    other = nodes.add_node(num_cpus=1, env_vars={"PYTHONPATH": path}, **ports())
    try:
        with pytest.raises(UserError) as error:
            cluster.execute(PLAN, store, address=nodes.address)
        line = str(error.value)
        assert "engine 99" in line and "here is snlib" in line and "engine 1," in line
        (copy / "cluster" / "versions.py").write_text("")  # older than the question
        with pytest.raises(UserError, match=r"cannot say which snlib it has \(.*_asked.*here is"):
            cluster.execute(PLAN, store, address=nodes.address)
    finally:
        nodes.remove_node(other)
    assert not store.records.exists()


def test_the_command_line_starts_a_cluster_and_leaves_none(tmp_path, at_home, nodes):
    process = tiny_experiment.start("run", "steady", "--cluster", "ray", "--store", tmp_path)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert out.strip().endswith("steady.quick.csv") and "Traceback" not in err
    assert content(Store(tmp_path), PLAN) == of(PLAN, at_home)
    assert not [one for one in psutil.process_iter(["pid"]) if _of_group(one, process.pid)]


def _of_group(process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.NoSuchProcess):
        return False
