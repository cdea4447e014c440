"""Tables as files: a header line, `# {...}`, and below it tidy rows, separated by commas."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from snlib.errors import UserError, require
from snlib.results import storable


def table_text(table: pd.DataFrame, header: Mapping[str, object]) -> str:
    """The table as it is stored: a header line, which counts the rows, then the rows."""
    buffer = io.StringIO()
    stored = storable({**header, "rows": len(table)})
    buffer.write("# " + json.dumps(stored, sort_keys=True) + "\n")
    table.to_csv(buffer, index=False, float_format="%.6g", lineterminator="\n")
    return buffer.getvalue()


def read_header(path: Path) -> dict:
    """The header of a stored table: its settings and provenance.

    Raises:
        UserError: if the file has no readable header.
    """
    with open(path, encoding="utf-8", errors="replace") as stream:
        first = stream.readline()
    try:
        require(first.startswith("# {"), "")
        header = json.loads(first[2:])
        require({"settings", "columns"} <= set(header), "")
    except ValueError:
        raise UserError(
            f"{path} has no header line '# {{...}}'; it was not made by snlib."
        ) from None
    return header


def read_table(path: Path, *, remedy: str = "") -> tuple[pd.DataFrame, dict]:
    """A stored table and its header.

    Raises:
        UserError: if the file has no readable header, is damaged or was cut off; it ends with
            `remedy`.
    """
    header = read_header(path)
    text = path.read_text(encoding="utf-8", errors="replace").partition("\n")[2]
    try:
        held = io.StringIO(text)
        table = pd.read_csv(held, keep_default_na=False, na_values=["", "nan"], dtype=str)
        for column in ("x", "value", *header["columns"]):
            table[column] = _typed(table[column], strict=column in ("x", "value"))
        table["diverged"] = table["diverged"] == "True"
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}. {remedy}") from None
    rows = header.get("rows", len(table))  # the oldest tables don't say
    require(
        rows == len(table) and text.endswith("\n"),
        f"{path} is damaged: it holds {len(table)} of {rows} rows, or its last line is cut off. "
        f"{remedy}",
    )
    return table, header


def _typed(column: pd.Series, *, strict: bool) -> pd.Series:
    """Text as numbers where all of it is numbers; the label "true" is a name, no truth value."""
    try:
        return pd.to_numeric(column)
    except ValueError:
        if strict:
            raise
        return column
