"""The doors between the rooms, one Protocol each. A room implements its door; `app.py` alone connects them.

Every door fails closed: what it cannot do, it raises (`core.errors`), and the corridor turns that into a recorded refusal.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from mcpgw.core.access import Access
from mcpgw.core.allowance import Allowance, added
from mcpgw.core.entries import Entry
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    Call,
    CleanJson,
    CleanNotice,
    CleanReply,
    Decision,
    Deny,
    Hold,
    Identity,
    JsonObject,
    Patience,
    Permit,
    Proposal,
    RawNotice,
    RawReply,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.core.terms import Terms

EntryT = TypeVar("EntryT", bound=Entry)


# --- identity ------------------------------------------------------------------------------------------------------------


class Authenticator(Protocol):
    async def authenticate(self, credential: str) -> Identity:
        """Return the identity behind a bearer credential (an API key or a JWT).

        Raises:
            AuthenticationError: missing, malformed, unknown, expired or revoked; in words that a caller may see.
        """
        ...


# --- catalog -------------------------------------------------------------------------------------------------------------


class Catalog(Protocol):
    def find(self, kind: TargetKind, name: str) -> Target | UnknownTarget:
        """Return the accepted, enabled target of that published name. Quarantined and disabled ones are unknown.

        Of a resource it is the published URI, of a template the published template; of a completion, the name of what is
        completed.
        """
        ...

    def targets(self, kind: TargetKind) -> Sequence[Target]:
        """Return what lists show, ordered by name: all that `find` finds, but for hidden servers that are down."""
        ...

    def templates(self, server: str) -> Sequence[Target]:
        """Return that server's resource templates: all that `find` finds."""
        ...

    def withheld(self, server: str) -> Sequence[str]:
        """Return the URIs and templates, as the server calls them, that it offers and that `find` does not find."""
        ...


# --- policy --------------------------------------------------------------------------------------------------------------


class Policy(Protocol):
    """Pure and total: no I/O, no clock but the call's own, bounded time, never raises. An error inside is a Deny."""

    def decide(self, call: Call) -> Decision: ...

    def sees(self, identity: Identity, target: Target) -> bool:
        """Tell whether the identity may call the target with some arguments, and so sees it listed."""
        ...


