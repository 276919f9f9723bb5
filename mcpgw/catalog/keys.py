"""The keys of a catalog file, as tables that the reader checks by and that docs/catalog.md must list.

A key may be added; a key that is gone stays an error that says where it went. Values never appear in a complaint, because an
admin may have put a secret into the wrong place.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mcpgw.core.answers import Question
from mcpgw.core.canonical import canonical
from mcpgw.core.model import Risk, TargetKind
from mcpgw.core.toml import suggestion

_MEMBER = re.compile(r"(?:group|user):.+")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key's value must be: the words for a complaint, and the test."""

    expects: str
    accepts: Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_members(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _MEMBER.fullmatch(item) for item in value)


def _are_questions(value: object) -> bool:
    return isinstance(value, list) and all(one in [*Question] for one in value)


def _are_named_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_json_table(value: object) -> bool:
    """Dates and times, and numbers that are none, are TOML's alone."""
    try:
        return isinstance(value, dict) and bool(canonical(value))
    except ValueError:
        return False


def choice(*words: str) -> Kind:
    """A value out of a few words."""
    quoted = " or ".join(f'"{word}"' for word in words)
    return Kind(quoted, lambda value: value in words)


TEXT = Kind("a string that is not empty", _is_text)
ARGUMENTS = Kind("a list of strings", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))
TEXTS = Kind("a list of strings, none of them empty", _are_texts)
NAMED_TEXTS = Kind("a table of strings", _are_named_texts)
TABLES = Kind("a list of tables", lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value))
MEMBERS = Kind('a list of "group:NAME" and "user:SUBJECT"', _are_members)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
SECONDS = Kind("a number of seconds above 0", _is_seconds)
COUNT = Kind("a whole number above 0", _is_count)
TABLE = Kind("a table", lambda value: isinstance(value, dict))

QUESTIONS = Kind("a list out of " + ", ".join(f'"{one.value}"' for one in Question), _are_questions)
JSON_TABLE = Kind("a table of JSON values", _is_json_table)

SERVER: Mapping[str, Kind] = {
    "transport": choice("stdio", "http", "sse"),
    "name": TEXT,
    "enabled": FLAG,
    "unavailable": choice("hide", "list"),
    "defaults": TABLE,
    "tools": TABLE,
    "prompts": TABLE,
    "resources": TABLE,
}
"""Keys of every file."""

STDIO: Mapping[str, Kind] = {
    "command": TEXT,
    "args": ARGUMENTS,
    "cwd": TEXT,
    "env": NAMED_TEXTS,
    "inherit_env": TEXTS,
    "limits": TABLE,
}
"""Keys of a server that the gateway starts."""

LIMITS: Mapping[str, Kind] = {
    "memory_mb": COUNT,
    "open_files": COUNT,
    "cpu_s": COUNT,
}
"""Keys of `limits`."""

REMOTE: Mapping[str, Kind] = {
    "url": TEXT,
    "headers": NAMED_TEXTS,
    "bearer": TEXT,
    "addresses": choice("public", "private"),
}
"""Keys of a server that the gateway calls (`http`, `sse`)."""

DEFAULTS: Mapping[str, Kind] = {
    "enabled": FLAG,
    "scope": TEXT,
    "tags": TEXTS,
    "risk": choice(*(risk.value for risk in Risk)),
    "redaction": TABLE,
    "restore_tokens": FLAG,
    "vault": FLAG,
    "vault_except": TEXTS,
    "timeout_s": SECONDS,
    "max_result_bytes": COUNT,
    "truncate": FLAG,
    "questions": QUESTIONS,
}
"""Keys of `[defaults]`."""

TOOL: Mapping[str, Kind] = {**DEFAULTS, "name": TEXT, "annotations": TABLE, "preview": TABLE}
"""Keys of `[tools.NAME]`."""

PREVIEW: Mapping[str, Kind] = {"arguments": JSON_TABLE, "tool": TEXT}
"""Keys of `preview`: one of them."""

PROMPT: Mapping[str, Kind] = {**DEFAULTS, "name": TEXT}
"""Keys of `[prompts.NAME]`."""

RESOURCE: Mapping[str, Kind] = DEFAULTS
"""Keys of `[resources."URI"]`, where the URI or template is the upstream's own."""

SINGLE: Mapping[TargetKind, tuple[str, Mapping[str, Kind]]] = {
    TargetKind.TOOL: ("tools", TOOL),
    TargetKind.PROMPT: ("prompts", PROMPT),
    TargetKind.RESOURCE: ("resources", RESOURCE),
}
"""The tables of tables with rules for single things, and the keys of each."""

REDACTION: Mapping[str, Kind] = {"profile": TEXT, "columns": TEXTS, "paths": TEXTS, "rules": TABLES}
"""Keys of `redaction`."""

RULE: Mapping[str, Kind] = {
    "path": TEXT,
    "unmasked_for": MEMBERS,
    "operator": choice("mask", "partial", "hash", "token", "drop", "keep"),
}
"""Keys of one of `redaction.rules`; `path` is required."""

ANNOTATIONS: Mapping[str, Kind] = {
    "title": TEXT,
    "readOnlyHint": FLAG,
    "destructiveHint": FLAG,
    "idempotentHint": FLAG,
    "openWorldHint": FLAG,
}
"""Keys of `annotations`: MCP 2026-07-28, ToolAnnotations."""

_TOML_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with one key of one table."""

    key: str
    message: str
    hint: str = ""


def complaints(table: Mapping[str, object], keys: Mapping[str, Kind]) -> Iterator[Complaint]:
    """Yield what is wrong with a table's keys and the types of their values, in the order of the file."""
    for key, value in table.items():
        if key not in keys:
            yield Complaint(key, f"unknown key `{key}`.", _suggest(key, keys))
        elif not keys[key].accepts(value):
            yield Complaint(key, f"`{key}` must be {keys[key].expects}, not {_found(value)}.")


def _suggest(key: str, keys: Mapping[str, Kind]) -> str:
    if key in REDACTION and "redaction" in keys:
        return f"It belongs into `redaction = {{ {key} = … }}`."
    if key in ANNOTATIONS and "annotations" in keys:
        return f"It belongs into `annotations = {{ {key} = … }}`."
    return suggestion(key, keys)


def _found(value: object) -> str:
    """The type of a value, told without the value."""
    if value == "":
        return "an empty string"
    if isinstance(value, list) and "" in value:
        return "a list with an empty string in it"
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < math.inf:
        return "this number"
    if isinstance(value, str):
        return "this string"
    return _TOML_TYPES.get(type(value), "a date or time")
