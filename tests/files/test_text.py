"""Lines of a text, whatever wrote it."""

from __future__ import annotations

import pytest

from roialign.files.text import lines_of


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one", ["one"]),
        ("one\n", ["one"]),
        ("one\r\ntwo\rthree\n\n", ["one", "two", "three", ""]),
        ("a\u2028b\x85c\x0cd\x1ee\nf", ["a\u2028b\x85c\x0cd\x1ee", "f"]),
    ],
)
def test_only_line_ends_end_a_line(text: str, lines: list[str]) -> None:
    assert lines_of(text) == lines
