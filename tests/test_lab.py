"""The sliders in a real JupyterLab, in a headless Chromium: open, run all, move, look.

All five notebooks with sliders, one after the other under one server and one browser: 15 seconds
each on an idle core, most of them for the notebook's own cells. How fast a slider answers is
measured by benchmarks/sliders.py and asserted nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lab
import psutil
import pytest

REASON = lab.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def left(folder: Path) -> list[str]:
    """The command lines of the running processes that name a folder."""
    running = (process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"]))
    return [line for line in map(" ".join, running) if str(folder) in line]


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], lab.Notebook]]:
    """Opens a notebook by its name; at the end no process is left."""
    folder = tmp_path_factory.mktemp("lab")
    with lab.session(folder) as opened:
        yield opened
    deadline = time.monotonic() + 60
    while left(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(folder) == []


@pytest.mark.parametrize("name", lab.MOVES)
def test_a_move_changes_the_picture_and_the_way_back_restores_it(
    jupyter: Callable[[str], lab.Notebook], name: str
) -> None:
    notebook = jupyter(name)
    cells = notebook.run_all()["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert [out["evalue"] for out in outputs if out["output_type"] == "error"] == []
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    first = notebook.picture()
    for there, back, _ in lab.MOVES[name]:
        notebook.move(there)
        assert notebook.picture() != first, there
        notebook.move(back)
        assert notebook.picture() == first, back
    assert notebook.complaints == []
    notebook.close()
