"""Bounded plain copies of JSON, for the expression engine: it is native code that must never see what could hurt it.

Found by trying: CEL's C++ runtime overflows its stack, and so ends the process, on values some ten thousand levels deep, and
cannot read lone surrogates. JSON has no NaN, but Python's parser reads one, and every comparison with it is false: a rule
`args.amount > 10000` would stay silent.
"""

import math
from collections.abc import Mapping
from typing import Any

from mcpgw.core.model import Json

MAX_DEPTH = 64
"""Levels of nesting."""
MAX_VALUES = 10_000
"""Values and keys together."""
MAX_TEXT = 1_048_576
"""Characters in all strings and keys together: what the longest message (`listen.max_body_bytes`, as it is set by default) can
hold. Each expression that reads such a text takes up to 75 ms, regular expressions as well, which are linear in it."""
MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""CEL's int and uint."""


class Unsuitable(Exception):
    """A value that no condition can be asked about. `str()` names the problem without the value."""


def plain(value: Json) -> Any:
    """Return a copy made of dict, list, str, int, float, bool and None alone.

    Raises:
        Unsuitable: too deep, too many, too long, not finite, too large, no valid Unicode, or not JSON.
    """
    return _Copier().copy(value, MAX_DEPTH)


class _Copier:
    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.text = MAX_TEXT

    def copy(self, value: Json, depth: int) -> Any:
        self.values -= 1
        if self.values < 0:
            raise Unsuitable(f"more than {MAX_VALUES} values")
        if depth == 0:
            raise Unsuitable(f"nested more than {MAX_DEPTH} levels deep")
        match value:
            case None | bool():
                return value
            case str():
                return self.string(value)
            case int():
                if not MIN_INT <= value <= MAX_INT:
                    raise Unsuitable("an integer of more than 64 bits")
                return int(value)
            case float():
                if not math.isfinite(value):
                    raise Unsuitable("a number that is not finite")
                return float(value)
            case Mapping():
                return {self.key(key): self.copy(item, depth - 1) for key, item in value.items()}
            case list() | tuple():
                return [self.copy(item, depth - 1) for item in value]
            case _:
                raise Unsuitable("a value that is not JSON")

    def key(self, key: object) -> str:
        if not isinstance(key, str):
            raise Unsuitable("a key that is not a string")
        self.values -= 1
        return self.string(key)

    def string(self, text: str) -> str:
        self.text -= len(text)
        if self.text < 0:
            raise Unsuitable(f"more than {MAX_TEXT} characters of text")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Unsuitable("text that is not valid Unicode") from None
        return str(text)
