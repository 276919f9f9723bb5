"""Who may decide, when, and what votes amount to."""

from dataclasses import replace

import anyio
import pytest

from mcpgw.approval import NotEntitled
from mcpgw.core.entries import (
    Event,
    Verdict,
    Vote,
)
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    Identity,
    IdentityKind,
    Sealed,
    Waiting,
)
from mcpgw.ports import ApprovalState
from tests.approval.world import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DEADLINE_S,
    ISSUER,
    MALLORY,
    EntryT,
    MemoryLedger,
    World,
    asking,
    person,
)

LEAD = "payments-leads"
AGENT = replace(person("agent-7", LEAD), kind=IdentityKind.AGENT)

REFUSED: dict[str, tuple[Identity, str]] = {
    "the requester": (person("alice", LEAD), "somebody else must decide"),
    "the requester, who is no approver either": (ALICE, "somebody else must decide"),
    "the requester in other letters": (person("ALICE", LEAD), "somebody else must decide"),
    "the requester in full width": (person("\uff41lice", LEAD), "somebody else must decide"),
    "the requester by another issuer": (person("alice", LEAD, issuer="mcpgw:keys"), "somebody else must decide"),
    "an admin who is the requester": (person("alice", LEAD, "admins"), "somebody else must decide"),
    "an actor of the delegation chain": (person("orchestrator", LEAD), "somebody else must decide"),
    "an actor named with its issuer": (person("planner", LEAD), "somebody else must decide"),
    "an agent": (replace(BOB, kind=IdentityKind.AGENT), "Only a person"),
    "a service": (replace(BOB, kind=IdentityKind.SERVICE), "Only a person"),
    "an agent with a token of a person": (replace(BOB, actors=("agent-7",)), "Only a person"),
    "nobody in particular": (replace(BOB, method="unsafe_anonymous"), "Only a person"),
    "a person outside the group": (MALLORY, "There is no approval"),
    "an admin outside the group": (person("root", "admins"), "There is no approval"),
    "a person removed from the group": (replace(BOB, groups=frozenset()), "There is no approval"),
    "a group named alike": (person("erin", "Payments-Leads"), "There is no approval"),
    "a person named like the group": (person(LEAD), "There is no approval"),
}


@pytest.mark.parametrize("who", REFUSED)
@pytest.mark.parametrize("verdict", Verdict)
async def test_the_vote_is_refused_of(world: World, who: str, verdict: Verdict) -> None:
    voter, words = REFUSED[who]
    requester = replace(ALICE, actors=("orchestrator", f"{ISSUER}#planner"))
    approval_id = await world.held(world.call(requester))
    with pytest.raises(NotEntitled, match=words):
        await world.desk.vote(approval_id, voter, verdict)
    assert world.kinds() == ["Opened"]


async def test_an_unknown_id_and_somebody_elses_get_the_same_answer(world: World) -> None:
    approval_id = await world.held()
    answers = []
    for asked in (approval_id, "apr_aaaaaaaaaaaaaaaaaaaa"):
        for door in (world.desk.vote(asked, MALLORY, Verdict.APPROVE), world.desk.show(asked, MALLORY)):
            with pytest.raises(NotEntitled) as refused:
                await door
            answers.append((str(refused.value).replace(asked, "ID"), refused.value.hint))
    assert len(set(answers)) == 1


ENTRIES: dict[str, tuple[str, Identity, bool]] = {
    "their group": (f"group:{LEAD}", BOB, True),
    "their subject": ("user:bob", BOB, True),
    "their principal": (f"user:{ISSUER}#bob", BOB, True),
    "another issuer's subject": ("user:https://other.example#bob", BOB, False),
    "a group as a person": (f"user:{LEAD}", BOB, False),
    "a person as a group": ("group:bob", BOB, False),
    "no kind of entry": ("bob", BOB, False),
    "any": ("*", BOB, False),
}


@pytest.mark.parametrize("entry", ENTRIES)
async def test_an_approver_is_named_by(world: World, entry: str) -> None:
    name, voter, entitled = ENTRIES[entry]
    approval_id = await world.held(hold=asking(approvers=("group:nobody", name)))
    if entitled:
        assert (await world.desk.vote(approval_id, voter, Verdict.APPROVE)).state is ApprovalState.APPROVED
    else:
        with pytest.raises(NotEntitled):
            await world.desk.vote(approval_id, voter, Verdict.APPROVE)


async def test_with_no_approvers_nobody_can_approve(world: World) -> None:
    approval_id = await world.held(hold=asking(approvers=()))
    with pytest.raises(NotEntitled):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)


