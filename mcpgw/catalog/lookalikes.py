"""Names that are nearly another server's: not refused, because both may be honest, but said."""

from collections.abc import Iterator, Mapping, Set

from mcpgw.core.naming import skeleton

_LONG = 8
"""Characters of a name from which one of them is easily overlooked; among shorter ones (`mail`, `main`) it is another word."""


def near_names(by_server: Mapping[str, Set[str]]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield pairs of (server, name), ordered, of two servers whose names differ by one character or only to the eye.

    The same name on two servers is none: two instances of one program have those. Nor are two that differ in a digit for
    another (`ledger-2024`, `ledger-2025`).
    """
    seen: dict[str, list[tuple[str, str]]] = {}
    for server in sorted(by_server):
        met: dict[tuple[str, str], str] = {}
        for name in sorted(name for name in by_server[server] if len(name) >= _LONG):
            for variant in _variants(name):
                met.update({other: name for other in seen.get(variant, ()) if _is_near(name, other[1])})
        yield from ((other, (server, name)) for other, name in sorted(met.items()))
        for name in sorted(name for name in by_server[server] if len(name) >= _LONG):
            for variant in _variants(name):
                seen.setdefault(variant, []).append((server, name))


def _variants(name: str) -> set[str]:
    """Return the name and what is left of it without one character: names at distance one have one of these in common."""
    return {name, skeleton(name), *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _is_near(one: str, other: str) -> bool:
    if one == other:
        return False
    if skeleton(one) == skeleton(other):
        return not _differ_in_digits(one, other)
    return _distance_is_one(one, other) and not _differ_in_digits(one, other)


def _differ_in_digits(one: str, other: str) -> bool:
    return len(one) == len(other) and all(a == b or (a.isdigit() and b.isdigit()) for a, b in zip(one, other, strict=True))


def _distance_is_one(one: str, other: str) -> bool:
    """Tell whether one character was put in, left out or replaced."""
    short, long = sorted((one, other), key=len)
    at = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[at + (len(short) == len(long)) :] == long[at + 1 :] and len(long) - len(short) <= 1
