"""What a witness has cosigned: one checkpoint for each log, durable before anybody hears of it, never an older one again."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from mcpgw.core.errors import ConfigError, GatewayError
from mcpgw.ledger.checkpoint import Checkpoint

_SCHEMA = """
CREATE TABLE seen (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL
) STRICT;
CREATE TRIGGER seen_never_rolls_back BEFORE UPDATE ON seen
WHEN new.origin != old.origin OR new.size < old.size OR (new.size = old.size AND new.root != old.root)
BEGIN SELECT raise(ABORT, 'a witness does not go back'); END;
CREATE TRIGGER seen_is_never_forgotten BEFORE DELETE ON seen
BEGIN SELECT raise(ABORT, 'a witness does not forget'); END;
CREATE TABLE refused (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    time_s INTEGER NOT NULL, note TEXT NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (origin, size, root)
) STRICT;
"""
_BUSY_MS = 5_000
_MAX_REFUSED = 1_000
"""Refused checkpoints that are kept of one log: proof enough."""


class MemoryFailed(GatewayError):
    """The witness cannot read or write what it has seen, so it cosigns nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest checkpoint that was cosigned: its note has the log's signatures and the witness's."""

    checkpoint: Checkpoint
    note: str


@dataclass(frozen=True, slots=True)
class RefusedCheckpoint:
    """One that the log signed although it does not continue what was seen: evidence against the log."""

    checkpoint: Checkpoint
    time_s: int
    note: str
    why: str


def create_memory(path: Path) -> None:
    """Make an empty memory.

    Raises:
        ConfigError: there is one already: who makes a witness forget lets its log begin anew.
    """
    if path.exists():
        raise ConfigError("there is a witness's memory already", where=str(path))
    with _translated():
        db = apsw.Connection(str(path))
        for sql in ("PRAGMA journal_mode = wal", "PRAGMA synchronous = full", "BEGIN", _SCHEMA, "COMMIT"):
            db.execute(sql).fetchall()
        db.close()


class Memory:
    """One file, open. Threads and processes that share it take turns."""

    def __init__(self, path: Path) -> None:
        """Raises: ConfigError: there is none. A witness never begins an empty one by itself."""
        if not path.exists():
            hint = "Restore the newest copy. A new memory (`mcpgw witness init`) belongs with a new name and key."
            raise ConfigError("the witness's memory is missing", where=str(path), hint=hint)
        with _translated():
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._db.set_busy_timeout(_BUSY_MS)
            self._db.execute("PRAGMA synchronous = full").fetchall()
        self._turn = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else read or write meanwhile; what is written is durable when the block ends, or not at all.

        Raises:
            MemoryFailed: it is not durable.
        """
        with self._turn, _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # Whatever it is, nothing of the block stays, and it goes on its way.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def seen(self, origin: str) -> Sequence[Seen]:
        """Return what was cosigned of that log last, if anything was."""
        with _translated():
            rows = self._rows("SELECT size, root, note FROM seen WHERE origin = ?", (origin,))
        return [Seen(Checkpoint(origin, size, root), note) for size, root, note in rows]

    def save(self, seen: Seen) -> None:
        """Remember it instead of what was seen before. Raises `MemoryFailed` for an older one."""
        sql = """INSERT INTO seen VALUES (?, ?, ?, ?)
            ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note"""
        found = seen.checkpoint
        with _translated():
            self._db.execute(sql, (found.origin, found.size, found.root, seen.note))

    def keep_refused(self, refused: RefusedCheckpoint) -> None:
        """Keep the evidence, once for each size and root."""
        found = refused.checkpoint
        values = (found.origin, found.size, found.root, refused.time_s, refused.note, refused.why)
        with _translated():
            if len(self._rows("SELECT 1 FROM refused WHERE origin = ?", (found.origin,))) < _MAX_REFUSED:
                self._db.execute("INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?, ?)", values)

    def refused(self, origin: str) -> Sequence[RefusedCheckpoint]:
        sql = "SELECT size, root, time_s, note, why FROM refused WHERE origin = ? ORDER BY time_s, size"
        with _translated():
            rows = self._rows(sql, (origin,))
        return [RefusedCheckpoint(Checkpoint(origin, size, root), *rest) for size, root, *rest in rows]

    def close(self) -> None:
        self._db.close()

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise MemoryFailed(f"the witness's memory failed: {type(error).__name__}: {error}") from error