class ListingPolicy(Policy, Protocol):
    """The same policy, asked about many targets at a time."""

    def visible(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those of the targets that the identity sees, in their order; the very same tuple again while nothing of
        policy, identity and targets has changed, as long as that is remembered."""
        ...

    def listed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those of them that are also to be listed to the identity; the same tuple again likewise."""
        ...


# --- redaction -----------------------------------------------------------------------------------------------------------


class Redactor(Protocol):
    """Raises `RedactionError` where it cannot finish, wholly and in time; never returns a partly redacted answer."""

    async def show(self, call: Call) -> ShownCall:
        """Return the call with arguments as they may be recorded.

        The call in it is the one to judge and to run: where its target is entitled to the values behind reversible tokens,
        they stand in its arguments, and the tokens in the clean ones.
        """
        ...

    async def clean(self, call: Call, reply: RawReply) -> CleanReply: ...

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice: ...


# --- vault ---------------------------------------------------------------------------------------------------------------


class Vault(Protocol):
    """Seals raw payloads to people outside, where the catalog says so; it cannot open what it sealed.

    Credentials are removed before. Raises `VaultError` where what is to be sealed cannot be; never returns it in clear.
    """

    async def seal_arguments(self, shown: ShownCall) -> ShownCall:
        """Return the call that is about to run with its raw arguments sealed, or as it is where they are not to be kept."""
        ...

    async def seal_reply(self, call: Call, reply: RawReply, clean: CleanReply) -> CleanReply:
        """Return the clean reply with the raw one sealed beside it, or as it is where that is not to be kept."""
        ...


# --- approval ------------------------------------------------------------------------------------------------------------


class Peer(Protocol):
    """The caller while its request is open. Delivery is best effort: a lost notice is not an error."""

    async def identity(self) -> Identity:
        """Check the credential that the request came with once more, and return whose it is now.

        Raises:
            AuthenticationError: it is no longer good; in words that the caller may see.
        """
        ...

    @property
    def in_rounds(self) -> bool:
        """Whether a call that is answered with questions can be made again with the answers (2026-07-28)."""
        ...

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        """Put questions to the caller's client, and return the result of each under its key. Waits for people, within bounds.

        Raises:
            QuestionRefused: it cannot be asked, or gave no answer; in words for the server.
        """
        ...

    def wants(self, notice: RawNotice) -> bool:
        """Tell whether the caller asked for notices of this kind: only those are worth redacting. Never raises."""
        ...

    async def notify(self, notice: CleanNotice) -> None: ...

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        """Tell the client that its call waits for people (a progress notification, if it asked for progress).

        `waiting` is what the desk would answer if the client's patience ended now.
        """
        ...


class Desk(Protocol):
    async def settle(
        self, shown: ShownCall, hold: Hold, patience: Patience, peer: Peer
    ) -> Allow | Deny | Waiting | AlreadyDone:
        """Park the call until people decide, its deadline passes, or the client's patience ends.

        The identical call (same identity, delegation, target definition, arguments and policy) attaches to the approval
        that stands; while none stands that was approved, a grant of the requester that covers the call is used instead, once
        for each call. A call that resumes an approval attaches to that one alone, whatever became of it, and is denied where
        it is not the identical call. Whatever is returned, the ledger holds it already. `Allow` carries the approval that the
        Intent is to spend. Cancelling the wait leaves the approval standing.

        Raises:
            LedgerUnavailable: the hold could not be recorded, so it does not stand.
        """
        ...

    async def ask(self, shown: ShownCall, hold: Hold, access: Access, words: CleanJson) -> Waiting:
        """Ask people for a grant whose example this call is, and return at once: nothing runs by it.

        `words` holds the requester's reason as it may be recorded. The identical request attaches to the one that stands.

        Raises:
            ValueError: the example cannot be written down exactly.
            LedgerUnavailable: the request could not be recorded, so it does not stand.
        """
        ...


class HeldCalls(Protocol):
    """What whoever asked for a held call may ask of it later, by its approval's id, from any process on the store.

    Whoever asked is the same principal through the same agents, to the letter. To everybody else there is no such id.
    """

    async def held(self, approval_id: str, requester: Identity) -> "tuple[Approval, ...]":
        """Return the requester's approval of that id as it stands now, or nothing. What is due is settled first.

        Raises:
            LedgerUnavailable: the ledger cannot be read, or what is due not recorded.
        """
        ...

    async def recall(self, approval: "Approval") -> JsonObject:
        """Return the arguments as they were sent, so that the identical call can be made again.

        Raises:
            GatewayError: they are erased already, or not those that the approval binds.
        """
        ...

    async def collect(self, approval: "Approval", requester: Identity) -> tuple[AlreadyDone, ...]:
        """Return the recorded reply of a call that is done, once it is recorded that it was given out; nothing if none is kept.

        Raises:
            LedgerUnavailable: it could not be recorded, so it is not given out.
        """
        ...

    async def proposed(self, approval: "Approval", requester: Identity) -> tuple[Proposal, ...]:
        """Return what whoever denied the call would approve instead, once it is recorded that it was given out; mostly nothing.

        Raises:
            LedgerUnavailable: it could not be recorded, so it is not given out.
        """
        ...

    async def withdraw(self, approval_id: str, requester: Identity, comment: str = "") -> "Approval":
        """End the approval, so that its call never runs, and return it.

        Raises:
            ApprovalConflict: the call was sent, or the approval has ended.
            LedgerUnavailable: it could not be recorded, so it stands.
        """
        ...

    async def changed(self, timeout_s: float) -> None:
        """Return as soon as any process on this store may have changed an approval, or after the timeout."""
        ...


# --- ledger --------------------------------------------------------------------------------------------------------------


class Journal(Protocol):
    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        """Make the entry durable in the tree, with everything it changes (approval states), in one transaction.

        Returns after the commit that carries it. Concurrent appends share commits. A cancelled append may still commit.

        Raises:
            LedgerUnavailable: it is not durable, and nothing that depends on it may happen.
            ApprovalConflict: the approval that it votes on, settles or spends is not in the state that this needs;
                nothing was written.
        """
        ...


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    """A grant stays so while it is used, until it ends."""
    SPENT = "spent"
    DONE = "done"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"
    """Sent, and nobody knows what became of it. Never sent again by itself; a person says what they found out."""
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    """By its requester."""
    REVOKED = "revoked"
    """After it was approved, and before it ran."""


_S = ApprovalState
TRANSITIONS: Mapping[ApprovalState, frozenset[ApprovalState]] = {
    _S.PENDING: frozenset({_S.APPROVED, _S.DENIED, _S.EXPIRED, _S.WITHDRAWN}),
    _S.APPROVED: frozenset({_S.SPENT, _S.EXPIRED, _S.WITHDRAWN, _S.REVOKED}),
    _S.SPENT: frozenset({_S.DONE, _S.FAILED, _S.INDETERMINATE}),
    _S.INDETERMINATE: frozenset({_S.DONE, _S.FAILED}),  # an outcome that arrives late corrects it
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),
    _S.DENIED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.REVOKED: frozenset(),
}
"""From each state to those that may follow. The ledger holds it, in the transaction that records the change."""
ENDED_UNUSED = frozenset({_S.DENIED, _S.EXPIRED, _S.WITHDRAWN, _S.REVOKED})
"""The states in which nothing ran and nothing will: an identical call is a new question to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    voter: str
    """Principal."""
    verdict: str
    comment: str
    time_ns: int
    fits: tuple[str, ...] = ()
    """The entries of the terms that meant the voter then."""
    break_glass: bool = False
    method: str = ""
    """How the voter was authenticated, as are the next four."""
    credential_id: str = ""
    auth_time: int = 0
    acr: str = ""
    amr: tuple[str, ...] = ()
    withdrawn_ns: int = 0
    """When the voter took it back; 0 while it stands."""


def ballots(votes: Sequence[CastVote]) -> int:
    """Count what people did, votes and withdrawals: it grows with each, so that nothing is settled from stale votes."""
    return sum(2 if vote.withdrawn_ns else 1 for vote in votes)


class RemarkKind(StrEnum):
    STOPPED = "stopped"
    """Why it was withdrawn or revoked."""
    RESOLVED = "resolved"
    """What became of an indeterminate call."""
    REVIEWED = "reviewed"
    """The review after break-glass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a person added to an approval beside votes."""

    kind: RemarkKind
    person: str
    """Principal."""
    comment: str
    time_ns: int
    happened: str = ""
    """`core.entries.Happened`, of an indeterminate call that was resolved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One call under a grant, from its intent on."""

    call_id: str
    amount: str
    """What it added to the grant's total, in decimal digits; `0` where there is none."""
    time_ns: int
    outcome: str = ""
    """`done`, `failed` or `indeterminate`; empty while it is under way."""


