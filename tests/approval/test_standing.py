"""The states as tables: what is due in each, what the caller is told in each."""

from dataclasses import replace

import pytest

from mcpgw.approval.answers import answer
from mcpgw.approval.people import names, same_person
from mcpgw.approval.standing import Standing, weigh
from mcpgw.core.entries import (
    Escalated,
    Settled,
    SettledAs,
)
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    CleanJson,
    Deny,
)
from mcpgw.core.terms import BreakGlass, Freshness, Level, Seats, Terms
from mcpgw.ports import TRANSITIONS, Approval, ApprovalState, CastVote
from tests.approval.world import ALICE, BOB, CAROL, HOLD, LEADS, REPLY, START_NS, TRANSFER

P, A, S = ApprovalState.PENDING, ApprovalState.APPROVED, ApprovalState.SPENT
DEADLINE_NS = START_NS + 1_000
BEFORE, AT = DEADLINE_NS - 1, DEADLINE_NS

YES = CastVote(voter=BOB.principal, verdict="approve", comment="", time_ns=START_NS, fits=LEADS)
NO = CastVote(voter=CAROL.principal, verdict="deny", comment="", time_ns=START_NS, fits=LEADS)

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
    terms=Terms(levels=(Level(seats=(Seats(1, LEADS),), lasts_ns=1_000),)),
    level=0,
    rule_ids=HOLD.ruling.rule_ids,
    reason="the settlement's reason",
    policy_hash=HOLD.ruling.policy_hash,
    opened_ns=START_NS,
    deadline_ns=DEADLINE_NS,
    usable_until_ns=DEADLINE_NS,
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
    (A, (), BEFORE, [SettledAs.REVOKED]),
    (A, (YES, NO), BEFORE, [SettledAs.REVOKED]),
    (A, (YES,), AT, [SettledAs.EXPIRED]),
    *((state, (YES,), AT, []) for state in ApprovalState if state not in (P, A)),
]


def at(approval: Approval, now_ns: int, gone: frozenset[str] = frozenset()) -> Standing:
    """How it stands, with some entries meaning nobody any more."""
    return weigh(approval, lambda vote: frozenset(vote.fits) - gone, now_ns)


@pytest.mark.parametrize(("state", "votes", "now_ns", "expected"), DUE)
def test_due_is(state: ApprovalState, votes: tuple[CastVote, ...], now_ns: int, expected: list[SettledAs]) -> None:
    settled = at(replace(BASE, state=state, votes=votes), now_ns).due()
    assert [entry.state for entry in settled if isinstance(entry, Settled)] == expected
    assert all(isinstance(entry, Settled) for entry in settled)
    assert all(ApprovalState(entry.state.value) in TRANSITIONS[state] for entry in settled if isinstance(entry, Settled))
    assert all(entry.approval_id == BASE.id for entry in settled)


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
    (ApprovalState.WITHDRAWN, (), BEFORE, Deny, "the settlement's reason"),
    (ApprovalState.REVOKED, (YES,), BEFORE, Deny, "the settlement's reason"),
]


@pytest.mark.parametrize(("state", "votes", "now_ns", "kind", "words"), ANSWERS)
def test_the_caller_is_told(
    state: ApprovalState, votes: tuple[CastVote, ...], now_ns: int, kind: type | None, words: str
) -> None:
    answers = answer(at(replace(BASE, state=state, votes=votes), now_ns), HOLD)
    assert [type(one) for one in answers] == ([kind] if kind else [])
    for one in answers:
        if isinstance(one, Deny):
            assert words in one.ruling.reason
            assert one.approval_id == BASE.id
            assert (one.ruling.rule_ids, one.ruling.policy_hash) == (HOLD.ruling.rule_ids, HOLD.ruling.policy_hash)


def test_a_denial_is_not_counted_as_an_approval() -> None:
    two = Terms.simple(LEADS, 2)
    assert at(replace(BASE, terms=two, votes=(YES, NO)), BEFORE).tally == "1 of 2 approved"


def test_the_caller_of_a_done_call_gets_its_reply() -> None:
    assert answer(at(replace(BASE, state=ApprovalState.DONE, done=(DONE,)), BEFORE), HOLD) == (DONE,)


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


# --- seats ---------------------------------------------------------------------------------------------------------------


def yes(who: str, *fits: str, **changes: object) -> CastVote:
    vote = CastVote(voter=f"iss#{who}", verdict="approve", comment="", time_ns=START_NS, fits=fits)
    return replace(vote, **changes)  # type: ignore[arg-type]


