"""A small honest ledger in memory, a clock that only moves when told, and the people of the stories."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio.lowlevel

from mcpgw.approval import Desk
from mcpgw.approval.standing import TRANSITIONS
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    CleanJson,
    CleanNotice,
    CleanReply,
    Commitment,
    Deny,
    Entry,
    Event,
    Failed,
    FailureCode,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    Manifest,
    Opened,
    Origin,
    Outcome,
    Patience,
    RawNotice,
    ReplyKind,
    Ruling,
    Sealed,
    Settled,
    SettledAs,
    ShownCall,
    Target,
    TargetKind,
    Vote,
    Waiting,
)
from mcpgw.core.model import Call as ModelCall
from mcpgw.ports import Approval, ApprovalState, CastVote

EntryT = TypeVar("EntryT", bound=Entry)

KEY = bytes(range(32))
START_NS = 1_800_000_000_000_000_000
ISSUER = "https://idp.bank.example"
TRANSFER = "bank__transfer"

Action = Callable[[], Awaitable[object]]


@dataclass
class Timeline:
    """Time that passes only while somebody waits; what is planned happens at its moment."""

    elapsed: float = 0.0
    plan: list[tuple[float, Action]] = field(default_factory=list)

    def now_ns(self) -> int:
        return START_NS + round(self.elapsed * 1e9)

    def monotonic(self) -> float:
        return self.elapsed

    def at(self, moment: float, action: Action) -> None:
        self.plan.append((moment, action))
        self.plan.sort(key=lambda planned: planned[0])

    async def pass_until_something_happens(self, seconds: float) -> None:
        """Let the time pass, but only to the next planned action, which runs then."""
        await anyio.lowlevel.checkpoint()
        end = self.elapsed + seconds
        if self.plan and self.plan[0][0] <= end:
            moment, action = self.plan.pop(0)
            self.elapsed = max(self.elapsed, moment)
            await action()
        else:
            self.elapsed = end

    async def sleep(self, seconds: float) -> None:
        """Let the whole time pass, whatever happens meanwhile."""
        end = self.elapsed + seconds
        while self.elapsed < end:
            await self.pass_until_something_happens(end - self.elapsed)


class MemoryLedger:
    """Journal and approval store over dicts. It holds the table of transitions, and yields at every door as a disk would."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.entries: list[Entry] = []
        self.records: dict[str, Approval] = {}
        self.version = 0
        self.lose_next = False
        """The next append fails and is lost."""
        self.keep_next = False
        """The next append fails, but was kept."""

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        await anyio.lowlevel.checkpoint()
        if self.lose_next:
            self.lose_next = False
            raise LedgerUnavailable("the disk is full")
        self._apply(entry)
        self.entries.append(entry)
        self.version += 1
        if self.keep_next:
            self.keep_next = False
            raise LedgerUnavailable("the disk did not answer")
        await anyio.lowlevel.checkpoint()
        seq = len(self.entries)
        return Sealed(entry, seq, hashlib.sha256(str(seq).encode()).hexdigest(), f"event-{seq}", self.timeline.now_ns())

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Opened():
                self._open(entry)
            case Vote():
                approval = self._in_state(entry.approval_id, ApprovalState.PENDING)
                cast = CastVote(
                    voter=entry.voter.principal,
                    verdict=entry.verdict.value,
                    comment=entry.comment,
                    time_ns=self.timeline.now_ns(),
                )
                self.records[approval.id] = replace(approval, votes=(*approval.votes, cast))
            case Settled():
                erased = {} if entry.state is SettledAs.APPROVED else {"exact": b""}
                self._move(entry.approval_id, ApprovalState(entry.state.value), reason=entry.reason, **erased)
            case Intent(allow=Allow(approval=ApprovalRef() as ref)):
                approval = self.records[ref.id]
                if approval.digest != ref.digest or approval.deadline_ns <= self.timeline.now_ns():
                    raise ApprovalConflict("another digest, or too late")
                self._move(ref.id, ApprovalState.SPENT, exact=b"")
            case Outcome(intent=Sealed(entry=Intent(allow=Allow(approval=ApprovalRef() as ref)))):
                self._conclude(ref.id, entry)
            case _:
                pass

    def _open(self, opened: Opened) -> None:
        if self._live(opened.request_key):
            raise ApprovalConflict("an identical call stands")
        call = opened.shown.call
        self.records[opened.approval_id] = Approval(
            id=opened.approval_id,
            state=ApprovalState.PENDING,
            digest=opened.digest,
            request_key=opened.request_key,
            call_id=call.id,
            requester=call.identity.principal,
            actors=call.identity.actors,
            target=call.target.name,
            facts=opened.facts,
            exact=opened.exact,
            approvers=opened.hold.approvers,
            quorum=opened.hold.quorum,
            rule_ids=opened.hold.ruling.rule_ids,
            reason=opened.hold.ruling.reason,
            policy_hash=opened.hold.ruling.policy_hash,
            opened_ns=self.timeline.now_ns(),
            deadline_ns=opened.deadline_ns,
            votes=(),
        )

    def _conclude(self, approval_id: str, outcome: Outcome) -> None:
        if isinstance(outcome.result, Failed):
            self._move(approval_id, ApprovalState.FAILED)
        else:
            call = outcome.intent.entry.shown.call
            done = AlreadyDone(approval_id=approval_id, call_id=call.id, reply=outcome.result)
            self._move(approval_id, ApprovalState.DONE, done=(done,))

    def _in_state(self, approval_id: str, state: ApprovalState) -> Approval:
        approval = self.records[approval_id]
        if approval.state is not state:
            raise ApprovalConflict(f"it is {approval.state}")
        return approval

    def _move(self, approval_id: str, to: ApprovalState, **changes: Any) -> None:
        approval = self.records[approval_id]
        if to not in TRANSITIONS[approval.state]:
            raise ApprovalConflict(f"it is {approval.state}")
        self.records[approval_id] = replace(approval, state=to, **changes)

    def recover(self) -> None:
        """What a ledger does at its start: an intent without an outcome becomes indeterminate."""
        for approval in list(self.records.values()):
            if approval.state is ApprovalState.SPENT:
                self._move(approval.id, ApprovalState.INDETERMINATE)

    def tamper(self, approval_id: str, **changes: Any) -> None:
        """Change the store as somebody with the file in hand could."""
        self.records[approval_id] = replace(self.records[approval_id], **changes)

    def _live(self, request_key: str) -> tuple[Approval, ...]:
        over = (ApprovalState.DENIED, ApprovalState.EXPIRED)
        now = self.timeline.now_ns()
        found = [
            approval
            for approval in self.records.values()
            if approval.request_key == request_key and approval.state not in over and approval.deadline_ns > now
        ]
        return tuple(found[-1:])

    async def live(self, request_key: str) -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        return self._live(request_key)

    async def approval(self, approval_id: str) -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        return (self.records[approval_id],) if approval_id in self.records else ()

    async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        newest_first = list(reversed(self.records.values()))
        return tuple([record for record in newest_first if not states or record.state in states][:limit])

    async def changed(self, timeout_s: float) -> None:
        before = self.version
        await anyio.lowlevel.checkpoint()
        if self.version == before:
            await self.timeline.pass_until_something_happens(timeout_s)


