"""The one home of RE2: regular expressions whose time is linear in the text, whatever the text.

Finding is done without groups, which RE2 does several times as fast; groups are read from what was found, which is short.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import re2

PatternError: type[Exception] = re2.error
"""What a pattern that RE2 does not take raises."""

_GROUP = re.compile(r"\(\?P<\w+>")


_ANYWHERE, _WHOLE = re2._Anchor.UNANCHORED, re2._Anchor.ANCHOR_BOTH
_Span = tuple[int, int]


class Linear:
    """A compiled pattern. Back references and look-around do not exist; a pattern that has them is refused."""

    __slots__ = ("_capture", "_index", "_match")

    def __init__(self, pattern: str) -> None:
        grouped = _compiled(pattern)
        self._capture: Any = grouped._regexp.Match
        self._match: Any = _compiled(_ungrouped(pattern))._regexp.Match
        """The engine itself: the generators and objects that the package puts around it cost more than most searches."""
        self._index: Mapping[str, int] = dict(grouped.groupindex)

    def spans(self, text: str) -> list[_Span]:
        """Return where the pattern matches, in order, without overlap."""
        data = text.encode("utf-8")
        found = self._spans(data)
        if not found or len(data) == len(text):
            return found
        spans: list[_Span] = []
        seen = chars = 0
        for left, right in found:
            start = chars + len(data[seen:left].decode("utf-8"))
            chars = start + len(data[left:right].decode("utf-8"))
            seen = right
            spans.append((start, chars))
        return spans

    def _spans(self, data: bytes) -> list[_Span]:
        found: list[_Span] = []
        position, end = 0, len(data)
        while position <= end:
            ((left, right),) = self._match(_ANYWHERE, data, position, end)
            if left < 0:
                break
            found.append((left, right))
            position = right if right > position else position + 1
        return found

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches."""
        data = text.encode("utf-8")
        ((start, _),) = self._match(_WHOLE, data, 0, len(data))
        return bool(start == 0)

    def groups(self, text: str) -> dict[str, tuple[int, int]]:
        """Return the spans of the named groups that take part in the first match, which there must be."""
        data = text.encode("utf-8")
        spans = self._capture(_ANYWHERE, data, 0, len(data))
        taken = {name: spans[index] for name, index in self._index.items() if spans[index][0] >= 0}
        if len(data) == len(text):
            return taken
        return {name: (len(data[:a].decode("utf-8")), len(data[:b].decode("utf-8"))) for name, (a, b) in taken.items()}


class Alternatives:
    """Several patterns, all tried in one pass over a text."""

    __slots__ = ("_each", "_set")

    def __init__(self, patterns: Iterable[str]) -> None:
        sources = [_ungrouped(pattern) for pattern in patterns]
        self._each = [_compiled(source) for source in sources]
        sets: Any = re2.Set  # google-re2 ships no types
        self._set = sets.FullMatchSet(_options())
        for source in sources:
            self._set.Add(source)
        self._set.Compile()

    def first(self, text: str) -> int:
        """Return the index of the first pattern that the whole text matches, or -1."""
        data = text.encode("utf-8")
        matching = self._set.Match(data)
        if matching:
            return int(min(matching))
        # A set that runs out of its memory says the same as one that matches nothing.
        return next((index for index, pattern in enumerate(self._each) if pattern.fullmatch(data)), -1)


def _ungrouped(pattern: str) -> bytes:
    return _GROUP.sub("(?:", pattern).encode("utf-8")


def _compiled(pattern: str | bytes) -> Any:
    return re2.compile(pattern, _options())  # type: ignore[no-untyped-call]  # google-re2 ships no types


def _options() -> Any:
    options: Any = re2.Options()
    options.log_errors = False  # whoever wrote the pattern is told by the exception, and not on the gateway's stderr
    return options
