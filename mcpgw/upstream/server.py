"""One upstream server: its owner task connects, discovers, serves, and connects again; callers meet it through `send`."""

import logging
import random
import time
from collections.abc import Awaitable, Callable

import anyio
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcpgw.core.answers import capabilities
from mcpgw.core.errors import GatewayError, UpstreamError
from mcpgw.core.model import (
    Call,
    Identity,
    IdentityKind,
    JsonObject,
    RawReply,
    Target,
)
from mcpgw.ports import Definitions, Interview, OnNotice, ServerState, ServerStatus
from mcpgw.upstream.config import Limits, ServerConfig, SseServer
from mcpgw.upstream.connection import Connection, Connector
from mcpgw.upstream.conversation import ASKING, Conversation
from mcpgw.upstream.discovery import Found, discover
from mcpgw.upstream.jsonrpc import Notification, encode
from mcpgw.upstream.personal import NotOpened, PersonalSessions
from mcpgw.upstream.subscriptions import Subscriptions
from mcpgw.upstream.wire import ACKNOWLEDGED, RESOURCE_UPDATED, Wire, WireLost

logger = logging.getLogger(__name__)

OnDefinitions = Callable[[str, Definitions], Awaitable[None]]
OnStatus = Callable[[ServerStatus], Awaitable[None]]

_NOBODY = Identity(subject="mcpgw", issuer="mcpgw", kind=IdentityKind.SERVICE, method="own")
"""Who reads lists: nobody who could be asked anything."""
_CALM_S = 0.5
"""Between two readings of the lists, however often the server says that they changed."""
_UNREADABLE = 3
"""Attempts to read the lists again that failed in a row, after which an idle server counts as down."""


