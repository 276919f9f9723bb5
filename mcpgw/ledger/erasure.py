"""What is erased: payloads with their salts, never records. And the records that say so.

A record of a kind in `ERASING` names each payload that its own transaction removed:

    {"facts": {"payloads": {"arguments.clean": [12, 2, 7], "result.clean": [13]}, …}, "kind": "payload.shredded", …}

By slot a list of whole numbers: the first record's, then the distance of each further one to the one before it. Here 12, 14 and
21. A payload that such a record names, and that stands before it, is erased; one that is gone and that none names is missing.

How it may change: a reader ignores members that it does not know.
"""

import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise

from mcpgw.ledger.holds import EVER_NS, HELD, RELEASED, LegalHold, hold_of
from mcpgw.ledger.places import Place
from mcpgw.ledger.record import Index, Members, parse
from mcpgw.ledger.store import StoredRecord
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ledger.vault import SEALED_SLOTS

SHREDDED, SWEPT = "payload.shredded", "retention.swept"
ERASING = (SHREDDED, SWEPT)
HOLDING = (HELD, RELEASED)
CLEAN_SLOTS = frozenset(
    {"arguments.clean", "result.clean", "question", "answer", "facts", "comment", "conversation", "claims", "document"}
)
"""What callers, approvers and auditors said and were answered, without what was masked, and what their tokens said of them."""
RAW_SLOTS = SEALED_SLOTS
ERASABLE = CLEAN_SLOTS | RAW_SLOTS
"""All else that stands beside records says what the gateway stood for, and who a summary's pseudonyms are."""
_NO_LEAF = (KeyError, TypeError, ValueError, AttributeError)
"""What reading something raises that is no leaf of ours."""
MAX_RECORDS = 1000
"""Records whose payloads one erasing record names: it has to fit into a leaf, and others wait while they are removed."""


@dataclass(frozen=True, slots=True)
class Erased:
    """One record that erased payloads, as the log tells it."""

    seq: int
    kind: str
    actor: str
    time_ns: int
    payloads: int
    reason: str
    """Why; empty for a sweep, whose time had simply come."""
    before_ns: int
    """The first moment that was too young for it. A person may erase whatever was there."""


def named(places: Iterable[Place]) -> dict[str, list[int]]:
    """Return what a record says of the payloads at these places, which come in the order of the log."""
    by_slot: dict[str, list[int]] = defaultdict(list)
    for place in places:
        by_slot[place.slot].append(place.seq)
    return {slot: [seqs[0], *(after - before for before, after in pairwise(seqs))] for slot, seqs in by_slot.items()}


def places_named(members: Members) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the slots that an erasing record names, each with the records whose payload it was, in order.

    Raises:
        (KeyError, TypeError, ValueError): it is no such record of ours.
    """
    seq = members["seq"]
    for slot, distances in members["facts"]["payloads"].items():
        seqs = [*accumulate(distances)]
        if not seqs or any(not isinstance(one, int) or one < 0 for one in distances) or 0 in distances[1:] or seqs[-1] >= seq:
            raise ValueError("it names payloads that were not there when it was written")
        yield slot, seqs


class Erasures:
    """Which payloads the log says that were erased."""

    def __init__(self, records: Iterable[StoredRecord] = (), holding: Iterable[StoredRecord] = ()) -> None:
        """Take in the log's erasing records and, for `objection`, those of kinds `HOLDING`. One that is altered says nothing:
        whoever verifies reports it itself."""
        self.told: list[Erased] = []
        self._before_ns: dict[int, int] = {}
        """By the record that erased."""
        self._holds = _holds(holding)
        self._seqs: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._by: dict[str, array[int]] = defaultdict(lambda: array("q"))
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for record in records:
            with suppress(*_NO_LEAF):
                members = _believed(record, ERASING)
                told, places = _told(members), [*places_named(members)]
                for slot, seqs in places:
                    found[slot] += [(seq, record.seq) for seq in seqs]
                self._before_ns[record.seq] = told.before_ns
                self.told.append(told)
        for slot, pairs in found.items():
            for seq, by in sorted(pairs):
                self._seqs[slot].append(seq)
                self._by[slot].append(by)

    def by(self, seq: int, slot: str) -> int:
        """Return the record that erased this payload; -1 if none did."""
        seqs = self._seqs.get(slot, array("q"))
        at = bisect_left(seqs, seq)
        return self._by[slot][at] if at < len(seqs) and seqs[at] == seq else -1

    def objection(self, seq: int, slot: str, columns: Index) -> str:
        """Return why this payload, which a record erased, had to stay; empty where it had not.

        A gateway goes by its database when it erases, and who can write to that can lead it. `columns` are what the payload's
        own leaf says. Whose approval it is about stands in no leaf of its own, so a hold may have covered more.
        """
        by, time_ns = self.by(seq, slot), int(columns["time_ns"])
        if time_ns >= self._before_ns[by]:
            return f"was swept, as record {by} says, before its time was over"
        place = Place(
            seq=seq,
            slot=slot,
            time_ns=time_ns,
            principal=str(columns["principal"]),
            session=str(columns["session"]),
            approval_id=str(columns["approval_id"]),
            requester="",
            asked_in="",
            in_use=False,
        )
        stood = (hold.seq for hold, released in self._holds if hold.seq < by < released and hold.covers(place))
        return next((f"was erased, as record {by} says, and the legal hold of record {held} stood" for held in stood), "")


def _holds(records: Iterable[StoredRecord]) -> list[tuple[LegalHold, int]]:
    """Return each legal hold, and the record that released it; one behind all others where none did."""
    standing: dict[str, LegalHold] = {}
    over: list[tuple[LegalHold, int]] = []
    for record in records:
        with suppress(*_NO_LEAF):
            members = _believed(record, HOLDING)
            if members["kind"] == HELD:
                hold = hold_of(members)
                standing[hold.id] = hold
            else:
                over.append((standing.pop(members["facts"]["id"]), record.seq))
    return [*over, *((hold, sys.maxsize) for hold in standing.values())]


def _believed(record: StoredRecord, kinds: Sequence[str]) -> Members:
    """Return the members of a record of one of these kinds that can be believed to be the leaf that it says it is.

    Raises:
        (KeyError, TypeError, ValueError, AttributeError): it is none.
    """
    members = parse(record.leaf)
    if leaf_hash(record.leaf) != record.hash or members["kind"] not in kinds or members["seq"] != record.seq:
        raise ValueError("it is not the record that it says it is")
    return members


def _told(members: Members) -> Erased:
    facts = members["facts"]
    return Erased(
        seq=members["seq"],
        kind=members["kind"],
        actor=str(members.get("actor", "")),
        time_ns=int(members["time_ns"]),
        payloads=sum(len(distances) for distances in facts["payloads"].values()),
        reason=str(facts.get("reason", "")),
        before_ns=int(facts["before_ns"]) if members["kind"] == SWEPT else EVER_NS,
    )
