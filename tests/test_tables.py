"""Tables are functions of records, and say so when they are not; means and intervals by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tiny_experiment import TINY

from snlib import experiments, results, tables, tidy
from snlib.errors import UserError
from snlib.experiments import Experiment, grid
from snlib.results import Store, save_record
from snlib.runs import Run
from snlib.statistics import interval, means


def record_of(run: Run, **changes) -> dict:
    rows = {
        "suite": ["accuracy", "accuracy", "history", "robustness", "accuracy"],
        "split": ["test", "train", "train", "test", ""],
        "attack": ["none", "training", "training", "pgm", ""],
        "quantity": ["accuracy", "accuracy", "loss", "accuracy", "unasked"],
        "x": [math.nan, math.nan, 1.0, 0.5, math.nan],
        "value": [0.25 + run.seed / 10, 1 / 3, math.nan, 0.125, 7.0],
    }
    about = {"data": "digits 8x8", "device": "CPU (abacus)", "software": "Python 3, torch 2"}
    about |= {"commit": "abc", "seconds": 1800.0, "finished": f"2026-11-2{run.seed}"}
    return {
        "settings": run.settings(), "diverged": run.beta == 1.3, "rows": rows,
        "suites": ["accuracy", "history", "robustness", "spectrum"], "mean_norm": 3.5,
        "provenance": about,
    } | changes  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """A store with the records of a tiny experiment, made by hand, and its table."""
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", TINY)
    place = Store(tmp_path)
    for run in TINY.at("quick"):
        save_record(record_of(run), place)
    assert tables.write("tiny", "quick", place) == place.table_path("tiny", "quick")
    return place


def test_a_setting_that_older_records_leave_out_is_a_column_where_it_varies(tmp_path, monkeypatch):
    base = dict(data="digits", train_size=60, net="mlp1", epochs=2)

    def runs(base_of_scale, seeds):
        return grid(base, (0, 1), beta=1.3, temperature=(1.0, 8.0), select=("last", "best"))

    later = Experiment("later", "two temperatures", "04", runs, frozenset({"loss"}))
    later = dataclasses.replace(later, suites=frozenset({"history"}))
    monkeypatch.setitem(experiments.EXPERIMENTS, "later", later)
    place = Store(tmp_path)
    for run in later.at("quick"):
        save_record(record_of(run), place)
    tables.write("later", "quick", place)
    table = tables.load("later", "quick", place)
    assert [(row.run, row.temperature, row.select) for row in table.itertuples()] == [
        (run.name[:10], run.temperature, run.select) for run in later.at("quick")
    ]
    assert not any("temperature" in run.settings() for run in later.at("quick")[:2])


def test_a_table_holds_the_rows_of_its_records(store):
    table = tables.load("tiny", "quick", store)
    assert list(table) == [
        "run", "labels", "scheme", "norm", "eps_ratio", "attack_labels", "beta", "norm_kind",
        "tracker", "sigma_gradient", "seed", "diverged", "split", "attack", "quantity", "x",
        "value",
    ]  # fmt: skip
    expected = [
        (run.name[:10], run.scheme, run.beta, run.beta == 1.3, split, attack, value)
        for run in TINY.at("quick")
        for split, attack, value in (("test", "none", 0.25), ("train", "training", 0.333333))
    ]
    names = ["run", "scheme", "beta", "diverged", "split", "attack", "value"]
    found = [tuple(row) for row in table[names].itertuples(index=False)]
    assert found == expected  # neither the loss nor rows of suites of other experiments
    assert table["x"].isna().all() and set(table["labels"]) == {"true"}
    assert table["norm"].isna().tolist() == (table["scheme"] == "erm").tolist()


def test_making_is_a_function_of_records_alone(store):
    before = tables.make("tiny", "quick", store)
    assert before == tables.make("tiny", "quick", store)
    path = store.table_path("tiny", "quick")
    written = path.stat().st_mtime_ns
    tables.write("tiny", "quick", store)
    assert path.stat().st_mtime_ns == written  # the same text is not written again
    path.unlink()
    tables.write("tiny", "quick", store)
    assert path.read_text() == before
    assert (
        tables.make("gap", "quick", store) is None and tables.write("gap", "quick", store) is None
    )


def test_more_measurements_by_another_experiment_change_no_table(store):
    before = tables.make("tiny", "quick", store)
    run = TINY.at("quick")[0]
    record = record_of(run)
    for column, value in zip(
        record["rows"], ("standard", "test", "pgm", "accuracy", 1.0, 0.9), strict=True
    ):
        record["rows"][column].append(value)
    save_record(record | {"suites": [*record["suites"], "standard"]}, store)
    assert tables.make("tiny", "quick", store) == before


def test_a_record_that_lacks_a_suite_is_not_in_the_table(store):
    run = TINY.at("quick")[0]
    save_record(record_of(run, suites=["history", "accuracy"]), store)
    text = tables.make("tiny", "quick", store)
    assert run.name[:10] not in text and '"done": 3' in text and '"runs": 4' in text


def test_verify_finds_every_tampering(store):
    assert tables.verify(store) == []
    path = store.table_path("tiny", "quick")
    text = path.read_text()
    path.write_text(text.replace("0.333333", "0.433333", 1))
    (line,) = tables.verify(store)
    assert line.startswith("tiny.quick.csv differs from its records")
    path.write_text(text.rsplit("\n", 2)[0] + "\n")  # a row left out
    assert len(tables.verify(store)) == 1
    path.write_bytes(b"\xff\xfe")
    assert len(tables.verify(store)) == 1
    path.write_text(text)
    assert tables.verify(store) == []

    record = store.record_path(TINY.at("quick")[0].name)
    whole = record.read_text()
    record.write_text(whole.replace("0.25", "0.75"))  # a measurement edited
    assert len(tables.verify(store)) == 1
    record.write_text(whole[:-40])
    (line,) = tables.verify(store)
    assert f"{record.name} is damaged" in line
    record.unlink()
    assert "differs from its records" in tables.verify(store)[0]
    record.write_text(whole)

    for stray in ("gab.quick.csv", "gap.csv", "gap.huge.csv"):
        (store.root / stray).write_text("")
        (line,) = tables.verify(store)
        assert line.startswith(f"{stray} belongs to no experiment")
        (store.root / stray).unlink()
    (store.root / "gap.quick.csv").write_text("")  # a table without records
    assert "gap.quick.csv differs" in tables.verify(store)[0]


def redefined(monkeypatch, runs) -> None:
    other = Experiment("tiny", "only a test", "00", runs, TINY.quantities, TINY.suites)
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", other)


def test_a_table_of_other_settings_is_refused_naming_the_setting(store, monkeypatch):
    usual = TINY.runs
    redefined(monkeypatch, lambda base, seeds: usual({**base, "learning_rate": 0.2}, seeds))
    with pytest.raises(UserError) as refused:
        tables.load("tiny", "quick", store.root)
    line = str(refused.value)
    assert "tiny.quick.csv was recorded with learning_rate=0.05, now 0.2" in line
    assert f"python -m snlib run tiny --scale quick --store {store.root}" in line
    redefined(monkeypatch, lambda base, seeds: usual({**base, "width": 0.125 + 1e-12}, seeds))
    with pytest.raises(UserError, match=r"width=0\.125, now 0\.125000000001"):
        tables.load("tiny", "quick", store)


def test_a_table_with_a_run_too_many_is_refused(store, monkeypatch):
    usual = TINY.runs
    redefined(monkeypatch, lambda base, seeds: [r for r in usual(base, seeds) if r.beta != 1.3])
    with pytest.raises(UserError, match=r"holds a run .*beta=1\.3"):
        tables.load("tiny", "quick", store)


def test_a_table_without_a_column_that_now_varies_is_refused(store, monkeypatch):
    usual = TINY.runs
    redefined(
        monkeypatch,
        lambda base, seeds: usual(base, seeds) + [Run(**r.settings() | {"epochs": 3})
                                                  for r in usual(base, seeds)],
    )  # fmt: skip
    with pytest.raises(UserError, match=r"as columns, now .*epochs"):
        tables.load("tiny", "quick", store)


def test_absent_and_foreign_tables(store):
    with pytest.raises(UserError) as refused:
        tables.load("gap", "paper@mnist", store.root)
    assert "nothing is recorded of gap at scale paper@mnist" in str(refused.value)
    assert "run gap --scale paper --data mnist" in str(refused.value)
    path = store.table_path("tiny", "quick")
    header, rest = path.read_text().split("\n", 1)
    for text in ("", rest, "# nonsense\n" + rest, "# 3\n" + rest, "# {}\n" + rest):
        path.write_text(text)
        with pytest.raises(UserError, match=r"tiny\.quick\.csv has no header line"):
            tables.load("tiny", "quick", store)
    path.write_text(header + "\n" + rest.replace("0.25", "a quarter"))
    with pytest.raises(UserError, match=r"tiny\.quick\.csv is damaged"):
        tables.load("tiny", "quick", store)
    lines = rest.splitlines(keepends=True)
    for cut in (rest[:-1], rest[:-3], "".join(lines[:-1]), "".join(lines[:2])):
        path.write_text(header + "\n" + cut)
        with pytest.raises(UserError, match=r"csv is damaged: it holds \d+ of \d+ rows.* run tiny"):
            tables.load("tiny", "quick", store)
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        tables.load("tinny", "quick", store)


def test_names_that_look_like_numbers_stay_names(store):
    path = store.table_path("tiny", "quick")
    text = path.read_text()
    for run, name in zip(TINY.at("quick"), ("0012345678", "12345e6789", "1e5"), strict=False):
        text = text.replace(run.name[:10], name)
    path.write_text(text)
    table, _ = tidy.read_table(path)
    assert {"0012345678", "12345e6789", "1e5"} <= set(table["run"])


def test_infinite_measurements_come_back(store):
    run = TINY.at("quick")[0]
    record = record_of(run)
    record["rows"]["value"][:2] = [math.inf, math.nan]
    save_record(record, store)
    tables.write("tiny", "quick", store)
    table = tables.load("tiny", "quick", store)
    values = table[table["run"] == run.name[:10]]["value"].tolist()
    assert values[0] == math.inf and math.isnan(values[1])


def test_provenance_is_the_same_text_everywhere(store):
    text = results.provenance(tables.load("tiny", "quick", store))
    assert text == (
        "tiny at scale quick: only a test (tiny)\n"
        "runs      4 of 4, seeds 0\n"
        "diverged  2\n"
        "device    CPU (abacus)\n"
        "software  Python 3, torch 2\n"
        "computing 2.00 hours, finished 2026-11-20"
    )


def test_provenance_has_no_long_lines(store):
    table = tables.load("tiny", "quick", store)
    table.attrs["provenance"]["devices"] = [f"CPU number {index}" for index in range(12)]
    lines = results.provenance(table).splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) == 6 + 1
    assert lines[3].startswith("device    CPU number 0, ") and lines[4].startswith(
        " " * 10 + "number"
    )


def test_the_header_holds_what_all_runs_share(store):
    header = json.loads(store.table_path("tiny", "quick").read_text().split("\n", 1)[0][2:])
    runs = TINY.at("quick")
    for key, value in header["settings"].items():
        assert {results.plain(run.settings()[key]) for run in runs} == {value}
    columns = {*header["columns"]}
    assert columns | set(header["settings"]) == set(runs[0].settings())
    assert header["mean_norm"] == [3.5] and header["commits"] == ["abc"]


def test_varying_columns():
    runs = grid({"data": "digits"}, (0, 1), scheme="erm", beta=1.3, width=(0.5, 1.0))
    assert tables.varying(runs) == ["labels", "width", "scheme", "beta", "seed"]


# -------------------------------------------------------------------------------- means, intervals


def test_interval_is_students():
    values = pd.Series([0.51, 0.55, 0.62])
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert mean == pytest.approx(0.56) and (mean - half, mean + half) == pytest.approx((low, high))
    # by hand: t(0.975, 2) = 4.3027, s = 0.0556776
    assert half == pytest.approx(4.302653 * 0.0556776 / math.sqrt(3), rel=1e-4)
    assert interval(values, 0.5)[1] == pytest.approx(0.8164966 * 0.0556776 / 3**0.5, rel=1e-4)
    mean, half = interval(pd.Series([0.4]))
    assert mean == 0.4 and math.isnan(half)


def test_means_of_groups():
    table = pd.DataFrame(
        {
            "scheme": ["erm", "erm", "fgm", "fgm", "fgm"],
            "norm": [np.nan, np.nan, 2.0, 2.0, 2.0],
            "beta": [math.inf] * 5,
            "value": [1.0, 3.0, 1.0, 2.0, 6.0],
        }
    )
    found = means(table, ["scheme", "norm", "beta"])
    assert found["scheme"].tolist() == ["erm", "fgm"] and found["seeds"].tolist() == [2, 3]
    assert found["mean"].tolist() == [2.0, 3.0]
    expected = [stats.t.ppf(0.975, 1) * math.sqrt(2) / math.sqrt(2)]
    expected.append(stats.t.ppf(0.975, 2) * math.sqrt(7) / math.sqrt(3))
    assert found["half"].tolist() == pytest.approx(expected)
    assert means(table, ["beta"])["mean"].tolist() == [2.6]


def test_what_the_table_leaves_out_is_read_from_the_records(store):
    table = tables.load("tiny", store=store)
    assert set(table["quantity"]) == {"accuracy"}
    other = tables.measured("tiny", ("loss", "accuracy"), store=store)
    same = other[other["quantity"] == "accuracy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same[table.columns], table, rtol=1e-5, check_dtype=False)
    assert (other["quantity"] == "loss").sum() == len(TINY.at("quick"))
    # the accuracy under the attack belongs to a suite that this experiment does not ask for
    assert not (other["attack"] == "pgm").any()
    stored, read = table.attrs["provenance"], other.attrs["provenance"]
    assert all(read[key] == stored[key] for key in ("settings", "columns", "mean_norm", "data"))


def test_quantities_that_are_not_there_are_named(store, tmp_path):
    with pytest.raises(UserError, match=r"the records of tiny hold no margin, wit\."):
        tables.measured("tiny", ("wit", "loss", "margin"), store=store)
    with pytest.raises(UserError, match=r"nothing is recorded of tiny at scale laptop"):
        tables.measured("tiny", ("loss",), "laptop", store=store)


def test_tables_of_larger_scales_come_nearest_first(store):
    assert tables.nearer("tiny", store) == {}
    content = store.table_path("tiny", "quick").read_text(encoding="utf-8")
    runs = {scale: TINY.at(scale) for scale in ("laptop", "paper", "paper@fashion_mnist_subset")}
    for scale, of_scale in runs.items():
        for run in of_scale:
            save_record(record_of(run), store)
        tables.write("tiny", scale, store)
    found = tables.nearer("tiny", store)
    assert [*found] == ["paper", "paper@fashion_mnist_subset", "laptop"]
    for scale, table in found.items():
        pd.testing.assert_frame_equal(table, tables.load("tiny", scale, store))
        assert table.attrs["provenance"]["scale"] == scale
    assert store.table_path("tiny", "quick").read_text(encoding="utf-8") == content
