"""Keys of arguments that are a tool's own but for their case, wherever the tool declares any."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

MAX_STEPS: Final = 50_000
"""Pairs of a value and a schema to look at: a message of a megabyte holds fewer objects, a hostile schema multiplies them."""


def has_case_variant(arguments: Mapping[str, Any], schema: object) -> bool:
    """Tell whether a key, at any depth, is one that the schema declares in its place but for its case.

    Policy would judge `amount`, or find none, and a server that ignores case (Go's `encoding/json`) would run `Amount`. What
    a tool does not declare at all is its own affair. Full case folding, because such readers also fold the long s.

    A schema is followed through `properties`, `additionalProperties`, `items`, `prefixItems`, `allOf`, `anyOf`, `oneOf` and
    references into its own `$defs`. What takes more than `MAX_STEPS` counts as a variant: nobody can say that it is none.
    """
    steps = 0
    pending: list[tuple[Any, object]] = [(arguments, schema)]
    while pending:
        value, place = pending.pop()
        shapes = list(_shapes(place, schema))
        steps += 1 + len(shapes)
        if steps > MAX_STEPS:
            return True
        if isinstance(value, Mapping):
            declared = {name for shape in shapes for name in _table(shape, "properties")}
            folded = {name.casefold() for name in declared}
            if any(key not in declared and key.casefold() in folded for key in value):
                return True
            children = [(child, _of_key(key, shapes)) for key, child in value.items()]
        else:
            children = [(child, _of_index(index, shapes)) for index, child in enumerate(value)]
        pending += [(child, inner) for child, inner in children if inner and isinstance(child, (Mapping, list))]
    return False


def _shapes(place: object, root: object) -> Iterator[Mapping[str, Any]]:
    """Yield every schema that may hold in a place: itself, its alternatives, and what it refers to; each of them once."""
    pending = list(place) if isinstance(place, list) else [place]
    seen: set[int] = set()
    while pending:
        shape = pending.pop()
        if not isinstance(shape, Mapping) or id(shape) in seen:
            continue
        seen.add(id(shape))
        yield shape
        for key in ("allOf", "anyOf", "oneOf"):
            pending += _list(shape, key)
        if isinstance(root, Mapping) and isinstance(shape.get("$ref"), str):
            name = shape["$ref"].rpartition("/")[2]
            pending += [_table(root, table)[name] for table in ("$defs", "definitions") if name in _table(root, table)]


def _of_key(key: str, shapes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the schemas of the value under a key."""
    return [
        _table(shape, "properties").get(key, shape.get("additionalProperties"))
        for shape in shapes
        if key in _table(shape, "properties") or "additionalProperties" in shape
    ]


def _of_index(index: int, shapes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the schemas of an entry of an array."""
    first = [_list(shape, "prefixItems")[index : index + 1] for shape in shapes]
    return [entry for entries in first for entry in entries] + [shape["items"] for shape in shapes if "items" in shape]


def _table(shape: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = shape.get(key)
    return found if isinstance(found, Mapping) else {}


def _list(shape: Mapping[str, Any], key: str) -> list[Any]:
    found = shape.get(key)
    return found if isinstance(found, list) else []
