"""What the ledger records beside a call's intent and outcome: questions, refusals, what people decided, and events.

An `Entry` is not yet a record: the ledger gives it a number, a time and a leaf, and hands it back `Sealed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from mcpgw.core.allowance import Allowance
from mcpgw.core.canonical import digest
from mcpgw.core.model import (
    Allow,
    CleanJson,
    Commitment,
    Hold,
    Identity,
    Intent,
    JsonObject,
    Origin,
    Outcome,
    Refused,
    Replay,
    Ruling,
    Sealed,
    ShownCall,
)


class Turn(StrEnum):
    """How far a server's question to the caller of its call came."""

    ASKED = "asked"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interviewed:
    """What passed between a server and the caller of a call under way. Durable before it goes on to either."""

    intent: Sealed[Intent]
    turn: Turn
    clean: JsonObject = field(default_factory=dict)
    """The questions or the answers by key, as they may be recorded; empty where there was no answer."""
    reason: str = ""
    """Why there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that was refused, for the record."""

    shown: ShownCall
    refused: Refused
    ruling: Ruling | None = None
    """None where the refusal was not policy's (redaction, the vault or the gateway itself could not work)."""
    judged: Allow | Hold | None = None
    """What policy had said, where it had not denied: people did, or what the call rested on had changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A message that never became a call (no identity, or malformed), for the record: no payload of it is kept."""

    origin: Origin
    refused: Refused
    principal: str = ""
    """Empty where nobody was authenticated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A call is held. `digest` binds the approval to these exact facts; `request_key` finds it again for the same call."""

    shown: ShownCall
    hold: Hold
    approval_id: str
    digest: str
    request_key: str
    """Keyed hash of the digest's facts without expiry and nonce: equal exactly for an identical call."""
    facts: CleanJson
    """The digest's facts with clean arguments: what may be listed, notified and kept."""
    exact: bytes
    """The digest's facts with the exact arguments, encrypted under the desk's key, for the approver's eyes. They stand in
    the projection alone, never in a record, and are erased when the approval is settled or spent."""
    deadline_ns: int
    allowances: tuple[Allowance, ...] = ()
    """What is counted, where this is a grant and not one call; nothing else."""
    accepts: str = ""
    """The approval with the proposal that this very call takes up, whose proposer's vote it then has. The store refuses it
    unless that stands, for this request key. Empty for a call that nobody proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An identical call attached to an approval that stands already."""

    shown: ShownCall
    approval_id: str
    ruling: Ruling


class Verdict(StrEnum):
    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A person's verdict. The store refuses it unless the approval is pending; the desk checks who may."""

    approval_id: str
    voter: Identity
    verdict: Verdict
    comment: str = ""
    shown: str = ""
    """Hex hash of what the voter was shown, exact arguments included; empty where the surface showed nothing."""
    fits: tuple[str, ...] = ()
    """The entries of the approval's terms that mean the voter: what the vote can count for."""
    break_glass: bool = False
    """Given as an opener of break-glass, and not as one who is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteWithdrawn:
    """A person takes back the vote that stands of them. The store refuses it unless the approval is pending."""

    approval_id: str
    voter: Identity
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A person denies a call and says which arguments they would approve. The store refuses it unless the approval is pending.

    It settles the approval as denied. What was given for it counts for no other arguments, but for this person's own word.
    """

    approval_id: str
    person: Identity
    comment: str
    """For the requester to read, unlike that of a vote."""
    shown: str
    """As in a vote."""
    fits: tuple[str, ...]
    """As in a vote."""
    changed: tuple[str, ...]
    """Paths of what differs, never a value."""
    arguments: Commitment
    """To the proposed arguments, whose exact form stands in `exact` alone."""
    request_key: str
    """Of the call with these arguments, and all else as it was."""
    exact: bytes
    """The arguments and the difference, encrypted under the desk's key. They stand in the projection alone, never in a record,
    and are erased when the proposal is taken up or lapses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsed:
    """Nobody took a proposal up in its time. The store refuses it before."""

    approval_id: str


class SettledAs(StrEnum):
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    REVOKED = "revoked"
    """Its votes do not make the quorum any more: somebody is no approver now, or signed in too long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The gateway settled an approval, from its votes or its deadline. The store refuses a second settlement."""

    approval_id: str
    state: SettledAs
    reason: str
    ballots: int = 0
    """Votes and withdrawals that an approval was counted from; with more of them than that the store refuses it."""
    break_glass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalated:
    """Silence: others are asked. The store refuses it unless the level before is the present one, and over."""

    approval_id: str
    level: int
    asked: tuple[str, ...]
    """Who is asked now."""


class StoppedAs(StrEnum):
    WITHDRAWN = "withdrawn"
    """By the requester, before it ran."""
    REVOKED = "revoked"
    """By an approver or an admin, after it was approved and before it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A person ended an approval before its call ran. The store refuses it afterwards; the desk checks who may."""

    approval_id: str
    state: StoppedAs
    person: Identity
    comment: str = ""


class Happened(StrEnum):
    """What a person found out about a call whose outcome is unknown."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """It cannot be found out; somebody looked, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A person says what became of an indeterminate call. The store refuses it in every other state, and a second one."""

    approval_id: str
    person: Identity
    happened: Happened
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A person looked at an approval by break-glass afterwards. The store refuses it for any other, and a second one."""

    approval_id: str
    person: Identity
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Everything else that is recorded: `gateway.started`, `catalog.changed`, `policy.activated`, `identity.changed`, ...

    `facts` holds strings, integers below 2^53, booleans, lists and objects of them; never a payload and never a secret.
    """

    kind: str
    actor: str
    """Principal, `os:NAME` at a command line, `gateway` where the process itself acted, or `unknown`: whoever edited a file."""
    facts: JsonObject = field(default_factory=dict)
    document: JsonObject = field(default_factory=dict)
    """What the facts tell of by a hash, for whoever reads them later. Kept beside the record, where it can be erased; never a
    secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one aspect of the gateway stands: its catalog, its policy, its API keys. Nothing that is secret."""

    aspect: str
    hash: str
    """Equal exactly if the aspect is; empty where there is nothing."""
    parts: Mapping[str, str]
    """A hash for each named part, so that a record can name those that changed."""
    document: JsonObject = field(default_factory=dict)
    """The aspect in full, for people who ask later what was in force; empty where hashes are all that may be kept."""

    @classmethod
    def of(cls, aspect: str, parts: Mapping[str, str], document: JsonObject | None = None) -> "Standing":
        """Return the standing of an aspect that is its parts and nothing else."""
        return cls(aspect=aspect, hash=digest(parts) if parts else "", parts=parts, document=document or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """How an aspect stands, for the record: who made it so, and what else is known of it."""

    kind: str
    actor: str
    """As an event's."""
    standing: Standing
    facts: JsonObject = field(default_factory=dict)


Entry: TypeAlias = (
    Intent
    | Outcome
    | Interviewed
    | Replay
    | Refusal
    | Rejection
    | Opened
    | Joined
    | Vote
    | VoteWithdrawn
    | Proposed
    | Lapsed
    | Escalated
    | Settled
    | Stopped
    | Resolved
    | Reviewed
    | Event
)
