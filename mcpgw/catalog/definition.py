"""What an upstream says of one thing it offers: how it is named, and the hash that an acceptance binds to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcpgw.core.canonical import digest
from mcpgw.core.model import (
    Json,
    JsonObject,
    TargetKind,
)
from mcpgw.ports import Definitions

KINDS = (TargetKind.TOOL, TargetKind.PROMPT, TargetKind.RESOURCE)
"""What is listed and so has a definition. Completions belong to prompts and resource templates."""

NAME_KEYS: Mapping[TargetKind, tuple[str, ...]] = {
    TargetKind.TOOL: ("name",),
    TargetKind.PROMPT: ("name",),
    TargetKind.RESOURCE: ("uri", "uriTemplate"),
}
"""The field that names a definition to its upstream."""

MAX_DEPTH = 64
"""Levels of nesting; schemas in use have about ten. Everything that walks a definition may then recurse."""


class UnusableDefinition(ValueError):
    """A definition without a name or without canonical bytes: it cannot be pinned, so it is never published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One definition that can be pinned."""

    kind: TargetKind
    name: str
    """The upstream's own."""
    definition: JsonObject
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One definition that cannot be published whatever an admin accepts."""

    name: str
    """As the upstream gives it, so not fit to be shown as it is; perhaps empty."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """All that one server lists, examined once: hashing is the dear part of a join."""

    items: tuple[Offered, ...] = ()
    faults: tuple[Fault, ...] = ()

    def names(self, kind: TargetKind) -> list[str]:
        """Return the upstream's names of everything of that kind, in its order."""
        return [offered.name for offered in self.items if offered.kind is kind]


_NOTHING = Offers()


def examine(definitions: Definitions, known: Offers = _NOTHING) -> Offers:
    """Name and hash everything that a server lists, in its order. What is known to the letter is not hashed again."""
    hashes = {(one.kind, one.name, _text(one.definition)): one.hash for one in known.items}
    items: dict[tuple[TargetKind, str], Offered] = {}
    faults: list[Fault] = []
    for kind in KINDS:
        for definition in definitions.get(kind, ()):
            try:
                name = upstream_name(kind, definition)
                hash_ = hashes.get((kind, name, _text(definition))) or definition_hash(definition)
            except UnusableDefinition as error:
                faults.append(Fault(_claimed_name(definition), f"this {kind.value} cannot be published: {error}."))
                continue
            if (kind, name) in items:
                faults.append(Fault(name, f"the server lists this {kind.value} twice; only the first counts."))
            else:
                items[kind, name] = Offered(kind=kind, name=name, definition=definition, hash=hash_)
    return Offers(items=tuple(items.values()), faults=tuple(faults))


def _text(definition: JsonObject) -> str:
    """Return a text that is equal only for what has equal hashes; empty, which no definition is, where it is too deep."""
    try:
        return json.dumps(definition)
    except RecursionError:
        return ""


def upstream_name(kind: TargetKind, definition: Json) -> str:
    """Return the name by which the upstream is asked for it.

    Raises:
        UnusableDefinition: it has none.
    """
    if not isinstance(definition, Mapping):
        raise UnusableDefinition("it is no object")
    for key in NAME_KEYS[kind]:
        name = definition.get(key)
        if isinstance(name, str) and name:
            return name
    raise UnusableDefinition(f'it has no "{NAME_KEYS[kind][0]}"')


def definition_hash(definition: JsonObject) -> str:
    """Return the hex SHA-256 of the whole definition's canonical JSON.

    Whole, with icons, `_meta` and fields unknown today: we publish definitions verbatim, so whatever a host may show to a
    model or a person, or act on, must be what was accepted. (A tool's `_meta` may name the page that a host opens for it.)

    Raises:
        UnusableDefinition: it has no canonical form (NaN, a lone surrogate) or is nested too deeply to be read.
    """
    if _is_deeper_than(MAX_DEPTH, definition):
        raise UnusableDefinition(f"it is nested more than {MAX_DEPTH} levels deep")
    try:
        return digest(definition)
    except ValueError:
        raise UnusableDefinition("it holds a number or a character that JSON cannot carry") from None


def _claimed_name(definition: Json) -> str:
    name = definition.get("name") if isinstance(definition, Mapping) else None
    return name if isinstance(name, str) else ""


def _is_deeper_than(limit: int, value: Json) -> bool:
    """Without recursion, because an upstream chooses the depth."""
    level = [value]
    for _ in range(limit):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return False
    return True


def _inside(value: Json) -> Iterable[Json]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
