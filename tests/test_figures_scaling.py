"""Memory and many runs: tables and figure against numbers set by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from test_figures_benchmarks import row

from snlib.errors import UserError
from snlib.figures import benchmarks, scaling, style


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    rows = []
    for net, values, expected in (("large", (2048, 3072), 4096), ("small", (512, 512), 600)):
        for scheme, value in zip(("pgm", "erm"), values, strict=True):
            where = f"net={net} scheme={scheme} batch=128"
            rows.append(row("memory", "snlib", where, "peak MiB", value))
            rows.append(row("memory", "expected", where, "peak MiB", expected))
    for engine, start in (("ray", 9.0), ("runner", 3.0)):
        for workers in (2, 1):
            numbers = dict(zip(
                ("wall seconds", "run seconds", "overhead a run", "start"),
                (start + 20 / workers, 2.0, 0.25, start), strict=True,
            ))  # fmt: skip
            where = f"workers={workers} runs=10"
            rows += [row("scaling", engine, where, name, one) for name, one in numbers.items()]
    for gpus, hours in ((64, 2.0), (1, 100.0), (8, 13.0)):
        numbers = {"hours": hours, "gpu hours": gpus * hours, "cost": 3 * gpus * hours}
        numbers["efficiency"] = 100 / (gpus * hours)
        where = f"gpus={gpus} runs=1000 share=4 price=3.0"
        rows += [row("scaling", "simulated", where, name, one) for name, one in numbers.items()]
    pd.DataFrame(rows).to_csv(tmp_path / "both.csv", index=False)
    return benchmarks.load(tmp_path)


def test_memory_by_net_and_scheme(table):
    found = scaling.memory(table)
    assert list(found.index) == ["small", "large"] and list(found) == ["ERM", "PGM", "expected"]
    assert found.loc["large"].tolist() == [3072, 2048, 4096]


def test_engines_and_workers(table):
    found = scaling.workers(table)
    assert list(found.index) == [("runner", 1), ("runner", 2), ("ray", 1), ("ray", 2)]
    assert list(found) == ["wall", "run", "overhead", "start"]
    assert found.loc[("ray", 2)].tolist() == [19.0, 2.0, 0.25, 9.0]


def test_simulated_hours(table):
    found = scaling.simulated(table)
    assert found.index.tolist() == [1, 8, 64] and found["hours"].tolist() == [100.0, 13.0, 2.0]
    assert found["cost"].tolist() == [300.0, 312.0, 384.0]
    assert found.attrs["runs"] == 1000 and found.attrs["price"] == 3


def test_the_summary_says_what_is_assumed(table):
    text = scaling.summary(table)
    title = (
        "1000 runs of scale paper, simulated: 4 at once on a GPU, which costs 3 an hour in "
        "whatever money\n  (rates and price assumed)\n"
    )
    assert title in text
    assert "MiB of a run at batch 128" in text and "seconds of plans of short runs" in text


def test_the_figure_draws_each_number(table):
    figure = scaling.many_runs(table)
    left, right = figure.axes
    dots = {
        (line.get_xdata()[0], line.get_ydata()[0]): to_hex(line.get_color())
        for line in left.lines
        if line.get_marker() == "o"
    }
    erm, pgm = style.COLOR["erm"], style.COLOR["pgm"]
    assert dots[3.0, 1] == erm and dots[2.0, 1] == pgm and dots[0.5, 0] in (erm, pgm)
    bars = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "|"]
    assert np.allclose(sorted(bars), [600 / 1024, 4.0])
    hours, ideal = right.lines
    assert hours.get_ydata().tolist() == [100.0, 13.0, 2.0]
    assert np.allclose(ideal.get_ydata(), [100, 12.5, 100 / 64]) and ideal.get_linestyle() == "--"
    assert [text.get_text() for text in left.get_yticklabels()] == ["small", "large"]


def test_without_records_the_benchmark_is_named(table):
    rest = table[table["benchmark"] != "memory"]
    with pytest.raises(UserError, match="no peak MiB of memory is recorded"):
        scaling.memory(rest)
    assert not math.isnan(scaling.simulated(rest)["hours"].sum())


def test_plans_that_nobody_timed_are_said_to_be_absent(table):
    rest = table[~table["contestant"].isin(["runner", "ray"])]
    assert scaling.workers(rest).empty
    assert "seconds of plans of short runs: none recorded" in scaling.summary(rest)
