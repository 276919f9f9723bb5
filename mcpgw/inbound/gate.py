"""The gate of the HTTP listener: no byte of a request reaches the MCP kernel before all of this has passed.

    (1) host and origin  (2) one bearer credential  (3) the whole body, bounded in size and time  (4) the guard

A request that is turned away here, or by the kernel behind, is recorded before its answer leaves.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import Identity, Origin, RefusalCode, Refused
from mcpgw.inbound.caller import SCOPE_KEY, Caller, session_name, session_owner
from mcpgw.inbound.config import InboundConfig, Nobody
from mcpgw.inbound.guard import INVALID_REQUEST, MalformedMessage, check, too_large
from mcpgw.pipeline import Corridor
from mcpgw.ports import Authenticator

logger = logging.getLogger(__name__)

Challenge: TypeAlias = Callable[[str], str]
"""What was wrong with the credential (empty: none was sent) to the value of `WWW-Authenticate` (RFC 6750 section 3)."""

_METHOD_NOT_FOUND: Final = -32601
_CREDENTIAL_PARAMETERS: Final = frozenset({"access_token", "token", "api_key", "apikey", "key", "authorization"})
"""A credential in a URL ends in logs and histories (RFC 9700 section 4.3.2), so it is refused, not merely ignored."""
_RECORDED_STATUS: Final = frozenset({400, 403, 404, 406, 408, 411, 413, 415, 421})
"""Refusals of the kernel behind the gate that are recorded; 401 is recorded where it is raised."""
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


class Turned(Exception):
    """The request is turned away with an HTTP status. The message is for the caller and holds nothing of the request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: RefusalCode = RefusalCode.MALFORMED,
        rpc: tuple[int, str | int | None] = (INVALID_REQUEST, None),
        headers: dict[str, str] | None = None,
        recorded: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.recorded = recorded
        self.rpc = rpc
        self.headers = headers or {}


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
            if turned.recorded:
                await self._record(scope, headers, turned.code, str(turned), principal)
            await _answer(turned)(scope, receive, send)
            return
        caller = self._admit(scope, headers, identity)

        async def note(reason: str) -> None:
            if not caller.trail.recorded:
                await self._record(scope, headers, RefusalCode.MALFORMED, reason, principal)

        watched = _Watched(send, note)
        if standing:
            await self._standing(credential, scope, receive, watched)
        else:
            await self._app(scope, _noticing(receive, caller.gone), watched.send)

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
                body = await _read(receive, config.max_body_bytes)
        except TimeoutError:
            late = f"The body did not arrive within {config.body_timeout_s:g} s."
            raise Turned(408, late, headers={"connection": "close"}) from None
        try:
            message = check(body, max_bytes=config.max_body_bytes, max_depth=config.max_depth)
        except MalformedMessage as defect:
            raise Turned(400, str(defect), rpc=(defect.code, defect.request_id)) from None
        return message, _replayed(body, receive)

    def _admit(self, scope: Scope, headers: Headers, identity: Identity) -> Caller:
        client = scope.get("client")
        caller = scope[SCOPE_KEY] = Caller(
            identity=identity,
            transport=self._transport,
            address=client[0] if client else "",
            session=session_name(_session_id(scope, headers)),
            headers=headers if self._transport == "http" else {},
        )
        # The SDK binds its sessions to this user and answers anybody else as if they did not exist. No secret goes in.
        owner = AccessToken(token="", client_id=identity.client_id, scopes=[], subject=session_owner(identity))
        scope["user"] = AuthenticatedUser(owner)
        return caller

    async def _standing(self, credential: str, scope: Scope, receive: Receive, watched: "_Watched") -> None:
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

        self._rim.standing.add(closing)
        try:
            async with anyio.create_task_group() as tasks:
                if credential:
                    tasks.start_soon(until_revoked)
                await self._app(scope, _until(closing, receive), watched.send)
                tasks.cancel_scope.cancel()
        finally:
            self._rim.standing.discard(closing)
        await watched.finish()

    async def _record(self, scope: Scope, headers: Headers, code: RefusalCode, reason: str, principal: str) -> None:
        client = scope.get("client")
        origin = Origin(
            transport=self._transport,
            protocol_version=headers.get("mcp-protocol-version", "")[:32],
            address=client[0] if client else "",
            session=session_name(_session_id(scope, headers)),
        )
        await self._rim.corridor.reject(origin, Refused(code=code, reason=reason), principal)


