"""The desk: parks a held call until people decide, and lets people decide. All state is the ledger's; the desk has none.

So any number of processes on one store are one desk: a call held by one is decided at another, and a restart changes nothing.
"""

import base64
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from mcpgw.approval import people
from mcpgw.approval.answers import Settlement, answer, deny, waiting_message
from mcpgw.approval.facts import Facts, facts_of, facts_of_grant
from mcpgw.approval.grants import use_of
from mcpgw.approval.kept import exact_facts, kept
from mcpgw.approval.proposal import draft, proposal
from mcpgw.approval.seal import Seal, SealBroken
from mcpgw.approval.sheet import lay_out
from mcpgw.approval.standing import Standing, is_fresh, weigh
from mcpgw.core.access import Access, allowance_of
from mcpgw.core.entries import (
    Escalated,
    Event,
    Happened,
    Joined,
    Lapsed,
    Opened,
    Proposed,
    Resolved,
    Reviewed,
    Settled,
    Stopped,
    StoppedAs,
    Verdict,
    Vote,
    VoteWithdrawn,
)
from mcpgw.core.errors import ApprovalConflict, GatewayError, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    ApprovalRef,
    CleanJson,
    Deny,
    Hold,
    Identity,
    JsonObject,
    Patience,
    Proposal,
    Receipt,
    Ruling,
    Sealed,
    ShownCall,
    Waiting,
)
from mcpgw.ports import Approval, ApprovalState, ApprovalStore, CastVote, Deed, Journal, Peer, Roster, Sheet

logger = logging.getLogger(__name__)

MAX_COMMENT = 2_000
"""Characters of a vote's comment: room for a reason, not for a document; a record is limited to 64 KiB."""

_ID_CHARS = 20
"""Base32 characters of an approval's id: 100 random bits, so that it cannot be guessed."""

_ATTACH_ATTEMPTS = 4
"""Each lost race means that another process moved the approval on; losing four in a row means that the store is unwell."""

_RECHECK_S = 1.0
"""Longest wait before a look at the store: bounds the delay if a change came between the last look and the wait."""

_IDLE_S = 30.0
"""Longest sleep of the sweeper: bounds how late it notices that the wall clock was set forward."""

_CALM_S = 1.0
"""Shortest time between two sweeps of a busy desk: each looks at every unsettled approval. A known deadline is kept."""

_RETRY_S = 5.0
"""Pause of the sweeper while the ledger cannot write."""

_ATTACHED_KEPT = 4_096
"""Calls remembered as joined already. A call asks again at most a few times, within its own request."""

_ALL = 1_000_000
"""Approvals that a sweep looks at: in effect every unsettled one."""

_UNSETTLED = (ApprovalState.PENDING, ApprovalState.APPROVED)


