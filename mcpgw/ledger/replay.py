"""A session step by step, as it happened: what its client asked and was answered, and what went on behind it.

A step is one record. Those of the session are the client's; between them stand the acts of other people on its held calls,
which are in no session. A source gives the records: the log itself (`LogSource`) or an evidence package (`PackageSource`).
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from mcpgw.core.summary import is_attended
from mcpgw.ledger.evidence import MANIFEST, PAYLOADS, RECORDS
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.search import within_session
from mcpgw.ledger.store import Query, Reading
from mcpgw.ledger.vault import SEALED_SLOTS

_WINDOW = 16_384
"""Records of the log that are looked through at once for those of the session: bounds memory."""
_LABELS = {
    "arguments.clean": "arguments",
    "question": "question",
    "answer": "answer",
    "result.clean": "result",
    "comment": "comment",
}
"""What is shown of a record's payloads, in this order."""


class Side(StrEnum):
    CLIENT = "client"
    """What the client did, or was told."""
    PEOPLE = "people"
    """What others did about its calls; the client does not see it."""
    GATEWAY = "gateway"


class Tone(StrEnum):
    PLAIN = "plain"
    GOOD = "good"
    HELD = "held"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Raw:
    """What the vault had of a payload, opened by somebody with a key."""

    text: str
    """JSON; empty where it could not be opened."""
    note: str
    """What it is to be believed for."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A clean payload of a step."""

    label: str
    slot: str
    text: str
    """JSON as it was recorded; empty where it is not there any more."""
    raw: tuple[Raw, ...] = ()


Opener: TypeAlias = Callable[[Members, str, bytes], Raw]
"""A record, the slot of one of its raw payloads, and the age file that it is sealed in, to what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    seq: int
    """The record's number in the log."""
    time_ns: int
    offset_ns: int
    """Since the first step."""
    side: Side
    kind: str
    who: str
    title: str
    """What happened, in a few words."""
    tone: Tone
    marks: tuple[str, ...]
    """What is to be noticed: decision, rules, reasons, votes, grants, masking, gaps."""
    call: str
    shown: tuple[Shown, ...]
    place: int = field(compare=False)
    """Where it stands among the steps: at this record. What others did on a call or grant before the session had to do with it
    stands at the session's record that names it, in front."""


class Source(Protocol):
    def session(self, session: str) -> Iterator[Members]:
        """Yield the session's records in their order.

        Raises:
            LedgerUnavailable: the log cannot be read.
            ValueError: a record is damaged.
        """
        ...

    def approval(self, approval_id: str) -> Sequence[Members]:
        """Return what is told of an approval, in order. Raises as `session`."""
        ...

    def payloads(self, seq: int) -> Mapping[str, bytes]:
        """Return a record's payloads by slot, as far as they are there. Raises as `session`."""
        ...


def steps(source: Source, session: str, openers: Sequence[Opener] = (), *, after: int = -1) -> Iterator[Step]:
    """Yield the session's steps behind the place `after`; nothing where there is no such session.

    Records up to there are looked at, because what others do later belongs to them, but nothing beside them is read.
    `openers` open what is sealed.

    Raises:
        LedgerUnavailable: the log cannot be read.
        ValueError: a record or a payload is damaged.
    """
    begun_ns, due = -1, 0
    calls: dict[str, int] = {}
    beside: list[tuple[int, int, Members]] = []
    known: set[str] = set()

    def step(place: int, members: Members, missing: int = 0, waited: tuple[str, ...] = ()) -> Iterator[Step]:
        if place > after:
            made = _step(members, source.payloads(members["seq"]), begun_ns, openers, place)
            yield replace(made, marks=(*_gap(missing), *made.marks, *waited))

    for members in source.session(session):
        seq = members["seq"]
        begun_ns = int(members["time_ns"]) if begun_ns < 0 else begun_ns
        for approval_id in sorted({*_approvals_in(members)} - known):
            known.add(approval_id)
            for told in source.approval(approval_id):
                if told["kind"].startswith("approval."):
                    heapq.heappush(beside, (max(told["seq"], seq), told["seq"], told))
        while beside and beside[0][0] <= seq:
            place, _, told = heapq.heappop(beside)
            yield from step(place, told)
        number = members["session"]["seq"] if "session" in members else due
        yield from step(seq, members, number - due, _waited(members, calls))
        due = number + 1
    while beside:
        place, _, told = heapq.heappop(beside)
        yield from step(place, told)


def _gap(missing: int) -> tuple[str, ...]:
    return (f"{missing} records of the session before it are not here",) if missing > 0 else ()


def _waited(members: Members, calls: dict[str, int]) -> tuple[str, ...]:
    """Say how long a client waited for its answer."""
    kind, call, time_ns = members["kind"], str(members.get("call", "")), int(members["time_ns"])
    if kind == "call.outcome" and call in calls:
        return (f"answered after {(time_ns - calls.pop(call)) / 1e6:.1f} ms",)
    if kind == "call.intent":
        calls[call] = int(members.get("received_ns", time_ns))
    return ()


