"""One net by two processes (gloo) against the same net by one: equal up to rounding, norms to bits.

Rounding: a batch is summed in two halves, so the last bits of a gradient differ; over at most ten
steps weights then differ by less than 1e-6. Between ranks nothing differs at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import threads
import torch
from tiny_experiment import EXPERIMENTS, SMALL, TINY
from two_ranks import RUNS

from snlib import models, parallel, results, speed, tables, training, worker
from snlib.__main__ import main
from snlib.commands import engines
from snlib.errors import UserError
from snlib.results import Store
from snlib.runner import Outcome
from snlib.runs import Run
from snlib.team import Team, joined

TESTS = Path(__file__).parent
ROUNDING = 1e-6


def torchrun(script: str, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess:
    """Start a script of tests/ in several processes and wait for them."""
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", str(TESTS / script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun("two_ranks.py", folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    """The same trainings by this process."""
    with threads.one_thread():
        yield {name: training.fit(run, worker.load_data(run)) for name, run in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_the_net_of_one(name, ranks, alone):
    state, run = ranks[0][name]["net"], RUNS[name]
    steps = run.epochs * (run.train_size // run.batch_size)
    moved = 0.0
    start = training.network_of(run, worker.load_data(run))
    for key, weight in alone[name].net.named_parameters():
        assert (weight - state[key]).abs().max() < ROUNDING
        moved = max(moved, float((weight - start.get_parameter(key)).detach().abs().max()))
    assert moved > 1000 * ROUNDING  # that is not for want of training
    history = json.loads(ranks[0][name]["history"])
    for key in ("running_accuracy", "last_batch_accuracy", "validation_accuracy"):
        assert history[key] == pytest.approx(alone[name].history[key], nan_ok=True, abs=1e-9)
    assert history["loss"] == pytest.approx(alone[name].history["loss"], rel=1e-6)
    assert len(json.loads(ranks[0][name]["norms"])) == steps


@pytest.mark.parametrize("name", RUNS)
def test_ranks_agree_to_the_last_bit(name, ranks):
    one, other = ranks[0][name], ranks[1][name]
    assert one["norms"] == other["norms"]  # every norm after every step, unmended
    assert one["mended"] == other["mended"] == 0
    assert one["history"] == other["history"]
    assert one["net"].keys() == other["net"].keys()
    assert all(torch.equal(one["net"][key], other["net"][key]) for key in one["net"])


def test_norms_are_those_of_one_process(ranks, alone):
    state = ranks[0]["convolutions"]["net"]
    tracked = {key: value for key, value in state.items() if key.endswith("tracked")}
    assert len(tracked) == 5
    for key, value in alone["convolutions"].net.state_dict().items():
        if key in tracked:
            assert float(tracked[key]) == pytest.approx(float(value), rel=1e-5)


def test_a_rank_that_drifts_is_put_right(ranks):
    for rank in ranks:
        assert rank["drifting"]["mended"] == 1
        for key, value in ranks[0]["convolutions"]["net"].items():
            assert torch.equal(rank["drifting"]["net"][key], value)


def test_what_fails_on_one_rank_fails_on_all(ranks):
    for rank in ranks:
        assert rank["one fails"] == "the net gives NaN or infinity on one of the processes."


def test_broken_off_and_resumed_to_the_last_bit(ranks):
    for rank in ranks:
        assert rank["resumed"]["history"] == rank["convolutions"]["history"]
        for key, value in rank["convolutions"]["net"].items():
            assert torch.equal(rank["resumed"]["net"][key], value)


def test_rank_0_is_heard_by_all(ranks):
    assert [rank["told"] for rank in ranks] == [[True, b"bytes"]] * 2


def test_what_is_so_on_one_rank_is_known_to_all(ranks):
    assert [rank["anywhere"] for rank in ranks] == [[[False, True, True], []]] * 2


class Alone(Team):
    """A first rank that hears of one run that another rank has no data for."""

    def given(self, content):
        return content

    def decide(self, flag):
        return flag

    def anywhere(self, flags):
        return [*flags[:-1], True]


def test_a_data_set_that_one_process_lacks_fails_its_own_runs_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_one", lambda *_: "done")
    lacking = Run.of(**SMALL | {"data": "tiny_imagenet"})
    good, elsewhere = Run.of(**SMALL), Run.of(**SMALL, seed=1)
    team, plan = Alone(0, 2, torch.device("cpu")), dict.fromkeys((lacking, good, elsewhere), ())
    with threads.one_thread():
        outcome = parallel.execute(plan, Store(tmp_path), team, data_root=tmp_path)
        assert outcome.done == [good.name]
        assert list(outcome.failed) == [lacking.name, elsewhere.name]
        assert outcome.failed[lacking.name].startswith("Tiny ImageNet is not in")
        assert outcome.failed[elsewhere.name] == "another process cannot load its data set"
        with pytest.raises(UserError, match=r"^Tiny ImageNet is not in"):
            parallel.execute({lacking: ()}, Store(tmp_path), team, data_root=tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_measures_what_a_budget_has_room_for(rank, monkeypatch, tmp_path):
    """The others would measure on its GPU, before each has been given its own."""
    monkeypatch.setattr("snlib.experiments.EXPERIMENTS", EXPERIMENTS)
    monkeypatch.setenv("RANK", str(rank))
    measured, limits, known = [], [], speed.Speed("a device")
    monkeypatch.setattr(speed, "learned", lambda *_: measured.append(rank) or known)
    monkeypatch.setattr(engines, "execute", lambda *_, **kept: limits.append(kept) or Outcome())
    arguments = ["--parallel", "data", "--budget", "2h", "--store", str(tmp_path)]
    assert main(["run", "tiny", *arguments]) == 0
    assert measured == ([0] if rank == 0 else [])
    assert ("deadline" in limits[0]) == (rank == 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_says_by_its_status_that_runs_failed(rank, monkeypatch, tmp_path):
    """torchrun ends all others as soon as one fails, and the first still writes its tables."""
    monkeypatch.setattr("snlib.experiments.EXPERIMENTS", EXPERIMENTS)
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr(engines, "execute", lambda *_, **__: Outcome(failed={"a run": "why"}))
    status = main(["run", "tiny", "--parallel", "data", "--store", str(tmp_path)])
    assert status == (1 if rank == 0 else 0)


def test_the_command_line_under_torchrun(tmp_path, monkeypatch):
    monkeypatch.setattr("snlib.experiments.EXPERIMENTS", EXPERIMENTS)
    done = torchrun("tiny_experiment.py", "run", "tiny", "--parallel", "data",
                    "--store", tmp_path / "two", "--first", "3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "two" / "tiny.quick.csv")]  # one rank speaks
    two, one = Store(tmp_path / "two"), Store(tmp_path / "one")
    runs = TINY.at("quick")[:3]
    assert len(list(two.records.iterdir())) == 3 and not list(two.work.glob("*.pt"))
    for run in runs:
        worker.work_alone(run, TINY.suites, one, "cpu", None, None)
    for run in runs:
        ours, theirs = (results.load_record(run.name, store) for store in (two, one))
        assert ours["provenance"]["device"] == "2 x " + theirs["provenance"]["device"]
        assert ours["rows"]["value"] == pytest.approx(
            theirs["rows"]["value"], rel=1e-4, nan_ok=True
        )
    assert tables.verify(two) == []


# ---------------------------------------------------------------------------------------- refusals


def run_tiny(monkeypatch, capsys, *options: str) -> str:
    """What `run tiny` says when it refuses."""
    monkeypatch.setattr("snlib.experiments.EXPERIMENTS", EXPERIMENTS)
    assert main(["run", "tiny", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_without_torchrun(monkeypatch, capsys, tmp_path):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    line = run_tiny(monkeypatch, capsys, "--parallel", "data", "--store", str(tmp_path))
    assert "needs torchrun" in line and "--nproc-per-node 2 -m snlib run" in line


def test_torchrun_without_parallel(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert "add --parallel data" in run_tiny(monkeypatch, capsys, "--store", str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parallel", "data", "--workers", "2"], "--nproc-per-node says how many"),
        (["--parallel", "data", "--cluster", "ray"], "exclude each other"),
        (["--gpu-share", "0.5"], "--gpu-share goes with --cluster"),
    ],
)
def test_options_that_do_not_go_together(options, message, monkeypatch, capsys, tmp_path):
    assert message in run_tiny(monkeypatch, capsys, "--store", str(tmp_path), *options)


def test_fewer_gpus_than_processes(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UserError, match=r"process 1 .* no GPU of its own: there are 1"),
        joined("cuda"),
    ):
        pass


@pytest.mark.parametrize("device", ["mps", "meta", "cpu:3", "gpu"])
def test_devices_that_there_are_not(device, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    refused = rf"device is '{device}'; allowed are cpu, cuda"
    with pytest.raises(UserError, match=refused), joined(device):
        pass


def test_one_gpu_for_all_processes(monkeypatch):
    """Each takes that of its local rank: one that is named would be passed over in silence."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused = r"device is 'cuda:1' with --parallel data.*allowed are cpu, cuda \(CUDA_VISIBLE"
    with pytest.raises(UserError, match=refused), joined("cuda:1"):
        pass


def test_nets_and_batches_that_cannot_be_shared():
    team = Team(0, 4, torch.device("cpu"))
    net = models.build("mlp1", in_shape=(1, 8, 8), classes=10, width=0.1)
    team.check(net, 4)
    with pytest.raises(UserError, match=r"batch_size is 3 for 4 processes"):
        team.check(net, 3)
    for layer in (
        torch.nn.BatchNorm2d(3),
        torch.nn.Dropout(0.5),
        models.layers.AlwaysOnDropout(0.5, 0),
    ):
        with pytest.raises(UserError, match=f"the net holds {type(layer).__name__}, whose result"):
            team.check(torch.nn.Sequential(net, layer), 4)


@pytest.mark.parametrize("count", [2, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_make_up_the_batch(count, size):
    if count < size:
        pytest.skip("refused")
    batch = torch.arange(count)
    shares = [Team(rank, size, batch.device).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat(shares), batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
