"""Tasks that servers make of calls: followed until the call has its result, so that its caller meets a call like any other.

Two protocols have them:

- The extension `io.modelcontextprotocol/tasks` of 2026-07-28 (SEP-2663). A server makes a task of a call if it likes, where the
  request declares that its client takes one. `tasks/get` brings state, questions, result and error; `tasks/update` the answers.
- 2025-11-25, "Tasks" (experimental). The request asks for one, which tools with `execution.taskSupport` `required` insist on.
  `tasks/get` brings the state, `tasks/result` the result; while that is waited for, the server asks by requests of its own.

A task takes no more time than its call has, and one whose call ends before it is cancelled on the server.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from mcp_types import CLIENT_CAPABILITIES_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcpgw.core.answers import INPUT_REQUIRED, STATE
from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Call,
    Json,
    JsonObject,
    RawJson,
    RawNotice,
    RawReply,
    ReplyKind,
    Target,
)
from mcpgw.core.tasks import TASK, TASKS_EXTENSION
from mcpgw.ports import OnNotice
from mcpgw.upstream.clock import Clock
from mcpgw.upstream.jsonrpc import encode
from mcpgw.upstream.negotiation import as_object
from mcpgw.upstream.rounds import Send

_POLL_MS: Final = 1_000
"""Between two looks at a task whose server does not say how often to look."""
_LEAST_POLL_MS: Final = 100
_MOST_POLL_MS: Final = 5_000
"""A call ends at most this long after its task has, however seldom the server wants to be asked."""
_FAILURES: Final = 3
"""Looks that may fail in a row before the call does: looking changes nothing, and a proxy's trouble passes."""
_MAX_ID: Final = 512
"""Characters of a task's id: it travels in a header (`Mcp-Name`) as well."""
_LEAST_HIDDEN: Final = 6
"""Characters of an id that is looked for in errors; shorter ones are part of ordinary words."""
_KEPT_MS: Final = 3_600_000
"""How long a server of 2025-11-25 is asked to keep a task: longer than a call takes, with the time for its questions."""
_RELATED: Final = "io.modelcontextprotocol/related-task"
"""`_meta` key by which a message names its task (2025-11-25)."""
_WAITING: Final = "mcpgw/task:"
"""Begins the state of a result that asks for what a task wants to know; its id and the keys of what was answered follow."""

AskOfTask = Callable[[str, JsonObject], Awaitable[RawReply]]
"""Sends a request about a task, its method and parameters, within the time of the call."""


def takes_tasks(call: Call) -> bool:
    """Whether a server of 2026-07-28 is told that it may make a task of the call: its client said so, or could not say so.

    A client of 2026-07-28 which says nothing gets what it would get without a gateway: a result, or the word that it has to.
    """
    declared = as_object(call.meta.get(CLIENT_CAPABILITIES_META_KEY)).get("extensions")
    return TASKS_EXTENSION in as_object(declared) or call.origin.protocol_version not in MODERN_PROTOCOL_VERSIONS


def works_only_as_task(tool: Target, capabilities: JsonObject) -> bool:
    """Whether a server of 2025-11-25 with these capabilities makes a task of every call of this tool, and takes no other."""
    if as_object(tool.definition.get("execution")).get("taskSupport") != "required":
        return False
    requests = as_object(as_object(capabilities.get("tasks")).get("requests"))
    return "call" in as_object(requests.get("tools"))


def poll_s(wanted_ms: Json) -> float:
    """Return how long to wait before the next look, in seconds: as long as the server wants, within bounds."""
    known = isinstance(wanted_ms, int | float) and not isinstance(wanted_ms, bool)
    poll_ms: float = min(max(wanted_ms, _LEAST_POLL_MS), _MOST_POLL_MS) if known else _POLL_MS
    return poll_ms / 1000


