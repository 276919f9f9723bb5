"""What is kept beside the log and can be made again from its records: approvals, open calls, marks and legal holds.

Three things cannot. The exact arguments of a held call, and what is proposed instead, stand nowhere but in its approval, and
encrypted for the desk: they are left as they are, and an approval that has lost them can only be denied. The parts of what
changed stand in its mark alone (see `changes`), so a mark is compared by its hash. And texts that a leaf holds cut are compared
as far as the leaf goes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcpgw.core.allowance import Allowance
from mcpgw.core.terms import Level, Seats, Terms, terms_of
from mcpgw.ledger import changes, holds, summaries
from mcpgw.ledger.approvals import ApprovalRow, concluded, offering, stopped_reason, taken
from mcpgw.ledger.describe import MAX_LIST, MAX_TEXT, cut
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.spans import SPAN, read
from mcpgw.ledger.store import SHARED, OpenCall, Reading, Store, StoredPayload, Transaction
from mcpgw.ports import ENDED_UNUSED, ApprovalState, CastVote, Remark, RemarkKind, Use

_ALL = 2**62
_OPEN = (ApprovalState.PENDING, ApprovalState.APPROVED)
_SPENT = (ApprovalState.SPENT, ApprovalState.INDETERMINATE)


class Projections:
    """What the records say must stand beside them."""

    def __init__(self) -> None:
        self.approvals: dict[str, ApprovalRow] = {}
        self.open_calls: dict[str, OpenCall] = {}
        self.marks: dict[str, str] = {}
        """Without the hashes of parts."""
        self.holds: dict[str, LegalHold] = {}
        self.size = 0

    def take(self, seq: int, members: Members, payloads: Sequence[StoredPayload]) -> None:
        """Take in the next record.

        Raises:
            (ValueError, KeyError, TypeError, AttributeError): it is no leaf of ours.
        """
        self.size = seq + 1
        call, approval = members.get("call", ""), members.get("approval", {})
        row = self.approvals.get(approval.get("id", ""))
        if "aspect" in (facts := members.get("facts", {})):
            self.marks[changes.mark_name(facts["aspect"])] = changes.bare_mark(facts["after"])
        for held in [self.approvals[one] for one in [members.get("previews", "")] if one in self.approvals]:
            if held.awaits_preview and members["kind"] in ("call.outcome", "call.refused"):
                self.approvals[held.id] = replace(held, preview_event=members["id"])
        match members["kind"]:
            case "call.held" if approval["how"] == "opened":
                self._open(_opened(seq, members), approval.get("accepts", ""))
            case "approval.voted" if row:
                self.approvals[row.id] = replace(row, votes=(*row.votes, _vote(members, payloads)))
            case "approval.vote_withdrawn" if row:
                self.approvals[row.id] = _vote_withdrawn(row, members)
            case "approval.proposed" if row:
                self.approvals[row.id] = offering(row, _vote(members, payloads), approval["request_key"], b"")
            case "approval.lapsed" if row:
                self.approvals[row.id] = replace(row, offered_key="")
            case "approval.escalated" if row:
                self.approvals[row.id] = replace(row, level=approval["level"])
            case "approval.settled" | "approval.break_glass" if row:
                self.approvals[row.id] = _settled(row, members)
            case "approval.withdrawn" | "approval.revoked" if row:
                state = ApprovalState(approval["state"])
                stopped = replace(row, state=state, reason=stopped_reason(state), settled_ns=_settled_ns(row, members))
                self.approvals[row.id] = _remarked(stopped, RemarkKind.STOPPED, members, payloads)
            case "approval.resolved" if row:
                self.approvals[row.id] = _remarked(row, RemarkKind.RESOLVED, members, payloads)
            case "approval.reviewed" if row:
                self.approvals[row.id] = _remarked(row, RemarkKind.REVIEWED, members, payloads)
            case "call.intent":
                self.open_calls[call] = OpenCall(call, seq, members["node"], approval.get("id", ""))
                if row and row.allowances:
                    self.approvals[row.id] = replace(row, uses=(*row.uses, _use(members)))
                elif row:
                    self.approvals[row.id] = replace(row, state=ApprovalState.SPENT, spent_call=call)
            case "call.outcome" | "call.indeterminate":
                self.open_calls.pop(call, None)
                if row and row.allowances:
                    self.approvals[row.id] = replace(row, uses=concluded(row.uses, call, _ended(members)))
                if row and row.spent_call == call and row.state in _SPENT:
                    self.approvals[row.id] = replace(row, state=_ended(members), outcome_event=members["id"])
            case holds.HELD:
                hold = holds.hold_of(members)
                self.holds[hold.id] = hold
            case holds.RELEASED:
                self.holds.pop(facts["id"], None)
            case "summary.daily" if facts["page"] == facts["pages"]:
                self.marks[summaries.MARK] = str(facts["to"])

    def _open(self, row: ApprovalRow, accepts: str) -> None:
        if accepts in self.approvals:
            row = replace(row, votes=self.approvals[accepts].offer)
            self.approvals[accepts] = taken(self.approvals[accepts], row.id)
        self.approvals[row.id] = row

    def read(self, store: Reading, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Take in the records that the store has and this has not.

        Raises:
            LedgerUnavailable: they cannot be read.
            (ValueError, KeyError, TypeError, AttributeError): one of them is no leaf of ours.
        """
        total = store.size()
        for start in range(self.size, total, SPAN):
            for record, payloads in read(store, range(start, min(start + SPAN, total))):
                self.take(record.seq, parse(record.leaf), payloads)
            progress(min(start + SPAN, total), total)

    def wrong_marks(self, stored: Mapping[str, str]) -> Mapping[str, str]:
        """Return what those marks must be that are not as the records say. One that no record tells of must be as if new."""
        told = [name for name in stored if not name.startswith(SHARED)]
        new = {name: "0" if name == summaries.MARK else changes.bare_mark("") for name in told}
        return {
            name: value
            for name, value in {**new, **self.marks}.items()
            if name not in stored or changes.hash_in(stored[name]) != changes.hash_in(value)
        }

    def differences(
        self,
        approvals: Sequence[ApprovalRow],
        open_calls: Sequence[OpenCall],
        marks: Mapping[str, str],
        standing: Sequence[LegalHold],
    ) -> Iterator[str]:
        """Yield a sentence for each thing that is not as the records say."""
        stored = {row.id: row for row in approvals}
        for approval_id, row in self.approvals.items():
            found = stored.pop(approval_id, None)
            if found is None:
                yield f"approval {approval_id} is missing" + (", and its exact arguments with it" if row.state in _OPEN else "")
            elif wrong := _differing(row, found):
                yield f"approval {approval_id} is not what its records say: {', '.join(wrong)}"
        for row in stored.values():
            if row.state not in ENDED_UNUSED:
                yield f"approval {row.id} stands in no record, and is {row.state.value}"
        calls = {call.call_id: call for call in open_calls}
        for call_id, call in self.open_calls.items():
            if calls.pop(call_id, None) != call:
                yield f"call {call_id} has an intent and no end, and is not among the open calls as it should be"
        for call_id in calls:
            yield f"call {call_id} is among the open calls, and no intent of it is open"
        for name in sorted(self.wrong_marks(marks)):
            yield f"the mark {name} is not what the records say"
        for hold in {*standing} ^ {*self.holds.values()}:
            yield f"the legal hold {hold.id} does not stand as its records say"


