"""What `list` says: state, costs, figures; and every row of Table 1 line by line with the facts."""

from __future__ import annotations

import dataclasses
import re

import pandas as pd
import pytest
import tiny_experiment
from tiny_experiment import TINY

from snlib import costs, experiments, listing, provenance, results, room, speed
from snlib.experiments import EXPERIMENTS, experiment, settings_of
from snlib.experiments.catalogue import ITEMS, stands_for
from snlib.experiments.table1 import published_configurations
from snlib.listing.settings import block
from snlib.listing.state import command, state
from snlib.listing.table import table, time
from snlib.results import ROOT, Store
from snlib.runs import OF_TRAINING, Run
from snlib.workbook.record import fill

SUITES = ["accuracy", "history", "spectrum"]
COLUMNS = ("suite", "split", "attack", "quantity", "x", "value")
PUBLISHED = pd.read_csv(ROOT / "data" / "paper" / "table1.csv")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(
        experiments, "EXPERIMENTS", {**experiments.EXPERIMENTS, **tiny_experiment.EXPERIMENTS}
    )


def recorded(run: Run, store: Store, seconds: float, device: str | None = None, suites=SUITES):
    about = {"seconds": seconds, "device": device or provenance.device_name("cpu")}
    results.save_record(
        {"settings": run.settings(), "suites": suites, "diverged": False, "mean_norm": 3.5,
         "rows": {key: [0.0] for key in COLUMNS}, "provenance": about}, store,
    )  # fmt: skip


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line)


# ------------------------------------------------------------------------------ state and costs


def test_the_table_counts_what_is_done_and_what_is_missing(tmp_path):
    store, runs = Store(tmp_path), TINY.at("quick")
    recorded(runs[0], store, 3.0)
    recorded(runs[1], store, 5.0, suites=["history"])  # not all that the experiment wants
    lines = table(["tiny"], ["quick"], store)
    assert cells(lines[0])[:4] == ["experiment", "scale", "done", "missing"]
    assert cells(lines[1])[:4] == ["tiny", "quick", "1/4", "3"] and len(lines) == 5
    both = table(["tiny", "steady"], ["quick", "paper"], store)
    assert [cells(line)[:4] for line in both[1:7]] == [
        ["tiny", "quick", "1/4", "3"], ["tiny", "paper", "0/4", "4"],
        ["steady", "quick", "0/4", "4"], ["steady", "paper", "0/4", "4"],
        ["all, once", "quick", "1/8", "7"], ["all, once", "paper", "0/8", "8"],
    ]  # fmt: skip
    assert "only a test (tiny)" in both[1] and "only a test (tiny)" not in both[2]


