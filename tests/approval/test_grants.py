"""A grant, as its requester and its approvers live through it."""

from dataclasses import replace
from typing import Any

import pytest

from mcpgw.approval import NotEntitled
from mcpgw.core.entries import (
    Opened,
    StoppedAs,
    Verdict,
)
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    Deny,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    ShownCall,
    Waiting,
)
from mcpgw.core.terms import BreakGlass, Freshness, Level, Seats
from mcpgw.ports import ApprovalState
from tests.approval.granting import GRANTING, HOUR_NS, access, asked, granted, permitting
from tests.approval.world import (
    ALICE,
    ARGUMENTS,
    BOB,
    CAROL,
    FAILED,
    HOLD,
    IBAN,
    MALLORY,
    START_NS,
    TOOL,
    World,
    asking,
    needing,
    person,
)


def call(world: World, amount: Any = 100, **changes: Any) -> ShownCall:
    return world.call(arguments={**ARGUMENTS, "amount": amount, **changes})


async def uses(world: World, shown: ShownCall, hold: Hold = GRANTING) -> tuple[str, ...]:
    """Settle a call; return the amount that it would use of a grant, or nothing where it is held."""
    answer = await world.settle(shown, hold)
    if isinstance(answer, Allow):
        assert answer.approval is not None
        return answer.approval.amounts
    assert isinstance(answer, Waiting)
    return ()


async def use(world: World, shown: ShownCall, hold: Hold = GRANTING) -> str:
    """Settle, spend and finish a call; return the grant's id."""
    answer = await world.settle(shown, hold)
    assert isinstance(answer, Allow)
    assert answer.approval is not None
    await world.finish(await world.spend(shown, answer))
    return answer.approval.id


async def test_calls_within_a_grant_run_at_once_and_each_is_a_use(world: World) -> None:
    approval_id = await granted(world, world.desk)
    same = call(world, 12_500)
    for shown in (same, call(world, 12_500), call(world, 0.5 + 1)):
        assert await use(world, shown) == approval_id
    grant = world.ledger.records[approval_id]
    assert grant.state is ApprovalState.APPROVED
    assert [(one.amount, one.outcome) for one in grant.uses] == [("12500", "done"), ("12500", "done"), ("1.5", "done")]
    assert grant.usage == "used 3 of 5, 25001.5 of 50000 amount"
    assert grant.exact


async def test_nothing_runs_before_people_agreed(world: World) -> None:
    hold = permitting(asking(2))
    approval_id = await granted(world, world.desk, hold)
    assert world.state(approval_id) is ApprovalState.PENDING
    assert await uses(world, call(world), hold) == ()
    await world.desk.vote(approval_id, CAROL, Verdict.APPROVE)
    assert await uses(world, call(world, 101), hold) == ("101",)


@pytest.mark.parametrize(
    "changed",
    [
        {"to": IBAN.replace(" ", "")},
        {"to": IBAN.replace("DE", "D\u0415")},
        {"memo": "rent\u200b"},
        {"memo": ["rent"]},
        {"more": None},
        {"amount": 0},
        {"amount": 20_000.01},
        {"amount": -5},
        {"amount": "100"},
        {"amount": True},
        {"amount": 1e300},
    ],
)
async def test_a_call_that_differs_otherwise_is_held_by_itself(world: World, changed: dict[str, Any]) -> None:
    await granted(world, world.desk)
    assert await uses(world, call(world, **changed)) == ()


async def test_no_more_calls_than_granted(world: World) -> None:
    approval_id = await granted(world, world.desk, max_calls=2)
    await use(world, call(world, 1))
    await use(world, call(world, 1))
    assert world.ledger.records[approval_id].is_used_up
    assert await uses(world, call(world, 2)) == ()


async def test_no_more_in_all_than_granted(world: World) -> None:
    await granted(world, world.desk)
    for amount in (20_000, 20_000, 9_999.99):
        await use(world, call(world, amount))
    assert await uses(world, call(world, 1)) == ()  # 0.01 are left, and a call needs 1 at least


async def test_a_use_that_fails_is_a_use(world: World) -> None:
    approval_id = await granted(world, world.desk, max_calls=1)
    shown = call(world)
    answer = await world.settle(shown, GRANTING)
    assert isinstance(answer, Allow)
    await world.finish(await world.spend(shown, answer), FAILED)
    assert [one.outcome for one in world.ledger.records[approval_id].uses] == ["failed"]
    assert await uses(world, call(world)) == ()


