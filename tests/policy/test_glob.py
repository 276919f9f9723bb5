"""Patterns over names."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.policy.glob import Glob


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("bank__transfer", "bank__transfer", True),
        ("bank__transfer", "bank__transfers", False),
        ("bank__transfer", "Bank__transfer", False),
        ("*", "", True),
        ("*", "anything", True),
        ("bank__*", "bank__transfer", True),
        ("bank__*", "xbank__transfer", False),
        ("*__read", "files__read", True),
        ("*__read", "files__reads", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "axxbxxc", True),
        ("a*b*c", "axxcxxb", False),
        ("a*b*b", "ab", False),
        ("a*ab*b", "ab", False),
        ("a**c", "abc", True),
        ("a.c", "abc", False),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_is_special(pattern: str, name: str, matches: bool) -> None:
    assert Glob.of(pattern).matches(name) is matches


@pytest.mark.parametrize("pattern", ["", "bank__?", "bank__[a-z]*", "{a,b}"])
def test_wildcards_of_other_languages_are_refused_rather_than_taken_literally(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"empty|only wildcard"):
        Glob.of(pattern)


@given(st.lists(st.sampled_from(["a", "b", "*"]), max_size=8), st.text("ab", max_size=10))
def test_it_agrees_with_the_obvious_definition(parts: list[str], name: str) -> None:
    pattern = "".join(parts) or "*"
    assert Glob.of(pattern).matches(name) is _obvious(pattern, name)


def test_a_hostile_name_is_matched_in_linear_time() -> None:
    started = time.perf_counter()
    assert not Glob.of("*a" * 50 + "*b*").matches("a" * 100_000)
    assert time.perf_counter() - started < 1


def _obvious(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_obvious(pattern[1:], name[skip:]) for skip in range(len(name) + 1))
    return bool(name) and name[0] == pattern[0] and _obvious(pattern[1:], name[1:])
