"""A held call, as its caller lives through it."""

from dataclasses import replace

import anyio
import pytest

from mcpgw.approval.facts import facts_of
from mcpgw.core.entries import Opened, Verdict
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    Deny,
    Hold,
    Patience,
    Ruling,
    Sealed,
    ShownCall,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.ports import ApprovalState
from tests.approval.world import (
    ALICE,
    ARGUMENTS,
    BOB,
    CAROL,
    DAVE,
    DEADLINE_S,
    FAILED,
    HOLD,
    HURRIED,
    IBAN,
    PATIENT,
    REPLY,
    TOOL,
    EntryT,
    MemoryLedger,
    Witness,
    World,
    asking,
    person,
)


async def test_a_held_call_waits_and_runs_once_a_lead_approves(world: World) -> None:
    shown, peer = world.call(), Witness()

    async def bob_approves() -> None:
        (pending,) = await world.ledger.approvals()
        await world.desk.vote(pending.id, BOB, Verdict.APPROVE, "seen")

    world.time.at(25.0, bob_approves)
    answer = await world.settle(shown, patience=PATIENT, peer=peer)

    (approval,) = world.ledger.records.values()
    assert isinstance(answer, Allow)
    assert answer.ruling == HOLD.ruling
    assert answer.approval is not None
    assert (answer.approval.id, answer.approval.digest) == (approval.id, approval.digest)
    assert world.kinds() == ["Opened", "Vote", "Settled"]
    assert world.time.elapsed == 25.0


async def test_the_client_hears_at_once_and_then_at_every_heartbeat(world: World) -> None:
    peer = Witness()
    await world.settle(patience=Patience(budget_s=35.0, heartbeat_s=10.0), peer=peer)
    assert [round(elapsed, 6) for elapsed, _ in peer.heard] == [0, 10, 20, 30]
    (approval,) = world.ledger.records.values()
    assert peer.heard[0][1] == (
        f"Waiting for people to decide on {approval.id}: 0 of 1 approved, until 2027-01-15 09:00:00 UTC."
    )


async def test_the_budget_ends_in_waiting_and_the_approval_stands(world: World) -> None:
    answer = await world.settle(patience=HURRIED)
    assert isinstance(answer, Waiting)
    assert world.time.elapsed == 4.0
    assert world.state(answer.approval_id) is ApprovalState.PENDING
    assert answer.deadline_ns == world.ledger.records[answer.approval_id].deadline_ns


async def test_a_client_without_patience_is_told_at_once_and_the_hold_is_recorded(world: World) -> None:
    peer = Witness()
    answer = await world.settle(patience=Patience(budget_s=0.0), peer=peer)
    assert isinstance(answer, Waiting)
    assert peer.heard == []
    assert world.kinds() == ["Opened"]


