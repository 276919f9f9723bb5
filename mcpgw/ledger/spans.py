"""A span of records at a time: read, each record examined by itself, each checkpoint opened.

A span in which nothing is wrong becomes a `Sound`, all that is needed to go on to the next. At the first doubt there is none:
whoever walks through the log then looks at the span record by record.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.checkpoint import EVERY_SIZE, Checkpoint, InvalidNote, Verifier, open_checkpoint
from mcpgw.ledger.checks import Notes
from mcpgw.ledger.erasure import Erasures
from mcpgw.ledger.examine import examine
from mcpgw.ledger.store import Reading, StoredCheckpoint, StoredPayload, StoredRecord
from mcpgw.ledger.tree import HASH_BYTES, Frontier

SPAN = 500
"""Records read at a time: bounds memory."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Records, all there, each good by itself, and the checkpoints over them, each signed by a key that is believed."""

    start: int
    hashes: bytes
    """Of all its records, one after the other."""
    notes: dict[int, Notes]
    """By sequence number, where a record means something to the checks across records."""
    checkpoints: Sequence[tuple[int, bytes]]
    """Size and frontier of those over more than `start` and at most `end` records. Each frontier has the signed root."""

    @property
    def end(self) -> int:
        return self.start + len(self.hashes) // HASH_BYTES

    def hash(self, seq: int) -> bytes:
        at = (seq - self.start) * HASH_BYTES
        return self.hashes[at : at + HASH_BYTES]


def sound(store: Reading, span: range, origin: str, verifiers: Sequence[Verifier], erasures: Erasures) -> Sound | None:
    """Return the span if nothing in it is wrong by itself; None at the first doubt, whatever it is."""
    try:
        examined = [examine(record, origin, payloads, erasures) for record, payloads in read(store, span)]
        checkpoints = [
            (stored.size, believed(stored, origin, verifiers).to_bytes()) for stored in store.checkpoints(span.start, span.stop)
        ]
    except (LedgerUnavailable, InvalidNote, ValueError):
        return None
    if [one.seq for one in examined] != [*span] or any(one.objections for one in examined):
        return None
    notes = {one.seq: one.notes for one in examined if one.notes}
    return Sound(span.start, b"".join(one.hash for one in examined), notes, checkpoints)


def believed(stored: StoredCheckpoint, origin: str, verifiers: Sequence[Verifier]) -> Frontier:
    """Return the frontier that a stored checkpoint was signed for.

    Raises:
        InvalidNote: it is not signed by every key that is in use at that size, or for another size, log or tree.
        ValueError: what is stored as its frontier is none.
    """
    signed = open_checkpoint(stored.note, verifiers)
    for one in verifiers:
        if stored.size in one.sizes and one.sizes != EVERY_SIZE:
            open_checkpoint(stored.note, [one])  # with its last commit a key vouches for the next one, and that one for itself
    frontier = Frontier.from_bytes(stored.size, stored.frontier)
    if signed != Checkpoint(origin, stored.size, frontier.root()):
        raise InvalidNote("it was signed for another size, log or tree")
    return frontier


def damage(store: Reading) -> Sequence[str]:
    """Return what the database itself finds wrong with its file, be it that it cannot even look."""
    try:
        return store.damage()
    except LedgerUnavailable as error:
        return [str(error)]


def read(store: Reading, span: range) -> Sequence[tuple[StoredRecord, Sequence[StoredPayload]]]:
    """Return the records of the span that are there, each with its payloads.

    Raises:
        LedgerUnavailable: some of it cannot be read.
    """
    by_seq: dict[int, list[StoredPayload]] = defaultdict(list)
    for payload in store.payloads(span.start, span.stop):
        by_seq[payload.seq].append(payload)
    records = itertools.takewhile(lambda record: record.seq < span.stop, store.records(span.start, len(span)))
    return [(record, by_seq[record.seq]) for record in records]
