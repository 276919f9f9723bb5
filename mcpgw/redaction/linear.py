"""The one home of RE2: regular expressions whose time is linear in the text, whatever the text."""

from typing import Any

import re2


def compiled(pattern: str) -> Any:
    """Return a compiled RE2 pattern, with the interface of `re.Pattern`.

    A pattern that RE2 refuses (back references, look-around) raises `re2.error`.
    """
    return re2.compile(pattern)  # type: ignore[no-untyped-call]  # google-re2 ships no types
