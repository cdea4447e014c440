"""An executed notebook as a page that needs no network: styles inside, MathJax beside it."""

from __future__ import annotations

import html
import importlib.metadata
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat.v4 import new_output
from pygments.formatters import HtmlFormatter

from snlib.workbook.record import WIDGET

MATHJAX = "mathjax.js"

SLIDER = "A slider in JupyterLab: make lab, open this notebook, run its cells."
"""What stands in the place of a live widget, or below its still picture."""

STYLE = """
:root { --ink: #1d2430; --soft: #5b6675; --line: #e2e6ec; --paper: #fff; --wash: #f6f7f9;
        --accent: #1f5fa8; --warn: #8a4b00; --warn-wash: #fff5e5; }
* { box-sizing: border-box; }
html { color: var(--ink); background: var(--paper); -webkit-text-size-adjust: 100%;
       font: 17px/1.6 -apple-system, "Segoe UI", "Helvetica Neue", "Liberation Sans", sans-serif; }
body { margin: 0 auto; padding: 0 24px 72px; max-width: 880px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { font-size: 2rem; line-height: 1.2; margin: 1.2em 0 .4em; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2em 0 .4em; } h3 { font-size: 1.05rem; margin: 1.6em 0 .3em; }
blockquote { margin: 1em 0; padding: .1em 1.1em; border-left: 3px solid var(--accent);
             background: var(--wash); }
code, pre { font: .86rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
            monospace; }
p code, li code, td code { background: var(--wash); padding: .1em .3em; border-radius: 4px;
                          overflow-wrap: anywhere; }
pre { margin: 0; overflow-x: auto; } img, svg { max-width: 100%; }
table { border-collapse: collapse; margin: 1em 0; font-size: .92rem; }
th, td { padding: .3em .8em; border-bottom: 1px solid var(--line); text-align: left; }
.note { background: var(--warn-wash); color: var(--warn); padding: .7em 1.1em;
        border-radius: 8px; margin: 1.2em 0; overflow-wrap: anywhere; }
"""

NOTEBOOK_STYLE = """
nav { display: flex; justify-content: space-between; gap: 1em; padding: 14px 0;
      border-bottom: 1px solid var(--line); font-size: .9rem; }
nav.end { border: 0; border-top: 1px solid var(--line); margin-top: 3em; }
.prompt, .anchor-link { display: none; }
.input_area { background: var(--wash); border: 1px solid var(--line); border-radius: 8px;
              padding: 12px 16px; margin: 1.2em 0 0; }
.output_wrapper { margin: .6em 0 1.4em; }
.output_subarea { padding: 2px 16px; overflow-x: auto; }
.output_text { width: max-content; min-width: 100%; max-width: min(100vw - 48px, 1200px);
               margin-left: 50%; transform: translateX(-50%); }
mjx-assistive-mml { max-width: 100%; overflow: hidden; }
.output_png, .output_svg { text-align: center; } .output_png img { background: #fff; }
.output_error pre, .output_stderr pre { color: var(--warn); }
details { border: 1px solid var(--line); border-radius: 8px; padding: .5em 1em; margin: .8em 0; }
summary { cursor: pointer; color: var(--accent); }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="snlib.workbook">
<title>{title}</title>
<style>{style}</style>
{head}
</head>
<body>
{body}
</body>
</html>
"""

MATHJAX_HEAD = f"""<script>
MathJax = {{ tex: {{ inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true }},
            options: {{ enableMenu: false }} }};
</script>
<script async src="{MATHJAX}"></script>"""


