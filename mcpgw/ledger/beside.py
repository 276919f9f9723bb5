"""Two payloads side by side, line by line. Pure."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from mcpgw.core.visible import visible_payload


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of the clean view and the line of the raw payload that stands in its place; either may be empty."""

    clean: str
    raw: str

    @property
    def differs(self) -> bool:
        return self.clean != self.raw


def beside(clean: str, raw: str) -> Iterator[Pair]:
    """Yield both, line by line: safe to print, and the same lines side by side."""
    left, right = lines(clean), lines(raw)
    for what, a, b, c, d in difflib.SequenceMatcher(a=left, b=right, autojunk=False).get_opcodes():
        olds, news = left[a:b], right[c:d]
        if what == "equal":
            yield from map(Pair, olds, news)
            continue
        for number in range(max(len(olds), len(news))):
            yield Pair(olds[number] if number < len(olds) else "", news[number] if number < len(news) else "")


def lines(text: str) -> list[str]:
    """Return a payload as it is shown: safe to print."""
    return visible_payload(text).split("\n")
