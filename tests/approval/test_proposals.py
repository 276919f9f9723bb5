"""Edit and approve: what an approver proposes runs only once its requester has called for it, and counts for nothing else."""

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest

from mcpgw.approval import NotEntitled
from mcpgw.approval.proposal import MAX_PROPOSED_BYTES, differences
from mcpgw.core.entries import (
    Event,
    Lapsed,
    Proposed,
    Verdict,
)
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    Change,
    Deny,
    Hold,
    Identity,
    IdentityKind,
    Patience,
    Proposal,
    ShownCall,
    Waiting,
)
from mcpgw.core.terms import Freshness, Level, Seats
from mcpgw.ports import Approval, ApprovalState
from tests.approval.granting import asked
from tests.approval.world import (
    ALICE,
    ARGUMENTS,
    BOB,
    CAROL,
    DAVE,
    DEADLINE_S,
    HOLD,
    IBAN,
    KEY,
    LEADS,
    MALLORY,
    PATIENT,
    RAW,
    TOOL,
    Witness,
    World,
    asking,
    needing,
    person,
)

LESS = {**ARGUMENTS, "amount": 500}
NOW = Patience(budget_s=0.0)


async def held(world: World, hold: Hold = HOLD, identity: Identity = ALICE) -> Approval:
    """Hold a call of Alice's, and return its approval."""
    await world.settle(world.call(identity), hold, NOW)
    return list(world.ledger.records.values())[-1]


async def proposed(world: World, hold: Hold = HOLD, by: Identity = BOB, arguments: dict[str, Any] | None = None) -> Approval:
    """Hold a call, and have somebody propose that it be for less."""
    approval = await held(world, hold)
    return await world.desk.propose(approval.id, by, LESS if arguments is None else arguments, "at most 500")


async def called(world: World, hold: Hold = HOLD, **changed: Any) -> tuple[object, Approval]:
    """Make the proposed call, and return what the desk answers and the newest approval."""
    answer = await world.settle(world.call(**{"arguments": LESS, **changed}), hold, NOW)
    return answer, list(world.ledger.records.values())[-1]


async def test_the_requester_who_waits_is_told_what_would_be_approved_and_it_runs_once_called_for(world: World) -> None:
    async def bob_proposes() -> None:
        (pending,) = await world.ledger.approvals()
        sheet = await world.desk.show(pending.id, BOB)
        denied = await world.desk.propose(pending.id, BOB, LESS, "at most 500", shown=sheet.commitment)
        assert (denied.state, denied.exact) == (ApprovalState.DENIED, b"")

    world.time.at(25.0, bob_proposes)
    answer = await world.settle(patience=PATIENT)
    assert isinstance(answer, Deny) and answer.ruling.reason == "Not approved as it is: an approver proposes other arguments."
    original = answer.approval_id
    (told,) = answer.proposal
    assert told == Proposal(
        approval_id=original,
        proposer=BOB.principal,
        arguments=LESS,
        changes=(Change(path="amount", before="12500", after="500"),),
        comment="at most 500",
        until_ns=world.time.now_ns() + round(DEADLINE_S * 1e9),
    )
    (entry,) = [entry for entry in world.ledger.entries if isinstance(entry, Proposed)]
    assert entry.changed == ("amount",) and IBAN not in repr((entry.changed, entry.arguments, entry.request_key))
    assert IBAN.encode() not in entry.exact

    released, accepted = await called(world, arguments=dict(reversed(LESS.items())))
    assert isinstance(released, Allow) and released.approval is not None and released.approval.id == accepted.id != original
    (vote,) = accepted.votes
    assert (vote.voter, vote.verdict, vote.comment, vote.fits) == (BOB.principal, "approve", "at most 500", LEADS)
    taken = world.ledger.records[original]
    assert (taken.taken_by, taken.offered) == (accepted.id, b"")


async def test_asked_again_as_it_was_it_is_answered_with_the_proposal_until_that_lapses(world: World) -> None:
    approval = await proposed(world)
    for _ in range(2):
        answer = await world.settle(patience=NOW)
        assert isinstance(answer, Deny) and answer.approval_id == approval.id
        assert [one.arguments for one in answer.proposal] == [LESS]
    world.later(DEADLINE_S)
    assert isinstance(await world.settle(patience=NOW), Waiting), "a new question to people"
    assert len(world.ledger.rows) == 2