async def test_of_claims_that_race_no_more_are_taken_than_granted(world: World) -> None:
    approval_id = await granted(world, world.desk, max_calls=2)
    calls = [call(world, amount) for amount in (1, 2, 3, 4)]
    claims = [(shown, await world.settle(shown, GRANTING)) for shown in calls]
    assert all(isinstance(answer, Allow) for _, answer in claims)
    taken = 0
    for shown, answer in claims:
        assert isinstance(answer, Allow)
        try:
            await world.spend(shown, answer)
            taken += 1
        except ApprovalConflict as conflict:
            assert "nothing left" in str(conflict)
    assert taken == len(world.ledger.records[approval_id].uses) == 2


@pytest.mark.parametrize("end", ["revoked", "withdrawn", "expired", "tampered"])
async def test_what_ends_between_the_desk_and_the_intent_is_not_used(world: World, end: str) -> None:
    approval_id = await granted(world, world.desk)
    shown = call(world)
    answer = await world.settle(shown, GRANTING)
    assert isinstance(answer, Allow)
    match end:
        case "revoked":
            await world.desk.revoke(approval_id, CAROL, "stop")
        case "withdrawn":
            await world.desk.withdraw(approval_id, ALICE)
        case "expired":
            world.later(7_200)
        case "tampered":
            world.ledger.tamper(approval_id, digest="0" * 64)
    with pytest.raises(ApprovalConflict):
        await world.spend(shown, answer)
    assert world.ledger.records[approval_id].uses == ()


@pytest.mark.parametrize("state", StoppedAs)
async def test_a_grant_is_stopped_in_flight(world: World, state: StoppedAs) -> None:
    approval_id = await granted(world, world.desk)
    await use(world, call(world))
    if state is StoppedAs.REVOKED:
        await world.desk.revoke(approval_id, CAROL, "stop")
    else:
        await world.desk.withdraw(approval_id, ALICE, "done with it")
    assert await uses(world, call(world)) == ()
    grant = world.ledger.records[approval_id]
    assert (grant.state.value, grant.exact, len(grant.uses)) == (state.value, b"", 1)


async def test_a_grant_ends_when_it_said_it_would(world: World) -> None:
    approval_id = await granted(world, world.desk)
    world.later(7_199.5)
    assert await uses(world, call(world)) == ("100",)
    world.later(0.5)
    assert await uses(world, call(world)) == ()
    grant = world.ledger.records[approval_id]
    assert (grant.state, grant.exact) == (ApprovalState.EXPIRED, b"")
    assert grant.reason == "The grant has ended. It was used 0 of 5 times."


async def test_the_sweeper_ends_a_grant(world: World) -> None:
    approval_id = await granted(world, world.desk)
    assert await world.desk.sweep() == 30.0
    world.later(7_200)
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.EXPIRED


async def test_nobody_can_approve_what_would_have_ended_already(world: World) -> None:
    approval_id = await asked(world.desk, world.call(), lasts_ns=600 * 10**9)
    opened = world.ledger.records[approval_id]
    assert opened.decide_by_ns == START_NS + 600 * 10**9 < opened.deadline_ns
    world.later(600)
    with pytest.raises(ApprovalConflict, match="expired"):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)


@pytest.mark.parametrize(
    "changed",
    [
        replace(GRANTING, ruling=replace(GRANTING.ruling, policy_hash="q" * 64)),
        replace(GRANTING, ruling=replace(GRANTING.ruling, rule_ids=("big-transfer", "night"))),
        permitting(asking(2)),
        HOLD,
    ],
    ids=["policy", "rules", "terms", "no grants any more"],
)
async def test_under_another_ruling_a_grant_covers_nothing(world: World, changed: Hold) -> None:
    await granted(world, world.desk)
    assert await uses(world, call(world), changed) == ()


@pytest.mark.parametrize("fact", ["definition_hash", "server_fingerprint", "server"])
async def test_of_another_definition_or_server_a_grant_covers_nothing(world: World, fact: str) -> None:
    await granted(world, world.desk)
    other = replace(TOOL, **{fact: "e" * 64})
    assert await uses(world, world.call(target=other), GRANTING) == ()


@pytest.mark.parametrize(
    "caller",
    [replace(ALICE, actors=("agent-7",)), person("alice", "tellers", issuer="https://other.example"), MALLORY],
    ids=["through an agent", "of another issuer", "somebody else"],
)
async def test_nobody_else_uses_a_grant(world: World, caller: Identity) -> None:
    await granted(world, world.desk)
    assert await uses(world, world.call(caller), GRANTING) == ()


async def test_a_grant_of_an_agent_is_for_that_chain_alone(world: World) -> None:
    agent = replace(ALICE, actors=("agent-7",))
    approval_id = await asked(world.desk, world.call(agent))
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    assert await uses(world, world.call(agent)) == ("12500",)
    for other in (ALICE, replace(ALICE, actors=("agent-8",)), replace(ALICE, actors=("agent-7", "agent-8"))):
        assert await uses(world, world.call(other)) == ()