def test_recorded_seconds_are_the_cost_here(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for run in TINY.at("quick"):
        recorded(run, store, 900.0)
    lines = table(["tiny"], ["quick"], store)
    workers = re.search(r"what is missing; (\d+) runs side by side", lines[2])[1]
    assert cells(lines[1])[4:6] == [time(3600.0 / int(workers)), time(0.0)]
    assert "from 4 of its records" in lines[2] and "GFLOP" not in lines[2]
    slow = costs.Machine("by hand", flops=2e9, launch=0.5)
    monkeypatch.setattr(speed, "calibrated", lambda device: slow)
    empty = table(["tiny"], ["quick"], Store(tmp_path / "none"))
    runs = TINY.at("quick")
    taken = sum(costs.seconds(run, slow) + costs.measuring(run, slow) for run in runs)
    assert cells(empty[1])[4:6] == [time(taken / int(workers))] * 2
    assert ", by hand: 2 GFLOP/s, 5e+02 ms a layer" in empty[2]
    assert "assumed: 20 TFLOP/s" in empty[3]


def test_what_is_left_is_what_is_missing(tmp_path):
    """A record without a suite that the experiment wants is no help."""
    first, second, *_ = TINY.at("quick")
    recorded(first, Store(tmp_path), 7200.0)
    recorded(second, Store(tmp_path), 7200.0, suites=["history"])
    known = speed.learned(
        {one: results.load_record(one.name, Store(tmp_path)) for one in (first, second)}
    )
    left = sum(known.seconds(run, frozenset(SUITES)) for run in TINY.at("quick")[1:])
    found = table(["tiny"], ["quick"], Store(tmp_path))
    workers = re.search(r"missing; (\d+) runs", found[2])[1]
    assert cells(found[1])[5] == time(left / int(workers))


def test_runs_whose_time_is_measured_are_counted_one_by_one(tmp_path, monkeypatch):
    timed = dataclasses.replace(TINY, suites=OF_TRAINING)
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", timed)
    monkeypatch.setattr(room, "room", lambda device, runs: room.Room(4, "by hand"))
    for run in timed.at("quick"):
        recorded(run, Store(tmp_path), 900.0, suites=sorted(OF_TRAINING))
    assert cells(table(["tiny"], ["quick"], Store(tmp_path))[1])[4] == time(3600.0)


def test_the_note_counts_the_workers_that_the_times_do(tmp_path, monkeypatch):
    """A run of scale paper may need the memory of two."""
    held = set(TINY.at("paper")) - set(TINY.at("quick"))

    def by_hand(device, runs):
        return room.Room(1 if held & set(runs) else 3, "by hand")

    monkeypatch.setattr(room, "room", by_hand)
    assert "missing; 3 runs side" in table(["tiny"], ["quick"], Store(tmp_path))[-3]
    assert "missing; 1 to 3 runs side" in table(["tiny"], ["quick", "paper"], Store(tmp_path))[-3]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (89, "89 s"), (90, "1.5 min"), (630, "10 min"), (5400, "1.5 h"),
     (36_000, "10 h"), (129_600, "1.5 d"), (8_640_000, "100 d")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert time(seconds) == words


# ------------------------------------------------------------------------------------ catalogue


def test_every_figure_and_table_of_the_paper_is_listed(tmp_path):
    sections = ["F-train", "F-elu", "F-inc-res", "F-linf", "F-gain", "F-kappa", "F-margins"]
    sections += ["F-rand", "F-adv", "F-scatter", "Table 1", "Table 2", "Appendix"]
    assert [item.name.partition(" (")[0] for item in ITEMS] == sections
    text = "\n".join(table(list(EXPERIMENTS), ["quick", "laptop", "paper"], Store(tmp_path)))
    for item in ITEMS:
        assert str(item) in text
        for name in item.experiments:
            assert item in stands_for(name)
            one = experiment(name)
            assert one.notebook == item.notebook and (set(one.scales) & {"paper", "quick"})
    assert set(re.findall(r"^(\w+) +(?:quick|laptop|paper) ", text, re.M)) == set(EXPERIMENTS)


# ------------------------------------------------------------------------------------- settings


def said(runs: list[Run]) -> dict[str, str]:
    lines = block(runs, settings_of("paper")[0])
    assert all(len(line) < 260 for line in lines)
    return {line[4:17].strip(): line[18:] for line in lines[1:]}


def test_settings_on_a_part_and_on_a_folder_of_one_s_own():
    lines = said([Run(data="cifar10_lossless")])
    assert lines["data"].startswith("cifar10_lossless: 5,085 training images, 28x28x3")
    assert lines["validation"].startswith("the first 254 test images")  # a quarter of 1,017
    lines = said([Run(data="my_images", train_size=300)])
    assert lines["data"].startswith("my_images: 300 training images (a part); its sizes are not")
    assert "of few a quarter" in lines["validation"]


NETS = {"alexnet_elu": "elu_alexnet", "elunet": "elu_net", "mlp1_elu": "mlp1", "mlp2_elu": "mlp2"}
PARAMETERS = {
    ("cifar10", "alexnet"): "4,237,130", ("cifar10", "elu_alexnet"): "4,237,130",
    ("svhn", "alexnet"): "4,237,130", ("cifar10", "inception"): "1,810,682",
    ("cifar10", "resnet"): "1,481,146", ("mnist", "elu_net"): "710,218",
    ("cifar10", "mlp1"): "1,209,866", ("cifar10", "mlp2"): "1,472,522",
    ("mnist", "mlp1"): "407,050", ("mnist", "mlp1_relu"): "407,050",
    ("mnist", "mlp2"): "669,706", ("mnist", "mlp2_relu"): "669,706",
    ("mnist", "softmax"): "7,850",
}  # fmt: skip
IMAGES = {"cifar10": "50,000", "mnist": "55,000", "svhn": "73,257"}
C2 = {"cifar10": 48.654, "mnist": 9.2157}
ROWS = PUBLISHED[PUBLISHED["setting"] == "no_sn"]


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row.Index)) for row in ROWS.itertuples()])
def test_the_settings_of_every_configuration_read_as_the_facts_do(row):
    net = NETS.get(row.architecture, row.architecture)
    eps = row.eps if row.norm == "linf" else None
    (one,) = [
        one
        for one in published_configurations()
        if (one.data, one.net, one.scheme, one.eps) == (row.dataset, net, row.training, eps)
    ]
    lines = said(one.runs())
    assert lines["protocol"] == "paper" and lines["seeds"] == "0 1 2"
    colour = row.dataset != "mnist"
    form = "28x28x3, whitened one by one, then cropped" if colour else "28x28x1, raw in [0, 1]"
    assert lines["data"] == (
        f"{row.dataset}: {IMAGES[row.dataset]} training images, {form}, 10 classes"
    )
    assert lines["validation"] == "the first 500 test images, the rest is the test set"
    assert lines["network"].startswith(f"{net}: {PARAMETERS[row.dataset, net]} parameters")
    assert lines["batch"] == "128, a last partial batch dropped"
    epochs = 25 if net == "elu_net" else 200
    assert lines["epochs"].startswith(f"{epochs} at most; stop when the mean running training")
    assert lines["epochs"].endswith("of the last 5 is >= 0.999")
    adam = row.dataset == "mnist" or net.startswith("mlp")
    sgd = "SGD, momentum 0.9, not Nesterov, rate 0.01 * 0.95^(epoch/390)"
    assert lines["optimizer"] == ("Adam, rate 0.001, constant" if adam else sgd)
    assert (lines["kept"], lines["weight decay"]) == ("the last epoch", "0")
    assert lines["augmentation"] == "none"
    assert lines["budget"].startswith("beta inf ") and "norm of every layer" in lines["budget"]
    if row.training == "erm":
        assert lines["attack"] == "none" and "radius" not in lines
        return
    norm = "linf" if row.norm == "linf" else "l2"
    assert lines["attack"] == (
        f"{row.training.upper()} in {norm}, label: the net's clean prediction, no random start, "
        "no clipping"
    )
    mean = C2.get(row.dataset)
    if row.training == "wrm":
        ratio = 0.04 if row.dataset == "mnist" else 0.002
        rule = f"gamma = {ratio:g} C2" + (f" = {ratio * mean:.4g}" if mean else "")
        assert lines["gamma"] == rule and lines["steps"] == "1 + 15"
        if mean:  # as the file has it, 5.138 and 1.3564
            found = re.search(r"eps_w = 1 / \(2 gamma\) = ([\d.]+); .* = ([\d.]+)$",
                              lines["step of WRM"])  # fmt: skip
            assert float(found[1]) == pytest.approx(row.eps, rel=1e-3)
            assert float(found[2]) == pytest.approx(2 * ratio * mean, rel=1e-3)
        return
    if row.norm == "linf":
        assert lines["radius"] == f"eps = {row.eps:g}"
    elif mean:
        assert lines["radius"].startswith("eps = 0.05 C2 = ")
        assert float(lines["radius"].split()[-1]) == pytest.approx(row.eps, rel=1e-3)
    else:
        assert lines["radius"] == "eps = 0.05 C2"
    if row.training == "pgm":
        assert lines["steps"].startswith("r = 15, alpha = 2 eps / 15")
        if row.norm == "l2" and row.dataset == "cifar10":
            assert lines["steps"].endswith(" = 0.324")
    assert ("steps" in lines) == (row.training == "pgm")


