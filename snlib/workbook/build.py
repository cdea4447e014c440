"""The stages of `make workbook`: records, notebooks, figures, pages.

Everything is made in a temporary folder, which takes the place of the old one at the end; a build
that is killed leaves the old pages, and its finished records serve the next.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from tqdm import tqdm

from snlib import results
from snlib.errors import UserError, require
from snlib.workbook import index, pages
from snlib.workbook.record import FOLDER, KERNEL, notebooks

OUT = results.ROOT / "build" / "workbook"
STORE = "workbook"
CELL_SECONDS = 600
COST = {"notebook": 10.0, "figure": 2.0}
"""Seconds on two cores, for the first guess of the time left."""


class Progress:
    """A bar with the time left on a terminal, one line an item elsewhere."""

    def __init__(self, total: float) -> None:
        self._terminal = sys.stderr.isatty()
        self._total, self._done, self._start = total, 0.0, time.monotonic()
        self._bar = tqdm(
            total=round(total),
            desc="pages",
            disable=not self._terminal,
            smoothing=0,
            bar_format="{desc:<24.24} {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left",
        )

    def step(self, cost: float, label: str) -> None:
        """Count an item that is done."""
        self._done += cost
        self._bar.set_description(label, refresh=False)
        self._bar.update(round(self._done) - self._bar.n)
        if not self._terminal:
            spent = time.monotonic() - self._start
            left = spent * (self._total - self._done) / self._done
            print(f"  {label}: done, about {left:.0f} s left", flush=True)

    def close(self) -> None:
        """Leave the line."""
        self._bar.close()


DIFFERS = "These records say otherwise than the text above, which speaks of the recorded ones."

CONCLUSIONS = "## What to notice"

QUOTED = (
    "> The text below was written about the recorded evidence (data/results). The figures and "
    "tables here were computed anew, and trainings on another processor differ in rounding, so "
    "that numbers, and verdicts close to a bound, can be others."
)
"""What stands before a notebook's conclusions, for it did not read the recorded evidence."""


def build(scale: str, out: Path = OUT, *, folder: Path = FOLDER, compute: bool = True) -> int:
    """Compute a scale's records, run every notebook on them and publish the pages at `out`.

    Args:
        scale: "quick", "laptop" or "paper".
        out: the folder to make; an older one is replaced, anything else is refused.
        folder: where the notebooks are.
        compute: whether to compute missing records first.

    Returns:
        Exit status: 0, or 1 if something failed; the pages then say what.

    Raises:
        UserError: if `out` holds something else, or there is no notebook.
    """
    out = out.resolve()
    index.require_ours(out)
    paths = notebooks(folder)
    require(bool(paths), f"{folder} has no notebooks; run this from a whole clone.")
    start, notes = time.monotonic(), []
    figures = figure_registry(notes)
    pages_cost = sum([COST["notebook"] * len(paths) / 2, COST["figure"] * len(figures)])
    if compute:
        print(
            f"Step 1 of 2: records at scale {scale}; step 2, the pages, then takes about "
            f"{pages_cost:.0f} s.",
            flush=True,
        )
        notes += compute_records(scale)
    print(f"Step 2 of 2: {len(paths)} notebooks and {len(figures)} figures.", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out)
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    fresh.chmod(0o755)
    progress = Progress(pages_cost)
    try:
        chapters = run_notebooks(paths, scale, fresh, progress, notes)
        drawn = draw_figures(figures, scale, fresh, progress, notes)
        pages.write(chapters, fresh)
        index.write(chapters, drawn, scale, results.store(STORE), notes, fresh)
        publish(fresh, out)
    finally:
        progress.close()
        shutil.rmtree(fresh, ignore_errors=True)
    for note in notes:
        print(f"Not as it should be: {note}", file=sys.stderr)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f"The workbook at scale {scale}, made in {minutes} min {seconds} s. Open it:")
    print(f"  {(out / 'index.html').as_uri()}")
    return 1 if notes else 0


def compute_records(scale: str) -> list[str]:
    """Run every experiment at a scale, with its own progress; returns what to note."""
    command = ["-m", "snlib", "run", "all", "--scale", scale, "--store", STORE]
    status = subprocess.run([sys.executable, *command], cwd=results.ROOT).returncode
    if status in (130, -2):
        raise KeyboardInterrupt
    if status == 2:  # it has said why
        raise UserError(f"no records at scale {scale}; see the line above.")
    return [f"some records are missing; go on with: python {' '.join(command)}"] if status else []


# --------------------------------------------------------------------------------------- notebooks


