"""The console: people at the desk, the log and the catalog, through server-rendered pages.

Read in this order: `doors` (what the console is given), `routes` (which pages exist, and for whom), `entrance` (what must hold
before a page is made) with `forms`, `admission` and `sessions`, then the pages: `approvals`, `log`, `replay`, `upstreams`,
`overview`, `sign_in`. `reading` is how these and the programs of `api` read evidence. It decides nothing: who may see and vote
is the desk's, and everything that is read or refused goes into the same ledger as calls do.
"""

from mcpgw.console.config import ConsoleConfig
from mcpgw.console.doors import Doors, NotForYou, ServerView, Unclear
from mcpgw.console.routes import ROUTES, Access, Door, Routes, make_routes

__all__ = [
    "ROUTES",
    "Access",
    "ConsoleConfig",
    "Door",
    "Doors",
    "NotForYou",
    "Routes",
    "ServerView",
    "Unclear",
    "make_routes",
]
