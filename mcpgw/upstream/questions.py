"""What a server of 2025-11-25 or earlier asks its client in the middle of a call, by requests of its own.

Such a request names no call. On a session that carries one call at a time it has one owner all the same.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from mcpgw.core.errors import QuestionRefused, UpstreamError
from mcpgw.core.model import (
    Json,
    JsonObject,
    RawJson,
    RawNotice,
)
from mcpgw.ports import Interview, OnNotice
from mcpgw.upstream.clock import Clock
from mcpgw.upstream.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Notification, ServerRequest

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
Post = Callable[[dict[str, Json]], None]
"""Sends a message that nobody waits for; must not block."""

CANCELLED: Final = "notifications/cancelled"
COMPLETE: Final = "notifications/elicitation/complete"
"""The page of a URL elicitation has been dealt with (2025-11-25)."""
_CAPABILITIES: Final = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
"""What a client declares to be asked by each method."""
_REJECTED: Final = -1
"""2025-11-25, client/sampling, "User rejected sampling request": the only code that the specification gives to a question
which arrived, was understood, and is not answered. Its other codes would say that the client is broken, or old."""
_AT_ONCE: Final = 16
"""Questions of one call that may be open together."""
_OF_ONE_CALL: Final = 100
"""Questions of one call: each takes people's time, or a client's model, and stands in the record."""


class Questions:
    """The server's requests on one connection. `ping` is always answered; the rest is for the call under way, if any."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._owner: _Owner | None = None  # None while no call is under way that may be asked
        self._keeps_early = False
        self._early: dict[int | float | str, tuple[ServerRequest, Post]] = {}

    def keep_early(self) -> None:
        """Keep what the server asks before the first call of its session, to be answered before that call is made.

        The filesystem server asks for the roots as soon as it may, and works in those folders from then on.
        """
        self._keeps_early = True

    async def relay(
        self, interview: Interview, on_notice: OnNotice, clock: Clock, work: Callable[[], Awaitable[ResultT]]
    ) -> ResultT:
        """Carry out a call, and put what its server asks meanwhile to the interview; its end is the end of every question.

        Raises what `work` raises.
        """
        result: list[ResultT] = []
        failure: Exception | None = None  # carried past the task group, which would wrap it
        async with anyio.create_task_group() as tasks:
            owner = self._owner = _Owner(self._name, interview, on_notice, clock, tasks)
            try:
                await owner.ask_first(self._take_early())
                result.append(await work())
            except (UpstreamError, TimeoutError) as error:
                failure = error
                tasks.cancel_scope.cancel()
            finally:
                self._owner = None
                owner.end()
        if failure is not None:
            raise failure
        return result[0]

    def asked(self, request: ServerRequest, post: Post) -> None:
        """Answer a request of the server by `post`, at once or later. Never raises."""
        if request.method == "ping":
            post({"jsonrpc": "2.0", "id": request.id, "result": {}})
        elif self._owner is None and self._keeps_early and request.method in _CAPABILITIES and len(self._early) < _AT_ONCE:
            self._early.setdefault(request.id, (request, post))
        elif self._owner is None or request.method not in _CAPABILITIES:
            post(_error(request, METHOD_NOT_FOUND, "The gateway offers no such client feature."))
        else:
            self._owner.ask(request, post)

    def told(self, notification: Notification) -> None:
        """Take `CANCELLED` or `COMPLETE`, which are about questions."""
        if self._owner is None and notification.method == CANCELLED:
            self._early = {key: one for key, one in self._early.items() if key != notification.params.get("requestId")}
        elif self._owner is None:
            logger.debug("upstream %s: dropped what it told about a question of no call", self._name)
        elif notification.method == CANCELLED:
            self._owner.cancel(notification.params.get("requestId"))
        else:
            self._owner.notice(notification)

    def _take_early(self) -> list[tuple[ServerRequest, Post]]:
        early, self._early, self._keeps_early = [*self._early.values()], {}, False
        return early


class _Owner:
    """One call, and the questions of its server that are open."""

    def __init__(self, name: str, interview: Interview, on_notice: OnNotice, clock: Clock, tasks: TaskGroup) -> None:
        self._name = name
        self._interview = interview
        self._on_notice = on_notice
        self._clock = clock
        self._tasks = tasks
        self._open: dict[int | float | str, _Question] = {}
        """By the server's ids."""
        self._pages: set[str] = set()
        """Ids of the pages that were asked for, and of which the server has not said that they are done with."""
        self._count = 0

    async def ask_first(self, early: Sequence[tuple[ServerRequest, Post]]) -> None:
        """Ask what came before the call, and return once all of it is answered."""
        async with anyio.create_task_group() as tasks:
            for request, post in early:
                self._begin(request, post, tasks)

    def ask(self, request: ServerRequest, post: Post) -> None:
        if request.id in self._open:
            logger.warning("upstream %s: dropped a question under the id of another", self._name)
        elif len(self._open) >= _AT_ONCE or self._count >= _OF_ONE_CALL:
            post(_error(request, _REJECTED, "There are too many questions in one call."))
        else:
            self._begin(request, post, self._tasks)

    def cancel(self, request_id: Json) -> None:
        """The server does not want the answer any more, so it gets none (2025-11-25, basic/utilities/cancellation)."""
        if isinstance(request_id, str | int | float) and request_id in self._open:
            self._open.pop(request_id).asking.cancel()

    def notice(self, notification: Notification) -> None:
        """Tell the caller that a page is done with, once, and of those alone that this call asked for."""
        page = notification.params.get("elicitationId")
        if not isinstance(page, str) or page not in self._pages:
            return
        self._pages.remove(page)
        self._tasks.start_soon(self._pass_on, RawNotice(method=notification.method, params=RawJson(notification.params)))

    def end(self) -> None:
        for question in self._open.values():
            question.asking.cancel()
            question.post(_error(question.request, _REJECTED, "The call in which this was asked is over."))
        self._open.clear()

    def _begin(self, request: ServerRequest, post: Post, tasks: TaskGroup) -> None:
        self._count += 1
        if isinstance(page := request.params.get("elicitationId"), str):
            self._pages.add(page)
        question = self._open[request.id] = _Question(request, post)
        tasks.start_soon(self._put, question)

    async def _put(self, question: "_Question") -> None:
        request = question.request
        with question.asking, self._clock.stopped():
            await anyio.lowlevel.checkpoint()  # a question that came just behind the answer is over by now
            try:
                notice = RawNotice(method=request.method, params=RawJson(request.params))
                answers = await self._interview.ask({request.method: notice})
                message = {"jsonrpc": "2.0", "id": request.id, "result": answers[request.method]}
            except QuestionRefused as refused:
                message = _error(request, _code(self._interview.declares, request), str(refused))
            if not question.asking.cancel_called:
                del self._open[request.id]
                question.post(message)

    async def _pass_on(self, notice: RawNotice) -> None:
        await self._on_notice(notice)


@dataclass(frozen=True, slots=True)
class _Question:
    """One that is open."""

    request: ServerRequest
    post: Post
    asking: anyio.CancelScope = field(default_factory=anyio.CancelScope)


def _code(declared: JsonObject, request: ServerRequest) -> int:
    """Return the error code for a question that is not answered (2025-11-25, client/elicitation and client/sampling)."""
    modes = declared.get(_CAPABILITIES[request.method])
    if modes is None:
        return METHOD_NOT_FOUND
    if request.method == "elicitation/create" and request.params.get("mode", "form") not in [*modes]:
        return INVALID_PARAMS
    return _REJECTED


def _error(request: ServerRequest, code: int, message: str) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": request.id, "error": {"code": code, "message": message}}
