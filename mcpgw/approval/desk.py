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

from mcpgw.approval.answers import Settlement, answer, deny, waiting_message
from mcpgw.approval.facts import Facts, facts_of
from mcpgw.approval.people import is_approver, is_person, is_requester, must_be_entitled, must_be_person, same_person, unknown
from mcpgw.approval.seal import Seal
from mcpgw.approval.sheet import Sheet, lay_out
from mcpgw.approval.standing import due
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    Deny,
    Event,
    Hold,
    Identity,
    Joined,
    Opened,
    Patience,
    Receipt,
    Ruling,
    Sealed,
    ShownCall,
    Verdict,
    Vote,
    Waiting,
)
from mcpgw.ports import Approval, ApprovalState, ApprovalStore, Journal, Peer

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
        *,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Take the desk's key (`seal.KEY_BYTES` long, shared by every process on the store) and the clocks.

        Raises:
            ConfigError: the key has another length.
        """
        self._journal = journal
        self._store = store
        self._seal = Seal(key)
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._pause = pause
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
        approval_id = await self._attach(shown, hold, facts, request_key)
        settled = await self._wait(approval_id, facts, hold, patience, peer)
        if isinstance(settled, Waiting):
            return replace(settled, receipt=self._attached.get((shown.call.id, approval_id), ()))
        return settled

    async def _attach(self, shown: ShownCall, hold: Hold, facts: Facts, request_key: str) -> str:
        """Join the approval that stands for the identical call, or open one; two that open at once end with one."""
        for _ in range(_ATTACH_ATTEMPTS):
            standing = await self._store.live(request_key)
            try:
                if standing:
                    await self._join(shown, hold, standing[0])
                    return standing[0].id
                return await self._open(shown, hold, facts, request_key)
            except ApprovalConflict:
                await self.sweep()  # a duplicate was faster, or an overdue approval of the same key is in the way
        raise LedgerUnavailable("The held call could not be recorded: its approval kept changing.")

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

    async def _open(self, shown: ShownCall, hold: Hold, facts: Facts, request_key: str) -> str:
        approval_id = _new_id()
        deadline_ns = self._now_ns() + int(hold.deadline_s * 1e9)
        bound = facts.bound(deadline_ns, self._seal.nonce(approval_id))
        opened = Opened(
            shown=shown,
            hold=hold,
            approval_id=approval_id,
            digest=_sha256(bound),
            request_key=request_key,
            facts=facts.shown(deadline_ns),
            exact=self._seal.close(approval_id, bound),
            deadline_ns=deadline_ns,
        )
        self._remember(shown, approval_id, await self._journal.append(opened))
        logger.info("call %s: held as %s", shown.call.id, approval_id)
        return approval_id

    async def _wait(
        self, approval_id: str, facts: Facts, hold: Hold, patience: Patience, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        started = self._monotonic()
        next_beat = 0.0  # seconds after `started`: the first heartbeat is at once
        while True:
            approval = await self._conclude(await self._find(approval_id))
            for settlement in answer(approval, hold, self._now_ns()):
                return self._checked(settlement, approval, facts, hold)
            elapsed = self._monotonic() - started
            if elapsed >= patience.budget_s:
                running = approval.state is ApprovalState.SPENT
                return Waiting(approval_id=approval.id, deadline_ns=approval.deadline_ns, running=running)
            if elapsed >= next_beat:
                await peer.waiting(waiting_message(approval), elapsed)
                next_beat = elapsed + patience.heartbeat_s
            left_s = (approval.deadline_ns - self._now_ns()) / 1e9
            until_deadline = left_s if left_s > 0 else _RECHECK_S  # only a call under way outlives its deadline
            pauses = (_RECHECK_S, patience.budget_s - elapsed, next_beat - elapsed, until_deadline)
            await self._store.changed(max(0.0, min(pauses)))

    def _checked(self, settlement: Settlement, approval: Approval, facts: Facts, hold: Hold) -> Settlement:
        """Compute the digest again from this call's own facts before anything is released under it."""
        if isinstance(settlement, Deny):
            return settlement
        if _sha256(facts.bound(approval.deadline_ns, self._seal.nonce(approval.id))) == approval.digest:
            return settlement
        logger.error("%s: its digest does not cover the call that it was found for; run `mcpgw verify`", approval.id)
        return deny(approval, hold, "The approval is void: it does not cover this call.")

    # --- people's side ---------------------------------------------------------------------------------------------------

    async def vote(
        self, approval_id: str, voter: Identity, verdict: Verdict, comment: str = "", *, shown: str = ""
    ) -> Approval:
        """Record a person's verdict and return the approval as it stands then, settled if the verdict settles it.

        One denial settles as denied; the quorum's last approval settles as approved. Pass the `commitment` of the sheet that
        the person saw as `shown`, where the surface has one: a vote on anything else than what is bound is then refused.

        Raises:
            NotEntitled: the voter is not a person, not an approver (as if the id did not exist), or asked for the call.
            ApprovalConflict: already settled, past its deadline, already voted on by this person, or `shown` is not it.
            ValueError: the comment is longer than `MAX_COMMENT`.
            LedgerUnavailable: the vote, or the settlement that follows from it, is not known to be durable. A vote that is
                counts; what it settles is then settled by the sweeper.
        """
        if len(comment) > MAX_COMMENT:
            raise ValueError(f"the comment has {len(comment)} characters; {MAX_COMMENT} are the most")
        must_be_person(voter)
        approval = await self._find(approval_id)
        must_be_entitled(voter, approval)
        approval = await self._conclude(approval)
        if approval.state is not ApprovalState.PENDING:
            raise ApprovalConflict(f"{approval_id} is {approval.state.value} already.", hint="Nothing is left to decide.")
        if any(same_person(voter.principal, vote.voter) for vote in approval.votes):
            raise ApprovalConflict(f"You have voted on {approval_id} already.", hint="Another approver has to decide.")
        if shown and shown != lay_out(approval, self._seal).commitment:
            raise ApprovalConflict(f"What you were shown is not what {approval_id} binds.", hint="Look at it again.")
        await self._journal.append(Vote(approval_id=approval_id, voter=voter, verdict=verdict, comment=comment, shown=shown))
        return await self._conclude(await self._find(approval_id))

    async def show(self, approval_id: str, viewer: Identity) -> Sheet:
        """Lay an approval out for an entitled approver or its requester. Reading exact arguments is recorded first.

        Raises:
            NotEntitled: it is not the viewer's to see, or does not exist: the two look the same.
            SealBroken: what is kept is not what the digest binds.
            LedgerUnavailable: the reading could not be recorded, so nothing is shown.
        """
        approval = await self._find(approval_id)
        if not _may_see(viewer, approval):
            raise unknown(approval_id)
        sheet = lay_out(approval, self._seal)
        if sheet.exact:
            facts = {"approval_id": approval.id, "digest": approval.digest, "shown": sheet.commitment}
            await self._journal.append(Event(kind="evidence.read", actor=viewer.principal, facts=facts))
        return sheet

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
        """Return the approvals that are the viewer's to see, the newest first; in those states, or in all if none are named."""
        return tuple(approval for approval in await self._store.approvals(states, limit) if _may_see(viewer, approval))

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
        ahead = [approval.deadline_ns - now_ns for approval in looked_at if approval.state in _UNSETTLED]
        return min([_IDLE_S, *(nanoseconds / 1e9 for nanoseconds in ahead if nanoseconds > 0)])

    async def _conclude(self, approval: Approval) -> Approval:
        """Settle the approval if it is due and return it as it is then; whoever else was faster has settled it as well."""
        for settled in due(approval, self._now_ns()):
            with suppress(ApprovalConflict):
                await self._journal.append(settled)
                logger.info("%s: settled as %s", approval.id, settled.state.value)
            return await self._find(approval.id)
        return approval

    async def _find(self, approval_id: str) -> Approval:
        for approval in await self._store.approval(approval_id):
            return approval
        raise unknown(approval_id)


def _may_see(viewer: Identity, approval: Approval) -> bool:
    return is_requester(viewer, approval) or (is_person(viewer) and is_approver(viewer, approval.approvers))


def _new_id() -> str:
    random = base64.b32encode(secrets.token_bytes(_ID_CHARS * 5 // 8 + 1)).decode("ascii")
    return f"apr_{random[:_ID_CHARS].lower()}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