async def test_a_larger_quorum_has_to_be_filled_by_others_and_no_vote_is_carried_over(world: World) -> None:
    hold = asking(2)
    first = await held(world, hold)
    await world.desk.vote(first.id, CAROL, Verdict.APPROVE)
    await world.desk.propose(first.id, BOB, LESS)
    answer, accepted = await called(world, hold)
    assert isinstance(answer, Waiting)
    assert [vote.voter for vote in accepted.votes] == [BOB.principal], "Carol approved other arguments"
    with pytest.raises(ApprovalConflict, match="voted"):
        await world.desk.vote(accepted.id, BOB, Verdict.APPROVE)
    await world.desk.vote(accepted.id, CAROL, Verdict.APPROVE)
    assert isinstance((await called(world, hold))[0], Allow)


OTHERS: dict[str, tuple[dict[str, Any], Hold]] = {
    "a cent more": ({"arguments": {**LESS, "amount": 500.01}}, HOLD),
    "one argument more": ({"arguments": {**LESS, "urgent": True}}, HOLD),
    "look-alike letters": ({"arguments": {**LESS, "memo": "r\u0435nt"}}, HOLD),
    "another requester": ({"identity": person("alicia", "tellers")}, HOLD),
    "the same subject of another issuer": ({"identity": replace(ALICE, issuer="mcpgw:keys")}, HOLD),
    "through an agent": ({"identity": replace(ALICE, actors=("agent-7",))}, HOLD),
    "another tool": ({"target": replace(TOOL, name="bank__wire")}, HOLD),
    "another definition": ({"target": replace(TOOL, definition_hash="e" * 64)}, HOLD),
    "another server": ({"target": replace(TOOL, server_fingerprint="e" * 64)}, HOLD),
    "another policy": ({}, replace(HOLD, ruling=replace(HOLD.ruling, policy_hash="q" * 64))),
    "another rule": ({}, replace(HOLD, ruling=replace(HOLD.ruling, rule_ids=("big-transfer", "risk.high")))),
    "other people": ({}, asking(1, ("group:payments-leads", "group:heads"))),
}


@pytest.mark.parametrize("case", OTHERS)
async def test_whatever_else_is_called_is_a_new_call_without_a_vote(world: World, case: str) -> None:
    approval = await proposed(world)
    changed, hold = OTHERS[case]
    answer, opened = await called(world, hold, **changed)
    assert isinstance(answer, Waiting) and opened.votes == () and opened.id != approval.id
    assert world.ledger.records[approval.id].taken_by == "", "and the proposal stands"


async def test_it_is_taken_up_once(world: World) -> None:
    hold = asking(2)
    await proposed(world, hold)
    answers: list[object] = []

    async def call() -> None:
        answers.append(await world.new_desk().settle(world.call(arguments=LESS), hold, NOW, Witness()))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(call)
    assert all(isinstance(answer, Waiting) for answer in answers) and len(world.ledger.rows) == 2
    accepted = list(world.ledger.records.values())[-1]
    await world.desk.withdraw(accepted.id, ALICE)
    _, again = await called(world, hold)
    assert again.id != accepted.id and again.votes == (), "the word of the proposer was for one call"


async def test_it_lapses_on_record_and_its_arguments_are_erased(world: World) -> None:
    approval = await proposed(world)
    await world.desk.sweep()
    assert world.ledger.records[approval.id].offered, "it stands for as long as people had to decide"
    world.later(DEADLINE_S)
    answer, opened = await called(world)
    assert isinstance(answer, Waiting) and opened.votes == ()
    await world.desk.sweep()
    await world.desk.sweep()
    assert [entry for entry in world.ledger.entries if isinstance(entry, Lapsed)] == [Lapsed(approval_id=approval.id)]
    lapsed = world.ledger.records[approval.id]
    assert (lapsed.offered, lapsed.taken_by, lapsed.offer[0].voter) == (b"", "", BOB.principal)
    with pytest.raises(ApprovalConflict, match="no proposal"):
        await world.ledger.append(Lapsed(approval_id=approval.id))


async def test_a_sweep_that_comes_too_late_for_a_proposal_leaves_it_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await proposed(world)
    world.later(DEADLINE_S)
    stale = await world.ledger.offers()
    await world.desk.sweep()

    async def offers(request_key: str = "") -> tuple[Approval, ...]:
        return stale

    monkeypatch.setattr(world.ledger, "offers", offers)
    await world.desk.sweep()
    assert len([entry for entry in world.ledger.entries if isinstance(entry, Lapsed)]) == 1


