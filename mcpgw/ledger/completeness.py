"""That nothing was left out: what the records say of how many there are, counted again.

Whoever holds the signing key can withhold a record, or write fewer of them, and sign what is left. Inclusion and roots do not
show it. Numbers do: a session's are dense and its end says how many there were; counts of refusals cover one stretch of time
after the other; daily summaries cover one stretch of the log after the other, and say how many records there were of what; a
change of the catalog or the policy begins with the hash that the one before it ended with.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mcpgw.ledger.checks import Approvals, Check, Note, Notes, Objection, ProblemKind
from mcpgw.ledger.key_steps import KeySteps
from mcpgw.ledger.record import Members, counted_as

COUNTS = ("records", "permitted", "held", "refused", "replayed")


@dataclass(slots=True)
class _Open:
    """A session as its records have told it so far."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    whole: bool = True
    """All its records were seen."""
    guessing: bool = False
    """Its next number is unknown, because records before it could not be read."""


SessionNote: TypeAlias = tuple[str, int, str, Sequence[str], Mapping[str, int] | None]
"""Id, number, kind, what it is counted as, and what a closing record says."""


class SessionNumbers:
    """Each session's numbers are 0, 1, 2, ...; the first record opens it, and the last one says how many there were."""

    def __init__(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._open: dict[str, _Open] = {}
        self._closed: set[str] = set()

    @staticmethod
    def noted(members: Members) -> SessionNote | None:
        if "session" not in members:
            return None
        kind, session = members["kind"], members["session"]
        counts = {name: int(members["counts"][name]) for name in COUNTS} if kind == "session.closed" else None
        return str(session["id"]), int(session["seq"]), kind, counted_as(kind, members), counts

    def unknown(self) -> None:
        self._from_start = False
        for session in self._open.values():
            session.whole, session.guessing = False, True

    def objections(self, note: SessionNote) -> Iterator[Objection]:
        session_id, number, kind, counted, closing = note
        if session_id in self._closed:
            yield _objection(f"it belongs to session {session_id}, which was closed before")
            return
        session = self._open.get(session_id)
        if session is None:
            session = self._open[session_id] = _Open()
            if kind != "session.opened" and self._from_start:
                yield _objection(f"it belongs to session {session_id}, which no record opened")
            if kind != "session.opened":
                session.whole = False
                session.counts["records"] = number
        elif kind == "session.opened":
            yield _objection(f"it opens session {session_id}, which is open already")
        due = session.counts["records"]
        if session.guessing and number > due:
            session.counts["records"] = due = number
        session.guessing = False
        if number != due:
            session.whole = False
            what = f"{number - due} of it are missing" if number > due else "there is one of that number already"
            yield _objection(f"it is number {number} of session {session_id}, and {due} comes next: {what}")
        session.counts["records"] = max(due, number + 1)
        for name in counted:
            session.counts[name] += 1
        if closing is not None:
            del self._open[session_id]
            self._closed.add(session_id)
            wrong = [name for name in COUNTS if closing[name] != session.counts[name]]
            if wrong and session.whole:
                said = ", ".join(f"{closing[name]} {name} where there are {session.counts[name]}" for name in wrong)
                yield _objection(f"it closes session {session_id} and says {said}")


CountNote: TypeAlias = tuple[str, int, int, int, int]
"""Node, beginning and end of the window (Unix nanoseconds), page and number of pages."""


class CountedWindows:
    """The windows in which one process counted refusals follow each other, and each is told once, with all its pages."""

    def __init__(self, *, from_start: bool) -> None:
        self._last: dict[str, CountNote] = {}
        self._from_start = from_start

    @staticmethod
    def noted(members: Members) -> CountNote | None:
        if members["kind"] != "refusals.counted":
            return None
        facts = members["facts"]
        if "page" not in facts:
            return None  # an older gateway's
        return str(members["node"]), int(facts["from_ns"]), int(facts["to_ns"]), int(facts["page"]), int(facts["pages"])

    def unknown(self) -> None:
        self._from_start = False
        self._last.clear()

    def objections(self, note: CountNote) -> Iterator[Objection]:
        node, from_ns, to_ns, page, pages = note
        last = self._last.get(node)
        self._last[node] = note
        goes_on = last is not None and last[1:3] == (from_ns, to_ns)
        if last is not None and not goes_on and (from_ns < last[2] or last[3] != last[4]):
            what = "overlaps with" if from_ns < last[2] else "comes before all pages of"
            yield ProblemKind.COUNTS, f"the window in which it counts refusals {what} the one before it of the same process"
        due = last[3] + 1 if last is not None and goes_on else 1
        if page != due and (last is not None or self._from_start):
            yield ProblemKind.COUNTS, f"it is page {page} of {pages} of counted refusals, and page {due} comes next"
        if to_ns < from_ns:
            yield ProblemKind.COUNTS, "the window in which it counts refusals ends before it begins"


# --- daily summaries -------------------------------------------------------------------------------------------------------

DAY_NS = 86_400 * 10**9

Line: TypeAlias = tuple[str, str, str]
"""Server, kind of record, and what came of it."""


def summed(members: Members) -> Sequence[tuple[str, Line, int]]:
    """Return what a record adds to the summary of its day: identity, line and number. Most kinds add nothing."""
    kind = members["kind"]
    if kind == "refusals.counted":
        return [(line["who"], ("", kind, line["code"]), line["count"]) for line in members["facts"]["counts"]]
    if not kind.startswith("call."):
        return []
    who, outcome = members.get("who"), members.get("outcome", {})
    identity = f"{who['iss']}#{who['sub']}" if who else members.get("actor", "")
    result = outcome.get("code") or outcome.get("class") or members.get("decision", {}).get("effect", "")
    return [(identity, (members.get("target", {}).get("server", ""), kind, result), 1)]


@dataclass(slots=True)
class Stretch:
    """Part of the log that one summary covers: from its first record up to the first one of a later day."""

    start: int
    ends_ns: int
    """The midnight (UTC) after its first record, Unix nanoseconds."""
    lines: dict[str, Counter[Line]] = field(default_factory=dict)
    """By identity."""

    @classmethod
    def at(cls, seq: int, time_ns: int) -> "Stretch":
        """Return the one that begins with that record."""
        return cls(seq, (time_ns // DAY_NS + 1) * DAY_NS)

    def add(self, members: Members) -> None:
        """Count a record."""
        self.take(summed(members))

    def take(self, counted: Sequence[tuple[str, Line, int]]) -> None:
        """Count what `summed` said of a record."""
        for identity, line, number in counted:
            self.lines.setdefault(identity, Counter())[line] += number


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    page: int
    pages: int
    lines: Sequence[tuple[str, Line, int]]


DayNote: TypeAlias = tuple[int, int, Sequence[tuple[str, Line, int]], _Page | None]
"""Number in the log, time, what it adds to its day's summary, and what it says if it is a page of one."""


class DailySummaries:
    """Each summary begins where the last one ended, ends where its day does, and adds up with the records between.

    Who is who is erasable, so identities are compared by what they did: the summary must have one for each with the same lines.
    """

    def __init__(self, *, from_start: bool) -> None:
        self._known = from_start
        """Whether all records of the present stretch were seen."""
        self._missed = not from_start
        """Whether a stretch may be due of which nothing was seen."""
        self._now: Stretch | None = None
        self._due: list[tuple[Stretch, int, bool]] = []
        """Stretches that ended and are not summed up yet, where they ended, and whether all of their records were seen."""
        self._pages: list[_Page] = []

    @staticmethod
    def noted(members: Members) -> DayNote | None:
        page = None
        if members["kind"] == "summary.daily":
            facts = members["facts"]
            lines = [(str(who), (server, kind, result), int(n)) for who, server, kind, result, n in facts["counts"]]
            page = _Page(int(facts["from"]), int(facts["to"]), int(facts["page"]), int(facts["pages"]), lines)
        return int(members["seq"]), int(members["time_ns"]), summed(members), page

    def unknown(self) -> None:
        self._known, self._missed = False, True
        self._pages = []

    def objections(self, note: DayNote) -> Iterator[Objection]:
        seq, time_ns, counted, page = note
        if self._now is None:
            self._now = Stretch.at(seq, time_ns)
        elif time_ns >= self._now.ends_ns:
            self._due.append((self._now, seq, self._known))
            self._known = True
            self._now = Stretch.at(seq, time_ns)
        self._now.take(counted)
        if page is not None:
            yield from self._summary(page)

    def _summary(self, page: _Page) -> Iterator[Objection]:
        first = self._pages[0] if self._pages else page
        if (page.start, page.end, page.pages) != (first.start, first.end, first.pages) or page.page != len(self._pages) + 1:
            self._pages = []
            yield _summary(f"it is page {page.page} of {page.pages} of a daily summary, not the one that follows")
            return
        self._pages.append(page)
        if page.page < page.pages:
            return
        pages, self._pages = self._pages, []
        if not self._due and self._missed:
            return
        if not self._due:
            yield _summary(f"it sums up records {page.start} to {page.end - 1}, and no day is due to be summed up")
            return
        stretch, end, known = self._due.pop(0)
        if not known:
            return
        self._missed = False
        if (page.start, page.end) != (stretch.start, end):
            yield _summary(
                f"it sums up records {page.start} to {page.end - 1}, where {stretch.start} to {end - 1} are due to be summed up"
            )
            return
        told: dict[str, Counter[Line]] = {}
        for one in pages:
            for who, line, number in one.lines:
                told.setdefault(who, Counter())[line] += number
        if _profiles(told) != _profiles(stretch.lines):
            what = _difference(told, stretch.lines)
            yield _summary(f"it does not add up with records {page.start} to {page.end - 1}: {what}")


def _profiles(lines: Mapping[str, Counter[Line]]) -> Counter[frozenset[tuple[Line, int]]]:
    """What the identities did, without who they are."""
    return Counter(frozenset(counter.items()) for counter in lines.values())


def _difference(told: Mapping[str, Counter[Line]], found: Mapping[str, Counter[Line]]) -> str:
    """Return the first line whose total differs, or that it is only spread over other identities."""
    totals = [sum(lines.values(), Counter[Line]()) for lines in (told, found)]
    for line in sorted(totals[0].keys() | totals[1].keys()):
        if totals[0][line] != totals[1][line]:
            named = " ".join(part for part in line if part)
            return f"it says {totals[0][line]} of {named}, where there are {totals[1][line]}"
    return "the totals do, but not by identity"


# --- changes ---------------------------------------------------------------------------------------------------------------

ChangeNote: TypeAlias = tuple[str, str, str]
"""Aspect, and its hashes before and after."""


class Changes:
    """Each change of an aspect begins where the one before it ended, and the first one of all with nothing."""

    def __init__(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._last: dict[str, str] = {}

    @staticmethod
    def noted(members: Members) -> ChangeNote | None:
        facts = members.get("facts", {})
        if "aspect" not in facts:
            return None
        return str(facts["aspect"]), str(facts["before"]), str(facts["after"])

    def unknown(self) -> None:
        self._from_start = False
        self._last.clear()

    def objections(self, note: ChangeNote) -> Iterator[Objection]:
        aspect, before, after = note
        last = self._last.get(aspect, "" if self._from_start else before)
        self._last[aspect] = after
        if before != last:
            was = f"the one before it ended with {last}" if last else "no change before it ended with anything"
            yield ProblemKind.CHANGE, f"it changes {aspect} from {before or 'nothing'}, and {was}"


def _objection(what: str) -> Objection:
    return ProblemKind.SESSION, what


def _summary(what: str) -> Objection:
    return ProblemKind.SUMMARY, what


CHECKS: tuple[type[Check], ...] = (Approvals, SessionNumbers, CountedWindows, DailySummaries, Changes)
NOTED: tuple[Callable[[Members], Note], ...] = (*(check.noted for check in CHECKS), KeySteps.noted)
"""In the order of a record's notes: those for `CHECKS`, and that for the check that knows the keys."""


def notes_of(members: Members) -> Notes:
    """Return what the record means to all checks. Raises as `Check.noted`."""
    notes: Notes = [noted(members) for noted in NOTED]
    return () if notes.count(None) == len(notes) else notes
