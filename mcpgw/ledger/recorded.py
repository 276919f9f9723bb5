"""Calls of the past, as the log tells of them: who asked for what, when, and what policy said.

What a record leaves out is said to be left out, and never made up: arguments stand in their clean view, so each in which
something was masked is named, and what was erased, damaged or cut off is unknown.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mcpgw.core.canonical import commitment
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    JsonObject,
    TargetKind,
)
from mcpgw.ledger.describe import MAX_LIST
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.spans import SPAN, read
from mcpgw.ledger.store import Query, Reading, StoredPayload, StoredRecord
from mcpgw.ledger.tree import leaf_hash

CATALOG = "catalog"
"""The aspect whose standing is the catalog."""
_IN_NAME = re.compile(r"[\w …-]")
"""What goes on with an argument's name, and does not end it."""
_LOOK_BACK = 500
"""Changes that are looked at to find the catalog that was in force when the range began."""


class Effect(StrEnum):
    """What policy said of a call, before people or anything else did."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call on which policy decided."""

    seq: int
    event_id: str
    call_id: str
    identity: Identity
    kind: TargetKind
    name: str
    server: str
    """Empty where nobody published the name."""
    definition: str
    fingerprint: str
    received_ns: int
    previews: str
    arguments: JsonObject
    """Clean."""
    masked: frozenset[str]
    """Names of arguments in which something was masked."""
    has_arguments: bool
    """Whether all the others are what they were: not erased, and their masks are all named."""
    has_claims: bool
    """Whether the caller's claims are all there, if there were any."""
    effect: Effect
    rule_ids: tuple[str, ...]
    policy_hash: str
    was_unsuitable: bool
    """A rule denied because it could not look at the arguments as a whole, whatever it reads of them."""


class Why(StrEnum):
    """Why nobody can decide anew on a call."""

    COUNTED = "refusals that were counted, and have no records of their own"
    NO_CALL = "messages that never became a call"
    NOT_JUDGED = "calls that were refused before policy was asked, or by something else"
    CUT = "calls of callers whose groups, scopes or delegation are cut off in the record"
    DAMAGED = "records that are not what was sealed; `mcpgw verify` says more"


@dataclass(frozen=True, slots=True)
class Passed:
    """What cannot be decided on anew."""

    why: Why
    count: int = 1


@dataclass(frozen=True, slots=True)
class CatalogStood:
    """The catalog that calls from here on were judged under, by `KIND NAME`; empty where its text is not kept."""

    targets: JsonObject = field(repr=False)


Told = RecordedCall | Passed | CatalogStood


