"""Which pages exist, and for whom: a closed table. What is not in it does not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mcpgw.console import approvals, log, overview, proposals, replay, sign_in, upstreams
from mcpgw.console.api import make_api_routes
from mcpgw.console.arrival import Arrival
from mcpgw.console.config import ConsoleConfig
from mcpgw.console.doors import Doors
from mcpgw.console.entrance import Entrance, PersonsEntrance, PersonsPage, PublicEntrance, PublicPage
from mcpgw.console.room import Room
from mcpgw.console.sessions import Sessions
from mcpgw.console.view import View

Routes: TypeAlias = Sequence[BaseRoute]


class Access(StrEnum):
    PUBLIC = "public"
    PERSON = "person"
    """Somebody who is signed in. What they see is the desk's to say."""
    AUDITOR = "auditor"
    """Somebody who is signed in, and named in `[console] auditors`."""


@dataclass(frozen=True, slots=True)
class Door:
    path: str
    method: str
    access: Access


ROUTES: Final = (
    Door("/", "GET", Access.PERSON),
    Door("/sign-in", "GET", Access.PUBLIC),
    Door("/sign-in", "POST", Access.PUBLIC),
    Door("/sign-out", "POST", Access.PERSON),
    Door("/approvals", "GET", Access.PERSON),
    Door("/approvals/{approval_id}", "GET", Access.PERSON),
    Door("/approvals/{approval_id}/verdict", "POST", Access.PERSON),
    Door("/approvals/{approval_id}/deed", "POST", Access.PERSON),
    Door("/approvals/{approval_id}/proposal", "POST", Access.PERSON),
    Door("/approvals/{approval_id}/proposal/confirm", "POST", Access.PERSON),
    Door("/live/approvals", "GET", Access.PERSON),
    Door("/log", "GET", Access.AUDITOR),
    Door("/log", "POST", Access.AUDITOR),
    Door("/log/{seq}", "GET", Access.AUDITOR),
    Door("/sessions/{session}", "GET", Access.AUDITOR),
    Door("/upstreams", "GET", Access.AUDITOR),
    Door("/static/{name}", "GET", Access.PUBLIC),
)


async def _static(room: Room, arrival: Arrival) -> Response:
    return room.view.file(arrival.params["name"])


# Pages for people cannot be made without a `Visit`, which only a good credential gives: a page in the wrong one of these
# two tables is a type error.
_PUBLIC: Final[Mapping[tuple[str, str], PublicPage]] = {
    ("/sign-in", "GET"): sign_in.ask,
    ("/sign-in", "POST"): sign_in.sign_in,
    ("/static/{name}", "GET"): _static,
}
_PERSONS: Final[Mapping[tuple[str, str], PersonsPage]] = {
    ("/", "GET"): overview.show,
    ("/sign-out", "POST"): sign_in.sign_out,
    ("/approvals", "GET"): approvals.docket,
    ("/approvals/{approval_id}", "GET"): approvals.sheet,
    ("/approvals/{approval_id}/verdict", "POST"): approvals.decide,
    ("/approvals/{approval_id}/deed", "POST"): approvals.act,
    ("/approvals/{approval_id}/proposal", "POST"): proposals.compare,
    ("/approvals/{approval_id}/proposal/confirm", "POST"): proposals.propose,
    ("/live/approvals", "GET"): approvals.live,
    ("/log", "GET"): log.search,
    ("/log", "POST"): log.ask,
    ("/log/{seq}", "GET"): log.record,
    ("/sessions/{session}", "GET"): replay.show,
    ("/upstreams", "GET"): upstreams.show,
}


def make_routes(doors: Doors, config: ConsoleConfig) -> Routes:
    """Return the console's routes, each behind its entrance; sessions live as long as they do."""
    room = Room(
        config=config,
        doors=doors,
        sessions=Sessions(idle_s=config.session_idle_s, max_s=config.session_max_s),
        view=View(name=config.name, version=config.version),
    )
    pages = [_route(door, _entrance(room, door)) for door in ROUTES]
    return [*pages, *make_api_routes(room)]


def _entrance(room: Room, door: Door) -> Entrance:
    key = (door.path, door.method)
    if door.access is Access.PUBLIC:
        return PublicEntrance(room, _PUBLIC[key])
    return PersonsEntrance(room, _PERSONS[key], for_auditors=door.access is Access.AUDITOR)


def _route(door: Door, endpoint: Entrance) -> Route:
    route = Route(door.path, endpoint=endpoint, methods=[door.method])
    route.methods = {door.method}  # Starlette would add HEAD, which no door answers
    return route
