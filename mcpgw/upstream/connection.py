"""Connections to one server: how the shared one and the personal ones are opened and ended, each within one task."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import JsonObject
from mcpgw.upstream.config import HttpServer, Limits, ServerConfig, SseServer, StdioServer, confidential
from mcpgw.upstream.conversation import Conversation, OnRenewed
from mcpgw.upstream.http import open_http
from mcpgw.upstream.questions import Questions
from mcpgw.upstream.sse import open_sse
from mcpgw.upstream.stderr import Stderr
from mcpgw.upstream.stdio import open_stdio
from mcpgw.upstream.wire import OnAnnounced, Wire

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One that is open."""

    conversation: Conversation
    """Not begun yet."""
    wire: Wire
    questions: Questions
    tasks: TaskGroup
    """What is started here ends with the connection."""
    stderr: Stderr


@dataclass(frozen=True, slots=True)
class Ended:
    reason: str
    """In words for the caller."""
    stderr: str
    """What a child wrote while it was starting, for the admin."""


Serve = Callable[[Connection], Awaitable[str]]
"""Begins the conversation and works on the connection until it is done with it; returns why it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """How one server is reached."""

    name: str
    config: ServerConfig
    limits: Limits
    client_info: JsonObject
    on_announced: OnAnnounced
    on_renewed: OnRenewed

    async def use(self, serve: Serve, declares: JsonObject) -> Ended:
        """Connect, serve, and disconnect. `declares`: the `ClientCapabilities` of the session with a legacy server."""
        stderr = Stderr(self.name, confidential(self.config))
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    reason = await self._served(serve, declares, tasks, stderr)
                except GatewayError as error:
                    reason = str(error)
                tasks.cancel_scope.cancel()
        except Exception as error:
            # The one broad except of this room: a fault in one upstream's handling ends its connection, not the others'.
            logger.exception("upstream %s: internal error", self.name)
            reason = f"The gateway failed while handling the upstream server {self.name!r} ({_innermost(error)})."
        return Ended(reason, stderr.tail())

    async def _served(self, serve: Serve, declares: JsonObject, tasks: TaskGroup, stderr: Stderr) -> str:
        questions = Questions(self.name)
        async with self._open(questions, tasks, stderr) as wire:
            conversation = Conversation(
                self.name, wire, self.limits, self.client_info, self.on_renewed, declares=declares, questions=questions
            )
            return await serve(
                Connection(conversation=conversation, wire=wire, tasks=tasks, stderr=stderr, questions=questions)
            )

    def _open(self, questions: Questions, tasks: TaskGroup, stderr: Stderr) -> AbstractAsyncContextManager[Wire]:
        match self.config:
            case StdioServer():
                return open_stdio(self.name, self.config, self.limits, self.on_announced, questions, stderr)
            case HttpServer():
                return open_http(self.name, self.config, self.limits, self.on_announced, questions, tasks)
            case SseServer():
                return open_sse(self.name, self.config, self.limits, self.on_announced, questions, tasks)


def _innermost(error: BaseException) -> str:
    """Return the type of the fault itself: a task group wraps it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
