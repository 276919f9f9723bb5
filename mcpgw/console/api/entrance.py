"""What must hold before the API does anything.

    (1) our own host, no foreign page, one bearer credential  (2) an address that has not failed too often
    (3) the credential is good  (4) it is a person's own, for evidence an auditor's
    (5) a POST: a small JSON object of the operation's shape

No cookie is looked at, so no browser can be made to send anything that counts here. What is turned away is recorded before its
answer leaves. Errors are problem details (RFC 9457) with a `hint` for the person who can mend it.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mcpgw.console.attempts import Attempts
from mcpgw.console.doors import Download
from mcpgw.console.doors import Refused as HeadRefused
from mcpgw.console.entrance import Entrance, address_of
from mcpgw.console.forms import must_be, read_body
from mcpgw.console.people import is_named
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import (
    Identity,
    JsonObject,
    RefusalCode,
)
from mcpgw.core.shape import misfits
from mcpgw.core.strict_json import loads

PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of a person whose credential was checked a moment ago."""

    identity: Identity
    params: Mapping[str, str]
    """What stands in the path's placeholders."""
    query: Mapping[str, str]
    body: JsonObject = field(repr=False)


Operation: TypeAlias = Callable[[Room, Ask], Awaitable[JsonObject | Download]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a request may carry; see `core.shape`."""

    query: JsonObject = field(default_factory=dict)
    body: JsonObject = field(default_factory=dict)
    required: tuple[str, ...] = ()
    """Members of the body that must be there."""


class ApiEntrance(Entrance):
    """A door whose answers are JSON."""

    transport: ClassVar[str] = "api"
    broken: ClassVar[str] = "The gateway failed over this; it is not known whether anything was done."

    def _refusal(self, status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """Problem details: `title` is the status's own, `detail` says what was wrong here, `hint` what to do."""
        told: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": message}
        return JSONResponse({**told, "hint": hint} if hint else told, status, {**(headers or {})}, PROBLEM)


class BearerEntrance(ApiEntrance):
    """For people's programs."""

    def __init__(self, room: Room, operation: Operation, shape: Shape, attempts: Attempts, *, for_auditors: bool) -> None:
        super().__init__(room)
        self._for_auditors = for_auditors
        self._operation = operation
        self._shape = shape
        self._attempts = attempts

    async def _answer(self, request: Request) -> Response:
        principal = ""
        try:
            identity = await self._identity(request)
            principal = identity.principal
            if not identity.is_person:
                hint = "Use a credential of kind `human`, not one of an agent or a service."
                raise Turned(403, "Verdicts and evidence are for people, in person.", hint=hint, code=RefusalCode.DENIED)
            if self._for_auditors and not is_named(identity, self._room.config.auditors):
                hint = "Ask the gateway's administrator: auditors are named in config.toml, [console] auditors."
                raise Turned(403, "Evidence is for auditors.", hint=hint, code=RefusalCode.DENIED)
            query = dict(request.query_params)
            if len(query) != len(request.query_params.multi_items()):
                raise Turned(400, "The query has a parameter twice.")
            _must_fit(_read(query, self._shape.query), self._shape.query, ())
            ask = Ask(
                identity=identity,
                params={name: str(value) for name, value in request.path_params.items()},
                query=query,
                body=await self._body(request) if request.method == "POST" else {},
            )
            answer = await self._operation(self._room, ask)
            if isinstance(answer, Download):
                named = {"content-disposition": f'attachment; filename="{answer.name}"'}
                return Response(answer.data, media_type=answer.media, headers=named)
            return JSONResponse(dict(answer))
        except Turned as turned:
            return await self._turn_away(request, turned, principal)

    async def _identity(self, request: Request) -> Identity:
        """Raises: Turned."""
        doors, address = self._room.doors, address_of(request)
        try:
            credential = doors.credential_of(request.scope)
        except HeadRefused as refused:
            raise Turned(refused.status, str(refused)) from None
        if doors.is_draining():
            raise Turned(503, "The gateway is shutting down.", hint="Try again in a moment.", recorded=False)
        wait_s = self._attempts.blocked_s(address)
        if wait_s > 0:
            again = {"retry-after": str(math.ceil(wait_s))}
            message = "Too many wrong credentials came from this address."
            raise Turned(429, message, code=RefusalCode.UNAUTHENTICATED, headers=again)
        if not credential:
            raise self._unauthenticated("", "A credential is needed: send `Authorization: Bearer …`.")
        try:
            return await doors.bearers.authenticate(credential)
        except AuthenticationError as error:
            self._attempts.wait_s(address)
            raise self._unauthenticated(str(error), str(error)) from None

    def _unauthenticated(self, problem: str, message: str) -> Turned:
        challenge = {"www-authenticate": self._room.doors.challenge(problem)}
        return Turned(401, message, code=RefusalCode.UNAUTHENTICATED, headers=challenge)

    async def _body(self, request: Request) -> JsonObject:
        """Raises: Turned: it is not one JSON object of the operation's shape."""
        must_be(request, "application/json", "Send JSON: `Content-Type: application/json`.")
        try:
            body = loads(await read_body(request))
        except ValueError as error:
            raise Turned(400, f"The body is not JSON that can be read in one way only ({type(error).__name__}).") from None
        if not isinstance(body, dict):
            raise Turned(400, "The body must be a JSON object.")
        _must_fit(body, self._shape.body, self._shape.required)
        return body


class DocumentEntrance(ApiEntrance):
    """For the description of the API, which everybody may read."""

    def __init__(self, room: Room, document: JsonObject) -> None:
        super().__init__(room)
        self._document = document

    async def _answer(self, request: Request) -> Response:
        try:
            self._room.doors.check_host(request.headers.getlist("host"))
        except HeadRefused as refused:
            return await self._turn_away(request, Turned(refused.status, str(refused)), "")
        return JSONResponse(dict(self._document))


def _read(query: Mapping[str, str], shapes: JsonObject) -> JsonObject:
    """Return the query's values as their shapes have them: in a URL everything is text."""
    numbers = {name for name, shape in shapes.items() if shape.get("type") == "integer"}
    return {
        name: int(value) if name in numbers and value.isascii() and value.isdigit() and len(value) < 10 else value
        for name, value in query.items()
    }


def _must_fit(value: JsonObject, shapes: JsonObject, required: tuple[str, ...]) -> None:
    if wrong := misfits(value, shapes, required):
        raise Turned(422, " ".join(wrong))
