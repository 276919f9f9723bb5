"""The corridor: the one way from a request to an answer.

Order is a security property, so it is code and not configuration: there is no plug-in point, no flag that skips a step, and
no second path for the console or an admin. Resources, prompts and completions walk it as tools do; `Call.target` says which.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio

from mcpgw.core.access import Access, objection
from mcpgw.core.answers import RESERVED
from mcpgw.core.entries import Refusal, Rejection
from mcpgw.core.errors import (
    ApprovalConflict,
    AuthenticationError,
    LedgerUnavailable,
    NotAnchored,
    RedactionError,
    UpstreamError,
    VaultError,
)
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    Answer,
    Call,
    CleanReply,
    Completed,
    Decision,
    Deny,
    Failed,
    FailureCode,
    Held,
    Hold,
    Intent,
    Origin,
    Outcome,
    Patience,
    Permit,
    RawNotice,
    RefusalCode,
    Refused,
    Replay,
    Request,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.interview import CallInterview
from mcpgw.ports import Catalog, Desk, Journal, Peer, Policy, Redactor, Upstreams, Vault

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT", bound=Answer)

_RESERVED_NAME = f"The example has an argument whose name begins with {RESERVED}, as no call can have one. Leave it out."
_SPEND_ATTEMPTS = 3
"""A lost race for an approval moves it forward (approved, spent, done), so a third try can lose to nothing."""


class Corridor:
    """Identity and name in, answer out; everything in between is recorded.

    Guarantees: no upstream is called without a durable Intent; no reply of an upstream leaves without redaction and a durable
    Outcome; whatever cannot be recorded, redacted or decided is refused.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        policy: Policy,
        redactor: Redactor,
        vault: Vault,
        desk: Desk,
        journal: Journal,
        upstreams: Upstreams,
        new_id: Callable[[], str],
    ) -> None:
        self._catalog = catalog
        self._policy = policy
        self._redactor = redactor
        self._vault = vault
        self._desk = desk
        self._journal = journal
        self._upstreams = upstreams
        self._new_id = new_id

    async def walk(self, request: Request, peer: Peer) -> Answer:
        """Take one request through the corridor. Never raises, except to pass on the cancellation of its own task."""
        return await self._answered(request, lambda call: self._walk(call, request.patience, peer))

    async def request_access(self, request: Request, access: Access) -> Held | Refused:
        """Ask people for a grant: calls like this one, within the bounds of `access`.

        The request is the example, and never runs. It walks the corridor up to the desk, as the call would, and is answered as
        soon as the desk has it on record. Raises as `walk`.
        """
        return await self._answered(request, lambda call: self._ask(call, access))

    async def _answered(self, request: Request, work: Callable[[Call], Awaitable[AnswerT]]) -> AnswerT | Refused:
        """Do the work on the request's call; whatever hinders it refuses."""
        call = self._call(request)
        visible = False
        try:
            visible = isinstance(call.target, Target) and self._policy.sees(call.identity, call.target)
            return await work(call if visible else _unaided(call))
        except NotAnchored as error:
            logger.error("call %s: %s Nothing was done", call.id, error)
            return Refused(code=RefusalCode.UNAVAILABLE, reason=_NOT_ANCHORED)
        except LedgerUnavailable:
            logger.error("call %s: the ledger cannot write; nothing was done", call.id)
            return Refused(code=RefusalCode.UNAVAILABLE, reason=_NO_RECORD)
        except RedactionError as error:
            reason = f"The arguments could not be redacted for the record, so nothing was done: {error}"
            refused = await self._refuse_unshown(call, reason)
            return refused if visible else _unknown(call)
        except Exception:
            # The corridor's broad except: it records and refuses. Nothing has happened upstream when it is reached.
            logger.exception("call %s: refused by an internal error", call.id)
            refused = await self._refuse_unshown(call, "The gateway could not decide on this call, so nothing was done.")
            return refused if visible else _unknown(call)

    def allows(self, request: Request) -> bool:
        """Tell whether the request would be allowed outright now. Nothing is done by it, so nothing is recorded."""
        return isinstance(self._policy.decide(self._call(request)), Allow)

    def _call(self, request: Request) -> Call:
        return Call(
            id=self._new_id(),
            identity=request.identity,
            target=self._catalog.find(request.kind, request.name),
            arguments=request.arguments,
            origin=request.origin,
            meta=request.meta,
            declares=request.declares,
            received_ns=time.time_ns(),
            resumes=request.resumes,
            previews=request.previews,
            subscribes=request.subscribes,
        )

    async def reject(self, origin: Origin, refused: Refused, principal: str = "") -> Refused:
        """Record a message that never became a call (no identity, malformed) and return its refusal."""
        try:
            rejection = await self._journal.append(Rejection(origin=origin, refused=refused, principal=principal))
        except LedgerUnavailable:
            logger.error("a refusal (%s) could not be recorded: the ledger cannot write", refused.code)
            return refused
        return replace(refused, receipt=rejection.receipt)

    async def _walk(self, call: Call, patience: Patience, peer: Peer) -> Answer:
        watch = _Stopwatch()

        # (1) redaction: the arguments as they may be recorded, and the call as it will run, tokens in it given their values
        shown = await self._shown(call)
        call = shown.call
        watch.lap("redact_in")

        for _ in range(_SPEND_ATTEMPTS):
            # (2) policy: pure and total
            judged = decision = self._policy.decide(call)
            if call.resumes and isinstance(decision, Allow):
                # Not held any more. Run without spending its approval, it could be run again.
                decision = Deny(ruling=_void(decision.ruling, "the policy changed"))
            if call.previews and isinstance(decision, Hold):
                # People are not asked about what is to help them decide.
                decision = Deny(ruling=replace(decision.ruling, reason=_HELD_PREVIEW))
            if call.subscribes and isinstance(decision, Hold):
                # An approval is for one call, and a subscription has no end.
                decision = Deny(ruling=replace(decision.ruling, reason=_HELD_SUBSCRIPTION))
            watch.lap("policy")

            # (3) approval: people decide on a hold; silence ends in a denial
            if isinstance(decision, Hold):
                settled = await self._desk.settle(shown, decision, patience, peer)
                settled = await self._released(call, decision, settled, peer)
                watch.lap("approval")
            else:
                settled = decision
            if not isinstance(settled, Allow):
                return await self._unreleased(shown, settled, judged)

            # (4) ledger: the intent is durable, and its approval spent, before the effect that they permit. What is to be kept
            # of the raw arguments is sealed in it
            try:
                sealed = await self._sealed(shown)
            except VaultError as error:
                reason = f"The arguments could not be sealed into the vault, so nothing was done: {error}"
                return await self._refuse(shown, Refused(code=RefusalCode.UNAVAILABLE, reason=reason))
            try:
                with anyio.CancelScope(shield=True):  # an intent that commits unseen would have no outcome
                    intent = await self._journal.append(Intent(shown=sealed, allow=settled))
            except ApprovalConflict:
                continue  # a duplicate was faster: the desk now knows more
            watch.lap("intent")

            # (5) upstream, (6) redaction
            result = await self._perform(intent, peer, watch)

            # (7) ledger: the outcome is durable before the answer leaves
            return await self._conclude(intent, result, watch)

        ruling = Ruling(rule_ids=(), reason="The approval was taken by identical calls.", policy_hash="")
        taken = Deny(ruling=ruling)
        return await self._turn_away(shown, taken, taken)

    async def _ask(self, call: Call, access: Access) -> Held | Refused:
        # An example comes from its caller alone, so nothing in it may pass for what the gateway puts among the arguments.
        if any(name.startswith(RESERVED) for name in call.arguments):
            return await self._refuse_unshown(call, _RESERVED_NAME, RefusalCode.MALFORMED)

        # (1) redaction: the example, and the requester's own words, as they may be recorded
        shown = await self._shown(call)
        words = await self._shown(replace(call, arguments={"reason": access.reason}))

        # (2) policy: what would run at once, or never, is nothing to ask for
        decision = self._policy.decide(shown.call)
        if isinstance(decision, Deny):
            return await self._turn_away(shown, decision, decision)
        if isinstance(decision, Allow):
            return await self._turn_away(shown, _not_granted(decision, "This call needs no approval: call it."), decision)
        if why := objection(access, decision.terms.grants, shown.call.arguments, shown.arguments):
            return await self._turn_away(shown, _not_granted(decision, why), decision)

        # (3) approval: people decide, later
        waiting = await self._desk.ask(shown, decision, access, words.arguments)
        return _held(waiting, decision.ruling)

    async def _shown(self, call: Call) -> ShownCall:
        try:
            return await self._redactor.show(call)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._refuse_unshown(call, "The caller went away before the call was judged.", RefusalCode.ABANDONED)
            raise

    async def _sealed(self, shown: ShownCall) -> ShownCall:
        try:
            return await self._vault.seal_arguments(shown)
        except anyio.get_cancelled_exc_class():
            gone = Refused(code=RefusalCode.ABANDONED, reason="The caller went away before the call was made.")
            with anyio.CancelScope(shield=True):
                await self._refuse(shown, gone)
            raise

    async def _released(
        self, call: Call, hold: Hold, settled: Allow | Deny | Waiting | AlreadyDone, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        """Judge again at release: people took their time, and caller, policy or tool may not be what they were."""
        if isinstance(settled, Waiting) or (isinstance(settled, Deny) and not settled.proposal):
            return settled
        try:
            caller = await peer.identity()
        except AuthenticationError as error:
            return Deny(ruling=replace(hold.ruling, reason=f"Released to nobody, so not run: {error}"))
        if caller != call.identity:
            return Deny(ruling=_void(hold.ruling, "what the caller is entitled to changed"))
        if isinstance(settled, AlreadyDone | Deny):
            return settled
        again = self._policy.decide(call)
        if isinstance(again, Deny):
            return again
        target = self._catalog.find(call.target.kind, call.target.name)
        if isinstance(target, UnknownTarget) or isinstance(call.target, UnknownTarget):
            return Deny(ruling=_void(again.ruling, "the tool is no longer offered"))
        before = (call.target.definition_hash, call.target.server_fingerprint)
        if (target.definition_hash, target.server_fingerprint) != before:
            return Deny(ruling=_void(again.ruling, "the tool's definition changed"))
        if again.ruling.policy_hash != settled.ruling.policy_hash:
            return Deny(ruling=_void(again.ruling, "the policy changed"))
        return settled

    async def _perform(self, intent: Sealed[Intent], peer: Peer, watch: "_Stopwatch") -> CleanReply | Failed:
        call = intent.entry.shown.call

        async def relay(notice: RawNotice) -> None:
            if not peer.wants(notice):
                return
            try:
                await peer.notify(await self._redactor.clean_notice(call, notice))
            except RedactionError as error:
                logger.warning("call %s: a notification was withheld: %s", call.id, error)

        try:
            interview = CallInterview(intent, peer, redactor=self._redactor, policy=self._policy, journal=self._journal)
            raw = await self._upstreams.send(Permit(intent), relay, interview)
            watch.lap("upstream")
            watch.set_apart("caller", interview.waited_ns, within="upstream")
            clean = await self._vault.seal_reply(call, raw, await self._redactor.clean(call, raw))
            watch.lap("redact_out")
            if clean.asks and (why := interview.objection(raw.payload, clean.payload)):
                return Failed(code=FailureCode.UPSTREAM, reason=why, reached=True)
            return clean
        except anyio.get_cancelled_exc_class():
            gone = Failed(code=FailureCode.CANCELLED, reason="The caller went away.", reached=True)
            with anyio.CancelScope(shield=True):
                await self._conclude(intent, gone, watch)
            raise
        except TimeoutError:
            reason = "The upstream did not answer in time; whether it acted is unknown."
            return Failed(code=FailureCode.TIMEOUT, reason=reason, reached=True)
        except UpstreamError as error:
            return Failed(code=FailureCode.UPSTREAM, reason=str(error), reached=error.sent)
        except RedactionError as error:
            reason = f"The call ran, but its reply could not be redacted and is withheld: {error}"
            return Failed(code=FailureCode.REDACTION, reason=reason, reached=True)
        except VaultError as error:
            reason = f"The call ran, but its reply could not be sealed into the vault and is withheld: {error}"
            return Failed(code=FailureCode.VAULT, reason=reason, reached=True)
        except Exception:
            # Its twin for the time after the intent: the effect may have happened, so this is a failure and not a refusal.
            logger.exception("call %s: failed by an internal error", call.id)
            reason = "The gateway failed while the call was under way; whether the upstream acted is unknown."
            return Failed(code=FailureCode.INTERNAL, reason=reason, reached=True)

    async def _conclude(self, intent: Sealed[Intent], result: CleanReply | Failed, watch: "_Stopwatch") -> Answer:
        try:
            with anyio.CancelScope(shield=True):
                sealed = await self._journal.append(Outcome(intent=intent, result=result, latency_ns=watch.laps))
        except Exception as error:
            # Broad, because the effect may have happened: whatever fails here, the answer is withheld and says so.
            call_id = intent.entry.shown.call.id
            logger.error(
                "call %s: its outcome could not be recorded (%s); the answer is withheld", call_id, type(error).__name__
            )
            reached = not isinstance(result, Failed) or result.reached
            return Failed(code=FailureCode.UNRECORDED, reason=_NO_OUTCOME, reached=reached)
        if isinstance(result, Failed):
            return replace(result, receipt=sealed.receipt)
        return Completed(reply=result, sealed=sealed)

    async def _unreleased(self, shown: ShownCall, settled: Deny | Waiting | AlreadyDone, judged: Decision) -> Answer:
        if isinstance(settled, Waiting):
            return _held(settled, judged.ruling)
        if isinstance(settled, AlreadyDone):
            replay = await self._journal.append(Replay(shown=shown, done=settled, ruling=judged.ruling))
            return Completed(reply=settled.reply, sealed=replay, replayed_from=settled.call_id)
        return await self._turn_away(shown, settled, judged)

    async def _turn_away(self, shown: ShownCall, deny: Deny, judged: Decision) -> Refused:
        """Refuse what policy, people or a change stopped; `judged` is what policy had said."""
        withheld = () if isinstance(judged, Deny) else (judged,)
        return await self._refuse(shown, _refused(shown.call, deny), deny.ruling, *withheld)

    async def _refuse(
        self, shown: ShownCall, refused: Refused, ruling: Ruling | None = None, judged: Allow | Hold | None = None
    ) -> Refused:
        refusal = await self._journal.append(Refusal(shown=shown, refused=refused, ruling=ruling, judged=judged))
        return replace(refused, receipt=refusal.receipt)

    async def _refuse_unshown(self, call: Call, reason: str, code: RefusalCode = RefusalCode.UNAVAILABLE) -> Refused:
        refused = Refused(code=code, reason=reason)
        return await self.reject(call.origin, refused, call.identity.principal)


class _Stopwatch:
    """Nanoseconds by stage; a stage that runs twice adds up."""

    def __init__(self) -> None:
        self.laps: dict[str, int] = {}
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.laps[stage] = self.laps.get(stage, 0) + now - self._last
        self._last = now

    def set_apart(self, stage: str, nanoseconds: int, *, within: str) -> None:
        """Count a part of one stage as another's, if there was any."""
        if nanoseconds:
            apart = min(nanoseconds, self.laps[within])  # two questions may have waited at the same time
            self.laps[within] -= apart
            self.laps[stage] = apart


_HELD_PREVIEW = "The preview would itself have to be approved, so it was not made."
_HELD_SUBSCRIPTION = "Reading it has to be approved each time, so its changes are not told."
_NO_RECORD = "The gateway cannot write its record, so nothing was done. Try again later."
_NOT_ANCHORED = (
    "The gateway's record cannot be kept out of reach in time, as it must be here, so nothing was done. Try again later."
)
_NO_OUTCOME = "The call ran, but the gateway cannot write its record, so the answer is withheld."


def _held(waiting: Waiting, ruling: Ruling) -> Held:
    return Held(
        approval_id=waiting.approval_id,
        deadline_ns=waiting.deadline_ns,
        reason=ruling.reason,
        running=waiting.running,
        unattended=waiting.unattended,
        receipt=waiting.receipt,
    )


def _not_granted(decision: Allow | Hold, why: str) -> Deny:
    return Deny(ruling=replace(decision.ruling, reason=f"No grant is asked for. {why}"))


def _void(ruling: Ruling, what: str) -> Ruling:
    return replace(ruling, reason=f"The approval is void: {what} after it was asked for.")


def _unaided(call: Call) -> Call:
    """Return the call of somebody who may not see its target, without what the target is entitled to.

    A name that is hidden must answer, cost and fail like one that does not exist: no token is looked up for it.
    """
    if isinstance(call.target, UnknownTarget):
        return call
    return replace(call, target=replace(call.target, restore_tokens=False))


def _unknown(call: Call) -> Refused:
    """A URI may hold somebody's data, and a template is not what was asked for, so neither is repeated."""
    match call.target.kind:
        case TargetKind.RESOURCE:
            reason = "Unknown resource"
        case TargetKind.COMPLETION:
            reason = "Unknown prompt or resource template"
        case kind:
            reason = f"Unknown {kind.value}: {call.target.name}"
    return Refused(code=RefusalCode.UNKNOWN, reason=reason)


def _refused(call: Call, deny: Deny) -> Refused:
    if deny.hidden:
        return _unknown(call)
    code = RefusalCode.NOT_APPROVED if deny.approval_id else RefusalCode.DENIED
    return Refused(
        code=code,
        reason=deny.ruling.reason,
        rule_ids=deny.ruling.rule_ids,
        approval_id=deny.approval_id,
        proposal=deny.proposal,
    )
