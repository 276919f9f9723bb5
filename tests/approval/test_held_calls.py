"""What whoever asked for a held call may do about it later, and what a call that resumes an approval gets."""

import json
from dataclasses import replace

import pytest

from mcpgw.approval import SealBroken
from mcpgw.approval.kept import kept
from mcpgw.core.entries import (
    Event,
    Joined,
    Verdict,
)
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    CleanReply,
    Deny,
    ReplyKind,
    ShownCall,
)
from mcpgw.ports import ApprovalState
from tests.approval.world import ALICE, ARGUMENTS, BOB, HOLD, World


def resumed(world: World, approval_id: str, **changed: object) -> ShownCall:
    shown = world.call(**changed)  # type: ignore[arg-type]
    return replace(shown, call=replace(shown.call, resumes=approval_id))


async def test_a_resumed_call_is_released_under_its_approval_and_says_so_in_the_record() -> None:
    world = World()
    held = await world.held()
    await world.desk.vote(held, BOB, Verdict.APPROVE)
    answer = await world.settle(resumed(world, held))
    assert isinstance(answer, Allow) and answer.approval is not None and answer.approval.id == held
    joined = [entry for entry in world.ledger.entries if isinstance(entry, Joined)]
    assert [entry.approval_id for entry in joined] == [held]


async def test_resuming_what_was_denied_opens_no_new_question() -> None:
    world = World()
    held = await world.held()
    await world.desk.vote(held, BOB, Verdict.DENY)
    answer = await world.settle(resumed(world, held))
    assert isinstance(answer, Deny) and answer.approval_id == held and "Denied" in answer.ruling.reason
    assert len(await world.ledger.approvals()) == 1


async def test_what_is_not_the_identical_call_resumes_nothing() -> None:
    world = World()
    held = await world.held()
    await world.desk.vote(held, BOB, Verdict.APPROVE)
    other_rule = replace(HOLD, ruling=replace(HOLD.ruling, policy_hash="another"))
    for shown, hold in (
        (resumed(world, held, arguments={**ARGUMENTS, "more": 1}), HOLD),
        (resumed(world, held, identity=replace(ALICE, subject="mallory")), HOLD),
        (resumed(world, held), other_rule),
        (resumed(world, "apr_nobodys"), HOLD),
    ):
        answer = await world.settle(shown, hold)
        assert isinstance(answer, Deny) and "The approval is void" in answer.ruling.reason
    assert [approval.state for approval in await world.ledger.approvals()] == [ApprovalState.APPROVED]


async def test_only_the_same_caller_through_the_same_agents_finds_the_call() -> None:
    world = World()
    held = await world.held()
    (found,) = await world.desk.held(held, ALICE)
    assert found.id == held
    for other in (BOB, replace(ALICE, actors=("agent",)), replace(ALICE, issuer="another"), replace(ALICE, subject="ALICE")):
        assert await world.desk.held(held, other) == ()
    assert await world.desk.held("apr_nobodys", ALICE) == ()


async def test_the_arguments_come_back_as_they_were_sent_until_they_are_erased() -> None:
    world = World()
    shown = world.call(arguments={"ssn": "078-05-1120"})
    sent = {"ssn": "<TOKEN_1>"}
    held = await world.held(replace(shown, call=replace(shown.call, sent=sent)))
    (found,) = await world.desk.held(held, ALICE)
    assert await world.desk.recall(found) == sent
    assert json.loads((await world.desk.show(held, BOB)).arguments) == {"ssn": "078-05-1120"}, "people see what will run"
    plain = await world.held(world.call(arguments={"to": "x"}))
    (found,) = await world.desk.held(plain, ALICE)
    assert await world.desk.recall(found) == {"to": "x"}
    with pytest.raises(SealBroken):
        await world.desk.recall(replace(found, exact=b""))
    with pytest.raises(SealBroken):
        await world.desk.recall(replace(found, exact=world.desk._seal.close(found.id, kept(b'{"arguments":{}}', sent))))


async def test_a_reply_is_given_out_once_that_is_on_record() -> None:
    world = World()
    shown = world.call()
    (found,) = await world.desk.held(await world.held(shown), ALICE)
    reply = CleanReply(kind=ReplyKind.RESULT, payload=shown.arguments, raw=shown.raw, manifest=shown.manifest)
    done = AlreadyDone(approval_id=found.id, call_id="call-9", reply=reply)
    assert await world.desk.collect(replace(found, done=(done,)), ALICE) == (done,)
    event = world.ledger.entries[-1]
    assert isinstance(event, Event) and (event.kind, event.actor) == ("evidence.read", ALICE.principal)
    assert event.facts == {"approval_id": found.id, "call": "call-9", "read": "result"}
    assert await world.desk.collect(found, ALICE) == ()


async def test_withdrawn_it_can_be_resumed_no_more() -> None:
    world = World()
    held = await world.held()
    await world.desk.vote(held, BOB, Verdict.APPROVE)
    await world.desk.withdraw(held, ALICE, "Cancelled by its client.")
    assert isinstance(await world.settle(resumed(world, held)), Deny)
    with pytest.raises(ApprovalConflict):
        await world.desk.withdraw(held, ALICE)
