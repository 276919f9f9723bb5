"""The corridor, step by step: what is recorded when, and what the caller gets when a door fails.

The doors here are small and in memory; each has an await checkpoint, and fails when it is told to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

import anyio
import pytest

from mcpgw.core.access import Access, access_of
from mcpgw.core.allowance import GrantLimits
from mcpgw.core.answers import ANSWERS, Question
from mcpgw.core.canonical import digest
from mcpgw.core.entries import (
    Entry,
    Refusal,
    Rejection,
)
from mcpgw.core.errors import (
    ApprovalConflict,
    AuthenticationError,
    LedgerUnavailable,
    NotAnchored,
    QuestionRefused,
    RedactionError,
    UpstreamError,
    VaultError,
)
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    Call,
    CleanJson,
    CleanNotice,
    CleanReply,
    Commitment,
    Completed,
    Decision,
    Deny,
    Failed,
    FailureCode,
    Held,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    JsonObject,
    Manifest,
    Origin,
    Outcome,
    Patience,
    Permit,
    Proposal,
    RawJson,
    RawNotice,
    RawReply,
    Receipt,
    RefusalCode,
    Refused,
    Replay,
    ReplyKind,
    Request,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.core.terms import Terms
from mcpgw.pipeline import Corridor
from mcpgw.ports import Catalog, Desk, Interview, Journal, OnNotice, Peer, Policy, Redactor, Upstreams, Vault

EntryT = TypeVar("EntryT", bound=Entry)

RULING = Ruling(rule_ids=("rule",), reason="because", policy_hash="p1")
HOLD = Hold(ruling=RULING, terms=Terms.simple(("group:leads",)))
GRANTING = replace(HOLD, terms=replace(HOLD.terms, grants=GrantLimits(max_calls=5, lasts_ns=100)))
ACCESS = access_of({"max_calls": 5, "lasts_ns": 100, "reason": "my words"})
DENY = Deny(ruling=RULING)
APPROVED = Allow(ruling=RULING, approval=ApprovalRef(id="apr_1", digest="d"))
MANIFEST = Manifest(profile="default", profile_hash="r1")
RAW = Commitment(digest="00", salt=bytes(32), size=2)
TOOL = Target(
    kind=TargetKind.TOOL,
    name="bank__transfer",
    server="bank",
    server_fingerprint="f1",
    upstream_name="transfer",
    definition={"name": "transfer"},
    definition_hash="h1",
)
REQUEST = Request(
    identity=Identity(subject="alice", issuer="test", kind=IdentityKind.HUMAN, method="jwt"),
    kind=TargetKind.TOOL,
    name="bank__transfer",
    arguments={"amount": 5, "ssn": "078-05-1120"},
    origin=Origin(transport="http", protocol_version="2026-07-28"),
    patience=Patience(budget_s=1),
)


@dataclass
class World:
    """All the doors, what went through them in order, and what to do instead."""

    decisions: list[Decision] = field(default_factory=lambda: [Allow(ruling=RULING)])
    """What policy says, one after the other; the last one stays."""
    settlements: list[Any] = field(default_factory=list)
    target: Target | UnknownTarget = TOOL
    faults: dict[str, list[BaseException]] = field(default_factory=dict)
    """Door -> what it raises, once each."""
    log: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    notices: list[CleanNotice] = field(default_factory=list)
    hang: anyio.Event | None = None
    on_settle: Callable[["World"], None] = lambda world: None
    visible: bool = True
    curious: bool = True
    """Whether the caller asked for notices."""
    shown: list[Call] = field(default_factory=list)
    """Calls as redaction was given them."""
    note: str = "a signed checkpoint"
    """Empty where the ledger only counts."""
    caller: Identity = REQUEST.identity
    """Whose the credential is when the call is released."""
    asks: bool = False
    """Whether the upstream asks its caller something in the middle of the call."""
    cleaned: dict[str, Any] = field(default_factory=lambda: {"clean": True})
    """What a reply looks like after redaction."""

    def pass_through(self, door: str) -> None:
        self.log.append(door)
        if self.faults.get(door):
            raise self.faults[door].pop(0)

    def find(self, kind: TargetKind, name: str) -> Target | UnknownTarget:
        return self.target

    def targets(self, kind: TargetKind) -> Sequence[Target]:
        return [self.target] if isinstance(self.target, Target) else []

    def decide(self, call: Call) -> Decision:
        self.pass_through("policy")
        return self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]

    def sees(self, identity: Identity, target: Target) -> bool:
        return self.visible

    async def show(self, call: Call) -> ShownCall:
        await anyio.lowlevel.checkpoint()
        self.shown.append(call)
        self.pass_through("show")
        return ShownCall(call=call, arguments=CleanJson({"ssn": "<US_SSN>"}), raw=RAW, manifest=MANIFEST)

    async def clean(self, call: Call, reply: RawReply) -> CleanReply:
        await anyio.lowlevel.checkpoint()
        self.pass_through("clean")
        return CleanReply(kind=reply.kind, payload=CleanJson(self.cleaned), raw=RAW, manifest=MANIFEST)

    async def seal_arguments(self, shown: ShownCall) -> ShownCall:
        await anyio.lowlevel.checkpoint()
        self.pass_through("seal_arguments")
        return replace(shown, sealed=(b"sealed arguments",))

    async def seal_reply(self, call: Call, reply: RawReply, clean: CleanReply) -> CleanReply:
        await anyio.lowlevel.checkpoint()
        self.pass_through("seal_reply")
        return replace(clean, sealed=(b"sealed reply",))

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice:
        self.pass_through("clean_notice")
        return CleanNotice(method=notice.method, params=CleanJson({}))

    async def settle(self, shown: ShownCall, hold: Hold, patience: Patience, peer: Peer) -> Any:
        await anyio.lowlevel.checkpoint()
        self.pass_through("desk")
        self.on_settle(self)
        return self.settlements.pop(0)

    async def ask(self, shown: ShownCall, hold: Hold, access: Access, words: CleanJson) -> Waiting:
        await anyio.lowlevel.checkpoint()
        self.pass_through("ask")
        assert (shown.call.arguments, words) == (REQUEST.arguments, {"ssn": "<US_SSN>"})
        return Waiting(approval_id="apr_9", deadline_ns=9)

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        await anyio.lowlevel.checkpoint()
        self.pass_through(type(entry).__name__)
        self.entries.append(entry)
        seq = len(self.entries)
        return Sealed(entry, seq, digest(seq), f"e{seq}", seq, checkpoint=self.note)

    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        assert permit.call.arguments == REQUEST.arguments
        self.log.append("sent")
        await on_notice(RawNotice(method="notifications/progress", params=RawJson({"progress": 1})))
        if self.asks:
            with pytest.raises(QuestionRefused):
                await interview.ask({"q": RawNotice(method="roots/list", params=RawJson({}))})
        if self.hang:
            self.hang.set()
            await anyio.sleep_forever()
        self.pass_through("upstream")
        return RawReply(kind=ReplyKind.RESULT, payload=RawJson({"ssn": "078-05-1120"}))

    async def notify(self, notice: CleanNotice) -> None:
        self.notices.append(notice)

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None: ...

    def wants(self, notice: RawNotice) -> bool:
        return self.curious

    in_rounds = False

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        raise QuestionRefused("nobody is there")

    async def identity(self) -> Identity:
        await anyio.lowlevel.checkpoint()
        self.pass_through("identity")
        return self.caller

    def corridor(self) -> Corridor:
        ids = count(1)
        catalog: Catalog = self
        policy: Policy = self
        redactor: Redactor = self
        vault: Vault = self
        desk: Desk = self
        journal: Journal = self
        upstreams: Upstreams = self
        return Corridor(
            catalog=catalog,
            policy=policy,
            redactor=redactor,
            vault=vault,
            desk=desk,
            journal=journal,
            upstreams=upstreams,
            new_id=lambda: f"call-{next(ids)}",
        )

    async def walk(self) -> Any:
        return await self.corridor().walk(REQUEST, self)

    async def request_access(self, access: Access) -> Any:
        return await self.corridor().request_access(REQUEST, access)

    def recorded(self) -> list[str]:
        return [type(entry).__name__ for entry in self.entries]


async def test_an_allowed_call_is_recorded_before_its_effect_and_before_its_answer() -> None:
    world = World()
    answer = await world.walk()
    assert isinstance(answer, Completed)
    assert answer.reply.payload == {"clean": True}
    assert world.log == [
        "show", "policy", "seal_arguments", "Intent", "sent", "clean_notice", "upstream", "clean", "seal_reply", "Outcome"
    ]  # fmt: skip
    assert world.notices == [CleanNotice(method="notifications/progress", params=CleanJson({}))]
    outcome = world.entries[-1]
    assert isinstance(outcome, Outcome)
    assert set(outcome.latency_ns) == {"redact_in", "policy", "intent", "upstream", "redact_out"}


async def test_the_time_of_whoever_is_asked_is_not_the_upstreams() -> None:
    world = World(asks=True, target=replace(TOOL, questions=frozenset(Question)))
    await world.corridor().walk(replace(REQUEST, declares={"roots": {}}), world)
    outcome = world.entries[-1]
    assert isinstance(outcome, Outcome) and isinstance(outcome.result, CleanReply)
    assert outcome.latency_ns["caller"] > 0 and outcome.latency_ns["upstream"] >= 0


async def test_a_reply_that_asks_what_its_caller_cannot_be_asked_is_withheld_and_recorded() -> None:
    world = World(cleaned={"resultType": "input_required", "inputRequests": "not a table"})
    answer = await world.walk()
    assert isinstance(answer, Failed) and answer.reached
    assert "cannot be passed on" in answer.reason
    outcome = world.entries[-1]
    assert isinstance(outcome, Outcome) and outcome.result == answer


@pytest.mark.parametrize(
    ("kind", "payload", "is_error"),
    [
        (ReplyKind.RESULT, {}, False),
        (ReplyKind.RESULT, {"isError": False}, False),
        (ReplyKind.RESULT, {"isError": True}, True),
        (ReplyKind.ERROR, {"code": -32000, "message": "no"}, True),
    ],
)
def test_a_reply_knows_whether_the_tool_failed(kind: ReplyKind, payload: dict[str, Any], is_error: bool) -> None:
    assert CleanReply(kind=kind, payload=CleanJson(payload), raw=RAW, manifest=MANIFEST).is_error is is_error


async def test_a_denied_call_is_recorded_and_reaches_no_upstream() -> None:
    world = World(decisions=[DENY])
    answer = await world.walk()
    assert answer == Refused(code=RefusalCode.DENIED, reason="because", rule_ids=("rule",))
    assert world.recorded() == ["Refusal"]
    assert "sent" not in world.log


async def test_a_call_that_resumes_an_approval_runs_under_it_or_not_at_all() -> None:
    """Where it is not held any more, running it would spend nothing, and so could be repeated."""
    request = replace(REQUEST, resumes="apr_1")
    world = World()
    answer = await world.corridor().walk(request, world)
    assert isinstance(answer, Refused) and answer.reason == "The approval is void: the policy changed after it was asked for."
    assert world.recorded() == ["Refusal"] and "sent" not in world.log
    held = World(decisions=[HOLD], settlements=[APPROVED])
    assert isinstance(await held.corridor().walk(request, held), Completed)
    assert [call.resumes for call in held.shown] == ["apr_1"]


async def test_a_hidden_tool_and_an_unknown_one_get_the_same_answer_and_the_same_steps() -> None:
    hidden = World(decisions=[replace(DENY, hidden=True)], visible=False)
    unknown = World(decisions=[replace(DENY, hidden=True)], target=UnknownTarget(kind=TargetKind.TOOL, name="bank__transfer"))
    assert (
        await hidden.walk() == await unknown.walk() == Refused(code=RefusalCode.UNKNOWN, reason="Unknown tool: bank__transfer")
    )
    assert hidden.log == unknown.log == ["show", "policy", "Refusal"]


async def test_no_token_is_looked_up_for_a_tool_that_its_caller_may_not_see() -> None:
    seen, hidden = World(), World(decisions=[replace(DENY, hidden=True)], visible=False)
    for world in (seen, hidden):
        world.target = replace(TOOL, restore_tokens=True)
        await world.walk()
    assert [call.target for call in seen.shown + hidden.shown] == [seen.target, replace(seen.target, restore_tokens=False)]
    refusal = hidden.entries[0]
    assert isinstance(refusal, Refusal)
    assert refusal.shown.call.target == TOOL, "the record says which tool it was"


@pytest.mark.parametrize("fault", [RedactionError("it holds 2000 tokens"), ValueError("a bug")])
async def test_what_fails_over_a_hidden_tool_is_answered_like_an_unknown_one_and_recorded(fault: Exception) -> None:
    hidden = World(visible=False, faults={"show": [fault]})
    unknown = World(target=UnknownTarget(kind=TargetKind.TOOL, name="bank__transfer"), faults={"show": [fault]})
    answers = [await hidden.walk(), await unknown.walk()]
    assert answers == [Refused(code=RefusalCode.UNKNOWN, reason="Unknown tool: bank__transfer")] * 2
    assert hidden.entries == unknown.entries
    rejection = hidden.entries[0]
    assert isinstance(rejection, Rejection) and rejection.refused.code is RefusalCode.UNAVAILABLE


async def test_an_approved_call_spends_its_approval_in_the_intent() -> None:
    world = World(decisions=[HOLD], settlements=[APPROVED])
    assert isinstance(await world.walk(), Completed)
    intent = world.entries[0]
    assert isinstance(intent, Intent)
    assert intent.allow is APPROVED


async def test_a_call_still_waiting_is_answered_as_held() -> None:
    world = World(decisions=[HOLD], settlements=[Waiting(approval_id="apr_1", deadline_ns=9)])
    assert await world.walk() == Held(approval_id="apr_1", deadline_ns=9, reason="because")
    assert "sent" not in world.log


async def test_a_denial_by_people_names_the_approval() -> None:
    world = World(decisions=[HOLD], settlements=[replace(DENY, approval_id="apr_1")])
    assert await world.walk() == Refused(
        code=RefusalCode.NOT_APPROVED, reason="because", rule_ids=("rule",), approval_id="apr_1"
    )


async def test_a_duplicate_of_a_finished_call_gets_its_result_and_a_record_of_its_own() -> None:
    reply = CleanReply(kind=ReplyKind.RESULT, payload=CleanJson({"then": 1}), raw=RAW, manifest=MANIFEST)
    done = AlreadyDone(approval_id="apr_1", call_id="call-0", reply=reply)
    world = World(decisions=[HOLD], settlements=[done])
    answer = await world.walk()
    assert isinstance(answer, Completed)
    assert (answer.reply, answer.replayed_from) == (reply, "call-0")
    assert isinstance(world.entries[0], Replay)
    assert "sent" not in world.log


async def test_a_lost_race_for_the_approval_goes_back_to_the_desk() -> None:
    waiting = Waiting(approval_id="apr_1", deadline_ns=9)
    world = World(decisions=[HOLD], settlements=[APPROVED, waiting], faults={"Intent": [ApprovalConflict("spent")]})
    assert isinstance(await world.walk(), Held)
    assert "sent" not in world.log


async def test_endless_lost_races_end_in_a_refusal() -> None:
    world = World(decisions=[HOLD], settlements=[APPROVED] * 3, faults={"Intent": [ApprovalConflict("spent")] * 3})
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert world.recorded() == ["Refusal"]


async def test_an_approval_releases_nothing_to_a_credential_that_ended_meanwhile() -> None:
    revoked = AuthenticationError("The API key k was revoked.")
    world = World(decisions=[HOLD], settlements=[APPROVED], faults={"identity": [revoked]})
    reason = "Released to nobody, so not run: The API key k was revoked."
    assert await world.walk() == Refused(code=RefusalCode.DENIED, reason=reason, rule_ids=("rule",))
    assert world.recorded() == ["Refusal"]
    assert "sent" not in world.log


async def test_an_approval_releases_nothing_to_a_caller_whose_groups_changed_meanwhile() -> None:
    caller = replace(REQUEST.identity, groups=frozenset({"leads"}))
    world = World(decisions=[HOLD], settlements=[APPROVED], caller=caller)
    answer = await world.walk()
    assert isinstance(answer, Refused) and "entitled to changed" in answer.reason
    assert world.recorded() == ["Refusal"]
    assert "sent" not in world.log


async def test_a_credential_that_cannot_be_checked_at_release_ends_in_a_refusal() -> None:
    world = World(decisions=[HOLD], settlements=[APPROVED], faults={"identity": [OSError("no disk")]})
    answer = await world.walk()
    assert isinstance(answer, Refused) and answer.code is RefusalCode.UNAVAILABLE
    assert world.recorded() == ["Rejection"]
    assert "sent" not in world.log


async def test_a_result_is_not_given_again_to_a_credential_that_ended_meanwhile() -> None:
    reply = CleanReply(kind=ReplyKind.RESULT, payload=CleanJson({"then": 1}), raw=RAW, manifest=MANIFEST)
    done = AlreadyDone(approval_id="apr_1", call_id="call-0", reply=reply)
    world = World(decisions=[HOLD], settlements=[done], faults={"identity": [AuthenticationError("The token has expired.")]})
    answer = await world.walk()
    assert isinstance(answer, Refused) and answer.code is RefusalCode.DENIED
    assert world.recorded() == ["Refusal"]


async def test_a_preview_is_allowed_outright_or_not_made() -> None:
    preview = replace(REQUEST, previews="apr_1")
    world = World(decisions=[HOLD])
    answer = await world.corridor().walk(preview, world)
    assert isinstance(answer, Refused) and "would itself have to be approved" in answer.reason
    assert "desk" not in world.log and "sent" not in world.log and world.recorded() == ["Refusal"]
    world = World()
    assert isinstance(await world.corridor().walk(preview, world), Completed)
    (intent,) = [entry for entry in world.entries if isinstance(entry, Intent)]
    assert intent.shown.call.previews == "apr_1"


async def test_a_subscription_is_allowed_outright_or_not_made() -> None:
    subscribing = replace(REQUEST, subscribes=True)
    world = World(decisions=[HOLD])
    answer = await world.corridor().walk(subscribing, world)
    assert isinstance(answer, Refused) and "its changes are not told" in answer.reason
    assert "desk" not in world.log and "sent" not in world.log and world.recorded() == ["Refusal"]
    world = World()
    assert isinstance(await world.corridor().walk(subscribing, world), Completed)
    (intent,) = [entry for entry in world.entries if isinstance(entry, Intent)]
    assert intent.shown.call.subscribes


@pytest.mark.parametrize(("decision", "allowed"), [(Allow(ruling=RULING), True), (HOLD, False), (DENY, False)])
async def test_whether_something_is_still_allowed_is_asked_without_a_record(decision: Decision, allowed: bool) -> None:
    world = World(decisions=[decision])
    assert world.corridor().allows(REQUEST) is allowed
    assert world.recorded() == []


PROPOSAL = Proposal(
    approval_id="apr_1", proposer="test#bob", arguments={"amount": 1}, changes=(), comment="less", until_ns=9
)  # fmt: skip


async def test_what_is_proposed_instead_goes_to_the_caller_and_into_no_record() -> None:
    denied = replace(DENY, approval_id="apr_1", proposal=(PROPOSAL,))
    world = World(decisions=[HOLD], settlements=[denied])
    answer = await world.walk()
    assert isinstance(answer, Refused) and (answer.code, answer.proposal) == (RefusalCode.NOT_APPROVED, (PROPOSAL,))
    assert world.recorded() == ["Refusal"] and "identity" in world.log


async def test_what_is_proposed_is_not_told_to_a_credential_that_ended_meanwhile() -> None:
    denied = replace(DENY, approval_id="apr_1", proposal=(PROPOSAL,))
    ended = {"identity": [AuthenticationError("The token has expired.")]}
    answer = await World(decisions=[HOLD], settlements=[denied], faults=ended).walk()
    assert isinstance(answer, Refused) and answer.proposal == ()


async def test_a_call_that_is_not_held_asks_for_its_credential_once() -> None:
    world = World()
    await world.walk()
    assert "identity" not in world.log


def changed(**changes: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.target = replace(TOOL, **changes)

    return change


def gone(world: World) -> None:
    world.target = UnknownTarget(kind=TargetKind.TOOL, name="bank__transfer")


@pytest.mark.parametrize(
    ("on_settle", "again", "reason"),
    [
        (changed(definition_hash="h2"), HOLD, "the tool's definition changed"),
        (changed(server_fingerprint="f2"), HOLD, "the tool's definition changed"),
        (gone, HOLD, "the tool is no longer offered"),
        (changed(), replace(HOLD, ruling=replace(RULING, policy_hash="p2")), "the policy changed"),
        (changed(), replace(DENY, ruling=replace(RULING, reason="now forbidden")), "now forbidden"),
    ],
)
async def test_an_approval_is_void_when_the_world_changed_meanwhile(
    on_settle: Callable[[World], None], again: Decision, reason: str
) -> None:
    world = World(decisions=[HOLD, again], settlements=[APPROVED], on_settle=on_settle)
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert reason in answer.reason
    assert "sent" not in world.log


@pytest.mark.parametrize(
    ("fault", "code", "reached"),
    [
        (UpstreamError("bank is down", sent=False), FailureCode.UPSTREAM, False),
        (UpstreamError("bank closed the connection", sent=True), FailureCode.UPSTREAM, True),
        (TimeoutError(), FailureCode.TIMEOUT, True),
        (ZeroDivisionError("a bug"), FailureCode.INTERNAL, True),
    ],
)
async def test_a_failed_upstream_has_an_outcome_all_the_same(fault: Exception, code: FailureCode, reached: bool) -> None:
    world = World(faults={"upstream": [fault]})
    answer = await world.walk()
    assert isinstance(answer, Failed)
    assert (answer.code, answer.reached) == (code, reached)
    assert world.recorded() == ["Intent", "Outcome"]
    assert "a bug" not in answer.reason


async def test_a_reply_that_cannot_be_redacted_is_withheld() -> None:
    world = World(faults={"clean": [RedactionError("took too long")]})
    answer = await world.walk()
    assert isinstance(answer, Failed)
    assert (answer.code, answer.reached) == (FailureCode.REDACTION, True)
    assert world.recorded() == ["Intent", "Outcome"]


async def test_a_notification_that_cannot_be_redacted_is_withheld_and_the_call_goes_on() -> None:
    world = World(faults={"clean_notice": [RedactionError("took too long")]})
    assert isinstance(await world.walk(), Completed)
    assert world.notices == []


async def test_a_notification_that_nobody_asked_for_is_not_even_redacted() -> None:
    world = World(curious=False)
    assert isinstance(await world.walk(), Completed)
    assert "clean_notice" not in world.log and world.notices == []


async def test_arguments_that_cannot_be_redacted_stop_the_call_before_policy() -> None:
    world = World(faults={"show": [RedactionError("took too long")]})
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNAVAILABLE
    assert world.log == ["show", "Rejection"]
    rejection = world.entries[0]
    assert isinstance(rejection, Rejection)
    assert rejection.principal == "test#alice"


@pytest.mark.parametrize("door", ["show", "policy", "desk"])
async def test_a_bug_before_the_intent_refuses_and_is_recorded(door: str) -> None:
    world = World(decisions=[HOLD], settlements=[APPROVED], faults={door: [ZeroDivisionError("a bug")]})
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNAVAILABLE
    assert "a bug" not in answer.reason
    assert world.recorded() == ["Rejection"]
    assert "sent" not in world.log


async def test_without_a_durable_intent_there_is_no_effect() -> None:
    world = World(faults={"Intent": [LedgerUnavailable("disk full")]})
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNAVAILABLE
    assert "sent" not in world.log


async def test_an_intent_that_must_wait_for_an_anchor_is_refused_with_that_reason() -> None:
    world = World(faults={"Intent": [NotAnchored("records wait")]})
    refused = await world.walk()
    assert isinstance(refused, Refused) and refused.code is RefusalCode.UNAVAILABLE
    assert "cannot be kept out of reach in time" in refused.reason
    assert "sent" not in world.log


@pytest.mark.parametrize(("upstream", "reached"), [([], True), ([UpstreamError("down", sent=False)], False)])
@pytest.mark.parametrize("fault", [LedgerUnavailable("disk full"), ZeroDivisionError("a bug")])
async def test_without_a_durable_outcome_the_answer_is_withheld(
    upstream: list[BaseException], reached: bool, fault: Exception
) -> None:
    world = World(faults={"Outcome": [fault], "upstream": list(upstream)})
    answer = await world.walk()
    assert isinstance(answer, Failed)
    assert (answer.code, answer.reached) == (FailureCode.UNRECORDED, reached)


async def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal() -> None:
    world = World(decisions=[DENY], faults={"Refusal": [LedgerUnavailable("disk full")]})
    answer = await world.walk()
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNAVAILABLE
    refused = Refused(code=RefusalCode.MALFORMED, reason="not JSON")
    world = World(faults={"Rejection": [LedgerUnavailable("disk full")]})
    assert await world.corridor().reject(REQUEST.origin, refused) == refused


async def test_a_message_that_is_no_call_is_recorded() -> None:
    world = World()
    refused = Refused(code=RefusalCode.MALFORMED, reason="not JSON")
    assert await world.corridor().reject(REQUEST.origin, refused) == refused
    assert world.entries == [Rejection(origin=REQUEST.origin, refused=refused)]


async def test_a_cancelled_call_has_an_outcome_at_once() -> None:
    world = World(hang=anyio.Event())
    assert world.hang
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.walk)
            await world.hang.wait()
            tasks.cancel_scope.cancel()
    outcome = world.entries[-1]
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.result, Failed)
    assert outcome.result.code is FailureCode.CANCELLED


async def test_a_call_cancelled_while_its_intent_commits_has_an_outcome_too() -> None:
    class Slow(World):
        async def append(self, entry: EntryT) -> Sealed[EntryT]:
            if isinstance(entry, Intent):
                scope.cancel()
            return await super().append(entry)

    world = Slow(hang=anyio.Event())
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        await world.walk()
    assert world.recorded() == ["Intent", "Outcome"]


async def test_a_call_cancelled_before_it_was_judged_is_recorded_as_abandoned() -> None:
    class Cancelled(World):
        async def show(self, call: Call) -> ShownCall:
            scope.cancel()
            return await super().show(call)

    world = Cancelled()
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        await world.walk()
    (rejection,) = world.entries
    assert isinstance(rejection, Rejection)
    assert rejection.refused.code is RefusalCode.ABANDONED
    assert "sent" not in world.log


async def test_a_call_cancelled_while_it_waits_for_people_has_no_intent() -> None:
    class Cancelled(World):
        async def settle(self, *args: Any) -> Any:
            scope.cancel()
            await anyio.sleep_forever()

    world = Cancelled(decisions=[HOLD])
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        await world.walk()
    assert world.recorded() == []


# --- receipts ----------------------------------------------------------------------------------------------------------------

GIVEN = Receipt(index=7, leaf_hash="77", checkpoint="the hold's")
ANSWERED: dict[str, tuple[World, type]] = {
    "completed": (World(), Completed),
    "failed": (World(faults={"upstream": [TimeoutError()]}), Failed),
    "denied": (World(decisions=[DENY]), Refused),
    "not redacted": (World(faults={"show": [RedactionError("no")]}), Refused),
    "broken": (World(faults={"policy": [RuntimeError("a defect")]}), Refused),
}


@pytest.mark.parametrize("case", ANSWERED)
async def test_each_answer_has_the_receipt_of_the_record_that_concludes_it(case: str) -> None:
    world, kind = ANSWERED[case]
    answer = await world.walk()
    assert isinstance(answer, kind)
    last = len(world.entries)
    assert answer.receipt == (Receipt(index=last, leaf_hash=digest(last), checkpoint="a signed checkpoint"),)


async def test_a_held_call_has_the_receipt_of_its_hold() -> None:
    waiting = Waiting(approval_id="apr_1", deadline_ns=9, receipt=(GIVEN,))
    assert (await World(decisions=[HOLD], settlements=[waiting]).walk()).receipt == (GIVEN,)


async def test_what_was_only_counted_or_not_recorded_has_no_receipt() -> None:
    assert (await World(decisions=[DENY], note="").walk()).receipt == ()
    for door in ("Intent", "Outcome"):
        assert (await World(faults={door: [LedgerUnavailable("full")]}).walk()).receipt == ()


async def test_a_request_for_a_grant_walks_to_the_desk_and_runs_nothing() -> None:
    world = World(decisions=[GRANTING])
    answer = await world.request_access(ACCESS)
    assert answer == Held(approval_id="apr_9", deadline_ns=9, reason="because")
    assert world.log == ["show", "show", "policy", "ask"]
    assert [call.arguments for call in world.shown] == [REQUEST.arguments, {"reason": "my words"}]


@pytest.mark.parametrize(
    ("decision", "access", "reason"),
    [
        (Allow(ruling=RULING), ACCESS, "No grant is asked for. This call needs no approval: call it."),
        (DENY, ACCESS, "because"),
        (HOLD, ACCESS, "No grant is asked for. What holds this call permits no grants: it is approved call by call."),
        (
            GRANTING,
            replace(ACCESS, max_calls=6),
            "No grant is asked for. At most 5 calls may be granted here, and 6 were asked for.",
        ),
    ],
)
async def test_a_grant_that_is_none_to_ask_for_is_refused_on_record(decision: Decision, access: Access, reason: str) -> None:
    world = World(decisions=[decision])
    assert await world.request_access(access) == Refused(code=RefusalCode.DENIED, reason=reason, rule_ids=("rule",))
    assert world.recorded() == ["Refusal"]
    assert "ask" not in world.log


@pytest.mark.parametrize("name", [ANSWERS, "mcpgw/anything"])
async def test_an_example_with_an_argument_of_a_name_that_is_the_gateways_own_is_refused_before_anything_reads_it(
    name: str,
) -> None:
    world = World(decisions=[GRANTING])
    example = replace(REQUEST, arguments={**REQUEST.arguments, name: "no answers at all"})
    answer = await world.corridor().request_access(example, ACCESS)
    assert isinstance(answer, Refused) and answer.code is RefusalCode.MALFORMED
    assert "begins with mcpgw/" in answer.reason and world.log == ["Rejection"]


async def test_a_grant_for_a_hidden_tool_and_for_an_unknown_one_get_the_same_answer_and_the_same_steps() -> None:
    hidden = World(decisions=[replace(DENY, hidden=True)], visible=False)
    unknown = World(decisions=[replace(DENY, hidden=True)], target=UnknownTarget(kind=TargetKind.TOOL, name="bank__transfer"))
    answers = [await world.request_access(ACCESS) for world in (hidden, unknown)]
    assert answers == [Refused(code=RefusalCode.UNKNOWN, reason="Unknown tool: bank__transfer")] * 2
    assert hidden.log == unknown.log == ["show", "show", "policy", "Refusal"]


@pytest.mark.parametrize(
    ("door", "fault"),
    [
        ("show", RedactionError("no model")),
        ("policy", ValueError("a bug")),
        ("ask", LedgerUnavailable("the disk is full")),
        ("ask", ValueError("it has no canonical form")),
    ],
)
async def test_a_grant_that_a_door_fails_over_is_refused(door: str, fault: Exception) -> None:
    world = World(decisions=[GRANTING], faults={door: [fault]})
    answer = await world.request_access(ACCESS)
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNAVAILABLE


async def test_what_is_kept_of_raw_payloads_is_sealed_in_the_records_of_a_call_that_ran() -> None:
    world = World()
    await world.walk()
    intent, outcome = world.entries
    assert isinstance(intent, Intent) and intent.shown.sealed == (b"sealed arguments",)
    assert isinstance(outcome, Outcome) and isinstance(outcome.result, CleanReply)
    assert outcome.result.sealed == (b"sealed reply",)


async def test_arguments_of_a_call_that_does_not_run_are_not_sealed() -> None:
    for world in (
        World(decisions=[DENY]),
        World(decisions=[HOLD], settlements=[Waiting(approval_id="apr_1", deadline_ns=9)]),
    ):
        await world.walk()
        assert "seal_arguments" not in world.log


async def test_arguments_that_cannot_be_sealed_refuse_the_call_and_the_record_says_so() -> None:
    world = World(faults={"seal_arguments": [VaultError("it cannot be encrypted")]})
    answer = await world.walk()
    assert isinstance(answer, Refused) and answer.code is RefusalCode.UNAVAILABLE and answer.receipt
    assert answer.reason.endswith("so nothing was done: it cannot be encrypted")
    assert world.recorded() == ["Refusal"] and "sent" not in world.log


async def test_a_reply_that_cannot_be_sealed_is_withheld_and_the_record_says_so() -> None:
    world = World(faults={"seal_reply": [VaultError("it cannot be encrypted")]})
    answer = await world.walk()
    assert isinstance(answer, Failed) and (answer.code, answer.reached) == (FailureCode.VAULT, True)
    assert world.recorded() == ["Intent", "Outcome"]


async def test_a_caller_that_leaves_while_its_arguments_are_sealed_is_recorded() -> None:
    world = World(faults={"seal_arguments": [anyio.get_cancelled_exc_class()()]})
    with pytest.raises(anyio.get_cancelled_exc_class()):
        await world.walk()
    (refusal,) = world.entries
    assert isinstance(refusal, Refusal) and refusal.refused.code is RefusalCode.ABANDONED
