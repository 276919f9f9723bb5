"""The caller while its request is open: progress and log notices travel back on the request's own stream."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, cast

import anyio
import mcp_types
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel, ConfigDict, ValidationError

from mcpgw.core.errors import QuestionRefused
from mcpgw.core.model import (
    CleanNotice,
    Identity,
    JsonObject,
    RawNotice,
    Waiting,
)
from mcpgw.inbound.caller import Caller, caller_of
from mcpgw.inbound.shaping import encoded_size, is_modern

logger = logging.getLogger(__name__)

PROGRESS: Final = "notifications/progress"
LOG: Final = "notifications/message"
_COMPLETE: Final = "notifications/elicitation/complete"
SEVERITY: Final = {
    level: rank for rank, level in enumerate(("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"))
}
"""What a log message can be (RFC 5424), with its rank, the lowest first."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A message as plain data, in the one respect in which the SDK looks at it: its models drop what they do not know."""

    method: str
    params: dict[str, Any]

    def model_dump(self, **_: object) -> dict[str, Any]:
        return {"method": self.method, "params": self.params}


class _Anything(BaseModel):
    """Any result, as the client wrote it: that it is one of the question's kind, the SDK has checked."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class AbsentPeer:
    """`ports.Peer` of a call that is made while nobody's request is open: nothing of it can be told, and nobody be asked."""

    caller: Caller

    async def identity(self) -> Identity:
        return await self.caller.identify()

    def wants(self, notice: RawNotice) -> bool:
        return False

    async def notify(self, notice: CleanNotice) -> None:
        """Nothing is wanted, so nothing comes."""

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        """Whoever asks for the call's state is told."""

    @property
    def in_rounds(self) -> bool:
        return False

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        raise QuestionRefused("Nobody is there who could be asked.")


class RequestPeer:
    """`ports.Peer` over one MCP request. Delivery is best effort: a client that went away is noticed elsewhere.

    Progress of one request must increase (2025-11-25 basic/utilities/progress). Waiting for people comes first and counts
    seconds, so an upstream's own progress is counted on from there.
    """

    def __init__(
        self, ctx: ServerRequestContext[Any, Any], *, token: str | int | None, log_level: str, answer_timeout_s: float
    ) -> None:
        self._ctx = ctx
        self._token = token
        self._levels = allowed_log_levels(ctx.protocol_version, ctx.meta)
        self._log_level = log_level
        self._answer_timeout_s = answer_timeout_s
        self._waited = 0.0
        self._once_held: Callable[[], object] = _ignore
        self.waits: tuple[Waiting, ...] = ()
        """What its call waits for, once it began to wait for people."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the client said that it wants no answer, by `notifications/cancelled`: it did not merely leave.

        A look behind the SDK's public face: its request contexts offer this nowhere else in `mcp` 2.3.
        """
        return self._ctx.session._request_outbound.cancel_requested.is_set()

    def once_held(self, act: Callable[[], object]) -> None:
        """Have `act` called when the call begins to wait for people. Most calls never do, so nothing else waits for it."""
        self._once_held = act

    async def identity(self) -> Identity:
        return await caller_of(self._ctx).identify()

    def wants(self, notice: RawNotice) -> bool:
        """Progress of a request with a token; messages of the levels that were asked for, which before 2026-07-28 are all of
        them until a client sets one (2025-11-25 server/utilities/logging); and that a page which the client was asked to show
        is done with (2025-11-25 client/elicitation)."""
        if notice.method == PROGRESS:
            return self._token is not None and _is_number(notice.params.get("progress"))
        if notice.method == _COMPLETE:
            return not self.in_rounds
        return notice.method == LOG and self._is_loud_enough(notice.params.get("level"))

    async def notify(self, notice: CleanNotice) -> None:
        if notice.method == PROGRESS:
            await self._progress(dict(notice.params))
        else:
            await self._send(notice.method, dict(notice.params))

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        self.waits = (waiting,)
        self._once_held()
        self._once_held = _ignore
        self._waited = max(self._waited + 0.001, elapsed_s)  # two heartbeats in one instant still increase
        if self._token is not None:
            await self._send(PROGRESS, {"progressToken": self._token, "progress": self._waited, "message": message})

    @property
    def in_rounds(self) -> bool:
        return is_modern(self._ctx.protocol_version)

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        """Ask the client of a revision before 2026-07-28 by requests on its own request's stream."""
        if self.in_rounds:
            raise QuestionRefused("This client is asked between calls, and not in the middle of one.")
        given: dict[str, JsonObject] = {}
        refused: list[QuestionRefused] = []

        async def put(key: str, question: CleanNotice) -> None:
            try:
                given[key] = await self._answer(question)
            except QuestionRefused as error:
                refused.append(error)
                asking.cancel_scope.cancel()  # the others would be answered for nothing

        async with anyio.create_task_group() as asking:
            for key, question in questions.items():
                asking.start_soon(put, key, question)
        for error in refused:
            raise error
        return given

    async def _answer(self, question: CleanNotice) -> JsonObject:
        request = cast("mcp_types.ServerRequest", Notification(question.method, dict(question.params)))
        on_its_stream = ServerMessageMetadata(related_request_id=self._ctx.request_id)
        try:
            answer = await self._ctx.session.send_request(request, _Anything, self._answer_timeout_s, on_its_stream)
        except MCPError as error:
            raise QuestionRefused(f"The client answered with JSON-RPC error {error.error.code}.") from error
        except (ValidationError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise QuestionRefused("The client gave no valid answer.") from error
        return answer.model_dump(mode="json")

    async def _progress(self, params: dict[str, Any]) -> None:
        progress = params.get("progress")
        if not _is_number(progress):
            return  # redaction took it for something that may not be shown
        if self._waited:
            params["progress"] = self._waited + progress
            if isinstance(params.get("total"), (int, float)):
                params["total"] += self._waited
        await self._send(PROGRESS, {**params, "progressToken": self._token})

    def _is_loud_enough(self, level: object) -> bool:
        """Whether this request's client asked for log messages of that level (RFC 5424 severities, lowest first)."""
        return isinstance(level, str) and level in self._levels and SEVERITY.get(level, -1) >= SEVERITY.get(self._log_level, 0)

    async def _send(self, method: str, params: dict[str, Any]) -> None:
        notification = cast("mcp_types.ServerNotification", Notification(method, params))
        try:
            encoded_size(params)
        except ValueError:
            logger.warning("a %s notice was dropped: it is not valid JSON text", method)
            return
        try:
            await self._ctx.session.send_notification(notification, related_request_id=self._ctx.request_id)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            logger.debug("a %s notice was lost: the client is gone", method)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ignore() -> None:
    """What happens by itself when a call is held."""
