"""What a caller is told in each state of its approval, as one table of cases. Pure: no clock, no store."""

from datetime import UTC, datetime

from mcpgw.approval.standing import Standing
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    Deny,
    Hold,
    Ruling,
)
from mcpgw.ports import Approval, ApprovalState

Settlement = Allow | Deny | AlreadyDone


def answer(standing: Standing, hold: Hold) -> tuple[Settlement, ...]:
    """Return what the desk answers in this state: one settlement, or none while the call has to wait.

    An approval is released only if its votes still say so, whatever its state claims.
    """
    approval = standing.approval
    match approval.state:
        case ApprovalState.PENDING | ApprovalState.APPROVED if standing.is_denied:
            return (deny(approval, hold, "Denied by an approver."),)
        case ApprovalState.PENDING | ApprovalState.APPROVED if standing.is_over:
            return (deny(approval, hold, "Not approved, or not called again, by the deadline."),)
        case ApprovalState.APPROVED if standing.is_agreed and approval.terms.binding() == hold.terms.binding():
            may_be_asked = approval.terms.may_be_asked
            spent = ApprovalRef(id=approval.id, digest=approval.digest, may_be_asked=may_be_asked)
            return (Allow(ruling=hold.ruling, approval=spent),)
        case ApprovalState.APPROVED:
            return (deny(approval, hold, "The approval is void: its votes do not make the quorum."),)
        case ApprovalState.PENDING | ApprovalState.SPENT:
            return ()
        case ApprovalState.DONE:
            return approval.done[:1] or (
                deny(approval, hold, f"It ran once; its result is no longer kept. {_afresh(approval)}"),
            )
        case ApprovalState.FAILED:
            return (deny(approval, hold, f"It was approved and ran, and failed. {_afresh(approval)}"),)
        case ApprovalState.INDETERMINATE:
            return (deny(approval, hold, f"It was approved and sent; its outcome is unknown. {_afresh(approval)}"),)
    return (deny(approval, hold, approval.reason),)  # ended unused, and recorded as such


def deny(approval: Approval, hold: Hold, reason: str) -> Deny:
    """Deny by this approval, under the rules that held the call."""
    ruling = Ruling(rule_ids=hold.ruling.rule_ids, reason=reason, policy_hash=hold.ruling.policy_hash)
    return Deny(ruling=ruling, approval_id=approval.id)


def waiting_message(standing: Standing) -> str:
    """Return the sentence that a waiting client shows: no argument, and nobody's name."""
    approval = standing.approval
    if approval.state is ApprovalState.SPENT:
        return f"Approved as {approval.id}; an identical call is under way, waiting for its result."
    return f"Waiting for people to decide on {approval.id}: {standing.tally}, until {clock_time(approval.deadline_ns)}."


def clock_time(time_ns: int) -> str:
    """Return Unix nanoseconds as people read them: UTC, to the second."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _afresh(approval: Approval) -> str:
    """Asking again at once would invite a second effect by habit; after the deadline it is a new question to people."""
    return f"It is not sent again by itself; after {clock_time(approval.deadline_ns)} it may be asked for afresh."
