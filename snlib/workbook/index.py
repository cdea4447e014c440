"""The index page: a card a notebook, every figure as PNG and PDF, the provenance."""

from __future__ import annotations

import html
import platform
from dataclasses import dataclass
from pathlib import Path

from nbconvert.filters import markdown2html
from PIL import Image

from snlib import results, tidy
from snlib.errors import require
from snlib.workbook.pages import MATHJAX_HEAD, PAGE, STYLE, Chapter

TITLE = "Generalizable Adversarial Training via Spectral Normalization"

ABOUT = """Adversarial training fits the training attacks of a deep network far better than those on
new images. <a href="https://arxiv.org/abs/1811.07457">Farnia, Zhang and Tse (ICLR 2019)</a> bound
that generalization gap by the spectral norms of the layers, and close much of it by capping each at
a budget <em>beta</em>. Each notebook below asks one question of that claim. Every table and figure
was computed by this workbook from the records named at the end."""

INDEX_STYLE = """
body { max-width: 1080px; }
header p { max-width: 46em; color: var(--soft); }
.kicker { color: var(--accent); font-weight: 600; margin: 3em 0 0; }
header h1 { margin-top: .15em; font-size: 2.3rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 22px;
         margin: 2em 0; }
.card { border: 1px solid var(--line); border-radius: 12px; overflow: hidden; display: flex;
        flex-direction: column; }
.card:hover { border-color: var(--accent); }
.card .thumb { display: block; height: 190px; background: #fff; padding: 12px;
               border-bottom: 1px solid var(--line); }
.card .thumb img { width: 100%; height: 100%; object-fit: contain; }
.card .thumb.empty { background: var(--wash); display: flex; align-items: center;
                     justify-content: center; font-size: 3rem; color: var(--line); }
.card .text { padding: 14px 18px 16px; flex: 1; display: flex; flex-direction: column; }
.card h2 { font-size: 1.08rem; line-height: 1.35; margin: 0 0 .3em; }
.question { color: var(--soft); font-size: .93rem; line-height: 1.5; flex: 1; }
.question p { margin: 0 0 .8em; }
.files { font-size: .86rem; color: var(--soft); }
figure { margin: 0; padding: 24px 0; border-top: 1px solid var(--line); }
figure img { display: block; margin: 0 auto 12px; background: #fff; }
figcaption { max-width: 50em; margin: 0 auto; font-size: .93rem; color: var(--soft); }
footer { font-size: .9rem; color: var(--soft); } footer table { width: 100%; }
.wide { overflow-x: auto; }
figure img { height: auto; }
"""


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn: figures/<name>.png and .pdf."""

    name: str
    notebook: str
    """The first two digits of the notebook that shows it."""
    caption: str

    def links(self) -> str:
        """Links to its two files."""
        return (
            f'<a href="figures/{self.name}.png">PNG</a> · <a href="figures/{self.name}.pdf">PDF</a>'
        )


def write(
    chapters: list[Chapter],
    drawn: list[Drawn],
    scale: str,
    store: results.Store,
    notes: list[str],
    folder: Path,
) -> None:
    """Write index.html.

    Args:
        chapters: the notebooks, in order.
        drawn: the figures, in order.
        scale: of the records shown.
        store: where their tables are, for the provenance.
        notes: what failed or is missing, one line each.
        folder: where figures/ and the pages are.
    """
    parts = [
        f'<header><p class="kicker">A research workbook · scale <b>{html.escape(scale)}</b></p>'
        f"<h1>{TITLE}</h1><p>{ABOUT}</p></header>",
        *(f'<div class="note">{html.escape(note)}</div>' for note in notes),
        f'<section class="cards">{"".join(card(chapter, drawn) for chapter in chapters)}</section>',
        "<h2>Figures</h2>" if drawn else "",
        *(gallery(figure, folder) for figure in drawn),
        f"<footer><h2>Provenance</h2>{provenance(scale, store)}</footer>",
    ]
    page = PAGE.format(
        title=TITLE, style=STYLE + INDEX_STYLE, head=MATHJAX_HEAD, body="\n".join(parts)
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def card(chapter: Chapter, drawn: list[Drawn]) -> str:
    """A notebook: its figure, title and question, and its files."""
    mine = [figure for figure in drawn if figure.notebook == chapter.number]
    page = f"{chapter.stem}.html"
    if mine:
        image = f'<img src="figures/{mine[0].name}.png" alt="">'
    elif chapter.thumbnail:
        image = f'<img src="data:image/png;base64,{chapter.thumbnail.strip()}" alt="">'
    else:
        image = chapter.number
    files = [f'<a href="notebooks/{chapter.stem}.ipynb">Notebook</a>']
    files += [f"{html.escape(figure.name)}: {figure.links()}" for figure in mine]
    return (
        f'<article class="card"><a class="thumb{"" if "<" in image else " empty"}" href="{page}">'
        f'{image}</a><div class="text"><h2><a href="{page}">'
        f"{chapter.number} · {html.escape(chapter.title)}</a></h2>"
        f'<div class="question">{markdown2html(chapter.question)}</div>'
        f'<div class="files">{"<br>".join(files)}</div></div></article>'
    )


def gallery(figure: Drawn, folder: Path) -> str:
    """A figure at full width, with its caption; its size is told before it is loaded."""
    with Image.open(folder / "figures" / f"{figure.name}.png") as picture:
        size = f'width="{picture.width}" height="{picture.height}"'
    return (
        f'<figure id="{figure.name}"><img src="figures/{figure.name}.png" {size} '
        f'alt="{html.escape(figure.caption)}" loading="lazy">'
        f"<figcaption>{html.escape(figure.caption)} {figure.links()}</figcaption></figure>"
    )


def provenance(scale: str, store: results.Store) -> str:
    """A row a table of this scale: runs, seeds, data, cost, software, as its header says."""
    rows = []
    for path in sorted(store.root.glob(f"*.{scale}.csv")):
        about = tidy.read_header(path)
        rows.append(
            [
                about["experiment"],
                f"{about['done']} of {about['runs']} runs",
                "seeds " + ", ".join(str(seed) for seed in about["seeds"]),
                ", ".join(about["data"]),
                f"{60 * about['hours']:.0f} min of computing",
                "; ".join(about["devices"] + about["software"]),
                "commit " + ", ".join(commit[:10] for commit in about["commits"]),
            ]
        )
    where = f"Pages made on {html.escape(platform.platform())}, Python {platform.python_version()}."
    if not rows:
        return f"<p>No table of scale {html.escape(scale)} is in {store.root.name}. {where}</p>"
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>{cells}</table></div><p>{where}</p>'


def require_ours(out: Path) -> None:
    """Refuse to replace a folder that no build made.

    Raises:
        UserError: naming the folder.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    page = out / "index.html"
    ours = page.is_file() and 'content="snlib.workbook"' in page.read_text(encoding="utf-8")
    require(ours, f"--out is {out}, which holds something else; name a new or empty folder.")
