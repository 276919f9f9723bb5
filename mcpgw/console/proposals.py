"""Other arguments for a held call: written on its page, compared on a second one, and proposed from there."""

from contextlib import suppress

from starlette.responses import RedirectResponse, Response

from mcpgw.console.approvals import approval_id_of, comment_of, opened_sheet, turning_away
from mcpgw.console.arrival import Visit
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.console.view import HEADERS
from mcpgw.core import strict_json


async def compare(room: Room, visit: Visit) -> Response:
    """Show what would differ. Nothing is proposed by that."""
    approval_id = approval_id_of(visit)
    shown = await opened_sheet(room, visit, approval_id)
    if not shown.exact or visit.arrival.form.get("shown") != shown.commitment:
        raise Turned(409, "What you edited is not what waits any more.", hint="Open the approval again.")
    changes = room.doors.desk.changes(shown, _arguments(visit))
    if not changes:
        raise Turned(422, "These are the arguments that it has already.", hint="Go back and change them, or approve the call.")
    return room.view.page(
        "proposal.html",
        visit=visit,
        approval=shown.approval,
        changes=changes,
        shown=shown.commitment,
        arguments=visit.arrival.form["arguments"],
        comment=comment_of(visit),
    )


async def propose(room: Room, visit: Visit) -> Response:
    """Pass the proposal to the desk, tied to what was on the page."""
    approval_id = approval_id_of(visit)
    arguments, shown = _arguments(visit), visit.arrival.form.get("shown", "")
    if not shown:
        raise Turned(400, "The form does not say what you saw, so nothing was done.", hint="Open the page again.")
    with turning_away():
        approval = await room.doors.desk.propose(approval_id, visit.identity, arguments, comment_of(visit), shown=shown)
    visit.session.notice = f"Your proposal is recorded. {approval.id} is denied, and its client is told what you would approve."
    return RedirectResponse("/approvals", status_code=303, headers=HEADERS)


def _arguments(visit: Visit) -> dict[str, object]:
    with suppress(ValueError):
        arguments = strict_json.loads(visit.arrival.form.get("arguments", ""))
        if isinstance(arguments, dict):
            return arguments
    raise Turned(400, "The arguments are no JSON object, so nothing was done.", hint="Go back and change the text.")
