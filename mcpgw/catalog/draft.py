"""A client's server as a catalog file: literal secrets moved out to files, everything else as it was, with comments."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.items import InlineTable

from mcpgw.catalog.dialects import Found
from mcpgw.catalog.entry import Transport
from mcpgw.catalog.hidden import visible
from mcpgw.catalog.references import Written, flagged_secret, literal_secret, malformed, secret_shape

_MAX_SERVER_NAME = 31
_PINNED = re.compile(r".+@[\w.^~-]+|.+==.+|https?:.+|git\+.+|[./~].*")
_RUNNERS = ("npx", "uvx")
"""Commands that fetch a package by name: the first argument that is no option, or the value of --package or --from."""
_NO_PACKAGE = ("--python", "--with", "--index-url", "-c", "--call", "--registry")
"""Options of theirs whose value is something else."""
_NAME = re.compile(r"-{0,2}([A-Za-z][A-Za-z_-]{0,30})")
"""An option's or variable's name, to name its secret's file by. It must end there: what follows may be the secret."""
_TAIL = """
# Rules for everything this server offers, and for single tools. Every key: docs/catalog.md
# [defaults]
# risk = "high"                            # a person has to approve each call
# redaction = { columns = ["ssn"] }        # masked wherever a value stands under this name
# timeout_s = 30
# [tools.NAME]
# enabled = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A catalog file to write: its text, and the secrets that it refers to."""

    name: str
    text: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Content by file name, to be kept below `secrets/`."""
    notes: tuple[str, ...] = ()


def draft(found: Found, origin: str, taken: Collection[str] = ()) -> Draft:
    """Make a catalog file of a found server. `origin` says where it was found; `taken` are server names already used."""
    name = _server_name(found.name, taken)
    mover = _Mover(name)
    document = _document(found, mover)
    notes = (*found.notes, *mover.notes, *_unpinned(found))
    head = [f'Imported from {visible(origin)}, where it is called "{visible(found.name)}".']
    head += [f"Look: {visible(note)}" for note in notes]
    head += [f"Then: mcpgw catalog diff {name}, and mcpgw catalog accept {name}"]
    comments = "".join(f"# {line}\n" for entry in head for line in entry.split("\n"))
    text = f"{comments}\n{tomlkit.dumps(document)}{'' if found.only_tools or found.without_tools else _TAIL}"
    return Draft(name=name, text=text, secrets=mover.secrets, notes=notes)


def _document(found: Found, mover: "_Mover") -> tomlkit.TOMLDocument:
    document = tomlkit.document()
    document["transport"] = found.transport.value
    if found.transport is Transport.STDIO:
        document["command"] = found.command
        if found.args:
            document["args"] = [mover.argument(found.args, position) for position in range(len(found.args))]
        if found.cwd:
            document["cwd"] = found.cwd
        if found.env:
            document["env"] = _inline({key: mover.value(key, value) for key, value in found.env.items()})
        if found.inherit_env:
            document["inherit_env"] = list(found.inherit_env)
    else:
        document["url"] = mover.address(found.url)
        headers = {key: mover.value(key, value) for key, value in found.headers.items()}
        bearer = next(
            (key for key, value in headers.items() if key.lower() == "authorization" and _BEARER.fullmatch(value)), ""
        )
        if bearer:
            document["bearer"] = headers.pop(bearer).partition(" ")[2].strip()
        if headers:
            document["headers"] = _inline(headers)
    if not found.enabled:
        document["enabled"] = False
    _add_rules(document, found)
    return document


_BEARER = re.compile(r"(?i:bearer)\s+\$\{[^{}]+\}\s*")


def _add_rules(document: tomlkit.TOMLDocument, found: Found) -> None:
    defaults: dict[str, Any] = {}
    if found.only_tools:
        defaults["enabled"] = False
    if found.timeout_s is not None:
        defaults["timeout_s"] = found.timeout_s
    if defaults:
        document["defaults"] = defaults
    tools = {tool: {"enabled": True} for tool in found.only_tools} | {tool: {"enabled": False} for tool in found.without_tools}
    if tools:
        document["tools"] = tools


def _inline(values: Mapping[str, str]) -> InlineTable:
    table = tomlkit.inline_table()
    table.update(values)
    return table


class _Mover:
    """Replaces each secret by a reference, and keeps it for a file of its own."""

    def __init__(self, server: str) -> None:
        self.secrets: dict[str, str] = {}
        self.notes: list[str] = []
        self._server = server

    def value(self, name: str, value: str) -> str:
        return self._move(name, value, lambda text: literal_secret(name, text))

    def address(self, url: str) -> str:
        return self._move("url", url, lambda text: secret_shape(text, is_address=True))

    def argument(self, args: Sequence[str], position: int) -> str:
        name = _given_name(args, position) or f"arg{position}"
        flagged = flagged_secret(args, position)
        return self._move(name, args[position], lambda text: flagged or secret_shape(text))

    def _move(self, name: str, value: str, find: Callable[[str], Sequence[Written]]) -> str:
        if malformed(value):
            value = value.replace("${", "{")  # else the file would be refused
            self.notes.append(f"a placeholder in {name} is not understood here; its value was taken over as plain text.")
        for written in reversed(find(value)):
            file = self._file(name)
            self.secrets[file] = value[written.start : written.end]
            value = f"{value[: written.start]}${{file:secrets/{file}}}{value[written.end :]}"
        return value

    def _file(self, name: str) -> str:
        base = f"{self._server}.{re.sub(r'[^A-Za-z0-9_-]+', '_', name)}"
        file, count = base, 1
        while file in self.secrets:
            count += 1
            file = f"{base}.{count}"
        return file


def _given_name(args: Sequence[str], position: int) -> str:
    """Name an argument by what it assigns to (`--key=…`, `KEY=…`), else by the option before it; perhaps empty."""
    assigned, equals, _ = args[position].partition("=")
    before = args[position - 1] if position and args[position - 1].startswith("--") else ""
    found = _NAME.fullmatch(assigned) if equals else _NAME.fullmatch(before)
    return found[1] if found else ""


def _server_name(name: str, taken: Collection[str]) -> str:
    """Fold a client's name into one that a server may have, and that is not taken."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower())
    plain = re.sub(r"_{2,}", "_", plain).strip("-_")[:_MAX_SERVER_NAME].strip("-_") or "server"
    plain = "mcpgw-upstream" if plain == "mcpgw" else plain
    candidate, count = plain, 1
    while candidate in taken:
        count += 1
        candidate = f"{plain[: _MAX_SERVER_NAME - 1 - len(str(count))]}-{count}"
    return candidate


def _unpinned(found: Found) -> tuple[str, ...]:
    """Return a note if a runner fetches a package without a version."""
    before = ""
    for position, arg in enumerate(found.args if found.command in _RUNNERS else ()):
        is_value = before in _NO_PACKAGE or flagged_secret(found.args, position) or secret_shape(arg)
        if not arg.startswith("-") and not is_value:
            if _PINNED.fullmatch(arg):
                return ()
            return (f"{visible(arg)} has no version: pin one, or an update changes what was accepted.",)
        before = arg
    return ()
