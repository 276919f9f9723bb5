"""All upstreams together: the room's one door (`ports.Upstreams`), and what `app.py` configures."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Permit,
    RawReply,
    UnknownTarget,
)
from mcpgw.ports import Definitions, Interview, OnNotice, ServerStatus
from mcpgw.upstream.config import Limits, ServerConfig
from mcpgw.upstream.server import OnDefinitions, OnStatus, Upstream
from mcpgw.upstream.subscriptions import OnUpdated, Subscriptions


def _nobody(server: str, uri: str) -> None:
    """Whoever only looks at servers subscribes to nothing."""


class UpstreamPool:
    """Every configured server, each in a task of its own: none delays or hides another.

    Use it as an async context manager, entered and left in one task. Leaving it ends every server, within bounds.
    """

    def __init__(
        self,
        *,
        on_definitions: OnDefinitions,
        on_status: OnStatus,
        version: str,
        on_updated: OnUpdated = _nobody,
        limits: Limits | None = None,
    ) -> None:
        """`version` is the gateway's own, told to the servers. The callbacks run in the server's task and should be short."""
        self._on_definitions = on_definitions
        self._on_updated = on_updated
        self._on_status = on_status
        self._client_info = {"name": "mcpgw", "version": version}
        self._limits = limits or Limits()
        self._servers: dict[str, Upstream] = {}
        self._tasks: TaskGroup | None = None  # None outside of the context
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self.configure({})
        self._tasks = None
        return await self._stack.__aexit__(exc_type, exc, traceback)

    def configure(self, servers: Mapping[str, ServerConfig]) -> None:
        """Make these the servers: start new ones, stop those that are gone, restart those that changed; touch no other.

        Returns at once. Calls under way on a server that goes may finish, for `Limits.drain_s`.
        """
        if self._tasks is None:
            raise RuntimeError("the pool is configured only while it is entered")
        for name in [*self._servers]:
            if name not in servers:
                self._servers.pop(name).stop()
        for name, config in servers.items():
            running = self._servers.get(name)
            if running is None or running.config != config:
                self._start(self._tasks, name, config, running)

    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        """See `ports.Upstreams.send`."""
        call = permit.call
        if isinstance(call.target, UnknownTarget):
            raise UpstreamError(f"No upstream server offers {call.target.name!r}.", sent=False)
        server = self._servers.get(call.target.server)
        if server is None:
            raise UpstreamError(f"The upstream server {call.target.server!r} is not configured.", sent=False)
        return await server.send(call, call.target, on_notice, interview)

    def unsubscribe(self, server: str, uri: str) -> None:
        """Hear no more of changes of a resource, for which there was a permit. Unknown ones, and servers, are ignored."""
        if server in self._servers:
            self._servers[server].subscriptions.remove(uri)

    def status(self) -> Sequence[ServerStatus]:
        """Return what is known of every configured server, ordered by name."""
        return [self._servers[name].status for name in sorted(self._servers)]

    def definitions(self, name: str) -> Definitions:
        """Return what that server listed last, also while it is down; nothing if it never answered."""
        server = self._servers.get(name)
        return server.definitions if server is not None else {}

    def _start(self, tasks: TaskGroup, name: str, config: ServerConfig, before: Upstream | None) -> None:
        subscriptions = Subscriptions(name, self._on_updated)
        if before is not None and before.config.fingerprint == config.fingerprint:
            subscriptions = before.subscriptions
        server = Upstream(
            name,
            config,
            limits=self._limits,
            client_info=self._client_info,
            on_definitions=self._on_definitions,
            on_status=self._on_status,
            subscriptions=subscriptions,
        )
        self._servers[name] = server
        if before is None:
            tasks.start_soon(server.run)
        else:
            before.stop()
            tasks.start_soon(server.run, before.finished)
