"""What is stored of an API key, and how it becomes an identity."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    JsonObject,
)
from mcpgw.identity import key_text

ISSUER = "mcpgw:keys"
"""The issuer of every identity that an API key names. `#` never stands in an issuer, so a principal splits at its first one."""

MAX_NAME_CHARS = 255
"""Subjects and groups are recorded with every call; OIDC Core section 2 limits `sub` to the same."""

_AGE = re.compile(r"(?P<count>[1-9][0-9]{0,3})(?P<unit>[hdwy])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One API key as it is stored: everything but the secret.

    `acts_for` makes it the key of an agent that works for one person: a principal (`issuer#subject`), or a subject of
    `mcpgw:keys`. Times are Unix seconds, and 0 says never.
    """

    id: str
    subject: str
    kind: IdentityKind
    secret_sha256: str
    created: int
    groups: tuple[str, ...] = ()
    expires: int = 0
    acts_for: str = ""
    revoked: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{12}", self.id):
            raise ConfigError("a key's id is 12 lower-case hex digits")
        if not re.fullmatch(r"[0-9a-f]{64}", self.secret_sha256):
            raise ConfigError(f"key {self.id}: secret_sha256 is 64 lower-case hex digits")
        _check_name("subject", self.subject)
        for group in self.groups:
            _check_name("group", group)
        if self.acts_for:
            _check_name("acts_for", self.acts_for)
            _split_principal(self.acts_for)
            if self.kind is not IdentityKind.AGENT:
                raise ConfigError(f"key {self.id}: only an agent acts for a person, and this is a {self.kind}")

    def expired(self, now: float) -> bool:
        return 0 < self.expires <= now

    def identity(self, method: str) -> Identity:
        """Return who calls with this key.

        For an agent with `acts_for`, RFC 8693 section 4.1 names the parties: the subject is the person on whose behalf the
        call is made, the actor is the agent. So the desk can see that this person may not approve this call.
        """
        issuer, subject = _split_principal(self.acts_for) if self.acts_for else (ISSUER, self.subject)
        return Identity(
            subject=subject,
            issuer=issuer,
            kind=self.kind,
            method=method,
            groups=frozenset(self.groups),
            credential_id=self.id,
            actors=(f"{ISSUER}#{self.subject}",) if self.acts_for else (),
            expires=self.expires,
        )

    def facts(self) -> JsonObject:
        """Return what the ledger says of this key."""
        return {
            "key": self.id,
            "subject": self.subject,
            "kind": self.kind.value,
            "groups": list(self.groups),
            "acts_for": self.acts_for,
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
        }


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: its record for the store, and its text, which is shown once and kept nowhere."""

    record: KeyRecord
    text: str

    def __repr__(self) -> str:
        return f"NewKey({self.record!r})"


def new_key(
    *,
    subject: str,
    kind: IdentityKind,
    groups: tuple[str, ...] = (),
    expires: int = 0,
    acts_for: str = "",
    now: int | None = None,
) -> NewKey:
    """Make a key that opens nothing until `ApiKeys.add` has stored its record.

    Raises:
        ConfigError: a name is empty, too long or unprintable, or `acts_for` stands with a kind other than agent.
    """
    key = key_text.generate()
    created = int(time.time()) if now is None else now
    if 0 < expires <= created:
        raise ConfigError("the key would be expired from the start", hint="Give a date in the future.")
    record = KeyRecord(
        id=key.id,
        subject=subject,
        kind=kind,
        secret_sha256=key.hash,
        created=created,
        groups=tuple(sorted(set(groups))),
        expires=expires,
        acts_for=acts_for,
    )
    return NewKey(record, key.text)


def parse_expiry(text: str, now: float) -> int:
    """Return Unix seconds for `90d`, `12h`, `2w`, `1y`, a date (`2027-01-01`, midnight UTC), or 0 for `never`.

    Raises:
        ConfigError: it is none of these, or it has passed.
    """
    if text == "never":
        return 0
    if match := _AGE.fullmatch(text):
        return int(now) + int(match["count"]) * int(_UNITS[match["unit"]].total_seconds())
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        hint = "Write 90d, 12h, 2w, 1y, a date such as 2027-01-01, or never."
        raise ConfigError(f"{text!r} is not an expiry", hint=hint) from error
    if day.timestamp() <= now:
        raise ConfigError(f"{text} has passed", hint="Give a date in the future.")
    return int(day.timestamp())


def to_json(record: KeyRecord) -> dict[str, Any]:
    return {**record.facts(), "secret_sha256": record.secret_sha256}


def from_json(raw: object) -> KeyRecord:
    """Return the record that `to_json` wrote. Every key must be there and no other: a missing `expires` must not mean never.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError("a key is an object")
    if raw.keys() != _FIELDS.keys():
        wrong = ", ".join(sorted(str(name) for name in raw.keys() ^ _FIELDS.keys()))
        raise ConfigError(f"a key has missing or unknown fields: {wrong}")
    for name, kind in _FIELDS.items():
        if type(raw[name]) is not kind:
            raise ConfigError(f"a key's {name} is not of type {kind.__name__}")
    if not all(isinstance(group, str) for group in raw["groups"]):
        raise ConfigError("a key's groups are not all strings")
    values = {name: raw[name] for name in _FIELDS if name not in ("key", "kind", "groups")}
    return KeyRecord(id=raw["key"], kind=_kind(raw["kind"]), groups=tuple(raw["groups"]), **values)


def revoked(record: KeyRecord, now: int) -> KeyRecord:
    return replace(record, revoked=record.revoked or now)


_FIELDS: Mapping[str, type] = {
    "key": str,
    "subject": str,
    "kind": str,
    "groups": list,
    "acts_for": str,
    "created": int,
    "expires": int,
    "revoked": int,
    "secret_sha256": str,
}


def _kind(text: str) -> IdentityKind:
    try:
        return IdentityKind(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a kind of identity") from error


def _check_name(what: str, name: str) -> None:
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise ConfigError(f"the {what} {name[:40]!r} is not 1 to {MAX_NAME_CHARS} printable characters without outer spaces")


def _split_principal(text: str) -> tuple[str, str]:
    """Return issuer and subject of `acts_for`; a bare subject is one of this gateway's own keys."""
    issuer, separator, subject = text.partition("#")
    if not separator:
        return ISSUER, text
    if not subject or not (issuer == ISSUER or issuer.startswith(("https://", "http://"))):
        hint = f"Write a subject of {ISSUER} alone, or https://issuer.example#subject."
        raise ConfigError(f"{text!r} is not a principal", hint=hint)
    return issuer, subject
