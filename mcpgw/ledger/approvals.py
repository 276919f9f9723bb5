"""What becomes of a held call: `ports.TRANSITIONS`, applied in the transaction that records the change. Pure.

    Opened                       -> pending            (unless one stands for the identical call; with its vote, if proposed)
    pending   Vote, in time      -> pending
    pending   VoteWithdrawn      -> pending
    pending   Proposed, in time  -> denied             (and the proposal stands until it is taken up by Opened, or Lapsed)
    pending   Escalated          -> pending            (to the next level, once the present one is over)
    pending   Settled            -> approved (in time, and from these very votes) | denied | expired
    approved  Settled            -> expired (once it cannot be used any more) | revoked
    pending   Stopped            -> withdrawn
    approved  Stopped            -> withdrawn | revoked
    approved  Intent, in time    -> spent              (same digest; of one call)
    approved  Intent, in time    -> approved           (same digest; of a grant with calls and total left: one use more)
    spent     Outcome            -> done | failed      (of a grant's use: noted with the use)
    spent     Indeterminate      -> indeterminate
    indeterminate  Resolved      -> indeterminate      (once)
    any       Reviewed           -> as it is           (once, and only after break-glass)

Everything else is an `ApprovalConflict`, except that an Outcome is never refused: its effect has happened already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mcpgw.core.allowance import Allowance
from mcpgw.core.entries import (
    Escalated,
    Lapsed,
    Opened,
    Proposed,
    Refusal,
    Resolved,
    Reviewed,
    Settled,
    SettledAs,
    Stopped,
    Verdict,
    Vote,
    VoteWithdrawn,
)
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    ApprovalRef,
    CleanReply,
    Identity,
    Intent,
    Outcome,
)
from mcpgw.core.terms import Terms
from mcpgw.ledger.describe import Indeterminate, Recordable
from mcpgw.ledger.record import Record
from mcpgw.ports import ENDED_UNUSED, TRANSITIONS, ApprovalState, CastVote, Remark, RemarkKind, Use, ballots, total_of


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
    terms: Terms
    rule_ids: tuple[str, ...]
    reason: str
    policy_hash: str
    opened_ns: int
    deadline_ns: int
    usable_until_ns: int
    settled_ns: int = 0
    """When it stopped to wait for people; 0 while it does."""
    level: int = 0
    break_glass: bool = False
    votes: tuple[CastVote, ...] = ()
    remarks: tuple[Remark, ...] = ()
    exact: bytes = b""
    spent_call: str = ""
    """The call that spent it; empty until one did."""
    outcome_event: str = ""
    """The record of how that call ended; empty until it has."""
    allowances: tuple[Allowance, ...] = ()
    """Of a grant: one, which says how often it can be used."""
    uses: tuple[Use, ...] = ()
    offer: tuple[CastVote, ...] = ()
    """As in the `Approval`, as are the last two."""
    offered_key: str = ""
    """Request key of the call that is proposed instead; empty once that was made, or the proposal has lapsed."""
    offered: bytes = b""
    taken_by: str = ""
    preview_event: str = ""
    """The record of how the preview of its call ended; empty until it has, or where there is none."""

    def offers(self, now_ns: int) -> bool:
        """Tell whether a proposal of other arguments stands with it."""
        return bool(self.offered_key) and now_ns < self.usable_until_ns

    def matters(self, now_ns: int) -> bool:
        """Tell whether an identical call, or request for a grant, is to attach to it (`ApprovalStore.live`)."""
        if self.offers(now_ns):
            return True
        if self.state in ENDED_UNUSED or self.remarked(RemarkKind.RESOLVED):
            return False
        if any(len(self.uses) >= one.max_calls for one in self.allowances):
            return False
        match self.state:
            case ApprovalState.PENDING:
                return now_ns < self.decide_by_ns
            case ApprovalState.APPROVED:
                return now_ns < self.usable_until_ns
        return now_ns < self.deadline_ns

    @property
    def decide_by_ns(self) -> int:
        """When it is too late to decide: the deadline, or when what is asked for would have ended already."""
        return min(self.deadline_ns, self.usable_until_ns)

    @property
    def awaits_preview(self) -> bool:
        """Whether a preview that ends now is for its approvers."""
        return self.state is ApprovalState.PENDING and not self.preview_event

    def remarked(self, kind: RemarkKind) -> bool:
        return any(remark.kind is kind for remark in self.remarks)


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
        case Outcome(intent=intent) if intent.entry.shown.call.previews:
            return _previewed(rows.approval(intent.entry.shown.call.previews), record)
        case Refusal(shown=shown) if shown.call.previews:
            return _previewed(rows.approval(shown.call.previews), record)
        case Opened():
            return _opened(entry, record, rows)
        case Vote():
            return (_voted(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case VoteWithdrawn():
            return (_vote_withdrawn(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Proposed():
            return (_proposed(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Lapsed():
            return (_lapsed(_existing(entry.approval_id, rows), record.time_ns),)
        case Escalated():
            return (_escalated(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Stopped():
            return (_stopped(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Resolved():
            return (_resolved(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Reviewed():
            return (_reviewed(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Settled():
            return (_settled(_existing(entry.approval_id, rows), entry, record.time_ns),)
        case Intent(allow=allow) if allow.approval is not None:
            row = _existing(allow.approval.id, rows)
            take = _used if allow.approval.amounts else _spent
            return (take(row, allow.approval, entry.shown.call.id, record.time_ns),)
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


def _opened(entry: Opened, record: Record, rows: Rows) -> tuple[ApprovalRow, ...]:
    if rows.approval(entry.approval_id):
        raise ApprovalConflict(f"there is an approval {entry.approval_id} already")
    for standing in rows.approvals_for(entry.request_key):
        if standing.matters(record.time_ns):
            raise ApprovalConflict(f"approval {standing.id} stands for the identical call")
    call, hold = entry.shown.call, entry.hold
    row = ApprovalRow(
        id=entry.approval_id,
        state=ApprovalState.PENDING,
        digest=entry.digest,
        request_key=entry.request_key,
        held_seq=record.seq,
        call_id=call.id,
        requester=call.identity.principal,
        actors=call.identity.actors,
        target=call.target.name,
        terms=hold.terms,
        rule_ids=hold.ruling.rule_ids,
        reason=hold.ruling.reason,
        policy_hash=hold.ruling.policy_hash,
        opened_ns=record.time_ns,
        deadline_ns=entry.deadline_ns,
        usable_until_ns=next((one.until_ns for one in entry.allowances), entry.deadline_ns),
        exact=entry.exact,
        allowances=entry.allowances,
    )
    if not entry.accepts:
        return (row,)
    proposed = _existing(entry.accepts, rows)
    if not proposed.offers(record.time_ns) or proposed.offered_key != row.request_key:
        raise ApprovalConflict(f"approval {proposed.id} has no proposal of this call")
    return (replace(row, votes=proposed.offer), taken(proposed, row.id))


def taken(row: ApprovalRow, by: str) -> ApprovalRow:
    """Return the row without its proposal, which that approval has taken up."""
    return replace(row, offered_key="", offered=b"", taken_by=by)


def _voted(row: ApprovalRow, entry: Vote, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.PENDING)
    _require_in_time(row, row.deadline_ns, now_ns)
    vote = _cast(entry.voter, entry.verdict, entry.comment, entry.fits, now_ns)
    return replace(row, votes=(*row.votes, replace(vote, break_glass=entry.break_glass)))


def _cast(voter: Identity, verdict: Verdict, comment: str, fits: tuple[str, ...], now_ns: int) -> CastVote:
    return CastVote(
        voter=voter.principal,
        verdict=verdict.value,
        comment=comment,
        time_ns=now_ns,
        fits=fits,
        method=voter.method,
        credential_id=voter.credential_id,
        auth_time=voter.auth_time,
        acr=voter.acr,
        amr=voter.amr,
    )


PROPOSED = "Not approved as it is: an approver proposes other arguments."
"""The reason of a denial with a proposal."""


def _proposed(row: ApprovalRow, entry: Proposed, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.PENDING)
    _require_in_time(row, row.decide_by_ns, now_ns)
    if row.allowances:
        raise ApprovalConflict(f"approval {row.id} is a grant, and has no arguments to propose others for")
    vote = _cast(entry.person, Verdict.APPROVE, entry.comment, entry.fits, now_ns)
    return offering(row, vote, entry.request_key, entry.exact)


def offering(row: ApprovalRow, vote: CastVote, request_key: str, exact: bytes) -> ApprovalRow:
    """Return the row as it stands once it was denied with a proposal, which can be taken up for as long as people had to decide
    in all: whoever asked may have waited for them until the last moment."""
    return replace(
        row,
        state=ApprovalState.DENIED,
        reason=PROPOSED,
        settled_ns=vote.time_ns,
        usable_until_ns=vote.time_ns + row.terms.lasts_ns,
        exact=b"",
        offer=(vote,),
        offered_key=request_key,
        offered=exact,
    )


def _lapsed(row: ApprovalRow, now_ns: int) -> ApprovalRow:
    if not row.offered_key or row.offers(now_ns):
        raise ApprovalConflict(f"approval {row.id} has no proposal whose time is over")
    return replace(row, offered_key="", offered=b"")


def _vote_withdrawn(row: ApprovalRow, entry: VoteWithdrawn, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.PENDING)
    standing = [vote for vote in row.votes if vote.voter == entry.voter.principal and not vote.withdrawn_ns]
    if not standing:
        raise ApprovalConflict(f"approval {row.id} has no vote of {entry.voter.principal}")
    return replace(row, votes=tuple(replace(vote, withdrawn_ns=now_ns) if vote in standing else vote for vote in row.votes))


def _escalated(row: ApprovalRow, entry: Escalated, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.PENDING)
    _require_in_time(row, row.deadline_ns, now_ns)
    if entry.level != row.level + 1 or entry.level >= len(row.terms.levels):
        raise ApprovalConflict(f"approval {row.id} is at level {row.level}, and cannot go to {entry.level}")
    if now_ns < row.terms.ends_ns(row.level, row.deadline_ns):
        raise ApprovalConflict(f"level {row.level} of approval {row.id} is not over")
    return replace(row, level=entry.level)


def _settled(row: ApprovalRow, entry: Settled, now_ns: int) -> ApprovalRow:
    match entry.state:
        case SettledAs.APPROVED:
            moved = _moved(row, ApprovalState.APPROVED)
            _require_in_time(row, row.decide_by_ns, now_ns)
            if ballots(row.votes) != entry.ballots:
                raise ApprovalConflict(f"approval {row.id} was counted from other votes than it has")
            glass_ns = now_ns + row.terms.break_glass.lasts_ns if entry.break_glass else row.usable_until_ns
            until_ns = min(row.usable_until_ns, glass_ns)
            approved = replace(moved, usable_until_ns=until_ns, break_glass=entry.break_glass)
            return replace(approved, reason=entry.reason, settled_ns=now_ns)
        case SettledAs.EXPIRED if row.state is ApprovalState.APPROVED and now_ns < row.usable_until_ns:
            raise ApprovalConflict(f"approval {row.id} is approved and its deadline has not passed")
        case _:
            moved = _moved(row, ApprovalState(entry.state.value))
            return replace(moved, reason=entry.reason, settled_ns=row.settled_ns or now_ns, exact=b"")


def _stopped(row: ApprovalRow, entry: Stopped, now_ns: int) -> ApprovalRow:
    moved = _moved(row, ApprovalState(entry.state.value))
    reason = stopped_reason(moved.state)
    remark = _remark(RemarkKind.STOPPED, entry.person, entry.comment, now_ns)
    settled_ns = row.settled_ns or now_ns
    return replace(moved, reason=reason, settled_ns=settled_ns, exact=b"", remarks=(*row.remarks, remark))


def stopped_reason(state: ApprovalState) -> str:
    """Return what is said of an approval that a person ended."""
    return f"It was {state.value} by {'its requester' if state is ApprovalState.WITHDRAWN else 'a person'}."


def _resolved(row: ApprovalRow, entry: Resolved, now_ns: int) -> ApprovalRow:
    _require(row, ApprovalState.INDETERMINATE)
    if row.remarked(RemarkKind.RESOLVED):
        raise ApprovalConflict(f"approval {row.id} is resolved already")
    remark = _remark(RemarkKind.RESOLVED, entry.person, entry.comment, now_ns)
    return replace(row, remarks=(*row.remarks, replace(remark, happened=entry.happened.value)))


def _reviewed(row: ApprovalRow, entry: Reviewed, now_ns: int) -> ApprovalRow:
    if not row.break_glass or row.remarked(RemarkKind.REVIEWED):
        raise ApprovalConflict(f"approval {row.id} has nothing to review")
    return replace(row, remarks=(*row.remarks, _remark(RemarkKind.REVIEWED, entry.person, entry.comment, now_ns)))


def _remark(kind: RemarkKind, person: Identity, comment: str, now_ns: int) -> Remark:
    return Remark(kind=kind, person=person.principal, comment=comment, time_ns=now_ns)


def _spent(row: ApprovalRow, ref: ApprovalRef, call_id: str, now_ns: int) -> ApprovalRow:
    moved = _moved(row, ApprovalState.SPENT)
    _require_given_for(row, ref, now_ns)
    if row.allowances:
        raise ApprovalConflict(f"approval {row.id} is a grant, and not for one call")
    return replace(moved, spent_call=call_id, exact=b"")


def _used(row: ApprovalRow, ref: ApprovalRef, call_id: str, now_ns: int) -> ApprovalRow:
    """Take one use of a grant: calls and total are compared in the transaction that takes it, whoever else takes one."""
    _require(row, ApprovalState.APPROVED)
    _require_given_for(row, ref, now_ns)
    (amount,) = ref.amounts
    if not any(one.has_room(len(row.uses), total_of(row.uses), amount) for one in row.allowances):
        raise ApprovalConflict(f"grant {row.id} has nothing left for this call")
    return replace(row, uses=(*row.uses, Use(call_id=call_id, amount=amount, time_ns=now_ns)))


def use_number(entry: Recordable, rows: Rows) -> Sequence[int]:
    """Return which use of its grant the entry is about to take, the first being 1; nothing if it takes none."""
    match entry:
        case Intent(allow=Allow(approval=ApprovalRef(id=approval_id, amounts=(_,)))):
            return [len(row.uses) + 1 for row in rows.approval(approval_id)]
    return []


def _require_given_for(row: ApprovalRow, ref: ApprovalRef, now_ns: int) -> None:
    _require_in_time(row, row.usable_until_ns, now_ns)
    if row.digest != ref.digest:
        raise ApprovalConflict(f"approval {row.id} was given for other facts")


def _concluded(rows: Sequence[ApprovalRow], call_id: str, state: ApprovalState, record: Record) -> tuple[ApprovalRow, ...]:
    """Only the call that spent it concludes it. A late outcome corrects an `indeterminate`."""
    mine = [row for row in rows if row.spent_call == call_id and state in TRANSITIONS[row.state]]
    granted = [row for row in rows if any(use.call_id == call_id for use in row.uses)]
    return (
        *(replace(row, state=state, outcome_event=record.event_id) for row in mine),
        *(replace(row, uses=concluded(row.uses, call_id, state)) for row in granted),
    )


def concluded(uses: Sequence[Use], call_id: str, state: ApprovalState) -> tuple[Use, ...]:
    """Return the uses once it is known how that call ended. A late outcome corrects an `indeterminate`."""
    open_ = ("", ApprovalState.INDETERMINATE.value)
    return tuple(replace(use, outcome=state.value) if use.call_id == call_id and use.outcome in open_ else use for use in uses)


def _previewed(rows: Sequence[ApprovalRow], record: Record) -> tuple[ApprovalRow, ...]:
    """The first preview of a call stands with it, if people still decide."""
    return tuple(replace(row, preview_event=record.event_id) for row in rows if row.awaits_preview)


def _moved(row: ApprovalRow, to: ApprovalState) -> ApprovalRow:
    """Raises: ApprovalConflict: the table has no way from here to there."""
    if to not in TRANSITIONS[row.state]:
        raise ApprovalConflict(f"approval {row.id} is {row.state.value}, and cannot become {to.value}")
    return replace(row, state=to)


def _require(row: ApprovalRow, state: ApprovalState) -> None:
    if row.state is not state:
        raise ApprovalConflict(f"approval {row.id} is {row.state.value}, not {state.value}")


def _require_in_time(row: ApprovalRow, until_ns: int, now_ns: int) -> None:
    if now_ns >= until_ns:
        raise ApprovalConflict(f"the deadline of approval {row.id} has passed")
