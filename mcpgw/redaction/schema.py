"""The `outputSchema` that a masked answer satisfies: the upstream's, relaxed exactly where masking may change a value.

Masking puts a string in the place of a string or a number, so a schema may no longer insist on the text of a string (its
`enum`, `const`, `pattern`, `format`, length), nor that a number is one. Objects and arrays, the keys they require, their sizes,
booleans and nulls stay as strict as they were.

What is relaxed can hold where it did not before. So a keyword for which that is a failure goes (`not`, `maxContains`), or says
less (`oneOf`, `if`), and a reference that would lead to a schema as it was leads to a relaxed one.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin

_TEXT = frozenset({"pattern", "format", "minLength", "maxLength", "contentEncoding", "contentMediaType", "contentSchema"})
_FAILING = frozenset({"uniqueItems", "not", "maxContains"})
"""What a masked value can fail because it is like another, or because more is accepted than was."""
_CHOICES = frozenset({"oneOf", "if", "then", "else"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
_LISTS = frozenset({"allOf", "anyOf", "prefixItems"})
_SINGLE = frozenset(
    {"items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"}
)
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_JUDGE_NOTHING = frozenset({"$schema", "$id", "$anchor", "$comment", "title", "description", "$defs", "definitions"})
_NUMBERS = frozenset({"number", "integer"})


def relaxed_output_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that accepts everything that `schema` accepts, before redaction and after it.

    Pure; `schema` is not changed. Keywords that judge no value (titles, descriptions, annotations, unknown ones) are kept.
    """
    known = frozenset(_identifiers(schema, ""))
    resource = _Resource(schema, "", known, told_apart=True)
    relaxed = resource.relaxed()
    if resource.lost:  # what an unknown schema evaluates is unknown: nothing may insist on what is left
        relaxed = _Resource(schema, "", known, told_apart=False).relaxed()
    return relaxed


