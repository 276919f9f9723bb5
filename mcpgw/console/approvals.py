"""The desk's pages: what waits, one held call to the letter, and the verdict on it."""

import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.responses import RedirectResponse, Response, StreamingResponse

from mcpgw.console.admission import is_signed_in
from mcpgw.console.arrival import Visit
from mcpgw.console.doors import NotForYou, Unclear
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.console.view import HEADERS
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import RefusalCode
from mcpgw.ports import Approval, ApprovalState, Deed, Sheet, ballots

_ID = re.compile(r"[a-z0-9_]{1,64}")
_ALL: Final = 1_000_000
"""In effect every approval that waits: none of them may be hidden by newer ones that are over."""
_RECENT: Final = 50
"""Approvals that are listed below the waiting ones."""
_DONE: Final[Mapping[str, str]] = {
    Deed.WITHDRAW_VOTE: "Your vote is taken back.",
    Deed.WITHDRAW: "Your call is withdrawn.",
    Deed.REVOKE: "The approval is revoked: the call will not run.",
    Deed.RESOLVE: "What you found out is kept with the call.",
    Deed.REVIEW: "Your review is kept with the call.",
}
"""What can be done beside voting, and what is said of it then."""
_LOOKED_AT: Final = 500
_BEAT_S: Final = 2.0
"""How soon a live page notices that its session ended, or that the gateway shuts down."""
_STREAMS: Final = 16
"""Live pages of one session: more than anybody looks at, so that nobody holds all connections."""
_STREAM_S: Final = 300.0
"""Longest life of one stream; the browser opens the next one by itself."""


async def docket(room: Room, visit: Visit) -> Response:
    """List what is the person's to see: waiting first, the nearest deadline on top."""
    waiting = await _waiting(room, visit)
    seen = await room.doors.desk.docket(visit.identity, (), _LOOKED_AT)
    others = [approval for approval in seen if approval.state is not ApprovalState.PENDING][:_RECENT]
    notice, visit.session.notice = visit.session.notice, ""
    return room.view.page(
        "approvals.html",
        visit=visit,
        waiting=waiting,
        to_do=await room.doors.desk.open_items(visit.identity),
        others=others,
        mark=_mark(waiting),
        notice=notice,
        desk=room.doors.desk,
    )


async def sheet(room: Room, visit: Visit) -> Response:
    """Show one approval exactly as the desk lays it out; the desk records the reading first."""
    shown = await opened_sheet(room, visit, approval_id_of(visit))
    approval, desk = shown.approval, room.doors.desk
    deeds = desk.deeds(visit.identity, approval)
    undecided = approval.state is ApprovalState.PENDING and Deed.VOTE not in deeds
    return room.view.page(
        "approval.html",
        visit=visit,
        sheet=shown,
        approval=approval,
        objection=desk.objection(visit.identity, approval) if undecided else "",
        deeds={deed.value for deed in deeds},
        target=approval.facts.get("target", {}),
        standing=desk.standing(approval),
    )


async def opened_sheet(room: Room, visit: Visit, approval_id: str) -> Sheet:
    """Return the approval as the desk lays it out for this person.

    Raises:
        Turned: it is not theirs to see, or not what was bound.
    """
    try:
        return await room.doors.desk.show(approval_id, visit.identity)
    except NotForYou as error:
        raise Turned(404, str(error), hint=error.hint, code=RefusalCode.DENIED) from None
    except Unclear as error:
        raise Turned(500, str(error), hint=error.hint, code=RefusalCode.UNAVAILABLE) from None


async def decide(room: Room, visit: Visit) -> Response:
    """Pass the verdict to the desk, tied to what was on the page."""
    approval_id = approval_id_of(visit)
    form, comment = visit.arrival.form, comment_of(visit)
    shown, break_glass = form.get("shown", ""), form.get("break_glass") == "yes"
    if form.get("verdict") not in {verdict.value for verdict in Verdict} or not shown:
        raise Turned(400, "The form does not say what you saw and decided, so nothing was done.", hint="Open the page again.")
    verdict = Verdict(form["verdict"])
    with turning_away():
        approval = await room.doors.desk.vote(
            approval_id, visit.identity, verdict, comment, shown=shown, break_glass=break_glass
        )
    said = "approval" if verdict is Verdict.APPROVE else "denial"
    visit.session.notice = f"Your {said} of {approval.id} is recorded. It is {_standing(room, approval)}."
    return RedirectResponse("/approvals", status_code=303, headers=HEADERS)


