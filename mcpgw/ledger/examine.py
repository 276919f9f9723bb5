"""What can be wrong with one record by itself: its bytes, its place, its columns, its payloads, the approval that it spends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from mcpgw.core.canonical import commitment
from mcpgw.ledger.record import VERSION, Index, Members, index_of, parse, unpack
from mcpgw.ledger.store import StoredPayload, StoredRecord
from mcpgw.ledger.tree import leaf_hash

_NOBODY_KEEPS = ("arguments.raw", "result.raw")
"""Slots that are committed to and not stored."""


class ProblemKind(StrEnum):
    ALTERED = "altered"
    """The leaf does not have the hash that was sealed, or is no leaf."""
    MISPLACED = "misplaced"
    """The leaf says that it stands elsewhere, or in another log: reordered, inserted or copied."""
    MISSING = "missing"
    COLUMNS = "columns"
    """The columns that searches use do not say what the leaf says."""
    PAYLOAD = "payload"
    """A payload beside the record is missing, foreign, or not the one that was committed to."""
    APPROVAL = "approval"
    """An approval was spent that no record shows to be approved and unspent."""
    ROOT = "root"
    """The records do not add up to the checkpoint that was signed over them."""
    TILE = "tile"
    """A stored piece of the tree is not what the records add up to: proofs made from it would not hold."""
    CHECKPOINT = "checkpoint"
    """A stored checkpoint is not signed by a key that is believed, or was altered."""
    UNSEALED = "unsealed"
    """Records behind the newest checkpoint: nobody signed for them."""
    ANCHOR = "anchor"
    """The log is not a continuation of the checkpoint that was kept elsewhere."""
    DAMAGED = "damaged"
    """The database file itself is damaged."""


@dataclass(slots=True)
class Approvals:
    """Which approvals stand approved and unspent, as the records tell it."""

    approved: set[str] = field(default_factory=set)

    def objection(self, members: Members) -> str:
        """Return what is wrong with the approval that this record spends, or nothing."""
        approval = members.get("approval", {})
        match members["kind"]:
            case "approval.settled" if approval["state"] == "approved":
                self.approved.add(approval["id"])
            case "approval.settled":
                self.approved.discard(approval["id"])
            case "call.intent" if approval:
                if approval["id"] not in self.approved:
                    return f"it spends approval {approval['id']}, which no record shows to be approved and unspent"
                self.approved.discard(approval["id"])
        return ""


Objections: TypeAlias = Iterator[tuple[ProblemKind, str]]


def objections(record: StoredRecord, origin: str, payloads: Sequence[StoredPayload], approvals: Approvals) -> Objections:
    """Yield what is wrong with one record by itself."""
    if leaf_hash(record.leaf) != record.hash:
        yield ProblemKind.ALTERED, f"record {record.seq} was altered: it does not have the hash that it was sealed with"
        return
    try:
        members = parse(record.leaf)
        columns = index_of(members)
        yield from _place(record, members, origin)
        yield from _columns(record, columns)
        yield from _payloads(record, members.get("payloads", {}), payloads)
        spent = approvals.objection(members)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield ProblemKind.ALTERED, f"record {record.seq} is not a leaf of version {VERSION}: {type(error).__name__}"
        return
    if spent:
        yield ProblemKind.APPROVAL, f"record {record.seq}: {spent}"


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
    wrong = [name for name, value in columns.items() if record.index.get(name) != value]
    if wrong:
        yield (
            ProblemKind.COLUMNS,
            f"record {record.seq}: what the database shows as {', '.join(wrong)} is not what the leaf says",
        )


def _payloads(record: StoredRecord, committed: Members, payloads: Sequence[StoredPayload]) -> Objections:
    stored = {payload.slot: payload for payload in payloads}
    for slot in sorted(stored.keys() - committed.keys()):
        yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} is foreign: the leaf does not know it"
    for slot in sorted(committed.keys() - stored.keys() - set(_NOBODY_KEEPS)):
        yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} is missing"
    for slot in sorted(committed.keys() & stored.keys()):
        if not _fits(stored[slot], committed[slot]):
            yield ProblemKind.PAYLOAD, f"record {record.seq}: the payload {slot} was altered"


def _fits(payload: StoredPayload, committed: Members) -> bool:
    try:
        body = unpack(payload.packed)
        return bool(commitment(payload.salt, body) == committed["sha256"] and len(body) == committed["size"])
    except ValueError:
        return False
