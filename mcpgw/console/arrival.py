"""A request as the pages see it: already checked, plain values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcpgw.console.sessions import Session
from mcpgw.core.model import Identity, Origin

HOME: Final = "/"
_LOCAL = re.compile(
    r"/(?:approvals(?:/[a-z0-9_]{1,64})?|log(?:/[0-9]{1,19})?|sessions/[0-9a-f-]{1,64}|upstreams)?(?:\?[A-Za-z0-9%&=+.,_:#*~-]{0,1000})?"
)
"""Pages that one may be sent to after signing in: a list of our own, not a test of what is foreign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request of anybody."""

    path: str
    params: Mapping[str, str]
    """What stands in the path's placeholders."""
    query: Mapping[str, str]
    form: Mapping[str, str] = field(repr=False)
    address: str
    is_secure: bool
    """The browser sees https."""
    session_id: str = field(repr=False)
    """As the browser claims; empty where it sent none."""

    @property
    def origin(self) -> Origin:
        """For the record."""
        return Origin(transport="console", protocol_version="", address=self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of a person who is signed in, and whose credential was checked a moment ago."""

    arrival: Arrival
    identity: Identity
    session: Session
    is_auditor: bool


def local_page(wish: str) -> str:
    """Return the wish if it is one of our pages, else the start page. Nothing else is ever redirected to."""
    return wish if _LOCAL.fullmatch(wish) else HOME
