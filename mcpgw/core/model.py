"""The nouns of the corridor. A call gets a new type at every door, so that a step left out does not type-check.

    Request -> Call -> ShownCall -> Allow | Hold | Deny -> Sealed[Intent] -> Permit -> RawReply -> CleanReply -> Answer

Payloads are plain JSON data, never a library's models: unknown fields survive. `RawJson` came from an upstream and may hold
anything; `CleanJson` has been through redaction. Only `mcpgw.redaction` makes `CleanJson`; an architecture test holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NewType, TypeAlias, TypeVar

from mcpgw.core.answers import Question, asks_for_input
from mcpgw.core.naming import OWN_SERVER, is_published_name
from mcpgw.core.terms import Terms

Json: TypeAlias = Any
"""A JSON value. The type checker cannot express the recursion usefully; `RawJson` and `CleanJson` are where it must."""
JsonObject: TypeAlias = Mapping[str, Json]

RawJson = NewType("RawJson", dict[str, Any])
"""A payload as an upstream sent it: it may hold personal data and secrets."""
CleanJson = NewType("CleanJson", dict[str, Any])
"""A payload after redaction: it may be shown to the caller it was made for, and recorded."""


# --- who -----------------------------------------------------------------------------------------------------------------


UNAUTHENTICATED = "unsafe_anonymous"
"""`Identity.method` of callers that showed no credential: nobody in particular."""


class IdentityKind(StrEnum):
    HUMAN = "human"
    SERVICE = "service"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A caller whose credential was checked. There is no anonymous identity and no absence that means admin.

    `(issuer, subject)` is the principal; `actors` is the delegation chain (RFC 8693 `act`), the nearest actor first.
    """

    subject: str
    issuer: str
    kind: IdentityKind
    method: str
    """How it was authenticated: `jwt`, `api_key`, `stdio_key`, `console`, or `unsafe_anonymous`."""
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    """Scopes that the credential itself carries (OAuth `scope`). They can only narrow what roles grant."""
    client_id: str = ""
    credential_id: str = ""
    """Public id of the key or token used (`jti`, key id); never a secret."""
    actors: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    """How the person signed in, as the issuer says (RFC 8176)."""
    acr: str = ""
    """The class of that sign-in (OpenID Connect Core, section 2); empty where the issuer does not say."""
    auth_time: int = 0
    """When the person or service was authenticated, in Unix seconds; 0 where the issuer does not say."""
    expires: int = 0
    """When the credential ends, in Unix seconds; 0 where it does not."""
    claims: JsonObject = field(default_factory=dict)
    """Further verified claims that rules may look at."""

    @property
    def principal(self) -> str:
        """The name to compare and record: issuer and subject, unambiguous."""
        return f"{self.issuer}#{self.subject}"

    @property
    def is_person(self) -> bool:
        """Whether this is a human in person: no agent or service, no token delegated to one, and not nobody in particular."""
        return self.kind is IdentityKind.HUMAN and not self.actors and self.method != UNAUTHENTICATED

    @property
    def names(self) -> frozenset[str]:
        """Every `user:…` and `group:…` that means this identity, alone and with its issuer (`group:ISSUER#NAME`).

        The text before a `#` is an issuer, always: a subject or group that was made up to hold one has no name without its
        own issuer before it, or `https://idp.example#leads` of one issuer would pass for `leads` of another.
        """
        own = [("user", self.subject), *(("group", group) for group in self.groups)]
        qualified = {f"{form}:{self.issuer}#{name}" for form, name in own}
        return frozenset(qualified | {f"{form}:{name}" for form, name in own if "#" not in name})


# --- what ----------------------------------------------------------------------------------------------------------------


class TargetKind(StrEnum):
    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    COMPLETION = "completion"


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"


