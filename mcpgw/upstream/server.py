"""One upstream server: its owner task connects, discovers, serves, and connects again; callers meet it through `send`."""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import GatewayError, UpstreamError
from mcpgw.core.model import Call, JsonObject, RawReply, Target
from mcpgw.ports import Definitions, OnNotice, ServerState, ServerStatus
from mcpgw.upstream.config import HttpServer, Limits, ServerConfig, SseServer, StdioServer, confidential
from mcpgw.upstream.conversation import Conversation
from mcpgw.upstream.discovery import discover
from mcpgw.upstream.http import open_http
from mcpgw.upstream.jsonrpc import encode
from mcpgw.upstream.sse import open_sse
from mcpgw.upstream.stderr import Stderr
from mcpgw.upstream.stdio import open_stdio
from mcpgw.upstream.wire import Wire, WireLost

logger = logging.getLogger(__name__)

OnDefinitions = Callable[[str, Definitions], Awaitable[None]]
OnStatus = Callable[[ServerStatus], Awaitable[None]]

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
    ) -> None:
        self.name = name
        self.config = config
        self.definitions: Definitions = {}
        self.status = ServerStatus(name=name, state=ServerState.STARTING)
        self.finished = anyio.Event()
        self._limits = limits
        self._client_info = client_info
        self._on_definitions = on_definitions
        self._on_status = on_status
        self._stopping = anyio.Event()
        self._lists_changed = anyio.Event()
        self._conversation: Conversation | None = None  # None while calls cannot be made
        self._why_not = f"The upstream server {name!r} is starting."
        self._tried = anyio.Event()
        """The first attempt to connect has ended, well or badly."""
        self._probe = True
        self._calls = 0
        self._idle = anyio.Event()

    async def send(self, call: Call, target: Target, on_notice: OnNotice) -> RawReply:
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
            return await conversation.call(call, target, on_notice)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

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
        stderr = Stderr(self.name, confidential(self.config))
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    reason = await self._converse(tasks, stderr)
                except GatewayError as error:
                    reason = str(error)
                tasks.cancel_scope.cancel()
        except Exception as error:
            # The one broad except of this room: a fault in one upstream's handling ends its connection, not the others'.
            logger.exception("upstream %s: internal error", self.name)
            reason = f"The gateway failed while handling the upstream server {self.name!r} ({_innermost(error)})."
        self._why_not = f"{reason} It is down, and tried again from time to time."
        return "\n".join(part for part in (reason, stderr.tail()) if part)

    async def _converse(self, tasks: TaskGroup, stderr: Stderr) -> str:
        async with self._open(tasks, stderr) as wire:
            conversation = Conversation(self.name, wire, self._limits, self._client_info, self._changed)
            await self._begin(conversation)
            tasks.start_soon(conversation.listen)
            ttl_s = await self._read_lists(conversation)
            stderr.ready()
            self._conversation = conversation
            self._tried.set()
            await self._report(ServerState.READY, peer=conversation)
            tasks.start_soon(self._follow_lists, conversation, wire, ttl_s)
            try:
                return f"The upstream server {self.name!r} {await wire.lost()}."
            finally:
                self._refuse("was disconnected")

    def _open(self, tasks: TaskGroup, stderr: Stderr) -> AbstractAsyncContextManager[Wire]:
        match self.config:
            case StdioServer():
                return open_stdio(self.name, self.config, self._limits, self._changed, stderr)
            case HttpServer():
                return open_http(self.name, self.config, self._limits, self._changed, tasks)
            case SseServer():
                return open_sse(self.name, self.config, self._limits, self._changed, tasks)

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
        found = await discover(self.name, conversation, self._limits)
        if _differ(found.definitions, self.definitions):
            await self._on_definitions(self.name, found.definitions)
            self.definitions = found.definitions
        return found.ttl_s

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

    def _changed(self) -> None:
        self._lists_changed.set()

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


def _innermost(error: BaseException) -> str:
    """Return the type of the fault itself: a task group wraps it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _differ(one: Definitions, other: Definitions) -> bool:
    """Compare as JSON: Python takes `true` for `1`."""
    return encode({"lists": one}) != encode({"lists": other})
