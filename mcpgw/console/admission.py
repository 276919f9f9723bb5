"""From a cookie to a person: a session that has not ended, and a credential that is good at this moment."""

from mcpgw.console.arrival import Arrival, Visit
from mcpgw.console.people import is_named, is_person
from mcpgw.console.room import Room
from mcpgw.console.sessions import NoSession
from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import RefusalCode, Refused


class NotSignedIn(Exception):
    """Nobody is signed in; `why` says so to somebody who was, and is empty for others."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


async def admit(room: Room, arrival: Arrival, *, is_activity: bool = True) -> Visit:
    """Return the visit of the person who is signed in, after asking for their credential's standing again.

    Raises:
        NotSignedIn: no session, or its credential is not good any more.
    """
    try:
        session = room.sessions.find(arrival.session_id, is_activity=is_activity)
    except NoSession:
        raise NotSignedIn from None
    try:
        identity = await room.doors.authenticator.authenticate(session.credential)
    except AuthenticationError as error:
        room.sessions.close(arrival.session_id)
        refused = Refused(code=RefusalCode.UNAUTHENTICATED, reason=str(error))
        await room.doors.corridor.reject(arrival.origin, refused, session.principal)
        raise NotSignedIn(str(error)) from None
    if identity.principal != session.principal or not is_person(identity):
        room.sessions.close(arrival.session_id)
        raise NotSignedIn("The key is not the one that signed in.")
    is_auditor = is_named(identity, room.config.auditors)
    return Visit(arrival=arrival, identity=identity, session=session, is_auditor=is_auditor)


async def is_signed_in(room: Room, arrival: Arrival, *, is_activity: bool = False) -> bool:
    """Tell whether the session counts now. Looking does not keep it from going idle."""
    try:
        await admit(room, arrival, is_activity=is_activity)
    except NotSignedIn:
        return False
    return True