class Upstream:
    """The life of one server. All of `run` happens in one task, so that whatever it enters is left where it was entered."""

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        *,
        limits: Limits,
        client_info: JsonObject,
        on_definitions: OnDefinitions,
        on_status: OnStatus,
        subscriptions: Subscriptions,
    ) -> None:
        self.name = name
        self.config = config
        self.subscriptions = subscriptions
        self.definitions: Definitions = {}
        self.status = ServerStatus(name=name, state=ServerState.STARTING)
        self.finished = anyio.Event()
        self._limits = limits
        self._connector = Connector(
            name=name,
            config=config,
            limits=limits,
            client_info=client_info,
            on_announced=self._announced,
            on_renewed=self._renewed,
        )
        self._personal = PersonalSessions(self._connector)
        self._on_definitions = on_definitions
        self._on_status = on_status
        self._stopping = anyio.Event()
        self._lists_changed = anyio.Event()
        self._conversation: Conversation | None = None  # None while calls cannot be made
        self._why_not = f"The upstream server {name!r} is starting."
        self._tried = anyio.Event()
        """The first attempt to connect has ended, well or badly."""
        self._probe = True
        self._is_modern_alone = False
        """A modern server had no session of an earlier revision, as far as is known since it was connected last."""
        self._calls = 0
        self._idle = anyio.Event()

    async def send(self, call: Call, target: Target, on_notice: OnNotice, interview: Interview) -> RawReply:
        """Ask once; a server that has just been started is waited for, for `Limits.starting_s`.

        Raises:
            UpstreamError: no reply; at once while the server is down.
            TimeoutError: none within `target.timeout_s`.
        """
        if not self._tried.is_set():
            with anyio.move_on_after(min(self._limits.starting_s, target.timeout_s)):
                await self._tried.wait()
        conversation = self._conversation
        if conversation is None:
            raise UpstreamError(self._why_not, sent=False)
        if target.server_fingerprint != self.config.fingerprint:
            message = f"The upstream server {self.name!r} is not the one that this call was allowed for: it was reconfigured."
            raise UpstreamError(message, sent=False, hint="Make the call again.")
        self._calls += 1
        try:
            if call.subscribes:
                return await self.subscriptions.add(call.arguments["uri"], conversation.peer, target.timeout_s)
            if interview.declares and target.kind in ASKING and self._asks_in_a_session(conversation, call):
                return await self._call_in_a_session(conversation, call, target, on_notice, interview)
            return await conversation.call(call, target, on_notice, interview)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def _asks_in_a_session(self, conversation: Conversation, call: Call) -> bool:
        """Whether a caller who can be asked gets a session: with a legacy server, and with one of both eras where the caller's
        own client is a legacy one. Such a server may have tools that ask in the way of one era alone, and is met as it would
        be without a gateway."""
        if not conversation.peer.modern:
            return True
        return call.origin.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS and not self._is_modern_alone

    async def _call_in_a_session(
        self, conversation: Conversation, call: Call, target: Target, on_notice: OnNotice, interview: Interview
    ) -> RawReply:
        try:
            async with self._personal.lent(call.identity, interview.declares, target.timeout_s) as personal:
                return await personal.call(call, target, on_notice, interview)
        except UpstreamError as error:
            if error.sent or not conversation.peer.modern:
                raise
            logger.info("upstream %s: no session of an earlier revision, so it asks in rounds: %s", self.name, error)
            self._is_modern_alone = isinstance(error, NotOpened)
        return await conversation.call(call, target, on_notice, interview)

    def stop(self) -> None:
        """Take no more calls, let those under way finish for a while, then disconnect; `finished` is set at the end."""
        self._stopping.set()

    async def run(self, after: anyio.Event | None = None) -> None:
        """Own the connection until `stop`. `after`: the end of another server's life under the same name."""
        try:
            if after is not None:
                await after.wait()
            if not self._stopping.is_set():
                await self._live()
            await self._report(ServerState.STOPPED)
        finally:
            self._refuse("was stopped")
            self._tried.set()
            self.finished.set()

    async def _live(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._personal.run)
            tasks.start_soon(self._keep_connected)
            await self._stopping.wait()
            self._refuse("was stopped")
            with anyio.move_on_after(self._limits.drain_s):
                await self._drained()
            tasks.cancel_scope.cancel()

    def _refuse(self, because: str) -> None:
        """From now on calls fail at once."""
        self._conversation, self._why_not = None, f"The upstream server {self.name!r} {because}."

    async def _drained(self) -> None:
        while self._calls:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def _keep_connected(self) -> None:
        await self._on_status(self.status)
        failures = 0
        while True:
            began = time.monotonic()
            problem = await self._connect_once()
            failures = 1 if time.monotonic() - began > self._limits.stable_s else failures + 1
            self._tried.set()
            await self._report(ServerState.DOWN, problem)
            await anyio.sleep(self._backoff(failures))

    def _backoff(self, failures: int) -> float:
        """Exponential with jitter, so that many gateways do not knock at a recovering server together."""
        ceiling = min(self._limits.backoff_first_s * 2.0 ** min(failures - 1, 16), self._limits.backoff_ceiling_s)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret

    async def _connect_once(self) -> str:
        """Connect and serve until the connection ends; return why it did, for the admin."""
        ended = await self._connector.use(self._serve, {})
        self._why_not = f"{ended.reason} It is down, and tried again from time to time."
        return "\n".join(part for part in (ended.reason, ended.stderr) if part)

    async def _serve(self, connection: Connection) -> str:
        conversation, wire = connection.conversation, connection.wire
        await self._begin(conversation)
        connection.tasks.start_soon(conversation.listen)
        connection.tasks.start_soon(self.subscriptions.keep, conversation)
        ttl_s = await self._read_lists(conversation)
        connection.stderr.ready()
        self._conversation, self._is_modern_alone = conversation, False
        self._tried.set()
        await self._report(ServerState.READY, peer=conversation)
        connection.tasks.start_soon(self._follow_lists, conversation, wire, ttl_s)
        try:
            return f"The upstream server {self.name!r} {await wire.lost()}."
        finally:
            self._refuse("was disconnected")

    async def _begin(self, conversation: Conversation) -> None:
        """Negotiate. A server that died of the modern question is asked the legacy way the next time, and so on in turn."""
        probe = self._probe and not isinstance(self.config, SseServer)  # the SSE transport is older than the question
        self._probe = True
        try:
            await conversation.begin(probe=probe)
        except WireLost as error:
            self._probe = not (probe and error.sent)
            raise

    async def _read_lists(self, conversation: Conversation) -> float:
        self._lists_changed = anyio.Event()
        found = await self._found(conversation)
        if _differ(found.definitions, self.definitions):
            await self._on_definitions(self.name, found.definitions)
            self.definitions = found.definitions
        return found.ttl_s

    async def _found(self, conversation: Conversation) -> Found:
        """Read the lists. A legacy server that may ask callers shows them in a session that can be asked: some list what asks
        there alone."""
        if not conversation.peer.modern and self.config.questions:
            declares = capabilities(self.config.questions)
            try:
                async with self._personal.lent(_NOBODY, declares, self._limits.handshake_s) as session:
                    return await discover(self.name, session, self._limits)
            except UpstreamError as error:
                logger.info("upstream %s: what it lists for those who can be asked is not known: %s", self.name, error)
        return await discover(self.name, conversation, self._limits)

    async def _follow_lists(self, conversation: Conversation, wire: Wire, ttl_s: float) -> None:
        """Read the lists again when they changed, and from time to time, which also finds out that a server is gone."""
        failures = 0
        while failures < _UNREADABLE or self._calls:  # a busy server may be slow to list, and must not be ended for it
            keep_s = min(max(ttl_s or self._limits.refresh_s, self._limits.refresh_least_s), self._limits.refresh_s)
            with anyio.move_on_after(0 if failures else keep_s):
                await self._lists_changed.wait()
            try:
                ttl_s = await self._read_lists(conversation)
                failures = 0
                await anyio.sleep(_CALM_S)
            except GatewayError as error:
                failures += 1
                logger.warning("upstream %s: its lists could not be read again: %s", self.name, error)
                await anyio.sleep(self._backoff(failures))
        wire.lose("does not answer any more")

    def _announced(self, notification: Notification) -> None:
        """Take what the server tells of itself. A stream of changes begins with reading the lists: those before are lost."""
        match notification.method:
            case method if method == RESOURCE_UPDATED:
                self.subscriptions.updated(notification.params)
            case method if method == ACKNOWLEDGED and self.subscriptions.acknowledged(notification.params):
                pass
            case _:
                self._lists_changed.set()

    def _renewed(self) -> None:
        self._lists_changed.set()
        self.subscriptions.again()

    async def _report(self, state: ServerState, problem: str = "", peer: Conversation | None = None) -> None:
        status = ServerStatus(
            name=self.name,
            state=state,
            problem=problem,
            protocol_version=peer.peer.version if peer is not None else "",
            server_info=peer.peer.info if peer is not None else None,
        )
        if status == self.status:
            return
        self.status = status
        if problem:
            logger.warning("upstream %s is down: %s", self.name, problem)
        await self._on_status(status)


def _differ(one: Definitions, other: Definitions) -> bool:
    """Compare as JSON: Python takes `true` for `1`."""
    return encode({"lists": one}) != encode({"lists": other})
