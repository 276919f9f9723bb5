"""Any interleaving of calls, votes, time, restarts and crashes: nothing runs that people did not agree to, nor twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcpgw.approval import NotEntitled
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    Patience,
    Sealed,
    ShownCall,
)
from mcpgw.ports import Approval, ApprovalState, CastVote
from tests.approval.world import ALICE, BOB, CAROL, DAVE, FAILED, HOLD, MALLORY, REPLY, Witness, World, asking, person

LEAD = "payments-leads"
CALLERS = [ALICE, replace(ALICE, actors=("agent-7",)), BOB]
VOTERS = [
    BOB,
    CAROL,
    DAVE,
    MALLORY,
    person("alice", LEAD),
    person("bob", LEAD, issuer="mcpgw:keys"),
    replace(CAROL, groups=frozenset()),
    replace(person("agent-7", LEAD), kind=IdentityKind.AGENT),
    person("agent-7", LEAD),
]
HOLDS = [HOLD, asking(2), replace(asking(2), ruling=replace(HOLD.ruling, policy_hash="q" * 64))]
NOW = Patience(budget_s=0.0)

T = TypeVar("T")


class DeskMachine(RuleBasedStateMachine):
    """The desk alone. Grants are not among its rules: what must hold of them is counted in the store's transaction, so they are
    played on the real ledger, together with all that is here (`interleavings`)."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World()
        self.asked: dict[str, tuple[ShownCall, Hold]] = {}
        self.claims: list[tuple[ShownCall, Allow]] = []
        self.under_way: list[Sealed[Intent]] = []
        self.executed: list[tuple[ShownCall, Approval]] = []
        self.proposals: list[tuple[str, str, int]] = []
        """Voter, requester with agents, and amount of each proposal that was recorded."""

    def teardown(self) -> None:
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def some(self, data: st.DataObject, states: tuple[ApprovalState, ...] = ()) -> Approval:
        return data.draw(st.sampled_from([a for a in self.world.ledger.records.values() if not states or a.state in states]))

    @rule(identity=st.sampled_from(CALLERS), amount=st.integers(1, 2), hold=st.sampled_from(HOLDS), fault=st.booleans())
    def call(self, identity: Identity, amount: int, hold: Hold, fault: bool) -> None:
        shown = self.world.call(identity, arguments={"to": "x", "amount": amount})
        self.asked[shown.call.id] = (shown, hold)
        self.ask(shown, hold, fault=fault)

    def ask(self, shown: ShownCall, hold: Hold, *, fault: bool) -> None:
        self.world.ledger.keep_next = fault
        try:
            answer = self.do(self.world.desk.settle(shown, hold, NOW, Witness()))
        except LedgerUnavailable:
            return
        finally:
            self.world.ledger.keep_next = False
        if isinstance(answer, Allow):
            self.claims.append((shown, answer))

    @precondition(lambda self: self.world.ledger.records)
    @rule(
        data=st.data(), voter=st.sampled_from(VOTERS), verdict=st.sampled_from([Verdict.APPROVE, Verdict.APPROVE, Verdict.DENY])
    )
    def vote(self, data: st.DataObject, voter: Identity, verdict: Verdict) -> None:
        with suppress(NotEntitled, ApprovalConflict):
            self.do(self.world.desk.vote(self.some(data).id, voter, verdict))

    @precondition(lambda self: self.world.ledger.records)
    @rule(data=st.data(), voters=st.lists(st.sampled_from(VOTERS), min_size=2, max_size=3), last=st.sampled_from(Verdict))
    def votes_at_once(self, data: st.DataObject, voters: list[Identity], last: Verdict) -> None:
        approval_id = self.some(data).id

        async def all_at_once() -> None:
            verdicts = [*[Verdict.APPROVE] * (len(voters) - 1), last]
            votes = [
                self.world.new_desk().vote(approval_id, voter, verdict) for voter, verdict in zip(voters, verdicts, strict=True)
            ]
            results = await asyncio.gather(*votes, return_exceptions=True)
            assert all(isinstance(result, Approval | NotEntitled | ApprovalConflict) for result in results)

        self.do(all_at_once())

    @precondition(lambda self: self.world.ledger.records)
    @rule(data=st.data(), people=st.permutations([BOB, CAROL, DAVE]))
    def agree(self, data: st.DataObject, people: list[Identity]) -> None:
        """What mostly happens in life: enough leads approve, and the client calls again."""
        approval = self.some(data)
        for voter in people:
            with suppress(NotEntitled, ApprovalConflict):
                self.do(self.world.desk.vote(approval.id, voter, Verdict.APPROVE))
        shown, hold = self.asked[approval.call_id]
        self.ask(shown, hold, fault=False)

    @precondition(lambda self: self.world.ledger.records)
    @rule(
        data=st.data(),
        voter=st.sampled_from(VOTERS),
        amount=st.integers(1, 3),
        accept=st.sampled_from(["", "as it is", "other"]),
    )
    def propose(self, data: st.DataObject, voter: Identity, amount: int, accept: str) -> None:
        """Somebody proposes another amount; perhaps the client calls for it, or for something else again."""
        approval = self.some(data, (ApprovalState.PENDING,)) if self.pending else self.some(data)
        shown, hold = self.asked[approval.call_id]
        arguments = {"to": "x", "amount": amount}
        with suppress(NotEntitled, ApprovalConflict, ValueError):
            self.do(self.world.desk.propose(approval.id, voter, arguments, "why"))
            self.proposals.append((voter.principal, _side(approval), amount))
        if accept:
            called = arguments if accept == "as it is" else {**arguments, "amount": amount + 1}
            again = self.world.call(shown.call.identity, arguments=called)
            self.asked[again.call.id] = (again, hold)
            self.ask(again, hold, fault=False)

    @property
    def pending(self) -> bool:
        return any(approval.state is ApprovalState.PENDING for approval in self.world.ledger.records.values())

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        """Spend a claim, which may be an old one, or the second for one approval."""
        shown, allow = data.draw(st.sampled_from(self.claims))
        assert allow.approval is not None
        approval = self.world.ledger.records[allow.approval.id]
        try:
            self.under_way.append(self.do(self.world.spend(shown, allow)))
        except ApprovalConflict:
            return
        self.executed.append((shown, approval))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), ok=st.booleans())
    def finish(self, data: st.DataObject, ok: bool) -> None:
        intent = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(intent)
        self.do(self.world.finish(intent, REPLY if ok else FAILED))

    @rule()
    def restart(self) -> None:
        self.world.ledger.recover()
        self.under_way.clear()
        self.world.desk = self.world.new_desk()

    @rule(seconds=st.sampled_from([1.0, 1_000.0, 3_600.0]), sweep=st.booleans())
    def time_passes(self, seconds: float, sweep: bool) -> None:
        self.world.later(seconds)
        if sweep:
            self.do(self.world.desk.sweep())

    @invariant()
    def nothing_ran_without_a_quorum_of_others(self) -> None:
        for _, approval in self.executed:
            side = {approval.requester.rpartition("#")[2], *approval.actors}
            voters = {vote.voter.rpartition("#")[2] for vote in approval.votes if vote.verdict == "approve"}
            assert len(voters - side) >= approval.terms.levels[0].seats[0].count
            assert "mallory" not in voters
            assert not voters & side
            assert all(vote.verdict == "approve" and vote.time_ns < approval.deadline_ns for vote in approval.votes)

    @invariant()
    def a_vote_from_before_the_call_was_its_proposers_and_is_used_once(self) -> None:
        carried: Counter[tuple[str, str, int]] = Counter()
        for approval in self.world.ledger.records.values():
            early = [vote for vote in approval.votes if vote.time_ns < approval.opened_ns or _is_offer(vote, self.world)]
            assert len(early) <= 1
            for vote in early:
                carried[vote.voter, _side(approval), approval.facts["arguments"]["amount"]] += 1
        assert all(count <= self.proposals.count(proposal) for proposal, count in carried.items())

    @invariant()
    def nothing_ran_twice(self) -> None:
        assert all(count == 1 for count in Counter(approval.id for _, approval in self.executed).values())

    @invariant()
    def nothing_ran_but_what_was_approved(self) -> None:
        for shown, approval in self.executed:
            assert approval.facts["principal"] == shown.call.identity.principal
            assert approval.facts["actors"] == list(shown.call.identity.actors)
            assert json.dumps(approval.facts["arguments"]) == json.dumps({**shown.call.arguments, "to": "<IBAN>"})

    @invariant()
    def one_approval_at_most_stands_for_a_call(self) -> None:
        now = self.world.time.now_ns()
        over = (ApprovalState.DENIED, ApprovalState.EXPIRED)
        live = [a.request_key for a in self.world.ledger.records.values() if a.state not in over and a.deadline_ns > now]
        assert len(live) == len(set(live))


def _side(approval: Approval) -> str:
    return " ".join((approval.requester, *approval.actors))


def _is_offer(vote: CastVote, world: World) -> bool:
    """Tell whether it is the very word of somebody who proposed, carried over at the moment at which it was given."""
    return any(vote in approval.offer for approval in world.ledger.records.values())


TestDesk = DeskMachine.TestCase
TestDesk.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
