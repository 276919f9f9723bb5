"""Who may do what, beside voting: withdrawing, revoking, resolving, reviewing; and what a roster knows of voters later."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mcpgw.approval import NotEntitled
from mcpgw.approval.stats import GrantStats, stats_of
from mcpgw.core.entries import Happened, Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    Deny,
    Identity,
    IdentityKind,
)
from mcpgw.core.terms import BreakGlass, Freshness, Level, Seats
from mcpgw.identity import ApiKeys, KeyRoster, new_key
from mcpgw.ports import Approval, ApprovalState, CastVote, Deed
from tests.approval.granting import GRANTING, asked, granted
from tests.approval.world import ALICE, BOB, CAROL, DAVE, DEADLINE_S, LEADS, MALLORY, World, asking, needing, person

DUTY, AUDIT, ROOT = person("dora", "duty"), person("audra", "audit"), person("root", "admins")
DUKE = person("duke", "duty")
GLASS = BreakGlass(openers=("group:duty",), lasts_ns=900 * 10**9, reviewers=("group:audit",))
HOLD = needing(Seats(1, LEADS), break_glass=GLASS, admins=("group:admins",))
AGENT = replace(person("agent-7", "payments-leads", "duty", "audit", "admins"), kind=IdentityKind.AGENT)
DELEGATED = replace(BOB, actors=("agent-7",))


async def approved(world: World) -> str:
    approval_id = await world.held(hold=HOLD)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    return approval_id


# --- ending it before it runs --------------------------------------------------------------------------------------------

Act = Callable[[World, str, Identity], Awaitable[Approval]]


async def withdraw(world: World, approval_id: str, who: Identity) -> Approval:
    return await world.desk.withdraw(approval_id, who, "a typo")


async def revoke(world: World, approval_id: str, who: Identity) -> Approval:
    return await world.desk.revoke(approval_id, who, "a doubt")


@pytest.mark.parametrize(
    ("act", "who", "may"),
    [
        (withdraw, ALICE, True),
        (withdraw, BOB, False),
        (withdraw, ROOT, False),
        (withdraw, person("alice", issuer="https://other.example"), False),
        (revoke, BOB, True),
        (revoke, CAROL, True),
        (revoke, ROOT, True),
        (revoke, DUTY, True),
        (revoke, ALICE, False),
        (revoke, MALLORY, False),
        (revoke, AGENT, False),
        (revoke, DELEGATED, False),
    ],
)
async def test_an_approved_call_is_stopped_by(world: World, act: Act, who: Identity, may: bool) -> None:
    approval_id = await approved(world)
    if not may:
        with pytest.raises(NotEntitled):
            await act(world, approval_id, who)
        assert world.state(approval_id) is ApprovalState.APPROVED
        return
    ended = await act(world, approval_id, who)
    assert ended.state in (ApprovalState.WITHDRAWN, ApprovalState.REVOKED)
    assert ended.exact == b""
    with pytest.raises(ApprovalConflict):
        await act(world, approval_id, who)
    assert await world.held(hold=HOLD) != approval_id, "asked again, it is a new question"


async def test_a_vote_is_taken_back_and_given_anew_until_it_is_settled(world: World) -> None:
    approval_id = await world.held(hold=asking(2))
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    await world.desk.withdraw_vote(approval_id, BOB, "let me look again")
    with pytest.raises(ApprovalConflict):
        await world.desk.withdraw_vote(approval_id, BOB)
    await world.desk.vote(approval_id, CAROL, Verdict.APPROVE)
    assert world.state(approval_id) is ApprovalState.PENDING
    assert (await world.desk.vote(approval_id, BOB, Verdict.APPROVE)).state is ApprovalState.APPROVED
    with pytest.raises(ApprovalConflict):
        await world.desk.withdraw_vote(approval_id, BOB)


async def test_a_denial_that_waits_can_be_taken_back(world: World) -> None:
    approval_id = await world.held(hold=needing(Seats(1, LEADS), denial_settles=False))
    await world.desk.vote(approval_id, BOB, Verdict.DENY)
    assert (await world.desk.vote(approval_id, CAROL, Verdict.APPROVE)).state is ApprovalState.PENDING
    await world.desk.withdraw_vote(approval_id, BOB)
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.APPROVED


# --- what is true at the vote is asked again at release ------------------------------------------------------------------


async def test_an_approver_who_was_removed_meanwhile_approved_nothing(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    world.roster.gone.add((BOB.principal, LEADS[0]))
    answer = await world.settle()
    assert isinstance(answer, Deny)
    assert "void" in answer.ruling.reason
    assert world.state(approval_id) is ApprovalState.REVOKED


async def test_a_sign_in_that_grew_old_counts_no_more(world: World) -> None:
    fresh = Freshness(max_age_ns=300 * 10**9, amr=("mfa",))
    hold = needing(Seats(1, LEADS), freshness=fresh)
    approval_id = await world.held(hold=hold)
    with pytest.raises(NotEntitled, match="at most 5 minutes ago, with mfa"):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    now_s = world.time.now_ns() // 10**9
    signed_in = replace(BOB, auth_time=now_s, amr=("pwd", "mfa"))
    assert (await world.desk.vote(approval_id, signed_in, Verdict.APPROVE)).state is ApprovalState.APPROVED
    world.later(301)
    assert isinstance(await world.settle(hold=hold), Deny)
    assert world.state(approval_id) is ApprovalState.REVOKED


def test_the_roster_reads_the_key_file_as_it_is_now(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "api_keys.json")
    made = new_key(subject="bob", kind=IdentityKind.HUMAN, groups=("leads",))
    keys.add(made.record)
    now = [0.0]
    roster = KeyRoster(keys, clock=lambda: now[0])
    cast = CastVote(
        voter="mcpgw:keys#bob", verdict="approve", comment="", time_ns=1, fits=("group:leads", "group:gone"),
        credential_id=made.record.id,
    )  # fmt: skip
    assert roster.still(cast) == {"group:leads"}
    assert roster.still(replace(cast, voter="mcpgw:keys#carol")) == frozenset()
    assert roster.still(replace(cast, credential_id="0" * 12)) == frozenset()
    vouched = replace(cast, voter="https://idp.example#bob", credential_id="jti")
    assert roster.still(vouched) == {"group:leads", "group:gone"}, "of an identity provider's people nothing newer is known"
    keys.revoke(made.record.id)
    assert roster.still(cast) == frozenset()
    (tmp_path / "api_keys.json").write_text("{")
    assert roster.still(cast) == frozenset()


# --- escalation ----------------------------------------------------------------------------------------------------------


async def test_silence_asks_others_once_whoever_wakes_and_survives_a_restart(world: World) -> None:
    heads = Level(seats=(Seats(1, ("group:heads",)),), lasts_ns=600 * 10**9)
    hold = needing(Seats(1, LEADS), then=(heads,))
    hana = person("hana", "heads")
    approval_id = await world.held(hold=hold)
    with pytest.raises(NotEntitled, match="There is no approval"):
        await world.desk.vote(approval_id, hana, Verdict.APPROVE)
    world.later(DEADLINE_S)
    for desk in (world.desk, world.new_desk(), world.new_desk()):
        await desk.sweep()
    assert world.kinds().count("Escalated") == 1
    assert (await world.desk.vote(approval_id, hana, Verdict.APPROVE)).state is ApprovalState.APPROVED
    assert isinstance(await world.settle(hold=hold), Allow)


async def test_a_process_that_slept_through_two_levels_does_both_and_then_expires(world: World) -> None:
    levels = tuple(Level(seats=(Seats(1, (f"group:{name}",)),), lasts_ns=600 * 10**9) for name in ("heads", "board"))
    approval_id = await world.held(hold=needing(Seats(1, LEADS), then=levels))
    world.later(DEADLINE_S + 700)
    await world.new_desk().sweep()
    assert (world.ledger.records[approval_id].level, world.state(approval_id)) == (2, ApprovalState.PENDING)
    world.later(600)
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.EXPIRED


# --- break-glass ---------------------------------------------------------------------------------------------------------


async def test_break_glass_takes_two_is_short_loud_and_reviewed_by_a_third(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    approval_id = await world.held(hold=HOLD)
    desk = world.desk
    for who in (ALICE, BOB, MALLORY, AGENT, ROOT):
        with pytest.raises(NotEntitled):
            await desk.vote(approval_id, who, Verdict.APPROVE, "now", break_glass=True)
    with pytest.raises(ValueError, match="comment is required"):
        await desk.vote(approval_id, DUTY, Verdict.APPROVE, break_glass=True)
    await desk.vote(approval_id, DUTY, Verdict.APPROVE, "the vault is on fire", break_glass=True)
    with pytest.raises(ApprovalConflict):
        await desk.vote(approval_id, DUTY, Verdict.APPROVE, "again", break_glass=True)
    with caplog.at_level(logging.CRITICAL):
        opened = await desk.vote(approval_id, DUKE, Verdict.APPROVE, "I see it too", break_glass=True)
    assert opened.state is ApprovalState.APPROVED
    assert "BREAK-GLASS" in caplog.text
    assert opened.usable_until_ns == world.time.now_ns() + GLASS.lasts_ns
    assert [item.id for item in await desk.open_items(AUDIT)] == [approval_id]
    for who in (DUTY, DUKE, ALICE, BOB, MALLORY, AGENT):
        with pytest.raises(NotEntitled):
            await desk.review(approval_id, who, "looks fine")
    with pytest.raises(ValueError, match="required"):
        await desk.review(approval_id, AUDIT, " ")
    await desk.review(approval_id, AUDIT, "there was a fire")
    assert await desk.open_items(AUDIT) == ()
    with pytest.raises(ApprovalConflict):
        await desk.review(approval_id, AUDIT, "again")


async def test_what_the_glass_opened_closes_soon(world: World) -> None:
    approval_id = await world.held(hold=HOLD)
    for who in (DUTY, DUKE):
        await world.desk.vote(approval_id, who, Verdict.APPROVE, "fire", break_glass=True)
    world.later(900)
    assert await world.held(hold=HOLD) != approval_id
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.EXPIRED


async def test_without_a_named_reviewer_any_third_approver_reviews(world: World) -> None:
    hold = needing(Seats(1, LEADS), break_glass=replace(GLASS, reviewers=()))
    approval_id = await world.held(hold=hold)
    for who in (DUTY, DUKE):
        await world.desk.vote(approval_id, who, Verdict.APPROVE, "fire", break_glass=True)
    assert (await world.desk.review(approval_id, BOB, "seen")).needs_review is False


# --- unknown outcomes ----------------------------------------------------------------------------------------------------


async def test_a_person_says_what_became_of_it_and_nothing_is_sent_by_that(world: World) -> None:
    approval_id = await approved(world)
    allow = await world.settle(hold=HOLD)
    assert isinstance(allow, Allow)
    await world.spend(world.call(), allow)
    world.ledger.recover()
    for who in (ALICE, MALLORY, AGENT, DELEGATED):
        with pytest.raises(NotEntitled):
            await world.desk.resolve(approval_id, who, Happened.NO, "nothing on the account")
    with pytest.raises(ValueError, match="required"):
        await world.desk.resolve(approval_id, BOB, Happened.NO, "")
    assert isinstance(await world.settle(hold=HOLD), Deny)
    resolved = await world.desk.resolve(approval_id, BOB, Happened.NO, "nothing on the account")
    assert (resolved.state, resolved.needs_resolution) == (ApprovalState.INDETERMINATE, False)
    assert await world.held(hold=HOLD) != approval_id, "now it can be asked for afresh"


# --- what is offered, and what is counted --------------------------------------------------------------------------------


async def test_only_what_somebody_may_do_is_offered(world: World) -> None:
    approval_id = await world.held(hold=HOLD)
    pending = world.ledger.records[approval_id]
    assert world.desk.deeds(BOB, pending) == {Deed.VOTE}
    assert world.desk.deeds(DUTY, pending) == {Deed.BREAK_GLASS}
    assert world.desk.deeds(ALICE, pending) == {Deed.WITHDRAW}
    assert world.desk.deeds(MALLORY, pending) == world.desk.deeds(AGENT, pending) == frozenset()
    await world.desk.vote(approval_id, DUTY, Verdict.APPROVE, "fire", break_glass=True)
    assert world.desk.deeds(DUTY, world.ledger.records[approval_id]) == {Deed.WITHDRAW_VOTE}
    await world.desk.vote(approval_id, DUKE, Verdict.APPROVE, "fire", break_glass=True)
    opened = world.ledger.records[approval_id]
    assert world.desk.deeds(AUDIT, opened) == {Deed.REVIEW}
    assert world.desk.deeds(BOB, opened) == world.desk.deeds(ROOT, opened) == {Deed.REVOKE}


async def test_stats_tell_what_waits_long_and_what_is_always_approved(world: World) -> None:
    for number in range(5):
        approval_id = await world.held(world.call(arguments={"to": str(number)}))
        world.later(10 * (number + 1))
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    denied = await world.held(world.call(arguments={"to": "x"}), asking(2))
    await world.desk.vote(denied, DAVE, Verdict.DENY)
    found = stats_of(list(world.ledger.records.values()))
    assert found.states == {"approved": 5, "denied": 1}
    assert found.waited_ns == {50: 24 * 10**9, 90: 54 * 10**9, 99: 54 * 10**9}
    (rule,) = found.rules
    assert (rule.held, rule.approved, rule.denied, rule.could_be_relaxed) == (6, 5, 1, False)
    assert stats_of(list(world.ledger.records.values())[:5]).rules[0].could_be_relaxed
    assert [(one.voter.partition("#")[2], one.approved, one.denied) for one in found.voters] == [("bob", 5, 0), ("dave", 0, 1)]
    assert stats_of([]).waited_ns == {}


async def test_a_grant_is_no_held_call_in_the_stats_and_what_ran_by_it_is_its_use(world: World) -> None:
    await granted(world, world.desk)
    shown = world.call()
    answer = await world.settle(shown, GRANTING)
    assert isinstance(answer, Allow)
    await world.spend(shown, answer)
    await asked(world.desk, world.call(arguments={"amount": 1, "to": "x"}))
    await world.held(world.call(arguments={"to": "y"}))
    found = stats_of(list(world.ledger.records.values()))
    assert (found.states, [rule.held for rule in found.rules], found.waited_ns) == ({"pending": 1}, [1], {})
    assert found.grants == GrantStats(states={"approved": 1, "pending": 1}, uses=1, break_glass=0)
    assert [voter.approved for voter in found.voters] == [1], "whoever votes on grants decides too"