async def test_whoever_asked_does_not_decide(world: World) -> None:
    lead = person("alice", "payments-leads")
    approval_id = await asked(world.desk, world.call(lead))
    agent = replace(person("bot", "payments-leads"), kind=IdentityKind.AGENT)
    for voter in (lead, person("alice", "payments-leads", issuer="mcpgw:keys"), agent, MALLORY):
        with pytest.raises(NotEntitled):
            await world.desk.vote(approval_id, voter, Verdict.APPROVE)


async def test_an_approver_who_left_voids_the_grant(world: World) -> None:
    approval_id = await granted(world, world.desk)
    await use(world, call(world))
    world.roster.gone = {(BOB.principal, "group:payments-leads")}
    assert await uses(world, call(world)) == ()
    assert world.state(approval_id) is ApprovalState.REVOKED


async def test_a_sign_in_that_is_too_old_voids_the_grant(world: World) -> None:
    hold = permitting(needing(Seats(1, ("group:payments-leads",)), freshness=Freshness(max_age_ns=HOUR_NS)))
    bob = replace(BOB, auth_time=START_NS // 10**9)
    await granted(world, world.desk, hold, (bob,))
    assert await uses(world, call(world), hold) == ("100",)
    world.later(3_601)
    assert await uses(world, call(world), hold) == ()


async def test_break_glass_opens_a_grant_for_its_short_time(world: World) -> None:
    glass = BreakGlass(openers=("group:duty",), lasts_ns=900 * 10**9)
    hold = permitting(needing(Seats(1, ("group:payments-leads",)), break_glass=glass))
    approval_id = await asked(world.desk, world.call(), hold)
    for name in ("duke", "dora"):
        await world.desk.vote(approval_id, person(name, "duty"), Verdict.APPROVE, "fire", break_glass=True)
    assert await uses(world, call(world), hold) == ("100",)
    world.later(900)
    assert await uses(world, call(world), hold) == ()
    assert world.ledger.records[approval_id].needs_review


async def test_silence_about_a_grant_goes_on_to_others(world: World) -> None:
    then = (Level(seats=(Seats(1, ("group:heads",)),), lasts_ns=HOUR_NS),)
    hold = permitting(needing(Seats(1, ("group:payments-leads",)), then=then))
    approval_id = await asked(world.desk, world.call(), hold)
    world.later(3_600)
    await world.desk.sweep()
    await world.desk.vote(approval_id, person("hana", "heads"), Verdict.APPROVE)
    assert await uses(world, call(world), hold) == ("100",)


async def test_the_same_request_is_asked_once_and_afresh_when_it_is_used_up(world: World) -> None:
    first = await asked(world.desk, world.call(), max_calls=1)
    assert await asked(world.desk, world.call(), max_calls=1) == first
    assert await asked(world.desk, world.call(), max_calls=2) != first
    await world.desk.vote(first, BOB, Verdict.APPROVE)
    again = await world.desk.ask(world.call(), GRANTING, access(max_calls=1), world.call().arguments)
    assert (again.approval_id, again.deadline_ns) == (first, START_NS + 2 * HOUR_NS)
    await use(world, call(world))
    assert await asked(world.desk, world.call(), max_calls=1) != first


async def test_a_pending_call_does_not_stand_in_the_way_of_a_grant(world: World) -> None:
    held = await world.held(call(world), GRANTING)
    await granted(world, world.desk)
    assert await uses(world, call(world)) == ("100",)
    assert world.state(held) is ApprovalState.PENDING


async def test_a_call_that_ran_by_itself_keeps_its_own_answer(world: World) -> None:
    held = await world.held(call(world), GRANTING)
    await world.desk.vote(held, BOB, Verdict.APPROVE)
    assert await use(world, call(world)) == held
    grant = await granted(world, world.desk)
    answer = await world.settle(call(world), GRANTING)
    assert isinstance(answer, AlreadyDone)
    assert world.ledger.records[grant].uses == ()


async def test_a_call_that_resumes_takes_no_grant(world: World) -> None:
    held = await world.held(call(world), GRANTING)
    await granted(world, world.desk)
    resumed = replace(call(world), call=replace(call(world).call, resumes=held))
    assert isinstance(await world.settle(resumed, GRANTING), Waiting)


async def test_nobody_resumes_a_grant(world: World) -> None:
    approval_id = await granted(world, world.desk)
    assert await world.desk.held(approval_id, ALICE) == ()
    example = world.call()
    resumed = replace(example, call=replace(example.call, resumes=approval_id))
    assert isinstance(await world.settle(resumed, GRANTING), Deny)


async def test_a_grant_is_not_spent_and_a_call_is_not_used(world: World) -> None:
    approval_id = await granted(world, world.desk)
    held = await world.held(call(world, 30_000), GRANTING)
    await world.desk.vote(held, BOB, Verdict.APPROVE)
    for one, amounts in ((approval_id, ()), (held, ("1",))):
        ref = ApprovalRef(id=one, digest=world.ledger.records[one].digest, amounts=amounts)
        with pytest.raises(ApprovalConflict):
            await world.ledger.append(Intent(shown=call(world), allow=Allow(ruling=GRANTING.ruling, approval=ref)))


@pytest.mark.parametrize("what", ["allowances", "exact", "digest"])
async def test_a_grant_that_somebody_changed_in_the_store_covers_nothing(world: World, what: str) -> None:
    approval_id = await granted(world, world.desk)
    grant = world.ledger.records[approval_id]
    changed: dict[str, Any] = {
        "allowances": {"allowances": (replace(grant.allowances[0], max_calls=500),)},
        "exact": {"exact": grant.exact[:-1] + b"x"},
        "digest": {"digest": "0" * 64},
    }
    world.ledger.tamper(approval_id, **changed[what])
    assert await uses(world, call(world)) == ()


async def test_the_record_of_a_request_holds_nothing_that_is_masked(world: World) -> None:
    vary = {"to": {"one_of": [IBAN, "FR14 2004 1010"]}, "amount": {"at_most": 20_000}}
    await asked(world.desk, world.call(), vary=vary, reason="for Jane Roe")
    (opened,) = [entry for entry in world.ledger.entries if isinstance(entry, Opened)]
    assert opened.facts["access"]["vary"] == {"to": {"one_of": 2}, "amount": {"at_most": 20_000}}
    assert opened.facts["access"]["reason"] == "the month's rents"  # as it was redacted
    for secret in (IBAN, "FR14", "Roe"):
        assert secret not in str(opened.facts)
        assert secret.encode() not in opened.exact


async def test_a_gateway_that_knows_no_grants_can_open_none(world: World) -> None:
    """It would show the example as if that were all that is asked for."""
    approval_id = await asked(world.desk, world.call())
    world.ledger.tamper(approval_id, allowances=())
    with pytest.raises(Exception, match="cannot be opened"):
        await world.desk.show(approval_id, BOB)


async def test_a_sheet_of_a_grant_tells_what_it_covers_and_the_vote_is_tied_to_that(world: World) -> None:
    vary = {"amount": {"at_least": 1, "at_most": 20_000}, "memo": {"any": True}}
    one = await asked(world.desk, world.call(), vary=vary, reason="rents\nof p\u0430ypal")
    sheet = await world.desk.show(one, BOB)
    assert sheet.granted == (
        '"amount": any number from 1 up to 20000',
        '"memo": ANY VALUE AT ALL',
        f'"to": exactly "{IBAN}"',
        "No other argument, and none of these left out.",
        "5 calls at most, without asking again.",
        "50000 in all at most, summed up over amount.",
        "Until 2027-01-15 10:00:00 UTC.",
    )
    assert sheet.words == "rents\\nof p\\u0430ypal"
    assert sheet.oddities == ("U+0430 CYRILLIC SMALL LETTER A, once",)
    other = await asked(world.desk, world.call(), vary=vary, reason="rents", max_calls=20)
    assert (await world.desk.show(other, BOB)).arguments == sheet.arguments
    with pytest.raises(ApprovalConflict, match="not what"):
        await world.desk.vote(other, BOB, Verdict.APPROVE, shown=sheet.commitment)


async def test_what_is_left_of_a_sheet_afterwards_is_the_clean_one(world: World) -> None:
    vary = {"to": {"one_of": [IBAN, "FR14"]}, "amount": {"at_most": 20_000}}
    one = await asked(world.desk, world.call(), vary=vary, reason="for Jane Roe")
    await world.desk.vote(one, BOB, Verdict.DENY)
    sheet = await world.desk.show(one, BOB)
    assert sheet.granted[:3] == (
        '"to": one of 2 values, which are on the approval\'s own page',
        '"amount": any number up to 20000',
        "Every other argument exactly as in the example, and no other.",
    )
    assert sheet.words == "the month's rents"
    assert "FR14" not in str(sheet)


async def test_a_sheet_of_a_call_grants_nothing(world: World) -> None:
    sheet = await world.desk.show(await world.held(), BOB)
    assert (sheet.granted, sheet.words, sheet.approval.usage) == ((), "", "")


async def test_without_a_total_calls_alone_are_told_and_counted(world: World) -> None:
    approval_id = await granted(world, world.desk, total={})
    await use(world, call(world, 20_000))
    sheet = await world.desk.show(approval_id, BOB)
    assert (sheet.granted[-2], sheet.approval.usage) == ("5 calls at most, without asking again.", "used 1 of 5")
