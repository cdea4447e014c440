"""Checkpoints: a training resumed is the same to the last bit; bad files are never executed."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys

import pytest
import threads
import torch
from hostile import Hostile

from snlib import checkpoints, datasets, training
from snlib.errors import UserError
from snlib.runs import Run

TINY = dict(data="digits", train_size=110, net="mlp1", width=0.05, batch_size=50, epochs=2)
TINY |= dict(learning_rate=0.05, eps_ratio=0.15, wrm_gamma_ratio=0.25, steps=3)


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", train_size=110)


RESUMED = [
    dict(scheme="fgm", beta=1.3),
    dict(scheme="erm", beta=1.3, optimizer="adam", learning_rate=0.001),
    dict(scheme="trades", beta=0.8, augment=True),
    dict(scheme="pgm", beta=1.0, tracker="power", net="elu_alexnet", train_size=100),
    dict(net="alexnet_dropout"),
    dict(net="alexnet_bn", scheme="fgm"),
]


def same(one, other) -> bool:
    """Equal to the last bit, NaN included, whatever is nested in what."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other or (one != one and other != other)


def without_time(fitted) -> dict:
    return {key: column for key, column in fitted.history.items() if "seconds" not in key}


@pytest.mark.parametrize("change", RESUMED, ids=lambda change: "-".join(map(str, change.values())))
def test_a_resumed_training_is_the_same_to_the_last_bit(data, tmp_path, monkeypatch, change):
    run = Run.of(**TINY | {"epochs": 4} | change)
    optimizers, made = [], training.optimizer_of
    monkeypatch.setattr(
        training, "optimizer_of", lambda *a: optimizers.append(made(*a)) or optimizers[-1]
    )
    whole = training.fit(run, data)
    file = tmp_path / "run.pt"
    for epoch in (1, 3):  # broken off after the first and after the third epoch
        with pytest.raises(training.Stopped, match=f"after epoch {epoch}"):
            training.fit(run, data, checkpoint=file, on_epoch=lambda f, e=epoch: f.epochs == e)
    resumed = training.fit(run, data, checkpoint=file)
    assert same(whole.net.state_dict(), resumed.net.state_dict())
    assert same(without_time(whole), without_time(resumed)) and resumed.epochs == 4
    assert same(optimizers[0].state_dict(), optimizers[-1].state_dict())
    again = training.fit(run, data, checkpoint=file)  # from epoch 3 once more
    assert same(whole.net.state_dict(), again.net.state_dict())


FINISH = """
import sys, torch
from pathlib import Path
from snlib import datasets, training
from snlib.runs import Run
import json
torch.set_num_threads(1)
run = Run.of(**json.loads(sys.argv[1]))
data = datasets.load("digits", train_size=110)
fitted = training.fit(run, data, checkpoint=Path(sys.argv[2]))
torch.save([fitted.net.state_dict(), fitted.history], sys.argv[3])
"""


def test_another_process_goes_on_to_the_last_bit(data, tmp_path):
    settings = TINY | dict(epochs=3, scheme="fgm", beta=1.3)
    run, file, out = Run.of(**settings), tmp_path / "run.pt", tmp_path / "out.pt"
    with threads.one_thread():
        whole = training.fit(run, data)
        with pytest.raises(training.Stopped):
            training.fit(run, data, checkpoint=file, on_epoch=lambda _: True)
    command = [sys.executable, "-c", FINISH, json.dumps(settings), str(file), str(out)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    state, history = torch.load(out, weights_only=True)
    assert same(dict(whole.net.state_dict()), dict(state))
    del history["seconds"], history["pass_seconds"]
    assert same(without_time(whole), history)


def test_checkpoints_are_written_by_the_clock_and_replace_one_another(data, tmp_path):
    run, file, seen = Run.of(**TINY), tmp_path / "run.pt", []
    training.fit(
        run, data, checkpoint=file, checkpoint_seconds=0.0,
        on_epoch=lambda _: seen.append(file.exists()) or False,
    )  # fmt: skip
    assert seen == [False, True] and os.listdir(tmp_path) == ["run.pt"]
    other = tmp_path / "other.pt"
    training.fit(run, data, checkpoint=other, checkpoint_seconds=1e9)
    assert not other.exists()


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "pickle", "torch", "other net"])
def test_a_bad_checkpoint_is_refused_by_name_and_never_executed(data, tmp_path, kind):
    run, file, trap = Run.of(**TINY, beta=1.3), tmp_path / "run.pt", tmp_path / "executed"
    with pytest.raises(training.Stopped):
        training.fit(run, data, checkpoint=file, on_epoch=lambda _: True)
    content = file.read_bytes()
    if kind == "torch":
        state = torch.load(file, weights_only=True) | {"extra": Hostile(trap)}
        torch.save(state, file)
        torch.load(file, weights_only=False)["extra"].close()
        assert trap.exists()  # the trap works on whoever executes it
        trap.unlink()
    elif kind == "other net":
        state = torch.load(file, weights_only=True)
        state["net"] = {"fc1.weight": torch.zeros(3)}
        torch.save(state, file)
    else:
        bad = {"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello\n"}
        file.write_bytes(bad[kind] if kind in bad else pickle.dumps(Hostile(trap)))
    with pytest.raises(UserError, match=r"run\.pt cannot be read .*delete it") as refused:
        training.fit(run, data, checkpoint=file)
    assert "\n" not in str(refused.value) and not trap.exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("2 GiB"), MemoryError()])
def test_want_of_memory_is_not_the_fault_of_the_file(data, tmp_path, monkeypatch, error):
    def burst(*_, **__):
        raise error

    run, file = Run.of(**TINY, beta=1.3), tmp_path / "run.pt"
    with pytest.raises(training.Stopped):
        training.fit(run, data, checkpoint=file, on_epoch=lambda _: True)
    with (
        pytest.raises(type(error)) as passed,
        checkpoints.opened(file, run.name, "checkpoint", "; delete it"),
    ):
        raise error
    assert passed.value is error
    with monkeypatch.context() as patch:  # while it is put into the net
        patch.setattr(torch.nn.Module, "load_state_dict", burst)
        with pytest.raises(UserError, match=r"^out of memory on cpu: lower batch_size"):
            training.fit(run, data, checkpoint=file)
    monkeypatch.setattr(torch, "load", burst)  # while it is read
    with pytest.raises(UserError, match=r"out of memory on cpu: checkpoint .*run\.pt does not fit"):
        checkpoints.look(file, run.name)


def test_the_checkpoint_of_another_run_is_refused(data, tmp_path):
    file, owner = tmp_path / "run.pt", Run.of(**TINY, beta=1.3)
    with pytest.raises(training.Stopped):
        training.fit(owner, data, checkpoint=file, on_epoch=lambda _: True)
    other = Run.of(**TINY, beta=1.6)
    with pytest.raises(UserError, match=f"belongs to run {owner.name}, not {other.name}"):
        training.fit(other, data, checkpoint=file)


def test_a_full_disk_at_a_checkpoint_is_told_plainly(data, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(UserError, match=r"no space left for run\.pt"):
        training.fit(Run.of(**TINY), data, checkpoint=tmp_path / "run.pt", checkpoint_seconds=0)
    assert os.listdir(tmp_path) == []
