"""The states as tables: what is due in each, what the caller is told in each."""

from dataclasses import replace

import pytest

from mcpgw.approval.answers import answer
from mcpgw.approval.people import names, same_person
from mcpgw.approval.standing import TRANSITIONS, due, tally
from mcpgw.core.model import Allow, AlreadyDone, CleanJson, Deny, SettledAs
from mcpgw.ports import Approval, ApprovalState, CastVote
from tests.approval.world import ALICE, BOB, CAROL, HOLD, REPLY, START_NS, TRANSFER

P, A, S = ApprovalState.PENDING, ApprovalState.APPROVED, ApprovalState.SPENT
DEADLINE_NS = START_NS + 1_000
BEFORE, AT = DEADLINE_NS - 1, DEADLINE_NS

YES = CastVote(voter=BOB.principal, verdict="approve", comment="", time_ns=START_NS)
NO = CastVote(voter=CAROL.principal, verdict="deny", comment="", time_ns=START_NS)

BASE = Approval(
    id="apr_1",
    state=P,
    digest="d",
    request_key="k",
    call_id="call-1",
    requester=ALICE.principal,
    actors=("agent-7",),
    target=TRANSFER,
    facts=CleanJson({}),
    exact=b"",
    approvers=HOLD.approvers,
    quorum=1,
    rule_ids=HOLD.ruling.rule_ids,
    reason="the settlement's reason",
    policy_hash=HOLD.ruling.policy_hash,
    opened_ns=START_NS,
    deadline_ns=DEADLINE_NS,
    votes=(),
)
DONE = AlreadyDone(approval_id="apr_1", call_id="call-1", reply=REPLY)

DUE: list[tuple[ApprovalState, tuple[CastVote, ...], int, list[SettledAs]]] = [
    (P, (), BEFORE, []),
    (P, (), AT, [SettledAs.EXPIRED]),
    (P, (YES,), BEFORE, [SettledAs.APPROVED]),
    (P, (YES,), AT, [SettledAs.EXPIRED]),
    (P, (NO,), BEFORE, [SettledAs.DENIED]),
    (P, (NO,), AT, [SettledAs.DENIED]),
    (P, (YES, NO), BEFORE, [SettledAs.DENIED]),
    (P, (NO, YES), AT, [SettledAs.DENIED]),
    (P, (replace(YES, voter=ALICE.principal),), BEFORE, []),
    (P, (replace(YES, voter="https://other.example#agent-7"),), BEFORE, []),
    (A, (YES,), BEFORE, []),
    (A, (YES,), AT, [SettledAs.EXPIRED]),
    *((state, (YES,), AT, []) for state in ApprovalState if state not in (P, A)),
]


@pytest.mark.parametrize(("state", "votes", "now_ns", "expected"), DUE)
def test_due_is(state: ApprovalState, votes: tuple[CastVote, ...], now_ns: int, expected: list[SettledAs]) -> None:
    settled = due(replace(BASE, state=state, votes=votes), now_ns)
    assert [entry.state for entry in settled] == expected
    assert all(ApprovalState(entry.state.value) in TRANSITIONS[state] for entry in settled)
    assert all(entry.approval_id == BASE.id and entry.reason for entry in settled)


ANSWERS: list[tuple[ApprovalState, tuple[CastVote, ...], int, type | None, str]] = [
    (P, (), BEFORE, None, ""),
    (P, (), AT, Deny, "by the deadline"),
    (P, (NO,), BEFORE, Deny, "Denied by an approver"),
    (A, (YES,), BEFORE, Allow, ""),
    (A, (YES,), AT, Deny, "by the deadline"),
    (A, (YES, NO), BEFORE, Deny, "Denied by an approver"),
    (A, (), BEFORE, Deny, "votes do not make the quorum"),
    (S, (YES,), BEFORE, None, ""),
    (S, (YES,), AT, None, ""),
    (ApprovalState.DONE, (YES,), BEFORE, Deny, "its result is no longer kept"),
    (ApprovalState.FAILED, (YES,), BEFORE, Deny, "and failed. It is not sent again by itself"),
    (ApprovalState.INDETERMINATE, (YES,), BEFORE, Deny, "its outcome is unknown. It is not sent again by itself"),
    (ApprovalState.DENIED, (NO,), BEFORE, Deny, "the settlement's reason"),
    (ApprovalState.EXPIRED, (), AT, Deny, "the settlement's reason"),
]


@pytest.mark.parametrize(("state", "votes", "now_ns", "kind", "words"), ANSWERS)
def test_the_caller_is_told(
    state: ApprovalState, votes: tuple[CastVote, ...], now_ns: int, kind: type | None, words: str
) -> None:
    answers = answer(replace(BASE, state=state, votes=votes), HOLD, now_ns)
    assert [type(one) for one in answers] == ([kind] if kind else [])
    for one in answers:
        if isinstance(one, Deny):
            assert words in one.ruling.reason
            assert one.approval_id == BASE.id
            assert (one.ruling.rule_ids, one.ruling.policy_hash) == (HOLD.ruling.rule_ids, HOLD.ruling.policy_hash)


def test_a_denial_is_not_counted_as_an_approval() -> None:
    assert tally(replace(BASE, quorum=2, votes=(YES, NO))) == "1 of 2 approved"


def test_the_caller_of_a_done_call_gets_its_reply() -> None:
    assert answer(replace(BASE, state=ApprovalState.DONE, done=(DONE,)), HOLD, BEFORE) == (DONE,)


def test_every_state_has_its_line_in_the_tables() -> None:
    assert set(TRANSITIONS) == {state for state, *_ in DUE} == {state for state, *_ in ANSWERS} == set(ApprovalState)


SAME = [
    ("iss#alice", "alice", True),
    ("iss#alice", "other#alice", True),
    ("iss#alice", "iss#ALICE", True),
    ("iss#\uff41lice", "alice", True),
    ("https://x/#frag#alice", "y#alice", True),
    ("iss#team#alice", "team#alice", True),
    ("iss#alice", "iss#bob", False),
    ("alice#bob", "iss#alice", False),
    ("iss#malice", "iss#alice", False),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_two_principals_may_be_one_person(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same is same_person(other, one)


def test_a_principal_goes_by_itself_and_its_subject_but_not_by_its_issuer() -> None:
    assert names("Iss#Alice") == {"iss#alice", "alice"}
