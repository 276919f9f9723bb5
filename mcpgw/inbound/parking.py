"""Calls that go on while their client is away to answer a question of their server.

A client of 2026-07-28 is asked by a result, and comes back with a new request. A server of an earlier revision asks in the
middle of its answer, and waits. So the call between them is kept here, in the process that made it: a retry that reaches
another one, or comes too late, is told so. What the client holds is an id, sealed to its identity, the name and the arguments.
"""

import logging
import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS

from mcpgw.core.model import (
    Answer,
    CleanNotice,
    Identity,
    JsonObject,
    RawNotice,
    RefusalCode,
    Waiting,
)
from mcpgw.inbound.head import Turned
from mcpgw.inbound.peer import RequestPeer
from mcpgw.inbound.questions import Questions
from mcpgw.inbound.tasks import Tasks

logger = logging.getLogger(__name__)

_NO_ROOM: Final = "Too many calls that may ask for input are under way. Try again later."
_GONE: Final = (
    "The call that this answers does not wait here: it has ended, or another process of the gateway made it. "
    "It may have had an effect; the record says how far it came. Make it again without answers."
)
_NOT_THEIRS: Final = (
    "The call that this answers was made with another credential, or with other rights than this one has now. "
    "Answer with the one that made it, or make it again without answers."
)
_MOST_KEPT: Final = 100
"""Notices that wait for a client to come back, the newest of them."""


@dataclass(slots=True, kw_only=True)
class ParkedPeer:
    """`ports.Peer` of a call whose client comes and goes: whoever asks for it now is told of it, in order."""

    now: RequestPeer
    questions: Questions
    in_rounds: bool = True
    is_waited_for: bool = True
    """Whether a request of its client is open."""
    _kept: deque[CleanNotice] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))
    """Notices for which no client was there."""
    _telling: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    """Held while a notice is on its way: its stream must not end under it, which would lose it without a word."""

    @property
    def is_cancelled(self) -> bool:
        return self.now.is_cancelled

    @property
    def waits(self) -> tuple[Waiting, ...]:
        return self.now.waits

    def once_held(self, act: Callable[[], object]) -> None:
        """A client of 2026-07-28 that leaves has cancelled, held or not: `Parking.next` sees to it."""

    async def identity(self) -> Identity:
        return await self.now.identity()

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        return await self.questions.answers(questions)

    def wants(self, notice: RawNotice) -> bool:
        return self.now.wants(notice)

    async def notify(self, notice: CleanNotice) -> None:
        self._kept.append(notice)
        if self.is_waited_for:
            await self.catch_up()

    async def catch_up(self) -> None:
        """Tell a client that came back what happened meanwhile."""
        async with self._telling:
            while self._kept and self.is_waited_for:
                await self.now.notify(self._kept.popleft())

    async def let_go(self) -> None:
        """Have its client's request end, after what is being told: what comes later is kept until it comes back."""
        async with self._telling:
            self.is_waited_for = False

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        await self.now.waiting(waiting, message, elapsed_s)


@dataclass(slots=True, kw_only=True)
class Parked:
    """One such call."""

    id: str
    peer: ParkedPeer
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    outcome: list[Answer | MCPError] = field(default_factory=list)
    is_given_up: bool = False
    """Its client left while it waited."""
    kept_until: float = math.inf
    """By the event loop's clock: when it is given up that the client of a call that has ended comes back."""


@dataclass(slots=True, kw_only=True)
class Parking:
    """All of them in this process."""

    tasks: Tasks
    most: int
    most_per_identity: int
    answer_timeout_s: float
    _parked: dict[str, Parked] = field(default_factory=dict)

    def begin(self, peer: RequestPeer, identity: Identity, walk: Callable[[ParkedPeer], Awaitable[Answer]]) -> Parked:
        """Start a call that can be asked.

        Raises:
            Turned: too many are under way, or the gateway is ending.
        """
        self._forget_old()
        his = sum(one.peer.questions.asked_of.principal == identity.principal for one in self._parked.values())
        if len(self._parked) >= self.most or his >= self.most_per_identity:
            raise Turned(429, _NO_ROOM, code=RefusalCode.DENIED)
        questions = Questions(timeout_s=self.answer_timeout_s, asked_of=identity)
        parked = Parked(id=secrets.token_urlsafe(16), peer=ParkedPeer(now=peer, questions=questions))
        self._parked[parked.id] = parked

        async def run(_: str) -> None:
            with parked.scope:
                try:
                    parked.outcome.append(await walk(parked.peer))
                except MCPError as error:
                    parked.outcome.append(error)
                except Exception:
                    # Nobody waits for this task: what goes wrong in it is told to the client, in a fixed text, and logged.
                    logger.exception("a call that can be asked failed")
            if not parked.outcome:
                parked.outcome.append(MCPError(INTERNAL_ERROR, "The call was given up. The record says how far it came."))
            if parked.is_given_up:
                self._parked.pop(parked.id, None)
            parked.kept_until = anyio.current_time() + self.answer_timeout_s
            questions.tell()

        if not self.tasks.in_background(run, parked.id):
            del self._parked[parked.id]
            raise Turned(503, "The gateway is shutting down.", code=RefusalCode.UNAVAILABLE)
        return parked

    def resume(self, parked_id: str, peer: RequestPeer, identity: Identity, responses: Mapping[str, Any]) -> Parked:
        """Return the call that these answer, which goes on with them.

        Raises:
            Turned: it does not wait here.
            MCPError: it does not wait for this identity: another credential of the same principal may have other scopes.
        """
        self._forget_old()
        parked = self._parked.get(parked_id)
        if parked is None or parked.peer.is_waited_for:
            raise Turned(404, _GONE, code=RefusalCode.UNAVAILABLE)
        if parked.peer.questions.asked_of != identity:
            raise MCPError(INVALID_PARAMS, _NOT_THEIRS)
        parked.peer.is_waited_for = True
        peer.waits = parked.peer.waits
        parked.peer.now = peer
        parked.peer.questions.give(responses)
        return parked

    async def next(self, parked: Parked) -> Answer | Parked:
        """Return what the call came to, or the call itself as soon as its client has something to answer.

        A call can end while its client is busy with an answer that its server does not wait for: it is told when it comes back.
        Cancelled, because the client is gone: so is the call, which is recorded.

        Raises:
            MCPError: what it came to is a JSON-RPC error.
        """
        try:
            await parked.peer.catch_up()
            while not parked.outcome and not parked.peer.questions.requests:
                await parked.peer.questions.changed()
            await parked.peer.let_go()
        except anyio.get_cancelled_exc_class():
            parked.is_given_up = True
            parked.scope.cancel()
            if parked.outcome:  # it ended in the same moment
                self._parked.pop(parked.id, None)
            raise
        if not parked.outcome:
            return parked
        self._parked.pop(parked.id, None)
        (outcome,) = parked.outcome
        if isinstance(outcome, MCPError):
            raise outcome
        return outcome

    def _forget_old(self) -> None:
        """Free the places of calls that have ended and whose clients did not come back."""
        now = anyio.current_time()
        for old in [one.id for one in self._parked.values() if one.kept_until <= now and not one.peer.is_waited_for]:
            del self._parked[old]
