"""The gateway's own tools, given the rooms that they ask."""

from collections.abc import Sequence

from mcpgw.approval import Desk
from mcpgw.own import (
    ACCESS_LIST,
    CALL,
    DECIDE,
    FIND,
    LIST,
    REQUEST,
    SHOW,
    STATUS,
    AccessTools,
    ApproversTools,
    FindTool,
    Offer,
    OwnTool,
    StatusTool,
    answer_call,
)
from mcpgw.own.access import Asker
from mcpgw.ports import Redactor
from mcpgw.settings import Settings


def offers(settings: Settings) -> Sequence[Offer]:
    """Return what the gateway offers of its own under these settings, without anything behind it."""
    return (LIST, SHOW, STATUS, REQUEST, ACCESS_LIST, FIND, CALL, *((DECIDE,) if settings.approval.decide_over_mcp else ()))


def tools(settings: Settings, desk: Desk, redactor: Redactor, ask: Asker, pages: str, find: FindTool) -> Sequence[OwnTool]:
    """Return the tools of `offers`, each with who answers. `pages` is where the console is; empty where there is none."""
    search = (OwnTool(offer=FIND, answer=find.answer), OwnTool(offer=CALL, answer=answer_call))
    access = AccessTools(ask, desk).tools()
    approvers = ApproversTools(desk, redactor, pages)
    return (*approvers.tools(may_decide=settings.approval.decide_over_mcp), *StatusTool(desk).tools(), *access, *search)
