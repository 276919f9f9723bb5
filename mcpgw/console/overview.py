"""The start page: is everything well, and is something waiting for me."""

from typing import Final

from starlette.responses import Response

from mcpgw.console.arrival import Visit
from mcpgw.console.room import Room
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ports import ApprovalState, ServerState

_ALL: Final = 1_000_000


async def show(room: Room, visit: Visit) -> Response:
    waiting = await room.doors.desk.docket(visit.identity, (ApprovalState.PENDING,), _ALL)
    mine = sum(1 for approval in waiting if not room.doors.desk.objection(visit.identity, approval))
    servers = (await room.doors.catalog()).servers if visit.is_auditor else ()
    return room.view.page(
        "overview.html",
        visit=visit,
        problems=room.doors.problems(),
        waiting=len(waiting),
        to_do=await room.doors.desk.open_items(visit.identity),
        mine=mine,
        servers=len(servers),
        ready=sum(1 for server in servers if server.state is ServerState.READY),
        quarantined=sum(len(server.quarantined) for server in servers),
        checkpoint=await _checkpoint(room) if visit.is_auditor else "",
    )


async def _checkpoint(room: Room) -> str:
    try:
        return await room.doors.evidence.checkpoint()
    except LedgerUnavailable as error:
        return str(error)
