"""Correlation on a connection that carries everything in one stream: stdio, and HTTP+SSE of 2024-11-05."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable

import anyio

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Json,
    RawJson,
    RawNotice,
    RawReply,
)
from mcpgw.ports import OnNotice
from mcpgw.upstream.jsonrpc import Malformed, Notification, Response, ServerRequest, Stray, decode, guess_id
from mcpgw.upstream.questions import CANCELLED, COMPLETE, Questions
from mcpgw.upstream.wire import ANNOUNCEMENTS, Ask, OnAnnounced, WireLost, progress

logger = logging.getLogger(__name__)

_NOTICE_BACKLOG = 1_000
_NOTICE_BYTES = 1_000_000
"""Notices of one call that may wait for a slow client; later ones are dropped, because progress is not worth memory. A
longer one passes alone."""
_COMPLAINTS = 100
"""Lines in the log about what one connection sends: it must not fill the disk."""

_ABANDONED = 1_000


class Exchange:
    """One request under way: notices in order, then exactly one outcome; the first counts."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.sent = False
        """False while it is certain that no byte of it left."""
        self._notices: deque[tuple[RawNotice, int]] = deque()
        self._waiting_bytes = 0
        self._outcome: RawReply | UpstreamError | None = None  # None while there is none
        self._news = asyncio.Event()

    @property
    def settled(self) -> bool:
        return self._outcome is not None

    def notice(self, notice: RawNotice, size: int) -> None:
        """Keep it for the caller, if there is room. `size` is what it took on the wire, in bytes."""
        if len(self._notices) < _NOTICE_BACKLOG and self._waiting_bytes < _NOTICE_BYTES:
            self._notices.append((notice, size))
            self._waiting_bytes += size
            self._news.set()

    def settle(self, outcome: RawReply | UpstreamError) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._news.set()

    async def wait(self, on_notice: OnNotice | None) -> RawReply:
        while True:
            while self._notices:
                notice, size = self._notices.popleft()
                self._waiting_bytes -= size
                if on_notice is not None:
                    await on_notice(notice)
            if self._outcome is not None:
                return self.result()
            self._news.clear()
            await self._news.wait()

    def result(self) -> RawReply:
        """Return the reply of a settled exchange, or raise the error that it ended in."""
        if isinstance(self._outcome, RawReply):
            return self._outcome
        if self._outcome is None:
            raise RuntimeError("asked for the result of an exchange that has none")
        raise self._outcome


class Correlator:
    """Who asked what on one connection, and where each incoming message belongs."""

    def __init__(
        self, name: str, *, post: Callable[[dict[str, Json]], None], on_announced: OnAnnounced, questions: Questions
    ) -> None:
        self._name = name
        self._post = post
        """Sends a message that nobody waits for; must not block."""
        self._on_announced = on_announced
        self._questions = questions
        self._open: dict[int, Exchange] = {}
        self._abandoned: deque[int] = deque(maxlen=_ABANDONED)
        """Ids that may still be answered, though nobody waits any more."""
        self._owners: set[Hashable] = set()
        """Of the calls that this connection carried; two stand for any number."""
        self._complaints = 0
        self._lost_because = ""
        self._lost = anyio.Event()

    def open(self, ask: Ask) -> Exchange:
        """Raises `WireLost` if the connection has ended."""
        if self._lost_because:
            raise WireLost(f"The upstream server {self._name!r} {self._lost_because}.", sent=False)
        exchange = self._open[ask.id] = Exchange(ask)
        if ask.on_notice is not None and len(self._owners) < 2:
            self._owners.add(ask.owner)
        return exchange

    def close(self, exchange: Exchange) -> None:
        """Forget an exchange; if it has no outcome yet, its caller has gone, and the upstream is told."""
        self._open.pop(exchange.ask.id, None)
        if exchange.settled or not exchange.sent:
            return
        self._abandoned.append(exchange.ask.id)
        if exchange.ask.cancellable and not self._lost_because:
            params = {"requestId": exchange.ask.id, "reason": "The caller is gone or its time is over."}
            self._post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def receive(self, data: bytes) -> None:
        """Take one message off the wire. Never raises: what cannot be understood ends its own call, or is dropped."""
        try:
            message = decode(data)
        except Malformed as problem:
            self._malformed(data, problem)
            return
        match message:
            case Response():
                self._respond(message)
            case Notification():
                self._notify(message, len(data))
            case ServerRequest():
                self._questions.asked(message, self._answer)
            case Stray():
                self._complain("a response to nothing that was asked")

    def lose(self, because: str) -> None:
        """The connection has ended: every open exchange fails, and so will those to come."""
        if self._lost_because:
            return
        self._lost_because = because
        for exchange in self._open.values():
            exchange.settle(WireLost(f"The upstream server {self._name!r} {because}.", sent=exchange.sent))
        self._lost.set()

    async def lost(self) -> str:
        await self._lost.wait()
        return self._lost_because

    def _respond(self, message: Response) -> None:
        exchange = self._open.pop(message.id, None)
        if exchange is not None:
            exchange.settle(message.reply)
        elif message.id in self._abandoned:
            self._abandoned.remove(message.id)
        else:
            self._complain("a second or unasked response")

    def _notify(self, message: Notification, size: int) -> None:
        if message.method == "notifications/progress":
            token = message.params.get("progressToken")
            exchange = self._open.get(token) if type(token) is int else None
            if exchange is not None:
                exchange.notice(progress(message), size)
        elif message.method == "notifications/message":
            self._log_message(message, size)
        elif message.method in ANNOUNCEMENTS:
            self._on_announced(message)
        elif message.method in (CANCELLED, COMPLETE):
            self._questions.told(message)

    def _log_message(self, message: Notification, size: int) -> None:
        """A log message names no call, may hold one caller's data, and may come long after that call: it is delivered to the
        one call that is open, if all that the connection carried so far were of the same caller and masked in the same way."""
        owners = [exchange for exchange in self._open.values() if exchange.ask.on_notice is not None]
        if len(owners) == 1 and len(self._owners) == 1 and not self._abandoned:
            owners[0].notice(RawNotice(method=message.method, params=RawJson(message.params)), size)

    def _answer(self, message: dict[str, Json]) -> None:
        if not self._lost_because:
            self._post(message)

    def _malformed(self, data: bytes, problem: Malformed) -> None:
        guessed = guess_id(data)
        exchange = self._open.pop(guessed, None) if guessed is not None else None
        if exchange is None:
            self._complain(f"{len(data)} bytes: {problem}")
            return
        exchange.settle(UpstreamError(f"The upstream server {self._name!r} answered with something {_an(problem)}.", sent=True))

    def _complain(self, dropped: str) -> None:
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            logger.warning("upstream %s: dropped %s", self._name, dropped)
            if self._complaints == _COMPLAINTS:
                logger.warning("upstream %s: what else it sends in vain is not told", self._name)


def _an(problem: Malformed) -> str:
    return f"malformed ({problem})"