def _approvals_in(members: Members) -> Iterator[str]:
    approval = members.get("approval", {})
    return (approval[name] for name in ("id", "accepts") if name in approval)


# --- one record ----------------------------------------------------------------------------------------------------------


def _step(members: Members, payloads: Mapping[str, bytes], begun_ns: int, openers: Sequence[Opener], place: int) -> Step:
    kind, time_ns = str(members["kind"]), int(members["time_ns"])
    commitments = members.get("payloads", {})
    title, tone = _title(kind, members)
    return Step(
        seq=members["seq"],
        time_ns=time_ns,
        offset_ns=max(0, time_ns - begun_ns),
        side=_side(kind, members),
        kind=kind,
        who=str(members["who"]["sub"] if "who" in members else members.get("actor", "")),
        title=title,
        tone=tone,
        marks=tuple(_marks(kind, members)),
        call=str(members.get("call", "")),
        shown=tuple(
            Shown(label, slot, payloads[slot].decode() if slot in payloads else "", _raw(members, slot, payloads, openers))
            for slot, label in _LABELS.items()
            if slot in commitments
        ),
        place=place,
    )


def _raw(members: Members, slot: str, payloads: Mapping[str, bytes], openers: Sequence[Opener]) -> tuple[Raw, ...]:
    sealed = slot.replace(".clean", ".sealed")
    if sealed == slot or sealed not in payloads:
        return ()
    return tuple(opener(members, slot.replace(".clean", ".raw"), payloads[sealed]) for opener in openers)


def _side(kind: str, members: Members) -> Side:
    if kind.startswith(("call.", "session.opened")) and kind != "call.indeterminate":
        return Side.CLIENT
    return Side.PEOPLE if "who" in members else Side.GATEWAY


def _title(kind: str, members: Members) -> tuple[str, Tone]:
    target = str(members.get("target", {}).get("name", ""))
    outcome, approval = members.get("outcome", {}), members.get("approval", {})
    match kind:
        case "session.opened":
            return "opens a session", Tone.PLAIN
        case "session.closed":
            return "the session is closed", Tone.PLAIN
        case "call.intent" | "call.refused" | "call.outcome" if members.get("subscribes"):
            return _subscription(kind, target, outcome)
        case "call.intent":
            return f"calls {target}, and it runs", Tone.GOOD
        case "call.asked":
            return f"is asked by {target}, which waits for the answer", Tone.HELD
        case "call.answered":
            return f"answers {target}, which goes on", Tone.GOOD
        case "call.unanswered":
            return f"gets no answer through to {target}", Tone.BAD
        case "call.held":
            return f"calls {target}, and it is held", Tone.HELD
        case "call.refused":
            return f"calls {target}, and is refused", Tone.BAD
        case "call.outcome" if "replayed_from" in members:
            return f"calls {target}, and is given the approved call's answer again", Tone.GOOD
        case "call.outcome" if outcome["class"] == "completed":
            return f"is answered by {target}", Tone.GOOD
        case "call.outcome" if outcome["class"] == "tool_error":
            return f"is answered by {target} with an error", Tone.BAD
        case "call.outcome":
            return f"is told that {target} failed", Tone.BAD
        case "call.indeterminate":
            return "what became of the call is unknown", Tone.BAD
        case "approval.voted":
            return f"votes to {approval['verdict']}", Tone.GOOD if approval["verdict"] == "approve" else Tone.BAD
        case "approval.proposed":
            return "denies the call and proposes other arguments", Tone.HELD
        case "approval.settled" | "approval.break_glass":
            how = " by breaking the glass" if kind.endswith("glass") else ""
            return f"the call is {approval['state']}{how}", Tone.GOOD if approval["state"] == "approved" else Tone.BAD
    return _DEEDS.get(kind, kind), Tone.HELD if kind.startswith("approval.") else Tone.PLAIN


def _subscription(kind: str, target: str, outcome: Mapping[str, Any]) -> tuple[str, Tone]:
    """Name a step of asking to be told of a resource's changes, which reads nothing."""
    if kind == "call.intent":
        return f"asks to be told when {target} changes, and may", Tone.GOOD
    if kind == "call.outcome" and outcome["class"] == "completed":
        return f"will be told when {target} changes", Tone.GOOD
    return f"asks to be told when {target} changes, and is not", Tone.BAD


_DEEDS = {
    "approval.vote_withdrawn": "takes the vote back",
    "approval.withdrawn": "withdraws the call",
    "approval.revoked": "revokes the approval",
    "approval.escalated": "nobody answered, and others are asked",
    "approval.lapsed": "what was proposed has lapsed",
    "approval.resolved": "says what became of the call",
    "approval.reviewed": "looked at the use of break-glass",
}


