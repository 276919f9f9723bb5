"""What clients, upstreams and the record say of the same calls, and what must be true of the three together. Pure.

A *deed* is the name that a client gives to one thing that it wants done; it travels in the arguments, so all three know it. No
client wants a deed twice: it asks again, with identical arguments, only where it was told that its call is held.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Said(StrEnum):
    """What a client heard."""

    COMPLETED = "completed"
    HELD = "held"
    REFUSED = "refused"
    FAILED = "failed"
    """The gateway has no reply to show, and says whether there may have been an effect."""
    TURNED_AWAY = "turned away"
    """HTTP 503 of a gateway that is shutting down: the message never became a call."""
    NOTHING_DONE = "nothing done"
    """The record cannot be written, and so nothing was done."""
    WITHHELD = "withheld"
    """It ran, and what came of it could not be recorded."""
    GIVEN_UP = "given up"
    """Cancelled by a gateway that is shutting down; the record says how far it came."""
    NOTHING = "nothing"
    """The connection broke before an answer."""
    ODD = "odd"
    """None of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    deed: str
    said: Said
    call: str = ""
    """The call id, where the answer carries one."""
    approval: str = ""
    echo: str = ""
    """The deed that the upstream's reply names; empty where there is none."""
    harmless: bool = False
    """A failure that says that it had no effect."""
    replayed: bool = False
    """The recorded reply of an earlier call."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of an upstream's journal."""

    tool: str
    deed: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the log, as far as it matters here."""

    seq: int
    kind: str
    time_ns: int = 0
    call: str = ""
    deed: str = ""
    """From the clean arguments beside the record; empty where the record has none."""
    tool: str = ""
    """The upstream's name of the tool."""
    who: str = ""
    outcome: str = ""
    code: str = ""
    reached: bool = True
    approval: str = ""
    settled: str = ""
    verdict: str = ""
    calls: int = 0
    """Of a grant that is asked for: how many calls it is to cover; 0 for a held call."""
    total: int = 0
    """Of the same: how much they may add up to."""
    use: int = 0
    """Of an intent under a grant: which of its uses it is, the first being 1."""
    amount: int = 0
    """Of the same: what it adds to the total."""


