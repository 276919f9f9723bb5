"""Correlation on a connection that carries everything in one stream: stdio, and HTTP+SSE of 2024-11-05."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import anyio

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Json, RawJson, RawNotice, RawReply
from mcpgw.ports import OnNotice
from mcpgw.upstream.jsonrpc import Malformed, Notification, Response, ServerRequest, Stray, decode, guess_id
from mcpgw.upstream.wire import LIST_CHANGED, Ask, OnListChanged, WireLost, answer, progress

logger = logging.getLogger(__name__)

_NOTICE_BACKLOG = 1_000
"""Notices of one call that may wait for a slow client; later ones are dropped, because progress is not worth memory."""

_ABANDONED = 1_000


class Exchange:
    """One request under way: notices in order, then exactly one outcome; the first counts."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.sent = False
        """False while it is certain that no byte of it left."""
        self._notices: deque[RawNotice] = deque()
        self._outcome: RawReply | UpstreamError | None = None  # None while there is none
        self._news = asyncio.Event()

    @property
    def settled(self) -> bool:
        return self._outcome is not None

    def notice(self, notice: RawNotice) -> None:
        if len(self._notices) < _NOTICE_BACKLOG:
            self._notices.append(notice)
            self._news.set()

    def settle(self, outcome: RawReply | UpstreamError) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._news.set()

    async def wait(self, on_notice: OnNotice | None) -> RawReply:
        while True:
            while self._notices:
                notice = self._notices.popleft()
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

    def __init__(self, name: str, *, post: Callable[[dict[str, Json]], None], on_list_changed: OnListChanged) -> None:
        self._name = name
        self._post = post
        """Sends a message that nobody waits for; must not block."""
        self._on_list_changed = on_list_changed
        self._open: dict[int, Exchange] = {}
        self._abandoned: deque[int] = deque(maxlen=_ABANDONED)
        """Ids that may still be answered, though nobody waits any more."""
        self._lost_because = ""
        self._lost = anyio.Event()

    def open(self, ask: Ask) -> Exchange:
        """Raises `WireLost` if the connection has ended."""
        if self._lost_because:
            raise WireLost(f"The upstream server {self._name!r} {self._lost_because}.", sent=False)
        exchange = self._open[ask.id] = Exchange(ask)
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
                self._notify(message)
            case ServerRequest():
                self._post(answer(message))
            case Stray():
                logger.warning("upstream %s: dropped a response to nothing that was asked", self._name)

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
            logger.warning("upstream %s: dropped a second or unasked response", self._name)

    def _notify(self, message: Notification) -> None:
        if message.method == "notifications/progress":
            token = message.params.get("progressToken")
            exchange = self._open.get(token) if type(token) is int else None
            if exchange is not None:
                exchange.notice(progress(message))
        elif message.method == "notifications/message":
            self._log_message(message)
        elif message.method in LIST_CHANGED:
            self._on_list_changed()

    def _log_message(self, message: Notification) -> None:
        """A log message names no call, and may hold one caller's data: it is delivered only where it can have one owner."""
        owners = [exchange for exchange in self._open.values() if exchange.ask.on_notice is not None]
        if len(owners) == 1 and not self._abandoned:
            owners[0].notice(RawNotice(method=message.method, params=RawJson(message.params)))

    def _malformed(self, data: bytes, problem: Malformed) -> None:
        guessed = guess_id(data)
        exchange = self._open.pop(guessed, None) if guessed is not None else None
        if exchange is None:
            logger.warning("upstream %s: dropped %d bytes: %s", self._name, len(data), problem)
            return
        exchange.settle(UpstreamError(f"The upstream server {self._name!r} answered with something {_an(problem)}.", sent=True))


def _an(problem: Malformed) -> str:
    return f"malformed ({problem})"