class Audience(StrEnum):
    """Whom a target is for, among those to whom roles grant it. To the others it does not exist."""

    GRANTED = "granted"
    """For all of them."""
    DECIDERS = "deciders"
    """For people, in person, who could decide on some held call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingRule:
    """A place whose values are masked, and for whom they are not."""

    path: str
    """A JSON path, or `column:"Tax ID"` for a key or column wherever it stands."""
    unmasked_for: tuple[str, ...] = ()
    """`group:NAME` or `user:PRINCIPAL_OR_SUBJECT`; who is one of them sees the values."""
    operator: str = ""
    """How the others see them; empty where the profile says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """What the catalog says of redaction for one target, beside what the detectors find by themselves."""

    profile: str = "default"
    columns: tuple[str, ...] = ()
    """Column and key names whose values are masked wherever they stand; compared without case."""
    paths: tuple[str, ...] = ()
    """JSON paths whose values are masked: `rows[*].ssn`, `**.email`, `customer.name`."""
    rules: tuple[MaskingRule, ...] = ()
    """Places with an operator or readers of their own. Where a column or path above covers one too, it stays masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """How a server is asked what a call would do, without doing it, as an admin says in the catalog."""

    tool: str = ""
    """Published name of the tool that is asked, with the call's own arguments; empty where it is the called one."""
    arguments: JsonObject = field(default_factory=dict)
    """Laid over the call's own: `{"dry_run": true}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something an upstream offers, as it was accepted. `definition` is the upstream's, verbatim."""

    kind: TargetKind
    name: str
    """The published name, `server__tool`; of a resource or template its published URI (`core.uris`)."""
    server: str
    server_fingerprint: str
    """Hash of how the server is reached (transport, command or URL); changes when another server answers to the name."""
    upstream_name: str
    definition: JsonObject
    definition_hash: str
    annotations: JsonObject = field(default_factory=dict)
    """What the admin says in the catalog, else the upstream's; `readOnlyHint` is always there."""
    scope: str = ""
    """The scope that the catalog says this target needs; empty where only globs and tags select it."""
    tags: frozenset[str] = frozenset()
    risk: Risk = Risk.LOW
    masking: Masking = Masking()
    restore_tokens: bool = False
    """Whether it is entitled to the values behind reversible tokens that its caller was given."""
    vault: bool = False
    """Whether raw arguments and results of its calls go into the vault, where there is one."""
    vault_except: tuple[str, ...] = ()
    """Places, as in `Masking.paths`, whose values do not even go there."""
    preview: tuple[Preview, ...] = ()
    """How a call of it that is held is previewed for its approvers: in one way, or not at all."""
    timeout_s: float = 60.0
    max_result_bytes: int = 100_000
    truncate: bool = False
    """Beyond `max_result_bytes`: cut the text and say so (True), or answer with an error (False)."""
    questions: frozenset[Question] = frozenset()
    """What its server may ask the caller in the middle of a call."""
    audience: Audience = Audience.GRANTED

    @property
    def is_own(self) -> bool:
        """Whether the gateway itself answers, and no upstream."""
        return self.server == OWN_SERVER

    @property
    def is_template(self) -> bool:
        """Whether it is a resource template, which stands for all URIs that it covers."""
        is_prompt_or_tool = is_published_name(self.name)
        return not is_prompt_or_tool and self.upstream_name != self.definition.get("uri")

    @property
    def granted_as(self) -> TargetKind:
        """The kind whose grants and rules are about it: completing an argument belongs to what has the argument."""
        if self.kind is not TargetKind.COMPLETION:
            return self.kind
        return TargetKind.PROMPT if is_published_name(self.name) else TargetKind.RESOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownTarget:
    """A name that nobody publishes. It walks the corridor too, is refused, and is recorded like a hidden one."""

    kind: TargetKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from, for the record."""

    transport: str
    """`http`, `sse` or `stdio`; `console` for people's pages, `api` for their programs."""
    protocol_version: str
    request_id: str = ""
    """The JSON-RPC id, as text."""
    address: str = ""
    client: str = ""
    """`name/version` of clientInfo as claimed by the client: a hint, never an identity."""
    traceparent: str = ""
    session: str = ""
    """Name of the transport's session, where a client of an earlier protocol has one. The ledger mints its own."""
    via: str = ""
    """The own tool by which a client named the target, where it did not name it itself: `mcpgw__call_tool`."""
    conversation: str = ""
    """What the client calls its conversation, where it says: a hint that tells sessions apart, never part of a leaf."""
    attended: bool = True
    """Whether a client made the request. False: the gateway makes it in the place of a client that did so before (a held call,
    or a subscription when its server became another one); all else is of that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a held call may wait for people before the client is told to come back."""

    budget_s: float
    heartbeat_s: float = 10.0
    """Interval of progress while waiting, so that a client does not take the silence for death."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A well-formed ask of an authenticated caller, before anything is known of its name."""

    identity: Identity
    kind: TargetKind
    name: str
    arguments: JsonObject
    origin: Origin
    patience: Patience
    meta: JsonObject = field(default_factory=dict)
    """What of the request's `_meta` goes to the upstream: its trace context and log level, and whether its client takes a task
    for an answer (2026-07-28)."""
    declares: JsonObject = field(default_factory=dict)
    """`ClientCapabilities` by which a server could ask the caller something in the middle of the call."""
    resumes: str = ""
    """The approval that its caller was told to wait for: it is released under that one or not at all. Empty for a new call."""
    previews: str = ""
    """The approval whose call it is a preview of: it is allowed outright or not made. Empty for a call that a caller made."""
    subscribes: bool = False
    """Whether changes of a resource are to be told from now on, and the resource is not read. Who may read it outright may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: raw arguments, so never recorded or shown as it is."""

    id: str
    """UUIDv7, text."""
    identity: Identity
    target: Target | UnknownTarget
    arguments: JsonObject
    origin: Origin
    meta: JsonObject = field(default_factory=dict)
    received_ns: int = 0
    """Wall clock at arrival, Unix nanoseconds."""
    restored: JsonObject = field(default_factory=dict, repr=False)
    """Raw values that redaction put into `arguments`, by the token that stood there: what must not come back."""
    sent: JsonObject = field(default_factory=dict, repr=False)
    """The arguments with those tokens, as the caller sent them; empty where no value was put in."""
    declares: JsonObject = field(default_factory=dict)
    """As in the `Request`."""
    resumes: str = ""
    """As in the `Request`."""
    previews: str = ""
    """As in the `Request`."""
    subscribes: bool = False
    """As in the `Request`."""


