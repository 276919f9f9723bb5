"""The gate of the HTTP listener: no byte of a request reaches the MCP kernel before all of this has passed.

    (1) host and origin  (2) one bearer credential  (3) the whole body, bounded in size and time  (4) the guard

A request that is turned away here, or by the kernel behind, is recorded before its answer leaves.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import (
    Identity,
    Origin,
    RefusalCode,
    Refused,
)
from mcpgw.inbound.caller import SCOPE_KEY, Caller, session_name, session_owner
from mcpgw.inbound.config import InboundConfig, Nobody
from mcpgw.inbound.enclosed import Enclosed
from mcpgw.inbound.guard import MalformedMessage, check, too_large
from mcpgw.inbound.head import Turned, bearer, check_host
from mcpgw.inbound.streams import Watched, noticing, read_body, replayed, until
from mcpgw.pipeline import Corridor
from mcpgw.ports import Authenticator

logger = logging.getLogger(__name__)

Challenge: TypeAlias = Callable[[str], str]
"""What was wrong with the credential (empty: none was sent) to the value of `WWW-Authenticate` (RFC 6750 section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rim:
    """What every gate needs: where refusals are recorded, who authenticates, which limits hold."""

    corridor: Corridor
    authenticator: Authenticator
    challenge: Challenge
    config: InboundConfig
    is_draining: Callable[[], bool]
    standing: set[anyio.Event] = field(default_factory=set)
    """Streams without an end of their own; setting its event ends one."""


class Gate:
    """One ASGI door. What is behind it sees an authenticated `Caller` in the scope and a body that the guard has passed."""

    def __init__(self, app: ASGIApp, rim: Rim, *, transport: str) -> None:
        self._app = app
        self._rim = rim
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # httptools keeps white space around values, and `Mcp-Name: x ` would then contradict `x` in the body.
        scope = {**scope, "headers": [(name, value.strip()) for name, value in scope["headers"]]}
        headers = Headers(scope=scope)
        principal = ""
        try:
            check_host(headers.getlist("host"), headers.getlist("origin"), self._rim.config)
            if self._rim.is_draining():
                again = {"retry-after": "5", "connection": "close"}
                raise Turned(503, "The gateway is shutting down. Try again in a moment.", headers=again, recorded=False)
            credential = bearer(headers, scope["query_string"])
            identity = await self._authenticate(credential)
            principal = identity.principal
            standing = scope["method"] == "GET"
            if scope["method"] == "POST":
                message, receive = await self._checked_body(headers, receive)
                standing = message.get("method") == "subscriptions/listen"
        except Turned as turned:
            await self._turn_away(turned, scope, headers, principal, receive, send)
            return
        caller = self._admit(scope, headers, identity, credential)

        async def note(reason: str) -> None:
            if not caller.trail.recorded:
                await self._record(scope, headers, RefusalCode.MALFORMED, reason, principal)

        for enclosed in caller.enclosed:
            send = enclosed.into(send)
        watched = Watched(send, note)
        try:
            if standing:
                await self._standing(credential, scope, receive, watched)
            else:
                await self._app(scope, noticing(receive, caller.gone), watched.send)
            await watched.finish()
        except Turned as turned:  # behind the gate there is no room for one more session, or it ended
            turned.recorded = turned.recorded and not caller.trail.recorded
            await self._turn_away(turned, scope, headers, principal, receive, send)

    async def _turn_away(
        self, turned: Turned, scope: Scope, headers: Headers, principal: str, receive: Receive, send: Send
    ) -> None:
        if turned.recorded:
            await self._record(scope, headers, turned.code, str(turned), principal)
        await _answer(turned)(scope, receive, send)

    async def _authenticate(self, credential: str) -> Identity:
        if not credential:
            anonymous = self._rim.config.unsafe_allow_anonymous
            if isinstance(anonymous, Nobody):
                raise self._unauthenticated("", "A credential is needed: send `Authorization: Bearer …`.")
            return anonymous
        try:
            return await self._rim.authenticator.authenticate(credential)
        except AuthenticationError as error:
            raise self._unauthenticated(str(error), str(error)) from None
        except Exception:
            # Whatever is wrong with keys or issuers: nobody is let in, and it is recorded.
            logger.exception("a credential could not be checked; the request is refused")
            message = "The gateway could not check the credential."
            raise Turned(503, message, code=RefusalCode.UNAVAILABLE, headers={"retry-after": "5"}) from None

    def _unauthenticated(self, problem: str, message: str) -> Turned:
        headers = {"www-authenticate": self._rim.challenge(problem)}
        return Turned(401, message, code=RefusalCode.UNAUTHENTICATED, headers=headers)

    async def _checked_body(self, headers: Headers, receive: Receive) -> tuple[dict[str, Any], Receive]:
        """Read and check the whole body; return its message, and a `receive` that plays it back before the real one."""
        config = self._rim.config
        if headers.get("content-encoding", "identity") != "identity":
            raise Turned(415, "Compressed requests are not accepted.", headers={"accept-encoding": "identity"})
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > config.max_body_bytes:
            raise Turned(413, too_large(config.max_body_bytes), headers={"connection": "close"})
        try:
            with anyio.fail_after(config.body_timeout_s):
                body = await read_body(receive, config.max_body_bytes)
        except TimeoutError:
            late = f"The body did not arrive within {config.body_timeout_s:g} s."
            raise Turned(408, late, headers={"connection": "close"}) from None
        try:
            message = check(body, max_bytes=config.max_body_bytes, max_depth=config.max_depth)
        except MalformedMessage as defect:
            raise Turned(400, str(defect), rpc=(defect.code, defect.request_id)) from None
        return message, replayed(body, receive)

    def _admit(self, scope: Scope, headers: Headers, identity: Identity, credential: str) -> Caller:
        async def identify() -> Identity:
            return await self._rim.authenticator.authenticate(credential) if credential else identity

        client = scope.get("client")
        caller = scope[SCOPE_KEY] = Caller(
            identity=identity,
            identify=identify,
            transport=self._transport,
            address=client[0] if client else "",
            session=session_name(_session_id(scope, headers)),
            headers=headers if self._transport == "http" else {},
            enclosed=(Enclosed(),) if self._transport == "http" and scope["method"] == "POST" else (),
        )
        # The SDK binds its sessions to this user and answers anybody else as if they did not exist. No secret goes in.
        owner = AccessToken(token="", client_id=identity.client_id, scopes=[], subject=session_owner(identity))
        scope["user"] = AuthenticatedUser(owner)
        return caller

    async def _standing(self, credential: str, scope: Scope, receive: Receive, watched: Watched) -> None:
        """Serve a stream that stands open until its client leaves, its credential is revoked, or the gateway drains.

        The kernel is told of all three alike, as a disconnect: then it puts its own streams in order.
        """
        closing = anyio.Event()

        async def until_revoked() -> None:
            while True:
                await anyio.sleep(self._rim.config.recheck_s)
                try:
                    await self._rim.authenticator.authenticate(credential)
                except AuthenticationError as error:
                    logger.info("a standing stream is closed: %s", error)
                    closing.set()
                    return
                except Exception:
                    # Whatever is wrong with keys or issuers: who cannot be checked keeps no stream.
                    logger.exception("a standing stream is closed: its credential could not be checked")
                    closing.set()
                    return

        turned: list[Turned] = []  # carried out of the task group, which would wrap it
        self._rim.standing.add(closing)
        try:
            async with anyio.create_task_group() as tasks:
                if credential:
                    tasks.start_soon(until_revoked)
                try:
                    await self._app(scope, until(closing, receive), watched.send)
                except Turned as refusal:
                    turned.append(refusal)
                tasks.cancel_scope.cancel()
        finally:
            self._rim.standing.discard(closing)
        if turned:
            raise turned[0]

    async def _record(self, scope: Scope, headers: Headers, code: RefusalCode, reason: str, principal: str) -> None:
        client = scope.get("client")
        origin = Origin(
            transport=self._transport,
            protocol_version=headers.get("mcp-protocol-version", "")[:32],
            address=client[0] if client else "",
            session=session_name(_session_id(scope, headers)),
        )
        await self._rim.corridor.reject(origin, Refused(code=code, reason=reason), principal)


def _session_id(scope: Scope, headers: Headers) -> str:
    """Streamable HTTP names the session in a header, HTTP+SSE in the query."""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return headers.get("mcp-session-id") or query.get("session_id", "")


def _answer(turned: Turned) -> JSONResponse:
    code, request_id = turned.rpc
    error: dict[str, Any] = {"code": code, "message": str(turned)}
    body = {"jsonrpc": "2.0", "id": request_id, "error": error}
    return JSONResponse(body, status_code=turned.status, headers=turned.headers)