async def act(room: Room, visit: Visit) -> Response:
    """Do what is not a vote: take one back, withdraw, revoke, resolve, review."""
    approval_id = approval_id_of(visit)
    form = visit.arrival.form
    if form.get("deed") not in _DONE:
        raise Turned(400, "The form does not say what is to be done, so nothing was done.", hint="Open the page again.")
    deed = Deed(form["deed"])
    with turning_away():
        approval = await room.doors.desk.act(deed, approval_id, visit.identity, comment_of(visit), form.get("happened", ""))
    visit.session.notice = f"{_DONE[deed]} It is recorded; {approval.id} is {_standing(room, approval)}."
    return RedirectResponse("/approvals", status_code=303, headers=HEADERS)


@contextmanager
def turning_away() -> Iterator[None]:
    """Turn what the desk refuses into a page."""
    try:
        yield
    except NotForYou as error:
        raise Turned(403, str(error), hint=error.hint, code=RefusalCode.DENIED) from None
    except ApprovalConflict as error:
        raise Turned(409, str(error), hint=error.hint, code=RefusalCode.DENIED) from None
    except LedgerUnavailable:
        hint = "Open the approval again in a moment: it shows what counts."
        raise Turned(503, "It is not known whether your verdict was recorded.", hint=hint, recorded=False) from None
    except ValueError as error:
        raise Turned(422, f"Nothing was recorded: {error}.", hint="Change it and try again.") from None


def comment_of(visit: Visit) -> str:
    return visit.arrival.form.get("comment", "").replace("\r\n", "\n").strip()


async def live(room: Room, visit: Visit) -> Response:
    """Tell the docket's page, by server-sent events, how the docket stands, whenever that changes."""
    if visit.session.streams >= _STREAMS:
        raise Turned(429, "Too many live pages are open.", recorded=False)
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(_marks(room, visit), media_type="text/event-stream", headers=headers)


async def _marks(room: Room, visit: Visit) -> AsyncIterator[str]:
    """Yield an event for every new mark. It ends with the session, the gateway or its time, not with the docket."""
    until = time.monotonic() + _STREAM_S
    told = ""
    visit.session.streams += 1
    try:
        yield "retry: 3000\n\n"
        while time.monotonic() < until and not room.doors.is_draining() and await is_signed_in(room, visit.arrival):
            mark = _mark(await _waiting(room, visit))
            if mark != told:
                told = mark
                yield f"event: docket\ndata: {mark}\n\n"
            await room.doors.desk.changed(_BEAT_S)
    except LedgerUnavailable:
        return  # the browser comes back by itself, and then meets the page that says so
    finally:
        visit.session.streams -= 1


async def _waiting(room: Room, visit: Visit) -> Sequence[Approval]:
    found = await room.doors.desk.docket(visit.identity, (ApprovalState.PENDING,), _ALL)
    return sorted(found, key=lambda approval: approval.decide_by_ns)


def _mark(waiting: Sequence[Approval]) -> str:
    """A short name for the state of the list: equal exactly if a reload would show the same rows."""
    rows = "\n".join(f"{approval.id} {approval.level} {ballots(approval.votes)}" for approval in waiting)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def _standing(room: Room, approval: Approval) -> str:
    if approval.state is ApprovalState.PENDING:
        return f"still waiting, {room.doors.desk.standing(approval).tally}"
    return approval.state.value


def approval_id_of(visit: Visit) -> str:
    approval_id = visit.arrival.params["approval_id"]
    if not _ID.fullmatch(approval_id):
        raise Turned(404, "There is no such approval.")
    return approval_id
