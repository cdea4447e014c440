"""The command line from end to end, in a temporary folder, with experiments of seconds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import tiny_experiment
from tiny_experiment import SLOW, STEADY, TINY

from snlib import checkpoints, experiments, journal, provenance, results, speed, tidy, worker
from snlib.__main__ import main
from snlib.costs import Machine
from snlib.results import Store
from snlib.runs import Run
from snlib.speed import Speed


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(
        experiments, "EXPERIMENTS", {**experiments.EXPERIMENTS, **tiny_experiment.EXPERIMENTS}
    )


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A store after `run tiny`, by a process of its own, and what that printed."""
    folder = tmp_path_factory.mktemp("store")
    process = tiny_experiment.start("run", "tiny", "--store", folder, "--workers", "1")
    out, err = process.communicate(timeout=100)
    return Store(folder), process.returncode, out, err


def times(store: Store) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.records.glob("*.json")}


def test_run_computes_and_is_quiet_when_piped(computed):
    store, status, out, err = computed
    assert status == 0 and err == ""
    assert out == f"{store.table_path('tiny', 'quick')}\n"
    assert set(times(store)) == {f"{run.name}.json" for run in TINY.at("quick")}
    assert not list(store.root.rglob("*.tmp")) and not list(store.work.glob("*.pt"))
    table, header = tidy.read_table(store.table_path("tiny", "quick"))
    assert header["done"] == 4 and len(table) == 4 * 3 * 2


def test_a_second_call_computes_only_what_is_missing(computed, capfd, monkeypatch):
    store = computed[0]
    before, table = times(store), store.table_path("tiny", "quick").read_text()
    assert main(["run", "tiny", "--store", str(store.root)]) == 0
    assert times(store) == before
    lost = store.record_path(TINY.at("quick")[1].name)
    old = results.load_record(lost.stem, store)
    lost.unlink()
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["run", "tiny", "--store", str(store.root), "--workers", "2"]) == 0
    after = times(store)
    assert {name for name in after if after[name] != before[name]} == {lost.name}
    assert results.load_record(lost.stem, store)["rows"] == old["rows"]
    lines = terminal.getvalue()  # somebody watches: what is to do, and a bar with the time left
    assert lines.startswith("4 runs, 1 to compute at scale quick.\n")
    assert "100%" in lines and "1/1 runs" in lines and "left]" in lines
    assert [line.split(",")[1:] for line in table.splitlines()[2:]] == [
        line.split(",")[1:]
        for line in store.table_path("tiny", "quick").read_text().splitlines()[2:]
    ]


