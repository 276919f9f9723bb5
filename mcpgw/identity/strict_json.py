"""JSON from strangers, read so that it can mean one thing only."""

import json
from typing import Any


def loads(text: bytes | str) -> Any:
    """Return the JSON value, refusing what readers disagree about: duplicate keys, NaN and infinities (RFC 8259 section 4).

    Raises:
        ValueError: it is not JSON, not UTF-8, nested too deeply, or ambiguous.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
