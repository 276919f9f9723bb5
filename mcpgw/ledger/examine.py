"""What can be wrong with one record by itself: its bytes, its place, its columns, its payloads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcpgw.core.canonical import commitment
from mcpgw.ledger.checks import Notes, Objection, ProblemKind
from mcpgw.ledger.completeness import notes_of
from mcpgw.ledger.erasure import Erasures
from mcpgw.ledger.record import VERSION, Index, Members, index_of, parse, unpack
from mcpgw.ledger.store import StoredPayload, StoredRecord
from mcpgw.ledger.tree import leaf_hash

_NOBODY_KEEPS = frozenset({"arguments.raw", "result.raw"})
"""Slots that are committed to and not stored."""

Objections: TypeAlias = Iterator[Objection]


@dataclass(frozen=True, slots=True)
class Examined:
    """One record, examined by itself."""

    seq: int
    hash: bytes
    """As stored: a record whose leaf has another one was objected to."""
    objections: Sequence[Objection]
    notes: Notes


def examine(record: StoredRecord, origin: str, payloads: Sequence[StoredPayload], erasures: Erasures) -> Examined:
    """Look for what is wrong with one record by itself, and note what it means to the checks across records.

    `erasures` tells what the log says that was erased.
    """
    if leaf_hash(record.leaf) != record.hash:
        what = f"record {record.seq} was altered: it does not have the hash that it was sealed with"
        return Examined(record.seq, record.hash, [(ProblemKind.ALTERED, what)], ())
    found: list[Objection] = []
    try:
        members = parse(record.leaf)
        columns = index_of(members)
        found.extend(_place(record, members, origin))
        found.extend(_columns(record, columns))
        found.extend(_payloads(record, members.get("payloads", {}), columns, payloads, erasures))
        notes = notes_of(members)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found.append((ProblemKind.ALTERED, f"record {record.seq} is not a leaf of version {VERSION}: {type(error).__name__}"))
        notes = ()
    return Examined(record.seq, record.hash, found, notes)


def _place(record: StoredRecord, members: Members, origin: str) -> Objections:
    if members["v"] != VERSION:
        yield ProblemKind.ALTERED, f"record {record.seq} has version {members['v']!r}; this verifier knows {VERSION}"
    if members["seq"] != record.seq:
        yield ProblemKind.MISPLACED, f"record {record.seq} says that it is record {members['seq']!r}"
    if members["log"] != origin:
        yield ProblemKind.MISPLACED, f"record {record.seq} says that it belongs to the log {members['log']!r}"
    if members["id"] != record.event_id:
        yield ProblemKind.COLUMNS, f"record {record.seq}: what the database shows as event_id is not what the leaf says"


def _columns(record: StoredRecord, columns: Index) -> Objections:
    if columns == record.index:
        return
    wrong = [name for name, value in columns.items() if record.index.get(name) != value]
    if wrong:
        yield (
            ProblemKind.COLUMNS,
            f"record {record.seq}: what the database shows as {', '.join(wrong)} is not what the leaf says",
        )


def _payloads(
    record: StoredRecord, committed: Members, columns: Index, payloads: Sequence[StoredPayload], erasures: Erasures
) -> Objections:
    stored = {payload.slot: payload for payload in payloads}
    for slot in sorted(stored.keys() - committed.keys()):
        yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} is foreign: the leaf does not know it"
    for slot in sorted(committed.keys() - stored.keys() - _NOBODY_KEEPS):
        if erasures.by(record.seq, slot) < 0:
            yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} is missing"
        elif why := erasures.objection(record.seq, slot, columns):
            yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} {why}"
    for slot in sorted(committed.keys() & stored.keys()):
        if not _fits(stored[slot], committed[slot]):
            yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} was altered"
        elif (by := erasures.by(record.seq, slot)) >= 0:
            what = f"record {record.seq}: the payload {slot} is there, and record {by} says that it was erased"
            yield ProblemKind.PAYLOAD, what


def _fits(payload: StoredPayload, committed: Members) -> bool:
    try:
        body = unpack(payload.packed)
        return bool(commitment(payload.salt, body) == committed["sha256"] and len(body) == committed["size"])
    except ValueError:
        return False
