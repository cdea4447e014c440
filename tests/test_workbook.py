"""The builder: pages that need no network, whole or not at all, and that say what is missing."""

import base64
import io
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from snlib import results
from snlib.errors import UserError
from snlib.workbook import __main__ as command_line
from snlib.workbook import build, index, pages, record

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Links(HTMLParser):
    """What a page fetches, what it links to, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "src" or (name == "href" and tag == "link"):
                self.fetched.append(value)
            elif name == "href":
                self.linked.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def toy(folder: Path, name: str, last: str = "print(scale, store)") -> Path:
    """A small notebook with parameters, not run yet."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell(
                f"# 4 · Why {name}?\n\n## Question\n\nDoes *beta* <b>help</b>, $x_1$?"
            ),
            new_code_cell('scale = "paper"\nstore = "recorded"', metadata={"tags": ["parameters"]}),
            new_markdown_cell("## What to notice\n\n1. **Rows.** All gain."),
            new_code_cell(last),
        ]
    )
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def outputs(path: Path) -> str:
    """The text that a stored notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def figure(fails: bool = False) -> SimpleNamespace:
    """An entry of the registry of figures."""

    def draw(scale: str, store: str) -> plt.Figure:
        if fails:
            raise UserError("nothing is recorded of gap. Compute it: python -m snlib run gap")
        drawn, axes = plt.subplots()
        axes.set_title(f"{scale} {store}")
        plt.close(drawn)
        return drawn

    return SimpleNamespace(notebook="04", caption="Gap against a < b.", draw=draw)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own for the builder, with one table in it."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setitem(results.STORES, build.STORE, folder)
    header = dict(
        settings={}, columns=[], experiment="gap", done=2, runs=3, seeds=[0, 1],
        data=["digits"], hours=0.05,
        devices=["a cpu"], software=["torch 2"], commits=["0123456789abcdef"],
    )  # fmt: skip
    (folder / "gap.quick.csv").write_text(
        "# " + json.dumps(header) + "\nrun,diverged,x,value\na,False,,1\n"
    )
    return folder


# ------------------------------------------------------------------------------------- whole build


def test_a_build_from_notebooks_to_index(
    tmp_path: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    """One notebook runs, one fails, one figure is drawn, one cannot be: all of it is shown."""
    folder, out = tmp_path / "notebooks", tmp_path / "build" / "workbook"
    stated = 'print(scale, store)\nassert scale == "paper"  # as the text says'
    toy(folder, "04_gap", last=stated)
    toy(folder, "05_curves", last="raise ValueError('no table <here>')")
    registry = {"gap": figure(), "margins": figure(fails=True)}
    monkeypatch.setattr(build, "figure_registry", lambda notes: registry)
    before = (folder / "04_gap.ipynb").read_bytes()

    assert build.build("quick", out, folder=folder, compute=False) == 1

    printed = capfd.readouterr()
    assert (out / "index.html").as_uri() in printed.out
    assert re.search(r"04_gap: done, about \d+ s left", printed.out)
    assert "notebook 05_curves.ipynb: ValueError: no table <here>" in printed.err
    assert "figure margins: nothing is recorded of gap." in printed.err

    assert (folder / "04_gap.ipynb").read_bytes() == before
    ran = out / "notebooks" / "04_gap.ipynb"
    assert outputs(ran) == f"quick workbook\n{build.DIFFERS}\n"
    assert nbformat.read(ran, as_version=4).cells[-1].source == stated
    shown = " ".join(Links((out / "04_gap.html").read_text()).text.split())
    quoted = shown.index(build.QUOTED.removeprefix("> "))  # of records that are not the recorded
    assert shown.index("What to notice") < quoted < shown.index("All gain")
    assert (out / "figures" / "gap.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figures" / "gap.pdf").read_bytes().startswith(b"%PDF")

    names = ["index.html", "04_gap.html", "05_curves.html"]
    for name in names:
        links = Links((out / name).read_text())
        for target in links.fetched:
            assert target.startswith("data:") or (out / target).is_file(), target
        for target in links.linked:
            assert target.startswith(("https://arxiv.org", "#")) or (out / target).is_file(), target
    page = (out / "index.html").read_text()
    assert "no table &lt;here&gt;" in page
    assert "04 · Why 04_gap?" in page
    assert "Does <em>beta</em>" in page
    assert "Gap against a &lt; b." in page
    for fact in ("2 of 3 runs", "seeds 0, 1", "digits", "3 min of computing", "commit 0123456789<"):
        assert fact in page
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_build_that_breaks_leaves_the_old_pages(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "notebooks", tmp_path / "out" / "workbook"
    toy(folder, "04_gap")
    out.mkdir(parents=True)
    (out / "index.html").write_text('<meta name="generator" content="snlib.workbook">old')
    monkeypatch.setattr(build, "figure_registry", lambda notes: {})
    monkeypatch.setattr(build, "execute", lambda *arguments: None)
    monkeypatch.setattr(index, "write", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build.build("quick", out, folder=folder, compute=False)
    assert (out / "index.html").read_text().endswith("old")
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_only_its_own_folder_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "index.html").write_text("mine")
    with pytest.raises(UserError, match="thesis, which holds something else"):
        build.build("quick", precious, compute=False)
    assert (precious / "index.html").read_text() == "mine"


def test_leftovers_of_killed_builds_go_when_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".out-a", ".out-b", ".other-a"))
    for folder in (old, young, other):
        folder.mkdir()
    os.utime(old, (0, time.time() - 7200))
    build.sweep(tmp_path / "out")
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


@pytest.mark.parametrize(("status", "noted"), [(0, False), (1, True)])
def test_failed_runs_are_noted(status: int, noted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        called.append(command[1:])
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(build.subprocess, "run", run)
    notes = build.compute_records("quick")
    assert called == [["-m", "snlib", "run", "all", "--scale", "quick", "--store", "workbook"]]
    assert bool(notes) == noted
    assert not noted or "go on with: python -m snlib run all --scale quick" in notes[0]


@pytest.mark.parametrize(("status", "error"), [(2, UserError), (130, KeyboardInterrupt)])
def test_wrong_input_and_interruption_end_the_build(
    status: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(returncode=status)
    monkeypatch.setattr(build.subprocess, "run", lambda *arguments, **options: answer)
    with pytest.raises(error):
        build.compute_records("huge")


# ------------------------------------------------------------------------------------------- pages


def test_formulas_are_read_by_a_local_mathjax_with_every_extension() -> None:
    source = pages.mathjax_source()
    text = source.read_text(encoding="utf-8")
    assert "boldsymbol" in text and "mathtools" in text  # else fetched when first used
    assert f'src="{pages.MATHJAX}"' in pages.MATHJAX_HEAD


def test_a_page_shows_the_parameters_that_were_used_and_no_dead_widget() -> None:
    notebook = new_notebook(
        cells=[
            new_code_cell('scale = "paper"', metadata={"tags": ["parameters"]}),
            new_code_cell('scale = "quick"', metadata={"tags": ["injected-parameters"]}),
            new_code_cell(
                "slider",
                outputs=[
                    new_output(
                        "display_data", {record.WIDGET: {"model_id": "1"}, "text/plain": "I"}
                    )
                ],
            ),
        ]
    )
    shown = Links(pages.render(pages.Chapter.of("04_gap", notebook))).text
    assert 'scale = "paper"' not in shown
    assert 'scale = "quick"' in shown
    assert "A slider in JupyterLab" in shown
    assert len(notebook.cells) == 3
    assert record.WIDGET in notebook.cells[2].outputs[0].data


def test_a_picture_is_described_and_a_slider_s_still_is_called_one() -> None:
    shown = {record.WIDGET: {"model_id": "1"}, "text/plain": "I", "image/png": PIXEL}
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# A title\n\nGain over *beta* for [nets](01_norm.ipynb). More."),
            new_code_cell("explore()", outputs=[new_output("display_data", shown)]),
        ]
    )
    page = pages.render(pages.Chapter.of("09_robustness", notebook))
    assert 'alt="Figure: Gain over beta for nets."' in page and "No description" not in page
    assert page.index("data:image/png") < page.index(pages.SLIDER)
    assert len(notebook.cells[1].outputs) == 1


def test_links_between_notebooks_lead_from_page_to_page() -> None:
    prose = "See [04](04_gap.ipynb) and [code](https://example.org/05_curves.ipynb)."
    page = pages.render(pages.Chapter.of("00_tour", new_notebook(cells=[new_markdown_cell(prose)])))
    assert 'href="04_gap.html"' in page
    assert 'href="https://example.org/05_curves.ipynb"' in page


def test_a_chapter_is_read_from_the_notebook() -> None:
    image = new_output("display_data", {"image/png": PIXEL})
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 4 · A title?\n\n## Question\n\nOne\nline.\n\nNot this."),
            new_code_cell("draw()", outputs=[image]),
        ]
    )
    chapter = pages.Chapter.of("04_gap", notebook)
    found = (chapter.number, chapter.title, chapter.question, chapter.thumbnail)
    assert found == ("04", "A title?", "One line.", PIXEL)
    bare = pages.Chapter.of("05_x", new_notebook())
    assert (bare.title, bare.question, bare.thumbnail) == ("05_x", "", None)


# ------------------------------------------------------------------------------------------ record


def test_pictures_are_stored_in_few_colours() -> None:
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.imshow(np.linspace(0, 1, 64).reshape(8, 8))
    ax.set_title("0123456789")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=True)
    plt.close(figure)
    whole, few = stream.getvalue(), record.few_colours(stream.getvalue())
    assert len(few) < 0.6 * len(whole)
    before = Image.open(io.BytesIO(whole)).convert("RGBA")
    ground = Image.new("RGBA", before.size, "white")
    expected = np.asarray(Image.alpha_composite(ground, before).convert("RGB"), dtype=float)
    found = np.asarray(Image.open(io.BytesIO(few)).convert("RGB"), dtype=float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3 and found[0, 0].min() > 252
    assert record.few_colours(few) == few or len(record.few_colours(few)) < len(few)


def test_recording_runs_normalises_and_is_stable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # the kernel has one thread all the same
    path = toy(tmp_path, "04_gap", last='import os\nprint(os.environ["OMP_NUM_THREADS"])')
    record.record(path)
    first = path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    assert outputs(path) == "1\n"
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, None, 2]
    assert notebook.cells[1].metadata == {"tags": ["parameters"]}
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    record.record(path)
    assert path.read_bytes() == first
    assert not record.tidy(path)


def test_a_notebook_that_fails_is_left_as_it_was(tmp_path: Path) -> None:
    path = toy(tmp_path, "04_gap", last="1 / 0")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"04_gap.ipynb does not run.*ZeroDivisionError"):
        record.record(path)
    assert path.read_bytes() == before


def test_normalising_keeps_outputs_counts_and_tags(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = toy(tmp_path, "04_gap")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.widgets = {"state": {}}
    cell = notebook.cells[1]
    cell.metadata.update(collapsed=True, execution={"iopub.status.busy": "12:00"})
    cell.update(execution_count=1, outputs=[new_output("stream", text="kept\n")])
    nbformat.write(notebook, path)
    assert command_line.main(["normalise", str(path)]) == 1
    assert "Normalised" in capsys.readouterr().out
    assert command_line.main(["normalise", str(path)]) == 0
    after = nbformat.read(path, as_version=4)
    assert "widgets" not in after.metadata
    assert after.cells[1].metadata == {"tags": ["parameters"]}
    assert after.cells[1].execution_count == 1
    assert outputs(path) == "kept\n"


def test_what_a_cell_prints_in_a_row_is_one_output(tmp_path: Path) -> None:
    path = toy(tmp_path, "04_gap")
    notebook = nbformat.read(path, as_version=4)
    said = [("stdout", "a\n"), ("stdout", "b"), ("stderr", "c\n"), ("stdout", "d\n")]
    printed = [new_output("stream", name=name, text=words) for name, words in said]
    shown = new_output("display_data", data={"text/plain": "a picture"})
    last = new_output("stream", name="stdout", text="e\n")
    notebook.cells[1].outputs = [*printed, shown, last]
    nbformat.write(notebook, path)
    assert record.tidy(path) and not record.tidy(path)
    found = nbformat.read(path, as_version=4).cells[1].outputs
    assert [(one.get("name"), one.get("text")) for one in found] == [
        ("stdout", "a\nb"), ("stderr", "c\n"), ("stdout", "d\n"), (None, None), ("stdout", "e\n"),
    ]  # fmt: skip


def test_the_command_line_says_what_is_wrong_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert command_line.main(["build", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"snlib.workbook: --out is {tmp_path}")
    assert len(said.splitlines()) == 1


def test_a_kernel_that_never_answered_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    silent = (1, "RuntimeError: Kernel didn't respond in 60 seconds")
    wrong = (1, "NameError: name 'x' is not defined")
    for ends, reason, runs in (
        ([silent, (0, "")], None, 2),
        ([silent, silent], silent[1], 2),
        ([wrong], wrong[1], 1),
    ):
        left = list(ends)

        def run(command: list[str], left: list = left, **options: object) -> SimpleNamespace:
            status, line = left.pop(0)
            return SimpleNamespace(returncode=status, stderr=line)

        monkeypatch.setattr(build.subprocess, "run", run)
        assert build.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", "quick") == reason
        assert len(ends) - len(left) == runs


def test_assertions_about_recorded_evidence_are_told_where_other_records_stand() -> None:
    cell = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook(cells=[cell("a = 1\nassert a == 2"), cell("b = a")])
    kept, plain = build.tolerant(notebook).cells
    shown: list[str] = []
    names: dict[str, object] = {"print": shown.append}
    exec(kept.source, names)
    exec(plain.source, names)
    assert shown == [build.DIFFERS] and names["b"] == 1
    broken = build.tolerant(nbformat.v4.new_notebook(cells=[cell("assert missing")])).cells[0]
    with pytest.raises(NameError):  # anything but a false statement is still an error
        exec(broken.source, {})