class Desk:
    """Implements `ports.Desk`, and the other side of it: people's verdicts.

    Guarantees: an `Allow` is given only for an approval whose digest covers this very call, with a quorum of different people
    of whom none asked for it, and before its deadline. Silence ends in a denial. What people see is what is bound.
    """

    def __init__(
        self,
        journal: Journal,
        store: ApprovalStore,
        key: bytes,
        roster: Roster,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
        on_held: Callable[[ShownCall, str], None] = lambda shown, approval_id: None,
    ) -> None:
        """Take the desk's key (`seal.KEY_BYTES` long, shared by every process on the store), the clocks, and who is to hear of
        each call that this desk newly holds, with its approval's id; that must neither wait nor raise.

        Raises:
            ConfigError: the key has another length.
        """
        self._journal = journal
        self._store = store
        self._seal = Seal(key)
        self._roster = roster
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._pause = pause
        self._on_held = on_held
        self._attached: OrderedDict[tuple[str, str], tuple[Receipt, ...]] = OrderedDict()
        """By call and approval: the receipt of the record that says that the one waits for the other."""

    # --- the caller's side -----------------------------------------------------------------------------------------------

    async def settle(
        self, shown: ShownCall, hold: Hold, patience: Patience, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        """Park the call until people decide, its deadline passes, or the client's patience ends. See `ports.Desk`."""
        try:
            facts = facts_of(shown, hold)
            request_key = self._seal.request_key(facts.request())
        except (ValueError, RecursionError) as error:
            logger.warning("call %s: held, but it cannot be bound: %s", shown.call.id, type(error).__name__)
            reason = "The call has to be approved, but what it asks for cannot be written down exactly, so it is denied."
            return Deny(ruling=Ruling(rule_ids=hold.ruling.rule_ids, reason=reason, policy_hash=hold.ruling.policy_hash))
        if shown.call.resumes and not await self._stands_for(shown.call.resumes, request_key):
            reason = "The approval is void: the policy, the tool or the call itself changed after it was asked for."
            ruling = Ruling(rule_ids=hold.ruling.rule_ids, reason=reason, policy_hash=hold.ruling.policy_hash)
            return Deny(ruling=ruling, approval_id=shown.call.resumes)
        for ref in await self._granted(shown, facts, request_key):
            return Allow(ruling=hold.ruling, approval=ref)
        approval_id = await self._attach(shown, hold, facts, request_key)
        settled = await self._wait(approval_id, facts, hold, patience, peer)
        if isinstance(settled, Waiting):
            return replace(settled, receipt=self._attached.get((shown.call.id, approval_id), ()))
        return settled

    async def _granted(self, shown: ShownCall, facts: Facts, request_key: str) -> tuple[ApprovalRef, ...]:
        """Return the use of the requester's own grant that this call would be, or nothing.

        A call that was approved by itself keeps its own answer: whoever repeats it asks for that, and not for a second effect.
        """
        if shown.call.resumes or any(one.state is not ApprovalState.PENDING for one in await self._store.live(request_key)):
            return ()
        for approval in await self._store.grants(shown.call.identity.principal, shown.call.target.name):
            try:
                bound = exact_facts(approval, self._seal).bound
            except SealBroken as error:
                logger.error("%s: nothing is released under this grant: %s", approval.id, error)
                continue
            if found := use_of(await self._conclude(approval), bound, facts):
                return found
        return ()

    async def ask(self, shown: ShownCall, hold: Hold, access: Access, words: CleanJson) -> Waiting:
        """Open a grant, for people to decide on, and return at once. See `ports.Desk`."""
        facts = facts_of_grant(shown, hold, access, words)
        approval_id = await self._attach(shown, hold, facts, self._seal.request_key(facts.request()), access)
        approval = await self._find(approval_id)
        granted = approval.state is ApprovalState.APPROVED
        return Waiting(
            approval_id=approval_id,
            deadline_ns=approval.usable_until_ns if granted else approval.decide_by_ns,
            receipt=self._attached.get((shown.call.id, approval_id), ()),
        )

    async def _attach(self, shown: ShownCall, hold: Hold, facts: Facts, request_key: str, *access: Access) -> str:
        """Join the approval that stands for the identical call, or request for a grant, or open one.

        Two that open at once end with one.
        """
        for _ in range(_ATTACH_ATTEMPTS):
            resumed = shown.call.resumes
            standing = await (self._store.approval(resumed) if resumed else self._store.live(request_key))
            try:
                if standing:
                    await self._join(shown, hold, standing[0])
                    return standing[0].id
                return await self._open(shown, hold, facts, request_key, *access)
            except ApprovalConflict:
                await self.sweep()  # a duplicate was faster, or an overdue approval of the same key is in the way
        raise LedgerUnavailable("The held call could not be recorded: its approval kept changing.")

    async def _stands_for(self, approval_id: str, request_key: str) -> bool:
        return any(approval.request_key == request_key for approval in await self._store.approval(approval_id))

    async def _join(self, shown: ShownCall, hold: Hold, approval: Approval) -> None:
        """Record, once per call, that it attaches. Where the approval has ended, the call's own record says it all."""
        if shown.call.id == approval.call_id or (shown.call.id, approval.id) in self._attached:
            return
        if approval.state in (ApprovalState.PENDING, ApprovalState.APPROVED, ApprovalState.SPENT):
            joined = await self._journal.append(Joined(shown=shown, approval_id=approval.id, ruling=hold.ruling))
            self._remember(shown, approval.id, joined)

    def _remember(self, shown: ShownCall, approval_id: str, sealed: Sealed[Joined] | Sealed[Opened]) -> None:
        self._attached[shown.call.id, approval_id] = sealed.receipt
        if len(self._attached) > _ATTACHED_KEPT:
            self._attached.popitem(last=False)

    async def _open(self, shown: ShownCall, hold: Hold, facts: Facts, request_key: str, *access: Access) -> str:
        approval_id = _new_id()
        now_ns = self._now_ns()
        deadline_ns = now_ns + hold.terms.lasts_ns
        allowances = tuple(allowance_of(one, now_ns + one.lasts_ns) for one in access)
        expires_ns = next((one.until_ns for one in allowances), deadline_ns)
        bound = facts.bound(expires_ns, self._seal.nonce(approval_id))
        proposed = [one for one in await self._store.offers(request_key) if now_ns < one.usable_until_ns]
        opened = Opened(
            shown=shown,
            hold=hold,
            approval_id=approval_id,
            digest=_sha256(bound),
            request_key=request_key,
            facts=facts.shown(expires_ns),
            exact=self._seal.close(approval_id, kept(bound, shown.call.sent), grant=bool(access)),
            deadline_ns=deadline_ns,
            allowances=allowances,
            accepts=proposed[0].id if proposed else "",
        )
        self._remember(shown, approval_id, await self._journal.append(opened))
        logger.info("call %s: %s as %s", shown.call.id, "a grant is asked for" if access else "held", approval_id)
        if not access:
            self._on_held(shown, approval_id)
        return approval_id

    async def _wait(
        self, approval_id: str, facts: Facts, hold: Hold, patience: Patience, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        started = self._monotonic()
        next_beat = 0.0  # seconds after `started`: the first heartbeat is at once
        while True:
            standing = await self._conclude(await self._find(approval_id))
            approval = standing.approval
            for settlement in answer(standing, hold):
                return self._checked(settlement, approval, facts, hold)
            waiting = Waiting(
                approval_id=approval.id,
                deadline_ns=approval.deadline_ns,
                running=approval.state is ApprovalState.SPENT,
                unattended=approval.terms.unattended,
            )
            elapsed = self._monotonic() - started
            if elapsed >= patience.budget_s:
                return waiting
            if elapsed >= next_beat:
                await peer.waiting(waiting, waiting_message(standing), elapsed)
                next_beat = elapsed + patience.heartbeat_s
            left_s = (standing.next_ns() - self._now_ns()) / 1e9
            until_due = left_s if left_s > 0 else _RECHECK_S  # only a call under way outlives its deadline
            pauses = (_RECHECK_S, patience.budget_s - elapsed, next_beat - elapsed, until_due)
            await self._store.changed(max(0.0, min(pauses)))

    def _checked(self, settlement: Settlement, approval: Approval, facts: Facts, hold: Hold) -> Settlement:
        """Compute the digest again from this call's own facts before anything is released under it."""
        if isinstance(settlement, Deny):
            return replace(settlement, proposal=self._proposal(approval))
        if _sha256(facts.bound(approval.deadline_ns, self._seal.nonce(approval.id))) == approval.digest:
            return settlement
        logger.error("%s: its digest does not cover the call that it was found for; run `mcpgw verify`", approval.id)
        return deny(approval, hold, "The approval is void: it does not cover this call.")

    def _proposal(self, approval: Approval) -> tuple[Proposal, ...]:
        try:
            return proposal(approval, self._seal)
        except SealBroken as error:
            logger.error("%s: what was proposed cannot be told: %s", approval.id, error)
            return ()

    # --- the caller's side, later ----------------------------------------------------------------------------------------

    async def held(self, approval_id: str, requester: Identity) -> tuple[Approval, ...]:
        """Return the requester's own approval as it stands now, or nothing. See `ports.HeldCalls`."""
        found = await self._store.approval(approval_id)
        calls = [approval for approval in found if _asked(requester, approval) and not approval.is_grant]
        return tuple([(await self._conclude(approval)).approval for approval in calls])

    async def recall(self, approval: Approval) -> JsonObject:
        """Return the arguments as they were sent, tokens in the place of values. See `ports.HeldCalls`.

        Raises:
            SealBroken: they are erased, or not those that the digest binds.
        """
        return exact_facts(approval, self._seal).sent

    async def collect(self, approval: Approval, requester: Identity) -> tuple[AlreadyDone, ...]:
        """Record that the reply is given out, then return it. See `ports.HeldCalls`."""
        for done in approval.done:
            facts = {"approval_id": approval.id, "call": done.call_id, "read": "result"}
            await self._journal.append(Event(kind="evidence.read", actor=requester.principal, facts=facts))
        return approval.done

    async def proposed(self, approval: Approval, requester: Identity) -> tuple[Proposal, ...]:
        """Record that the proposal is given out, then return it. See `ports.HeldCalls`."""
        found = self._proposal(approval)
        if found:
            facts = {"approval_id": approval.id, "read": "proposal"}
            await self._journal.append(Event(kind="evidence.read", actor=requester.principal, facts=facts))
        return found

    async def changed(self, timeout_s: float) -> None:
        """Return when an approval may have changed, or after the timeout."""
        await self._store.changed(timeout_s)

    # --- people's side ---------------------------------------------------------------------------------------------------

    async def vote(
        self,
        approval_id: str,
        voter: Identity,
        verdict: Verdict,
        comment: str = "",
        *,
        shown: str = "",
        break_glass: bool = False,
    ) -> Approval:
        """Record a person's verdict and return the approval as it stands then, settled if the verdict settles it.

        One denial settles as denied, unless the rule lets it wait; the quorum's last approval settles as approved, as does the
        second of break-glass. Pass the `commitment` of the sheet that the person saw as `shown`, where the surface has one: a
        vote on anything else than what is bound is then refused.

        Raises:
            NotEntitled: the voter is not a person, not asked (as if the id did not exist), asked for the call, or did not sign
                in as the rule demands.
            ApprovalConflict: already settled, past its deadline, already voted on by this person, or `shown` is not it.
            ValueError: the comment is longer than `MAX_COMMENT`, or missing where one is required.
            LedgerUnavailable: the vote, or the settlement that follows from it, is not known to be durable. A vote that is
                counts; what it settles is then settled by the sweeper.
        """
        approval = await self._to_decide(approval_id, voter, comment, shown, break_glass=break_glass)
        vote = Vote(
            approval_id=approval_id,
            voter=voter,
            verdict=verdict,
            comment=comment,
            shown=shown,
            fits=people.fitting(voter, approval.terms.everybody),
            break_glass=break_glass,
        )
        await self._journal.append(vote)
        if break_glass:
            logger.critical("BREAK-GLASS: %s asks to open %s without its approvers", voter.principal, approval_id)
        return (await self._conclude(await self._find(approval_id))).approval

    async def propose(
        self, approval_id: str, person: Identity, arguments: object, comment: str = "", *, shown: str = ""
    ) -> Approval:
        """Deny a call and tell its client which arguments this person would approve instead; return the denied approval.

        Nothing runs by it. A call of the same requester with exactly these arguments, all else being as it was, is held with
        this person's approval in it, as of now: a quorum of one lets it run, a larger one has to be filled by others. Nobody
        else's vote is carried over. `comment` and proposal are shown to the requester's client.

        Raises:
            NotEntitled, ApprovalConflict, LedgerUnavailable: as for `vote`.
            ValueError: as for `vote`; or the arguments are no JSON object, too large, the same as they are, or may not be told.
        """
        approval = await self._to_decide(approval_id, person, comment, shown, break_glass=False)
        if approval.is_grant:
            hint = "Deny it, and say in the comment what you would approve."
            raise ApprovalConflict(
                f"{approval_id} asks for a grant, not for a call whose arguments could be others.", hint=hint
            )
        drafted = draft(approval, self._seal, arguments)
        proposed = Proposed(
            approval_id=approval_id,
            person=person,
            comment=comment,
            shown=shown,
            fits=people.fitting(person, approval.terms.everybody),
            changed=tuple(change.path for change in drafted.changes),
            arguments=drafted.arguments,
            request_key=drafted.request_key,
            exact=drafted.exact,
        )
        await self._journal.append(proposed)
        logger.info("%s: denied, other arguments are proposed", approval_id)
        return await self._find(approval_id)

    async def withdraw_vote(self, approval_id: str, voter: Identity, comment: str = "") -> Approval:
        """Take back the vote that stands of this person, and return the approval. It can be given anew.

        Raises:
            NotEntitled: it is not the person's to see.
            ApprovalConflict: they have no vote on it, or it is settled.
            ValueError: the comment is longer than `MAX_COMMENT`.
            LedgerUnavailable: it is not known to be durable.
        """
        _check_comment(comment)
        approval = await self._seen_by(approval_id, voter)
        await self._journal.append(VoteWithdrawn(approval_id=approval.id, voter=voter, comment=comment))
        return await self._find(approval_id)

    async def withdraw(self, approval_id: str, requester: Identity, comment: str = "") -> Approval:
        """End an approval by whoever asked for it, before the call runs.

        Raises:
            NotEntitled: somebody else asked for it.
            ApprovalConflict: it ran, or has ended.
            ValueError: the comment is longer than `MAX_COMMENT`.
            LedgerUnavailable: it is not known to be durable.
        """
        approval = await self._seen_by(approval_id, requester)
        if not people.is_requester(requester, approval):
            raise people.NotEntitled("Only whoever asked for the call withdraws it.", hint="Approvers deny or revoke it.")
        return await self._stop(approval, StoppedAs.WITHDRAWN, requester, comment)

    async def revoke(self, approval_id: str, person: Identity, comment: str = "") -> Approval:
        """End an approved call before it runs, as one of those who were asked, an opener, or an admin.

        Raises:
            NotEntitled: not a person, or none of these.
            ApprovalConflict: it is not approved (any more), or ran already.
            ValueError: the comment is longer than `MAX_COMMENT`.
            LedgerUnavailable: it is not known to be durable.
        """
        people.must_be_person(person)
        approval = await self._find(approval_id)
        people.must_be_able_to_revoke(person, approval)
        return await self._stop(approval, StoppedAs.REVOKED, person, comment)

    async def resolve(self, approval_id: str, person: Identity, happened: Happened, comment: str) -> Approval:
        """Record what a person found out about a call whose outcome is unknown. It is not sent again by that.

        Raises:
            NotEntitled: not a person, not one of those who were asked or an admin, or the requester.
            ApprovalConflict: it is not indeterminate, or was resolved already.
            ValueError: the comment is missing, or longer than `MAX_COMMENT`.
            LedgerUnavailable: it is not known to be durable.
        """
        _check_comment(comment, required=True)
        people.must_be_person(person)
        approval = await self._find(approval_id)
        people.must_be_able_to_resolve(person, approval)
        await self._journal.append(Resolved(approval_id=approval_id, person=person, happened=happened, comment=comment))
        return await self._find(approval_id)

    async def review(self, approval_id: str, person: Identity, comment: str) -> Approval:
        """Record that a third person looked at a use of break-glass afterwards.

        Raises:
            NotEntitled: not a person, not a reviewer, or one of those who asked for the call or broke the glass.
            ApprovalConflict: there was no break-glass, or it was reviewed already.
            ValueError: the comment is missing, or longer than `MAX_COMMENT`.
            LedgerUnavailable: it is not known to be durable.
        """
        _check_comment(comment, required=True)
        people.must_be_person(person)
        approval = await self._find(approval_id)
        people.must_be_able_to_review(person, approval)
        await self._journal.append(Reviewed(approval_id=approval_id, person=person, comment=comment))
        return await self._find(approval_id)

    async def show(self, approval_id: str, viewer: Identity) -> Sheet:
        """Lay an approval out for an entitled approver or its requester. Reading exact arguments is recorded first.

        Raises:
            NotEntitled: it is not the viewer's to see, or does not exist: the two look the same.
            SealBroken: what is kept is not what the digest binds.
            LedgerUnavailable: the reading could not be recorded, so nothing is shown.
        """
        approval = await self._seen_by(approval_id, viewer)
        sheet = await self._laid_out(approval)
        if sheet.exact:
            facts = {"approval_id": approval.id, "digest": approval.digest, "shown": sheet.commitment}
            await self._journal.append(Event(kind="evidence.read", actor=viewer.principal, facts=facts))
        return sheet

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
        """Return the approvals that are the viewer's to see, the newest first; in those states, or in all if none are named."""
        return tuple(approval for approval in await self._store.approvals(states, limit) if people.may_see(viewer, approval))

    async def open_items(self, viewer: Identity) -> tuple[Approval, ...]:
        """Return what is the viewer's to see and has to be reviewed or resolved, the newest first."""
        return tuple(approval for approval in await self._store.open_items() if people.may_see(viewer, approval))

    def objection(self, viewer: Identity, approval: Approval) -> str:
        """Return why the viewer's vote would be refused, in a sentence for them; empty if it would count."""
        try:
            self._may_vote(viewer, approval, break_glass=False)
        except GatewayError as error:
            return f"{error} {error.hint}".rstrip()
        return ""

    def deeds(self, viewer: Identity, approval: Approval) -> frozenset[Deed]:
        """Return what the viewer could do about it now."""
        checks: dict[Deed, Callable[[], None]] = {
            Deed.VOTE: lambda: self._may_vote(viewer, approval, break_glass=False),
            Deed.BREAK_GLASS: lambda: self._may_vote(viewer, approval, break_glass=True),
            Deed.REVOKE: lambda: people.must_be_able_to_revoke(viewer, approval),
            Deed.RESOLVE: lambda: people.must_be_able_to_resolve(viewer, approval),
            Deed.REVIEW: lambda: people.must_be_able_to_review(viewer, approval),
        }
        in_time = {
            Deed.VOTE: approval.state is ApprovalState.PENDING,
            Deed.BREAK_GLASS: approval.state is ApprovalState.PENDING,
            Deed.REVOKE: approval.state is ApprovalState.APPROVED,
            Deed.RESOLVE: approval.needs_resolution,
            Deed.REVIEW: approval.needs_review,
        }
        found = {deed for deed, check in checks.items() if in_time[deed] and _passes(check)}
        if approval.state in _UNSETTLED and people.is_requester(viewer, approval):
            found.add(Deed.WITHDRAW)
        mine = [vote for vote in approval.votes if vote.voter == viewer.principal and not vote.withdrawn_ns]
        if approval.state is ApprovalState.PENDING and mine:
            found.add(Deed.WITHDRAW_VOTE)
        return frozenset(found)

    def standing(self, approval: Approval) -> Standing:
        """Weigh the votes of an approval as they count now."""
        return weigh(approval, self._roster.still, self._now_ns())

    # --- time's side -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Settle what is due, at its deadline, until cancelled. One such task per process; several do no harm.

        It starts with what fell due while no process ran. While the ledger cannot write it tries again and again.
        """
        while True:
            try:
                nothing_due_s = await self.sweep()
                until = self._monotonic() + nothing_due_s
                await self._store.changed(nothing_due_s)
                await self._pause(min(_CALM_S, max(0.0, until - self._monotonic())))
            except LedgerUnavailable:
                logger.error("the sweeper cannot settle overdue approvals: the ledger cannot write; trying again")
                await self._pause(_RETRY_S)

    async def sweep(self) -> float:
        """Settle every approval that is due and return the seconds until the next deadline, `_IDLE_S` at the most."""
        looked_at = [await self._conclude(approval) for approval in await self._store.approvals(_UNSETTLED, _ALL)]
        now_ns = self._now_ns()
        for approval in await self._store.offers():
            if now_ns >= approval.usable_until_ns:
                with suppress(ApprovalConflict):  # it was taken up, or another process was faster
                    await self._journal.append(Lapsed(approval_id=approval.id))
        ahead = [standing.next_ns() - now_ns for standing in looked_at if standing.approval.state in _UNSETTLED]
        return min([_IDLE_S, *(nanoseconds / 1e9 for nanoseconds in ahead if nanoseconds > 0)])

    async def _conclude(self, approval: Approval) -> Standing:
        """Do what is due, and return how the approval stands then; whoever else was faster has done it as well.

        A process that slept finds several escalations due at once, so this goes on until nothing is.
        """
        standing = self.standing(approval)
        while due := standing.due():
            try:
                await self._journal.append(due[0])
            except ApprovalConflict:
                return self.standing(await self._find(approval.id))
            _tell(due[0])
            standing = self.standing(await self._find(approval.id))
        return standing

    async def _stop(self, approval: Approval, state: StoppedAs, person: Identity, comment: str) -> Approval:
        _check_comment(comment)
        await self._journal.append(Stopped(approval_id=approval.id, state=state, person=person, comment=comment))
        logger.info("%s: %s", approval.id, state.value)
        return await self._find(approval.id)

    async def _to_decide(self, approval_id: str, voter: Identity, comment: str, shown: str, *, break_glass: bool) -> Approval:
        """Return the approval that this person may decide on now, having seen what is bound, if the surface says what they saw.

        Raises: as `vote`.
        """
        _check_comment(comment)
        people.must_be_person(voter)
        approval = await self._find(approval_id)
        people.must_be_entitled(voter, approval, break_glass=break_glass)
        approval = (await self._conclude(approval)).approval
        if approval.state is not ApprovalState.PENDING:
            raise ApprovalConflict(f"{approval_id} is {approval.state.value} already.", hint="Nothing is left to decide.")
        self._may_vote(voter, approval, break_glass=break_glass)
        if not comment.strip() and (break_glass or approval.terms.comment_required):
            raise ValueError("a comment is required: say why")
        if shown and shown != (await self._laid_out(approval)).commitment:
            raise ApprovalConflict(f"What you were shown is not what {approval_id} binds.", hint="Look at it again.")
        return approval

    def _may_vote(self, voter: Identity, approval: Approval, *, break_glass: bool) -> None:
        people.must_be_person(voter)
        people.must_be_entitled(voter, approval, break_glass=break_glass)
        if any(people.same_person(voter.principal, vote.voter) for vote in approval.votes if not vote.withdrawn_ns):
            raise ApprovalConflict(f"You have voted on {approval.id} already.", hint="You can withdraw that vote first.")
        self._must_be_fresh(voter, approval)

    def _must_be_fresh(self, voter: Identity, approval: Approval) -> None:
        """Refuse a vote that would not count: the sign-in of its voter is too old, or of another kind than the rule asks for.

        Raises:
            NotEntitled: it says what the rule asks for.
        """
        asked_for = approval.terms.freshness
        cast = CastVote(
            voter=voter.principal,
            verdict="",
            comment="",
            time_ns=self._now_ns(),
            auth_time=voter.auth_time,
            acr=voter.acr,
            amr=voter.amr,
        )
        if not is_fresh(cast, asked_for, self._now_ns()):
            wanted = [f"at most {asked_for.max_age_ns / 60e9:g} minutes ago"] if asked_for.max_age_ns else []
            wanted += [f"with acr {' or '.join(asked_for.acr)}"] if asked_for.acr else []
            wanted += [f"with {' and '.join(asked_for.amr)}"] if asked_for.amr else []
            hint = "Sign in again. An API key says nothing of a sign-in: use a token of your identity provider."
            raise people.NotEntitled(f"The rule asks that you signed in {', '.join(wanted)}.", hint=hint)

    async def _laid_out(self, approval: Approval) -> Sheet:
        """Lay it out beside the event loop: a megabyte of arguments, which a requester chooses, takes seconds."""
        return await anyio.to_thread.run_sync(lay_out, approval, self._seal)

    async def _seen_by(self, approval_id: str, viewer: Identity) -> Approval:
        approval = await self._find(approval_id)
        if not people.may_see(viewer, approval):
            raise people.unknown(approval_id)
        return approval

    async def _find(self, approval_id: str) -> Approval:
        for approval in await self._store.approval(approval_id):
            return approval
        raise people.unknown(approval_id)


def _check_comment(comment: str, *, required: bool = False) -> None:
    if len(comment) > MAX_COMMENT:
        raise ValueError(f"the comment has {len(comment)} characters; {MAX_COMMENT} are the most")
    if required and not comment.strip():
        raise ValueError("a comment is required: say why")


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except GatewayError:
        return False
    return True


def _tell(entry: Settled | Escalated) -> None:
    if isinstance(entry, Escalated):
        logger.warning("%s: nobody decided in time; escalated to %s", entry.approval_id, ", ".join(entry.asked))
    elif entry.break_glass:
        logger.critical("BREAK-GLASS: %s is approved without its approvers; it has to be reviewed", entry.approval_id)
    else:
        logger.info("%s: settled as %s", entry.approval_id, entry.state.value)


def _asked(requester: Identity, approval: Approval) -> bool:
    """Tell whether it is the requester through the same agents: for a person alone, and for another agent, it is not."""
    return (requester.principal, requester.actors) == (approval.requester, approval.actors)


def _new_id() -> str:
    random = base64.b32encode(secrets.token_bytes(_ID_CHARS * 5 // 8 + 1)).decode("ascii")
    return f"apr_{random[:_ID_CHARS].lower()}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
