"""Coming and going. A person signs in with an API key of their own; a code flow of OIDC would be a second way in beside it,
ending where this one does: in `_welcome`, with a credential that can be checked again at every request.
"""

import math
from contextlib import suppress

from starlette.responses import RedirectResponse, Response

from mcpgw.console.admission import is_signed_in
from mcpgw.console.arrival import Arrival, Visit, local_page
from mcpgw.console.entrance import CHALLENGE
from mcpgw.console.people import is_person
from mcpgw.console.room import Room, forget_cookie, set_cookie
from mcpgw.console.view import HEADERS
from mcpgw.core.entries import Event
from mcpgw.core.errors import AuthenticationError, LedgerUnavailable
from mcpgw.core.model import (
    Identity,
    RefusalCode,
    Refused,
)


async def ask(room: Room, arrival: Arrival) -> Response:
    """Show the form; or lead on, where somebody is signed in already."""
    onward = local_page(arrival.query.get("next", ""))
    if arrival.session_id and await is_signed_in(room, arrival):
        return RedirectResponse(onward, status_code=303, headers=HEADERS)
    return room.view.page("sign_in.html", onward=onward, complaint="")


async def sign_in(room: Room, arrival: Arrival) -> Response:
    """Open a session for the person whose key this is."""
    wait_s = room.attempts.wait_s(arrival.address)
    if wait_s > 0:
        minutes = math.ceil(wait_s / 60)
        complaint = f"Too many attempts from your address. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
        refused = Refused(code=RefusalCode.UNAUTHENTICATED, reason="Too many attempts to sign in from this address.")
        return await _refuse(room, arrival, refused, complaint, 429, {"retry-after": str(math.ceil(wait_s))})
    credential = arrival.form.get("key", "").strip()
    try:
        identity = await room.doors.authenticator.authenticate(credential)
    except AuthenticationError as error:
        refused = Refused(code=RefusalCode.UNAUTHENTICATED, reason=str(error))
        return await _refuse(room, arrival, refused, str(error), 401, {"www-authenticate": CHALLENGE})
    if not is_person(identity):
        complaint = f"This key is for {_article(identity)}. The console is for people: use a key of kind human."
        refused = Refused(code=RefusalCode.DENIED, reason="Only people sign in to the console.")
        return await _refuse(room, arrival, refused, complaint, 403, {}, identity.principal)
    room.attempts.forgive(arrival.address)
    return await _welcome(room, arrival, credential, identity)


async def sign_out(room: Room, visit: Visit) -> Response:
    """End the session, whatever else may fail."""
    room.sessions.close(visit.arrival.session_id)
    response = RedirectResponse("/sign-in", status_code=303, headers=HEADERS)
    forget_cookie(response, is_secure=visit.arrival.is_secure)
    with suppress(LedgerUnavailable):  # the ledger has logged it; keeping somebody signed in because of it would be worse
        await room.doors.journal.append(_event("console.signed_out", visit.arrival, visit.identity))
    return response


async def _welcome(room: Room, arrival: Arrival, credential: str, identity: Identity) -> Response:
    """Raises: LedgerUnavailable: it cannot be recorded, so nobody is signed in."""
    await room.doors.journal.append(_event("console.signed_in", arrival, identity))
    room.sessions.close(arrival.session_id)
    session_id, _ = room.sessions.open(credential, identity.principal)
    response = RedirectResponse(local_page(arrival.form.get("next", "")), status_code=303, headers=HEADERS)
    set_cookie(response, session_id, is_secure=arrival.is_secure)
    return response


async def _refuse(
    room: Room, arrival: Arrival, refused: Refused, complaint: str, status: int, headers: dict[str, str], principal: str = ""
) -> Response:
    await room.doors.corridor.reject(arrival.origin, refused, principal)
    onward = local_page(arrival.form.get("next", ""))
    return room.view.page("sign_in.html", status=status, headers=headers, onward=onward, complaint=complaint)


def _event(kind: str, arrival: Arrival, identity: Identity) -> Event:
    facts = {"address": arrival.address, "credential": identity.credential_id}
    return Event(kind=kind, actor=identity.principal, facts=facts)


def _article(identity: Identity) -> str:
    return f"an {identity.kind.value}" if identity.kind.value[0] in "aeiou" else f"a {identity.kind.value}"
