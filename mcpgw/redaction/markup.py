"""HTML and XML: the text between tags, each stretch with the name that stands over it (a column's head, a tag, a term)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

MARKED_UP = re.compile(r"</[A-Za-z][\w:.-]{0,40}\s*>")
"""A closing tag: what tells a document from a text with an angle bracket in it."""

_TAG = re.compile(r"<(?P<end>/?)(?P<name>[A-Za-z][\w:.-]{0,60})(?P<rest>[^<>]{0,2000})>|<[!?][^<>]{0,2000}>")
_INLINE = frozenset(
    {"b", "i", "u", "em", "strong", "span", "a", "br", "small", "code", "mark", "font", "sub", "sup", "abbr", "wbr", "s", "tt"}
)
_BLOCKS = frozenset(
    {
        "html",
        "head",
        "body",
        "title",
        "div",
        "p",
        "li",
        "ul",
        "ol",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "section",
        "article",
        "header",
        "footer",
        "main",
        "nav",
        "pre",
        "blockquote",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "caption",
        "label",
        "form",
        "dl",
        "center",
    }
)


class Stretch(NamedTuple):
    """A stretch of text between tags; `key` is empty for running text."""

    start: int
    end: int
    key: str


def stretches(text: str) -> Iterator[Stretch]:
    """Yield the stretches of a document in order; tags themselves are left out, except those that have attributes."""
    reader = _Reader()
    position = 0
    for tag in _TAG.finditer(text):
        name = (tag["name"] or "").lower()
        if name in _INLINE:
            continue
        if text[position : tag.start()].strip():
            yield Stretch(position, tag.start(), reader.key(text[position : tag.start()]))
        if tag["rest"] and "=" in tag["rest"]:
            yield Stretch(tag.start(), tag.end(), "")
        if name:
            reader.see(name, tag["name"], closing=bool(tag["end"]))
        position = tag.end()
    if text[position:].strip():
        yield Stretch(position, len(text), "")


class _Reader:
    """Keeps what a stretch of text stands under."""

    def __init__(self) -> None:
        self._tag = ""
        self._header: list[str] = []
        self._column = -1
        self._in_header = False
        self._term = ""

    def see(self, name: str, written: str, *, closing: bool) -> None:
        self._tag = "" if closing else written
        if name == "table" and not closing:
            self._header = []
        elif name == "tr":
            self._column, self._term = -1, ""
            self._in_header = not self._header
        elif name in ("td", "th") and not closing:
            self._column += 1
            if name == "td":
                self._in_header = False

    def key(self, content: str) -> str:
        """Return the name over a stretch, and remember the stretch if it is itself a name for others."""
        tag = self._tag.lower()
        if tag == "th":
            if self._in_header:
                self._header += [""] * (self._column - len(self._header)) + [content.strip()]
            else:
                self._term = content.strip()
            return ""
        if tag == "dt":
            self._term = content.strip()
            return ""
        if tag == "td":
            if self._column < len(self._header):
                return self._header[self._column]
            return self._second_column(content)
        if tag == "dd":
            return self._term
        return "" if tag in _BLOCKS else self._tag.rsplit(":", 1)[-1]

    def _second_column(self, content: str) -> str:
        """In a table without a header, the first cell of a row names the second."""
        if self._column == 0:
            self._term = content.strip()
            return ""
        return self._term
