"""What every transport offers to the conversation above it, and the errors in which it may fail."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Json,
    RawJson,
    RawNotice,
    RawReply,
)
from mcpgw.ports import OnNotice
from mcpgw.upstream.clock import Clock
from mcpgw.upstream.jsonrpc import Notification

RESOURCE_UPDATED = "notifications/resources/updated"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
LIST_CHANGED = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    }
)
"""What makes the gateway read the lists again."""
ANNOUNCEMENTS = LIST_CHANGED | {ACKNOWLEDGED, RESOURCE_UPDATED}
"""What a server tells that belongs to no call."""

MOST_ASIDES = 100
"""Messages that nobody waits for (answers to questions, cancellations) which may be on their way to one server at once.
One that asks faster than it reads is not answered further."""

_PROGRESS = frozenset({"progress", "total", "message"})


class WireLost(UpstreamError):
    """The connection ended, so nothing can be asked over it any more."""


class SessionExpired(UpstreamError):
    """The server forgot the session (HTTP 404, Streamable HTTP 2025-11-25): it did not process the request."""

    def __init__(self, message: str, session_id: str) -> None:
        super().__init__(message, sent=False)
        self.session_id = session_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to an upstream. `id` is unique on its connection and is the progress token as well."""

    id: int
    method: str
    params: Mapping[str, Json]
    clock: Clock
    headers: Mapping[str, str] = field(default_factory=dict)
    """Routing headers of protocol 2026-07-28; transports other than HTTP have no use for them."""
    on_notice: OnNotice | None = None
    """None where the gateway itself asks: nobody is there to be told of progress."""
    owner: Hashable = None
    """Whose call it is, and how it is masked. None where the gateway itself asks."""
    cancellable: bool = True
    """`initialize` and `server/discover` must not be cancelled (both specifications)."""

    @property
    def message(self) -> dict[str, Json]:
        return {"jsonrpc": "2.0", "id": self.id, "method": self.method, "params": self.params}


class Wire(Protocol):
    """One open connection to one upstream."""

    async def request(self, ask: Ask) -> RawReply:
        """Send once and return the one reply, after every notice that came before it was handed on, in order.

        Raises:
            UpstreamError: there will be no reply.
            TimeoutError: none came while the clock ran. Like a cancellation of the caller, it was told to the upstream.
        """
        ...

    async def notify(self, method: str, params: Mapping[str, Json]) -> None: ...

    def adopt(self, version: str, *, modern: bool) -> None:
        """Speak this protocol version from now on."""
        ...

    async def listen(self) -> None:
        """Receive what belongs to no request; return at once where it comes by itself, or where there is nothing.

        Raises:
            SessionExpired: it takes a new session first.
        """
        ...

    async def listening(self) -> None:
        """Wait until what belongs to no request can arrive, or it is known that it cannot."""
        ...

    @property
    def session_id(self) -> str: ...

    def lose(self, because: str) -> None:
        """Give the connection up; the first reason counts."""
        ...

    async def lost(self) -> str:
        """Wait until the connection is of no use any more, and return why in our own words."""
        ...


OnAnnounced = Callable[[Notification], None]
"""Called with each of `ANNOUNCEMENTS`; must not block."""


def progress(notification: Notification) -> RawNotice:
    """Return the upstream's progress without its token, which means nothing to the client."""
    kept: dict[str, Json] = {key: value for key, value in notification.params.items() if key in _PROGRESS}
    return RawNotice(method=notification.method, params=RawJson(kept))