class Witness:
    """A peer that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str]] = []

    async def notify(self, notice: CleanNotice) -> None:
        raise AssertionError("the desk sends no notifications of upstreams")

    def wants(self, notice: RawNotice) -> bool:
        raise AssertionError("the desk sends no notifications of upstreams")

    async def identity(self) -> Identity:
        raise AssertionError("the desk asks for nobody's credential")

    async def waiting(self, message: str, elapsed_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.heard.append((elapsed_s, message))


def person(subject: str, *groups: str, issuer: str = ISSUER, kind: IdentityKind = IdentityKind.HUMAN) -> Identity:
    return Identity(subject=subject, issuer=issuer, kind=kind, method="jwt", groups=frozenset(groups))


ALICE = person("alice", "tellers")
BOB = person("bob", "payments-leads")
CAROL = person("carol", "payments-leads")
DAVE = person("dave", "payments-leads")
MALLORY = person("mallory", "marketing")
PATIENT = Patience(budget_s=7_200.0, heartbeat_s=10.0)
HURRIED = Patience(budget_s=4.0, heartbeat_s=10.0)

HOLD = Hold(
    ruling=Ruling(rule_ids=("big-transfer",), reason="Transfers over 10,000 need a lead.", policy_hash="p" * 64),
    approvers=("group:payments-leads",),
    quorum=1,
    deadline_s=3_600.0,
)
TOOL = Target(
    kind=TargetKind.TOOL,
    name=TRANSFER,
    server="bank",
    server_fingerprint="f" * 64,
    upstream_name="transfer",
    definition={"name": "transfer"},
    definition_hash="d" * 64,
)
IBAN = "DE89 3704 0044 0532 0130 00"
ARGUMENTS: dict[str, object] = {"to": IBAN, "amount": 12_500, "memo": "rent"}
MANIFEST = Manifest(profile="default", profile_hash="0" * 64)
RAW = Commitment(digest="0" * 64, salt=b"\0" * 32, size=0)
REPLY = CleanReply(kind=ReplyKind.RESULT, payload=CleanJson({"content": []}), raw=RAW, manifest=MANIFEST)
FAILED = Failed(code=FailureCode.TIMEOUT, reason="The upstream did not answer in time.", reached=True)


def masked(arguments: dict[str, Any]) -> CleanJson:
    return CleanJson({key: "<IBAN>" if key == "to" else value for key, value in arguments.items()})


class World:
    """One store, one timeline, and desks on them."""

    def __init__(self) -> None:
        self.time = Timeline()
        self.ledger = MemoryLedger(self.time)
        self.desk = self.new_desk()
        self.calls = 0

    def new_desk(self, key: bytes = KEY) -> Desk:
        """Another process on the same store, or the same one after a restart."""
        return Desk(
            self.ledger,
            self.ledger,
            key,
            now_ns=self.time.now_ns,
            monotonic=self.time.monotonic,
            pause=self.time.sleep,
        )

    def call(self, identity: Identity = ALICE, target: Target = TOOL, arguments: dict[str, Any] | None = None) -> ShownCall:
        self.calls += 1
        exact = ARGUMENTS if arguments is None else arguments
        call = ModelCall(
            id=f"call-{self.calls}",
            identity=identity,
            target=target,
            arguments=exact,
            origin=Origin(transport="http", protocol_version="2026-07-28"),
        )
        return ShownCall(call=call, arguments=masked(exact), raw=RAW, manifest=MANIFEST)

    async def settle(
        self, shown: ShownCall | None = None, hold: Hold = HOLD, patience: Patience = HURRIED, peer: Witness | None = None
    ) -> Allow | Deny | Waiting | AlreadyDone:
        return await self.desk.settle(shown or self.call(), hold, patience, peer or Witness())

    async def held(self, shown: ShownCall | None = None, hold: Hold = HOLD) -> str:
        """Hold a call until the client's patience ends, and return the approval's id."""
        answer = await self.settle(shown, hold)
        assert isinstance(answer, Waiting)
        return answer.approval_id

    def later(self, seconds: float) -> None:
        self.time.elapsed += seconds

    def state(self, approval_id: str) -> ApprovalState:
        return self.ledger.records[approval_id].state

    def kinds(self) -> list[str]:
        """What was recorded, in order."""
        return [entry.kind if isinstance(entry, Event) else type(entry).__name__ for entry in self.ledger.entries]

    async def spend(self, shown: ShownCall, allow: Allow) -> Sealed[Intent]:
        return await self.ledger.append(Intent(shown=shown, allow=allow))

    async def finish(self, intent: Sealed[Intent], result: CleanReply | Failed = REPLY) -> None:
        await self.ledger.append(Outcome(intent=intent, result=result))