class _Task:
    """The task that a server made of one call, if it did."""

    def __init__(self, name: str, ask: AskOfTask, clock: Clock, on_notice: OnNotice) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._on_notice = on_notice
        self._id = ""
        """Empty while there is none that could be cancelled."""
        self._told = ""
        """The last state of it, in words of the server."""
        self._steps = 0

    @asynccontextmanager
    async def cancelled_unless_over(self, cancel: Callable[[JsonObject], Awaitable[object]]) -> AsyncIterator[None]:
        """Cancel the task on its server if the call ends in here without a reply, and nobody would ask for its result.

        So it ends where the caller is gone, the time is over, a question is not answered, or the server broke its protocol.

        `cancel` sends the request, and is bounded in time.
        """
        is_over = False
        try:
            yield
            is_over = True
        except UpstreamError as error:
            if not self._id or error.sent:
                raise
            # What was not sent was about the task. The call itself was taken.
            raise UpstreamError(str(error), sent=True, hint=error.hint) from error
        finally:
            if self._id and not is_over:
                with anyio.CancelScope(shield=True), suppress(UpstreamError, TimeoutError):
                    await cancel({"taskId": self._id})

    def _named(self, task: JsonObject) -> str:
        task_id = task.get("taskId")
        if not isinstance(task_id, str) or not 0 < len(task_id) <= _MAX_ID:
            raise self._breach("made a task of the call without an id that can be asked for")
        return task_id

    async def _looked(self) -> JsonObject:
        """Ask how it stands."""
        reply = await self._get()
        if reply.kind is ReplyKind.ERROR:
            raise self._breach(f"does not say what became of the task that it made of the call ({_code(reply)})")
        if reply.payload.get("taskId") != self._id:
            raise self._breach("told of another task than it was asked about")
        await self._tell(reply.payload)
        return reply.payload

    async def _get(self) -> RawReply:
        for _ in range(_FAILURES - 1):
            try:
                return await self._ask("tasks/get", {"taskId": self._id})
            except UpstreamError:
                await self._pause(_POLL_MS)
        return await self._ask("tasks/get", {"taskId": self._id})

    async def _pause(self, wanted_ms: Json) -> None:
        with self._clock.scope():
            await anyio.sleep(poll_s(wanted_ms))
            return
        raise TimeoutError

    async def _tell(self, task: JsonObject) -> None:
        """Pass its state on as progress, where the server puts it into new words."""
        message = task.get("statusMessage")
        if isinstance(message, str) and message not in ("", self._told):
            self._told = message
            self._steps += 1
            params = RawJson({"progress": self._steps, "message": self._hidden(message)})
            await self._on_notice(RawNotice(method="notifications/progress", params=params))

    def _reply(self, result: Json) -> RawReply:
        """Return the reply that the result of a task amounts to: it may not be another task, or a question."""
        if not isinstance(result, Mapping) or result.get("resultType", "complete") != "complete" or _is_created(result):
            raise self._breach("gave a task's result that is none of a call")
        self._id = ""
        if not isinstance(meta := result.get("_meta"), Mapping) or _RELATED not in meta:
            return RawReply(kind=ReplyKind.RESULT, payload=RawJson(dict(result)))
        rest = {key: value for key, value in meta.items() if key != _RELATED}
        kept = {key: value for key, value in result.items() if key != "_meta"}
        return RawReply(kind=ReplyKind.RESULT, payload=RawJson({**kept, "_meta": rest} if rest else kept))

    def _error(self, error: JsonObject) -> RawReply:
        """Return the error that a task ended in. Servers name the task in some, which is nobody's affair but the gateway's."""
        if type(error.get("code")) is not int or not isinstance(error.get("message"), str):
            raise self._breach("let a task fail with an error that is none")
        shown = {**error, "message": self._hidden(error["message"])}
        if "data" in error and self._hidden(data := encode({"data": error["data"]}).decode()) != data:
            del shown["data"]
        self._id = ""
        return RawReply(kind=ReplyKind.ERROR, payload=RawJson(shown))

    def _hidden(self, text: str) -> str:
        return text.replace(self._id, "(task)") if len(self._id) >= _LEAST_HIDDEN else text

    def _cancelled(self) -> UpstreamError:
        self._id = ""
        return self._breach("cancelled the task that it had made of the call")

    def _breach(self, what: str) -> UpstreamError:
        return UpstreamError(f"The upstream server {self._name!r} {what}.", sent=True)


