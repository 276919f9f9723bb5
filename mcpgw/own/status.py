"""The tool of those who wait: what became of their held call, and what to do next."""

import time
from collections.abc import Callable
from typing import Any, Final

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Call,
    Identity,
    JsonObject,
)
from mcpgw.own.approvals import APPROVAL_ID, iso
from mcpgw.own.tool import Offer, OwnTool
from mcpgw.ports import Approval, ApprovalState, HeldCalls

LONGEST_WAIT_S: Final = 45
"""Seconds. Below the limit of every client that is known to wait at all."""

STATUS: Final = Offer(
    name="approval_status",
    title="Status of a held call",
    description=(
        "Say what became of a call of yours that was held for approval, and what to do next. With `wait_s` it answers as soon "
        "as people have decided, or after that time."
    ),
    properties={
        "id": APPROVAL_ID,
        "wait_s": {
            "type": "integer",
            "minimum": 0,
            "maximum": LONGEST_WAIT_S,
            "description": "Seconds to wait for a decision; none if left out.",
        },
    },
    required=("id",),
    output={
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("id", "state", "deadline", "next")},
        "required": ["id", "state", "deadline", "next"],
    },
    is_read_only=True,
)

_AGAIN: Final = "Make the identical call again"
_NEXT: Final = {
    ApprovalState.PENDING: f"Wait: people have not decided yet. {_AGAIN} once they have approved.",
    ApprovalState.APPROVED: f"{_AGAIN} now, before the deadline: it runs once.",
    ApprovalState.SPENT: f"It is under way. {_AGAIN} for its result; it does not run twice.",
    ApprovalState.DONE: f"It ran. {_AGAIN} for its result, until the deadline; it does not run twice.",
    ApprovalState.FAILED: "It ran, and failed. It is not sent again by itself.",
    ApprovalState.INDETERMINATE: "It was sent, and its outcome is unknown. People have to find out; it is not sent again.",
    ApprovalState.DENIED: "People denied it. Do not ask again unless something has changed.",
    ApprovalState.EXPIRED: f"Nobody decided, or nobody claimed it, in time. {_AGAIN} to ask people afresh.",
    ApprovalState.WITHDRAWN: "It was withdrawn, and does not run.",
    ApprovalState.REVOKED: "What was approved was revoked before it ran.",
}


_PROPOSED: Final = f"People denied it and propose other arguments. {_AGAIN} to be told which, and what to do."


class NotYours(GatewayError):
    """The caller asked for no held call of that id, or there is none: the two look the same."""


class StatusTool:
    """Answers for `STATUS`: for whoever asked for the call, through the same agents, and nobody else."""

    def __init__(self, held_calls: HeldCalls, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._held_calls = held_calls
        self._monotonic = monotonic

    def tools(self) -> tuple[OwnTool, ...]:
        return (OwnTool(offer=STATUS, answer=self.answer),)

    async def answer(self, call: Call) -> JsonObject:
        until = self._monotonic() + call.arguments.get("wait_s", 0)
        while True:
            approval = await self._own(call.arguments["id"], call.identity)
            left_s = until - self._monotonic()
            if approval.state is not ApprovalState.PENDING or left_s <= 0:
                return _told(approval)
            await self._held_calls.changed(left_s)

    async def _own(self, approval_id: str, requester: Identity) -> Approval:
        for approval in await self._held_calls.held(approval_id, requester):
            return approval
        raise NotYours(f"You have no held call {approval_id}.", hint="Pass the id that the held call's answer named.")


def _told(approval: Approval) -> dict[str, Any]:
    ends_ns = approval.usable_until_ns if approval.state is ApprovalState.APPROVED else approval.deadline_ns
    return {
        "id": approval.id,
        "state": approval.state.value,
        "deadline": iso(ends_ns),
        "next": _PROPOSED if approval.offered else _NEXT[approval.state],
    }