def test_what_a_run_departs_in_is_said():
    run = Run.of(
        scheme="pgm", attack_labels="true", random_start=True, restarts=3, clip=True,
        validation="train", select="best", schedule="piecewise", augment=True, stop_accuracy=2.0,
        temperature=4.0, labels="true", beta=1.3, tracker="power", sigma_gradient="detached",
    )  # fmt: skip
    lines = said([run])
    assert lines["protocol"].startswith("custom (validation=train, attack_labels=true, ")
    assert lines["attack"] == (
        "PGM in l2, label: the true one, random start, measured with 3 restarts, "
        "clipped to the range of pixels"
    )
    assert lines["optimizer"].endswith(
        "a tenth from half of the epochs on, a hundredth from three quarters"
    )
    assert lines["epochs"] == "200, all of them" and "divided by 4" in lines["network"]
    assert lines["kept"] == "the epoch best on validation" and "mirror" in lines["augmentation"]
    assert "by one power iteration a step, gradient with sigma held fixed" in lines["budget"]
    assert lines["validation"] == "images from outside the test set"
    trades = said([Run(scheme="trades", labels="random", width=0.5)])
    assert (
        "clean cross-entropy + 6 KL" in trades["training"]
        and "width times 0.5" in trades["network"]
    )
    assert (
        "labels drawn once at random" in trades["data"] and "C2 = E||x||_2 of" in trades["training"]
    )