def _marks(kind: str, members: Members) -> Iterator[str]:
    decision, outcome, approval = (members.get(name, {}) for name in ("decision", "outcome", "approval"))
    if decision:
        rules = ", ".join(decision["rules"])
        yield decision["effect"] + (f" by {rules}" if rules else "")
        yield from (
            f"would be {one['effect']} by {one['rule']}, which is being tried out" for one in decision.get("observed", ())
        )
    yield from dict.fromkeys(str(part["reason"]) for part in (decision, outcome, approval) if part.get("reason"))
    if "code" in outcome:
        yield f"{outcome['class']}: {outcome['code']}"
    yield from _approval_marks(approval)
    if kind.startswith("call.") and not is_attended(members):
        yield "made by the gateway in its client's place: nobody waited for it"
    if kind != "session.opened" and members.get("origin", {}).get("via"):
        yield f"named through {members['origin']['via']}"
    if "previews" in members:
        yield f"preview of the held call {members['previews']}"
    if "replayed_from" in members:
        yield f"the answer of call {members['replayed_from']}"
    for manifest in members.get("masking", {}).values():
        for entity, path, how, count in manifest["masked"]:
            often = f", {count} times" if count > 1 else ""
            yield f"masked: {entity} at {path}{often}, found by {how}"
        if manifest.get("masked_cut"):
            yield f"masked: {manifest['masked_cut']} more"
    if members.get("payloads", {}).keys() & SEALED_SLOTS:
        yield "the raw payload is sealed in the vault"
    if kind == "session.opened":
        origin = members["origin"]
        yield " ".join(part for part in (origin["transport"], origin["protocol"], origin["client"], origin["address"]) if part)
    if "counts" in members:
        yield ", ".join(f"{count} {name}" for name, count in members["counts"].items())


def _approval_marks(approval: Mapping[str, Any]) -> Iterator[str]:
    if "id" in approval:
        yield f"approval {approval['id']}"
    if "accepts" in approval:
        yield f"takes up what was proposed on {approval['accepts']}"
    if "grant" in approval:
        grant = approval["grant"]
        total = f", together {grant['max_total']} of {grant['total_of']}" if grant["total_of"] else ""
        yield f"asks for a grant of {grant['max_calls']} calls{total}"
    if "use" in approval:
        amount = f", {approval['use']['amount']}" if approval["use"]["amount"] else ""
        yield f"use {approval['use']['number']} of a grant{amount}"
    if approval.get("break_glass"):
        yield "breaks the glass"
    if "changed" in approval:
        yield f"changes {', '.join(approval['changed'])}"
    if "happened" in approval:
        yield f"says that it happened: {approval['happened']}"


# --- where records come from ---------------------------------------------------------------------------------------------


class LogSource:
    """`Source` of a log. Nothing of it is checked here: `mcpgw verify` does that."""

    def __init__(self, store: Reading) -> None:
        self._store = store

    def session(self, session: str) -> Iterator[Members]:
        query = within_session(self._store, session, Query(before_seq=self._store.size(), limit=_WINDOW))
        for start in range(query.after_seq + 1, query.before_seq, _WINDOW):
            end = min(start + _WINDOW, query.before_seq)
            for record in self._store.search(replace(query, after_seq=start - 1, before_seq=end)):
                yield parse(record.leaf)

    def approval(self, approval_id: str) -> Sequence[Members]:
        return [parse(record.leaf) for record in self._store.search(Query(approval_id=approval_id, limit=_WINDOW))]

    def payloads(self, seq: int) -> Mapping[str, bytes]:
        return {payload.slot: unpack(payload.packed) for payload in self._store.payloads(seq, seq + 1)}


class PackageSource:
    """`Source` of the files of a package that was checked."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._records = [parse(line) for line in files[RECORDS].splitlines()]
        self._payloads: dict[int, dict[str, bytes]] = defaultdict(dict)
        self.has_raw = bool(json.loads(files[MANIFEST])["facts"]["query"].get("raw"))
        """Whether sealed raw payloads were asked for."""
        for told in map(json.loads, files[PAYLOADS].splitlines()):
            body = told["body"].encode() if "body" in told else files[told["file"]]
            self._payloads[told["seq"]][told["slot"]] = body

    def session(self, session: str) -> Iterator[Members]:
        return (one for one in self._records if one.get("session", {}).get("id") == session)

    def approval(self, approval_id: str) -> Sequence[Members]:
        return [one for one in self._records if one.get("approval", {}).get("id") == approval_id]

    def payloads(self, seq: int) -> Mapping[str, bytes]:
        return self._payloads.get(seq, {})


def as_data(step: Step) -> dict[str, Any]:
    """Return the step as JSON for programs. Texts are as they were recorded: whoever shows them escapes them."""
    return {
        "seq": step.seq,
        "time_ns": str(step.time_ns),
        "offset_ns": str(step.offset_ns),
        "side": step.side.value,
        "kind": step.kind,
        "who": step.who,
        "title": step.title,
        "tone": step.tone.value,
        "marks": list(step.marks),
        "call": step.call,
        "shown": [{"label": one.label, "slot": one.slot, "text": one.text, "gone": not one.text} for one in step.shown],
    }
