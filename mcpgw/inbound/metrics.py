"""`GET /metrics`: numbers for a monitor, behind the same gate as everything else, and for the services alone that are named."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mcpgw.core.model import (
    UNAUTHENTICATED,
    Identity,
    IdentityKind,
    RefusalCode,
)
from mcpgw.inbound.caller import SCOPE_KEY, Caller
from mcpgw.inbound.gate import Gate
from mcpgw.inbound.head import Turned
from mcpgw.inbound.http import Access, Door, make_route
from mcpgw.inbound.server import GatewayServer

METRICS: Final = Door("/metrics", frozenset({"GET"}), Access.IDENTITY)
Routes: TypeAlias = Sequence[BaseRoute]
_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def metrics_route(server: GatewayServer, readers: Sequence[str], collect: Callable[[], Awaitable[str]]) -> Route:
    """Return the route for `make_app`. `readers` are `user:…` and `group:…`; `collect` returns Prometheus' text format."""
    return make_route(METRICS, Gate(_Numbers(readers, collect), server.rim, transport="http"))


class _Numbers:
    def __init__(self, readers: Sequence[str], collect: Callable[[], Awaitable[str]]) -> None:
        self._readers = readers
        self._collect = collect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope[SCOPE_KEY]
        if not _may_read(caller.identity, self._readers):
            raise Turned(403, "The metrics are for the services that are named in [metrics] readers.", code=RefusalCode.DENIED)
        await PlainTextResponse(await self._collect(), media_type=_MEDIA_TYPE)(scope, receive, send)


def _may_read(identity: Identity, readers: Sequence[str]) -> bool:
    """A monitor acts for nobody: no person's credential does, none that was handed on, and not that of nobody in particular."""
    is_itself = identity.kind is IdentityKind.SERVICE and not identity.actors and identity.method != UNAUTHENTICATED
    return is_itself and not identity.names.isdisjoint(readers)