NOT_THEIRS: list[tuple[Identity, type[Exception], str]] = [
    (person("alice", "payments-leads"), NotEntitled, "somebody else must decide"),
    (person("alice", "payments-leads", issuer="mcpgw:keys"), NotEntitled, "somebody else must decide"),
    (MALLORY, NotEntitled, "no approval"),
    (replace(person("agent-7", "payments-leads"), kind=IdentityKind.AGENT), NotEntitled, "Only a person"),
    (replace(BOB, actors=("agent-7",)), NotEntitled, "Only a person"),
    (DAVE, ApprovalConflict, "voted"),
]


@pytest.mark.parametrize(("who", "error", "says"), NOT_THEIRS)
async def test_who_may_not_vote_may_not_propose(world: World, who: Identity, error: type[Exception], says: str) -> None:
    approval = await held(world, asking(2))
    await world.desk.vote(approval.id, DAVE, Verdict.APPROVE)
    with pytest.raises(error, match=says):
        await world.desk.propose(approval.id, who, LESS)
    assert world.ledger.records[approval.id].state is ApprovalState.PENDING


async def test_a_proposal_is_held_to_all_that_a_vote_is(world: World) -> None:
    hold = replace(HOLD, terms=replace(HOLD.terms, comment_required=True, freshness=Freshness(max_age_ns=900 * 10**9)))
    approval = await held(world, hold)
    with pytest.raises(NotEntitled, match="signed in"):
        await world.desk.propose(approval.id, BOB, LESS, "why")
    fresh = replace(BOB, auth_time=world.time.now_ns() // 10**9)
    with pytest.raises(ValueError, match="comment is required"):
        await world.desk.propose(approval.id, fresh, LESS)
    with pytest.raises(ApprovalConflict, match="not what"):
        await world.desk.propose(approval.id, fresh, LESS, "why", shown="0" * 64)
    world.ledger.lose_next = True
    with pytest.raises(LedgerUnavailable):
        await world.desk.propose(approval.id, fresh, LESS, "why")
    await world.desk.propose(approval.id, fresh, LESS, "why")
    with pytest.raises(ApprovalConflict, match="denied already"):
        await world.desk.propose(approval.id, CAROL, LESS, "why")
    world.later(901.0)
    answer, accepted = await called(world, hold)
    assert isinstance(answer, Waiting) and world.desk.standing(accepted).void == (BOB.principal,), "too long ago by now"
    late = await held(world, hold, replace(ALICE, actors=("agent-7",)))
    world.later(DEADLINE_S)
    with pytest.raises(ApprovalConflict, match="expired already"):
        await world.desk.propose(late.id, replace(BOB, auth_time=world.time.now_ns() // 10**9), LESS, "why")


async def test_whoever_left_since_they_proposed_counts_no_more(world: World) -> None:
    await proposed(world)
    world.roster.gone = {(BOB.principal, LEADS[0])}
    answer, accepted = await called(world)
    assert isinstance(answer, Waiting) and len(accepted.votes) == 1
    await world.desk.vote(accepted.id, CAROL, Verdict.APPROVE)
    assert isinstance((await called(world))[0], Allow)


async def test_one_who_was_asked_later_counts_when_their_level_is_asked(world: World) -> None:
    heads = Level(seats=(Seats(1, ("group:heads",)),), lasts_ns=round(DEADLINE_S * 1e9))
    hold, hana = needing(Seats(1, LEADS), then=(heads,)), person("hana", "heads")
    approval = await held(world, hold)
    world.later(DEADLINE_S)
    await world.desk.sweep()
    await world.desk.propose(approval.id, hana, LESS)
    answer, accepted = await called(world, hold)
    assert isinstance(answer, Waiting) and world.desk.standing(accepted).tally == "0 of 1 approved"
    world.later(DEADLINE_S)
    assert isinstance((await called(world, hold))[0], Allow)


CANNOT: list[tuple[object, str]] = [
    (dict(reversed(ARGUMENTS.items())), "has already"),
    ({**ARGUMENTS, "amount": 12_500.0}, "has already"),
    ([1], "JSON object"),
    ({"amount": float("nan")}, "not JSON numbers"),
    ({"to": "\ud800"}, "surrogates"),
    ({"memo": "x" * MAX_PROPOSED_BYTES}, "are the most"),
]


@pytest.mark.parametrize(("arguments", "says"), CANNOT)
async def test_what_is_no_change_or_no_call_is_not_proposed(world: World, arguments: object, says: str) -> None:
    approval = await held(world)
    with pytest.raises(ValueError, match=says):
        await world.desk.propose(approval.id, BOB, arguments)
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="too deeply"):
        await world.desk.propose(approval.id, BOB, deep)
    assert world.ledger.records[approval.id].state is ApprovalState.PENDING


async def test_values_that_its_client_knows_as_tokens_are_not_told_by_a_proposal(world: World) -> None:
    shown = world.call()
    shown = replace(shown, call=replace(shown.call, sent={**ARGUMENTS, "to": "tok_1"}))
    await world.settle(shown, patience=NOW)
    (approval,) = world.ledger.records.values()
    with pytest.raises(ValueError, match="tokens only"):
        await world.desk.propose(approval.id, BOB, LESS)


async def test_what_cannot_be_opened_is_a_plain_denial(world: World, caplog: pytest.LogCaptureFixture) -> None:
    approval = await proposed(world)
    world.ledger.tamper(approval.id, offered=b"x" * 64)
    answer = await world.settle(patience=NOW)
    assert isinstance(answer, Deny) and answer.proposal == ()
    assert "what was proposed cannot be told" in caplog.text
    assert await world.desk.proposed(world.ledger.records[approval.id], ALICE) == ()


async def test_a_proposal_cannot_be_moved_to_another_approval(world: World) -> None:
    one = await proposed(world)
    world.ledger.tamper(one.id, id="apr_other")
    world.ledger.rows["apr_other"] = world.ledger.rows.pop(one.id)
    world.ledger.facts["apr_other"] = world.ledger.facts[one.id]
    answer = await world.settle(patience=NOW)
    assert isinstance(answer, Deny) and answer.proposal == ()


async def test_asked_for_later_it_is_given_out_on_record(world: World) -> None:
    approval = await proposed(world)
    (told,) = await world.desk.proposed(approval, ALICE)
    assert told.arguments == LESS
    assert world.ledger.entries[-1] == Event(
        kind="evidence.read", actor=ALICE.principal, facts={"approval_id": approval.id, "read": "proposal"}
    )


async def test_nobody_gets_a_vote_by_opening_against_the_ledger(world: World) -> None:
    """The store itself refuses a call that says it was proposed, and was not."""
    shown: ShownCall = world.call(arguments={**LESS, "amount": 501})
    approval = await proposed(world)
    real = world.ledger.offers

    async def any_offer(request_key: str = "") -> tuple[Approval, ...]:
        return await real()

    world.ledger.offers = any_offer  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable, match="kept changing"):
        await world.settle(shown, patience=NOW)
    assert list(world.ledger.rows) == [approval.id] and KEY not in world.ledger.rows[approval.id].offered


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, str]]]] = [
    ({"a": 1}, {"a": 1.0}, []),
    ({"a": True}, {"a": 1}, [("a", "true", "1")]),
    ({"a": None}, {}, [("a", "null", "")]),
    ({}, {"a": None}, [("a", "", "null")]),
    ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, [("a.b[1].c", "2", "3")]),
    ({"a": [1]}, {"a": [1, 2]}, [("a", "[\n  1\n]", "[\n  1,\n  2\n]")]),
    ({"a b": 1, "x.y": 2}, {"a b": 2, "x.y": 2}, [('["a b"]', "1", "2")]),
    ({"p\u0430y": "x"}, {"p\u0430y": "\u202ex"}, [('["p\\u0430y"]', '"x"', '"\\u202ex"')]),
    ({"a": "\n\x1b[2J"}, {"a": ""}, [("a", '"\\n\\u001b[2J"', '""')]),
]


@pytest.mark.parametrize(("before", "after", "expected"), DIFFERENCES)
def test_the_difference_is_told_in_characters_that_cannot_deceive(
    before: dict[str, Any], after: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    found = [(change.path, change.before, change.after) for change in differences(before, after)]
    assert found == expected
    assert all(json.dumps(text).isascii() for line in found for text in line)


async def test_a_grant_has_no_arguments_to_propose_others_for(world: World) -> None:
    waiting = await asked(world.desk, world.call())
    with pytest.raises(ApprovalConflict, match="asks for a grant"):
        await world.desk.propose(waiting, BOB, LESS)
    entry = Proposed(
        approval_id=waiting, person=BOB, comment="", shown="", fits=(), changed=(), arguments=RAW, request_key="k", exact=b"x"
    )
    with pytest.raises(ApprovalConflict, match="is a grant"):
        await world.ledger.append(entry)
