"""Seeing through disguise: a plain view of a text, and the way back from every character of the view to the original.

The view undoes HTML entities, percent-encoding, `\\uXXXX` escapes, compatibility forms (NFKC), invisible characters, digits of
other scripts, and Unicode's many dashes and spaces. Detectors read the view; masking cuts the original, whole.
"""

import html
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

_PIECE = re.compile(
    r"(?:&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"  # an HTML entity
    r"|(?:%[0-9A-Fa-f]{2})+"
    r"|\\u[0-9a-fA-F]{4}"
    r"|[\s\S])[\u0300-\u036f]*",
)
"""A character, however it is written, with its combining marks: none may be left to change what masking puts before it."""

_INVISIBLE = frozenset(
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff"
)
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u2043")


class View:
    """A plain reading of `original`. `text[i]` stands for `original[starts[i]:ends[i]]`."""

    __slots__ = ("_ends", "_starts", "text")

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self.text = text
        self._starts = starts
        self._ends = ends

    @property
    def same(self) -> bool:
        """Whether each sign of the view is the sign of the original at its own place, and stands for nothing else."""
        return not self._starts

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that the non-empty span of the view stands for."""
        if not self._starts:
            return start, end
        return self._starts[start], self._ends[end - 1]

    def over(self, other: "View") -> "View":
        """Return a view of the text that `other`, whose text this one views, is itself a view of."""
        if not (self._starts and other._starts):
            return View(self.text, self._starts or other._starts, self._ends or other._ends)
        return View(self.text, [other._starts[at] for at in self._starts], [other._ends[at - 1] for at in self._ends])

    def under(self, other: "View") -> "View":
        """Return another view of the same original as one of this view's text: a sign stands for all that has its place."""
        if not self._starts:
            return other
        starts = other._starts or range(len(other.text))
        ends = other._ends or range(1, len(other.text) + 1)
        return View(other.text, [bisect_right(self._ends, at) for at in starts], [bisect_left(self._starts, at) for at in ends])


def view(original: str) -> View:
    """Return the plain view of a text; linear in its length."""
    if _is_plain(original):
        return View(original, (), ())
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for piece in _PIECE.finditer(original):
        plain = _plain(piece.group())
        chars.append(plain)
        starts.extend([piece.start()] * len(plain))
        ends.extend([piece.end()] * len(plain))
    return View("".join(chars), starts, ends) if starts else View("", (), ())


def _is_plain(text: str) -> bool:
    """Tell whether a text is its own view: nothing but ASCII, and no sign that an encoding begins with."""
    return text.isascii() and "%" not in text and "&" not in text and "\\" not in text


def _plain(piece: str) -> str:
    if len(piece) == 1 and piece < "\x80":
        return piece
    first = piece[0]
    if first == "&":
        piece = html.unescape(piece)
    elif first == "%" and len(piece) > 2:
        piece = unquote_to_bytes(piece).decode("utf-8", errors="replace")
    elif piece.startswith("\\u"):
        piece = chr(int(piece[2:6], 16)) + piece[6:]
    return "".join(map(_plain_char, unicodedata.normalize("NFKC", piece)))


def _plain_char(char: str) -> str:
    if char < "\x80":
        return char
    if char in _INVISIBLE or "\U000e0000" <= char <= "\U000e007f":
        return ""
    if char in _DASHES:
        return "-"
    if char.isspace():
        return char if char in "\x85\u2028\u2029" else " "
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"  # half of a pair: no encoder takes it
    number = unicodedata.digit(char, -1)
    return str(number) if number >= 0 else char
