"""Held calls as tasks (`io.modelcontextprotocol/tasks`): `tasks/get`, `tasks/update`, `tasks/cancel`, status notifications.

There is no table of tasks: the ledger's approvals are the tasks. Whoever asks for the state of an approved one is there to take
its result, so it runs then: the identical call is made again from what the desk kept, and walks the corridor as any other does.
"""

import logging
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.jsonrpc import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY

from mcpgw.core.errors import ApprovalConflict, AuthenticationError, GatewayError, LedgerUnavailable
from mcpgw.core.model import (
    AlreadyDone,
    CleanNotice,
    Held,
    Identity,
    JsonObject,
    Origin,
    Patience,
    Proposal,
    RefusalCode,
    Refused,
    Request,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.tasks import WITH_TASKS
from mcpgw.inbound.caller import Caller, caller_of
from mcpgw.inbound.in_flight import InFlight
from mcpgw.inbound.origin import origin_of
from mcpgw.inbound.peer import AbsentPeer
from mcpgw.inbound.presentation import TAKES_TASKS, declares_tasks
from mcpgw.inbound.questions import Questions, declares
from mcpgw.inbound.task_view import WAITING, TaskViewer
from mcpgw.pipeline import Corridor
from mcpgw.ports import Approval, ApprovalState, Catalog, HeldCalls, Policy

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
_ID = re.compile(r"[a-z0-9_]{1,64}")
"""What may be looked up. Ours are `apr_` and 20 characters of base32."""
_MAX_WATCHED: Final = 50
"""Tasks that one stream can watch: each costs a look at the ledger whenever any approval changes."""
_RECHECK_S: Final = 2.0
"""Longest time between two looks: bounds the delay if a change came between the last one and the wait."""
_AT_ONCE: Final = Patience(budget_s=0.0)
_MAX_WHY: Final = 500
"""Characters of a refusal that are kept with the approval."""
_FINAL: Final = (RefusalCode.DENIED, RefusalCode.NOT_APPROVED, RefusalCode.UNKNOWN)
"""Refusals that asking again does not change."""


@dataclass(frozen=True, slots=True)
class _TaskPeer(AbsentPeer):
    """Progress of a task is not in the extension, its state says that it waits, and its answers come by `tasks/update`."""

    questions: Questions

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        return await self.questions.answers(questions)


@dataclass(slots=True, kw_only=True)
class Tasks:
    """Every held call of every identity, each for its own requester alone."""

    calls: HeldCalls
    corridor: Corridor
    catalog: Catalog
    policy: Policy
    viewer: TaskViewer
    in_flight: InFlight
    call_timeout_s: float
    answer_timeout_s: float
    _running: dict[str, Questions] = field(default_factory=dict)
    """Approvals whose call this process runs, so that each poll does not start another walk to the same answer; and what their
    servers ask, which is answered in this process."""
    _group: list[TaskGroup] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Approved calls run while this is open, and no longer; what is under way at its end is cancelled, and recorded so."""
        async with anyio.create_task_group() as group:
            self._group.append(group)
            try:
                yield
            finally:
                self._group.remove(group)
                group.cancel_scope.cancel()

    def in_background(self, work: Callable[[str], Coroutine[Any, Any, None]], approval_id: str) -> bool:
        """Start something that belongs to an approval and ends with `running`; False if that is over, and nothing started."""
        if not self._group:
            return False
        self._group[-1].start_soon(work, approval_id)
        return True

    # --- what clients ask ------------------------------------------------------------------------------------------------

    async def created(self, held: Held, requester: Identity, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `CreateTaskResult` for a call that is held, which is durable; `meta` is what others are told of it."""
        (approval,) = await self._its(held.approval_id, requester)
        return {**self.viewer.task(approval), "resultType": "task", "_meta": meta}

    async def answer(self, ctx: Context) -> dict[str, Any]:
        """Answer one of `METHODS`.

        Raises:
            MCPError: the client does not declare the extension, the header names another task, or there is no such task of
                this caller's.
        """
        must_declare(ctx)
        caller = caller_of(ctx)
        approval = await self._named(ctx, caller)
        match ctx.method:
            case "tasks/get":
                return await self.look(approval, caller, origin_of(ctx), declares(ctx))
            case "tasks/cancel":
                await self._cancel(approval, caller)
                return {}
            case _:
                responses = (ctx.params or {}).get("inputResponses")
                if not isinstance(responses, dict):
                    raise MCPError(INVALID_PARAMS, "inputResponses must be an object.")
                running = self._running.get(approval.id)
                if running is not None and running.asked_of == caller.identity:  # else they answer nothing that is asked here
                    running.give(responses)
                return {}

    async def look(self, approval: Approval, caller: Caller, origin: Origin, can: JsonObject) -> dict[str, Any]:
        """Return the task as it stands, having set it going if it is approved: its requester is there.

        `can`: the capabilities by which its client can be asked.
        """
        if approval.state is ApprovalState.APPROVED:
            self._set_going(approval, caller, origin, can)
        running = self._running.get(approval.id)
        if approval.state in WAITING and running is not None and running.requests and running.asked_of == caller.identity:
            return self.viewer.asking(approval, running.requests)
        if approval.state not in (ApprovalState.DONE, ApprovalState.DENIED):
            return self.viewer.detailed(approval, (), UnknownTarget(kind=TargetKind.TOOL, name=approval.target))
        target = self.catalog.find(TargetKind.TOOL, approval.target)
        if not isinstance(target, Target) or not self.policy.sees(caller.identity, target):
            return self.viewer.detailed(approval, (), target)
        if approval.state is ApprovalState.DENIED:
            return self.viewer.detailed(approval, (), target, await self._proposed(approval, caller))
        return self.viewer.detailed(approval, await self._collected(approval, caller), target)

    async def watched(self, task_ids: Sequence[object], requester: Identity) -> list[str]:
        """Return those that are the requester's own tasks, which alone are told of.

        Raises:
            MCPError: they are too many.
        """
        if len(task_ids) > _MAX_WATCHED:
            raise MCPError(INVALID_PARAMS, f"At most {_MAX_WATCHED} tasks can be watched by one stream.")
        wanted = list(dict.fromkeys(task_id for task_id in task_ids if isinstance(task_id, str)))
        return [task_id for task_id in wanted if await self._its(task_id, requester)]

    async def follow(
        self, task_ids: Collection[str], caller: Caller, origin: Origin, can: JsonObject
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield each task as it is, and again whenever that changed, until all have ended or the credential has."""
        left = set(task_ids)
        seen: dict[str, tuple[object, ...]] = {}
        while left:
            for task_id in sorted(left):
                for approval in await self._its(task_id, caller.identity):
                    now = (approval.state, approval.votes, self._asked(task_id))
                    if seen.get(task_id) != now:
                        if not await self._is_still(caller):
                            return
                        seen[task_id] = now
                        yield await self.look(approval, caller, origin, can)
                    if approval.state not in WAITING:
                        left.discard(task_id)
            if left:
                await self.calls.changed(_RECHECK_S)

    # --- what is done ----------------------------------------------------------------------------------------------------

    async def _cancel(self, approval: Approval, caller: Caller) -> None:
        """Withdraw the call unless it was sent; then the cancellation changes nothing, which the extension allows."""
        try:
            await self.calls.withdraw(approval.id, caller.identity, "Cancelled by its client.")
        except ApprovalConflict:
            logger.info("%s: cancelled too late", approval.id)
        except LedgerUnavailable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    def _asked(self, approval_id: str) -> tuple[str, ...]:
        """Return the keys of what its server asks and its client has not answered."""
        return tuple(self._running[approval_id].requests) if approval_id in self._running else ()

    def _set_going(self, approval: Approval, caller: Caller, origin: Origin, can: JsonObject) -> None:
        if approval.id in self._running or not self._group:
            return  # at the end of the process nothing is started
        self._group[-1].start_soon(self.take_up, approval, caller, origin, can)

    async def take_up(self, approval: Approval, caller: Caller, origin: Origin, can: JsonObject) -> None:
        """Run an approved call for its requester, unless this process does so already. What came of it, the ledger says.

        `can`: the capabilities by which the requester's client can be asked; none where no client is there.
        """
        if approval.id in self._running:
            return
        self._running[approval.id] = Questions(timeout_s=self.answer_timeout_s, asked_of=caller.identity)
        try:
            with anyio.move_on_after(self.call_timeout_s) as scope:
                self.in_flight.enter(scope)
                try:
                    await self._walk(approval, caller, origin, can)
                finally:
                    self.in_flight.leave(scope)
        except GatewayError as error:
            logger.error("%s: its call could not be taken up: %s", approval.id, error)
        except Exception:
            # A failure of one task ends in the log: the ledger says how far the call came, and the others run on.
            logger.exception("%s: its call could not be taken up", approval.id)
        finally:
            del self._running[approval.id]

    async def _walk(self, approval: Approval, caller: Caller, origin: Origin, can: JsonObject) -> None:
        """Make the identical call again, under this approval or not at all."""
        request = Request(
            identity=caller.identity,
            kind=TargetKind.TOOL,
            name=approval.target,
            arguments=await self.calls.recall(approval),
            origin=origin,
            patience=_AT_ONCE,
            meta=TAKES_TASKS,
            declares=can,
            resumes=approval.id,
        )
        answer = await self.corridor.walk(request, _TaskPeer(caller, self._running[approval.id]))
        if isinstance(answer, Refused) and answer.code in _FINAL and await self._is_still(caller):
            with suppress(ApprovalConflict):  # it had ended, which is why it was refused
                await self.calls.withdraw(approval.id, caller.identity, f"Refused at its release: {answer.reason[:_MAX_WHY]}")

    async def _is_still(self, caller: Caller) -> bool:
        """Tell whether the caller is who asked: where the credential is what was wrong, a good one may still take it up."""
        try:
            return await caller.identify() == caller.identity
        except AuthenticationError:
            return False

    # --- which task ------------------------------------------------------------------------------------------------------

    async def _named(self, ctx: Context, caller: Caller) -> Approval:
        task_id = (ctx.params or {}).get("taskId")
        if not isinstance(task_id, str):
            raise MCPError(INVALID_PARAMS, "A taskId must be a string.")
        if caller.headers and decode_header_value(caller.headers.get(MCP_NAME_HEADER)) != task_id:
            raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId' parameter")
        for approval in await self._its(task_id, caller.identity):
            return approval
        caller.trail.recorded = True
        refused = Refused(code=RefusalCode.UNKNOWN, reason="There is no such task of this caller's.")
        await self.corridor.reject(origin_of(ctx), refused, caller.identity.principal)
        raise MCPError(INVALID_PARAMS, "There is no such task.")

    async def _collected(self, approval: Approval, caller: Caller) -> tuple[AlreadyDone, ...]:
        try:
            return await self.calls.collect(approval, caller.identity)
        except LedgerUnavailable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def _proposed(self, approval: Approval, caller: Caller) -> tuple[Proposal, ...]:
        try:
            return await self.calls.proposed(approval, caller.identity)
        except LedgerUnavailable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def _its(self, task_id: str, requester: Identity) -> tuple[Approval, ...]:
        try:
            held = await self.calls.held(task_id, requester) if _ID.fullmatch(task_id) else ()
        except LedgerUnavailable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None
        return tuple(approval for approval in held if _is_of_a_tool(approval))


def _is_of_a_tool(approval: Approval) -> bool:
    """Only a tool's call is a task, by the extension."""
    kind: str = approval.facts["target"]["kind"]
    return kind == TargetKind.TOOL


def must_declare(ctx: Context) -> None:
    """Refuse a client that does not declare the extension in this request.

    Raises:
        MCPError: it does not; the data says what to declare.
    """
    if not declares_tasks(ctx):
        needed: dict[str, Any] = {"requiredCapabilities": WITH_TASKS}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This needs the tasks extension, which is not declared.", needed)
