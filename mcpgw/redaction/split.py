"""Identifiers cut in pieces: neighbouring fields of digits that are one number together."""

from collections.abc import Sequence
from typing import Any

from mcpgw.redaction import checksums

_SHAPES = {
    (3, 2, 4): "US_SSN",
    (4, 6, 5): "CREDIT_CARD",
    (4, 4, 4, 4): "CREDIT_CARD",
    (8, 8): "CREDIT_CARD",
    (6, 10): "CREDIT_CARD",
    (12, 4): "CREDIT_CARD",
    (6, 6, 4): "CREDIT_CARD",
}
"""How people cut a number, by the lengths of the pieces."""


def pieces(values: Sequence[Any]) -> dict[int, str]:
    """Return the entity of every value, by index, that is a piece of a number together with its neighbours."""
    found: dict[int, str] = {}
    lengths = [len(value) if value.__class__ is str and value.isdigit() and value.isascii() else 0 for value in values]
    if len(lengths) - lengths.count(0) < 2:
        return found
    for shape, entity in _SHAPES.items():
        size = len(shape)
        for start in range(len(values) - size + 1):
            if tuple(lengths[start : start + size]) != shape or start in found:
                continue
            number = "".join(values[start : start + size])
            if checksums.card(number) if entity == "CREDIT_CARD" else checksums.ssn(number):
                found.update(dict.fromkeys(range(start, start + size), entity))
    return found