A, D = Verdict.APPROVE, Verdict.DENY
AMOUNTS: list[tuple[int, list[tuple[Identity, Verdict]], ApprovalState]] = [
    (1, [], ApprovalState.PENDING),
    (0, [], ApprovalState.PENDING),
    (-1, [], ApprovalState.PENDING),
    (1, [(BOB, A)], ApprovalState.APPROVED),
    (0, [(BOB, A)], ApprovalState.APPROVED),
    (1, [(BOB, D)], ApprovalState.DENIED),
    (2, [(BOB, A)], ApprovalState.PENDING),
    (2, [(BOB, A), (CAROL, A)], ApprovalState.APPROVED),
    (2, [(BOB, A), (CAROL, D)], ApprovalState.DENIED),
    (3, [(BOB, A), (CAROL, A)], ApprovalState.PENDING),
    (3, [(BOB, A), (CAROL, A), (DAVE, A)], ApprovalState.APPROVED),
]


@pytest.mark.parametrize(("quorum", "votes", "state"), AMOUNTS)
async def test_votes_amount_to(world: World, quorum: int, votes: list[tuple[Identity, Verdict]], state: ApprovalState) -> None:
    approval_id = await world.held(hold=asking(quorum))
    for voter, verdict in votes:
        approval = await world.desk.vote(approval_id, voter, verdict)
        assert approval == world.ledger.records[approval_id]
    assert world.state(approval_id) is state


async def test_nobody_votes_twice_not_even_with_another_credential(world: World) -> None:
    approval_id = await world.held(hold=asking(2))
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    for again in (BOB, person("bob", LEAD, issuer="mcpgw:keys"), person("Bob", LEAD)):
        for verdict in Verdict:
            with pytest.raises(ApprovalConflict, match="voted"):
                await world.desk.vote(approval_id, again, verdict)
    assert world.state(approval_id) is ApprovalState.PENDING


async def test_one_person_voting_twice_at_once_counts_once(world: World) -> None:
    """Both votes may pass the check before either is durable; the count does not care."""
    hold = asking(2)
    approval_id = await world.held(hold=hold)

    async def bob_votes(issuer: str) -> None:
        await world.desk.vote(approval_id, person("bob", LEAD, issuer=issuer), Verdict.APPROVE)

    async with anyio.create_task_group() as group:
        group.start_soon(bob_votes, ISSUER)
        group.start_soon(bob_votes, "mcpgw:keys")
    assert len(world.ledger.records[approval_id].votes) == 2
    assert world.state(approval_id) is ApprovalState.PENDING
    assert isinstance(await world.settle(hold=hold), Waiting)


async def test_a_vote_that_the_requester_got_into_the_store_does_not_count(world: World) -> None:
    approval_id = await world.held()
    await world.ledger.append(Vote(approval_id=approval_id, voter=ALICE, verdict=Verdict.APPROVE))
    await world.desk.sweep()
    assert world.state(approval_id) is ApprovalState.PENDING


@pytest.mark.parametrize("verdict", Verdict)
async def test_after_the_deadline_no_vote_is_taken_and_the_approval_is_settled(world: World, verdict: Verdict) -> None:
    approval_id = await world.held()
    world.later(DEADLINE_S - world.time.elapsed)
    with pytest.raises(ApprovalConflict, match="expired already"):
        await world.desk.vote(approval_id, BOB, verdict)
    assert world.kinds() == ["Opened", "Settled"]
    assert world.state(approval_id) is ApprovalState.EXPIRED


@pytest.mark.parametrize("verdict", Verdict)
async def test_what_is_settled_takes_no_vote(world: World, verdict: Verdict) -> None:
    for first in Verdict:
        approval_id = await world.held()
        await world.desk.vote(approval_id, BOB, first)
        with pytest.raises(ApprovalConflict, match="already"):
            await world.desk.vote(approval_id, CAROL, verdict)
        world.later(DEADLINE_S)


async def test_a_denial_that_lost_the_race_to_the_settlement_still_stops_the_call(world: World) -> None:
    """Another process settled as approved while a denial was being made durable: the denial is in the votes."""
    approval_id = await world.held()
    await world.ledger.append(Vote(approval_id=approval_id, voter=CAROL, verdict=Verdict.DENY))
    await world.ledger.append(Vote(approval_id=approval_id, voter=BOB, verdict=Verdict.APPROVE))
    world.ledger.tamper(approval_id, state=ApprovalState.APPROVED)
    assert not isinstance(await world.settle(), Allow)


async def test_racing_approvers_settle_once(world: World) -> None:
    hold = asking(2)
    approval_id = await world.held(hold=hold)
    refused: list[str] = []

    async def vote(number: int) -> None:
        try:
            await world.new_desk().vote(approval_id, person(f"lead-{number}", LEAD), Verdict.APPROVE)
        except ApprovalConflict as error:
            refused.append(str(error))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(vote, number)
    assert world.kinds().count("Settled") == 1
    assert world.state(approval_id) is ApprovalState.APPROVED


