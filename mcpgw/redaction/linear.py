"""The one home of RE2: regular expressions whose time is linear in the text, whatever the text.

Finding is done without groups, which RE2 does several times as fast; groups are read from what was found, which is short.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import re2

PatternError: type[Exception] = re2.error
"""What a pattern that RE2 does not take raises."""

_GROUP = re.compile(r"\(\?P<\w+>")


class Linear:
    """A compiled pattern. Back references and look-around do not exist; a pattern that has them is refused."""

    __slots__ = ("_finder", "_groups", "_index")

    def __init__(self, pattern: str) -> None:
        self._finder: Any = _compiled(_GROUP.sub("(?:", pattern).encode("utf-8"))
        self._groups: Any = _compiled(pattern)
        self._index: Mapping[str, int] = dict(self._groups.groupindex)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where the pattern matches, in order, without overlap."""
        data = text.encode("utf-8")
        if len(data) == len(text):
            for match in self._finder.finditer(data):
                yield match.span()
            return
        seen = chars = 0
        for match in self._finder.finditer(data):
            left, right = match.span()
            start = chars + len(data[seen:left].decode("utf-8"))
            chars = start + len(data[left:right].decode("utf-8"))
            seen = right
            yield start, chars

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches."""
        return self._finder.fullmatch(text.encode("utf-8")) is not None

    def groups(self, text: str) -> dict[str, tuple[int, int]]:
        """Return the spans of the named groups that take part in the first match, which there must be."""
        match = self._groups.search(text)
        spans = {name: match.span(index) for name, index in self._index.items()}
        return {name: span for name, span in spans.items() if span[0] >= 0}


def _compiled(pattern: str | bytes) -> Any:
    options: Any = re2.Options()
    options.log_errors = False  # whoever wrote the pattern is told by the exception, and not on the gateway's stderr
    return re2.compile(pattern, options)  # type: ignore[no-untyped-call]  # google-re2 ships no types