def run_notebooks(
    paths: list[Path], scale: str, fresh: Path, progress: Progress, notes: list[str]
) -> list[pages.Chapter]:
    """Execute notebooks two at a time; one that fails is kept as far as it came, and noted."""
    kept = fresh / "notebooks"
    kept.mkdir()
    pool = ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1))
    try:
        jobs = {pool.submit(execute, path, kept / path.name, scale): path for path in paths}
        for job in as_completed(jobs):
            if reason := job.result():
                notes.append(f"notebook {jobs[job].name}: {reason}")
            progress.step(COST["notebook"] / 2, jobs[job].stem)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, no further notebook starts
    chapters = []
    for path in paths:
        result = kept / path.name
        notebook = nbformat.read(result if result.exists() else path, as_version=4)
        chapters.append(pages.Chapter.of(path.stem, notebook))
    return chapters


def execute(path: Path, result: Path, scale: str) -> str | None:
    """Run one notebook by papermill in a process of its own; returns the error, in a line.

    Kernels that start at the same moment may pick the same port; one of them never answers, so a
    notebook whose kernel did not start is run once more.
    """
    notebook = nbformat.read(path, as_version=4)
    written = [cell.source for cell in notebook.cells]
    as_written = dict(zip((cell.source for cell in tolerant(notebook).cells), written, strict=True))
    nbformat.write(notebook, result)
    command = [sys.executable, "-m", "papermill", str(result), str(result)]
    command += ["--parameters", "scale", scale, "--parameters", "store", STORE]
    command += ["--kernel", KERNEL["name"], "--language", "python", "--cwd", str(path.parent)]
    command += ["--execution-timeout", str(CELL_SECONDS), "--no-progress-bar"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reason = None
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"papermill ended with status {done.returncode}"
        if done.returncode == 0 or "Kernel didn't respond" not in reason:
            break
    notebook = nbformat.read(result, as_version=4)
    for cell in notebook.cells:  # readers see the assertions, not what was put around them
        cell.source = as_written.get(cell.source, cell.source)
        if cell.cell_type == "markdown" and cell.source.startswith(CONCLUSIONS):
            cell.source = cell.source.replace(CONCLUSIONS, f"{CONCLUSIONS}\n\n{QUOTED}", 1)
    nbformat.write(notebook, result)
    return None if done.returncode == 0 else reason


def tolerant(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its assertions told, not raised.

    They say what its text says, of the recorded evidence. Another processor rounds otherwise, and
    so three seeds made there may differ from those, and some sentence with them.
    """
    for cell in notebook.cells:
        lines = cell.source.splitlines()
        if cell.cell_type == "code" and any(line.startswith("assert ") for line in lines):
            body = "\n".join(f"    {line}" if line else "" for line in lines)
            cell.source = f"try:\n{body}\nexcept AssertionError:\n    print({DIFFERS!r})"
    return notebook


# ----------------------------------------------------------------------------------------- figures


def figure_registry(notes: list[str]) -> dict[str, object]:
    """The figures by name, from `snlib.figures`."""
    import matplotlib

    matplotlib.use("Agg")
    try:
        from snlib import figures
    except ImportError as error:
        notes.append(f"no figures: {error}")
        return {}
    return dict(figures.REGISTRY)


def draw_figures(
    registry: dict[str, object], scale: str, fresh: Path, progress: Progress, notes: list[str]
) -> list[index.Drawn]:
    """Draw every figure from the records, as PNG and PDF; one that cannot be drawn is noted."""
    folder = fresh / "figures"
    folder.mkdir()
    drawn = []
    for name, figure in registry.items():
        try:
            save(lambda figure=figure: figure.draw(scale, STORE), folder / name)
        except Exception as error:  # one figure must not cost the others
            notes.append(f"figure {name}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            drawn.append(index.Drawn(name, str(figure.notebook)[:2], figure.caption))
        progress.step(COST["figure"], name)
    return drawn


def save(draw: Callable[[], object], stem: Path) -> None:
    """Write a figure as <stem>.png and <stem>.pdf, without the date of the day in them."""
    figure = draw()
    figure.savefig(stem.with_suffix(".png"), dpi=160, bbox_inches="tight")
    figure.savefig(stem.with_suffix(".pdf"), bbox_inches="tight", metadata={"CreationDate": None})


def save_headline() -> Path:
    """Draw the README's figure from the committed records; returns its path."""
    path = results.store("recorded").root / "headline.png"
    figure = figure_registry([])["gap_against_budget"].draw("quick", "recorded")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path


# -------------------------------------------------------------------------------------- publishing


def publish(fresh: Path, out: Path) -> None:
    """Let `fresh` take the place of `out`."""
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-old-"))
    if out.exists():
        out.rename(old / out.name)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def sweep(out: Path, *, age: float = 3600.0) -> None:
    """Remove what killed builds left beside `out` more than `age` seconds ago."""
    for left in out.parent.glob(f".{out.name}-*"):
        if time.time() - left.stat().st_mtime > age:
            shutil.rmtree(left, ignore_errors=True)
