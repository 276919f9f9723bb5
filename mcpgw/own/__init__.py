"""The gateway's own tools, `mcpgw__…`: they walk the corridor like everybody's, and are answered here instead of upstream.

Read `tool` (what one is), `shelf` (how they come into the corridor), then the tools: `approvals` for those who decide, `status`
for those who wait, `access` for those who ask ahead, `search` for those who should not carry every definition.
"""

from mcpgw.own.access import LIST as ACCESS_LIST
from mcpgw.own.access import REQUEST, AccessTools
from mcpgw.own.approvals import DECIDE, LIST, SHOW, ApproversTools
from mcpgw.own.search import CALL, FIND, FindTool, answer_call
from mcpgw.own.shelf import CatalogWithOwn, UpstreamsWithOwn
from mcpgw.own.status import STATUS, StatusTool
from mcpgw.own.tool import Offer, OwnTool

__all__ = [
    "ACCESS_LIST",
    "CALL",
    "DECIDE",
    "FIND",
    "LIST",
    "REQUEST",
    "SHOW",
    "STATUS",
    "AccessTools",
    "ApproversTools",
    "CatalogWithOwn",
    "FindTool",
    "Offer",
    "OwnTool",
    "StatusTool",
    "UpstreamsWithOwn",
    "answer_call",
]
