"""How a client is told that its call waits for people: one of four ways, by what it declared in this very request."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from mcpgw.core.tasks import TASKS_EXTENSION, WITH_TASKS
from mcpgw.inbound.shaping import is_modern

TAKES_TASKS: Final[dict[str, Any]] = {CLIENT_CAPABILITIES_META_KEY: WITH_TASKS}
"""`_meta` of a call whose server may make a task of it, which the gateway follows."""


class Presentation(StrEnum):
    TASK = "task"
    """The tasks extension: a task at once, whose state and result the client asks for."""
    URL = "url"
    """URL elicitation: the page where it waits, and then rounds of waiting."""
    PROGRESS = "progress"
    """The request stays open, with progress, for as long as the client is known to be patient."""
    PENDING = "pending"
    """An error that says so at once; the identical call takes it up again. What every other way ends in, so it is always on."""


ALL: Final = frozenset(Presentation)


def choose(ctx: ServerRequestContext[Any, Any], allowed: Collection[Presentation], *, has_pages: bool) -> Presentation:
    """Return the first way that is allowed and that the client can follow.

    Before 2026-07-28 results were tools' results and nothing else, so only the last two are for such a client.
    """
    if Presentation.TASK in allowed and declares_tasks(ctx):
        return Presentation.TASK
    if Presentation.URL in allowed and has_pages and _declares_url(ctx):
        return Presentation.URL
    return Presentation.PROGRESS if Presentation.PROGRESS in allowed else Presentation.PENDING


def declares_tasks(ctx: ServerRequestContext[Any, Any]) -> bool:
    return isinstance(_object(declared_in(ctx).get("extensions")).get(TASKS_EXTENSION), dict)


def declares_all(ctx: ServerRequestContext[Any, Any], required: object) -> bool:
    """Tell whether the request declares all of some `ClientCapabilities`, settings of a capability left aside."""
    declared = declared_in(ctx)
    return all(
        isinstance(declared.get(name), dict) and _object(part).keys() <= declared[name].keys()
        for name, part in _object(required).items()
    )


def _declares_url(ctx: ServerRequestContext[Any, Any]) -> bool:
    return isinstance(_object(declared_in(ctx).get("elicitation")).get("url"), dict)


def declared_in(ctx: ServerRequestContext[Any, Any]) -> Mapping[str, Any]:
    """Return the capabilities in the request itself: what was declared in another one does not count (2026-07-28 basic)."""
    if not is_modern(ctx.protocol_version):
        return {}
    return _object(_object((ctx.params or {}).get("_meta")).get(CLIENT_CAPABILITIES_META_KEY))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
