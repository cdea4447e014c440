"""From the key or click to the other picture: the sliders of the notebooks in a real JupyterLab.

    python benchmarks/sliders.py --moves 20 [--record]

A headless Chromium opens each notebook, runs all its cells and moves its choices (MOVES in
tests/lab.py). Times are the browser's own: from the key or click until a frame with the new picture
is done. "drawn": moves there and back between places that are drawn. "first": the slider's cell is
run again and a far place asked for at once, so that it is drawn while one waits, after what the
kernel may be drawing ahead.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import recording

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import lab

AIM = 200
"""Milliseconds."""


def measure(
    notebook: lab.Notebook, there: str, back: str, far: str, moves: int
) -> dict[str, list[float]]:
    """Milliseconds of each move, by kind; the notebook has run."""
    notebook.move(there)
    notebook.move(back)  # now both are drawn
    drawn = [notebook.move(how) for _ in range(moves // 2) for how in (there, back)]
    first = []
    for _ in range(moves // 4):
        notebook.rerun()
        first.append(notebook.move(far))
    return {"drawn": drawn, "first": first}


def all_notebooks(folder: Path, moves: int) -> Iterator[tuple[str, str, dict[str, list[float]]]]:
    """Notebook, choice, and what `measure` says of it."""
    with lab.session(folder) as opened:
        for name, choices in lab.MOVES.items():
            notebook = opened(name)
            notebook.run_all()
            for there, back, far in choices:
                choice = "slider" if there.startswith("Arrow") else f"buttons {back} to {far}"
                yield name[:2], choice, measure(notebook, there, back, far, moves)
                notebook.rerun()
            notebook.close()


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=20, help="a quarter as many first ones")
    parser.add_argument("--record", action="store_true", help="write to data/results/benchmarks")
    options = parser.parse_args()
    reason = lab.missing()
    if reason:
        print(f"Nothing is measured: {reason}")
        return
    rows = []
    print(f"ms to the other picture, median (worst); the aim is {AIM}")
    with tempfile.TemporaryDirectory() as folder:
        for name, choice, kinds in all_notebooks(Path(folder), options.moves):
            cells = []
            for kind, found in kinds.items():
                middle = statistics.median(found)
                cells.append(f"{kind} {middle:5.0f} ({max(found):5.0f})")
                where = recording.setting(choice=choice.replace(" ", "_"), place=kind)
                rows.append(
                    recording.row(
                        f"notebook {name}", where, "ms", middle, min(found), max(found), len(found)
                    )
                )
            print(f"  {name} {choice:28}", *cells, sep="  ", flush=True)
    packages = ("jupyterlab", "ipywidgets", "playwright")
    print(recording.write("sliders", rows, packages, recording.folder(options.record)))


if __name__ == "__main__":
    main()
