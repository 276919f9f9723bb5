"""Who belongs to a role: one small class per way to name people, services and agents."""

from dataclasses import dataclass
from typing import Protocol

from mcpgw.core.members import has_claim
from mcpgw.core.model import (
    UNAUTHENTICATED,
    Identity,
    IdentityKind,
)


class Member(Protocol):
    def includes(self, identity: Identity) -> bool: ...


@dataclass(frozen=True, slots=True)
class User:
    """A subject of any issuer, or of one issuer if the text holds `#`: see `Identity.names`."""

    name: str

    def includes(self, identity: Identity) -> bool:
        if "#" in self.name:
            return identity.principal == self.name
        return identity.subject == self.name


@dataclass(frozen=True, slots=True)
class Group:
    """A group of any issuer, or of one issuer if the text holds `#`: see `Identity.names`."""

    name: str

    def includes(self, identity: Identity) -> bool:
        issuer, qualified, name = self.name.partition("#")
        if qualified:
            return identity.issuer == issuer and name in identity.groups
        return self.name in identity.groups


@dataclass(frozen=True, slots=True)
class Claim:
    """A verified claim that is this text, or a list with this text in it."""

    name: str
    value: str

    def includes(self, identity: Identity) -> bool:
        return has_claim(identity, self.name, self.value)


@dataclass(frozen=True, slots=True)
class Kind:
    kind: IdentityKind

    def includes(self, identity: Identity) -> bool:
        return identity.kind is self.kind


@dataclass(frozen=True, slots=True)
class Everyone:
    """Everybody who was authenticated."""

    def includes(self, identity: Identity) -> bool:
        return identity.method != UNAUTHENTICATED


def parse_member(text: str) -> Member:
    """Raises: ValueError: not a way to name members; says which there are."""
    form, _, rest = text.partition(":")
    if text == "everyone":
        return Everyone()
    if form == "user" and rest:
        return User(rest)
    if form == "group" and rest:
        return Group(rest)
    if form == "claim" and 0 < rest.find("=") < len(rest) - 1:
        # The last `=`: a claim's name may be a URL with a query, its value rarely holds one.
        name, _, value = rest.rpartition("=")
        return Claim(name, value)
    if form == "kind" and rest in set(IdentityKind):
        return Kind(IdentityKind(rest))
    raise ValueError(f"{text!r} is none of user:NAME, group:NAME, claim:NAME=VALUE, kind:{'|'.join(IdentityKind)}, everyone")


def looks_like_member(text: str) -> bool:
    """Role names hold no colon, members but one do."""
    return ":" in text or text == "everyone"
