"""Benchmark records and their figures: what is drawn and judged is what the rows say."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snlib.errors import UserError
from snlib.figures import REGISTRY, benchmarks, style

STAMP = dict(repeats=3, date="2026-01-02", machine="a machine", versions="x 1", command="python a")


def row(benchmark, contestant, setting, quantity, value, low=math.nan, high=math.nan) -> dict:
    """One measured number."""
    keys = dict(benchmark=benchmark, contestant=contestant, setting=setting, quantity=quantity)
    return {**keys, "value": value, "low": low, "high": high, **STAMP}


def cost(ratio: float, *, attack="none", contestant="ours", **other) -> list[dict]:
    """The rows of one contestant's training step; the plain step takes half a second."""
    parts = {"net": "alexnet", "width": 1.0, "batch": 128, "size": 28, **other}
    where = " ".join(f"{name}={value}" for name, value in parts.items()) + f" attack={attack}"
    return [
        row("spectral_cost", contestant, where, "ratio", ratio, ratio - 0.02, ratio + 0.02),
        row("spectral_cost", "plain", where, "seconds", 0.5),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, as the scripts write them."""
    thin = dict(width=0.25, batch=64)
    steps = [
        *cost(1.10),
        *cost(1.04, contestant="torch"),
        *cost(1.001, attack="pgm"),
        *cost(1.5, **thin),
        *cost(2.4, width=0.25, batch=16),
        *cost(1.7, width=0.125, batch=64),
        *cost(1.3, width=0.25, batch=64, size=40),
        *cost(2.9, net="mlp2", **thin),
    ]
    others = [
        row("spectral_error", name, "layer=3->9_5x5_8", quantity, value)
        for name, error, seconds in (("ours", 0.01, 0.2), ("power", -0.3, 0.02))
        for quantity, value in (("error", error), ("seconds", seconds))
    ]
    for net, ratios in (("alexnet", (0.8, 0.5)), ("alexnet_nolrn", (0.9, 0.41))):
        names = ("snlib, channels_last", "snlib, bfloat16, channels_last")
        for name, ratio in zip(names, ratios, strict=True):
            for number in (15, 1):
                where = f"net={net} batch=8 steps={number}"
                ranged = (ratio, ratio - 0.1, ratio + 0.1)
                others.append(row("attacks", name, where, "ratio", *ranged))
    over = {"median overshoot": 1e-5, "worst overshoot": 0.02, "milliseconds": 1.5}
    for quantity, value in over.items():
        where = "optimizer=sgd seed=0 layer=all"
        others.append(row("spectral_overshoot", "default", where, quantity, value))
    pd.DataFrame(steps).drop_duplicates().to_csv(tmp_path / "spectral_cost.csv", index=False)
    pd.DataFrame(others).to_csv(tmp_path / "others.csv", index=False)
    return tmp_path


@pytest.fixture
def table(folder: Path) -> pd.DataFrame:
    return benchmarks.load(folder)


def test_settings_become_columns(table) -> None:
    chosen = table[(table["benchmark"] == "attacks") & (table["net"] == "alexnet_nolrn")]
    assert set(chosen["steps"]) == {15, 1} and set(chosen["batch"]) == {8}
    assert chosen["width"].isna().all()
    assert set(table["attack"].dropna()) == {"none", "pgm"}


def test_no_table_and_no_row_are_named(tmp_path, table) -> None:
    with pytest.raises(UserError, match="--record"):
        benchmarks.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="ratio of spectral_cost is recorded for batch 7"):
        benchmarks.of(table, "spectral_cost", "ratio", batch=7)
    with pytest.raises(UserError, match="colour red"):
        benchmarks.of(table, "attacks", "ratio", colour="red")


def test_what_the_time_buys_is_a_row_a_training(table) -> None:
    (found,) = benchmarks.trained(table).to_dict("records")
    assert (found["optimizer"], found["contestant"], found["seed"]) == ("sgd", "default", 0)
    assert (found["median overshoot"], found["worst overshoot"]) == (1e-5, 0.02)
    assert found["ms a refresh"] == 1.5 and list(found)[3:5] == [
        "median overshoot",
        "worst overshoot",
    ]


def test_aims_are_judged_by_value_and_a_straddling_range_is_said(table) -> None:
    verdict = benchmarks.against_aims(table).set_index("what")["verdict"]
    assert verdict.to_dict() == {
        "ERM step": "missed",
        "PGM step": "met (range straddles)",
        "PGM-15, float32, with LRN, batch 8": "met (range straddles)",
        "PGM-15, bfloat16, with LRN, batch 8": "missed (range straddles)",
        "PGM-15, float32, without LRN, batch 8": "missed (range straddles)",
        "PGM-15, bfloat16, without LRN, batch 8": "met (range straddles)",
        "median overshoot, sgd, seed 0": "met",
        "worst overshoot, sgd, seed 0": "missed",
    }


def ranges(ax) -> list[tuple[float, float]]:
    """Ends of the horizontal bars of a panel."""
    return sorted(
        (float(ends[0][0]), float(ends[1][0]))
        for collection in ax.collections
        for ends in collection.get_segments()
    )


def test_step_cost_draws_each_contestant_its_range_and_the_aim(table) -> None:
    figure = benchmarks.step_cost(table)
    erm, pgm = figure.axes
    assert np.allclose(ranges(erm), [(1.02, 1.06), (1.08, 1.12)])
    assert np.allclose(ranges(pgm), [(0.981, 1.021)])
    for ax, aim in ((erm, 1.03), (pgm, 1.005)):
        upright = {line.get_xdata()[0]: line.get_linestyle() for line in ax.lines
                   if line.get_linestyle() != "None"}  # fmt: skip
        assert upright == {1.0: "-", aim: "--"}
    dots = {line.get_xdata()[0]: line for line in erm.lines if line.get_marker() == "o"}
    labels = [text.get_text() for text in erm.get_yticklabels()]
    places = dict(zip(erm.get_yticks(), labels, strict=True))
    assert places[dots[1.04].get_ydata()[0]] == "torch (reshaped kernel)"
    assert dots[1.10].get_color() == style.CAPPED and dots[1.04].get_color() == style.PAPER


def test_attack_cost_draws_both_attacks_on_both_nets(table) -> None:
    figure = benchmarks.attack_cost(table)
    for ax, values in zip(figure.axes, ((0.8, 0.5), (0.9, 0.41)), strict=True):
        for marker in "oD":
            drawn = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == marker]
            assert sorted(drawn) == sorted(values)
        dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        assert dashed == [0.85, 0.42]


def test_error_against_time_fills_what_lies_below(table) -> None:
    (ax,) = benchmarks.error_against_time(table).axes
    assert ax.get_title() == "3→9, 5x5, 8"
    drawn = {
        (line.get_xdata()[0], round(line.get_ydata()[0], 9)): line.get_markerfacecolor()
        for line in ax.lines
        if len(line.get_xdata())
    }
    assert drawn == {(0.2, 0.01): "none", (0.02, 0.3): style.PAPER}


def test_growth_changes_one_thing_at_a_time(table) -> None:
    rows = benchmarks.growth(table)
    found = {name: part["ratio"].tolist() for name, part in rows.groupby("varied")}
    assert found == {
        "batch": [2.4, 1.5],
        "width": [1.7, 1.5],
        "size": [1.5, 1.3],
        "net": [1.5, 2.9],
    }
    assert (rows["plain"] == 0.5).all()
    panels = benchmarks.cost_growth(table).axes
    assert [ax.get_xlabel() for ax in panels] == ["batch", "width", "image side", "net"]
    assert [ax.lines[0].get_ydata().tolist() for ax in panels] == list(
        found[name] for name in ("batch", "width", "size", "net")
    )


def test_provenance_names_every_command_date_and_machine(table) -> None:
    text = benchmarks.provenance(table)
    for word in ("spectral_cost: ", "python a", "2026-01-02", "a machine", "x 1"):
        assert word in text


def test_the_records_hold_what_the_notebook_reads() -> None:
    table = benchmarks.load()
    for column in ("date", "machine", "versions", "command"):
        assert table[column].notna().all()
    keys = ["benchmark", "contestant", "setting", "quantity"]
    assert not table.duplicated(keys).any()
    ranged = table.dropna(subset=["low", "high"])
    assert (ranged["low"] <= ranged["value"]).all() and (ranged["value"] <= ranged["high"]).all()
    assert len(benchmarks.against_aims(table)) >= 8
    own = {name: entry for name, entry in REGISTRY.items() if entry.experiment == "benchmarks"}
    timed = {"step_cost", "norm_error_and_time", "attack_cost", "cost_growth"}
    assert set(own) == timed | {"many_runs"}
    for entry in own.values():
        assert entry.draw("quick", "recorded").axes and "range" in entry.caption.lower()