class ExtensionTask(_Task):
    """By the extension of 2026-07-28. What it asks is put as a server asks that has no tasks: see `rounds`."""

    def __init__(self, name: str, ask: AskOfTask, clock: Clock, on_notice: OnNotice, *, is_declared: bool) -> None:
        """`is_declared`: the server was told that it may make a task of the call."""
        super().__init__(name, ask, clock, on_notice)
        self._is_declared = is_declared
        self._answered: set[str] = set()
        """Keys, of which each is answered once. A server may go on to show them for a while."""

    async def carry_out(self, send: Send, more: JsonObject) -> RawReply:
        """Make the call, and follow the task that it becomes to its end or to its next question.

        `more`: as for `send`, which makes the call itself. Answers to what a task asked go to that task, and no call is made.

        Raises:
            UpstreamError: the task has no result.
            TimeoutError: none in time.
        """
        if str(state := more.get(STATE, "")).startswith(_WAITING):
            await self._update(state, more.get("inputResponses", {}))
        else:
            reply = await send(more)
            if reply.asks and str(reply.payload.get(STATE, "")).startswith(_WAITING):
                raise self._breach("gave a state to be sent back that is none of its own")
            if reply.kind is ReplyKind.ERROR or reply.payload.get("resultType") != TASK:
                return reply
            self._id = self._named(reply.payload)
            if not self._is_declared:
                raise self._breach("made a task of the call, though it was told that its caller takes none")
            await self._tell(reply.payload)
            if reply.payload.get("status") == "working":
                await self._pause(reply.payload.get("pollIntervalMs"))
        return await self._followed()

    async def _followed(self) -> RawReply:
        while True:
            task = await self._looked()
            match task.get("status"):
                case "completed":
                    return self._reply(task.get("result"))
                case "failed":
                    return self._error(as_object(task.get("error")))
                case "cancelled":
                    raise self._cancelled()
                case "input_required" if questions := self._unanswered(task.get("inputRequests")):
                    payload = {"resultType": INPUT_REQUIRED, "inputRequests": questions, STATE: self._state()}
                    return RawReply(kind=ReplyKind.RESULT, payload=RawJson(payload))
                case "working" | "input_required":
                    await self._pause(task.get("pollIntervalMs"))
                case _:
                    raise self._breach("told of a task in a form that its protocol does not know")

    def _unanswered(self, requests: Json) -> dict[str, Json]:
        if not isinstance(requests, Mapping):
            raise self._breach("asked for input in a form that its protocol does not know")
        return {key: request for key, request in requests.items() if key not in self._answered}

    def _state(self) -> str:
        return _WAITING + json.dumps([self._id, *sorted(self._answered)])

    async def _update(self, state: str, responses: Mapping[str, Json]) -> None:
        """Bring the task its answers. The state is what `_state` returned: it comes back sealed, or from this very call."""
        self._id, *answered = json.loads(state.removeprefix(_WAITING))
        self._answered = {*answered, *responses}
        if not responses:
            return
        reply = await self._ask("tasks/update", {"taskId": self._id, "inputResponses": responses})
        if reply.kind is ReplyKind.ERROR:
            raise self._breach(f"does not take the answers to what its task asked ({_code(reply)})")


class AugmentedTask(_Task):
    """By 2025-11-25, of a tool that works only so."""

    async def carry_out(self, send: Send) -> RawReply:
        """As `ExtensionTask.carry_out`. What the server asks meanwhile is not dealt with here: see `questions`."""
        reply = await send({"task": {"ttl": _KEPT_MS}})
        if reply.kind is ReplyKind.ERROR or not _is_created(reply.payload):
            return reply
        task: JsonObject = reply.payload["task"]
        self._id = self._named(task)
        await self._tell(task)
        while True:
            match task.get("status"):
                case "working":
                    pass
                case "input_required":
                    # It asks on the stream of this answer, which comes at the end. One that does not wait says so by an error.
                    reply = await self._ask("tasks/result", {"taskId": self._id})
                    if reply.kind is ReplyKind.RESULT:
                        return self._reply(reply.payload)
                case "completed" | "failed":
                    reply = await self._ask("tasks/result", {"taskId": self._id})
                    return self._error(reply.payload) if reply.kind is ReplyKind.ERROR else self._reply(reply.payload)
                case "cancelled":
                    raise self._cancelled()
                case _:
                    raise self._breach("told of a task in a form that its protocol does not know")
            await self._pause(task.get("pollInterval"))
            task = await self._looked()


def _is_created(result: JsonObject) -> bool:
    """Whether it is a `CreateTaskResult` of 2025-11-25."""
    return isinstance(result.get("task"), Mapping) and "content" not in result


def _code(reply: RawReply) -> str:
    """Its words are about a task, which means nothing to the caller."""
    return f"JSON-RPC error {reply.payload.get('code')}"