L, R, H = "group:leads", "group:risk", "group:heads"
TWO_AND_ONE = (Seats(2, (L,)), Seats(1, (R,)))
SEATED: list[tuple[str, tuple[Seats, ...], tuple[CastVote, ...], list[int], bool]] = [
    ("nobody", TWO_AND_ONE, (), [0, 0], False),
    ("one person has one seat, whatever they are", TWO_AND_ONE, (yes("a", L, R), yes("b", L)), [2, 0], False),
    ("who can sit elsewhere makes room", TWO_AND_ONE, (yes("a", L, R), yes("b", L), yes("c", L)), [2, 1], True),
    ("whatever the order", TWO_AND_ONE, (yes("b", R), yes("a", L, R), yes("c", L)), [2, 1], True),
    ("a crowd of one kind fills no other seats", TWO_AND_ONE, tuple(yes(name, L) for name in "abcde"), [2, 0], False),
    ("either of two lists", (Seats(2, (L, R)),), (yes("a", L), yes("b", R)), [2], True),
    ("twice the same person", (Seats(2, (L,)),), (yes("a", L), yes("A", L)), [1], False),
    ("nobody of these", (Seats(1, (L,)),), (yes("a", H),), [0], False),
    ("a vote that was taken back", (Seats(1, (L,)),), (yes("a", L, withdrawn_ns=1),), [0], False),
    ("a vote given anew", (Seats(1, (L,)),), (yes("a", L, withdrawn_ns=1), yes("a", L)), [1], True),
    ("break-glass fills no seat", (Seats(1, (L,)),), (yes("a", L, break_glass=True),), [0], False),
    ("without a seat nobody agrees", (), (yes("a", L),), [], False),
]


@pytest.mark.parametrize(("seats", "votes", "taken", "full"), [row[1:] for row in SEATED], ids=[row[0] for row in SEATED])
def test_seats_are_filled(seats: tuple[Seats, ...], votes: tuple[CastVote, ...], taken: list[int], full: bool) -> None:
    standing = at(replace(BASE, terms=Terms(levels=(Level(seats=seats, lasts_ns=1_000),)), votes=votes), BEFORE)
    assert [len(one.people) for one in standing.taken] == taken
    assert standing.has_quorum is full


def test_seats_are_told_in_words() -> None:
    terms = Terms(levels=(Level(seats=TWO_AND_ONE, lasts_ns=1_000),))
    standing = at(replace(BASE, terms=terms, votes=(yes("a", L), yes("b", R))), BEFORE)
    assert [str(seats) for seats in standing.taken] == ["1 of 2 of group:leads", "1 of 1 of group:risk"]
    assert standing.tally == "2 of 3 approved"


def test_whoever_is_no_approver_any_more_counts_no_more() -> None:
    both = replace(BASE, votes=(yes("a", *LEADS),))
    assert at(both, BEFORE).has_quorum
    after = at(both, BEFORE, frozenset(LEADS))
    assert (after.has_quorum, after.void) == (False, ("iss#a",))
    assert [entry.state for entry in at(replace(both, state=A), BEFORE, frozenset(LEADS)).due()] == [SettledAs.REVOKED]  # type: ignore[union-attr]


