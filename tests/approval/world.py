"""A small honest ledger in memory, a clock that only moves when told, and the people of the stories."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import anyio.lowlevel

from mcpgw.approval import Desk
from mcpgw.core.entries import (
    Entry,
    Event,
    Opened,
)
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    CleanJson,
    CleanNotice,
    CleanReply,
    Commitment,
    Deny,
    Failed,
    FailureCode,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    JsonObject,
    Manifest,
    Origin,
    Outcome,
    Patience,
    RawNotice,
    ReplyKind,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    Waiting,
)
from mcpgw.core.model import Call as ModelCall
from mcpgw.core.terms import Level, Seats, Terms
from mcpgw.ledger.approvals import ApprovalRow, advanced
from mcpgw.ledger.describe import Indeterminate
from mcpgw.ledger.record import Record
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


@dataclass(frozen=True)
class _Rows:
    """The projection as `advanced` reads it."""

    rows: dict[str, ApprovalRow]

    def approval(self, approval_id: str) -> list[ApprovalRow]:
        return [self.rows[approval_id]] if approval_id in self.rows else []

    def approvals_for(self, request_key: str) -> list[ApprovalRow]:
        return [row for row in self.rows.values() if row.request_key == request_key]


class MemoryLedger:
    """Journal and approval store over dicts. It holds the table of transitions, and yields at every door as a disk would."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.entries: list[Entry] = []
        self.rows: dict[str, ApprovalRow] = {}
        self.facts: dict[str, CleanJson] = {}
        self.done: dict[str, AlreadyDone] = {}
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

    def _apply(self, entry: Entry | Indeterminate) -> None:
        """Change the rows as the ledger itself does, by its own table."""
        seq = len(self.entries) + 1
        record = Record(
            seq=seq, event_id=f"event-{seq}", time_ns=self.timeline.now_ns(), leaf=b"", hash=b"", index={}, payloads=()
        )
        for row in advanced(entry, record, _Rows(self.rows)):
            self.rows[row.id] = row
        if isinstance(entry, Opened):
            self.facts[entry.approval_id] = entry.facts
        if isinstance(entry, Outcome) and not isinstance(entry.result, Failed) and entry.intent.entry.allow.approval:
            approval_id, call_id = entry.intent.entry.allow.approval.id, entry.intent.entry.shown.call.id
            self.done[approval_id] = AlreadyDone(approval_id=approval_id, call_id=call_id, reply=entry.result)

    @property
    def records(self) -> dict[str, Approval]:
        """The approvals by id, the oldest first."""
        return {row.id: self._assembled(row) for row in self.rows.values()}

    def _assembled(self, row: ApprovalRow) -> Approval:
        names = {field.name for field in fields(Approval)} - {"facts", "done", "preview"}
        values = {name: getattr(row, name) for name in names}
        done = (self.done[row.id],) if row.state is ApprovalState.DONE and row.id in self.done else ()
        return Approval(**values, facts=self.facts[row.id], done=done)

    def recover(self) -> None:
        """What a ledger does at its start: an intent without an outcome becomes indeterminate."""
        for row in list(self.rows.values()):
            if row.state is ApprovalState.SPENT:
                self._apply(
                    Indeterminate(call_id=row.spent_call, intent_seq=0, intent_node="", approval_id=row.id, reason="it died")
                )

    def tamper(self, approval_id: str, **changes: Any) -> None:
        """Change the store as somebody with the file in hand could."""
        if "facts" in changes:
            self.facts[approval_id] = changes.pop("facts")
        self.rows[approval_id] = replace(self.rows[approval_id], **changes)

    def _live(self, request_key: str) -> tuple[Approval, ...]:
        found = [row for row in _Rows(self.rows).approvals_for(request_key) if row.matters(self.timeline.now_ns())]
        return tuple(self._assembled(row) for row in found[-1:])

    async def offers(self, request_key: str = "") -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        standing = [row for row in self.rows.values() if row.offered_key and request_key in ("", row.offered_key)]
        return tuple(self._assembled(row) for row in reversed(standing))

    async def open_items(self) -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        return tuple(one for one in self.records.values() if one.needs_review or one.needs_resolution)

    async def grants(self, requester: str, target: str) -> tuple[Approval, ...]:
        await anyio.lowlevel.checkpoint()
        return tuple(
            one
            for one in self.records.values()
            if one.is_grant and one.state is ApprovalState.APPROVED and (one.requester, one.target) == (requester, target)
        )

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

    in_rounds = False

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        raise AssertionError("the desk puts no questions of upstreams")

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
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

DEADLINE_S = 3_600.0
LEADS = ("group:payments-leads",)
HOLD = Hold(
    ruling=Ruling(rule_ids=("big-transfer",), reason="Transfers over 10,000 need a lead.", policy_hash="p" * 64),
    terms=Terms.simple(LEADS, lasts_s=DEADLINE_S),
)


def asking(quorum: int = 1, approvers: tuple[str, ...] = LEADS, deadline_s: float = DEADLINE_S) -> Hold:
    """The same rule, with other people, or in another time."""
    return replace(HOLD, terms=Terms.simple(approvers, quorum, deadline_s))


def needing(*seats: Seats, **terms: Any) -> Hold:
    """The same rule, with these seats to fill."""
    level = Level(seats=seats, lasts_ns=round(DEADLINE_S * 1e9))
    return replace(HOLD, terms=Terms(levels=(level, *terms.pop("then", ())), **terms))


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


class Everybody:
    """A roster on which people are who they were when they voted, but for those who are struck off it."""

    def __init__(self) -> None:
        self.gone: set[tuple[str, str]] = set()
        """Principals, each with an entry that means them no longer."""

    def still(self, vote: CastVote) -> frozenset[str]:
        return frozenset(entry for entry in vote.fits if (vote.voter, entry) not in self.gone)


class World:
    """One store, one timeline, and desks on them."""

    def __init__(self) -> None:
        self.time = Timeline()
        self.ledger = MemoryLedger(self.time)
        self.roster = Everybody()
        self.desk = self.new_desk()
        self.calls = 0

    def new_desk(self, key: bytes = KEY) -> Desk:
        """Another process on the same store, or the same one after a restart."""
        return Desk(
            self.ledger,
            self.ledger,
            key,
            self.roster,
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
