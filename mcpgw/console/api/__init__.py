"""The HTTP API for verdicts: what the console's page on an approval does, for programs that act for one person.

Read `routes` (what there is), `entrance` (what must hold), `approvals` (what is done), `shapes` (what is sent and answered).
"""

from mcpgw.console.api.openapi import document
from mcpgw.console.api.routes import ROUTES, make_api_routes

__all__ = ["ROUTES", "document", "make_api_routes"]