FRESH = Freshness(max_age_ns=60_000_000_000, acr=("gold",), amr=("mfa", "hwk"))
SIGNED_IN = {"auth_time": START_NS // 1_000_000_000, "acr": "gold", "amr": ("hwk", "mfa", "pwd")}


@pytest.mark.parametrize(
    ("changes", "later_s", "counts"),
    [
        ({}, 0, True),
        ({}, 60, True),
        ({}, 61, False),
        ({"auth_time": 0}, 0, False),
        ({"acr": "silver"}, 0, False),
        ({"acr": ""}, 0, False),
        ({"amr": ("mfa",)}, 0, False),
    ],
)
def test_a_vote_counts_while_its_sign_in_is_as_the_rule_asks(changes: dict[str, object], later_s: int, counts: bool) -> None:
    terms = Terms(levels=(Level(seats=(Seats(1, LEADS),), lasts_ns=10**12),), freshness=FRESH)
    deadline_ns = START_NS + 10**12
    vote = yes("a", *LEADS, **{**SIGNED_IN, **changes})
    approval = replace(BASE, terms=terms, deadline_ns=deadline_ns, usable_until_ns=deadline_ns, votes=(vote,))
    assert at(approval, START_NS + later_s * 10**9).has_quorum is counts


# --- silence, objections, break-glass ------------------------------------------------------------------------------------

ASKED = ((L, 500), (R, 300), (H, 200))
STEPS = Terms(levels=tuple(Level(seats=(Seats(1, (entry,)),), lasts_ns=lasts_ns) for entry, lasts_ns in ASKED))


@pytest.mark.parametrize(
    ("level", "after_ns", "votes", "expected"),
    [
        (0, 499, (), []),
        (0, 500, (), [1]),
        (0, 999, (), [1]),
        (0, 500, (yes("a", L),), [1]),
        (1, 799, (), []),
        (1, 800, (), [2]),
        (2, 999, (), []),
    ],
)
def test_silence_goes_on_to_others(level: int, after_ns: int, votes: tuple[CastVote, ...], expected: list[int]) -> None:
    due = at(replace(BASE, terms=STEPS, level=level, votes=votes), START_NS + after_ns).due()
    assert [entry.level for entry in due if isinstance(entry, Escalated)] == expected
    assert len(due) == len(expected)


def test_after_an_escalation_the_votes_of_before_fill_the_seats_that_they_fit() -> None:
    escalated = replace(BASE, terms=STEPS, level=1, votes=(yes("a", L), yes("b", L, R)))
    assert [one.people for one in at(escalated, START_NS + 600).taken] == [("iss#b",)]
    assert not at(replace(escalated, votes=(yes("a", L),)), START_NS + 600).has_quorum


def test_an_objection_that_does_not_settle_stands_in_the_way() -> None:
    terms = replace(Terms.simple(LEADS), denial_settles=False)
    base = replace(BASE, terms=terms, deadline_ns=START_NS + 10**12, usable_until_ns=START_NS + 10**12)
    assert at(replace(base, votes=(YES, NO)), START_NS).due() == ()
    (over,) = at(replace(base, votes=(YES, NO)), START_NS + 10**12).due()
    assert isinstance(over, Settled) and over.state is SettledAs.DENIED
    taken_back = replace(base, votes=(YES, replace(NO, withdrawn_ns=1)))
    (agreed,) = at(taken_back, START_NS).due()
    assert isinstance(agreed, Settled) and (agreed.state, agreed.ballots) == (SettledAs.APPROVED, 3)


GLASS = replace(BASE.terms, break_glass=BreakGlass(openers=(H,), lasts_ns=100))


@pytest.mark.parametrize(
    ("votes", "approved", "by_glass"),
    [
        ((yes("a", H, break_glass=True),), False, False),
        ((yes("a", H, break_glass=True), yes("A", H, break_glass=True)), False, False),
        ((yes("a", H, break_glass=True), yes("b", L, break_glass=True)), False, False),
        ((yes("a", H, break_glass=True), yes("b", H)), False, False),
        ((yes("a", H, break_glass=True), yes("b", H, break_glass=True)), True, True),
        ((yes("a", H, break_glass=True), yes("b", H, break_glass=True), NO), False, False),
        ((yes("a", H, break_glass=True), yes("b", H, break_glass=True), YES), True, False),
        ((yes("alice", H, break_glass=True), yes("b", H, break_glass=True)), False, False),
    ],
)
def test_the_glass_takes_two_openers(votes: tuple[CastVote, ...], approved: bool, by_glass: bool) -> None:
    due = at(replace(BASE, terms=GLASS, votes=votes), BEFORE).due()
    found = [(entry.state is SettledAs.APPROVED, entry.break_glass) for entry in due if isinstance(entry, Settled)]
    assert (approved, by_glass) in found if approved else not any(state for state, _ in found)


def test_what_was_approved_by_glass_needs_those_two_and_no_others() -> None:
    two = (yes("a", H, break_glass=True), yes("b", H, break_glass=True))
    approved = replace(BASE, terms=GLASS, state=A, break_glass=True, votes=two)
    assert at(approved, BEFORE).due() == ()
    assert at(replace(approved, votes=(YES,)), BEFORE).due() != ()
    assert [entry.state for entry in at(approved, BEFORE, frozenset({H})).due()] == [SettledAs.REVOKED]  # type: ignore[union-attr]
    assert [entry.state for entry in at(replace(approved, usable_until_ns=BEFORE), BEFORE).due()] == [SettledAs.EXPIRED]  # type: ignore[union-attr]
