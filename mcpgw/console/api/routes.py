"""Which operations there are: a closed table. What is not in it does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.routing import BaseRoute, Route

from mcpgw.console.api import approvals, shapes
from mcpgw.console.api.entrance import BearerEntrance, DocumentEntrance, Operation, Shape
from mcpgw.console.api.openapi import document
from mcpgw.console.attempts import Attempts
from mcpgw.console.entrance import Entrance
from mcpgw.console.room import Room
from mcpgw.ports import Deed

BASE: Final = "/api/v1"
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
    """Name of a schema of the description."""


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
)
DOCUMENT: Final = f"{BASE}/openapi.json"
"""The one route that asks for no credential."""


def make_api_routes(room: Room) -> Sequence[BaseRoute]:
    """Return the API's routes, each behind its entrance; failed credentials are counted over all of them."""
    attempts = Attempts()
    doors = [(way.path, way.method, BearerEntrance(room, way.operation, way.shape, attempts)) for way in ROUTES]
    return [
        *(_route(path, method, door) for path, method, door in doors),
        _route(DOCUMENT, "GET", DocumentEntrance(room, document(ROUTES))),
    ]


def _route(path: str, method: str, endpoint: Entrance) -> Route:
    route = Route(path, endpoint=endpoint, methods=[method])
    route.methods = {method}  # Starlette would add HEAD, which no door answers
    return route
