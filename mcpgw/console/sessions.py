"""Who is signed in: kept in this process's memory alone, so that a restart signs everybody out.

A session is bound to the credential that opened it, and the credential is checked again at every request. The session only
spares the person from pasting it again; it never outlives or outranks it.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_ID_BYTES = 32
_TOKEN_BYTES = 32
MAX_PER_PERSON = 8
"""Browsers of one person that are signed in at once; one more signs the longest idle one out."""
MAX_IN_ALL = 1_000


class NoSession(Exception):
    """There is no such session, or it has ended."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One browser of one person."""

    credential: str = field(repr=False)
    principal: str
    token: str = field(repr=False)
    """The synchroniser token that every form of this session carries."""
    opened: float
    seen: float
    notice: str = ""
    """A sentence for the next page, once."""
    streams: int = 0
    """Live pages that are open."""


class Sessions:
    """All sessions of one process, by the hash of their ids: a lookup takes no longer for an id that is nearly right."""

    def __init__(self, *, idle_s: float, max_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._max_s = max_s
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def open(self, credential: str, principal: str) -> tuple[str, Session]:
        """Return a new session and its id. The id is always ours and fresh: a browser cannot propose one."""
        self._purge()
        own = [key for key, session in self._sessions.items() if session.principal == principal]
        self._make_room(own, MAX_PER_PERSON)
        self._make_room([*self._sessions], MAX_IN_ALL)
        now = self._clock()
        session_id = secrets.token_urlsafe(_ID_BYTES)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        session = Session(credential=credential, principal=principal, token=token, opened=now, seen=now)
        self._sessions[_key(session_id)] = session
        return session_id, session

    def find(self, session_id: str, *, is_activity: bool = True) -> Session:
        """Return the session. What a page does by itself (`is_activity=False`) does not keep it from going idle.

        Raises:
            NoSession: unknown, idle for too long, or too old.
        """
        session = self._sessions.get(_key(session_id))
        if session is None or self._is_over(session):
            self.close(session_id)
            raise NoSession
        if is_activity:
            session.seen = self._clock()
        return session

    def close(self, session_id: str) -> None:
        self._sessions.pop(_key(session_id), None)

    def _is_over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.seen >= self._idle_s or now - session.opened >= self._max_s

    def _purge(self) -> None:
        for key in [key for key, session in self._sessions.items() if self._is_over(session)]:
            del self._sessions[key]

    def _make_room(self, keys: list[str], limit: int) -> None:
        idlest = sorted(keys, key=lambda key: self._sessions[key].seen)
        for key in idlest[: max(0, len(keys) - limit + 1)]:
            del self._sessions[key]


def _key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
