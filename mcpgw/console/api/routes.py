"""Which operations there are: a closed table. What is not in it does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.routing import BaseRoute, Route

from mcpgw.console.api import approvals, evidence, shapes
from mcpgw.console.api.entrance import BearerEntrance, DocumentEntrance, Operation, Shape
from mcpgw.console.api.openapi import document
from mcpgw.console.attempts import Attempts
from mcpgw.console.entrance import Entrance
from mcpgw.console.room import Room
from mcpgw.ports import Deed

BASE: Final = "/api/v1"
_EVIDENCE: Final = f"{BASE}/evidence"
_ONE: Final = f"{BASE}/approvals/{{approval_id}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One operation behind a bearer credential."""

    path: str
    method: str
    name: str
    """`operationId` of the description."""
    about: str
    operation: Operation
    shape: Shape
    answer: str
    """Name of a schema of the description; empty for a zip file."""
    for_auditors: bool = False


def _deed(what: Deed, about: str, shape: Shape) -> Way:
    name = what.value.replace("_", "-")
    return Way(
        path=f"{_ONE}/{name}", method="POST", name=what.value, about=about, operation=approvals.deed(what), shape=shape,
        answer="Approval",
    )  # fmt: skip


ROUTES: Final = (
    Way(
        path=f"{BASE}/approvals",
        method="GET",
        name="list",
        about="List the held calls that are yours to see, the newest first, with masked arguments.",
        operation=approvals.list_,
        shape=shapes.LIST,
        answer="Page",
    ),
    Way(
        path=_ONE,
        method="GET",
        name="show",
        about="Show one held call with its exact arguments. That you read them is recorded.",
        operation=approvals.show,
        shape=Shape(),
        answer="Sheet",
    ),
    Way(
        path=f"{_ONE}/vote",
        method="POST",
        name="vote",
        about="Approve or deny.",
        operation=approvals.vote,
        shape=shapes.VOTE,
        answer="Approval",
    ),
    Way(
        path=f"{_ONE}/propose",
        method="POST",
        name="propose",
        about="Deny the call, and tell its client which arguments you would approve instead.",
        operation=approvals.propose,
        shape=shapes.PROPOSE,
        answer="Approval",
    ),
    _deed(Deed.WITHDRAW_VOTE, "Take your vote back, until it is settled.", shapes.COMMENT),
    _deed(Deed.WITHDRAW, "Withdraw your own call before it runs.", shapes.COMMENT),
    _deed(Deed.REVOKE, "Stop what was approved before it runs.", shapes.COMMENT),
    _deed(Deed.RESOLVE, "Say what became of a call whose outcome is unknown.", shapes.RESOLVE),
    _deed(Deed.REVIEW, "Say that you looked at a use of break-glass.", shapes.REVIEW),
    Way(
        path=f"{_EVIDENCE}/search",
        method="POST",
        name="search_evidence",
        about="Find records, the newest first. What you ask is recorded; it is in the body because it is often a name.",
        operation=evidence.search,
        shape=evidence.SEARCH,
        answer="Found",
        for_auditors=True,
    ),
    Way(
        path=f"{_EVIDENCE}/records/{{seq}}",
        method="GET",
        name="show_record",
        about="Show one record to the byte, with its clean payloads and the proof that it is in the log.",
        operation=evidence.record,
        shape=Shape(),
        answer="Record",
        for_auditors=True,
    ),
    Way(
        path=f"{_EVIDENCE}/sessions/{{session}}",
        method="GET",
        name="replay_session",
        about="Show a session step by step, the oldest first.",
        operation=evidence.session,
        shape=evidence.SESSION,
        answer="Session",
        for_auditors=True,
    ),
    Way(
        path=f"{_EVIDENCE}/export",
        method="POST",
        name="export_evidence",
        about="Get an evidence package. That it was given away, and why, is recorded first.",
        operation=evidence.export,
        shape=evidence.EXPORT,
        answer="",
        for_auditors=True,
    ),
)
DOCUMENT: Final = f"{BASE}/openapi.json"
"""The one route that asks for no credential."""


def make_api_routes(room: Room) -> Sequence[BaseRoute]:
    """Return the routes that the settings switch on, each behind its entrance: verdicts, and evidence where there are auditors.

    Failed credentials are counted over all of them.
    """
    attempts = Attempts()
    ways = [way for way in ROUTES if (room.config.auditors if way.for_auditors else room.config.api)]
    if not ways:
        return []
    doors = [
        (way.path, way.method, BearerEntrance(room, way.operation, way.shape, attempts, for_auditors=way.for_auditors))
        for way in ways
    ]
    return [
        *(_route(path, method, door) for path, method, door in doors),
        _route(DOCUMENT, "GET", DocumentEntrance(room, document(ROUTES))),
    ]


def _route(path: str, method: str, endpoint: Entrance) -> Route:
    route = Route(path, endpoint=endpoint, methods=[method])
    route.methods = {method}  # Starlette would add HEAD, which no door answers
    return route
