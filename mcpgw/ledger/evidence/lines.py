"""JSON as packages hold it: one object a line, in its canonical form, so that nobody reads a line in two ways. Pure."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn


def canonical(value: object) -> bytes:
    """Return canonical JSON (RFC 8785) of what packages hold: no fractions, and names of ASCII."""
    return _ENCODER.encode(value).encode()


def canonical_object(line: bytes) -> dict[str, Any] | None:
    """Return a JSON object in its canonical form; None for anything else."""
    try:
        found = json.loads(line.decode(), parse_int=_exact, parse_float=_refused)
        is_canonical = isinstance(found, dict) and canonical(found) == line
    except (ValueError, RecursionError):
        return None
    return found if is_canonical else None


def _exact(digits: str) -> int:
    """Read an integer that JSON carries exactly, for every reader (RFC 7493, section 2.2)."""
    number = int(digits)
    if abs(number) >= 2**53:
        raise ValueError("too large")
    return number


def _refused(text: str) -> NoReturn:
    raise ValueError("no fractions")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def objects(body: bytes) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Yield number, bytes and object of each line; the last line ends as the others do."""
    *lines, rest = body.split(b"\n")
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        yield number, line, canonical_object(line)


def whole_number(value: object) -> int:
    """Return a number that counts something; -1 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1
