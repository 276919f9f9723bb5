"""What must hold before a page is made.

    (1) our own host  (2) a POST: from our own page, and small  (3) a session whose credential is good now
    (4) the page's access  (5) a POST: the session's token

A request that is turned away is recorded before its answer leaves, except for people who merely are not signed in yet.
"""

import hmac
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final, TypeAlias
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from mcpgw.console.admission import NotSignedIn, admit
from mcpgw.console.arrival import Arrival, Visit, local_page
from mcpgw.console.doors import Refused as HeadRefused
from mcpgw.console.forms import must_be_from_here, read_form
from mcpgw.console.room import Room, cookie_name, forget_cookie
from mcpgw.console.turned import Turned
from mcpgw.console.view import HEADERS
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Origin,
    RefusalCode,
    Refused,
)

logger = logging.getLogger(__name__)

PublicPage: TypeAlias = Callable[[Room, Arrival], Awaitable[Response]]
PersonsPage: TypeAlias = Callable[[Room, Visit], Awaitable[Response]]

CHALLENGE: Final = 'Cookie realm="mcpgw console"'
"""RFC 9110 section 15.5.2 wants a challenge with a 401; this scheme makes no browser open a dialog."""


class Entrance(ABC):
    """One ASGI door of the console. A subclass admits the public, a person, an auditor, or a person's program."""

    transport: ClassVar[str] = "console"
    """What the record says of how a request came."""
    broken: ClassVar[str] = "This page could not be made."
    """All that is said of a failure of the program."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except LedgerUnavailable:
            logger.error("a page of the console was refused: the ledger cannot write or be read")
            message = "The gateway cannot reach its record now, so nothing was done and nothing is shown."
            response = self._refusal(503, message, "Try again in a moment.")
        except Exception:
            # The console's one broad except: whatever broke, nothing of it is shown, and nothing is claimed to be done.
            logger.exception("a page of the console failed")
            response = self._refusal(500, self.broken)
        await response(scope, receive, send)

    @abstractmethod
    async def _answer(self, request: Request) -> Response:
        """Answer a request of anybody."""

    @abstractmethod
    def _refusal(self, status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """Say no in a way that fits who asks."""

    async def _turn_away(self, request: Request, turned: Turned, principal: str) -> Response:
        if turned.recorded:
            refused = Refused(code=turned.code, reason=str(turned))
            await self._room.doors.corridor.reject(self._origin(request), refused, principal)
        return self._refusal(turned.status, str(turned), turned.hint, turned.headers)

    def _origin(self, request: Request) -> Origin:
        return Origin(transport=self.transport, protocol_version="", address=address_of(request))


class PageEntrance(Entrance):
    """A door whose answers are pages."""

    async def _answer(self, request: Request) -> Response:
        try:
            arrival = await self._arrive(request)
        except Turned as turned:
            return await self._turn_away(request, turned, "")
        return await self._enter(request, arrival)

    @abstractmethod
    async def _enter(self, request: Request, arrival: Arrival) -> Response:
        """Answer a request whose head and form are in order."""

    async def _arrive(self, request: Request) -> Arrival:
        """Raises: Turned."""
        headers = request.headers
        try:
            self._room.doors.check_host(headers.getlist("host"))
        except HeadRefused as refused:
            raise Turned(refused.status, str(refused)) from None
        if self._room.doors.is_draining():
            raise Turned(503, "The gateway is shutting down.", hint="Try again in a moment.", recorded=False)
        is_secure = self._room.config.is_secure(request.url.scheme, headers["host"])
        form: dict[str, str] = {}
        if request.method == "POST":
            must_be_from_here(headers, is_secure=is_secure)
            form = await read_form(request)
        elif "prefetch" in f"{headers.get('sec-purpose', '')} {headers.get('purpose', '')}".lower():
            # Reading is recorded, and nobody has read what a browser fetched on a guess.
            raise Turned(403, "Pages of the console are not fetched in advance.", recorded=False)
        return Arrival(
            path=request.url.path,
            params={name: str(value) for name, value in request.path_params.items()},
            query=dict(request.query_params),
            form=form,
            address=address_of(request),
            is_secure=is_secure,
            session_id=request.cookies.get(cookie_name(is_secure=is_secure), "")[:256],
        )

    def _refusal(self, status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None) -> Response:
        challenge = {"www-authenticate": CHALLENGE} if status == 401 else {}
        headers = {**challenge, **(headers or {})}
        return self._room.view.page("turned.html", status=status, headers=headers, message=message, hint=hint)


class PublicEntrance(PageEntrance):
    """For everybody."""

    def __init__(self, room: Room, page: PublicPage) -> None:
        super().__init__(room)
        self._page = page

    async def _enter(self, request: Request, arrival: Arrival) -> Response:
        return await self._page(self._room, arrival)


class PersonsEntrance(PageEntrance):
    """For people who are signed in; with `for_auditors`, for those among them who may read the record."""

    def __init__(self, room: Room, page: PersonsPage, *, for_auditors: bool) -> None:
        super().__init__(room)
        self._page = page
        self._for_auditors = for_auditors

    async def _enter(self, request: Request, arrival: Arrival) -> Response:
        principal = ""
        try:
            visit = await admit(self._room, arrival)
            principal = visit.identity.principal
            if self._for_auditors and not visit.is_auditor:
                hint = "Ask the gateway's administrator: auditors are named in config.toml, [console] auditors."
                raise Turned(403, "This page is for auditors.", hint=hint, code=RefusalCode.DENIED)
            if request.method == "POST" and not hmac.compare_digest(
                arrival.form.get("token", "").encode(), visit.session.token.encode()
            ):
                raise Turned(403, "The form does not belong to your session, so nothing was done.", hint="Open the page again.")
            return await self._page(self._room, visit)
        except NotSignedIn as nobody:
            return await self._ask_to_sign_in(request, arrival, nobody.why)
        except Turned as turned:
            return await self._turn_away(request, turned, principal)

    async def _ask_to_sign_in(self, request: Request, arrival: Arrival, why: str) -> Response:
        if request.method == "POST":
            message = why or "You are not signed in, so nothing was done."
            turned = Turned(401, message, hint="Sign in, then try again.", code=RefusalCode.UNAUTHENTICATED)
            return await self._turn_away(request, turned, "")
        query = f"?{request.url.query}" if request.url.query else ""
        sign_in = f"/sign-in?next={quote(local_page(arrival.path + query), safe='/')}"
        if not arrival.session_id and request.headers.get("sec-fetch-site") == "cross-site":
            # A link in a chat or a mail: the browser keeps our cookie (SameSite=Strict) to itself, for the whole chain of
            # redirects. A page of ours that leads on starts a new chain, and who is signed in arrives.
            return self._room.view.page("onward.html", onward=sign_in)
        response = RedirectResponse(sign_in, status_code=303, headers=HEADERS)
        if arrival.session_id:
            forget_cookie(response, is_secure=arrival.is_secure)
        return response


def address_of(request: Request) -> str:
    """Return where a request came from; empty where that is unknown."""
    return request.client.host if request.client else ""
