"""Hidden text: every kind is escaped, nothing that is drawn is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw.catalog.hidden import hidden_in, visible


@pytest.mark.parametrize(
    ("text", "shown", "what"),
    [
        ("\x00", "\\u{0000}", "1 control character"),
        ("\x1b[0m", "\\u{001B}[0m", "1 control character"),
        ("\u200f", "\\u{200F}", "1 bidirectional control character"),
        ("\u200b\ufeff", "\\u{200B}\\u{FEFF}", "2 zero-width characters"),
        ("\u00ad", "\\u{00AD}", "1 zero-width character"),
        ("\u3164\u2800", "\\u{3164}\\u{2800}", "2 blank characters"),
        ("\ufe01\U000e0101", "\\u{FE01}\\u{E0101}", "2 variation selector characters"),
        ("\ue000", "\\u{E000}", "1 private-use character"),
        ("\ud800", "\\u{D800}", "1 surrogate character"),
        ("\u0378", "\\u{0378}", "1 unassigned character"),
        ("\U000e0001\U000e0068\U000e0069", "\\u{E0001}\\u{E0068}\\u{E0069}", '3 tag characters, which spell "hi"'),
    ],
)
def test_hidden_characters_are_escaped_and_named(text: str, shown: str, what: str) -> None:
    assert visible(text) == shown
    assert [hidden.what for hidden in hidden_in(text)] == [what]


@pytest.mark.parametrize("text", ["plain", "tab\tand\nline", "Überweisung für 日本 — café", "❤️ 🏦", "\r\n", ""])
def test_text_that_is_drawn_is_not_flagged(text: str) -> None:
    assert list(hidden_in(text)) == []
    assert visible(text.replace("\r", "")) == text.replace("\r", "")


def test_the_place_is_named_down_to_list_entries_and_keys() -> None:
    value = {"a": [{"b": "\u200b"}, 1, None], "c\u200b": "x", "d": True}

    assert [str(hidden) for hidden in hidden_in(value)] == [
        "a[0].b: 1 zero-width character",
        "c\\u{200B} (the key): 1 zero-width character",
    ]


def test_a_long_hidden_message_is_cut() -> None:
    (hidden,) = hidden_in("".join(chr(0xE0061) for _ in range(1000)))

    assert hidden.what == f'1000 tag characters, which spell "{"a" * 200}"'


@settings(deadline=None)  # the machine may be busy
@given(st.text(st.characters()))
def test_what_is_shown_holds_nothing_hidden(text: str) -> None:
    assert list(hidden_in(visible(text))) == []