async def test_the_identical_call_resumes_the_approval(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    again = world.call()
    answer = await world.settle(again)
    assert isinstance(answer, Allow)
    assert answer.approval is not None
    assert answer.approval.id == approval_id
    assert world.kinds() == ["Opened", "Vote", "Settled", "Joined"]


async def test_a_call_joins_once_however_often_the_corridor_asks_again(world: World) -> None:
    first = world.call()
    await world.held(first)
    second = world.call()
    for shown in (second, second, first):
        await world.settle(shown)
    assert world.kinds() == ["Opened", "Joined"]


async def test_joined_calls_are_forgotten_in_the_end(world: World) -> None:
    await world.held()
    first = world.call()
    no_patience = Patience(budget_s=0.0)
    for shown in (first, *(world.call() for _ in range(4_096)), first):
        await world.settle(shown, patience=no_patience)
    assert world.kinds().count("Joined") == 4_098


def other_policy(hold: Hold) -> Hold:
    return replace(hold, ruling=replace(hold.ruling, policy_hash="q" * 64))


CHANGES: dict[str, tuple[ShownCall, Hold]] = {
    "arguments": (World().call(arguments={**ARGUMENTS, "amount": 12_501}), HOLD),
    "a huge number by one": (World().call(arguments={**ARGUMENTS, "amount": 2**60 + 1}), HOLD),
    "a look-alike": (World().call(arguments={**ARGUMENTS, "memo": "r\u0435nt"}), HOLD),
    "definition": (World().call(target=replace(TOOL, definition_hash="e" * 64)), HOLD),
    "server": (World().call(target=replace(TOOL, server_fingerprint="e" * 64)), HOLD),
    "server's name": (World().call(target=replace(TOOL, server="bank-2")), HOLD),
    "tool": (World().call(target=replace(TOOL, name="bank__close")), HOLD),
    "kind": (World().call(target=replace(TOOL, kind=TargetKind.PROMPT)), HOLD),
    "policy": (World().call(), other_policy(HOLD)),
    "how many have to agree": (World().call(), asking(2)),
    "who has to agree": (World().call(), asking(approvers=("group:risk",))),
    "which rule": (World().call(), replace(HOLD, ruling=replace(HOLD.ruling, rule_ids=("other",)))),
    "identity": (World().call(person("eve", "tellers")), HOLD),
    "issuer": (World().call(person("alice", "tellers", issuer="https://other.example")), HOLD),
    "delegation": (World().call(replace(ALICE, actors=("agent-7",))), HOLD),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_an_approval_does_not_cover_a_call_with_another(world: World, change: str) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    shown, hold = CHANGES[change]
    answer = await world.settle(shown, hold)
    assert isinstance(answer, Waiting)
    assert answer.approval_id != approval_id
    assert world.state(answer.approval_id) is ApprovalState.PENDING


async def test_keys_in_another_order_are_the_identical_call(world: World) -> None:
    approval_id = await world.held()
    assert await world.held(world.call(arguments=dict(reversed(ARGUMENTS.items())))) == approval_id


async def test_groups_and_scopes_alone_do_not_make_another_call(world: World) -> None:
    """They are policy's business: where they change the ruling, the hold differs and with it the call."""
    approval_id = await world.held()
    assert await world.held(world.call(person("alice", "tellers", "new"))) == approval_id


async def test_identical_calls_at_once_open_one_approval(world: World) -> None:
    answers: list[object] = []

    async def one() -> None:
        answers.append(await world.settle())

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert len(world.ledger.records) == 1
    assert {answer.approval_id for answer in answers if isinstance(answer, Waiting)} == set(world.ledger.records)
    assert world.kinds().count("Opened") == 1
    assert world.kinds().count("Joined") == 19


async def test_silence_until_the_deadline_is_a_denial(world: World) -> None:
    answer = await world.settle(patience=PATIENT)
    assert isinstance(answer, Deny)
    assert answer.ruling == Ruling(
        rule_ids=HOLD.ruling.rule_ids,
        reason="Not approved in time: 0 of 1 approved by the deadline.",
        policy_hash=HOLD.ruling.policy_hash,
    )
    assert world.state(answer.approval_id) is ApprovalState.EXPIRED
    assert world.time.elapsed == DEADLINE_S


async def test_a_denial_reaches_the_waiting_client(world: World) -> None:
    async def bob_denies() -> None:
        (pending,) = await world.ledger.approvals()
        await world.desk.vote(pending.id, BOB, Verdict.DENY, "not to this account")

    world.time.at(3.0, bob_denies)
    answer = await world.settle(patience=PATIENT)
    assert isinstance(answer, Deny)
    assert answer.ruling.reason == "Denied by an approver."
    assert "account" not in answer.ruling.reason  # a comment is for the record, not for the agent
    assert world.state(answer.approval_id) is ApprovalState.DENIED


async def test_after_a_denial_the_same_call_is_a_new_question(world: World) -> None:
    denied = await world.held()
    await world.desk.vote(denied, BOB, Verdict.DENY)
    assert await world.held() != denied


async def test_an_approved_call_that_is_not_claimed_in_time_expires(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    world.later(DEADLINE_S)
    assert await world.held() != approval_id
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.EXPIRED


async def test_a_duplicate_waits_for_the_call_under_way_and_gets_its_result(world: World) -> None:
    first = world.call()
    approval_id = await world.held(first)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    allow = await world.settle(first)
    assert isinstance(allow, Allow)
    intent = await world.spend(first, allow)
    hasty = await world.settle(patience=Patience(budget_s=0.0))
    assert isinstance(hasty, Waiting)
    assert hasty.running, "not nobody's decision is awaited, but a result"
    peer = Witness()
    world.time.at(world.time.elapsed + 2.0, lambda: world.finish(intent))
    answer = await world.settle(peer=peer)
    assert answer == AlreadyDone(approval_id=approval_id, call_id=first.call.id, reply=REPLY)
    assert sorted(world.kinds()[-3:]) == ["Joined", "Joined", "Outcome"]
    assert peer.heard == [(0.0, f"Approved as {approval_id}; an identical call is under way, waiting for its result.")]


async def test_a_result_is_given_to_duplicates_until_the_deadline_and_then_asked_for_afresh(world: World) -> None:
    first = world.call()
    approval_id = await world.held(first)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    allow = await world.settle(first)
    assert isinstance(allow, Allow)
    await world.finish(await world.spend(first, allow))
    before = world.kinds()
    assert isinstance(await world.settle(), AlreadyDone)
    assert world.kinds() == before  # the corridor records the replay
    world.later(DEADLINE_S)
    assert await world.held() != approval_id


async def test_a_call_under_way_at_its_deadline_is_still_waited_for(world: World) -> None:
    first = world.call()
    approval_id = await world.held(first)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    allow = await world.settle(first)
    assert isinstance(allow, Allow)
    intent = await world.spend(first, allow)
    world.later(DEADLINE_S - world.time.elapsed - 1)
    world.time.at(DEADLINE_S + 2, lambda: world.finish(intent))
    assert isinstance(await world.settle(patience=PATIENT), AlreadyDone)


@pytest.mark.parametrize("end", ["failed", "indeterminate"])
async def test_what_failed_or_is_unknown_is_not_sent_again_by_itself(world: World, end: str) -> None:
    first = world.call()
    approval_id = await world.held(first)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    allow = await world.settle(first)
    assert isinstance(allow, Allow)
    intent = await world.spend(first, allow)
    if end == "failed":
        await world.finish(intent, FAILED)
    else:
        world.ledger.recover()
    answer = await world.settle()
    assert isinstance(answer, Deny)
    assert answer.approval_id == approval_id
    assert "not sent again by itself; after 2027-01-15 09:00:00 UTC it may be asked for afresh" in answer.ruling.reason
    world.later(DEADLINE_S)
    assert await world.held() != approval_id


async def test_an_approval_is_spent_once_by_racing_duplicates(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    spent: list[str] = []

    async def claim() -> None:
        shown = world.call()
        allow = await world.settle(shown)
        if isinstance(allow, Allow):
            try:
                await world.spend(shown, allow)
            except ApprovalConflict:
                return
            spent.append(shown.call.id)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(claim)
    assert len(spent) == 1


async def test_a_cancelled_wait_leaves_the_approval_standing(world: World) -> None:
    with anyio.CancelScope() as scope:

        async def caller_goes_away() -> None:
            scope.cancel()

        world.time.at(2.0, caller_goes_away)
        await world.settle(patience=PATIENT)
    assert scope.cancelled_caught
    (approval,) = world.ledger.records.values()
    await world.desk.vote(approval.id, BOB, Verdict.APPROVE)
    assert isinstance(await world.settle(), Allow)


async def test_a_restart_changes_nothing(world: World) -> None:
    approval_id = await world.held(hold=asking(2))
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    world.desk = world.new_desk()
    await world.desk.vote(approval_id, CAROL, Verdict.APPROVE)
    world.desk = world.new_desk()
    answer = await world.settle(hold=asking(2))
    assert isinstance(answer, Allow)


async def test_another_key_finds_nothing_and_releases_nothing(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    world.desk = world.new_desk(key=b"k" * 32)
    assert await world.held() != approval_id


async def test_a_hold_that_cannot_be_recorded_does_not_stand(world: World) -> None:
    world.ledger.lose_next = True
    with pytest.raises(LedgerUnavailable):
        await world.settle()
    assert world.ledger.records == {}


async def test_a_hold_that_was_recorded_unseen_is_found_again(world: World) -> None:
    world.ledger.keep_next = True
    with pytest.raises(LedgerUnavailable):
        await world.settle()
    (approval_id,) = world.ledger.records
    assert await world.held() == approval_id


async def test_a_call_that_cannot_be_written_down_exactly_is_denied(world: World) -> None:
    for arguments in ({"memo": "\ud800"}, {"rate": float("nan")}):
        answer = await world.settle(world.call(arguments=arguments))
        assert isinstance(answer, Deny)
        assert answer.approval_id == ""
        assert "cannot be written down exactly" in answer.ruling.reason
    assert world.ledger.entries == []


async def test_a_name_that_nobody_publishes_cannot_be_approved(world: World) -> None:
    shown = world.call()
    nobody = replace(shown, call=replace(shown.call, target=UnknownTarget(kind=TargetKind.TOOL, name="bank__x")))
    assert isinstance(await world.settle(nobody), Deny)
    assert world.ledger.entries == []


async def test_an_approval_moved_under_another_call_is_void(world: World) -> None:
    """Somebody with the file in hand gives a small approved transfer the key of a big one."""
    small = world.call(arguments={"to": "x", "amount": 1})
    approved = await world.held(small)
    await world.desk.vote(approved, BOB, Verdict.APPROVE)
    big = await world.held()
    key = world.ledger.records[big].request_key
    world.ledger.tamper(big, request_key="gone")
    world.ledger.tamper(approved, request_key=key)
    answer = await world.settle()
    assert isinstance(answer, Deny)
    assert answer.ruling.reason == "The approval is void: it does not cover this call."


@pytest.mark.parametrize("change", [{"deadline_ns": 2**62}, {"digest": "0" * 64}])
async def test_an_approval_with_changed_facts_is_void(world: World, change: dict[str, object]) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    world.ledger.tamper(approval_id, **change)
    answer = await world.settle()
    assert isinstance(answer, Deny)
    assert "void" in answer.ruling.reason


async def test_a_state_without_its_votes_releases_nothing(world: World) -> None:
    approval_id = await world.held()
    world.ledger.tamper(approval_id, state=ApprovalState.APPROVED)
    answer = await world.settle()
    assert isinstance(answer, Deny)
    assert answer.ruling.reason == "The approval is void: its votes do not make the quorum any more."
    assert world.state(approval_id) is ApprovalState.REVOKED


async def test_a_store_that_always_conflicts_ends_in_a_refusal(world: World) -> None:
    class Stubborn(MemoryLedger):
        async def append(self, entry: EntryT) -> Sealed[EntryT]:
            if isinstance(entry, Opened):
                raise ApprovalConflict("always")
            return await super().append(entry)

    world.ledger = Stubborn(world.time)
    world.desk = world.new_desk()
    with pytest.raises(LedgerUnavailable, match="kept changing"):
        await world.settle()


async def test_an_overdue_approval_in_the_way_is_settled_and_the_call_asked_afresh(world: World) -> None:
    """A store may keep its key unique until the overdue approval is settled."""

    class Strict(MemoryLedger):
        async def append(self, entry: EntryT) -> Sealed[EntryT]:
            unsettled = (ApprovalState.PENDING, ApprovalState.APPROVED)
            if isinstance(entry, Opened):
                standing = [row for row in self.rows.values() if row.request_key == entry.request_key]
                if any(row.state in unsettled for row in standing):
                    raise ApprovalConflict("an overdue one stands")
            return await super().append(entry)

    world.ledger = Strict(world.time)
    world.desk = world.new_desk()
    overdue = await world.held()
    world.later(DEADLINE_S)
    assert await world.held() != overdue
    assert world.state(overdue) is ApprovalState.EXPIRED


async def test_the_quorum_is_of_different_people(world: World) -> None:
    hold = asking(2)
    approval_id = await world.held(hold=hold)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    assert isinstance(await world.settle(hold=hold), Waiting)
    await world.desk.vote(approval_id, DAVE, Verdict.APPROVE)
    assert isinstance(await world.settle(hold=hold), Allow)


def test_two_approvals_of_one_call_bind_different_digests() -> None:
    facts = facts_of(World().call(), HOLD)
    assert len({facts.bound(1, "a"), facts.bound(1, "b"), facts.bound(2, "a")}) == 3


async def test_what_is_recorded_holds_no_exact_argument(world: World) -> None:
    await world.held()
    (opened,) = [entry for entry in world.ledger.entries if isinstance(entry, Opened)]
    assert opened.facts["arguments"]["to"] == "<IBAN>"
    assert IBAN not in repr((opened.facts, opened.exact, opened.digest, opened.request_key))
    assert "nonce" not in opened.facts
