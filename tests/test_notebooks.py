"""Notebooks as they are stored: fresh, small, by the template; nbval runs them besides."""

import ast
import copy
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from snlib.columns import WIDTH
from snlib.workbook.record import FOLDER, normalise, notebooks

EXPECTED = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13")
"""The notebooks that the README's index names; a new one is added here and there."""

HEADINGS = (
    "Question",
    "Theory",
    "Live",
    "Recorded",
    "What to notice",
    "Exercises",
    "Provenance",
)
DOUBLE = re.compile(r"(\bdata|datasets\.load\([^()]*\))\.double\(\)")
MAX_CODE_CELLS, MAX_CODE_LINES, MAX_BYTES = 12, 120, 300_000
MAX_IMPORTS, MAX_FUNCTION_LINES, MAX_CELL_LINES = 8, 10, 25
MAX_WORDS = 130
"""Of a paragraph, or of an item of a list: beyond, nobody reads on."""
ABSOLUTE = re.compile(r"(?<![\w.:/])(/(home|root|Users|tmp|work|mnt|usr|opt|var)/|[A-Z]:\\\\)")


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with a notebook, one line each."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"invalid: {error}"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [*form(notebook, code), *freshness(code), *style(code), *needs(code)]


def form(notebook: nbformat.NotebookNode, code: list) -> list[str]:
    """Faults of size, template and metadata."""
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = sum(len(cell.source.splitlines()) for cell in code)
    size = len(nbformat.writes(notebook).encode())
    first = notebook.cells[0] if notebook.cells else None
    headings = re.findall(r"^#+ (.+?)\s*$", prose, re.M)
    template = [heading for heading in headings if heading in HEADINGS]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    checks = {
        "has no title": first is None or not re.match(r"# \S", first.source),
        f"headings are {template}, the template's {HEADINGS}": tuple(template) != HEADINGS,
        f"{len(code)} code cells, at most {MAX_CODE_CELLS}": len(code) > MAX_CODE_CELLS,
        f"{lines} lines of code, at most {MAX_CODE_LINES}": lines > MAX_CODE_LINES,
        f"{size} bytes, at most {MAX_BYTES}": size > MAX_BYTES,
        "one cell, and one only, is tagged parameters": len(tagged) != 1,
        "metadata is not normalised: make record": normalise(copy.deepcopy(notebook)) != notebook,
    }
    if len(tagged) == 1:
        names = set(re.findall(r"^(\w+) = ", tagged[0].source, re.M))
        checks["parameters are scale and store"] = names != {"scale", "store"}
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:\d+\.|\*) )", prose):
        words = len(paragraph.split())
        told = f"a paragraph of {words} words, at most {MAX_WORDS}: {paragraph[:40]}"
        checks[told] = words > MAX_WORDS
    return [text for text, wrong in checks.items() if wrong]


def freshness(code: list) -> list[str]:
    """Faults of the stored run: nbval does not compare a cell without a count."""
    counts = [cell.execution_count for cell in code]
    found = []
    if counts != list(range(1, len(code) + 1)):
        found.append(f"cells were run as {counts}; record it afresh: make record")
    for cell in code:
        for output in cell.outputs:
            expected = "raises-exception" in cell.metadata.get("tags", [])
            if output.output_type == "error" and not expected:
                found.append(f"stores an error: {output.ename}")
            text = output.get("text", output.get("data", {}).get("text/plain", ""))
            if text.startswith("<Figure") and "image/png" not in output.data:
                found.append(f"shows no picture: {text}")
            if ABSOLUTE.search(text):
                found.append(f"prints a path: {text.strip()}")
            for line in text.splitlines():
                if len(line) > WIDTH:  # it would be broken in a window of usual width
                    found.append(f"prints {len(line)} characters, at most {WIDTH}: {line}")
    return found


def style(code: list) -> list[str]:
    """Faults of the sources."""
    found = []
    imported = 0
    for cell in code:
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            found.append(f"not plain Python (a magic?): {cell.source.splitlines()[0]}")
            continue
        length = len(cell.source.splitlines())
        if length > MAX_CELL_LINES:
            found.append(f"a cell of {length} lines, at most {MAX_CELL_LINES}: no screen holds it")
        if cell.source.rstrip().endswith(";"):
            found.append(f"ends in ';': {cell.source.splitlines()[-1]}")
        if ABSOLUTE.search(cell.source) or "../" in cell.source:
            found.append(f"names a path: {cell.source.splitlines()[0]}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported += node.end_lineno - node.lineno + 1
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                length = node.end_lineno - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{node.name} has {length} lines: it belongs in snlib")
            if isinstance(node, ast.Attribute | ast.Name | ast.Call):
                text = ast.unparse(node)
                if text in {"sys.path", "os.chdir", "get_ipython", "np.random.seed"} or (
                    text.startswith("torch.manual_seed(")
                ):
                    found.append(f"uses {text}")
    sources = "\n".join(cell.source for cell in code)
    if "snlib.fit(" in sources and not DOUBLE.search(sources):
        found.append("trains in float32, so it prints other numbers on other processors: .double()")
    if imported > MAX_IMPORTS:
        found.append(f"{imported} lines of imports, at most {MAX_IMPORTS}")
    return found


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_stored_notebook(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES
    assert not faults(nbformat.read(path, as_version=4))


def test_the_notebooks_of_the_index_are_there() -> None:
    found = {path.stem[:2] for path in notebooks()}
    assert set(EXPECTED) <= found
    assert len(found) == len(notebooks()), "two notebooks share a number"
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {path.name for path in notebooks()}
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in notebooks() if path.name not in readme]


def test_no_function_is_written_in_two_notebooks() -> None:
    seen: dict[str, str] = {}
    for path in notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef):
                    where = seen.setdefault(ast.dump(node), path.name)
                    assert where == path.name, f"{node.name} is in {where} and {path.name}"


