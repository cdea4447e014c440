"""The simulation of many runs on many GPUs, by hand; the memory of a run against what it is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from snlib import costs
from snlib.costs import MEASURED_AT_ONCE, START_BYTES, memory, size_of
from snlib.runs import Run

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import scaling as script

    return script


FREE = dict(start=0.0, overhead=0.0, handling=0.0)


@pytest.mark.parametrize(
    ("seconds", "slots", "costly", "expected"),
    [
        ([3.0, 3.0, 3.0, 3.0], 1, {}, 12.0),
        ([3.0, 3.0, 3.0, 3.0], 2, {}, 6.0),
        ([3.0, 3.0, 3.0, 3.0], 100, {}, 3.0),
        ([5.0, 1.0, 1.0, 1.0], 2, {}, 5.0),  # the short ones beside the long one
        ([1.0, 1.0, 1.0, 5.0], 2, {}, 6.0),  # in their order, the long one last
        ([3.0, 3.0], 1, dict(start=10.0), 16.0),
        ([3.0, 3.0], 1, dict(overhead=0.5), 7.0),
        ([3.0] * 10, 10, dict(handling=1.0), 13.0),  # ten results wait for one driver
        ([3.0, 9.0], 2, dict(handling=1.0), 10.0),  # two that come apart do not
    ],
)
def test_the_simulation_by_hand(scaling, seconds, slots, costly, expected):
    assert scaling.simulate(seconds, slots, **{**FREE, **costly}) == pytest.approx(expected)


def test_overhead_and_start_are_what_two_plans_tell(scaling):
    """Walls made from a start of 5 s, an overhead of 0.3 s and runs of 2 s, then, on a busier
    machine, of 3 s, come apart again."""
    for workers in (1, 2):
        short = 5 + scaling.SHORT / workers * (2 + 0.3)
        long = 5 + scaling.LONG / workers * (3 + 0.3)
        one = scaling.Timed(short, 2.0, long, 3.0, workers)
        assert one.overhead == pytest.approx(0.3) and one.start == pytest.approx(5.0)


def test_a_shared_gpu_is_never_faster_than_its_arithmetic(scaling):
    large, small = Run(scheme="pgm"), Run(data="digits", net="mlp1", width=0.1, train_size=200)
    assert scaling.shared(large) == pytest.approx(4 * costs.flops(large) / costs.GPU.flops)
    assert scaling.shared(small) == costs.seconds(small, costs.GPU)
    runs = scaling.first_runs(50)
    assert len(set(runs)) == 50 and {run.data for run in runs} == {"cifar10"}


def test_the_plans_that_are_timed_differ_in_seeds_alone(scaling):
    runs = list(scaling.plan(3))
    assert [run.seed for run in runs] == [0, 1, 2]
    assert len({tuple(sorted(run.settings().items() - {("seed", run.seed)}, key=str))
                for run in runs}) == 1  # fmt: skip


def test_memory_by_hand():
    run = Run(data="mnist", net="softmax", train_size=1000, batch_size=128)
    pixels = 2 * 784 * 11_000  # as they were loaded, and as they are used
    maps = 2 * (784 + 10) * MEASURED_AT_ONCE
    bytes_by_hand = START_BYTES["cpu"] + 4 * (pixels + 6 * 7850 + maps)
    assert memory(run) == pytest.approx(bytes_by_hand, rel=0.02)
    assert memory(run, "cuda:1") == pytest.approx(
        START_BYTES["cuda"] + 4 * (pixels / 2 + 6 * 7850 + maps), rel=0.02
    )


def test_memory_grows_with_batch_width_and_images():
    base = Run(train_size=1000)
    for settings in (dict(batch_size=1000), dict(width=2.0), dict(train_size=50_000)):
        larger = Run(**{"train_size": 1000, **settings})
        assert memory(larger) > 1.2 * memory(base), settings
    assert size_of("alexnet", (3, 28, 28)).maps > 96 * 28 * 28