async def test_a_vote_that_is_not_durable_does_not_count(world: World) -> None:
    approval_id = await world.held()
    world.ledger.lose_next = True
    with pytest.raises(LedgerUnavailable):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    assert isinstance(await world.settle(), Waiting)


async def test_a_vote_whose_settlement_was_lost_is_settled_by_whoever_looks_next(world: World) -> None:
    class LosesSettlement(MemoryLedger):
        async def append(self, entry: EntryT) -> Sealed[EntryT]:
            sealed = await super().append(entry)
            self.lose_next = isinstance(entry, Vote)
            return sealed

    world.ledger = LosesSettlement(world.time)
    world.desk = world.new_desk()
    approval_id = await world.held()
    with pytest.raises(LedgerUnavailable):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    assert world.state(approval_id) is ApprovalState.PENDING
    assert isinstance(await world.settle(), Allow)


async def test_the_vote_records_who_and_why(world: World) -> None:
    approval_id = await world.held()
    approval = await world.desk.vote(approval_id, BOB, Verdict.APPROVE, "rang the customer")
    (vote,) = approval.votes
    assert (vote.voter, vote.verdict, vote.comment) == (BOB.principal, "approve", "rang the customer")
    assert approval.reason == "1 of 1 approved."
    (entry,) = [entry for entry in world.ledger.entries if isinstance(entry, Vote)]
    assert entry.voter == BOB


async def test_a_comment_has_room_for_a_reason_and_not_for_a_document(world: World) -> None:
    approval_id = await world.held()
    with pytest.raises(ValueError, match="2001 characters"):
        await world.desk.vote(approval_id, BOB, Verdict.APPROVE, "x" * 2_001)
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE, "x" * 2_000)


async def test_a_vote_on_what_was_shown_is_taken_and_on_anything_else_is_refused(world: World) -> None:
    approval_id = await world.held()
    other = await world.held(world.call(arguments={"to": "x", "amount": 1}))
    sheet = await world.desk.show(approval_id, BOB)
    with pytest.raises(ApprovalConflict, match="not what"):
        await world.desk.vote(other, BOB, Verdict.APPROVE, shown=sheet.commitment)
    approval = await world.desk.vote(approval_id, BOB, Verdict.APPROVE, shown=sheet.commitment)
    assert approval.state is ApprovalState.APPROVED
    (vote,) = [entry for entry in world.ledger.entries if isinstance(entry, Vote)]
    assert vote.shown == sheet.commitment


async def test_who_sees_which_approvals(world: World) -> None:
    hers = await world.held()
    theirs = await world.held(world.call(BOB), asking(approvers=("user:carol",)))

    async def seen(viewer: Identity) -> list[str]:
        return [approval.id for approval in await world.desk.docket(viewer)]

    assert await seen(ALICE) == [hers]
    assert await seen(BOB) == [theirs, hers]
    assert await seen(CAROL) == [theirs, hers]
    assert await seen(MALLORY) == []
    assert await seen(AGENT) == []
    assert [a.id for a in await world.desk.docket(CAROL, (ApprovalState.APPROVED,))] == []


VIEWERS: dict[str, tuple[Identity, bool]] = {
    "an approver": (BOB, True),
    "the requester through the same agents": (replace(ALICE, actors=("agent-7",)), True),
    "the requester in person": (ALICE, True),
    "another agent of the requester": (replace(ALICE, actors=("agent-8",)), False),
    "the same name by another issuer": (person("alice", issuer="https://other.example"), False),
    "an agent in the approvers' group": (AGENT, False),
    "anybody else": (MALLORY, False),
}


@pytest.mark.parametrize("who", VIEWERS)
async def test_exact_arguments_are_shown_to(world: World, who: str) -> None:
    viewer, allowed = VIEWERS[who]
    approval_id = await world.held(world.call(replace(ALICE, actors=("agent-7",))))
    if not allowed:
        with pytest.raises(NotEntitled):
            await world.desk.show(approval_id, viewer)
        assert world.kinds() == ["Opened"]
        return
    sheet = await world.desk.show(approval_id, viewer)
    assert sheet.exact
    assert "DE89 3704 0044 0532 0130 00" in sheet.arguments
    read = world.ledger.entries[-1]
    assert isinstance(read, Event)
    assert (read.kind, read.actor) == ("evidence.read", viewer.principal)
    assert read.facts == {"approval_id": approval_id, "digest": sheet.approval.digest, "shown": sheet.commitment}
