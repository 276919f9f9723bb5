"""The upstream servers' page: how each stands, and what waits for acceptance. Accepting is the administrator's command."""

from starlette.responses import Response

from mcpgw.console.arrival import Visit
from mcpgw.console.reading import note
from mcpgw.console.room import Room


async def show(room: Room, visit: Visit) -> Response:
    await note(room, visit.identity, {"what": "upstreams"})
    catalog = await room.doors.catalog()
    return room.view.page("upstreams.html", visit=visit, catalog=catalog)