class _Resource:
    """A schema with an identifier of its own, or the whole document: what `#/…` in it is looked up in."""

    def __init__(self, root: Mapping[str, Any], base: str, known: frozenset[str], *, told_apart: bool) -> None:
        self._root = root
        self._base = _joined(base, _identifier(root))
        self._known = known
        self._told_apart = told_apart
        """Whether `unevaluatedProperties` and `unevaluatedItems` can be kept."""
        self._moved: dict[str, Any] = {}
        """By pointer, relaxed: what references lead to, and what has no place of its own any more."""
        self.lost = False
        """Whether a reference led out of the document."""

    def relaxed(self) -> dict[str, Any]:
        relaxed = self._mapping(self._root)
        return {**relaxed, "$defs": {**relaxed.get("$defs", {}), **self._moved}} if self._moved else relaxed

    def _schema(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if not _identifier(value):
            return self._mapping(value)
        inner = _Resource(value, self._base, self._known, told_apart=self._told_apart)
        relaxed = inner.relaxed()
        self.lost |= inner.lost
        return relaxed

    def _mapping(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if any(self._leads_out(schema.get(keyword)) for keyword in _REFERENCES):
            self.lost = True  # whatever stands beside such a reference counts in some drafts, and in others does not
            schema = {keyword: value for keyword, value in schema.items() if keyword in _JUDGE_NOTHING}
        relaxed = {keyword: new for keyword, value in schema.items() for new in self._keyword(keyword, value)}
        choices = [*self._one_of(schema), *self._condition(schema)]
        if len(choices) == 1 and "anyOf" not in relaxed:
            return {**relaxed, "anyOf": choices[0]}
        return (
            {**relaxed, "allOf": [*relaxed.get("allOf", []), *({"anyOf": either} for either in choices)]}
            if choices
            else relaxed
        )

    def _one_of(self, schema: Mapping[str, Any]) -> Iterator[list[Any]]:
        """Masked values may satisfy several branches at once: one or more of them is all that can be asked for."""
        branches = schema.get("oneOf")
        if isinstance(branches, list):
            yield [self._schema(branch) for branch in branches]

    def _condition(self, schema: Mapping[str, Any]) -> Iterator[list[Any]]:
        """Which way a condition went is not to be told from a masked value: one of its two ways it went."""
        if "if" in schema:
            yes = [self._schema(schema[keyword]) for keyword in ("if", "then") if keyword in schema]
            yield [{"allOf": yes}, self._schema(schema.get("else", True))]

    def _keyword(self, keyword: str, value: Any) -> Iterator[Any]:
        """Yield the relaxed value of a keyword, or nothing where it must go."""
        if keyword in _TEXT or keyword in _FAILING or keyword in _CHOICES:
            return
        if keyword.startswith("unevaluated") and not self._told_apart:
            return
        if keyword in ("enum", "const"):
            if not any(map(_maskable, value if keyword == "enum" and isinstance(value, list) else [value])):
                yield value
        elif keyword == "type":
            yield _type(value)
        elif keyword in _REFERENCES:
            yield self._reference(value)
        elif keyword in _MAPS and isinstance(value, Mapping):
            yield {name: self._schema(item) for name, item in value.items()}
        elif (keyword in _LISTS or keyword in _SINGLE) and isinstance(value, list):
            yield [self._schema(item) for item in value]
        else:
            yield self._schema(value) if keyword in _SINGLE else value

    # --- references ------------------------------------------------------------------------------------------------------

    def _leads_out(self, reference: Any) -> bool:
        if not isinstance(reference, str) or reference.startswith("#"):
            return False
        document, _, fragment = _joined(self._base, reference).partition("#")
        return document not in self._known or fragment.startswith("/")

    def _reference(self, reference: Any) -> Any:
        """Return the reference, or one to the relaxed copy of a schema that stands where nothing is relaxed."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return reference
        pointer = unquote(reference[1:])
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        if _stays(steps):
            return reference
        if pointer not in self._moved:
            self._moved[pointer] = True  # it may lead to itself
            self._moved[pointer] = self._schema(_at(self._root, steps))
        return "#/$defs/" + quote(pointer.replace("~", "~0").replace("/", "~1"), safe="~")


def _stays(steps: list[str]) -> bool:
    """Tell whether a schema keeps its place when it is relaxed, and is relaxed there."""
    while steps:
        keyword, *steps = steps
        if keyword in _MAPS or keyword in _LISTS:
            if not steps:
                return False
            steps = steps[1:]
        elif keyword not in _SINGLE:
            return False
        elif steps and steps[0].isdecimal():
            steps = steps[1:]
    return True


def _at(value: Any, steps: list[str]) -> Any:
    """Return what a pointer leads to; true, which accepts everything, where that is nothing."""
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return True
    return value


def _identifiers(value: Any, base: str) -> Iterator[str]:
    """Yield the identifiers of the schemas in a document, resolved."""
    if isinstance(value, Mapping):
        base = _joined(base, _identifier(value))
        yield base.partition("#")[0]
        for item in value.values():
            yield from _identifiers(item, base)
    elif isinstance(value, list):
        for item in value:
            yield from _identifiers(item, base)


def _identifier(schema: Mapping[str, Any]) -> str:
    told = schema.get("$id")
    return told if isinstance(told, str) and not told.startswith("#") else ""


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:  # no address at all, such as `http://[`: it is its own name
        return reference


def _type(value: Any) -> Any:
    types = value if isinstance(value, list) else [value]
    if "string" in types or not any(number in types for number in _NUMBERS):
        return value
    return [*types, "string"]


def _maskable(value: Any) -> bool:
    """Tell whether a value holds a string or number anywhere."""
    if isinstance(value, Mapping):
        return any(map(_maskable, value.values()))
    if isinstance(value, list):
        return any(map(_maskable, value))
    return isinstance(value, str | int | float) and not isinstance(value, bool)
