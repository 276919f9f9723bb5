"""A log in one portable file, and back into either store.

The file is gzip over lines of JSON. Bytes are base64; what can be made again from the records is not in it, but for one thing:

    {"mcpgw-backup": 1, "records": 3}                                              first
    {"record": 0, "leaf": …, "hash": …, "payloads": [{"slot", "salt", "body"}]}    in order
    {"checkpoint": 1, "note": "…", "frontier": …}                                  behind the last record that it covers
    {"approval": "…", "exact": …, "offered": …}                      of open holds and proposals: encrypted arguments
    {"end": {"records": 3, "checkpoints": 3, "approvals": 0}}                      last; without it the file was cut off

How it may change: a reader refuses another number behind `mcpgw-backup`, and a kind of line that it does not know.
"""

import base64
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.projections import Hidden, Projections, repaired
from mcpgw.ledger.record import Payload, Record, index_of, parse
from mcpgw.ledger.spans import SPAN, read
from mcpgw.ledger.store import Head, Reading, Store, StoredCheckpoint, StoredPayload, StoredRecord, Transaction
from mcpgw.ledger.stored_tree import fill
from mcpgw.ledger.tree import Frontier

_FORMAT = 1
_ALL = 2**62
Progress = Callable[[int, int], None]


def back_up(store: Reading, path: Path, progress: Progress = lambda done, total: None) -> int:
    """Write the log, as it is at one moment, to a new file, and return how many records that are. Others go on writing.

    The file can be read by its owner alone, and is on disk when this returns.

    Raises:
        ConfigError: the file is there already, or cannot be written.
        LedgerUnavailable: the log cannot be read; no file is left.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"the backup cannot be written: {error.strerror}", where=str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as file, store.snapshot():
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, filename="", mtime=0) as packed:
                for line in _lines(store, progress):
                    packed.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return store.size()
    except BaseException as error:  # passed on: whatever it was, no half a backup is left to be trusted
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"the backup cannot be written: {error.strerror}", where=str(path)) from error
        raise


def restore(store: Store, path: Path, progress: Progress = lambda done, total: None) -> int:
    """Write a backup into an empty log, all of it or nothing, and return how many records there are. Verify it afterwards.

    Raises:
        ConfigError: the file cannot be read, is no whole backup, or the log is not empty.
        LedgerUnavailable: the database failed.
    """
    if store.size() or store.newest_checkpoint():
        hint = "Restore into a new data folder, or a new database that was migrated. Nothing is ever overwritten."
        raise ConfigError(f"there is a log of {store.size()} records in this place already", where=str(path), hint=hint)
    tx = store.begin()
    try:
        with gzip.open(path, "rb") as file:
            size = _Restoring(tx, progress).all(file)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"the backup cannot be read: {type(error).__name__}", where=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"this is no whole backup: {error}", where=str(path)) from error
    tx.commit()
    return size


def _lines(store: Reading, progress: Progress) -> Iterator[dict[str, Any]]:
    total = store.size()
    checkpoints = 0
    yield {"mcpgw-backup": _FORMAT, "records": total}
    for start in range(0, total, SPAN):
        end = min(start + SPAN, total)
        due = store.checkpoints(start, end)
        waiting = next(due, None)
        for record, payloads in read(store, range(start, end)):
            yield _record(record, payloads)
            while waiting is not None and waiting.size <= record.seq + 1:
                yield _checkpoint(waiting)
                checkpoints += 1
                waiting = next(due, None)
        progress(end, total)
    kept = [row for row in store.approvals((), (), _ALL) if row.exact or row.offered]
    for row in kept:
        offered = {"offered": _text(row.offered)} if row.offered else {}
        yield {"approval": row.id, "exact": _text(row.exact), **offered}
    yield {"end": {"records": total, "checkpoints": checkpoints, "approvals": len(kept)}}


def _record(record: StoredRecord, payloads: Any) -> dict[str, Any]:
    kept = [{"slot": one.slot, "salt": _text(one.salt), "body": _text(one.packed)} for one in payloads]
    return {"record": record.seq, "leaf": _text(record.leaf), "hash": _text(record.hash), "payloads": kept}


def _checkpoint(stored: StoredCheckpoint) -> dict[str, Any]:
    return {"checkpoint": stored.size, "note": stored.note, "frontier": _text(stored.frontier)}


class _Restoring:
    """Raises ValueError, KeyError, TypeError or AttributeError where a line is not what it should be."""

    def __init__(self, tx: Transaction, progress: Progress) -> None:
        self._tx = tx
        self._progress = progress
        self._projections = Projections()
        self._hidden: dict[str, Hidden] = {}
        self._records = self._checkpoints = self._filled = 0

    def all(self, file: gzip.GzipFile) -> int:
        first = json.loads(file.readline() or b"{}")
        if not isinstance(first, dict) or first.get("mcpgw-backup") != _FORMAT:
            raise ValueError("it does not begin as one that this mcpgw knows")
        total = int(first["records"])
        for line in map(json.loads, file):
            if "record" in line:
                self._record(line)
            elif "checkpoint" in line:
                self._checkpoint(line)
            elif "approval" in line:
                self._hidden[line["approval"]] = Hidden(_bytes(line["exact"]), _bytes(line.get("offered", "")))
            else:
                came = {"records": self._records, "checkpoints": self._checkpoints, "approvals": len(self._hidden)}
                if line["end"] != came or self._records != total:
                    raise ValueError("it does not hold as many lines as it says")
                self._fill()
                repaired(self._tx, self._projections, [], {}, self._hidden)
                return self._records
            if self._records % SPAN == 0:
                self._fill()
                self._progress(self._records, total)
        raise ValueError("it was cut off")

    def _record(self, line: dict[str, Any]) -> None:
        leaf = _bytes(line["leaf"])
        members = parse(leaf)
        payloads = [(one["slot"], _bytes(one["salt"]), _bytes(one["body"])) for one in line["payloads"]]
        record = Record(
            seq=line["record"],
            event_id=members["id"],
            time_ns=int(members["time_ns"]),
            leaf=leaf,
            hash=_bytes(line["hash"]),
            index=index_of(members),
            payloads=tuple(Payload(slot=slot, salt=salt, packed=packed) for slot, salt, packed in payloads),
        )
        if record.seq != self._records:
            raise ValueError(f"record {self._records} is missing")
        self._tx.insert(record)
        self._projections.take(record.seq, members, [StoredPayload(record.seq, *payload) for payload in payloads])
        self._records += 1

    def _checkpoint(self, line: dict[str, Any]) -> None:
        frontier = Frontier.from_bytes(line["checkpoint"], _bytes(line["frontier"]))
        self._tx.save_head(Head(frontier, line["note"]))
        self._checkpoints += 1

    def _fill(self) -> None:
        """Store the tiles that are full by now, which also sends what waits to be sent."""
        fill(self._tx, self._filled, self._records)
        self._tx.nodes()
        self._filled = self._records


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