def calls(store: Reading, start: int, end: int, unsuitable: str) -> Iterator[Told]:
    """Yield each call once, at the record of policy's first word on it, in the order of the log; memory is bounded.

    `unsuitable` is what the reason of a denial holds where rules could not look at the arguments as a whole.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    yield _catalog_before(store, start)
    for first in range(start, end, SPAN):
        for record, payloads in read(store, range(first, min(first + SPAN, end))):
            try:
                yield from _told(store, record, payloads, unsuitable)
            except (ValueError, KeyError, TypeError, AttributeError):
                yield Passed(Why.DAMAGED)  # nothing is believed of such a record, and it may have been no call


def _told(store: Reading, record: StoredRecord, payloads: Sequence[StoredPayload], unsuitable: str) -> Iterator[Told]:
    if leaf_hash(record.leaf) != record.hash:
        raise ValueError("the record does not have its hash")
    members = parse(record.leaf)
    facts, bodies = members.get("facts", {}), _bodies(members, payloads)
    match members["kind"]:
        case "catalog.changed" | "catalog.accepted" if facts["aspect"] == CATALOG:
            yield CatalogStood(bodies.get("standing", {}))
        case "refusals.counted":
            yield Passed(Why.COUNTED, sum(line["count"] for line in facts["counts"]))
        case "call.refused" if "call" not in members:
            yield Passed(Why.NO_CALL)
        case "call.refused" if not members.get("decision", {}).get("policy"):
            yield Passed(Why.NOT_JUDGED)
        case "call.intent" | "call.held" | "call.refused" | "call.outcome" if "decision" in members:
            if not _was_told_before(store, record.seq, members):
                yield Passed(Why.CUT) if _is_cut(members["who"]) else _call(record.seq, members, bodies, unsuitable)


def _was_told_before(store: Reading, seq: int, members: Members) -> bool:
    """A call that was held has a record of that, and later one of what came of it."""
    if members["kind"] == "call.held" or (members["kind"] == "call.intent" and "approval" not in members):
        return False
    return bool(store.search(Query(call_id=members["call"], kind="call.held", before_seq=seq, limit=1)))


def _call(seq: int, members: Members, bodies: dict[str, Any], unsuitable: str) -> RecordedCall:
    target, decision = members["target"], members["decision"]
    arguments = bodies.get("arguments.clean", {})
    manifest = members["masking"]["arguments"]
    masked = [_led_into(line[1], arguments) for line in manifest["masked"]]
    return RecordedCall(
        seq=seq,
        event_id=members["id"],
        call_id=members["call"],
        identity=identity_of(members["who"], bodies.get("claims", {})),
        kind=TargetKind(target["kind"]),
        name=target["name"],
        server=target.get("server", ""),
        definition=target.get("definition", ""),
        fingerprint=target.get("fingerprint", ""),
        received_ns=int(members["received_ns"]),
        previews=members.get("previews", ""),
        arguments=arguments,
        masked=frozenset(name for names in masked for name in names),
        has_arguments="arguments.clean" in bodies and all(masked) and not manifest["masked_cut"],
        has_claims="claims" not in members["payloads"] or "claims" in bodies,
        effect=_effect(members),
        rule_ids=tuple(decision["rules"]),
        policy_hash=decision["policy"],
        was_unsuitable=unsuitable in decision["reason"],
    )


def _effect(members: Members) -> Effect:
    decision, by_people = members["decision"], bool(members.get("approval"))
    if members["kind"] == "call.refused":
        return Effect(decision.get("judged") or (Effect.HOLD if by_people else Effect.DENY))
    return Effect.HOLD if by_people else Effect(decision["effect"])


def identity_of(who: Members, claims: JsonObject) -> Identity:
    """Return a caller as a record tells of them."""
    return Identity(
        subject=who["sub"],
        issuer=who["iss"],
        kind=IdentityKind(who["kind"]),
        method=who["method"],
        groups=frozenset(who["groups"]),
        scopes=frozenset(who.get("scopes", ())),
        client_id=who["client"],
        credential_id=who["credential"],
        actors=tuple(who["actors"]),
        amr=tuple(who["amr"]),
        acr=who.get("acr", ""),
        auth_time=who["auth_time"],
        claims=claims,
    )


def _is_cut(who: Members) -> bool:
    lists = len(who["actors"]) >= MAX_LIST or len(who["amr"]) >= MAX_LIST
    return bool(who["groups_cut"] or who.get("scopes_cut") or lists or who["client"].endswith("…"))


def _led_into(path: str, arguments: JsonObject) -> list[str]:
    """Return the arguments that a manifest's path can lead into; none where that cannot be told, as of names written `*`."""
    return [name for name in arguments if path.startswith(name) and name.strip("*") and not _IN_NAME.match(path, len(name))]


def _bodies(members: Members, payloads: Sequence[StoredPayload]) -> dict[str, Any]:
    """Return the payloads that are what the record committed to."""
    committed = members.get("payloads", {})
    found = {}
    for payload in payloads:
        body = unpack(payload.packed)
        if commitment(payload.salt, body) == committed.get(payload.slot, {}).get("sha256"):
            found[payload.slot] = json.loads(body)
    return found


def _catalog_before(store: Reading, start: int) -> CatalogStood:
    for record in reversed(store.search(Query(kind="catalog.*", before_seq=start, limit=_LOOK_BACK))):
        members = parse(record.leaf)
        if members["facts"].get("aspect") == CATALOG:
            return CatalogStood(_bodies(members, store.payload(record.seq, "standing")).get("standing", {}))
    return CatalogStood({})


def span_of(store: Reading, since_ns: int, until_ns: int) -> tuple[int, int]:
    """Return the sequence numbers of the first record of that time, and of the first after it.

    Raises:
        LedgerUnavailable: the log cannot be read, or is empty.
    """
    size = store.size()
    if not size:
        raise LedgerUnavailable("nothing was recorded yet")
    start = next(iter(store.first_since(0, since_ns)), size)
    return start, next(iter(store.first_since(start, until_ns)), size) if start < size else size
