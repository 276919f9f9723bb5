"""What is erased: payloads with their salts, never records. And the records that say so.

A record of a kind in `ERASING` names each payload that its own transaction removed:

    {"facts": {"payloads": {"arguments.clean": [12, 2, 7], "result.clean": [13]}, …}, "kind": "payload.shredded", …}

By slot a list of whole numbers: the first record's, then the distance of each further one to the one before it. Here 12, 14 and
21. A payload that such a record names, and that stands before it, is erased; one that is gone and that none names is missing.

How it may change: a reader ignores members that it does not know.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from mcpgw.ledger.places import Place
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.store import StoredRecord
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ledger.vault import SEALED_SLOTS

SHREDDED, SWEPT = "payload.shredded", "retention.swept"
ERASING = (SHREDDED, SWEPT)
CLEAN_SLOTS = frozenset(
    {"arguments.clean", "result.clean", "question", "answer", "facts", "comment", "conversation", "claims", "document"}
)
"""What callers, approvers and auditors said and were answered, without what was masked, and what their tokens said of them."""
RAW_SLOTS = SEALED_SLOTS
ERASABLE = CLEAN_SLOTS | RAW_SLOTS
"""All else that stands beside records says what the gateway stood for, and who a summary's pseudonyms are."""
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

    def __init__(self, records: Iterable[StoredRecord] = ()) -> None:
        """Take in the log's erasing records. One that is altered names nothing: whoever verifies reports it itself."""
        self.told: list[Erased] = []
        self._seqs: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._by: dict[str, array[int]] = defaultdict(lambda: array("q"))
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for record in records:
            for members in _read(record):
                for slot, seqs in places_named(members):
                    found[slot] += [(seq, record.seq) for seq in seqs]
                self.told.append(_told(members))
        for slot, pairs in found.items():
            for seq, by in sorted(pairs):
                self._seqs[slot].append(seq)
                self._by[slot].append(by)

    def by(self, seq: int, slot: str) -> int:
        """Return the record that erased this payload; -1 if none did."""
        seqs = self._seqs.get(slot, array("q"))
        at = bisect_left(seqs, seq)
        return self._by[slot][at] if at < len(seqs) and seqs[at] == seq else -1


def _read(record: StoredRecord) -> Iterator[Members]:
    """Yield the members of a record that can be believed to be the leaf that it says it is."""
    try:
        members = parse(record.leaf)
        if leaf_hash(record.leaf) == record.hash and members["kind"] in ERASING and members["seq"] == record.seq:
            for _ in places_named(members):
                pass
            yield members
    except (KeyError, TypeError, ValueError, AttributeError):
        return


def _told(members: Mapping[str, object]) -> Erased:
    facts = members["facts"]
    assert isinstance(facts, dict)  # noqa: S101 - see `_read`
    return Erased(
        seq=int(str(members["seq"])),
        kind=str(members["kind"]),
        actor=str(members.get("actor", "")),
        time_ns=int(str(members["time_ns"])),
        payloads=sum(len(distances) for distances in facts["payloads"].values()),
        reason=str(facts.get("reason", "")),
    )
