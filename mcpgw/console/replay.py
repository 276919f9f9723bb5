"""A session step by step, as `mcpgw replay` tells it. For auditors."""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from mcpgw.console import reading
from mcpgw.console.arrival import Visit
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned

_PAGE: Final = 50
_LONGEST: Final = 8_000
"""Characters of a payload among others; its record's page has it whole."""


async def show(room: Room, visit: Visit) -> Response:
    """Show a page of the session's steps, the oldest first."""
    name, after = visit.arrival.params["session"], visit.arrival.query.get("after", "")
    if after and not re.fullmatch(reading.SEQ, after):
        raise Turned(404, "There is no such record to go on behind.", recorded=False)
    page = await reading.session(room, visit.identity, name, after=int(after or -1), limit=_PAGE)
    return await room.view.long_page(
        "session.html",
        visit=visit,
        session=name,
        log=room.doors.evidence.log,
        is_first=not after,
        steps=[{**step, "shown": [*map(_cut, step["shown"])]} for step in page.steps],
        further=page.further,
    )


def _cut(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    text = shown["text"]
    return {**shown, "text": text[:_LONGEST], "is_cut": len(text) > _LONGEST}
