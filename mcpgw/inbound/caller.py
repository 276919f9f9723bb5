"""Who sent one message, by which way: made at the rim after authentication, carried to the handler beside the message."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from mcp.server.context import ServerRequestContext
from starlette.requests import Request as HttpRequest

from mcpgw.core.model import Identity
from mcpgw.inbound.enclosed import Enclosed

SCOPE_KEY: Final = "mcpgw.caller"
"""Where the gate leaves the `Caller` in an ASGI scope."""


@dataclass(slots=True)
class Trail:
    """What happened to one message, so that it is recorded once: in the corridor, or at the rim, not at both."""

    recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The authenticated sender of one message. It is checked anew for every message, never taken from a session."""

    identity: Identity
    identify: Callable[[], Awaitable[Identity]]
    """Check the message's credential once more. Raises `AuthenticationError`."""
    transport: str
    """`http`, `sse` or `stdio`."""
    address: str = ""
    session: str = ""
    """Name of the session for the record, not its id: see `session_name`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of Streamable HTTP, to compare `Mcp-Param-*` with the body; empty on transports that mirror nothing."""
    enclosed: tuple[Enclosed, ...] = ()
    """Where the transport has one: what is put into the answer on its way out."""
    trail: Trail = field(default_factory=Trail)
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set when the HTTP connection that waits for the answer breaks. Other transports cancel by themselves."""


def caller_of(ctx: ServerRequestContext[Any, Any]) -> Caller:
    """Return who sent the message that the SDK is handling.

    Raises:
        LookupError: the message came in by a way that has no gate. There is none; nobody is assumed.
    """
    carried = ctx.request.scope.get(SCOPE_KEY) if isinstance(ctx.request, HttpRequest) else ctx.request
    if isinstance(carried, Caller):
        return carried
    raise LookupError(f"a {ctx.method} message has no caller")


def session_owner(identity: Identity) -> str:
    """Return what owns a session: the principal together with its delegation chain, unambiguous."""
    return json.dumps([identity.principal, identity.kind.value, *identity.actors])


def owning_principal(owner: str) -> str:
    """Return the principal in what `session_owner` returned."""
    return str(json.loads(owner)[0])


def session_name(session_id: str) -> str:
    """Return a name for the record: an id could be replayed by whoever reads the log, its hash cannot."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:16] if session_id else ""
