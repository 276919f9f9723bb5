"""Erasing payloads: what to erase, a page at a time, each in one transaction with the record that names it.

A page is erased with its record or not at all, so there is no moment in which something is gone that no record names, nor one
after which somebody would have to erase what a record names already. Legal holds are looked at in that same transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

from mcpgw.core.entries import Event
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.erasure import CLEAN_SLOTS, ERASABLE, MAX_RECORDS, RAW_SLOTS, SHREDDED, SWEPT, named
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.places import Place, Selection
from mcpgw.ledger.record import Draft, parse
from mcpgw.ledger.store import Reading, Transaction
from mcpgw.ledger.writer import Batch

_COMMENT = "comment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose payloads people want erased: exactly one of the three."""

    who: str = ""
    """A principal or a subject, to the letter."""
    session: str = ""
    event_id: str = ""
    """A record's id. If it is of a call, all records of that call are meant."""

    def facts(self) -> dict[str, str]:
        told = {"who": self.who, "session": self.session, "event": self.event_id}
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long payloads are kept, in nanoseconds."""

    clean_ns: int
    raw_ns: int

    def classes(self) -> Iterator[tuple[str, Set[str], int]]:
        """Yield the name, the slots and the time of each class: raw values first, which nobody should keep for long."""
        yield "raw", RAW_SLOTS, self.raw_ns
        yield "clean", CLEAN_SLOTS, self.clean_ns


@dataclass(slots=True)
class Tally:
    """What was erased, or would be, and what was not and why."""

    payloads: dict[str, int] = field(default_factory=dict)
    """By slot."""
    records: list[int] = field(default_factory=list)
    """Those that name what was erased."""
    held: dict[str, int] = field(default_factory=dict)
    """Payloads that a legal hold covers, by the hold's id."""
    in_use: int = 0
    """Payloads of calls under way and of approvals that wait."""
    scrubbed: bool = True
    """Whether what was erased is out of the database's files too, as far as the database does that."""

    @property
    def count(self) -> int:
        return sum(self.payloads.values())

    def add(self, other: "Tally") -> None:
        for mine, more in ((self.payloads, other.payloads), (self.held, other.held)):
            for name, count in more.items():
                mine[name] = mine.get(name, 0) + count
        self.records += other.records
        self.scrubbed = self.scrubbed and other.scrubbed
        self.in_use += other.in_use


def selection_of(store: Reading, asked: Asked) -> Selection:
    """Return what is to be looked for."""
    if not asked.event_id:
        return Selection(slots=ERASABLE, who=asked.who, session=asked.session)
    call = next((str(parse(found.leaf).get("call", "")) for found in store.find(asked.event_id)), "")
    return Selection(slots=ERASABLE, call_id=call) if call else Selection(slots=ERASABLE, event_id=asked.event_id)


def pages(store: Reading, selection: Selection, end: int) -> Iterator[Sequence[int]]:
    """Yield the records before `end` that have payloads of the selection, a page at a time."""
    start = 0
    while seqs := store.with_payloads(selection, start, end, MAX_RECORDS):
        yield seqs
        start = seqs[-1] + 1


def sorted_out(places: Iterable[Place], holds: Sequence[LegalHold]) -> tuple[list[Place], Tally]:
    """Return what may be erased, and the count of all."""
    free: list[Place] = []
    tally = Tally()
    for place in places:
        held = next((hold.id for hold in holds if hold.covers(place)), "")
        if held:
            tally.held[held] = tally.held.get(held, 0) + 1
        elif place.in_use:
            tally.in_use += 1
        else:
            free.append(place)
            tally.payloads[place.slot] = tally.payloads.get(place.slot, 0) + 1
    return free, tally


def shredding(
    seqs: Sequence[int], selection: Selection, event: Event, describe: Callable[[Event], Draft], *, all_or_none: bool
) -> Callable[[Batch], Tally]:
    """Return the work of erasing one page. `event` lacks what it erased.

    `all_or_none` erases nothing of the page where something of it may not be erased; else that is left out.
    """

    def work(batch: Batch) -> Tally:
        free, tally = sorted_out(batch.tx.places(seqs, selection.slots), batch.tx.holds())
        if not free or (all_or_none and (tally.held or tally.in_use)):
            return replace(tally, payloads={})
        told = replace(event, facts={**event.facts, "payloads": named(free)})
        record = batch.append(told, describe(told))
        batch.tx.erase(record.seq, free)
        for row in without_comments(batch.tx, free):
            batch.tx.save_approval(row)
            batch.approvals_changed = True
        tally.records.append(record.seq)
        return tally

    return work


def shredded(actor: str, asked: Asked, reason: str) -> Event:
    return Event(kind=SHREDDED, actor=actor, facts={"asked": asked.facts(), "reason": reason})


def swept(kept: str, before_ns: int) -> Event:
    return Event(kind=SWEPT, actor="gateway", facts={"class": kept, "before_ns": str(before_ns)})


def without_comments(tx: Transaction, places: Sequence[Place]) -> Sequence[ApprovalRow]:
    """Return the approvals that must forget what people wrote on them, without it."""
    said: dict[str, set[tuple[str, int]]] = {}
    for place in places:
        if place.slot == _COMMENT and place.approval_id:
            said.setdefault(place.approval_id, set()).add((place.principal, place.time_ns))
    return [_without(row, said[row.id]) for approval_id in said for row in tx.approval(approval_id)]


def _without(row: ApprovalRow, said: Set[tuple[str, int]]) -> ApprovalRow:
    def silent(person: str, time_ns: int) -> bool:
        return (person, time_ns) in said

    return replace(
        row,
        votes=tuple(replace(vote, comment="") if silent(vote.voter, vote.time_ns) else vote for vote in row.votes),
        offer=tuple(replace(vote, comment="") if silent(vote.voter, vote.time_ns) else vote for vote in row.offer),
        remarks=tuple(replace(one, comment="") if silent(one.person, one.time_ns) else one for one in row.remarks),
    )