@dataclass(frozen=True)
class Chapter:
    """A notebook as the index shows it: the first line, the question, the first figure."""

    stem: str
    title: str
    question: str
    thumbnail: str | None
    """The first image of its outputs, base64 PNG."""
    notebook: nbformat.NotebookNode

    @property
    def number(self) -> str:
        return self.stem[:2]

    @classmethod
    def of(cls, stem: str, notebook: nbformat.NotebookNode) -> Chapter:
        """Read what the index needs from the notebook's own words."""
        prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        title = re.search(r"^# (?:\d+ · )?(.+)$", prose, re.M)
        question = re.search(r"^#+ Question\s+(.+?)(?:\n\s*\n|\Z)", prose, re.M | re.S)
        images = (
            output.data["image/png"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        )
        return cls(
            stem,
            title.group(1) if title else stem,
            " ".join(question.group(1).split()) if question else "",
            next(images, None),
            notebook,
        )


def write(chapters: list[Chapter], folder: Path) -> None:
    """Write `<stem>.html` for each chapter, and the one MathJax file that they share."""
    shutil.copyfile(mathjax_source(), folder / MATHJAX)
    for position, chapter in enumerate(chapters):
        before = chapters[position - 1] if position else None
        after = chapters[position + 1] if position + 1 < len(chapters) else None
        page = render(chapter, before, after)
        (folder / f"{chapter.stem}.html").write_text(page, encoding="utf-8")


def mathjax_source() -> Path:
    """MathJax 3 with its glyphs as paths and every TeX extension: one file, nothing to fetch."""
    for file in importlib.metadata.files("sphinx-mathjax-offline") or []:
        if file.name == "tex-svg-full.js":
            return Path(file.locate())
    raise FileNotFoundError("sphinx-mathjax-offline has no tex-svg-full.js; run: make clean test")


def render(chapter: Chapter, before: Chapter | None = None, after: Chapter | None = None) -> str:
    """The page of one notebook, with links to its neighbours."""
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(still(chapter.notebook))
    links = "".join(
        [
            link(before, "← ") if before else "<span></span>",
            '<a href="index.html">Index</a>',
            link(after, "", " →") if after else "<span></span>",
        ]
    )
    highlight = HtmlFormatter(style="friendly", nobackground=True).get_style_defs(".highlight")
    return PAGE.format(
        title=html.escape(chapter.title),
        style=STYLE + NOTEBOOK_STYLE + highlight,
        head=MATHJAX_HEAD,
        body=f'<nav>{links}</nav>\n<main>{body}</main>\n<nav class="end">{links}</nav>',
    )


def link(chapter: Chapter, before: str = "", after: str = "") -> str:
    """A link to a chapter by its number and title."""
    text = html.escape(f"{before}{chapter.number} · {chapter.title}{after}")
    return f'<a href="{chapter.stem}.html">{text}</a>'


def still(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy as a page shows it, without a kernel.

    A note stands in the place of a live widget, which would need a kernel and a network. Of two
    cells of parameters, the notebook's own and the one that replaced it, only the latter is shown.
    Pictures are described by the text above them. Links from notebook to notebook lead from page to
    page.
    """
    copy = nbformat.from_dict(notebook)
    tags = [set(cell.metadata.get("tags", [])) for cell in copy.cells]
    if any("injected-parameters" in found for found in tags):
        kept = zip(copy.cells, tags, strict=True)
        copy.cells = [cell for cell, found in kept if "parameters" not in found]
    above = ""
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", cell.source)
            above = _first_sentence(cell.source) or above
        elif above:
            cell.metadata["alt"] = f"Figure: {above}"
        for output in list(cell.get("outputs", [])):
            if output.get("data", {}).pop(WIDGET, None):
                output.data["text/plain"] = SLIDER
                if "image/png" in output.data:  # a page shows that and not the text
                    cell.outputs.append(new_output("stream", name="stdout", text=SLIDER))
    return copy


def _first_sentence(markdown: str) -> str:
    """Of the first paragraph that is no heading, without its marks; "" if there is none."""
    paragraphs = (part.strip() for part in re.split(r"\n\s*\n", markdown))
    first = next((part for part in paragraphs if part and part[0] not in "#<|"), "")
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(first.split()))
    return re.split(r"(?<=[.?!:]) (?=[A-Z`*$])", re.sub(r"[*`$]", "", plain))[0]
