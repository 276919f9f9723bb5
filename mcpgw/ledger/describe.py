"""What a record says: the one place where a noun of the corridor becomes the members of a leaf."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypeAlias

from mcpgw.core.canonical import SALT_BYTES, commitment
from mcpgw.core.entries import (
    Entry,
    Escalated,
    Event,
    Interviewed,
    Joined,
    Lapsed,
    Opened,
    Proposed,
    Refusal,
    Rejection,
    Resolved,
    Reviewed,
    Settled,
    SettledAs,
    Stopped,
    Turn,
    Vote,
    VoteWithdrawn,
)
from mcpgw.core.model import (
    Call,
    CleanReply,
    Commitment,
    Failed,
    Hold,
    Identity,
    Intent,
    Manifest,
    Origin,
    Outcome,
    Refused,
    Replay,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    UnknownTarget,
)
from mcpgw.core.terms import as_data
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.record import Draft, Members, Payload, Unrecordable, pack
from mcpgw.ledger.vault import ARGUMENTS, RESULT

MAX_TEXT = 1024
"""Longest text of ours (reasons), in characters."""
_MAX_NAME = 128
"""Longest text of somebody else's (unknown names, ids, addresses), in characters: enough to recognise it."""
MAX_LIST = 64
"""Longest list of groups, actors and rules; what is cut off is counted."""
_MAX_MASKED = 200
"""Longest masking manifest, in lines; what is cut off is counted."""
_MAX_MASKED_BYTES = 32_768
"""The same in bytes. Paths are made of a caller's or an upstream's keys: nobody may choose ones that fill the leaf (64 KiB), or
he could make a call of which there is no record of its own."""
_PAYLOADS = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""Made once: `json.dumps` makes one for each payload."""
_MAX_EXACT_INT = 2**53
"""From here on JSON numbers are not exact for every reader (RFC 7493 section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordContext:
    """What the gateway was when it wrote a record."""

    version: str
    config_hash: str
    catalog_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Indeterminate:
    """An intent whose process died before its outcome: the effect may have happened. Written by recovery alone."""

    call_id: str
    intent_seq: int
    intent_node: str
    approval_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """Record 0 of a session. Written by the writer alone, together with record 1."""

    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """The last record of a session."""

    session_id: str
    key: str
    counts: Mapping[str, int]
    """How many records it has, this one included, and how many calls by what was decided on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryPage:
    """One record of a daily summary. `identities`, which tells who the pseudonyms are, is a payload that can be erased."""

    facts: Mapping[str, object]
    identities: Mapping[str, object]


Recordable: TypeAlias = Entry | Indeterminate | SessionOpened | SessionClosed | SummaryPage


def draft(entry: Recordable, *, node: str, context: RecordContext) -> Draft:
    """Describe an entry for the log, with fresh salts for what it commits to.

    Raises:
        Unrecordable: the entry holds something that a leaf cannot: a float, a large integer, a type that is not JSON's.
    """
    sheet = _Sheet()
    try:
        kind = _describe(entry, sheet)
    except ValueError as error:
        raise Unrecordable(f"a {type(entry).__name__} cannot be recorded: {error}") from error
    gateway = {"version": context.version, "config": context.config_hash, "catalog": context.catalog_hash}
    members = {**sheet.members, "gateway": gateway, "node": node, "mono_ns": str(time.monotonic_ns())}
    if sheet.commitments:
        members["payloads"] = sheet.commitments
    return Draft(event_id=new_id(), kind=kind, members=members, payloads=tuple(sheet.payloads))


# --- what each entry says ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sheet:
    """A record while it is being filled in."""

    members: Members = field(default_factory=dict)
    commitments: Members = field(default_factory=dict)
    payloads: list[Payload] = field(default_factory=list)

    def keep(self, slot: str, body: bytes) -> None:
        """Commit to a payload under a fresh salt, and hand both to the store."""
        salt = secrets.token_bytes(SALT_BYTES)
        self.commitments[slot] = {"sha256": commitment(salt, body), "size": len(body)}
        self.payloads.append(Payload(slot=slot, salt=salt, packed=pack(body)))

    def commit(self, slot: str, made: Commitment) -> None:
        """Note a commitment whose payload nobody keeps. Its salt is not kept either: with it, and with the clean view
        beside it, whoever reads the store could guess a masked number until the hash fits.
        """
        self.commitments[slot] = {"sha256": made.digest, "size": made.size}

    def seal(self, slot: str, files: tuple[bytes, ...]) -> None:
        """Keep what is encrypted already: the commitment is to the file, so that everybody can check it."""
        for file in files:
            self.keep(slot, file)

    def shown(self, shown: ShownCall) -> None:
        call = shown.call
        self.members["call"] = call.id
        self.members["who"] = _who(call.identity)
        self.members["target"] = _target(call.target)
        self.members["origin"] = _origin(call.origin)
        self.members["received_ns"] = str(call.received_ns)
        self.aim(call)
        self.members["masking"] = {"arguments": _manifest(shown.manifest)}
        self.keep("arguments.clean", payload_bytes(shown.arguments))
        if call.identity.claims:
            self.keep("claims", payload_bytes(call.identity.claims))  # people's, so where they can be erased
        self.commit("arguments.raw", shown.raw)
        self.seal(ARGUMENTS, shown.sealed)

    def goes_on(self, intent: Sealed[Intent]) -> None:
        """Say which call under way it belongs to."""
        call = intent.entry.shown.call
        self.members["call"] = call.id
        self.members["who"] = _who(call.identity)
        self.members["target"] = _target(call.target)
        self.members["origin"] = _origin(call.origin)
        self.members["intent"] = {"id": intent.event_id, "seq": intent.seq}
        self.aim(call)

    def aim(self, call: Call) -> None:
        """Say what it is for, where it is not the reply alone: the preview of a held call, which spends no approval, or to be
        told of changes."""
        if call.previews:
            self.members["previews"] = call.previews
        if call.subscribes:
            self.members["subscribes"] = True

    def reply(self, reply: CleanReply) -> None:
        self.members["outcome"] = {"class": "tool_error" if reply.is_error else "completed", "reply": reply.kind.value}
        self.members["masking"] = {"result": _manifest(reply.manifest)}
        self.keep("result.clean", payload_bytes(reply.payload))
        self.commit("result.raw", reply.raw)
        self.seal(RESULT, reply.sealed)


def _describe(entry: Recordable, sheet: _Sheet) -> str:
    """Fill in the sheet and return the record's kind."""
    match entry:
        case Intent():
            return _intent(entry, sheet)
        case Outcome():
            return _outcome(entry, sheet)
        case Interviewed():
            return _interviewed(entry, sheet)
        case Replay():
            return _replay(entry, sheet)
        case Refusal():
            return _refusal(entry, sheet)
        case Rejection():
            return _rejection(entry, sheet)
        case Opened():
            return _opened(entry, sheet)
        case Joined():
            return _joined(entry, sheet)
        case Vote():
            return _vote(entry, sheet)
        case VoteWithdrawn():
            return _vote_withdrawn(entry, sheet)
        case Proposed():
            return _proposed(entry, sheet)
        case Lapsed():
            return _lapsed(entry, sheet)
        case Escalated():
            return _escalated(entry, sheet)
        case Settled():
            return _settled(entry, sheet)
        case Stopped():
            return _stopped(entry, sheet)
        case Resolved():
            return _resolved(entry, sheet)
        case Reviewed():
            return _reviewed(entry, sheet)
        case Event():
            return _event(entry, sheet)
        case SessionOpened():
            return _session_opened(entry, sheet)
        case SessionClosed():
            return _session_closed(entry, sheet)
        case SummaryPage():
            return _summary_page(entry, sheet)
    return _indeterminate(entry, sheet)


def _intent(entry: Intent, sheet: _Sheet) -> str:
    sheet.shown(entry.shown)
    sheet.members["decision"] = _decision("allow", entry.allow.ruling)
    if entry.allow.approval is not None:
        sheet.members["approval"] = {"id": entry.allow.approval.id, "digest": entry.allow.approval.digest}
        for amount in entry.allow.approval.amounts:
            sheet.members["approval"]["use"] = {"amount": amount}  # its number comes with its place: `of_use`
    return "call.intent"


def of_use(draft: Draft, number: int) -> Draft:
    """Return the draft of an intent under a grant, with the number of its use: known only once the store is locked."""
    approval = draft.members["approval"]
    numbered = {**approval, "use": {**approval["use"], "number": number}}
    return replace(draft, members={**draft.members, "approval": numbered})


def _outcome(entry: Outcome, sheet: _Sheet) -> str:
    approval = entry.intent.entry.allow.approval
    sheet.goes_on(entry.intent)
    sheet.members["latency_ns"] = dict(entry.latency_ns)
    if approval is not None:
        sheet.members["approval"] = {"id": approval.id}
    if isinstance(entry.result, Failed):
        failed = entry.result
        reason = cut(failed.reason, MAX_TEXT)
        sheet.members["outcome"] = {"class": "failed", "code": failed.code.value, "reason": reason, "reached": failed.reached}
    else:
        sheet.reply(entry.result)
    return "call.outcome"


def _interviewed(entry: Interviewed, sheet: _Sheet) -> str:
    sheet.goes_on(entry.intent)
    if entry.turn is Turn.UNANSWERED:
        sheet.members["outcome"] = {"class": "unanswered", "reason": cut(entry.reason, MAX_TEXT)}
    else:
        sheet.keep("question" if entry.turn is Turn.ASKED else "answer", payload_bytes(entry.clean))
    return f"call.{entry.turn.value}"


def _replay(entry: Replay, sheet: _Sheet) -> str:
    sheet.shown(entry.shown)
    reply = entry.done.reply
    sheet.members["decision"] = _decision("hold", entry.ruling)
    sheet.members["approval"] = {"id": entry.done.approval_id}
    sheet.members["outcome"] = {"class": "tool_error" if reply.is_error else "completed", "reply": reply.kind.value}
    sheet.members["replayed_from"] = entry.done.call_id  # whose outcome record commits to the reply that was given again
    return "call.outcome"


def _refusal(entry: Refusal, sheet: _Sheet) -> str:
    sheet.shown(entry.shown)
    if entry.ruling is not None:
        judged = {"judged": "hold" if isinstance(entry.judged, Hold) else "allow"} if entry.judged else {}
        sheet.members["decision"] = {**_decision("deny", entry.ruling), **judged}
    sheet.members["outcome"] = _refused(entry.refused)
    if entry.refused.approval_id:
        sheet.members["approval"] = {"id": entry.refused.approval_id}
    return "call.refused"


def _rejection(entry: Rejection, sheet: _Sheet) -> str:
    sheet.members["origin"] = _origin(entry.origin)
    sheet.members["actor"] = cut(entry.principal, MAX_TEXT)
    sheet.members["outcome"] = _refused(entry.refused)
    return "call.refused"


def _opened(entry: Opened, sheet: _Sheet) -> str:
    sheet.shown(entry.shown)
    hold = entry.hold
    sheet.members["decision"] = _decision("hold", hold.ruling)
    sheet.members["approval"] = {
        "id": entry.approval_id,
        "how": "opened",
        "digest": entry.digest,
        "request_key": entry.request_key,
        "terms": as_data(hold.terms),
        "deadline_ns": str(entry.deadline_ns),
        **({"accepts": entry.accepts} if entry.accepts else {}),
    }
    for one in entry.allowances:
        sheet.members["approval"]["grant"] = {**asdict(one), "until_ns": str(one.until_ns)}
    sheet.keep("facts", payload_bytes(entry.facts))
    return "call.held"


def _joined(entry: Joined, sheet: _Sheet) -> str:
    sheet.shown(entry.shown)
    sheet.members["decision"] = _decision("hold", entry.ruling)
    sheet.members["approval"] = {"id": entry.approval_id, "how": "joined"}
    return "call.held"


def _vote(entry: Vote, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.voter)
    sheet.members["approval"] = {
        "id": entry.approval_id,
        "verdict": entry.verdict.value,
        "shown": entry.shown,
        "fits": list(entry.fits),
        "break_glass": entry.break_glass,
    }
    _comment(entry.comment, sheet)
    return "approval.voted"


def _vote_withdrawn(entry: VoteWithdrawn, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.voter)
    sheet.members["approval"] = {"id": entry.approval_id}
    _comment(entry.comment, sheet)
    return "approval.vote_withdrawn"


def _proposed(entry: Proposed, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.person)
    sheet.members["approval"] = {
        "id": entry.approval_id,
        "state": "denied",
        "shown": entry.shown,
        "fits": list(entry.fits),
        "request_key": entry.request_key,
        "changed": [cut(path, _MAX_NAME) for path in entry.changed[:MAX_LIST]],
        "changed_cut": len(entry.changed[MAX_LIST:]),
    }
    sheet.commit("arguments.raw", entry.arguments)
    _comment(entry.comment, sheet)
    return "approval.proposed"


def _lapsed(entry: Lapsed, sheet: _Sheet) -> str:
    sheet.members["actor"] = "gateway"
    sheet.members["approval"] = {"id": entry.approval_id}
    return "approval.lapsed"


def _escalated(entry: Escalated, sheet: _Sheet) -> str:
    sheet.members["actor"] = "gateway"
    sheet.members["approval"] = {"id": entry.approval_id, "level": entry.level, "asked": list(entry.asked[:MAX_LIST])}
    return "approval.escalated"


def _settled(entry: Settled, sheet: _Sheet) -> str:
    reason = cut(entry.reason, MAX_TEXT)
    counted = {"ballots": entry.ballots} if entry.state is SettledAs.APPROVED else {}  # so that none can be withheld later
    sheet.members["approval"] = {"id": entry.approval_id, "state": entry.state.value, "reason": reason, **counted}
    return "approval.break_glass" if entry.break_glass else "approval.settled"


def _stopped(entry: Stopped, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.person)
    sheet.members["approval"] = {"id": entry.approval_id, "state": entry.state.value}
    _comment(entry.comment, sheet)
    return f"approval.{entry.state.value}"


def _resolved(entry: Resolved, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.person)
    sheet.members["approval"] = {"id": entry.approval_id, "happened": entry.happened.value}
    _comment(entry.comment, sheet)
    return "approval.resolved"


def _reviewed(entry: Reviewed, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.person)
    sheet.members["approval"] = {"id": entry.approval_id}
    _comment(entry.comment, sheet)
    return "approval.reviewed"


def _comment(comment: str, sheet: _Sheet) -> None:
    """People write names into comments: committed to, not quoted."""
    if comment:
        sheet.keep("comment", payload_bytes(comment))


def _event(entry: Event, sheet: _Sheet) -> str:
    sheet.members["actor"] = cut(entry.actor, MAX_TEXT)
    _check_plain(entry.facts)
    sheet.members["facts"] = dict(entry.facts)
    if entry.document:
        # What the gateway stood for is kept as long as its records; other documents hold what people said, and are erased.
        sheet.keep("standing" if "aspect" in entry.facts else "document", payload_bytes(entry.document))
    return entry.kind


def _indeterminate(entry: Indeterminate, sheet: _Sheet) -> str:
    sheet.members["actor"] = "gateway"
    sheet.members["call"] = entry.call_id
    sheet.members["intent"] = {"seq": entry.intent_seq, "node": entry.intent_node}
    sheet.members["outcome"] = {"class": "indeterminate", "reason": entry.reason}
    if entry.approval_id:
        sheet.members["approval"] = {"id": entry.approval_id}
    return "call.indeterminate"


def _session_opened(entry: SessionOpened, sheet: _Sheet) -> str:
    sheet.members["who"] = _who(entry.call.identity)
    sheet.members["origin"] = _origin(entry.call.origin)
    if entry.call.origin.conversation:
        sheet.keep("conversation", payload_bytes(entry.call.origin.conversation))  # the client's text: committed to, not quoted
    return "session.opened"


def _summary_page(entry: SummaryPage, sheet: _Sheet) -> str:
    sheet.members["actor"] = "gateway"
    sheet.members["facts"] = dict(entry.facts)
    sheet.keep("identities", payload_bytes(entry.identities))
    sheet.keep("salt", payload_bytes(entry.identities["salt"]))  # alone: it finds one caller without naming the others
    return "summary.daily"


def _session_closed(entry: SessionClosed, sheet: _Sheet) -> str:
    sheet.members["actor"] = "gateway"
    sheet.members["counts"] = dict(entry.counts)
    return "session.closed"


# --- the parts they are made of ------------------------------------------------------------------------------------------


def _who(identity: Identity) -> Members:
    groups, scopes = sorted(identity.groups), sorted(identity.scopes)
    carried = {"scopes": scopes[:MAX_LIST], "scopes_cut": len(scopes[MAX_LIST:])} if scopes else {}
    return {
        "iss": identity.issuer,
        "sub": identity.subject,
        "kind": identity.kind.value,
        "method": identity.method,
        "client": cut(identity.client_id, _MAX_NAME),
        "credential": cut(identity.credential_id, _MAX_NAME),
        "auth_time": min(identity.auth_time, _MAX_EXACT_INT - 1),
        "acr": cut(identity.acr, _MAX_NAME),
        "amr": list(identity.amr[:MAX_LIST]),
        "actors": list(identity.actors[:MAX_LIST]),
        "groups": groups[:MAX_LIST],
        "groups_cut": len(groups[MAX_LIST:]),
        **carried,
    }


def _target(target: Target | UnknownTarget) -> Members:
    if isinstance(target, UnknownTarget):
        return {"kind": target.kind.value, "name": cut(target.name, _MAX_NAME)}
    return {
        "kind": target.kind.value,
        "name": target.name,
        "server": target.server,
        "fingerprint": target.server_fingerprint,
        "upstream": cut(target.upstream_name, MAX_TEXT),
        "definition": target.definition_hash,
    }


def _origin(origin: Origin) -> Members:
    return {
        "transport": origin.transport,
        "protocol": cut(origin.protocol_version, _MAX_NAME),
        "request": cut(origin.request_id, _MAX_NAME),
        "address": cut(origin.address, _MAX_NAME),
        "client": cut(origin.client, _MAX_NAME),
        "traceparent": cut(origin.traceparent, _MAX_NAME),
        "session": cut(origin.session, _MAX_NAME),
        **({"via": origin.via} if origin.via else {}),
        **({} if origin.attended else {"attended": False}),
    }


def _decision(effect: str, ruling: Ruling) -> Members:
    rules = list(ruling.rule_ids[:MAX_LIST])
    observed = [{"rule": rule, "effect": would_be} for rule, would_be in ruling.observed[:MAX_LIST]]
    tried = {"observed": observed} if observed else {}
    return {"effect": effect, "rules": rules, "reason": cut(ruling.reason, MAX_TEXT), "policy": ruling.policy_hash, **tried}


def _refused(refused: Refused) -> Members:
    return {"class": "refused", "code": refused.code.value, "reason": cut(refused.reason, MAX_TEXT)}


def _manifest(manifest: Manifest) -> Members:
    lines: list[list[str | int]] = []
    left = _MAX_MASKED_BYTES
    for masked in manifest.masked[:_MAX_MASKED]:
        line: list[str | int] = [masked.entity, cut(masked.path, _MAX_NAME), masked.detector, masked.count]
        left -= len(payload_bytes(line))
        if left < 0:
            break
        lines.append(line)
    rest = sum(masked.count for masked in manifest.masked[len(lines) :])
    return {"profile": manifest.profile, "hash": manifest.profile_hash, "masked": lines, "masked_cut": rest}


def payload_bytes(payload: object) -> bytes:
    """Return a clean payload as it is kept: JSON in the order in which the caller saw it.

    Raises:
        ValueError: it is not JSON, or holds a lone surrogate or a number that is not finite.
    """
    try:
        return _PAYLOADS.encode(payload).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a payload cannot be kept: {type(error).__name__}") from error


def cut(text: str, length: int) -> str:
    """Return at most `length` characters that UTF-8 can carry; an ellipsis shows that something was cut off."""
    plain = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def _check_plain(value: object) -> None:
    """Refuse what two readers could read differently: floats, and integers that JSON cannot carry exactly.

    Facts alone need it: every other member is made here, of strings and small integers.
    """
    match value:
        case float():
            raise ValueError("a record holds no floats")
        case bool() | str() | None:
            return
        case int():
            if abs(value) >= _MAX_EXACT_INT:
                raise ValueError("a record holds integers below 2^53 only; write larger ones as strings")
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str) or not key.isascii():
                    raise ValueError("a record's names are ASCII")
                _check_plain(item)
        case list() | tuple():
            for item in value:
                _check_plain(item)
        case _:
            raise ValueError(f"a record cannot hold a {type(value).__name__}")