# --- redaction -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Masked:
    """One line of a masking manifest: what was masked where and by which detector, never a value."""

    entity: str
    path: str
    """Path pattern with indices replaced: `content[*].text`, `structuredContent.rows[*].ssn`."""
    detector: str
    """Name and version, `presidio.CreditCardRecognizer@2.2.366` or `column@1`."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Evidence of redaction without the data."""

    profile: str
    profile_hash: str
    masked: tuple[Masked, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """`SHA-256(salt || payload)`: binds a record to a payload that the record does not hold."""

    digest: str
    salt: bytes
    size: int
    """Length of the payload in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """A call as it may be recorded and shown to an approver's log: clean arguments, a commitment to the raw ones."""

    call: Call
    arguments: CleanJson
    raw: Commitment
    manifest: Manifest
    sealed: tuple[bytes, ...] = field(default=(), repr=False)
    """The raw arguments, encrypted to people outside: one file, once the call is about to run, if they are to be kept."""


# --- policy and approval -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Why: the rules that decided, the sentence that the caller may see, and the policy they belong to."""

    rule_ids: tuple[str, ...]
    reason: str
    policy_hash: str
    observed: tuple[tuple[str, str], ...] = ()
    """Ids of rules in `observe` mode, each with the effect that it would have had; they decided nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRef:
    """An approval that the Intent spends in its own transaction, at most once; or a grant that it is one use of."""

    id: str
    digest: str
    amounts: tuple[str, ...] = ()
    """Of a use: the one amount that it adds to the grant's total, in decimal digits. Nothing: the approval is for this call."""
    may_be_asked: bool = False
    """Whether its server may ask the caller in the middle of the call, though nobody approved what is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """The call may run. `approval` is there exactly if people had to agree."""

    ruling: Ruling
    approval: ApprovalRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """People decide. Silence until the deadline ends in a denial."""

    ruling: Ruling
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """The call may not run. `hidden`: answer exactly as for a name that does not exist."""

    ruling: Ruling
    hidden: bool = False
    approval_id: str = ""
    """The approval that people denied or let expire; empty where policy denied by itself."""
    proposal: "tuple[Proposal, ...]" = field(default=(), repr=False)
    """What whoever denied it would approve instead, where they said so: one at most."""


Decision: TypeAlias = Allow | Hold | Deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One place where proposed arguments differ. For people: nothing in it can deceive the eye (`core.visible`)."""

    path: str
    """`customer.name`, `rows[2]`."""
    before: str
    """JSON text; empty where there was nothing."""
    after: str
    """JSON text; empty where nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Other arguments that an approver would approve, for the client of whoever asked. Nothing runs by it."""

    approval_id: str
    """The approval that was denied with it."""
    proposer: str
    """Principal."""
    arguments: JsonObject = field(repr=False)
    """Exact: a call with these, and no others, takes it up."""
    changes: tuple[Change, ...] = field(repr=False)
    comment: str = field(repr=False)
    until_ns: int
    """When it can no longer be taken up, Unix nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The desk's answer when the client's budget is spent and nobody has decided yet. It is recorded already."""

    approval_id: str
    deadline_ns: int
    """Unix nanoseconds."""
    running: bool = False
    """It was approved, and an identical call is under way: not nobody's decision but its result is awaited."""
    unattended: bool = False
    """Its rule lets it run while nobody waits for it."""
    receipt: "tuple[Receipt, ...]" = field(default=(), compare=False)
    """Of the record that says that this call is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyDone:
    """The desk's answer to a duplicate: the approved call ran once, and this is what it returned then."""

    approval_id: str
    call_id: str
    reply: "CleanReply"


# --- the ledger's doors --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An effect is about to happen. Durable before it does; spends the approval in the same transaction."""

    shown: ShownCall
    allow: Allow


EntryT = TypeVar("EntryT", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The log's signed promise to a caller that it holds the record which concludes the call. It holds no payload."""

    index: int
    leaf_hash: str
    """Hex RFC 6962 leaf hash of the record. Nobody can guess a record from it: each holds random bits of its own."""
    checkpoint: str
    """Signed note over a tree that holds the record; its first line names the log."""


@dataclass(frozen=True, slots=True)
class Sealed(Generic[EntryT]):
    """Proof that an entry is durable in the tree: only the ledger's `append` returns it."""

    entry: EntryT
    seq: int
    leaf_hash: str
    """Hex RFC 6962 leaf hash."""
    event_id: str
    time_ns: int
    checkpoint: str = ""
    """Signed note of the commit that holds it; empty where it was counted and has no record of its own."""

    @property
    def receipt(self) -> tuple[Receipt, ...]:
        """The receipt, if there is a record to give one for."""
        receipt = Receipt(index=self.seq, leaf_hash=self.leaf_hash, checkpoint=self.checkpoint)
        return (receipt,) if self.checkpoint else ()


@dataclass(frozen=True, slots=True)
class Permit:
    """The only key to an upstream: a durable intent of an allowed call. Made in the pipeline alone."""

    intent: Sealed[Intent]

    @property
    def call(self) -> Call:
        return self.intent.entry.shown.call


# --- answers -------------------------------------------------------------------------------------------------------------


class ReplyKind(StrEnum):
    RESULT = "result"
    """A JSON-RPC result (for a tool: `isError` may be true in it)."""
    ERROR = "error"
    """A JSON-RPC error object: `code`, `message`, perhaps `data`. The upstream's words, so redacted as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReply:
    """What the upstream answered, verbatim."""

    kind: ReplyKind
    payload: RawJson

    @property
    def asks(self) -> bool:
        """Whether it asks for input (2026-07-28), and is no answer yet."""
        return self.kind is ReplyKind.RESULT and asks_for_input(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanReply:
    """What the caller may see. The only reply that can be shown or recorded."""

    kind: ReplyKind
    payload: CleanJson
    raw: Commitment
    manifest: Manifest
    sealed: tuple[bytes, ...] = field(default=(), repr=False)
    """The raw reply, encrypted to people outside of the gateway: one file, if it is to be kept."""
    state: str = field(default="", compare=False, repr=False)
    """What an upstream that asks for input gave to be sent back with the answers. For the caller alone, sealed: no record holds
    it."""

    @property
    def asks(self) -> bool:
        """Whether it asks for input (2026-07-28), and is no answer yet."""
        return self.kind is ReplyKind.RESULT and asks_for_input(self.payload)

    @property
    def is_error(self) -> bool:
        return self.kind is ReplyKind.ERROR or self.payload.get("isError") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class RawNotice:
    """A message of an upstream to the caller of a call under way: progress, a log message, or a question."""

    method: str
    params: RawJson


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanNotice:
    """A message that the caller may see."""

    method: str
    params: CleanJson


class RefusalCode(StrEnum):
    """Why a call was refused before any effect. Inbound alone maps these to wire codes."""

    UNAUTHENTICATED = "unauthenticated"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    """No such name, or hidden from this caller: the two must look the same."""
    DENIED = "denied"
    NOT_APPROVED = "not_approved"
    """Held, and people denied it or did not approve in time: `reason` says which."""
    UNAVAILABLE = "unavailable"
    """The gateway could not record, redact or decide."""
    ABANDONED = "abandoned"
    """The caller went away before the call was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing happened. `reason` is for the caller and holds no payload."""

    code: RefusalCode
    reason: str
    rule_ids: tuple[str, ...] = ()
    approval_id: str = ""
    proposal: tuple[Proposal, ...] = field(default=(), compare=False, repr=False)
    """What people would approve instead. It is for the caller alone: no record holds it."""
    receipt: tuple[Receipt, ...] = field(default=(), compare=False)
    """Of the record that says so; none in the record itself, and none where the refusal was counted or nothing was written."""


class FailureCode(StrEnum):
    """Why a permitted call has no reply to show."""

    UPSTREAM = "upstream"
    """The upstream could not be asked or broke the protocol; `reached` says whether an effect is possible."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    REDACTION = "redaction"
    """There was a reply; it is withheld."""
    VAULT = "vault"
    """There was a reply; it could not be sealed into the vault, so it is withheld."""
    INTERNAL = "internal"
    UNRECORDED = "unrecorded"
    """There was a reply; its outcome could not be made durable, so it is withheld."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The effect may have happened (`reached`), but there is nothing to show. `reason` holds no payload."""

    code: FailureCode
    reason: str
    reached: bool
    receipt: tuple[Receipt, ...] = field(default=(), compare=False)
    """Of the record that says so; none in the record itself, and none where it could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Not executed, waiting for people. The identical call resumes it."""

    approval_id: str
    deadline_ns: int
    reason: str
    running: bool = False
    """An identical call was approved and is under way."""
    unattended: bool = False
    """Its rule lets it run while nobody waits for it."""
    receipt: tuple[Receipt, ...] = field(default=(), compare=False)
    """Of the record that says that this call is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The caller's answer: a clean reply, and where its outcome stands in the ledger."""

    reply: CleanReply
    sealed: "Sealed[Outcome] | Sealed[Replay]"
    replayed_from: str = ""
    """The call id whose result this is, where an approved call had already run."""

    @property
    def receipt(self) -> tuple[Receipt, ...]:
        return self.sealed.receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call with an intent ended. Durable before the answer leaves."""

    intent: Sealed[Intent]
    result: CleanReply | Failed
    latency_ns: Mapping[str, int] = field(default_factory=dict)
    """Time by stage: `redact_in`, `policy`, `approval`, `intent`, `upstream`, `caller` (who is asked), `redact_out`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A duplicate of an approved call was given the first one's result. Durable before the answer leaves."""

    shown: ShownCall
    done: AlreadyDone
    ruling: Ruling


Answer: TypeAlias = Completed | Held | Refused | Failed
