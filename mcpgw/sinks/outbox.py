"""What a sink reads, and what leaves: records of the log in order, and the event that each becomes.

Only leaves are read. A leaf is clean by construction (`ledger.record`): payloads are not in it, neither raw nor clean.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcpgw.sinks.ocsf import to_ocsf

FIRST = -1
"""The sequence number before that of the first record: nothing has been delivered yet."""


class OutboxRecord(Protocol):
    """A record of the ledger as it was found; nothing of it is believed before its hash is computed again."""

    @property
    def seq(self) -> int: ...

    @property
    def leaf(self) -> bytes: ...

    @property
    def hash(self) -> bytes: ...


class Outbox(Protocol):
    """The log, read forwards. Raises `LedgerUnavailable`."""

    async def records_after(self, seq: int, limit: int) -> Sequence[OutboxRecord]:
        """Return the oldest `limit` records behind that sequence number, in order."""
        ...

    async def size(self) -> int:
        """Return one more than the last sequence number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """One event on its way out."""

    seq: int
    uid: str
    """What a receiver tells duplicates by: the leaf hash, the same however often the event is sent."""
    kind: str
    time_ns: int
    severity: int
    """OCSF `severity_id`."""
    body: bytes
    """One line of ASCII JSON, without its line break."""


class DamagedRecord(ValueError):
    """The record is not what was appended: it has another hash, or cannot be read. `mcpgw verify` says more."""


def event_of(record: OutboxRecord) -> OutgoingEvent:
    """Return the event that a record becomes; the same bytes each time.

    Raises:
        DamagedRecord: somebody changed the record.
    """
    if leaf_hash(record.leaf) != record.hash:
        raise DamagedRecord("the record does not have its hash")
    try:
        members = json.loads(record.leaf)
        return outgoing(to_ocsf(members, record.hash.hex()), seq=record.seq, time_ns=int(members["time_ns"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRecord("the record is not one of this gateway's") from error


def outgoing(event: Mapping[str, Any], *, seq: int, time_ns: int) -> OutgoingEvent:
    """Return an OCSF event ready to be sent."""
    metadata = event["metadata"]
    return OutgoingEvent(
        seq=seq,
        uid=metadata["uid"],
        kind=metadata["event_code"],
        time_ns=time_ns,
        severity=event["severity_id"],
        body=json.dumps(event, ensure_ascii=True, separators=(",", ":")).encode(),  # ASCII: no terminal or parser is surprised
    )


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()
