"""Complaints about an admin's file carry the line."""

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of, parse, suggestion

TEXT = '''\
name = "x"
"quoted key" = 1
note = """
[not.a.table]
fake = 1
"""

[roles.teller]
members = [
  "user:alice",
]
a.b = 1

[[rules]]
id = "one"
[rules.sql]
argument = "q"

[[rules]]
id = "two"  # comment
[rules.sql]
argument = "r"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 1),
        (("quoted key",), 2),
        (("note",), 3),
        (("roles", "teller"), 8),
        (("roles", "teller", "members"), 9),
        (("roles", "teller", "members", 0), 9),  # the nearest key around it
        (("roles", "teller", "a", "b"), 12),
        (("rules", 0, "id"), 15),
        (("rules", 0, "sql", "argument"), 17),
        (("rules", 1, "id"), 20),
        (("rules", 1, "sql", "argument"), 22),
        (("rules", 1, "missing"), 19),
        (("fake",), 1),  # nowhere: the top of the file
    ],
)
def test_a_key_is_found_in_its_line(path: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = \n", r"^c.toml:2: this is not TOML: Invalid value$"),
        ("a = 1\na = 2\n", r"^c.toml:2: this is not TOML: Cannot overwrite a value$"),
        ('a = 1\nb = """x\n', r"^c.toml:3: this is not TOML: Unterminated string$"),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text, "c.toml")


def test_toml_is_parsed() -> None:
    assert parse("a.b = 1", "c.toml") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("wrong", "known", "sentence"),
    [
        ("commnd", ["command", "args"], "Did you mean `command`?"),
        ("zzz", ["b", "a"], "Known here: `a`, `b`."),
        ("zzz", [], ""),
    ],
)
def test_a_typo_gets_a_suggestion(wrong: str, known: list[str], sentence: str) -> None:
    assert suggestion(wrong, known) == sentence