def test_list(computed, capsys):
    store = computed[0]
    assert main(["list", "tiny", "steady", "--store", str(store.root)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert err == "" and lines[0][:4] == ["experiment", "scale", "done", "missing"]
    assert [line[:4] for line in lines[1:7]] == [
        [name, scale, *(["4/4", "0"] if (name, scale) == ("tiny", "quick") else ["0/4", "4"])]
        for name in ("tiny", "steady")
        for scale in ("quick", "laptop", "paper")
    ]
    assert lines[1][-2:] == ["test", "(tiny)"] and out.count("only a test") == 2
    assert "\nhere: " in out and "\nGPU: one H200, " in out
    arguments = ["list", "tiny", "--settings", "--scale", "quick", "--store", str(store.root)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "\ntiny, scale quick\n" in out and "paper" not in out.partition("tiny, scale")[0]
    for run in TINY.at("quick"):
        (line,) = [line for line in out.splitlines() if run.name in line]
        assert line.split()[:2] == ["beta", f"{run.beta:g}"] and line.endswith("1 of 1 done")


def test_list_names_every_experiment_and_survives_a_closed_pipe(tmp_path, capsys):
    assert main(["list", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in experiments.EXPERIMENTS:
        assert re.search(rf"^{name} ", out, re.M)
    process = tiny_experiment.start("list", "--settings", "--scale", "paper")
    assert process.stdout.readline().startswith("experiment")
    process.stdout.close()  # as `| head -1` does
    assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    process.stderr.close()


def test_a_reader_that_leaves_before_a_short_answer(tmp_path):
    process = tiny_experiment.start("status", "tiny", "--store", str(tmp_path))
    process.stdout.close()  # less than a buffer is said: it breaks as the last of it is written
    assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    process.stderr.close()


def said(text: str) -> dict[str, str]:
    """The lines of `status` by their first word; lines of single runs are left out."""
    return dict(line.split(None, 1) for line in text.splitlines() if not line.startswith(" "))


def test_status(computed, capsys):
    store = computed[0]
    first, second, *_ = STEADY.at("quick")
    checkpoint = store.work / f"{first.name}.pt"
    checkpoint.write_bytes(b"")
    journal.Journal(store).done(second, "failed: out of memory on cuda: lower batch_size")
    try:
        assert main(["status", "tiny", "steady", "--store", str(store.root)]) == 0
    finally:
        checkpoint.unlink()
        (store.work / f"{second.name}.failed").unlink()
    out = capsys.readouterr().out
    lines = said(out)
    assert lines["done"].startswith("4 of 8 runs (0 diverged), 0.00 hours")
    assert lines["running"] == "0" and lines["failed"] == "1"
    assert lines["queued"] == "3 (1 with a checkpoint)"
    (failed,) = [line for line in out.splitlines() if second.name in line]
    assert failed.endswith(": out of memory on cuda: lower batch_size")
    assert f"on {provenance.device_name('cpu')}, from 4 of its records" in lines["speed"]
    assert re.fullmatch(r"about \d+(\.\d)? \w+, \d+ side by side on this machine", lines["left"])
    assert main(["status", "tiny", "--store", str(store.root)]) == 0  # all done
    assert set(said(capsys.readouterr().out)) == {"scale", "done", "running", "queued", "failed"}


def test_status_sees_what_runs_and_that_it_was_killed(tmp_path, capsys):
    process = tiny_experiment.start("run", "slow", "--store", tmp_path, "--workers", "2")
    endless = SLOW.at("quick")[1]
    noted = tmp_path / ".work" / f"{endless.name}.progress"
    status = ["status", "slow", "--store", str(tmp_path)]
    try:
        wait_for(noted.exists, process)
        assert main(status) == 0
        out = capsys.readouterr().out
        (running,) = [line for line in out.splitlines() if endless.name in line]
        assert int(said(out)["running"]) in (1, 2)
        assert re.search(r"softmax, digits, ERM, beta 1.3, seed 0: 0 %", running)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main(status) == 0
    assert said(capsys.readouterr().out)["running"] == "0"


def test_a_failure_is_told_and_a_retry_clears_it(tmp_path, capsys):
    store, (run, *_) = Store(tmp_path), TINY.at("quick")
    store.work.mkdir()
    damaged = store.checkpoint_path(run.name)
    damaged.write_bytes(b"no checkpoint")
    command = ["run", "tiny", "--store", str(tmp_path), "--workers", "1"]
    assert main(command) == 1
    assert f"run {run.name} failed: checkpoint" in capsys.readouterr().err
    assert main(["status", "tiny", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert said(out)["failed"] == "1" and said(out)["done"].startswith("3 of 4")
    assert "delete it to start this run afresh" in out
    damaged.unlink()
    assert main(command) == 0
    capsys.readouterr()
    assert main(["status", "tiny", "--store", str(tmp_path)]) == 0
    assert said(capsys.readouterr().out)["failed"] == "0"
    assert not [*store.work.glob("*.failed"), *store.work.glob("*.progress")]


def test_verify(computed, capsys):
    store = computed[0]
    assert main(["verify", "--store", str(store.root)]) == 0
    assert capsys.readouterr().out == "4 records read; tables agree with them.\n"
    table = store.table_path("tiny", "quick")
    text = table.read_text()
    table.write_text(text + "\n")
    try:
        assert main(["verify", "--store", str(store.root)]) == 1
    finally:
        table.write_text(text)
    out, err = capsys.readouterr()
    assert "mismatch" in out and "tiny.quick.csv differs from its records" in err


def test_verify_asks_for_a_store(tmp_path, capsys):
    absent, other, fresh, begun = (tmp_path / name for name in ("absent", "other", "new", "begun"))
    for folder in (other / "notes", fresh, begun / ".work"):
        folder.mkdir(parents=True)
    for folder, reason in ((absent, "there is no such folder"), (other, "that folder is no store")):
        assert main(["verify", "--store", str(folder)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert err.startswith(f"snlib: --store is {folder}; {reason}.")
    for folder in (fresh, begun):
        assert main(["verify", "--store", str(folder)]) == 0
        assert capsys.readouterr().out == f"nothing is recorded in {folder}.\n"
    assert not absent.exists()
    (fresh / "tiny.quick.csv").write_text("a table without its records\n")
    assert main(["verify", "--store", str(fresh)]) == 1
    assert "tiny.quick.csv differs from its records" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list", "tiny"], ["status", "tiny"], ["verify"]])
def test_a_file_is_no_store(command, tmp_path, capsys):
    file = tmp_path / "README.md"
    file.write_text("text")
    for place in (file, file / "deeper"):
        assert main([*command, "--store", str(place)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert (
            f"store is {place}; {file} is a file. Allowed: recorded, workbook, or a folder." in err
        )


@pytest.mark.parametrize("command", ["list", "status"])
def test_data_of_which_nothing_is_known_here_are_refused(command, tmp_path, capsys):
    asked = [command, "tiny", "--store", str(tmp_path), "--data"]
    for name in ("mnist", "cifar10_jpeg", "tiny_imagenet"):  # whether the images are here or not
        assert main([*asked, name]) == 0
    capsys.readouterr()
    assert main([*asked, "mine"]) == 2
    assert "data is 'mine'; allowed are digits, mnist" in capsys.readouterr().err
    (tmp_path / ".work").mkdir()
    run = TINY.at("quick@mine")[0]
    Store(tmp_path).checkpoint_path(run.name).touch()  # of images that lie elsewhere
    assert main([*asked, "mine"]) == 0


WRONG = [
    (["run", "gab"], r"experiment is 'gab'; .* Did you mean 'gap'\?"),
    (["status", "gab"], r"experiment is 'gab'; .* Did you mean 'gap'\?"),
    (["run", "gap", "--scale", "labtop"], r"scale is 'labtop'; .* Did you mean 'laptop'\?"),
    (["list", "--scale", "papr"], r"Did you mean 'paper'\?"),
    (["run", "tiny", "--workers", "0"], r"--workers is 0; it must be an integer >= 1"),
    (["run", "tiny", "--first", "0"], r"--first is 0; it must be an integer >= 1"),
    (["run", "tiny", "--budget", "soon"], r"--budget is 'soon'; allowed are times such as 90s"),
    (["run", "tiny", "--budget=-3m"], r"--budget is '-3m'"),
    (["run", "tiny", "--split", "1M"], r"--split goes with --bundle FILE or --budget"),
    (["run", "tiny", "--bundle", "a.zip", "--split", "big"], r"--split is 'big'; allowed are"),
    (
        ["run", "tiny", "--budget", "7h", "--split", "1K"],
        r"--split is '1K'; it must be at least 16K",
    ),
    (["run", "tiny", "--device", "gpu"], r"device is 'gpu'; allowed are cpu, cuda"),
    (["run", "gap", "--data", "digit"], r"data is 'digit'; .*Did you mean 'digits'\?"),
    (["list", "gap", "--data", "digts"], r"data is 'digts'; .*Did you mean 'digits'\?"),
    (["list", "--scale", "paper@nosuch"], r"data is 'nosuch'; allowed are digits, mnist"),
    (["status", "gap", "--data", "svnh"], r"data is 'svnh'; .*Did you mean 'svhn'\?"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda part: str(part)[-24:])
def test_wrong_input_gives_one_line(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--store", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.match(rf"snlib: .*{message}", err)
    assert not list(tmp_path.iterdir())


def test_runs_without_data_are_told_of_and_all_others_go_on(tmp_path, capsys, monkeypatch):
    runs = TINY.at("quick")[:1]
    worker.work_alone(runs[0], TINY.suites, Store(tmp_path), "cpu", None, None)
    lacking = Run.of(**runs[0].settings() | {"data": "tiny_imagenet"})
    plan = dict.fromkeys([lacking, *runs], TINY.suites)
    monkeypatch.setattr(experiments, "plan", lambda *_: plan)
    place = ["--data-root", str(tmp_path / "none"), "--store", str(tmp_path)]
    assert main(["run", "tiny", *place, "--bundle", str(tmp_path / "all.zip")]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "its images belong in" in err and "see data/README.md" in err
    assert err.startswith(f"snlib: run {lacking.name} failed: Tiny ImageNet is not in ")
    assert out.endswith("all.zip\n")  # tables and bundle are there all the same
    assert journal.failure(lacking.name, Store(tmp_path)).startswith("Tiny ImageNet is not in ")


def test_cuda_asked_for_and_absent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    first = TINY.at("quick")[0]
    notes = journal.Journal(Store(tmp_path))
    notes.done(first, "failed: out of memory")
    assert main(["run", "tiny", "--device", "cuda", "--store", str(tmp_path)]) == 2
    assert "no CUDA GPU here; use --device cpu." in capsys.readouterr().err
    assert journal.failure(first.name, Store(tmp_path)) == "out of memory"  # not forgotten


def test_what_the_system_refuses_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "records" / "0123456789abcdef.json").mkdir(parents=True)
    assert main(["verify", "--store", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line == f"snlib: {tmp_path}/records/0123456789abcdef.json: Is a directory\n"


def test_no_command_and_unknown_options_show_usage(capsys):
    for arguments in ([], ["rum"], ["run"], ["run", "tiny", "--worker"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2 and "usage: python -m snlib" in capsys.readouterr().err


def test_a_damaged_record_is_named_and_nothing_computed(computed, capsys):
    store = computed[0]
    path = store.record_path(TINY.at("quick")[0].name)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        assert main(["run", "tiny", "--store", str(store.root)]) == 2
    finally:
        path.write_bytes(whole)
    err = capsys.readouterr().err
    assert f"record {path.name} is damaged" in err and f"Delete {path}" in err


def test_a_budget_is_kept_carried_and_continued(tmp_path, capsys):
    away, home = Store(tmp_path / "away"), Store(tmp_path / "home")
    place = ("slow", "--store", away.root, "--workers", "1")
    process = tiny_experiment.start("run", *place, "--budget", "30s", "--split")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    # On a busy machine the budget may be over before the first run is.
    left = re.fullmatch(r"snlib: runs not finished: ([12]); the same command goes on\.\n", err)
    short, endless = SLOW.at("quick")
    finished = {path.stem for path in away.records.glob("*.json")}
    assert finished == ({short.name} if left[1] == "1" else set())
    assert {path.stem for path in away.work.glob("*.pt")} <= {endless.name}
    if not finished:
        pytest.skip("too busy a machine: no run was done in time, nothing is there to carry")
    table, bundle = out.split()
    assert table.endswith("slow.quick.csv")  # the time in the name: no bundle replaces another
    name = r"bundle\.quick\.\d{8}-\d{6}\.zip"
    assert re.fullmatch(re.escape(f"{away.root}{os.sep}") + name, bundle)
    assert main(["merge", bundle, "--store", str(home.root)]) == 0
    assert results.load_record(short.name, home) == results.load_record(short.name, away)
    reached = checkpoints.look(home.checkpoint_path(endless.name), endless.name)
    assert worker.work_alone(endless, SLOW.suites, home, "cpu", None, time.time() + 2)
    assert checkpoints.look(home.checkpoint_path(endless.name), endless.name) > reached > 0


def test_a_budget_too_short_for_any_run(tmp_path, capsys, monkeypatch):
    slow = Speed("a device", machine=lambda: Machine("by hand", 1e9, 100.0))
    monkeypatch.setattr(speed, "learned", lambda records, device: slow)
    assert main(["run", "tiny", "steady", "--budget", "90s", "--store", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    quickest = min((*TINY.at("quick"), *STEADY.at("quick")), key=slow.epoch)
    assert out == "" and err.count("\n") == 1
    assert "--budget is 90s, too short for any run: a worker starts in about" in err
    assert f"(run {quickest.name}: softmax, digits, ERM)" in err
    needed = int(re.search(r"give (\d+)s or more", err)[1])
    assert needed > slow.epoch(quickest) and not list(tmp_path.iterdir())


def test_a_budget_on_a_cluster_asks_this_machine_for_no_gpu(tmp_path, capsys, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    away = ["--cluster", "ray://127.0.0.1:9", "--device", "cuda"]  # nobody listens there
    assert main(["run", "tiny", "--budget", "25m", *away, "--store", str(tmp_path)]) == 2
    assert "no Ray cluster answers at ray://127.0.0.1:9" in capsys.readouterr().err


def test_a_bundle_without_a_budget(computed, tmp_path, capsys):
    store, file = computed[0], tmp_path / "all.zip"
    assert main(["run", "tiny", "--store", str(store.root), "--bundle", str(file)]) == 0
    assert capsys.readouterr().out.split()[-1] == str(file)
    assert main(["merge", str(file), "--store", str(tmp_path / "home")]) == 0
    assert times(Store(tmp_path / "home")).keys() == times(store).keys()


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")
def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = tiny_experiment.start("run", "slow", "--store", tmp_path, "--workers", "2")
    first = Store(tmp_path).record_path(SLOW.at("quick")[0].name)
    wait_for(first.exists, process)
    out, err = interrupted(process)
    assert process.returncode == 130 and out == ""
    assert err.strip().count("\n") == 0 and "Traceback" not in err
    assert "Stopped. Finished records are whole" in err and "the same command goes on" in err
    assert results.load_record(first.stem, Store(tmp_path)) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")
@pytest.mark.parametrize("children", [2, 3], ids=["first", "second"])
def test_ctrl_c_while_workers_start(children, tmp_path):
    psutil = pytest.importorskip("psutil")
    process = tiny_experiment.start("run", "slow", "--store", tmp_path, "--workers", "2")
    parent = psutil.Process(process.pid)
    # multiprocessing's resource tracker and one worker or two, the last of them just started
    wait_for(lambda: len(parent.children()) >= children, process)
    out, err = interrupted(process)
    assert process.returncode == 130 and out == "", err
    assert err.strip().count("\n") == 0 and err.strip().startswith("Stopped."), err


def interrupted(process: subprocess.Popen) -> tuple[str, str]:
    """Press Ctrl-C and return what the command printed.

    Its pipes close only with the last process that holds them, so a worker that stays is an error.
    """
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "it ended or hangs"
        time.sleep(0.02)
