"""Rows of measurements as series: what a record stores, a third of the size of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ALONG = ("x", "value")
"""The columns that vary along a series; the others name it."""


def pack(rows: Mapping[str, Sequence]) -> list[dict[str, object]]:
    """Group rows by every column but `x` and `value`, in order of first appearance.

    Args:
        rows: columns of equal length, `x` and `value` among them.

    Returns:
        list of {name columns..., "x": [...], "value": [...]}.
    """
    names = [column for column in rows if column not in ALONG]
    series: dict[tuple, dict[str, object]] = {}
    for position in range(len(rows["value"])):
        key = tuple(rows[name][position] for name in names)
        if key not in series:
            series[key] = {**dict(zip(names, key, strict=True)), "x": [], "value": []}
        for column in ALONG:
            series[key][column].append(rows[column][position])
    return list(series.values())


def unpack(series: Sequence[Mapping[str, object]]) -> dict[str, list]:
    """The rows of `series`, series after series.

    Raises:
        KeyError, TypeError, ValueError: if it is no list of series.
    """
    names = [column for column in series[0] if column not in ALONG] if series else []
    rows: dict[str, list] = {column: [] for column in (*names, *ALONG)}
    for one in series:
        if len(one["x"]) != len(one["value"]):
            raise ValueError("a series has more places than values")
        for name in names:
            rows[name] += [one[name]] * len(one["x"])
        for column in ALONG:
            rows[column] += one[column]
    return rows
