"""Texts in columns."""

from __future__ import annotations

import pytest

from snlib.columns import WIDTH, aligned, folded


def test_columns_begin_in_one_place_and_lines_end_with_their_text():
    rows = [["", "quick", "why"], ["1", "not testable", "β is no number"], ["10", "ok", ""]]
    assert aligned(rows) == [
        "    quick         why",
        "1   not testable  β is no number",
        "10  ok",
    ]


def test_the_last_column_is_folded_and_the_others_stay_where_they_are():
    rows = [["a", "why"], ["10", "one two-three four"], ["2", ""]]
    assert aligned(rows, 13) == [
        "a   why",
        "10  one",
        "    two-three",
        "    four",
        "2",
    ]
    assert aligned(rows, 100) == aligned(rows)


def test_long_texts_are_folded_at_spaces():
    first, second = folded("x" * 60 + " " + "y" * 39 + " z-z", "   ").splitlines()
    assert len(first) == WIDTH and second == "   z-z"
    assert folded("short  text") == "short  text"  # as it is


def test_rows_of_other_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="shorter"):
        aligned([["a", "b"], ["c"]])
