"""Texts in columns and lines, as commands and notebooks print them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 100
"""Characters that a line of a notebook's output has room for where the window is 1,280 pixels."""


def aligned(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """One line a row, each column from the same place on (pandas moves only its headings there).

    Args:
        rows: texts, as many in every row.
        width: where the last column is to be folded, onto lines below the first; None: nowhere.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        room = width - sum(2 + one for one in widths[:-1])
        rows = [line for row in rows for line in _below(row, room)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _below(row: Sequence[str], room: int) -> list[list[str]]:
    """A row whose last text is folded, as a row for each line of it."""
    *first, text = row
    lines = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    return [[*(first if line == 0 else [""] * len(first)), part] for line, part in enumerate(lines)]


def folded(text: str, indent: str = "  ") -> str:
    """A text on lines of at most `WIDTH` characters, all but the first indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
