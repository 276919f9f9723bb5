"""What every page has at hand."""

from dataclasses import dataclass, field

from starlette.responses import Response

from mcpgw.console.attempts import Attempts
from mcpgw.console.config import ConsoleConfig
from mcpgw.console.doors import Doors
from mcpgw.console.sessions import Sessions
from mcpgw.console.view import View

_PLAIN_COOKIE = "mcpgw-console"
_HOST_COOKIE = "__Host-mcpgw-console"
"""RFC 6265bis section 4.1.3.2: set over https by this host alone, for all of it; no neighbour can plant one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    config: ConsoleConfig
    doors: Doors
    sessions: Sessions
    view: View
    attempts: Attempts = field(default_factory=Attempts)


def cookie_name(*, is_secure: bool) -> str:
    return _HOST_COOKIE if is_secure else _PLAIN_COOKIE


def set_cookie(response: Response, session_id: str, *, is_secure: bool) -> None:
    """No `Max-Age`: the browser forgets it at its end; how long it counts is decided here and not there."""
    name = cookie_name(is_secure=is_secure)
    response.set_cookie(name, session_id, path="/", secure=is_secure, httponly=True, samesite="strict")


def forget_cookie(response: Response, *, is_secure: bool) -> None:
    name = cookie_name(is_secure=is_secure)
    response.delete_cookie(name, path="/", secure=is_secure, httponly=True, samesite="strict")