@dataclass(frozen=True, slots=True)
class Hidden:
    """What of an approval stands in no record, encrypted by the desk."""

    exact: bytes = b""
    offered: bytes = b""


def compare(store: Reading, progress: Callable[[int, int], None] = lambda done, total: None) -> Sequence[str]:
    """Return what is not as the records say, a sentence each, at one moment. Raises as `Projections.read`."""
    expected = Projections()
    with store.snapshot():
        expected.read(store, progress)
        return [*expected.differences(store.approvals((), (), _ALL), store.open_calls(), store.marks(), store.holds())]


def rebuild(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> Sequence[str]:
    """Put right what is not as the records say, and return what that was. Gateways wait only while the end is read.

    Raises as `Projections.read`; then nothing was changed.
    """
    expected = Projections()
    with store.snapshot():
        expected.read(store, progress)
    tx = store.begin()
    expected.read(store)  # what came meanwhile; from here on nobody else writes
    stored, marks = store.approvals((), (), _ALL), store.marks()
    wrong = [*expected.differences(stored, tx.open_calls(), marks, tx.holds())]
    repaired(tx, expected, stored, marks, {row.id: Hidden(row.exact, row.offered) for row in stored})
    tx.commit()
    return wrong


def repaired(
    tx: Transaction,
    expected: Projections,
    stored: Sequence[ApprovalRow],
    marks: Mapping[str, str],
    hidden: Mapping[str, Hidden],
) -> None:
    """Write what is not as the records say. An approval that stands in no record is void from now on."""
    standing = {row.id: row for row in stored}
    for row in expected.approvals.values():
        found = standing.pop(row.id, None)
        if found is None or _differing(row, found):
            kept = hidden.get(row.id, Hidden())
            exact, offered = kept.exact if row.state in _OPEN else b"", kept.offered if row.offered_key else b""
            tx.save_approval(replace(row, exact=exact, offered=offered))
    for row in standing.values():
        if row.state not in ENDED_UNUSED:
            tx.save_approval(
                replace(
                    row, state=ApprovalState.EXPIRED, reason="It stands in no record.", exact=b"", offered_key="", offered=b""
                )
            )
    calls = {call.call_id: call for call in tx.open_calls()}
    for call in expected.open_calls.values():
        if calls.pop(call.call_id, None) != call:
            tx.open_call(call)
    for call_id in calls:
        tx.close_call(call_id)
    for name, value in expected.wrong_marks(marks).items():
        tx.save_mark(name, value)
    for hold in {*tx.holds()} ^ {*expected.holds.values()}:
        tx.remove_hold(hold.id)
    for hold in {*expected.holds.values()} - {*tx.holds()}:
        tx.save_hold(hold)


def _opened(seq: int, members: Members) -> ApprovalRow:
    approval, decision, who = members["approval"], members["decision"], members["who"]
    granted = [approval["grant"]] if "grant" in approval else []
    allowances = tuple(Allowance(**{**one, "until_ns": int(one["until_ns"])}) for one in granted)
    return ApprovalRow(
        id=approval["id"],
        state=ApprovalState.PENDING,
        digest=approval["digest"],
        request_key=approval["request_key"],
        held_seq=seq,
        call_id=members["call"],
        requester=f"{who['iss']}#{who['sub']}",
        actors=tuple(who["actors"]),
        target=members["target"]["name"],
        terms=_terms(members),
        rule_ids=tuple(decision["rules"]),
        reason=decision["reason"],
        policy_hash=decision["policy"],
        opened_ns=int(members["time_ns"]),
        deadline_ns=int(approval["deadline_ns"]),
        usable_until_ns=next((one.until_ns for one in allowances), int(approval["deadline_ns"])),
        allowances=allowances,
    )


def _terms(members: Members) -> Terms:
    """Return what people had to do, also as records said it before there were terms."""
    approval = members["approval"]
    if "terms" in approval:
        return terms_of(approval["terms"])
    lasts_ns = int(approval["deadline_ns"]) - int(members["time_ns"])
    return Terms(levels=(Level(seats=(Seats(approval["quorum"], tuple(approval["approvers"])),), lasts_ns=lasts_ns),))


def _vote(members: Members, payloads: Sequence[StoredPayload]) -> CastVote:
    who = members["who"]
    approval = members["approval"]
    known = "fits" in approval  # what earlier records do not say was not kept of these votes either
    return CastVote(
        voter=_principal(members),
        verdict=approval.get("verdict", "approve"),  # a proposal is a vote for the call that it proposes
        comment=_comment(payloads),
        time_ns=int(members["time_ns"]),
        fits=tuple(approval.get("fits", ())),
        break_glass=approval.get("break_glass", False),
        method=who["method"] if known else "",
        credential_id=who["credential"] if known else "",
        auth_time=who["auth_time"] if known else 0,
        acr=who.get("acr", ""),
        amr=tuple(who["amr"]) if known else (),
    )


def _use(members: Members) -> Use:
    return Use(call_id=members["call"], amount=members["approval"]["use"]["amount"], time_ns=int(members["time_ns"]))


def _vote_withdrawn(row: ApprovalRow, members: Members) -> ApprovalRow:
    voter, now_ns = _principal(members), int(members["time_ns"])
    return replace(
        row,
        votes=tuple(
            replace(vote, withdrawn_ns=now_ns) if vote.voter == voter and not vote.withdrawn_ns else vote for vote in row.votes
        ),
    )


def _settled(row: ApprovalRow, members: Members) -> ApprovalRow:
    approval, now_ns = members["approval"], int(members["time_ns"])
    state, break_glass = ApprovalState(approval["state"]), members["kind"] == "approval.break_glass"
    until_ns = row.usable_until_ns
    if break_glass:
        until_ns = min(row.usable_until_ns, now_ns + row.terms.break_glass.lasts_ns)
    return replace(
        row,
        state=state,
        reason=approval["reason"],
        usable_until_ns=until_ns,
        settled_ns=_settled_ns(row, members),
        break_glass=row.break_glass or break_glass,
    )


def _settled_ns(row: ApprovalRow, members: Members) -> int:
    return row.settled_ns or int(members["time_ns"])


def _remarked(row: ApprovalRow, kind: RemarkKind, members: Members, payloads: Sequence[StoredPayload]) -> ApprovalRow:
    remark = Remark(
        kind=kind,
        person=_principal(members),
        comment=_comment(payloads),
        time_ns=int(members["time_ns"]),
        happened=members["approval"].get("happened", ""),
    )
    return replace(row, remarks=(*row.remarks, remark))


def _principal(members: Members) -> str:
    return f"{members['who']['iss']}#{members['who']['sub']}"


def _comment(payloads: Sequence[StoredPayload]) -> str:
    comments = [json.loads(unpack(payload.packed)) for payload in payloads if payload.slot == "comment"]
    return comments[0] if comments else ""


def _ended(members: Members) -> ApprovalState:
    match members["outcome"]["class"]:
        case "completed" | "tool_error":
            return ApprovalState.DONE
        case "indeterminate":
            return ApprovalState.INDETERMINATE
    return ApprovalState.FAILED


def _differing(expected: ApprovalRow, found: ApprovalRow) -> Sequence[str]:
    """Return the names of the columns that are not as the records say, as far as these go."""
    shown = replace(
        found,
        exact=b"",
        offered=b"",
        reason=cut(found.reason, MAX_TEXT),
        actors=found.actors[:MAX_LIST],
        rule_ids=found.rule_ids[:MAX_LIST],
    )
    wrong = [name for name in expected.__slots__ if getattr(expected, name) != getattr(shown, name)]
    wrong += ["exact"] if found.exact and expected.state not in _OPEN else []
    return [*wrong, "offered"] if found.offered and not expected.offered_key else wrong