def check_host(hosts: Sequence[str], origins: Sequence[str], config: InboundConfig) -> None:
    """Refuse what a browser would send after DNS rebinding, or from a page of somebody else.

    Raises:
        Turned: 421 for a `Host` that is not ours (RFC 9110 section 15.5.20), 403 for a foreign `Origin`.
    """
    if len(hosts) != 1 or not any(_matches(hosts[0], allowed) for allowed in config.allowed_hosts):
        raise Turned(421, "This gateway does not answer to that Host. See `allowed_hosts`.", headers={"connection": "close"})
    if len(origins) > 1 or any(not any(_matches(origin, allowed) for allowed in config.allowed_origins) for origin in origins):
        raise Turned(403, "Pages of that Origin may not call this gateway. See `allowed_origins`.")


def _matches(value: str, allowed: str) -> bool:
    if not allowed.endswith(":*"):
        return value.lower() == allowed.lower()
    name, _, port = value.rpartition(":")
    return (name.lower() == allowed[:-2].lower() and port.isdigit()) or value.lower() == allowed[:-2].lower()


def bearer(headers: Headers, query: bytes) -> str:
    """Return the one bearer credential of a request, or an empty string if it has none (RFC 6750 section 2.1).

    Raises:
        Turned: there are two, it is no bearer token, or it stands in the URL.
    """
    names = {name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    if names & _CREDENTIAL_PARAMETERS:
        raise Turned(400, "A credential in the URL is refused: send `Authorization: Bearer …`. Consider it leaked.")
    values = headers.getlist("authorization")
    if not values:
        return ""
    scheme, _, token = values[0].partition(" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != "bearer" or _HEADER_TOKEN.fullmatch(token) is None:
        raise Turned(400, "There must be one Authorization header, and it must read `Bearer` and a token.")
    return token


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Turned(400, "The client went away before the body was complete.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Turned(413, too_large(limit), headers={"connection": "close"})
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _noticing(receive: Receive, gone: anyio.Event) -> Receive:
    async def receive_and_notice() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        return message

    return receive_and_notice


def _until(closing: anyio.Event, receive: Receive) -> Receive:
    """A `receive` that reports a disconnect as soon as `closing` is set."""

    async def receive_or_closing() -> Message:
        message: Message = {"type": "http.disconnect"}
        async with anyio.create_task_group() as race:

            async def real() -> None:
                nonlocal message
                message = await receive()
                race.cancel_scope.cancel()

            race.start_soon(real)
            await closing.wait()
            race.cancel_scope.cancel()
        return message

    return receive_or_closing


def _session_id(scope: Scope, headers: Headers) -> str:
    """Streamable HTTP names the session in a header, HTTP+SSE in the query."""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return headers.get("mcp-session-id") or query.get("session_id", "")


def _answer(turned: Turned) -> JSONResponse:
    code, request_id = turned.rpc
    error: dict[str, Any] = {"code": code, "message": str(turned)}
    body = {"jsonrpc": "2.0", "id": request_id, "error": error}
    return JSONResponse(body, status_code=turned.status, headers=turned.headers)


class _Watched:
    """Sees the answer of the kernel on its way out, and notes a refusal before it leaves."""

    def __init__(self, send: Send, note: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._note = note
        self._held: list[Message] = []
        self._open = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _RECORDED_STATUS:
            self._held.append(message)  # until the body tells which error it is
            return
        if self._held:
            start = self._held.pop()
            code = _rpc_code(message.get("body", b""))
            if code != _METHOD_NOT_FOUND:  # probing for a method is how clients find out what a server can do
                await self._note(f"Refused by the protocol layer: HTTP {start['status']}, JSON-RPC {code}.")
            await self._send(start)
        self._open = message["type"] == "http.response.start" or message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Complete an answer that was begun, where the kernel ended a stream without a last word."""
        if self._open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _rpc_code(body: bytes) -> int:
    """The JSON-RPC code of an error answer, or 0 where it is plain text."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        return 0
    return code if isinstance(code, int) else 0
