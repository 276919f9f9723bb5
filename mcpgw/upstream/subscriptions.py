"""The resources of one server that somebody wants to hear of, each subscribed to once, on whatever connection there is.

Before 2026-07-28 a server is told of each by `resources/subscribe` and `unsubscribe`. Since then one `subscriptions/listen`
names all of them: when they change, another is opened, and the one before is closed once that is acknowledged, so that nothing
is missed.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    JsonObject,
    RawJson,
    RawReply,
    ReplyKind,
)
from mcpgw.upstream.conversation import Conversation
from mcpgw.upstream.negotiation import Peer, as_object

logger = logging.getLogger(__name__)

_ANSWER_S: Final = 10.0
"""To take a subscription or its end, or to acknowledge a stream."""
_PAUSE_S: Final = 1.0
"""Before a stream that ended is opened again."""
_LONG_PAUSE_S: Final = 60.0
"""The same where it ended as soon as it was opened."""

OnUpdated = Callable[[str, str], None]
"""Called with a server's name and the URI of a resource of its that changed; must not block."""
_DONE: Final = RawReply(kind=ReplyKind.RESULT, payload=RawJson({}))


class Subscriptions:
    """It outlives connections. One may miss changes while it is away, so what was wanted before counts as changed then."""

    def __init__(self, name: str, on_updated: OnUpdated) -> None:
        self._name = name
        self._on_updated = on_updated
        self._wanted: dict[str, None] = {}
        """In the order in which they were asked for."""
        self._answers: dict[str, RawReply | UpstreamError] = {}
        """What this connection's server said of each that is wanted, as far as it was asked."""
        self._missed: set[str] = set()
        """Of those that are wanted: whose changes were not told for a while."""
        self._due = anyio.Event()
        """There is something to tell the server."""
        self._news = anyio.Event()
        """There are further answers."""
        self._opening: _Stream | None = None  # None while no stream waits for its acknowledgement

    async def add(self, uri: str, peer: Peer, timeout_s: float) -> RawReply:
        """Hear of the resource from now on, and return the server's answer. What is heard of already is not asked for again.

        Whatever comes of it, it is wanted until it is removed.

        Raises:
            UpstreamError: the server offers no subscriptions, or did not take this one.
            TimeoutError: it did not answer.
        """
        if not as_object(peer.capabilities.get("resources")).get("subscribe"):
            raise UpstreamError(f"The upstream server {self._name!r} does not tell of changes of its resources.", sent=False)
        self._wanted[uri] = None
        if not _is_done(self._answers.get(uri)):
            self._answers.pop(uri, None)
            self._due.set()
        with anyio.fail_after(timeout_s):
            while uri not in self._answers:
                await self._news.wait()
        answer = self._answers[uri]
        if isinstance(answer, UpstreamError):
            raise answer
        return answer

    def remove(self, uri: str) -> None:
        """Hear of the resource no more."""
        self._wanted.pop(uri, None)
        self._answers.pop(uri, None)
        self._missed.discard(uri)
        self._due.set()

    def updated(self, params: JsonObject) -> None:
        """Take a `notifications/resources/updated`. Whose subscription it belongs to, if to any, is for others to know."""
        uri = params.get("uri")
        if isinstance(uri, str) and self._wanted:
            self._on_updated(self._name, uri)

    def acknowledged(self, params: JsonObject) -> bool:
        """Take the acknowledgement of a stream; False where it is not about single resources."""
        honoured = as_object(params.get("notifications")).get("resourceSubscriptions")
        if not isinstance(honoured, list) or not honoured:
            return False
        if self._opening is not None:
            self._opening.honoured = frozenset(uri for uri in honoured if isinstance(uri, str))
            self._opening.settled.set()
        return True

    async def keep(self, conversation: Conversation) -> None:
        """Keep the server of this connection at what is wanted, until cancelled. Nothing else speaks to it about this."""
        self.again()
        try:
            if conversation.peer.modern:
                async with anyio.create_task_group() as tasks:
                    await self._keep_streams(conversation, tasks)
            else:
                await self._keep_each(conversation)
        finally:
            because = UpstreamError(f"The upstream server {self._name!r} was disconnected.", sent=True)
            for uri in self._wanted.keys() - self._answers.keys():
                self._answer(uri, because)

    def again(self) -> None:
        """The server is another one, or began a new session: it knows of nothing."""
        self._missed |= self._answers.keys()
        self._answers.clear()
        self._due.set()

    async def _until_due(self) -> None:
        await self._due.wait()
        self._due = anyio.Event()

    async def _keep_each(self, conversation: Conversation) -> None:
        subscribed: set[str] = set()
        while True:
            await self._until_due()
            for uri in [uri for uri in self._wanted if uri not in self._answers]:
                answer = await self._tell(conversation, "resources/subscribe", uri)
                subscribed.add(uri)
                self._answer(uri, answer)
            for uri in subscribed - self._wanted.keys():
                subscribed.discard(uri)
                await self._tell(conversation, "resources/unsubscribe", uri)

    async def _tell(self, conversation: Conversation, method: str, uri: str) -> RawReply | UpstreamError:
        try:
            reply = await conversation.ask(method, {"uri": uri}, timeout_s=_ANSWER_S)
        except TimeoutError:
            return UpstreamError(f"The upstream server {self._name!r} did not answer {method} in time.", sent=True)
        except UpstreamError as error:
            return error
        return reply if reply.kind is ReplyKind.ERROR else _DONE

    async def _keep_streams(self, conversation: Conversation, tasks: TaskGroup) -> None:
        stream = _Stream(frozenset())
        while True:
            await self._until_due()
            uris = frozenset(self._wanted)
            if uris != stream.uris or stream.over:
                stream = await self._replaced(stream, _Stream(uris), conversation, tasks)
            for uri in (uris & self._wanted.keys()) - self._answers.keys():
                self._answer(uri, _DONE if uri in stream.honoured else self._refusal())

    async def _replaced(self, before: "_Stream", stream: "_Stream", conversation: Conversation, tasks: TaskGroup) -> "_Stream":
        """Return the stream that is open now: the one before, if the server did not take the new one."""
        if stream.uris:
            self._opening = stream
            tasks.start_soon(self._listen, conversation, stream)
            with anyio.move_on_after(_ANSWER_S):
                await stream.settled.wait()
            self._opening = None
        if stream.uris and not stream.honoured and not before.over:
            stream.scope.cancel()
            return before
        before.scope.cancel()
        return stream

    async def _listen(self, conversation: Conversation, stream: "_Stream") -> None:
        """Hold one stream open; once it ended by itself, another is due."""
        wanted = {"notifications": {"resourceSubscriptions": sorted(stream.uris)}}
        began = anyio.current_time()
        with stream.scope:
            try:
                await conversation.ask("subscriptions/listen", wanted, timeout_s=math.inf)
            except UpstreamError as error:
                logger.info("upstream %s: the stream of its resources' changes broke off: %s", self._name, error)
            stream.over = True
            stream.settled.set()
            await anyio.sleep(_PAUSE_S if anyio.current_time() - began > _PAUSE_S else _LONG_PAUSE_S)
            for uri in stream.honoured & self._wanted.keys():
                self._answers.pop(uri, None)
                self._missed.add(uri)
            self._due.set()

    def _refusal(self) -> UpstreamError:
        return UpstreamError(f"The upstream server {self._name!r} does not tell of changes of this resource.", sent=True)

    def _answer(self, uri: str, answer: RawReply | UpstreamError) -> None:
        if uri not in self._wanted:
            return
        self._answers[uri] = answer
        if uri in self._missed:
            self._missed.discard(uri)
            self._on_updated(self._name, uri)
        self._news.set()
        self._news = anyio.Event()


def _is_done(answer: RawReply | UpstreamError | None) -> bool:
    return isinstance(answer, RawReply) and answer.kind is ReplyKind.RESULT


@dataclass(slots=True, eq=False)
class _Stream:
    """One `subscriptions/listen` about these resources."""

    uris: frozenset[str]
    honoured: frozenset[str] = frozenset()
    """What the server agreed to tell of."""
    settled: anyio.Event = field(default_factory=anyio.Event)
    """It was acknowledged, or ended before that."""
    over: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
