"""Texts in columns."""

from __future__ import annotations

import pytest

from snlib.columns import aligned


def test_columns_begin_in_one_place_and_lines_end_with_their_text():
    rows = [["", "quick", "why"], ["1", "not testable", "β is no number"], ["10", "ok", ""]]
    assert aligned(rows) == [
        "    quick         why",
        "1   not testable  β is no number",
        "10  ok",
    ]


def test_rows_of_other_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="shorter"):
        aligned([["a", "b"], ["c"]])
