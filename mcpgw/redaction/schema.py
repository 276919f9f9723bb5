"""The `outputSchema` that a masked answer satisfies: the upstream's, relaxed exactly where masking may change a value.

Masking puts a string in the place of a string or a number, so a schema may no longer insist on the text of a string (its
`enum`, `const`, `pattern`, `format`, length), nor that a number is one. Objects and arrays, the keys they require, their sizes,
booleans and nulls stay as strict as they were.
"""

from collections.abc import Mapping
from typing import Any

_TEXT = frozenset({"pattern", "format", "minLength", "maxLength", "contentEncoding", "contentMediaType", "contentSchema"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset(
    {"items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"}
)
_CONDITIONS = frozenset({"if", "then", "else", "not", "dependencies"})
_NUMBERS = frozenset({"number", "integer"})


def relaxed_output_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that accepts everything that `schema` accepts, before redaction and after it.

    Pure; `schema` is not changed. Keywords that judge no value (titles, descriptions, annotations, unknown ones) are kept.
    """
    relaxed = {keyword: new for keyword, value in schema.items() for new in _keyword(keyword, value)}
    if "oneOf" in relaxed:  # masked values may satisfy several branches at once
        branches = {"anyOf": relaxed.pop("oneOf")}
        relaxed = {**relaxed, "allOf": [*relaxed.get("allOf", []), branches]} if "anyOf" in relaxed else {**relaxed, **branches}
    return relaxed


def _keyword(keyword: str, value: Any) -> list[Any]:
    """Return the relaxed value of a keyword, or nothing where it must go."""
    if keyword in _TEXT or keyword == "uniqueItems" or keyword in _CONDITIONS:
        return []
    if keyword == "type":
        return [_type(value)]
    if keyword == "enum":
        return [] if isinstance(value, list) and any(_maskable(item) for item in value) else [value]
    if keyword == "const":
        return [] if _maskable(value) else [value]
    if keyword in _MAPS and isinstance(value, Mapping):
        return [{name: _schema(item) for name, item in value.items()}]
    if keyword in _LISTS and isinstance(value, list):
        return [[_schema(item) for item in value]]
    if keyword in _SINGLE:
        return [[_schema(item) for item in value] if isinstance(value, list) else _schema(value)]
    return [value]


def _schema(value: Any) -> Any:
    return relaxed_output_schema(value) if isinstance(value, Mapping) else value


def _type(value: Any) -> Any:
    types = [value] if isinstance(value, str) else list(value)
    if not _NUMBERS & set(types) or "string" in types:
        return value
    return [*types, "string"]


def _maskable(value: Any) -> bool:
    """Tell whether a value holds a string or number anywhere."""
    if isinstance(value, Mapping):
        return any(_maskable(item) for item in value.values())
    if isinstance(value, list):
        return any(_maskable(item) for item in value)
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool))
