"""Whatever others have written, a terminal gets only characters that are shown as themselves."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.printable import as_json, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SO-1 小米 SU7", "SO-1 小米 SU7"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\x7f\x9b", "a\\x0ab\\x7f\\x9b"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028\U000e0001", "\\u2028\\U000e0001"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_shown_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_unprintable_is_left_and_json_keeps_its_value(text: str) -> None:
    assert all(character.isprintable() or character.isspace() for character in printable(text))
    assert not set(printable(text)) & set(map(chr, [*range(32), *range(127, 160)]))
    line = as_json({text: [text, None, 1]})
    assert not set(line) & set(map(chr, [*range(32), *range(127, 160)]))
    assert json.loads(line) == {text: [text, None, 1]}