def test_a_scale_is_named_where_its_numbers_are_not_the_papers():
    base, _ = settings_of("quick")
    run = Run.of(**base, scheme="pgm")
    lines = block([run], base, 4.0)
    assert "paper; its numbers are the scale's, see below" in lines[1]
    assert any("eps = 0.15 C2 = 0.6" in line for line in lines)


def test_blocks_name_every_record_and_its_state(tmp_path):
    store, runs = Store(tmp_path), TINY.at("quick")
    recorded(runs[0], store, 1.0)
    lines = listing.settings("tiny", "quick", store)
    for run in runs:
        (line,) = [line for line in lines if run.name in line]
        assert line.split()[:2] == ["beta", f"{run.beta:g}"]
        assert line.endswith("1 of 1 done" if run == runs[0] else "0 of 1 done")
    titles = [line.strip() for line in lines if re.match(r"  \w", line)]
    assert titles == ["digits, softmax, ERM", "digits, softmax, FGM l2"]
    assert any("C2 = E||x||_2 = 3.5" in line for line in lines)


# -------------------------------------------------------------------------------- the README's map


def test_the_map_of_the_readme_is_fresh():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill(readme, "map", listing.evidence()) == readme, "run: python -m snlib.workbook record"


def test_the_map_has_every_figure_every_experiment_and_its_state(tmp_path):
    text = listing.evidence(Store(tmp_path), notebooks=ROOT / "notebooks")
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    assert {len(row) for row in rows} == {5}
    assert [row[0] for row in rows[: len(ITEMS)]] == [f"| {item}" for item in ITEMS]
    for name in EXPERIMENTS:
        assert f"`{name}`" in text
    assert {row[4] for row in rows} == {"none yet |"}
    paper = "`python -m snlib run table1_cifar10 table1_mnist table1_svhn --scale paper`"
    assert paper in text


def test_state_adds_up_the_tables_of_experiments(tmp_path):
    for name, scale, done, runs in (("tiny", "paper", 2, 4), ("tiny", "quick", 4, 4),
                                    ("steady", "quick", 1, 4), ("tinyish", "quick", 9, 9),
                                    ("tiny", "paper@svhn", 1, 4)):  # fmt: skip
        header = f'# {{"settings": {{}}, "columns": [], "done": {done}, "runs": {runs}}}\nrun\n'
        (tmp_path / f"{name}.{scale}.csv").write_text(header)
    both = [tiny_experiment.EXPERIMENTS[name] for name in ("tiny", "steady")]
    # steady has no table at paper, and its four runs are missing there all the same
    expected = "quick 5 of 8, paper 2 of 8, paper@svhn 1 of 8"
    assert state(both, Store(tmp_path)) == expected
    assert command(both) == "python -m snlib run tiny steady --scale paper"
    assert command([EXPERIMENTS["table1_digits"]]).endswith("run table1_digits --scale quick")
