"""The states of an approval as a table, and what its votes amount to. Pure: no clock, no store."""

from collections.abc import Mapping

from mcpgw.approval.people import names
from mcpgw.core.model import Settled, SettledAs, Verdict
from mcpgw.ports import Approval, ApprovalState

TRANSITIONS: Mapping[ApprovalState, frozenset[ApprovalState]] = {
    ApprovalState.PENDING: frozenset({ApprovalState.APPROVED, ApprovalState.DENIED, ApprovalState.EXPIRED}),
    ApprovalState.APPROVED: frozenset({ApprovalState.SPENT, ApprovalState.EXPIRED}),
    ApprovalState.SPENT: frozenset({ApprovalState.DONE, ApprovalState.FAILED, ApprovalState.INDETERMINATE}),
    ApprovalState.DONE: frozenset(),
    ApprovalState.FAILED: frozenset(),
    ApprovalState.INDETERMINATE: frozenset(),
    ApprovalState.DENIED: frozenset(),
    ApprovalState.EXPIRED: frozenset(),
}
"""From each state to those that may follow. The store holds it; from `spent` on, the journal moves it and not the desk."""


def approvers_so_far(approval: Approval) -> int:
    """Count the people who approved: each once, however many credentials they voted with, and the requester's side never."""
    counted = names(approval.requester).union(*(names(actor) for actor in approval.actors))
    people = 0
    for vote in approval.votes:
        voter = names(vote.voter)
        if vote.verdict == Verdict.APPROVE and not voter & counted:
            counted |= voter
            people += 1
    return people


def denied(approval: Approval) -> bool:
    """Tell whether anybody voted against it: one denial outweighs any number of approvals."""
    return any(vote.verdict == Verdict.DENY for vote in approval.votes)


def needed(approval: Approval) -> int:
    """Return how many people must approve: never none, whatever was configured."""
    return max(approval.quorum, 1)


def has_quorum(approval: Approval) -> bool:
    """Tell whether enough different people approved."""
    return approvers_so_far(approval) >= needed(approval)


def tally(approval: Approval) -> str:
    """Return the count in words for people: `1 of 2 approved`."""
    return f"{approvers_so_far(approval)} of {needed(approval)} approved"


def is_over(approval: Approval, now_ns: int) -> bool:
    """Tell whether the deadline has come. At the deadline itself it has."""
    return now_ns >= approval.deadline_ns


def due(approval: Approval, now_ns: int) -> tuple[Settled, ...]:
    """Return the settlement that is due: one, or none while people may still decide or nothing is left to settle.

    A denial comes before the deadline, and the deadline before the quorum: where two could be claimed, the stricter holds.
    """
    if approval.state is ApprovalState.PENDING:
        if denied(approval):
            return (_settled(approval, SettledAs.DENIED, "Denied by an approver."),)
        if is_over(approval, now_ns):
            return (_settled(approval, SettledAs.EXPIRED, f"Not approved in time: {tally(approval)} by the deadline."),)
        if has_quorum(approval):
            return (_settled(approval, SettledAs.APPROVED, f"{tally(approval).capitalize()}."),)
    if approval.state is ApprovalState.APPROVED and is_over(approval, now_ns):
        return (_settled(approval, SettledAs.EXPIRED, "Approved, but not called again by the deadline."),)
    return ()


def _settled(approval: Approval, state: SettledAs, reason: str) -> Settled:
    return Settled(approval_id=approval.id, state=state, reason=reason)
