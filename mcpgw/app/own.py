"""The gateway's own tools, given the rooms that they ask."""

from collections.abc import Sequence

from mcpgw.approval import Desk
from mcpgw.own import DECIDE, LIST, SHOW, STATUS, ApproversTools, Offer, OwnTool, StatusTool
from mcpgw.ports import Redactor
from mcpgw.settings import Settings


def offers(settings: Settings) -> Sequence[Offer]:
    """Return what the gateway offers of its own under these settings, without anything behind it."""
    return (LIST, SHOW, STATUS, *((DECIDE,) if settings.approval.decide_over_mcp else ()))


def tools(settings: Settings, desk: Desk, redactor: Redactor, pages: str) -> Sequence[OwnTool]:
    """Return the tools of `offers`, each with who answers. `pages` is where the console is; empty where there is none."""
    approvers = ApproversTools(desk, redactor, pages)
    return (*approvers.tools(may_decide=settings.approval.decide_over_mcp), *StatusTool(desk).tools())