def total_of(uses: Sequence[Use]) -> str:
    """Return what the uses add up to, in decimal digits."""
    total = "0"
    for use in uses:
        total = added(total, use.amount)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One held call, or a grant that was asked for, as the ledger's projection knows it."""

    id: str
    state: ApprovalState
    digest: str
    request_key: str
    call_id: str
    requester: str
    """Principal."""
    actors: tuple[str, ...]
    target: str
    """Published name."""
    facts: CleanJson
    exact: bytes
    """Encrypted exact arguments; empty once settled or spent."""
    terms: Terms
    level: int
    """How often it was escalated: an index of `terms.levels`."""
    rule_ids: tuple[str, ...]
    reason: str
    """The rule's reason while pending; the settlement's afterwards."""
    policy_hash: str
    opened_ns: int
    deadline_ns: int
    """The last one, of all levels."""
    usable_until_ns: int
    """When an approved call can no longer run: the deadline, or earlier after break-glass. When a grant ends. Of one that was
    denied with a proposal: when that can no longer be taken up."""
    votes: tuple[CastVote, ...]
    settled_ns: int = 0
    """When it stopped to wait for people; 0 while it does."""
    break_glass: bool = False
    """Two openers approved it in an emergency."""
    remarks: tuple[Remark, ...] = ()
    done: tuple[AlreadyDone, ...] = ()
    """The recorded reply of the call that spent it: one, once it is done."""
    allowances: tuple[Allowance, ...] = ()
    """Of a grant: the one that is counted. Of a call: nothing."""
    uses: tuple[Use, ...] = ()
    """Of a grant: the calls that were made under it, in order."""
    preview: "tuple[Previewed, ...]" = ()
    """What came of its preview: one, once that has ended; nothing where none was made."""
    offer: tuple[CastVote, ...] = ()
    """The word of whoever denied it and proposed other arguments, which counts once the call is made with them: one at most."""
    offered: bytes = b""
    """What they propose, encrypted; empty once it was taken up or has lapsed."""
    taken_by: str = ""
    """The approval as which the proposal was taken up."""

    @property
    def decide_by_ns(self) -> int:
        """When it is too late to decide: the deadline, or when what is asked for would have ended already."""
        return min(self.deadline_ns, self.usable_until_ns)

    @property
    def is_grant(self) -> bool:
        return bool(self.allowances)

    @property
    def is_used_up(self) -> bool:
        """Whether a grant has been used as often as it may be."""
        return any(len(self.uses) >= one.max_calls for one in self.allowances)

    @property
    def usage(self) -> str:
        """How far a grant is used, in words for everybody; empty for a call."""
        for one in self.allowances:
            total = f", {total_of(self.uses)} of {one.max_total} {one.total_of}" if one.total_of else ""
            return f"used {len(self.uses)} of {one.max_calls}{total}"
        return ""

    def remarked(self, kind: RemarkKind) -> bool:
        return any(remark.kind is kind for remark in self.remarks)

    @property
    def needs_review(self) -> bool:
        """Break-glass is looked at afterwards, whatever became of the call."""
        return self.break_glass and not self.remarked(RemarkKind.REVIEWED)

    @property
    def needs_resolution(self) -> bool:
        return self.state is ApprovalState.INDETERMINATE and not self.remarked(RemarkKind.RESOLVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Previewed:
    """What a server answered when it was asked what a held call would do. Its own word, which nobody checked."""

    call_id: str
    """Of the preview, which is a call of its own."""
    reply: JsonObject
    """The clean result; empty where there is none."""
    problem: str = ""
    """Why there is none; empty where there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One approval, laid out for a person: of one call, or of a grant, whose arguments are an example."""

    approval: Approval
    exact: bool
    """True: the arguments are what will run, to the letter. False: they are the clean ones, the exact ones being erased."""
    arguments: str
    """JSON over several lines, see `core.visible.visible_json`: the eye can trust it."""
    oddities: tuple[str, ...]
    """The characters that were escaped in it, for the reader's attention; mostly none."""
    commitment: str
    """Hex `SHA-256(nonce || arguments)`, of a grant with all that it covers behind them, then the preview, where there is one:
    says later what was on the screen, and tells nothing by itself."""
    granted: tuple[str, ...] = ()
    """Of a grant: what it covers, one sentence each. Whoever shows the arguments of a grant must show these."""
    words: str = ""
    """Of a grant: the requester's own words, which nobody checked."""
    preview: str = ""
    """What the server says that the call would do, over several lines; its own word. Empty where there is none."""
    preview_problem: str = ""
    """Why there is none, or why not to rely on it; empty where all is well, or none was made. Whoever shows the arguments must
    show these two."""


class Deed(StrEnum):
    """What a person can do about an approval."""

    VOTE = "vote"
    BREAK_GLASS = "break_glass"
    WITHDRAW_VOTE = "withdraw_vote"
    WITHDRAW = "withdraw"
    REVOKE = "revoke"
    RESOLVE = "resolve"
    REVIEW = "review"


class Roster(Protocol):
    """What the gateway knows of people at this moment, beyond what their credential said when they voted."""

    def still(self, vote: CastVote) -> frozenset[str]:
        """Return those of `vote.fits` that mean the voter today, as far as it can be known; all of them where it cannot.

        Never raises: what should be known and cannot be read counts for nothing.
        """
        ...


class ApprovalStore(Protocol):
    """What the desk asks of the ledger's projection. Writing happens through `Journal.append` alone."""

    async def approval(self, approval_id: str) -> tuple[Approval, ...]:
        """Return the approval of that id, or nothing."""
        ...

    async def live(self, request_key: str) -> tuple[Approval, ...]:
        """Return the newest approval for that key that still matters: not ended unused, nor resolved, nor past its time."""
        ...

    async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
        """Return approvals in those states (all, if none are named), the newest first."""
        ...

    async def grants(self, requester: str, target: str) -> tuple[Approval, ...]:
        """Return the approved grants of that principal for that published name, the oldest first."""
        ...

    async def offers(self, request_key: str = "") -> tuple[Approval, ...]:
        """Return the approvals that were denied with a proposal which was neither taken up nor has lapsed, the newest first.

        With a request key, only those whose proposed call has it.
        """
        ...

    async def open_items(self) -> tuple[Approval, ...]:
        """Return what people have to look at afterwards: uses of break-glass to review, and unknown outcomes to resolve."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Return as soon as any process on this store may have changed an approval, or after the timeout."""
        ...


# --- upstream ------------------------------------------------------------------------------------------------------------

OnNotice = Callable[[RawNotice], Awaitable[None]]


class Interview(Protocol):
    """The caller of one call under way, for the questions of its server: elicitation, sampling, roots."""

    @property
    def declares(self) -> JsonObject:
        """`ClientCapabilities` to declare to the server for this call: what its caller can do, and the catalog lets the server
        ask for. Empty: it may ask nothing."""
        ...

    @property
    def in_rounds(self) -> bool:
        """Whether a result that asks for input (2026-07-28) is a reply like others, because the caller will make the call again
        with the answers. Where it is not, the server's questions are put here, and the request to it is made again."""
        ...

    async def ask(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        """Put questions to the caller, and return the result of each under its key. Waits for people, within bounds.

        Raises:
            QuestionRefused: they are not put, or not answered; in words for the server.
        """
        ...


class Upstreams(Protocol):
    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        """Ask the upstream that the permit names, once; never again by itself, but to bring it answers that it asked for.

        Cancelling sends the upstream a cancellation. Bounded by the target's `timeout_s`, in which no question waits.

        Raises:
            UpstreamError: no reply. `sent` tells whether an effect is possible.
            TimeoutError: no reply in time; an effect is possible.
        """
        ...


class ServerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    """Not reachable now; retried with backoff."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """What the upstream room knows of one server, for the catalog, `/readyz`, the console and `mcpgw check`."""

    name: str
    state: ServerState
    problem: str = ""
    """Why it is down, in words safe to show to an admin; empty while it is not."""
    protocol_version: str = ""
    server_info: JsonObject | None = None
    """None until the server has said who it is."""


Definitions = Mapping[TargetKind, Sequence[JsonObject]]
"""Everything that a server lists, complete over all its pages, verbatim, by kind."""
