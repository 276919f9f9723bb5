"""Any interleaving of what people, clients, time and crashes do, on the real desk and the real ledger in SQLite.

What may run is judged by an oracle of its own: it keeps its own list of votes and of who belongs where, and tries every way to
fill the seats. `scripts/approvals_soak` runs ten thousand of these; the suite runs a few (`test_interleavings`).
"""

import asyncio
import itertools
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mcpgw.approval import Desk, NotEntitled
from mcpgw.core.entries import Happened, Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    Outcome,
    Patience,
    Sealed,
    ShownCall,
)
from mcpgw.core.terms import BreakGlass, Level, Seats, Terms
from mcpgw.ledger import Ledger, RecordContext, create_keys
from mcpgw.ports import Approval, ApprovalState
from tests.approval.granting import asked, permitting
from tests.approval.world import ALICE, FAILED, KEY, REPLY, START_NS, Everybody, Witness, World, needing, person

NOW = Patience(budget_s=0.0)
ORIGIN = "bank.example/mcpgw"
CONTEXT = RecordContext(version="0", config_hash="c0" * 32, catalog_hash="ca" * 32)
L, R, H, D = "group:leads", "group:risk", "group:heads", "group:duty"
GROUPS = {
    "bob": (L,), "carol": (L, R), "dave": (L,), "rita": (R,), "hana": (H, D), "duke": (D,),
    "alice": (L, R, H, D), "agent-7": (L,),
}  # fmt: skip
PEOPLE = [person(name, *(group.partition(":")[2] for group in groups)) for name, groups in GROUPS.items()]
VOTERS = [*PEOPLE, person("bob", "leads", issuer="mcpgw:keys"), replace(person("agent-7", "leads"), kind=IdentityKind.AGENT),
          replace(PEOPLE[0], actors=("agent-9",)), person("mallory", "marketing")]  # fmt: skip
HOUR_NS = 3_600 * 10**9
GLASS = BreakGlass(openers=(D,), lasts_ns=600 * 10**9)
THEN = (Level(seats=(Seats(1, (H,)),), lasts_ns=HOUR_NS),)
HOLDS = [
    needing(Seats(1, (L,))),
    needing(Seats(2, (L,)), Seats(1, (R,)), then=THEN, break_glass=GLASS),
    needing(Seats(1, (L, R)), then=THEN, denial_settles=False),
]
GRANTING = [permitting(HOLDS[0]), permitting(HOLDS[2])]
HOLDS += GRANTING
HOLDS.append(replace(HOLDS[0], ruling=replace(HOLDS[0].ruling, policy_hash="q" * 64)))
CALLERS = [ALICE, replace(ALICE, actors=("agent-7",)), PEOPLE[0]]

T = TypeVar("T")
ANY = st.integers(0, 99)
"""Which of the things that there are."""


@dataclass
class Cast:
    """A vote as the oracle remembers it."""

    approval_id: str
    name: str
    verdict: Verdict
    break_glass: bool
    withdrawn: bool = False


