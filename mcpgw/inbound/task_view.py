"""A held call as the tasks extension shows it: a pure view of its approval, so that any process can answer for any task.

Source: the extension `io.modelcontextprotocol/tasks` of 2026-07-28. A task's id is its approval's. `failed` is for JSON-RPC
errors alone; denials, deadlines and unknown outcomes are results that are errors, as they are to a client that waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY

from mcpgw.core.model import (
    AlreadyDone,
    JsonObject,
    Proposal,
    Target,
    UnknownTarget,
)
from mcpgw.inbound.answers import APPROVAL_META, denied_result, misses_it_of_the_gateway, reply_result
from mcpgw.inbound.shaping import shape_result
from mcpgw.ports import Approval, ApprovalState

WAITING: Final = frozenset({ApprovalState.PENDING, ApprovalState.APPROVED, ApprovalState.SPENT})
"""The states in which a task is still `working`."""
_POLL_MS: Final = 2_000
"""While people decide: often enough that nobody notices."""
_RUNNING_POLL_MS: Final = 500
_ASKED: Final = "Approved, and under way: its server asks for input."
_NEVER_AGAIN: Final = "It is not sent again by itself."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskViewer:
    public_url: str
    """Where the approvals' pages are; empty where there are none."""
    server_info: Mapping[str, Any]
    """The stamp of results of 2026-07-28."""
    after_deadline_s: float
    """How long after its deadline a call may still be under way: as long is the task kept, at the least."""

    def task(self, approval: Approval) -> dict[str, Any]:
        """Return the `Task`, without what only some states have."""
        times = [approval.opened_ns, approval.settled_ns, *(vote.time_ns for vote in approval.votes)]
        lasts_ns = approval.deadline_ns - approval.opened_ns
        return {
            "taskId": approval.id,
            "status": _status(approval.state),
            "statusMessage": self._message(approval),
            "createdAt": _iso(approval.opened_ns),
            "lastUpdatedAt": _iso(max(times)),
            "ttlMs": lasts_ns // 1_000_000 + int(self.after_deadline_s * 1_000),
            "pollIntervalMs": _POLL_MS if approval.state is ApprovalState.PENDING else _RUNNING_POLL_MS,
        }

    def detailed(
        self,
        approval: Approval,
        collected: tuple[AlreadyDone, ...],
        target: Target | UnknownTarget,
        proposal: tuple[Proposal, ...] = (),
    ) -> dict[str, Any]:
        """Return the `DetailedTask`.

        `collected` is the recorded reply of a call that is done, `target` what it called, `proposal` what would be approved
        instead of one that was denied.
        """
        task = {**self.task(approval), "_meta": {APPROVAL_META: self._approval(approval)}}
        if task["status"] != "completed":
            return task
        try:
            result = self._result(approval, collected, target, proposal)
        except MCPError as refused:
            declared = refused.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY  # it reads tasks, and can do no more now
            error = misses_it_of_the_gateway(refused) if declared else refused
            found = error.error.model_dump(by_alias=True, mode="json", exclude_none=True)
            return {**task, "status": "failed", "statusMessage": error.error.message, "error": found}
        return {**task, "result": shape_result(result, modern=True, server_info=dict(self.server_info))}

    def asking(self, approval: Approval, requests: Mapping[str, JsonObject]) -> dict[str, Any]:
        """Return the `DetailedTask` of a call under way whose server waits for its client's answers."""
        asked = {"status": "input_required", "statusMessage": _ASKED, "inputRequests": dict(requests)}
        return {**self.task(approval), **asked, "_meta": {APPROVAL_META: self._approval(approval)}}

    def _result(
        self,
        approval: Approval,
        collected: tuple[AlreadyDone, ...],
        target: Target | UnknownTarget,
        proposal: tuple[Proposal, ...],
    ) -> dict[str, Any]:
        for done in collected:
            return reply_result(done.reply, {"id": done.call_id}, target)
        why = {"rules": list(approval.rule_ids), "approval": approval.id}
        return denied_result(self._message(approval), why, approval.target, proposal)

    def _approval(self, approval: Approval) -> dict[str, str]:
        deadline = {"id": approval.id, "deadline": _iso(approval.deadline_ns)}
        return {**deadline, "url": self._page(approval)} if self.public_url else deadline

    def _page(self, approval: Approval) -> str:
        return f"{self.public_url}/approvals/{approval.id}"

    def _message(self, approval: Approval) -> str:
        match approval.state:
            case ApprovalState.PENDING:
                where = f" It waits at {self._page(approval)}" if self.public_url else ""
                until = f"Without a decision by {_iso(approval.deadline_ns)} it is denied."
                return f"Held for approval {approval.id}, not executed. {until}{where}"
            case ApprovalState.APPROVED if approval.terms.unattended:
                return f"Approved as {approval.id}; it runs now, at the latest when it is asked for."
            case ApprovalState.APPROVED:
                return f"Approved as {approval.id}; it runs as soon as it is asked for."
            case ApprovalState.SPENT:
                return f"Approved as {approval.id}; it is under way."
            case ApprovalState.DONE:
                return f"Approved as {approval.id}, and executed."
            case ApprovalState.FAILED:
                return f"Approved as {approval.id}, and executed, but there is no result to show. {_NEVER_AGAIN}"
            case ApprovalState.INDETERMINATE:
                return f"Approved as {approval.id}, and sent; whether it had an effect is unknown. {_NEVER_AGAIN}"
        ended = [remark.comment for remark in approval.remarks if remark.person == approval.requester]
        return " ".join([approval.reason, *ended])  # ended without being sent


def _status(state: ApprovalState) -> str:
    if state in WAITING:
        return "working"
    return "cancelled" if state is ApprovalState.WITHDRAWN else "completed"


def _iso(time_ns: int) -> str:
    """Return Unix nanoseconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
