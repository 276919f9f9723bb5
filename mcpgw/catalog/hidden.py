"""Hidden text made visible. A description is read by people who accept it and by models that obey it: both must see the same.

Escaped and flagged: control characters, bidirectional controls (CVE-2021-42574), zero-width and other format characters, tag
characters (U+E0000 block, which models read as ASCII), fillers that draw nothing, private use, and lone surrogates.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mcpgw.core.model import Json

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u2028\u2029")
"""Characters outside the format category that draw nothing or break lines unseen."""
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SPELLED = range(0xE0020, 0xE007F)
_MAX_SPELLED = 200
"""Characters of a hidden message that are shown; enough to see what it wants."""
_MAX_PART = 100
"""Characters of a key in a path. Keys of real schemas are names."""
_ESCAPED = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Hidden:
    """Hidden text in one string of a definition."""

    path: str
    what: str
    """`3 zero-width characters`, with the message where tag characters spell one."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def visible(text: str) -> str:
    """Return the text with each hidden character as `\\u{XXXX}`; line breaks and tabs stay."""
    return _ESCAPED.sub(lambda match: match[0] if match[0] in "\n\t" or not _species(match[0]) else _escape(match[0]), text)


def part(key: str) -> str:
    """Return a key as a part of a path. Every text below it repeats that, so it is short, however long the key."""
    return visible(key if len(key) <= _MAX_PART else f"{key[:_MAX_PART]}…")


def is_hidden(char: str) -> bool:
    """Tell whether a character is one of those above."""
    return bool(_species(char))


def hidden_in(value: Json, path: str = "") -> Iterator[Hidden]:
    """Yield what is hidden in the strings and keys of a JSON value; nested too deeply is left to those who hash it."""
    if isinstance(value, str):
        yield from _hidden_in_text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            inside = f"{path}.{part(key)}" if path else part(key)
            yield from _hidden_in_text(key, f"{inside} (the key)")
            yield from hidden_in(item, inside)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from hidden_in(item, f"{path}[{position}]")


def _hidden_in_text(text: str, path: str) -> Iterator[Hidden]:
    if text.isascii() and text.isprintable():
        return
    counts = Counter(species for char in text if char not in "\n\t\r" and (species := _species(char)))
    for species, count in sorted(counts.items()):
        what = f"{count} {species} character{'s' if count > 1 else ''}"
        if species == "tag":
            spelled = "".join(chr(ord(char) - 0xE0000) for char in text if ord(char) in _SPELLED)
            what += f', which spell "{spelled[:_MAX_SPELLED]}"'
        yield Hidden(path, what)


def _species(char: str) -> str:
    """Name the kind of hidden character, or return an empty string for one that is drawn."""
    if char in _BIDI:
        return "bidirectional control"
    if char in _BLANK:
        return "blank"
    code = ord(char)
    if 0xE0000 <= code <= 0xE007F:
        return "tag"
    if 0xE0100 <= code <= 0xE01EF or 0xFE00 <= code <= 0xFE0E:
        return "variation selector"
    category = unicodedata.category(char)
    if category not in _NEVER_SHOWN:
        return ""
    return {"Cc": "control", "Cf": "zero-width", "Cs": "surrogate", "Co": "private-use", "Cn": "unassigned"}[category]


def _escape(char: str) -> str:
    return f"\\u{{{ord(char):04X}}}"