@dataclass
class Proposal:
    """Other arguments, as the oracle remembers them."""

    name: str
    caller: Identity
    hold: Hold
    amount: int
    until_ns: int
    used: bool = False


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mcpgw-interleavings-"))
        create_keys(self.folder / "keys", ORIGIN)
        (self.folder / "data").mkdir()
        self.runner = asyncio.Runner()
        self.now_ns = START_NS
        self.world = World()  # for its calls
        self.roster = Everybody()
        self.votes: list[Cast] = []
        self.proposals: list[Proposal] = []
        self.asked: dict[str, tuple[ShownCall, Hold]] = {}
        self.under_way: list[Sealed[Intent]] = []
        self.executed: Counter[str] = Counter()
        self.granted: dict[str, tuple[int, int]] = {}
        """What was asked for in each grant: how many calls, and how much in all."""
        self.used: dict[str, list[int]] = defaultdict(list)
        """The amounts of the calls that ran under each."""
        self.calls = 0
        self.stack = AsyncExitStack()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.do(self._open())

    async def _open(self) -> None:
        """Two gateways on one store."""
        self.stack = AsyncExitStack()
        opened = [
            await self.stack.enter_async_context(
                Ledger.open(
                    self.folder / "data", self.folder / "keys", origin=ORIGIN, context=lambda: CONTEXT,
                    clock=lambda: self.now_ns, announce=False,
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        self.ledgers: list[Ledger] = opened
        self.desks = [Desk(ledger, ledger, KEY, self.roster, now_ns=lambda: self.now_ns) for ledger in opened]

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def approvals(self) -> tuple[Approval, ...]:
        return self.do(self.ledgers[0].approvals((), 1_000))

    def some(self, number: int) -> tuple[Approval, ...]:
        """One of those that there are, if any. How races end is not the same each time, so what is drawn is a number alone."""
        return _nth(self.approvals(), number)

    # --- what happens ----------------------------------------------------------------------------------------------------

    @rule(identity=st.sampled_from(CALLERS), amount=st.integers(1, 2), hold=st.sampled_from(HOLDS), at=st.integers(0, 1))
    def call(self, identity: Identity, amount: int, hold: Hold, at: int) -> None:
        shown = self.world.call(identity, arguments={"to": "x", "amount": amount})
        self.ask(shown, hold, at)

    def ask(self, shown: ShownCall, hold: Hold, at: int, between: Coroutine[Any, Any, Any] | None = None) -> None:
        """Call; if it is released, run it, once something else had its chance in between. Each call has an id of its own."""
        self.calls += 1
        shown = replace(shown, call=replace(shown.call, id=f"asked-{self.calls}"))
        self.asked[shown.call.id] = (shown, hold)
        answer = self.do(self.desks[at].settle(shown, hold, NOW, Witness()))
        self.note_acceptance(shown, hold)
        if isinstance(answer, Allow) and answer.approval is not None:
            (released,) = self.do(self.ledgers[at].approval(answer.approval.id))
            self.must_be_agreed(released, hold.terms)
            self.must_be_what_was_approved(released, shown)
            if released.is_grant:
                self.use(released, shown, answer, at, between)
                return
            if between is not None:
                self.do(_quietly(between))
            with suppress(ApprovalConflict):
                self.under_way.append(self.do(self.ledgers[at].append(Intent(shown=shown, allow=answer))))
                self.executed[released.id] += 1
            with suppress(ApprovalConflict):  # and never a second time
                self.do(self.ledgers[1 - at].append(Intent(shown=self.world.call(), allow=answer)))
                self.executed[released.id] += 1
        elif between is not None:
            between.close()

    def use(
        self, grant: Approval, shown: ShownCall, allow: Allow, at: int, between: Coroutine[Any, Any, Any] | None = None
    ) -> None:
        """Make one call under a grant, once something else had its chance in between."""
        if between is not None:
            self.do(_quietly(between))
        with suppress(ApprovalConflict):
            self.under_way.append(self.do(self.ledgers[at].append(Intent(shown=shown, allow=allow))))
            self.used[grant.id].append(shown.call.arguments["amount"])

    @rule(
        identity=st.sampled_from(CALLERS), hold=st.sampled_from(GRANTING), calls=st.integers(1, 3), total=st.integers(1, 4),
        at=st.integers(0, 1), away=st.sampled_from(PEOPLE), amounts=st.lists(st.integers(1, 3), max_size=4),
    )  # fmt: skip
    def ask_ahead(
        self, identity: Identity, hold: Hold, calls: int, total: int, at: int, away: Identity, amounts: list[int]
    ) -> None:
        """A grant is asked for, all but one who may approve it do, and it is used; what else happens, happens around this."""
        self.calls += 1
        shown = self.world.call(identity, arguments={"to": "x", "amount": 1})
        shown = replace(shown, call=replace(shown.call, id=f"asked-{self.calls}"))
        self.asked[shown.call.id] = (shown, hold)
        bounds = {"vary": {"amount": {"at_most": 2}}, "total": {"argument": "amount", "at_most": total}}
        approval_id = self.do(asked(self.desks[at], shown, hold, max_calls=calls, **bounds))
        self.granted[approval_id] = (calls, total)
        for voter in PEOPLE:
            with suppress(NotEntitled, ApprovalConflict):
                if voter != away:
                    self.do(self.desks[at].vote(approval_id, voter, Verdict.APPROVE, "why"))
                    self.votes.append(Cast(approval_id, voter.subject, Verdict.APPROVE, False))
        (grant,) = self.do(self.ledgers[at].approval(approval_id))
        self.use_from_both(grant, amounts, stop=False)

    @rule(which=ANY, amounts=st.lists(st.integers(1, 3), min_size=1, max_size=4), stop=st.booleans())
    def use_some_grant(self, which: int, amounts: list[int], stop: bool) -> None:
        for grant in _nth([one for one in self.approvals() if one.is_grant], which):
            self.use_from_both(grant, amounts, stop=stop)

    def use_from_both(self, grant: Approval, amounts: list[int], *, stop: bool) -> None:
        """Calls that both gateways released before either recorded one; perhaps it is revoked before they do."""
        example, hold = self.asked[grant.call_id]
        released: list[tuple[ShownCall, Allow, int]] = []
        for number, amount in enumerate(amounts):
            self.calls += 1
            shown = self.world.call(example.call.identity, arguments={**example.call.arguments, "amount": amount})
            shown = replace(shown, call=replace(shown.call, id=f"asked-{self.calls}"))
            self.asked[shown.call.id] = (shown, hold)
            answer = self.do(self.desks[number % 2].settle(shown, hold, NOW, Witness()))
            if isinstance(answer, Allow) and answer.approval is not None and answer.approval.amounts:
                released.append((shown, answer, number % 2))
        if stop:
            self.do(_quietly(self.desks[0].revoke(grant.id, PEOPLE[2])))
        for shown, allow, at in released:
            assert allow.approval is not None
            (under,) = self.do(self.ledgers[at].approval(allow.approval.id))
            self.use(under, shown, allow, at)
            (after,) = self.do(self.ledgers[at].approval(under.id))
            assert under.state is ApprovalState.APPROVED or after.uses == under.uses, "used after its end"

    def note_acceptance(self, shown: ShownCall, hold: Hold) -> None:
        """A call that was just opened with a vote in it: somebody proposed exactly this, to exactly this caller, lately."""
        for approval in self.approvals():
            if approval.call_id == shown.call.id and approval.votes:
                (vote,) = approval.votes
                (mine, *_) = [
                    one for one in self.proposals
                    if (one.name, one.caller, one.hold, one.amount) ==
                    (vote.voter.rpartition("#")[2], shown.call.identity, hold, shown.call.arguments["amount"])
                    and not one.used and self.now_ns < one.until_ns
                ]  # fmt: skip
                mine.used = True
                self.votes.append(Cast(approval.id, mine.name, Verdict.APPROVE, False))

    @rule(
        which=ANY, voter=st.sampled_from(PEOPLE), amount=st.integers(1, 3), at=st.integers(0, 1), accepts=st.booleans(),
        later=st.sampled_from([0, 0, 3_601]),
    )  # fmt: skip
    def propose(self, which: int, voter: Identity, amount: int, at: int, accepts: bool, later: int) -> None:
        """Somebody proposes another amount, at both gateways at once; perhaps its client calls for that, in time or not."""
        arguments = {"to": "x", "amount": amount}

        async def at_both(approval_id: str) -> int:
            results = await asyncio.gather(
                *(desk.propose(approval_id, voter, arguments, "why") for desk in self.desks), return_exceptions=True
            )
            assert all(isinstance(one, Approval | NotEntitled | ApprovalConflict | ValueError) for one in results), results
            return sum(isinstance(one, Approval) for one in results)

        for approval in self.some(which):
            shown, hold = self.asked[approval.call_id]
            times = self.do(at_both(approval.id))
            assert times <= 1, "denied twice"
            if times:
                until_ns = self.now_ns + hold.terms.lasts_ns
                self.proposals.append(Proposal(voter.subject, shown.call.identity, hold, amount, until_ns))
            self.now_ns += later * 10**9
            if accepts:
                self.ask(self.world.call(shown.call.identity, arguments=arguments), hold, at)

    @rule(which=ANY, at=st.integers(0, 1), voter=st.sampled_from(VOTERS), other_policy=st.booleans(), stop=st.booleans())
    def call_again(self, which: int, at: int, voter: Identity, other_policy: bool, stop: bool) -> None:
        for approval in self.some(which):
            shown, hold = self.asked[approval.call_id]
            if other_policy:
                hold = replace(hold, ruling=replace(hold.ruling, policy_hash="z" * 64))
            desk = self.desks[1 - at]
            self.ask(shown, hold, at, desk.revoke(approval.id, voter) if stop else desk.withdraw_vote(approval.id, voter))

    @rule(
        which=ANY, people=st.lists(st.sampled_from(VOTERS), min_size=1, max_size=4), at=st.integers(0, 1),
        last=st.sampled_from([Verdict.APPROVE, Verdict.APPROVE, Verdict.DENY]), glass=st.booleans(),
    )  # fmt: skip
    def vote(self, which: int, people: list[Identity], at: int, last: Verdict, glass: bool) -> None:
        """One after the other or all at once, at both gateways."""
        verdicts = [*[Verdict.APPROVE] * (len(people) - 1), last]

        async def one(approval_id: str, number: int, voter: Identity, verdict: Verdict) -> None:
            broken = glass and verdict is Verdict.APPROVE
            desk = self.desks[(at + number) % 2]
            with suppress(NotEntitled, ApprovalConflict):
                await desk.vote(approval_id, voter, verdict, "why", break_glass=broken)
                self.votes.append(Cast(approval_id, voter.subject, verdict, broken))

        async def everybody(approval_id: str) -> None:
            each = zip(range(len(people)), people, verdicts, strict=True)
            await asyncio.gather(*(one(approval_id, *one_of) for one_of in each))

        for approval in self.some(which):
            self.do(everybody(approval.id))

    @rule(
        which=ANY, people=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4, unique_by=lambda one: one.subject),
        at=st.integers(0, 1), glass=st.booleans(), leaves=st.booleans(),
    )  # fmt: skip
    def agree_and_call(self, which: int, people: list[Identity], at: int, glass: bool, leaves: bool) -> None:
        """What mostly happens in life: some of them approve, perhaps one leaves, and the client calls again."""
        for approval in self.some(which):
            for voter in people:
                with suppress(NotEntitled, ApprovalConflict):
                    self.do(self.desks[at].vote(approval.id, voter, Verdict.APPROVE, "why", break_glass=glass))
                    self.votes.append(Cast(approval.id, voter.subject, Verdict.APPROVE, glass))
            if leaves:
                self.membership_changes(people[0].subject, False)
            self.ask(*self.asked[approval.call_id], 1 - at)

    @rule(
        identity=st.sampled_from(CALLERS), amount=st.integers(1, 2), hold=st.sampled_from(HOLDS), away=st.sampled_from(PEOPLE)
    )
    def everybody_but_one_agrees(self, identity: Identity, amount: int, hold: Hold, away: Identity) -> None:
        """A call is held, approved by whoever is asked, and called again: what else happens, happens around this."""
        self.call(identity, amount, hold, 0)
        for approval in self.some(0):
            for voter in PEOPLE:
                with suppress(NotEntitled, ApprovalConflict):
                    if voter != away:
                        self.do(self.desks[0].vote(approval.id, voter, Verdict.APPROVE, "why"))
                        self.votes.append(Cast(approval.id, voter.subject, Verdict.APPROVE, False))
            self.ask(*self.asked[approval.call_id], 1)

    @rule(which=ANY)
    def take_back(self, which: int) -> None:
        for cast in _nth(self.votes, which):
            for voter in [voter for voter in VOTERS if voter.subject == cast.name]:
                with suppress(NotEntitled, ApprovalConflict):
                    self.do(self.desks[0].withdraw_vote(cast.approval_id, voter))
                    cast.withdrawn = True

    @rule(which=ANY, who=st.sampled_from([*VOTERS, ALICE]), withdraw=st.booleans())
    def stop(self, which: int, who: Identity, withdraw: bool) -> None:
        desk = self.desks[0]
        for approval in self.some(which):
            with suppress(NotEntitled, ApprovalConflict):
                self.do(desk.withdraw(approval.id, who) if withdraw else desk.revoke(approval.id, who))

    @rule(name=st.sampled_from(sorted(GROUPS)), back=st.booleans())
    def membership_changes(self, name: str, back: bool) -> None:
        for issuer in ("https://idp.bank.example", "mcpgw:keys"):
            entries = {(f"{issuer}#{name}", entry) for entry in GROUPS[name]}
            self.roster.gone = self.roster.gone - entries if back else self.roster.gone | entries

    @rule(which=ANY, ok=st.booleans())
    def finish(self, which: int, ok: bool) -> None:
        for intent in _nth(self.under_way, which):
            self.under_way.remove(intent)
            self.do(self.ledgers[0].append(Outcome(intent=intent, result=REPLY if ok else FAILED)))

    @rule()
    def restart(self) -> None:
        """Both gateways go; what was under way has no outcome, and the next one says so."""
        self.do(self.stack.aclose())
        self.do(self._open())
        self.under_way.clear()
        assert not [one for one in self.approvals() if one.state is ApprovalState.SPENT]

    @rule(which=ANY, who=st.sampled_from(PEOPLE))
    def resolve(self, which: int, who: Identity) -> None:
        for approval in self.some(which):
            with suppress(NotEntitled, ApprovalConflict):
                self.do(self.desks[0].resolve(approval.id, who, Happened.NO, "looked"))

    @rule(seconds=st.sampled_from([1, 1, 601, 3_601]), sweep=st.booleans())
    def time_passes(self, seconds: int, sweep: bool) -> None:
        self.now_ns += seconds * 10**9
        if sweep:
            self.do(_both(self.desks))

    # --- what must be true -----------------------------------------------------------------------------------------------

    def must_be_agreed(self, approval: Approval, terms: Terms) -> None:
        """By the oracle's own books: enough different people of today, none of them the requester's, and nobody objects."""
        mine = [cast for cast in self.votes if cast.approval_id == approval.id and not cast.withdrawn]
        side = {approval.requester.rpartition("#")[2], *approval.actors}
        assert not [cast for cast in mine if cast.verdict is Verdict.DENY], "somebody denied it"
        assert not [cast for cast in mine if cast.name in side or cast.name == "mallory"], "self-approval"
        assert self.now_ns < approval.usable_until_ns, "too late"
        assert approval.is_grant or approval.usable_until_ns <= approval.deadline_ns, "beyond its deadline"
        gone = {(principal.rpartition("#")[2], entry) for principal, entry in self.roster.gone}
        entries = {cast.name: {one for one in GROUPS[cast.name] if (cast.name, one) not in gone} for cast in mine}
        if approval.break_glass:
            assert len({cast.name for cast in mine if cast.break_glass and D in entries[cast.name]}) >= 2, "one opener"
            return
        people = sorted({cast.name for cast in mine if not cast.break_glass})
        slots = [seats.of for seats in terms.levels[approval.level].seats for _ in range(seats.count)]
        ways = itertools.permutations(people, len(slots))
        filled = any(all(entries[name] & set(of) for name, of in zip(way, slots, strict=True)) for way in ways)
        assert filled, "no quorum"

    def must_be_what_was_approved(self, approval: Approval, shown: ShownCall) -> None:
        assert approval.facts["principal"] == shown.call.identity.principal
        assert approval.facts["actors"] == list(shown.call.identity.actors)
        amount = {"amount": 1} if approval.is_grant else {}
        assert json.dumps(approval.facts["arguments"]) == json.dumps({**shown.call.arguments, "to": "<IBAN>", **amount})
        assert not approval.is_grant or shown.call.arguments["amount"] <= 2

    @invariant()
    def no_grant_is_used_beyond_what_was_granted(self) -> None:
        for approval_id, amounts in self.used.items():
            calls, total = self.granted[approval_id]
            assert len(amounts) <= calls and sum(amounts) <= total, (approval_id, amounts)

    @invariant()
    def nothing_ran_twice(self) -> None:
        assert all(count == 1 for count in self.executed.values()), self.executed


def _nth(things: Sequence[T], number: int) -> tuple[T, ...]:
    return (things[number % len(things)],) if things else ()


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(NotEntitled, ApprovalConflict):
        await work


async def _both(desks: list[Desk]) -> None:
    await asyncio.gather(*(desk.sweep() for desk in desks))
