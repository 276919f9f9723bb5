"""JSON from strangers, read so that it can mean one thing only."""

import json
from typing import Any


def loads(text: bytes | str) -> Any:
    """Return the JSON value, refusing what readers disagree about: duplicate keys, NaN, infinities and lone surrogates
    (RFC 8259 sections 4, 6 and 8.2). The last could not be recorded either.

    Raises:
        ValueError: it is not JSON, not UTF-8, nested too deeply, or ambiguous.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