_BEFORE_ANY_EFFECT = frozenset({Said.NOTHING_DONE, Said.HELD, Said.REFUSED, Said.TURNED_AWAY})
INTENT, OUTCOME, INDETERMINATE = "call.intent", "call.outcome", "call.indeterminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    answers: Sequence[Answer] = ()
    effects: Sequence[Effect] = ()
    entries: Sequence[Entry] = ()
    risky: frozenset[str] = frozenset({"risky"})
    """Tools whose calls need an approval."""
    left_open: Mapping[str, int] = field(default_factory=dict)
    """Calls whose intent had no end to be seen after some kill, and when that was (Unix nanoseconds)."""
    recovered: bool = True
    """A gateway has started, or ended in order, since: then no intent is without its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    intents: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """By call."""
    wanted: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """Intents by deed."""
    ends: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """Outcomes and indeterminates by call; replays end no intent."""
    replays: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    effects: Mapping[str, Sequence[Effect]] = field(default_factory=dict)
    """By deed."""
    approvals: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """Everything that names an approval, by approval."""

    @classmethod
    def of(cls, history: History) -> "_Index":
        def by(key: Callable[[Entry], str], *kinds: str, replays: bool = False) -> dict[str, list[Entry]]:
            found: dict[str, list[Entry]] = defaultdict(list)
            for entry in history.entries:
                if (not kinds or entry.kind in kinds) and (entry.kind != OUTCOME or bool(entry.deed) is replays):
                    found[key(entry)].append(entry)
            return found

        effects: dict[str, list[Effect]] = defaultdict(list)
        for effect in history.effects:
            effects[effect.deed].append(effect)
        return cls(
            intents=by(lambda entry: entry.call, INTENT),
            wanted=by(lambda entry: entry.deed, INTENT),
            ends=by(lambda entry: entry.call, OUTCOME, INDETERMINATE),
            replays=by(lambda entry: entry.call, OUTCOME, replays=True),  # a replay alone has arguments of its own
            effects=effects,
            approvals=by(lambda entry: entry.approval),
        )

    def deed_of(self, call: str) -> str:
        return next((intent.deed for intent in self.intents.get(call, ())), "")


# --- the promises --------------------------------------------------------------------------------------------------------


def every_completed_answer_is_recorded(history: History, index: _Index) -> Iterator[str]:
    for answer in history.answers:
        if answer.said is not Said.COMPLETED:
            continue
        records = (index.replays if answer.replayed else index.ends).get(answer.call, ())
        if not any(record.outcome == "completed" for record in records):
            yield f"{answer.deed}: answered under call {answer.call!r}, which has no recorded outcome"
        recorded = next((r.deed for r in records), "") if answer.replayed else index.deed_of(answer.call)
        if {answer.deed, answer.echo} != {recorded}:
            yield f"{answer.deed}: answered with {answer.echo!r} under a call that is recorded for {recorded!r}"
    calls = Counter(answer.call for answer in history.answers if answer.said is Said.COMPLETED)
    yield from (f"call {call}: answered {times} times" for call, times in calls.items() if times > 1)


def every_other_answer_is_recorded(history: History, index: _Index) -> Iterator[str]:
    recorded = {
        Said.HELD: Counter((e.deed, e.approval) for e in history.entries if e.kind == "call.held"),
        Said.REFUSED: Counter((e.deed, "") for e in history.entries if e.kind == "call.refused"),
        Said.GIVEN_UP: Counter((e.deed, "") for e in history.entries if e.kind in ("call.held", INTENT)),
        Said.FAILED: Counter(
            (index.deed_of(e.call), "") for e in history.entries if e.kind == OUTCOME and e.outcome == "failed"
        ),
    }
    for said, records in recorded.items():
        heard = Counter((a.deed, a.approval if said is Said.HELD else "") for a in history.answers if a.said is said)
        for (deed, approval), times in heard.items():
            if times > records[deed, approval]:
                yield f"{deed}: told {said.value} {approval} {times} times, recorded {records[deed, approval]} times"


def every_answer_is_one_of_ours(history: History, index: _Index) -> Iterator[str]:
    yield from (f"{a.deed}: an answer that means nothing: {a.text}" for a in history.answers if a.said is Said.ODD)


def every_effect_has_an_intent_before_it(history: History, index: _Index) -> Iterator[str]:
    for effect in history.effects:
        intents = [intent for intent in index.wanted.get(effect.deed, ()) if intent.tool == effect.tool]
        if not intents:
            yield f"{effect.deed}: the upstream was asked without an intent"
        elif min(intent.time_ns for intent in intents) > effect.time_ns:
            yield f"{effect.deed}: the upstream was asked before the intent"


def nothing_happens_twice(history: History, index: _Index) -> Iterator[str]:
    for what, groups in (("intents", index.intents), ("ends", index.ends)):
        yield from (f"call {call}: {len(found)} {what}" for call, found in groups.items() if len(found) > 1)
    yield from (f"{deed}: {len(found)} intents" for deed, found in index.wanted.items() if len(found) > 1)
    yield from (f"{deed}: {len(found)} effects" for deed, found in index.effects.items() if len(found) > 1)


def an_end_follows_its_intent(history: History, index: _Index) -> Iterator[str]:
    for call, ends in index.ends.items():
        began = [intent.seq for intent in index.intents.get(call, ())]
        if not began or min(end.seq for end in ends) < min(began):
            yield f"call {call}: an end without an intent before it"


def an_outcome_tells_the_truth(history: History, index: _Index) -> Iterator[str]:
    for call, ends in index.ends.items():
        deed = index.deed_of(call)
        effects = len(index.effects.get(deed, ()))
        for end in ends:
            if end.outcome == "completed" and effects != 1:
                yield f"{deed}: recorded as completed, with {effects} effects"
            if end.outcome == "failed" and not end.reached and effects:
                yield f"{deed}: recorded as never having reached the upstream, with {effects} effects"
    for answer in history.answers:
        if answer.said is Said.FAILED and answer.harmless and index.effects.get(answer.deed):
            yield f"{answer.deed}: the client was told that there was no effect"
    heard: dict[str, set[Said]] = defaultdict(set)
    for answer in history.answers:
        heard[answer.deed].add(answer.said)
    for deed, said in heard.items():
        if Said.NOTHING_DONE in said and said <= _BEFORE_ANY_EFFECT and index.effects.get(deed):
            yield f"{deed}: the client was told that nothing was done"


def an_approval_is_given_by_others_and_spent_once(history: History, index: _Index) -> Iterator[str]:
    for entry in history.entries:
        if entry.kind == INTENT and entry.tool in history.risky and not entry.approval:
            yield f"{entry.deed}: a risky call ran without an approval"
    for approval, entries in index.approvals.items():
        spent = [entry for entry in entries if entry.kind == INTENT]
        if not approval or not spent:
            continue
        first = spent[0]
        before = [entry for entry in entries if entry.seq < first.seq]
        held = {entry.deed for entry in before if entry.kind == "call.held"}
        voters = {entry.who for entry in before if entry.verdict == "approve"}
        if not _grants(before):
            if len(spent) > 1:
                yield f"approval {approval}: spent {len(spent)} times"
            if held != {first.deed}:
                yield f"approval {approval}: asked for {sorted(held)}, spent on {first.deed}"
        if not voters - {first.who} or not any(entry.settled == "approved" for entry in before):
            yield f"approval {approval}: spent without anybody else's approval"


def a_grant_is_used_within_its_bounds(history: History, index: _Index) -> Iterator[str]:
    for approval, entries in index.approvals.items():
        uses = [entry for entry in entries if entry.kind == INTENT]
        for grant in _grants(entries):
            used = sum(use.amount for use in uses)
            if len(uses) > grant.calls or used > grant.total:
                yield f"grant {approval}: {len(uses)} of {grant.calls} calls, {used} of {grant.total} in all"
            if [use.use for use in uses] != list(range(1, len(uses) + 1)):
                yield f"grant {approval}: its uses are numbered {[use.use for use in uses]}"


def _grants(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entry by which a grant was asked for, if these are of one."""
    return [entry for entry in entries if entry.kind == "call.held" and entry.calls][:1]


