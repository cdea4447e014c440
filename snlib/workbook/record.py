"""Notebooks as they are stored: run in order, with outputs, and without an editor's traces."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import nbclient
import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image

from snlib.errors import UserError
from snlib.results import ROOT, write_atomically

FOLDER = ROOT / "notebooks"

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

WIDGET = "application/vnd.jupyter.widget-view+json"


def notebooks(folder: Path = FOLDER) -> list[Path]:
    """The notebooks of a folder, in the order of their numbers."""
    return sorted(folder.glob("[0-9][0-9]*.ipynb"))


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep sources, outputs, counts and tags; drop the rest, in place.

    What goes: timings, versions, widget states and their views, which name a kernel that is gone,
    and the editor's settings. What a cell prints in a row becomes one output, for where a kernel
    cuts it is chance. Two runs then leave the same file.
    """
    notebook.metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": list(tags)} if tags else {}
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def tidy(path: Path) -> bool:
    """Normalise a notebook's file; returns whether that changed it."""
    before = path.read_text(encoding="utf-8")
    after = text(normalise(nbformat.reads(before, as_version=4)))
    if after != before:
        write_atomically(path, after.encode())
    return after != before


def record(path: Path, *, timeout: int = 120) -> None:
    """Run a notebook from a fresh kernel and store its outputs in place.

    Args:
        path: the notebook; it is replaced only if every cell ran.
        timeout: seconds a cell may take, the limit of the tests.

    Raises:
        UserError: naming the notebook and the error of the cell that failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        extra_arguments=["--log-level=ERROR"],  # a kernel warns that this machine could listen in
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        # One thread, as when the tests run it: sums in another order round differently.
        client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    except (nbclient.exceptions.CellExecutionError, nbclient.exceptions.CellTimeoutError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{path.name} does not run, and was left as it is: {reason}") from error
    write_atomically(path, text(normalise(lighter(notebook))).encode())


def lighter(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Store every picture of the outputs in 256 colours, a third of the bytes, in place."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                few = few_colours(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(few).decode()
    return notebook


def few_colours(picture: bytes) -> bytes:
    """A PNG in at most 256 colours on white, or the picture itself where that is no smaller."""
    with Image.open(io.BytesIO(picture)) as image:
        ground = Image.new("RGBA", image.size, "white")
        whole = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    stream = io.BytesIO()
    few = whole.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(stream, "PNG", optimize=True)
    return min(picture, stream.getvalue(), key=len)


def fill(document: str, name: str, content: str) -> str:
    """`document` with what stands between `<!-- name -->` and `<!-- /name -->` replaced.

    Raises:
        UserError: if the markers are not there.
    """
    before, opening, rest = document.partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not (opening and closing):
        raise UserError(f"the document has no markers <!-- {name} --> and <!-- /{name} -->.")
    return f"{before}{opening}{content}\n{closing}{after}"


def text(notebook: nbformat.NotebookNode) -> str:
    """A notebook as it is written to a file."""
    return nbformat.writes(notebook, version=4) + "\n"