# ------------------------------------------------------- each rule above, shown to see its fault


def good() -> nbformat.NotebookNode:
    """A notebook without fault."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 4 · A question?"),
            new_markdown_cell("\n\n".join(f"## {heading}" for heading in HEADINGS)),
            new_code_cell(
                'scale = "quick"\nstore = "recorded"',
                execution_count=1,
                metadata={"tags": ["parameters"]},
            ),
            new_code_cell(
                "print(2 / 3)",
                execution_count=2,
                outputs=[new_output("stream", text="0.67\n")],
            ),
        ]
    )
    return normalise(notebook)


def test_a_good_notebook_has_no_fault() -> None:
    assert faults(good()) == []


def needs(code: list) -> list[str]:
    """Names taken from a cell of assertions, which `make workbook` lets end early."""
    found, lost = [], set()
    for cell in code:
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            continue
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        names.sort(key=lambda node: node.lineno)
        inside = {  # of a comprehension alone
            node.id
            for part in ast.walk(tree)
            if isinstance(part, ast.comprehension)
            for node in ast.walk(part.target)
            if isinstance(node, ast.Name)
        }
        made = {node.id: node.lineno for node in reversed(names) if isinstance(node.ctx, ast.Store)}
        used = {
            node.id
            for node in names
            if isinstance(node.ctx, ast.Load) and node.lineno <= made.get(node.id, node.lineno)
        }
        found += [f"needs {name} of a cell of assertions" for name in sorted(used & lost - inside)]
        lost -= set(made)
        if re.search(r"^assert ", cell.source, re.M):
            lost |= set(made) - inside
    return found


def source(text: str) -> Callable[[nbformat.NotebookNode], None]:
    """The last cell's source becomes `text`."""

    def change(notebook: nbformat.NotebookNode) -> None:
        notebook.cells[-1].source = text

    return change


def output(kind: str, **values: object) -> Callable[[nbformat.NotebookNode], None]:
    """The last cell's output becomes another."""

    def change(notebook: nbformat.NotebookNode) -> None:
        notebook.cells[-1].outputs = [new_output(kind, **values)]

    return change


FAULTS = {
    "invalid": lambda notebook: notebook.cells[-1].update(outputs=[{"output_type": "poem"}]),
    "has no title": lambda notebook: notebook.cells.pop(0),
    "headings are": lambda notebook: notebook.cells[1].update(source="## Question\n\n## Live"),
    "13 code cells": lambda notebook: notebook.cells.extend(
        new_code_cell("1", execution_count=count) for count in range(3, 14)
    ),
    "122 lines": source("\n".join(["1"] * 120)),
    "bytes": output("display_data", data={"image/png": "A" * 300_000}),
    "tagged parameters": lambda notebook: notebook.cells[2].update(metadata={}),
    "scale and store": lambda notebook: notebook.cells[2].update(source='scale = "quick"'),
    "not normalised": lambda notebook: notebook.metadata.update(widgets={}),
    "cells were run as [1, None]": lambda notebook: notebook.cells[3].update(execution_count=None),
    "cells were run as [1, 7]": lambda notebook: notebook.cells[3].update(execution_count=7),
    "stores an error": output("error", ename="TypeError", evalue="", traceback=[]),
    "shows no picture": output(
        "display_data", data={"text/plain": "<Figure size 1x1 with 1 Axes>"}
    ),
    "prints a path": output("stream", text="in /home/someone/x"),
    "prints 101 characters": output("stream", text="0.67\n" + 101 * "=" + "\n"),
    "a paragraph of 131 words": lambda notebook: notebook.cells.append(
        new_markdown_cell("* A start.\n   * " + "word " * 130)
    ),
    "not plain Python": source("%matplotlib inline"),
    "ends in ';'": source("print(1);"),
    "names a path": source('open("../data.csv")'),
    "names a path: ": source('open("/tmp/data.csv")'),
    "a cell of 26 lines": source("1\n" * 26),
    "belongs in snlib": source("def long():\n" + "    pass\n" * 10),
    "uses sys.path": source("import sys\nsys.path.append('x')"),
    "uses torch.manual_seed(0)": source("torch.manual_seed(0)"),
    "trains in float32": source('snlib.fit(run, datasets.load("digits")).double()'),
    "lines of imports": source("import os\n" * 9),
    "needs mean of a cell of assertions": lambda notebook: notebook.cells.extend(
        new_code_cell(text, execution_count=count)
        for count, text in ((3, "mean = 2 / 3\nassert mean < 1"), (4, "mean = mean + 1"))
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_seen(fault: str) -> None:
    notebook = good()
    FAULTS[fault](notebook)
    assert any(fault in line for line in faults(notebook))
