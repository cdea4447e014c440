"""Rules for every test: one thread, no display; notebooks compare text and stop at a failure."""

import os
from collections.abc import Iterator

# Two pytest workers share two cores; the kernels of the notebooks inherit this too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import matplotlib
import matplotlib.pyplot as plt
import pytest

matplotlib.use("Agg")  # not by MPLBACKEND, which the notebooks' kernels would inherit

# The same examples everywhere, and no deadline: a busy machine is not a wrong result.
hypothesis.settings.register_profile("workbook", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("workbook")


LONGEST = ("test_cluster", "test_faults", "test_cli", "test_runner", "test_lab")
"""Files of tests that take minutes, in the order in which they are begun.

First, so that no worker is left alone with one at the end; Ray and JupyterLab not side by side.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; xdist hands files out in this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def no_figure_stays_open() -> Iterator[None]:
    """Figures of `snlib` are closed: a notebook would show an open one a second time."""
    yield
    left = plt.get_fignums()
    plt.close("all")  # a test is judged by its own figures only
    assert not left, f"figures {left} stay open"


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare neither pixels nor pages nor warnings: every figure has a printed table beside it."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml", "text/html", "stderr")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> None:
    """Remember the first failing cell of a notebook."""
    failed = call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception)
    if failed and hasattr(item, "cell_num"):
        item.parent.failed_cell = getattr(item.parent, "failed_cell", item.cell_num)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the cells after it: they would fail for its reason."""
    failed_cell = getattr(item.parent, "failed_cell", None)
    if failed_cell is not None:
        pytest.skip(f"cell {failed_cell} of {item.parent.name} failed")
