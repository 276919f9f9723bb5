"""For whom a payload is redacted, and what redaction is told of the call beside the payload."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcpgw.core.canonical import digest
from mcpgw.core.model import (
    Call,
    Identity,
    Json,
)
from mcpgw.redaction.config import TokenScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who will see the answer. The default is somebody of whom nothing is known."""

    members: frozenset[str] = frozenset()
    """Everything that rules and audiences can name it by: `Identity.names`."""
    scope: str = ""
    """Values have the same pseudonym where this is the same; empty where there can be no tokens, and values are masked."""
    known: Mapping[str, Json] = field(default_factory=dict, repr=False)
    """Values that the call was given in the place of tokens, by token: they are turned back wherever they stand."""
    before: str = field(default="", repr=False)
    """The end of the text that was streamed before this one."""


ANYONE = Reader()


def holder_of(identity: Identity) -> str:
    """Return who holds a token: the principal with its chain of delegation, so that another agent of a person is not it."""
    return digest([identity.issuer, identity.subject, list(identity.actors)])


def scope_of(call: Call, scope: TokenScope) -> str:
    """Return what pseudonyms of this call are derived from, or the empty string where there can be none."""
    if scope is TokenScope.DEPLOYMENT:
        return "deployment"
    if scope is TokenScope.IDENTITY:
        return f"identity:{holder_of(call.identity)}"
    return f"session:{call.origin.session}:{holder_of(call.identity)}" if call.origin.session else ""
