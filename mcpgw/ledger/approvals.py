"""What becomes of a held call: the table of `ports.ApprovalState`, applied in the transaction that records the change. Pure.

    Opened                      -> pending            (unless one stands for the identical call)
    pending   Vote, in time     -> pending
    pending   Settled           -> approved (in time) | denied | expired
    approved  Settled(expired)  -> expired            (past the deadline)
    approved  Intent, in time   -> spent              (same digest)
    spent     Outcome           -> done | failed
    spent     Indeterminate     -> indeterminate

Everything else is an `ApprovalConflict`, except that an Outcome is never refused: its effect has happened already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    ApprovalRef,
    CleanReply,
    Intent,
    Opened,
    Outcome,
    Settled,
    SettledAs,
    Vote,
)
from mcpgw.ledger.describe import Indeterminate, Recordable
from mcpgw.ledger.record import Record
from mcpgw.ports import ApprovalState, CastVote

_OVER = (ApprovalState.DENIED, ApprovalState.EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """One held call as it stands in the projection; `facts` and the recorded reply stand with their records."""

    id: str
    state: ApprovalState
    digest: str
    request_key: str
    held_seq: int
    """Where `call.held` stands, whose payload the facts are."""
    call_id: str
    requester: str
    actors: tuple[str, ...]
    target: str
    approvers: tuple[str, ...]
    quorum: int
    rule_ids: tuple[str, ...]
    reason: str
    policy_hash: str
    opened_ns: int
    deadline_ns: int
    votes: tuple[CastVote, ...] = ()
    exact: bytes = b""
    spent_call: str = ""
    """The call that spent it; empty until one did."""
    outcome_event: str = ""
    """The record of how that call ended; empty until it has."""

    def matters(self, now_ns: int) -> bool:
        """Tell whether an identical call is to attach to it (`ApprovalStore.live`)."""
        return self.state not in _OVER and now_ns < self.deadline_ns


class Rows(Protocol):
    """The projection as it stands in the present transaction."""

    def approval(self, approval_id: str) -> Sequence[ApprovalRow]: ...

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]: ...


def advanced(entry: Recordable, record: Record, rows: Rows) -> tuple[ApprovalRow, ...]:
    """Return the rows that the entry changes, as they are to be stored together with its record.

    Raises:
        ApprovalConflict: the approval is not in the state that the entry needs, so neither may be stored.
    """
    match entry:
        case Opened():
            return (_opened(entry, record, rows),)
        case Vote():
            return (_voted(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Settled():
            return (_settled(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Intent(allow=allow) if allow.approval is not None:
            row = _existing(allow.approval.id, rows)
            return (_spent(row, allow.approval, entry.shown.call.id, record.time_ns),)
        case Outcome(intent=intent) if intent.entry.allow.approval is not None:
            state = ApprovalState.DONE if isinstance(entry.result, CleanReply) else ApprovalState.FAILED
            return _concluded(rows.approval(intent.entry.allow.approval.id), intent.entry.shown.call.id, state, record)
        case Indeterminate() if entry.approval_id:
            return _concluded(rows.approval(entry.approval_id), entry.call_id, ApprovalState.INDETERMINATE, record)
        case _:
            return ()


def _existing(approval_id: str, rows: Rows) -> ApprovalRow:
    for row in rows.approval(approval_id):
        return row
    raise ApprovalConflict(f"there is no approval {approval_id}")


def _opened(entry: Opened, record: Record, rows: Rows) -> ApprovalRow:
    if rows.approval(entry.approval_id):
        raise ApprovalConflict(f"there is an approval {entry.approval_id} already")
    for standing in rows.approvals_for(entry.request_key):
        if standing.matters(record.time_ns):
            raise ApprovalConflict(f"approval {standing.id} stands for the identical call")
    call, hold = entry.shown.call, entry.hold
    return ApprovalRow(
        id=entry.approval_id,
        state=ApprovalState.PENDING,
        digest=entry.digest,
        request_key=entry.request_key,
        held_seq=record.seq,
        call_id=call.id,
        requester=call.identity.principal,
        actors=call.identity.actors,
        target=call.target.name,
        approvers=hold.approvers,
        quorum=hold.quorum,
        rule_ids=hold.ruling.rule_ids,
        reason=hold.ruling.reason,
        policy_hash=hold.ruling.policy_hash,
        opened_ns=record.time_ns,
        deadline_ns=entry.deadline_ns,
        exact=entry.exact,
    )


def _voted(row: ApprovalRow, entry: Vote, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.PENDING)
    _require_in_time(row, now_ns)
    vote = CastVote(voter=entry.voter.principal, verdict=entry.verdict.value, comment=entry.comment, time_ns=now_ns)
    return replace(row, votes=(*row.votes, vote))


def _settled(row: ApprovalRow, entry: Settled, now_ns: int) -> ApprovalRow:
    if row.state is ApprovalState.APPROVED and entry.state is SettledAs.EXPIRED:
        if now_ns < row.deadline_ns:
            raise ApprovalConflict(f"approval {row.id} is approved and its deadline has not passed")
    else:
        _require(row, ApprovalState.PENDING)
    if entry.state is SettledAs.APPROVED:
        _require_in_time(row, now_ns)
        return replace(row, state=ApprovalState.APPROVED, reason=entry.reason)
    return replace(row, state=ApprovalState(entry.state.value), reason=entry.reason, exact=b"")


def _spent(row: ApprovalRow, ref: ApprovalRef, call_id: str, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.APPROVED)
    _require_in_time(row, now_ns)
    if row.digest != ref.digest:
        raise ApprovalConflict(f"approval {row.id} was given for other facts")
    return replace(row, state=ApprovalState.SPENT, spent_call=call_id, exact=b"")


def _concluded(rows: Sequence[ApprovalRow], call_id: str, state: ApprovalState, record: Record) -> tuple[ApprovalRow, ...]:
    """Only the call that spent it concludes it. A late outcome corrects an `indeterminate`."""
    spent = (ApprovalState.SPENT, ApprovalState.INDETERMINATE)
    mine = [row for row in rows if row.spent_call == call_id and row.state in spent]
    return tuple(replace(row, state=state, outcome_event=record.event_id) for row in mine)


def _require(row: ApprovalRow, state: ApprovalState) -> None:
    if row.state is not state:
        raise ApprovalConflict(f"approval {row.id} is {row.state.value}, not {state.value}")


def _require_in_time(row: ApprovalRow, now_ns: int) -> None:
    if now_ns >= row.deadline_ns:
        raise ApprovalConflict(f"the deadline of approval {row.id} has passed")
