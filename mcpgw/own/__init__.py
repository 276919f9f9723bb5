"""The gateway's own tools, `mcpgw__…`: they walk the corridor like everybody's, and are answered here instead of upstream.

Read `tool` (what one is), `shelf` (how they come into the corridor), then the tools: `approvals` for those who decide, `status`
for those who wait.
"""

from mcpgw.own.approvals import DECIDE, LIST, SHOW, ApproversTools
from mcpgw.own.shelf import CatalogWithOwn, UpstreamsWithOwn
from mcpgw.own.status import STATUS, StatusTool
from mcpgw.own.tool import Offer, OwnTool

__all__ = [
    "DECIDE",
    "LIST",
    "SHOW",
    "STATUS",
    "ApproversTools",
    "CatalogWithOwn",
    "Offer",
    "OwnTool",
    "StatusTool",
    "UpstreamsWithOwn",
]
