"""`catalog/catalog.lock`: what an admin accepted, with the definitions themselves, so that a change can be shown.

Format 1 is JSON: servers and names sorted, definitions as the upstream wrote them, indented, so that a review of the commit
shows a changed description as one changed line. Hidden characters stand as `\\u` escapes. A later format counts `version` up;
a reader refuses a version that it does not know.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcpgw.catalog.definition import KINDS, UnusableDefinition, definition_hash
from mcpgw.catalog.hidden import is_hidden
from mcpgw.catalog.problems import CatalogError, Problem
from mcpgw.core.canonical import digest
from mcpgw.core.model import JsonObject, TargetKind

LOCK_NAME = "catalog.lock"
_VERSION = 1
_ABOUT = "What an admin accepted with `mcpgw catalog accept`. Commit this file, and do not edit it by hand."


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted definition and its hash."""

    definition: JsonObject
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What was accepted of one server: how it is reached, and what it offers by kind and upstream name."""

    reached: JsonObject
    accepted: Mapping[TargetKind, Mapping[str, Accepted]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return digest(self.reached)

    def hash_of(self, kind: TargetKind, upstream_name: str) -> str:
        """Return the accepted definition's hash, or an empty string: no definition has that."""
        found = self.accepted.get(kind, {}).get(upstream_name)
        return found.hash if found else ""


@dataclass(frozen=True, slots=True)
class Lock:
    servers: Mapping[str, Pinned] = field(default_factory=dict)


def read_lock(path: Path) -> Lock:
    """Read the lock; where there is no file nothing was accepted.

    Raises:
        CatalogError: it is not readable, of another version, or a hash does not belong to its definition.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError):
        raise _broken(where, "cannot be read as UTF-8 text.") from None
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _broken(where, "is not JSON.") from None
    version = data.get("version") if isinstance(data, dict) else None
    if version != _VERSION:
        raise _broken(where, f"has no version {_VERSION}, the one that this mcpgw reads.")
    try:
        return Lock({name: _pinned(server) for name, server in data["servers"].items()})
    except (KeyError, TypeError, AttributeError, UnusableDefinition):
        raise _broken(where, "lacks a part that `mcpgw catalog accept` writes.") from None
    except _HashMismatch as error:
        raise _broken(where, f"{error} does not have the hash beside it: the file was edited.") from None


def lock_text(lock: Lock) -> str:
    """Return the file's text: the same acceptances always give the same bytes."""
    servers = {name: _pinned_json(lock.servers[name]) for name in sorted(lock.servers)}
    text = json.dumps({"about": _ABOUT, "version": _VERSION, "servers": servers}, indent=2, ensure_ascii=False)
    return "".join(_escape(char) if char != "\n" and is_hidden(char) else char for char in text) + "\n"


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file in one step: a reader, and a crash, sees the old text or the new one whole.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(lock_text(lock))
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)  # committed and reviewed, so not private as temporary files are
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name survives a crash too
    finally:
        os.close(folder)


class _HashMismatch(Exception):
    """A definition in the lock was edited, or its hash was."""


def _pinned(data: Mapping[str, Any]) -> Pinned:
    accepted = {
        kind: {name: _accepted(name, item) for name, item in data[_plural(kind)].items()}
        for kind in KINDS
        if _plural(kind) in data
    }
    if definition_hash(_object(data["reached"])) != data["fingerprint"]:
        raise _HashMismatch('a server\'s "reached"')
    return Pinned(reached=data["reached"], accepted=accepted)


def _accepted(name: str, data: Mapping[str, Any]) -> Accepted:
    if definition_hash(_object(data["definition"])) != data["hash"]:
        raise _HashMismatch(f'the definition of "{name}"')
    return Accepted(data["definition"], data["hash"])


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _pinned_json(pinned: Pinned) -> dict[str, Any]:
    out: dict[str, Any] = {"fingerprint": pinned.fingerprint, "reached": pinned.reached}
    for kind in KINDS:
        names = pinned.accepted.get(kind, {})
        if names:
            out[_plural(kind)] = {name: _accepted_json(names[name]) for name in sorted(names)}
    return out


def _accepted_json(accepted: Accepted) -> dict[str, Any]:
    return {"hash": accepted.hash, "definition": accepted.definition}


def _plural(kind: TargetKind) -> str:
    return f"{kind.value}s"


def _escape(char: str) -> str:
    """JSON's own escape (RFC 8259 section 7), as UTF-16 code units."""
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _broken(where: str, message: str) -> CatalogError:
    hint = "Restore it from your version control, or remove it and accept again."
    return CatalogError([Problem(where=where, message=message, hint=hint)])