def who_was_turned_away_never_had_a_call(history: History, index: _Index) -> Iterator[str]:
    heard: dict[str, set[Said]] = defaultdict(set)
    for answer in history.answers:
        heard[answer.deed].add(answer.said)
    yield from (
        f"{d}: turned away, but it ran" for d, said in heard.items() if said == {Said.TURNED_AWAY} and d in index.wanted
    )


def after_recovery_every_intent_has_its_end(history: History, index: _Index) -> Iterator[str]:
    if not history.recovered:
        return
    for call, intents in index.intents.items():
        if not index.ends.get(call):
            yield f"{intents[0].deed}: the intent of call {call} has no end"
    for call, killed_ns in history.left_open.items():
        for end in index.ends.get(call, ()):
            # Killed between a commit and telling its neighbours of it, a process leaves an outcome that nobody sees until the
            # last of them has closed the database, and SQLite reads its journal afresh. Nobody was answered, and it is true.
            # A process that lives on may owe an outcome that it could not record, and says so when it can (`unrecorded`).
            if end.kind != INDETERMINATE and end.time_ns > killed_ns and end.code != "unrecorded":
                yield f"call {call}: its process died in the middle, and its outcome was recorded afterwards"


PROMISES: Sequence[Callable[[History, _Index], Iterator[str]]] = (
    every_completed_answer_is_recorded,
    every_other_answer_is_recorded,
    every_answer_is_one_of_ours,
    every_effect_has_an_intent_before_it,
    nothing_happens_twice,
    an_end_follows_its_intent,
    an_outcome_tells_the_truth,
    an_approval_is_given_by_others_and_spent_once,
    a_grant_is_used_within_its_bounds,
    who_was_turned_away_never_had_a_call,
    after_recovery_every_intent_has_its_end,
)


def check(history: History, promises: Sequence[Callable[[History, _Index], Iterator[str]]] = PROMISES) -> list[str]:
    """Return everything that contradicts the promises; nothing, if they were kept."""
    index = _Index.of(history)
    return [problem for promise in promises for problem in promise(history, index)]
