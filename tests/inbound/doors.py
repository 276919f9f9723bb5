"""Small honest doors: everything behind the corridor in memory, so that these tests are about the wire alone."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from mcpgw.app.vaulting import NoVault
from mcpgw.core.answers import answers_of
from mcpgw.core.entries import Entry, Rejection
from mcpgw.core.errors import ApprovalConflict, AuthenticationError, GatewayError, LedgerUnavailable, QuestionRefused
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    Call,
    CleanJson,
    CleanNotice,
    CleanReply,
    Commitment,
    Decision,
    Deny,
    Hold,
    Identity,
    IdentityKind,
    JsonObject,
    Manifest,
    Outcome,
    Patience,
    Permit,
    Proposal,
    RawJson,
    RawNotice,
    RawReply,
    ReplyKind,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.core.terms import Terms
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.server import GatewayServer
from mcpgw.pipeline import Corridor
from mcpgw.ports import Approval, ApprovalState, EntryT, Interview, OnNotice, Peer

CALM = Ruling(rule_ids=("rule-1",), reason="Because rule-1 says so.", policy_hash="p")


def identity(subject: str, *groups: str) -> Identity:
    return Identity(
        subject=subject, issuer="test", kind=IdentityKind.HUMAN, method="api_key", groups=frozenset(groups), client_id=subject
    )


def target(name: str, definition: dict[str, Any] | None = None, **more: Any) -> Target:
    definition = definition or {"name": name, "description": f"The {name} tool.", "inputSchema": {"type": "object"}}
    digest = hashlib.sha256(json.dumps(definition).encode("utf-8", "surrogatepass")).hexdigest()
    return Target(
        kind=TargetKind.TOOL, name=name, server=name.partition("__")[0], server_fingerprint="f", upstream_name=name,
        definition=definition, definition_hash=digest, **more,
    )  # fmt: skip


@dataclass
class MemoryCatalog:
    tools: dict[str, Target]

    others: list[Target] = field(default_factory=list)
    """Prompts and resources."""
    held_back: list[str] = field(default_factory=list)
    """What `withheld` answers."""

    def find(self, kind: TargetKind, name: str) -> Target | UnknownTarget:
        if kind is TargetKind.TOOL:
            return self.tools.get(name) or UnknownTarget(kind=kind, name=name)
        for target in self.others:
            if target.name == name and kind in (target.kind, TargetKind.COMPLETION):
                return replace(target, kind=kind)
        return UnknownTarget(kind=kind, name=name)

    def targets(self, kind: TargetKind) -> list[Target]:
        known = self.tools.values() if kind is TargetKind.TOOL else [one for one in self.others if one.kind is kind]
        return sorted(known, key=lambda target: target.name)

    def templates(self, server: str) -> list[Target]:
        return [one for one in self.targets(TargetKind.RESOURCE) if one.is_template and one.server == server]

    def withheld(self, server: str) -> list[str]:
        return self.held_back


class TagPolicy:
    """A target tagged `only:NAME` is for that subject alone; tags `deny` and `hold` do what they say; all else is allowed."""

    def decide(self, call: Call) -> Decision:
        if isinstance(call.target, UnknownTarget) or not self.sees(call.identity, call.target):
            return Deny(ruling=CALM, hidden=True)
        if "deny" in call.target.tags:
            return Deny(ruling=CALM)
        if "hold" in call.target.tags:
            terms = Terms.simple(("group:ops",))
            return Hold(ruling=CALM, terms=replace(terms, unattended="unattended" in call.target.tags))
        return Allow(ruling=CALM)

    def sees(self, identity: Identity, target: Target) -> bool:
        owners = {tag.removeprefix("only:") for tag in target.tags if tag.startswith("only:")}
        return not owners or identity.subject in owners

    def visible(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        return tuple(target for target in targets if self.sees(identity, target))

    def listed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        return self.visible(identity, targets)


@dataclass
class PlainRedactor:
    notices: list[str] = field(default_factory=list)
    """Methods of the notices that it was given."""

    async def show(self, call: Call) -> ShownCall:
        await anyio.lowlevel.checkpoint()
        return ShownCall(call=call, arguments=CleanJson(dict(call.arguments)), raw=_commitment(), manifest=_manifest())

    async def clean(self, call: Call, reply: RawReply) -> CleanReply:
        await anyio.lowlevel.checkpoint()
        payload = CleanJson(dict(reply.payload))
        return CleanReply(
            kind=reply.kind, payload=payload, raw=_commitment(), manifest=_manifest(), state=payload.get("requestState", "")
        )

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice:
        self.notices.append(notice.method)
        return CleanNotice(method=notice.method, params=CleanJson(dict(notice.params)))


def _commitment() -> Commitment:
    return Commitment(digest="0" * 64, salt=b"\0" * 32, size=0)


def _manifest() -> Manifest:
    return Manifest(profile="default", profile_hash="h")


@dataclass
class MemoryDesk:
    """Holds for as long as the client is patient, though not longer than `limit_s`; `approved` releases."""

    limit_s: float = 0.2
    left: anyio.Event = field(default_factory=anyio.Event)
    """Set when a waiting call was cancelled."""
    approved: anyio.Event = field(default_factory=anyio.Event)
    patience: list[Patience] = field(default_factory=list)
    calls: list[Approval] = field(default_factory=list)
    """What `held` finds, each for its requester."""
    proposals: tuple[Proposal, ...] = ()
    broken: bool = False
    ids: Iterator[str] = field(default_factory=lambda: itertools.repeat("apr_1"))
    """Of the approvals that calls are held as."""

    async def settle(
        self, shown: ShownCall, hold: Hold, patience: Patience, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        self.patience.append(patience)
        if self.approved.is_set() and not patience.budget_s:
            return Allow(ruling=hold.ruling, approval=ApprovalRef(id="apr_1", digest="d", may_be_asked=True))
        waiting = Waiting(approval_id=next(self.ids), deadline_ns=1_800_000_000_000_000_000, unattended=hold.terms.unattended)
        await peer.waiting(waiting, "Waiting for ops.", 0.0)
        with anyio.move_on_after(min(patience.budget_s, self.limit_s)):
            try:
                await self.approved.wait()
            finally:
                if not self.approved.is_set():
                    self.left.set()
            await peer.waiting(waiting, "Still waiting for ops.", 0.1)
            return Allow(ruling=hold.ruling)
        return waiting

    async def held(self, approval_id: str, requester: Identity) -> tuple[Approval, ...]:
        self._works()
        mine = (call for call in self.calls if (call.id, call.requester) == (approval_id, requester.principal))
        return tuple(mine)

    async def recall(self, approval: Approval) -> Mapping[str, Any]:
        if not approval.exact:
            raise GatewayError("The exact arguments cannot be opened.")
        return json.loads(approval.exact)  # type: ignore[no-any-return]

    async def collect(self, approval: Approval, requester: Identity) -> tuple[AlreadyDone, ...]:
        self._works()
        return approval.done

    async def proposed(self, approval: Approval, requester: Identity) -> tuple[Proposal, ...]:
        self._works()
        return self.proposals

    async def withdraw(self, approval_id: str, requester: Identity, comment: str = "") -> Approval:
        self._works()
        self.calls = [self._withdrawn(call, comment) if call.id == approval_id else call for call in self.calls]
        return next(call for call in self.calls if call.id == approval_id)

    def _withdrawn(self, call: Approval, comment: str) -> Approval:
        if call.state not in (ApprovalState.PENDING, ApprovalState.APPROVED):
            raise ApprovalConflict(f"{call.id} is {call.state.value}")
        return replace(call, state=ApprovalState.WITHDRAWN, reason=comment)

    async def changed(self, timeout_s: float) -> None:
        await anyio.sleep(0.01)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.changed(0)

    def _works(self) -> None:
        if self.broken:
            raise LedgerUnavailable("the disk is full")


@dataclass
class MemoryJournal:
    entries: list[Entry] = field(default_factory=list)
    broken: bool = False
    grown: anyio.Event = field(default_factory=anyio.Event)

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise LedgerUnavailable("the disk is full")
        self.entries.append(entry)
        self.grown.set()
        self.grown = anyio.Event()
        seq = len(self.entries)
        return Sealed(entry=entry, seq=seq, leaf_hash=f"{seq:064x}", event_id=f"evt_{seq}", time_ns=seq)

    async def until(self, kind: type, count: int) -> None:
        while len(self.of(kind)) < count:
            await self.grown.wait()

    def of(self, kind: type) -> list[Any]:
        return [entry for entry in self.entries if isinstance(entry, kind)]


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
FORM: Mapping[str, JsonObject] = {
    "who": {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?", "requestedSchema": SCHEMA}}
}
"""A question, as `inputRequests` has it."""


def result(payload: Mapping[str, Any]) -> RawReply:
    return RawReply(kind=ReplyKind.RESULT, payload=RawJson(dict(payload)))


STEPS: list[dict[str, Any]] = [
    {"progressToken": "upstream's own", "progress": step, "total": 3, "message": f"step {step}"} for step in (1, 2, 3)
]


@dataclass
class MemoryUpstreams:
    """Tools by what follows `__` in their names. `started` and `cancelled` are events that tests wait for."""

    replies: dict[str, Mapping[str, Any] | RawReply] = field(default_factory=dict)
    notices: list[dict[str, Any]] = field(default_factory=lambda: [dict(step) for step in STEPS])
    """What `progress` reports."""
    level: Any = "warning"
    """Of the message that `progress` logs."""
    calls: list[Call] = field(default_factory=list)
    unsubscribed: list[tuple[str, str]] = field(default_factory=list)
    started: anyio.Event = field(default_factory=anyio.Event)
    cancelled: anyio.Event = field(default_factory=anyio.Event)
    release: anyio.Event = field(default_factory=anyio.Event)

    refusal: RawReply | None = None
    """What it answers to subscriptions; it takes them while there is none."""
    subscribing: anyio.Event | None = None
    """Subscriptions wait for it, while there is one."""
    declared: list[JsonObject] = field(default_factory=list)
    """What it was told that callers can be asked."""
    questions: Mapping[str, JsonObject] = field(default_factory=lambda: FORM)
    """What `asks` asks."""

    async def _ask(self, interview: Interview) -> RawReply:
        put = {key: RawNotice(method=one["method"], params=RawJson(one["params"])) for key, one in self.questions.items()}
        try:
            given = await interview.ask(put)
        except QuestionRefused as refused:
            return result({"content": [{"type": "text", "text": f"refused: {refused}"}]})
        return result({"content": [{"type": "text", "text": json.dumps(given)}]})

    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        call = permit.call
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if call.subscribes:
            if self.subscribing is not None:
                await self.subscribing.wait()
            return self.refusal or result({})
        match call.target.name.partition("__")[2]:
            case "progress":
                for params in self.notices:
                    await on_notice(RawNotice(method="notifications/progress", params=RawJson(dict(params))))
                log = {"level": self.level, "logger": "up", "data": {"hello": "world"}}
                await on_notice(RawNotice(method="notifications/message", params=RawJson(log)))
            case "wait":
                self.started.set()
                try:
                    await self.release.wait()
                except anyio.get_cancelled_exc_class():
                    self.cancelled.set()
                    raise
            case "asks":
                self.declared.append(interview.declares)
                return await self._ask(interview)
            case "rounds" if not answers_of(call.arguments):
                self.declared.append(interview.declares)
                assert interview.in_rounds
                return result({"resultType": "input_required", "inputRequests": FORM, "requestState": "server's own"})
            case other if other in self.replies:
                reply = self.replies[other]
                return reply if isinstance(reply, RawReply) else result(reply)
        return result({"content": [{"type": "text", "text": json.dumps(dict(call.arguments))}]})


@dataclass
class KeyRing:
    """`Authenticator` with keys by secret; removing one revokes it."""

    keys: dict[str, Identity]
    failures: list[Exception] = field(default_factory=list)
    """What the next checks end in instead, once each."""

    async def authenticate(self, credential: str) -> Identity:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        if credential not in self.keys:
            raise AuthenticationError("The key is unknown or revoked.")
        return self.keys[credential]


def published(target: Target) -> dict[str, Any]:
    key = "name" if target.kind is not TargetKind.RESOURCE else "uriTemplate" if target.is_template else "uri"
    return {**target.definition, key: target.name}


ECHO_TOOLS: dict[str, Target] = {
    name: target(name, **more)
    for name, more in {
        "bank__alone": {"tags": frozenset({"hold", "unattended"})},
        "bank__alice": {"tags": frozenset({"only:alice"})},
        "bank__bob": {"tags": frozenset({"only:bob"})},
        "bank__denied": {"tags": frozenset({"deny"})},
        "bank__echo": {},
        "bank__held": {"tags": frozenset({"hold"})},
        "bank__progress": {},
        "bank__wait": {},
    }.items()
}


@dataclass
class World:
    """A gateway over in-memory doors, and handles on all of them."""

    catalog: MemoryCatalog = field(default_factory=lambda: MemoryCatalog(dict(ECHO_TOOLS)))
    policy: TagPolicy = field(default_factory=TagPolicy)
    desk: MemoryDesk = field(default_factory=MemoryDesk)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    upstreams: MemoryUpstreams = field(default_factory=MemoryUpstreams)
    redactor: PlainRedactor = field(default_factory=PlainRedactor)
    keys: KeyRing = field(default_factory=lambda: KeyRing({"alice-key": identity("alice"), "bob-key": identity("bob")}))
    problems: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    config: InboundConfig = field(default_factory=lambda: InboundConfig(version="1.2.3"))

    def server(self) -> GatewayServer:
        numbers = itertools.count(1)
        corridor = Corridor(
            catalog=self.catalog, policy=self.policy, redactor=self.redactor, vault=NoVault(), desk=self.desk,
            journal=self.journal, upstreams=self.upstreams, new_id=lambda: f"call_{next(numbers)}",
        )  # fmt: skip
        return GatewayServer(
            config=self.config,
            corridor=corridor,
            catalog=self.catalog,
            policy=self.policy,
            authenticator=self.keys,
            publish=published,
            challenge=lambda problem: f'Bearer error="invalid_token", error_description="{problem}"' if problem else "Bearer",
            resource_metadata=lambda: self.metadata,
            ready=lambda: self.problems,
            held_calls=self.desk,
            unsubscribe=lambda server, uri: self.upstreams.unsubscribed.append((server, uri)),
        )

    def reset(self) -> None:
        """Make every door new again, under the same gateway."""
        fresh = World(config=self.config)
        vars(self.catalog).update(vars(fresh.catalog))
        self.keys.keys = fresh.keys.keys
        self.problems.clear()
        self.metadata = {}
        for door, new in (
            (self.desk, fresh.desk),
            (self.journal, fresh.journal),
            (self.upstreams, fresh.upstreams),
            (self.redactor, fresh.redactor),
        ):
            vars(door).update(vars(new))

    def rejections(self) -> list[Rejection]:
        return self.journal.of(Rejection)

    def outcomes(self) -> list[Outcome]:
        return self.journal.of(Outcome)
