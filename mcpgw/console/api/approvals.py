"""The operations. Each is the desk's, which alone decides who sees what and whose vote counts."""

import re
from typing import Any, Final

from mcpgw.console.api.entrance import Ask, Operation
from mcpgw.console.api.shapes import laid_out, summary
from mcpgw.console.approvals import turning_away
from mcpgw.console.doors import NotForYou, Unclear
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.entries import Verdict
from mcpgw.core.model import JsonObject, RefusalCode
from mcpgw.ports import ApprovalState, Deed

_ALL: Final = 1_000_000
"""In effect every approval in a state: none may be hidden by newer ones that are not the person's to see."""
_PAGE: Final = 50
_ID = re.compile(r"[a-z0-9_]{1,64}")


async def list_(room: Room, ask: Ask) -> JsonObject:
    """List what is the person's to see, the newest first. A cursor is the id of the last one of the page before."""
    states = (ApprovalState(ask.query["state"]),) if "state" in ask.query else ()
    found = await room.doors.desk.docket(ask.identity, states, _ALL)
    ids = [approval.id for approval in found]
    cursor = ask.query.get("cursor", "")
    if cursor and cursor not in ids:
        raise Turned(410, "That cursor is not of a page of yours, or its approval has left this state.", hint="Start anew.")
    start = ids.index(cursor) + 1 if cursor else 0
    end = start + int(ask.query.get("limit", _PAGE))
    page: dict[str, Any] = {"approvals": [summary(room.doors.desk, ask.identity, approval) for approval in found[start:end]]}
    return {**page, "next_cursor": ids[end - 1]} if end < len(found) else page


async def show(room: Room, ask: Ask) -> JsonObject:
    """Show one approval to the letter; the desk records the reading first."""
    try:
        sheet = await room.doors.desk.show(_approval_id(ask), ask.identity)
    except NotForYou as error:
        raise Turned(404, str(error), hint=error.hint, code=RefusalCode.DENIED) from None
    except Unclear as error:
        raise Turned(500, str(error), hint=error.hint, code=RefusalCode.UNAVAILABLE) from None
    return laid_out(room.doors.desk, ask.identity, sheet)


async def vote(room: Room, ask: Ask) -> JsonObject:
    """Pass the verdict to the desk, tied to what was shown."""
    verdict, shown = Verdict(ask.body["verdict"]), ask.body.get("shown", "")
    if verdict is Verdict.APPROVE and not shown:
        raise Turned(422, "`shown` is missing: an approval says what was looked at.", hint="Get the approval, and look at it.")
    break_glass = ask.body.get("break_glass", False)
    with turning_away():
        approval = await room.doors.desk.vote(
            _approval_id(ask), ask.identity, verdict, _comment(ask), shown=shown, break_glass=break_glass
        )
    return summary(room.doors.desk, ask.identity, approval)


async def propose(room: Room, ask: Ask) -> JsonObject:
    """Deny the call and say which arguments would be approved, tied to what was shown. Nothing runs by it."""
    arguments, shown = ask.body["arguments"], ask.body["shown"]
    with turning_away():
        approval = await room.doors.desk.propose(_approval_id(ask), ask.identity, arguments, _comment(ask), shown=shown)
    return summary(room.doors.desk, ask.identity, approval)


def deed(what: Deed) -> Operation:
    """Return the operation that does what is not a vote."""

    async def do(room: Room, ask: Ask) -> JsonObject:
        with turning_away():
            happened = ask.body.get("happened", "")
            approval = await room.doors.desk.act(what, _approval_id(ask), ask.identity, _comment(ask), happened)
        return summary(room.doors.desk, ask.identity, approval)

    return do


def _comment(ask: Ask) -> str:
    return str(ask.body.get("comment", "")).strip()


def _approval_id(ask: Ask) -> str:
    approval_id = ask.params["approval_id"]
    if not _ID.fullmatch(approval_id):
        raise Turned(404, "There is no such approval.")
    return approval_id
