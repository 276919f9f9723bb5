"""The HTTP face: a closed table of routes, each public or for an identity. What is not in the table does not exist."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.runner import serve_dual_era_loop
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcpgw.inbound.caller import SCOPE_KEY, Caller, owning_principal
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.gate import Gate
from mcpgw.inbound.server import GatewayServer
from mcpgw.inbound.shares import must_have_room


class Access(StrEnum):
    PUBLIC = "public"
    IDENTITY = "identity"
    """A `Gate` stands before it: no byte is read for a caller without a good credential."""


@dataclass(frozen=True, slots=True)
class Door:
    path: str
    methods: frozenset[str]
    access: Access


_GET: Final = frozenset({"GET"})
_MESSAGES: Final = "/sse/messages"
_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

ROUTES: Final = (
    Door("/mcp", frozenset({"GET", "POST", "DELETE"}), Access.IDENTITY),
    Door("/sse", _GET, Access.IDENTITY),
    Door(_MESSAGES, frozenset({"POST"}), Access.IDENTITY),
    Door(_WELL_KNOWN, _GET, Access.PUBLIC),
    Door(f"{_WELL_KNOWN}/mcp", _GET, Access.PUBLIC),  # RFC 9728 section 3.1: the resource's path follows the well-known one
    Door("/healthz", _GET, Access.PUBLIC),
    Door("/readyz", _GET, Access.PUBLIC),
)

_SECURITY_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Defaults; a page that says otherwise keeps its own."""


def make_app(server: GatewayServer, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the ASGI app: the doors of `ROUTES`, then those that `app.py` adds (the console's, the metrics'). It runs once."""
    manager = _Sessions(
        server.config,
        app=server.kernel,
        json_response=False,  # only then does a disconnect cancel the call, and progress travel
        security_settings=None,  # the gate has checked Host and Origin, more strictly
        session_idle_timeout=server.config.session_idle_s,
        max_request_body_size=server.config.max_body_bytes,
    )
    sse = _SseDoor(server)
    behind: dict[str, ASGIApp] = {
        "/mcp": Gate(manager.handle_request, server.rim, transport="http"),
        "/sse": Gate(sse.open, server.rim, transport="sse"),
        _MESSAGES: Gate(sse.post, server.rim, transport="sse"),
        _WELL_KNOWN: _Plain(lambda: _metadata(server)),
        f"{_WELL_KNOWN}/mcp": _Plain(lambda: _metadata(server)),
        "/healthz": _Plain(lambda: PlainTextResponse("alive\n")),
        "/readyz": _Plain(lambda: _readiness(server)),
    }

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with server.running(), manager.run():
            yield

    app = Starlette(
        routes=[*(make_route(door, behind[door.path]) for door in ROUTES), *extra_routes],
        middleware=[Middleware(SecurityHeaders)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # one spelling of each path
    return app


def make_route(door: Door, endpoint: ASGIApp) -> Route:
    """Return the route of a door, which answers to its own methods alone."""
    route = Route(door.path, endpoint=endpoint, methods=sorted(door.methods))
    route.methods = set(door.methods)  # Starlette would add HEAD, which no door answers
    return route


class SecurityHeaders:
    """ASGI middleware: every answer carries `_SECURITY_HEADERS` unless it says otherwise itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class _Plain:
    """A public door: the answer depends on nothing in the request."""

    def __init__(self, respond: Callable[[], Response]) -> None:
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._respond()(scope, receive, send)


class _Sessions(StreamableHTTPSessionManager):
    """The SDK's sessions, with a share for each identity: its own limit is one for all, and one identity could take it whole.

    The one look behind the manager's public face: who opens a session is known, and decided on, nowhere else in `mcp` 2.3.
    """

    def __init__(self, config: InboundConfig, **settings: Any) -> None:
        super().__init__(**settings, max_sessions=config.max_sessions)
        self._config = config

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        holders = (_principal(owner) for owner in self._session_owners.values())
        must_have_room(_principal(requestor), holders, self._config, "sessions")
        return super()._admit_session(requestor)


def _principal(owner: AuthorizationContext | None) -> str:
    """Whose session it is, as the gate said it to the SDK."""
    if owner is None or owner["subject"] is None:
        raise LookupError("a session has no owner")
    return owning_principal(owner["subject"])


class _SseDoor:
    """The HTTP+SSE transport of 2024-11-05: a stream that a GET opens, and messages that are posted beside it."""

    def __init__(self, server: GatewayServer) -> None:
        self._server = server
        self._holders: list[str] = []
        """The principal of each open stream."""
        self._transport = SseServerTransport(_MESSAGES, None, server.config.max_body_bytes)

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope[SCOPE_KEY]
        principal = caller.identity.principal
        must_have_room(principal, self._holders, self._server.config, "sessions")
        self._holders.append(principal)
        kernel = self._server.kernel
        try:
            async with self._transport.connect_sse(scope, receive, send) as (read, write):
                await serve_dual_era_loop(
                    kernel, read, write, lifespan_state={}, init_options=kernel.create_initialization_options()
                )
        finally:
            self._holders.remove(principal)

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The stream may end between the answer "202 Accepted" and the message's delivery.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._transport.handle_post_message(scope, receive, send)


def _metadata(server: GatewayServer) -> Response:
    """RFC 9728 protected-resource metadata."""
    document = server.resource_metadata()
    if not document:
        return PlainTextResponse("Not Found", status_code=404)
    return JSONResponse(dict(document), headers={"access-control-allow-origin": "*"})


def _readiness(server: GatewayServer) -> Response:
    problems = dict(server.problems())
    return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)
