"""Sessions with a legacy server that are somebody's own, so that the server may ask them in the middle of a call.

What its client can do, a server of 2025-11-25 or earlier is told once for a session; and what it asks names no call. So the
session of a caller who can be asked declares what that caller can do, and carries one call at a time.
"""

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.canonical import digest
from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Identity, JsonObject
from mcpgw.upstream.config import StdioServer
from mcpgw.upstream.connection import Connection, Connector, Ended
from mcpgw.upstream.conversation import Conversation
from mcpgw.upstream.wire import Wire

logger = logging.getLogger(__name__)

_LISTENING_S = 2.0
"""For the stream on which an HTTP server asks: what it asked before would be lost. One that keeps it back may have another."""
_PONG_S = 2.0
"""For the answer to a ping, which comes after what the server asks at once. One that answers none is not waited for."""


class NotOpened(UpstreamError):
    """The server was asked for a session of somebody's own, and there is none."""


class PersonalSessions:
    """Those of one server: opened when a call needs one, kept a while for the next, never more than `Limits` says.

    A question may wait for its caller for long, so a quarter of them is out of reach of the identity that has the others.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._limits = connector.limits
        is_child = isinstance(connector.config, StdioServer)
        self._most = self._limits.personal_children if is_child else self._limits.personal_sessions
        self._most_of_one = self._most - self._most // 4
        self._sessions: list[_Session] = []
        self._tasks: TaskGroup | None = None  # None while nothing runs

    async def run(self) -> None:
        """Own the sessions until cancelled."""
        try:
            async with anyio.create_task_group() as self._tasks:
                await anyio.sleep_forever()
        finally:
            self._tasks = None

    @asynccontextmanager
    async def lent(self, identity: Identity, declares: JsonObject, patience_s: float) -> AsyncIterator[Conversation]:
        """Lend a session in which this identity is asked, as far as `declares` says, for one call.

        A session whose call ended without an answer is not lent again: its server may still be at it, and ask.

        Raises:
            NotOpened: the server did not begin one; nothing was sent.
            UpstreamError: none was to be had, in time or at all; nothing was sent.
        """
        who = [identity.principal, identity.kind.value, [*identity.actors]]
        session = None
        with anyio.move_on_after(patience_s):
            session = await self._opened(digest({"who": who, "declares": declares}), identity.principal, declares)
        if session is None:
            raise self._not_to_be_had("did not begin another session in time")
        if session.conversation is None:
            raise NotOpened(session.problem, sent=False)
        answered = False
        try:
            yield session.conversation
            answered = True
        finally:
            session.is_used_up = not answered
            session.leave(self._limits.personal_idle_s if answered else self._limits.stop_s)

    async def _opened(self, key: str, principal: str, declares: JsonObject) -> "_Session":
        session = await self._taken(key, principal, declares)
        try:
            await session.known.wait()
        except anyio.get_cancelled_exc_class():
            session.leave(self._limits.personal_idle_s)  # it opens all the same, for the next call
            raise
        return session

    async def _taken(self, key: str, principal: str, declares: JsonObject) -> "_Session":
        while True:
            if self._tasks is None:
                raise self._not_to_be_had("was stopped")
            if sum(session.is_busy and session.principal == principal for session in self._sessions) >= self._most_of_one:
                raise self._all_busy(f"as one identity may have ({self._most_of_one})")
            if own := [session for session in self._sessions if session.key == key and session.is_free]:
                session = max(own, key=lambda one: one.since)
                session.take()
                return session
            if len(self._sessions) < self._most:
                session = _Session(key, principal)
                self._sessions.append(session)
                self._tasks.start_soon(self._own, session, declares)
                return session
            await self._make_room()

    async def _make_room(self) -> None:
        """End the session that has been idle for longest; or wait for one that is ending already."""
        idle = [session for session in self._sessions if not session.is_busy]
        if not idle:
            raise self._all_busy(f"as it may ({self._most})")
        session = min(idle, key=lambda one: (one.is_ending, one.since))
        session.end()
        await session.finished.wait()

    async def _own(self, session: "_Session", declares: JsonObject) -> None:
        try:
            ended = await self._connector.use(session.serve, declares)
            if session.conversation is None:
                self._failed(session, ended)
        finally:
            self._sessions.remove(session)
            session.over()

    def _failed(self, session: "_Session", ended: Ended) -> None:
        session.problem = ended.reason
        told = "\n".join(part for part in (ended.reason, ended.stderr) if part)
        logger.warning("upstream %s: no personal session: %s", self._connector.name, told)

    def _all_busy(self, most: str) -> UpstreamError:
        return self._not_to_be_had(f"has as many sessions {most}, and each carries a call: make this one again later")

    def _not_to_be_had(self, what: str) -> UpstreamError:
        return UpstreamError(f"The upstream server {self._connector.name!r} {what}.", sent=False)


class _Session:
    """One, which is busy from the moment on that it is made for a call."""

    def __init__(self, key: str, principal: str) -> None:
        self.key = key
        self.principal = principal
        self.since = 0.0
        """When it was last left idle."""
        self.is_busy = True
        self.is_used_up = False
        self.conversation: Conversation | None = None  # None before it is open
        self.problem = "The upstream server was stopped."
        """Why it did not open."""
        self.known = anyio.Event()
        """It is open, or never will be."""
        self.finished = anyio.Event()
        self._life = anyio.CancelScope()
        """Its deadline is the end of the session's idleness."""

    @property
    def is_ending(self) -> bool:
        return self._life.cancel_called

    @property
    def is_free(self) -> bool:
        return not (self.is_busy or self.is_used_up or self.is_ending)

    def take(self) -> None:
        self.is_busy = True
        self._life.deadline = math.inf

    def leave(self, keep_s: float) -> None:
        self.is_busy = False
        self.since = anyio.current_time()
        self._life.deadline = self.since + keep_s

    def end(self) -> None:
        self._life.cancel()

    def over(self) -> None:
        self.known.set()
        self.finished.set()

    async def serve(self, connection: Connection) -> str:
        """Begin, and stay until idle for too long, told to end, or lost."""
        conversation = connection.conversation
        connection.questions.keep_early()
        await conversation.begin(probe=False)
        connection.stderr.ready()
        connection.tasks.start_soon(conversation.listen)
        with anyio.move_on_after(_LISTENING_S):
            await connection.wire.listening()
        with suppress(TimeoutError):
            await conversation.ask("ping", {}, timeout_s=_PONG_S)
        self.conversation = conversation
        self.known.set()
        connection.tasks.start_soon(self._until_lost, connection.wire)
        with self._life:
            await anyio.sleep_forever()
        return "is not used any more"

    async def _until_lost(self, wire: Wire) -> None:
        await wire.lost()
        self._life.cancel()
