"""The ledger on SQLite: the one file that knows SQL, and the only one that imports `apsw`.

WAL with `synchronous=FULL`: a commit returns after the WAL was synced. Any number of processes on one machine may open the same
file; `BEGIN IMMEDIATE` makes one of them the writer. Not for network file systems, whose locks and shared memory do not hold.
"""

# ruff: noqa: S608 (SQL is put together from constants of this file alone; every value is bound)

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import apsw

from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.nodes import Node, is_alive
from mcpgw.ledger.places import Place, Selection
from mcpgw.ledger.record import Record
from mcpgw.ledger.rows import (
    APPROVAL,
    ERASING,
    HOLD,
    HOLDING,
    INDEX,
    PLACES,
    RARER,
    RECORD,
    SELECTABLE,
    SESSION,
    approval_of,
    approval_values,
    hold_of,
    hold_values,
    place_of,
    record_of,
    selected,
    session_of,
    session_values,
    walked_names,
)
from mcpgw.ledger.schema import HOLDS_SINCE, KINDS_SINCE, MIGRATIONS, TILES_SINCE, VERSION
from mcpgw.ledger.sessions import SessionRow
from mcpgw.ledger.store import (
    OFTEN,
    CommitUnknown,
    Head,
    Named,
    OpenCall,
    Query,
    SchemaStatus,
    Shared,
    StoredCheckpoint,
    StoredPayload,
    StoredRecord,
)
from mcpgw.ledger.stored_tree import StoredTile
from mcpgw.ledger.tiles import Tile
from mcpgw.ledger.tree import Frontier
from mcpgw.ports import ApprovalState

FILE = "ledger.db"
NODES = "nodes"
"""Folder of the nodes' locks, beside the file."""
OLDEST_SAFE = 3_051_003
"""3.7.0 to 3.51.2 can corrupt a WAL that several connections write and checkpoint (the WAL-reset bug)."""
_SCRUB_PATIENCE_S = 0.2
"""For readers to let go of the write-ahead log: writers wait meanwhile, and it can be tried again."""
_FIRST_NAP_S = 0.0002
_LONGEST_NAP_S = 0.001
"""Between two tries for the write lock: shorter than the pause in which a busy neighbour answers its callers, so that everybody
gets a turn. SQLite's own handler naps up to 100 ms, which is a hundred commits."""


def require_safe_library(version: int) -> None:
    """Refuse a SQLite that several processes must not write with.

    Raises:
        ConfigError: it is older than `OLDEST_SAFE`.
    """
    if version < OLDEST_SAFE:
        hint = "Install apsw from its wheel, which brings its own SQLite."
        raise ConfigError(f"SQLite {version} can corrupt a log that several processes write; 3.51.3 is needed", hint=hint)


class SqliteDatabase:
    """`store.Database`: one file in a folder of this machine, and the nodes' locks beside it."""

    patience_s = 0.0  # the kernel knows at once who is dead
    poll_s = 0.05  # nobody tells: one indexed read of one row each time, and only while somebody waits

    def __init__(self, folder: Path, connect: "Callable[[], SqliteStore] | None" = None) -> None:
        """`connect` opens the file in another way than `SqliteStore.connect`."""
        self._folder = folder
        self._connect = connect

    def connect(self) -> "SqliteStore":
        return self._connect() if self._connect else SqliteStore.connect(self._folder / FILE)

    def connect_read_only(self) -> "SqliteStore":
        return SqliteStore.connect_read_only(self._folder / FILE)

    def shared(self, name: str) -> Sequence[Shared]:
        return []

    def migrate(self) -> SchemaStatus:
        self.connect().close()  # opening it for writing is all that it takes
        return self.schema_status()

    def schema_status(self) -> SchemaStatus:
        with contextlib.closing(SqliteStore.connect_read_only(self._folder / FILE)) as store:
            version = store.schema_version()
        return SchemaStatus(version, oldest=1, known=VERSION)

    def scrub(self) -> bool:
        """Copy the write-ahead log into the file, whose erased places are zeroes (`secure_delete`), and cut it to nothing."""
        path = self._folder / FILE
        with contextlib.closing(SqliteStore.connect(path, busy_timeout_s=_SCRUB_PATIENCE_S)) as store:
            return store.scrub()

    def attend(self, node: str, told: Callable[[], None]) -> Node:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.connect().close()
            return Node(self._folder / NODES, node)
        except OSError as error:
            hint = f"Make {self._folder} writable for the gateway."
            raise LedgerUnavailable(f"the data folder cannot be written: {error.strerror}", hint=hint) from error


class SqliteStore:
    """`store.Store` on one connection. Not for two threads at a time."""

    def __init__(self, connection: apsw.Connection, folder: Path) -> None:
        """`folder` is where the database stands, and the nodes beside it."""
        self._db = connection
        self._folder = folder
        version = self.schema_version()
        self._has_tiles = version >= TILES_SINCE
        self._has_kinds = version >= KINDS_SINCE
        self._has_holds = version >= HOLDS_SINCE

    @classmethod
    def connect(cls, path: Path, *, busy_timeout_s: float = 5.0, vfs: str | None = None) -> "SqliteStore":
        """Open the log for writing; make it, or bring its schema up to date, where needed.

        `busy_timeout_s` bounds how long a writer waits for its turn.

        Raises:
            ConfigError: the SQLite library is unsafe, or the file was made by a newer mcpgw.
            LedgerUnavailable: the file cannot be opened or written.
        """
        require_safe_library(apsw.SQLITE_VERSION_NUMBER)
        try:
            path.touch(mode=0o600)  # SQLite gives its WAL the same mode
        except OSError as error:
            raise LedgerUnavailable(f"{path} cannot be written: {error.strerror}") from error
        with _translated():
            return cls(_opened(str(path), busy_timeout_s, vfs), path.parent)

    @classmethod
    def connect_read_only(cls, path: Path, *, busy_timeout_s: float = 5.0) -> "SqliteStore":
        """Open the log for reading alone, while gateways write it or from a medium that cannot be written.

        Raises:
            LedgerUnavailable: the file is not there, is no log, or cannot be read.
        """
        if not path.is_file():
            raise LedgerUnavailable(f"there is no ledger at {path}", hint="Is this the gateway's folder?")
        with _translated():
            try:
                return cls(_opened_read_only(str(path), apsw.SQLITE_OPEN_READONLY, busy_timeout_s), path.parent)
            except (apsw.CantOpenError, apsw.ReadOnlyError):
                if path.with_name(path.name + "-wal").exists():
                    raise  # without shared memory the newest records could not be seen, and nobody would know
                uri = f"{path.resolve().as_uri()}?immutable=1"
                flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
                return cls(_opened_read_only(uri, flags, busy_timeout_s), path.parent)

    def schema_version(self) -> int:
        return int(self._one("PRAGMA user_version")[0])

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # a connection that failed may fail to close; nothing depends on it
            self._db.close()

    # --- writing ---------------------------------------------------------------------------------------------------------

    def begin(self) -> "SqliteTransaction":
        self._all("BEGIN IMMEDIATE")
        return SqliteTransaction(self._db, self._folder)

    def confirm(self, event_id: str) -> bool:
        with _translated():
            if not self.find(event_id):
                return False
            # The sync that failed may have dropped pages that look clean now. Copying the WAL into the database writes and
            # syncs every one of them again, elsewhere.
            ((busy, *_),) = self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
            return not busy

    def scrub(self) -> bool:
        """See `SqliteDatabase.scrub`."""
        marks = dict(self._all("SELECT key, value FROM meta WHERE key IN ('erased', 'scrubbed')"))
        if marks["erased"] == marks["scrubbed"]:
            return True
        with _translated():
            try:
                ((busy, *_),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                if not busy:
                    self._all("UPDATE meta SET value = ? WHERE key = 'scrubbed'", (marks["erased"],))
            except apsw.BusyError:
                return False
        return not busy

    # --- reading ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with _translated():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                with contextlib.suppress(apsw.Error):
                    self._db.execute("ROLLBACK")

    def approvals_version(self) -> int:
        return int(self._one("SELECT value FROM meta WHERE key = 'approvals_version'")[0])

    def approvals(self, ids: Sequence[str], states: Sequence[ApprovalState], limit: int) -> Sequence[ApprovalRow]:
        where, values = _where([("id", ids), ("state", [state.value for state in states])])
        sql = f"SELECT {', '.join(APPROVAL)} FROM approvals {where} ORDER BY held_seq DESC LIMIT ?"
        return [approval_of(row) for row in self._all(sql, (*values, limit))]

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]:
        return _approvals_for(self._db, request_key)

    def offers(self, request_key: str) -> Sequence[ApprovalRow]:
        return [approval_of(row) for row in self._all(_OFFERS, (request_key,))]

    def mark(self, name: str) -> Sequence[str]:
        return [row[0] for row in self._all("SELECT value FROM marks WHERE name = ?", (name,))]

    def marks(self) -> Mapping[str, str]:
        return {row[0]: row[1] for row in self._all("SELECT name, value FROM marks")}

    def first_since(self, start: int, time_ns: int) -> Sequence[int]:
        sql = "SELECT seq FROM records WHERE seq >= ? AND time_ns >= ? ORDER BY seq LIMIT 1"
        return [seq for (seq,) in self._all(sql, (start, time_ns))]

    def extent(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        sql = "SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) + 1 FROM records WHERE time_ns BETWEEN ? AND ?"
        ((start, end),) = self._all(sql, (since_ns, until_ns))
        return start, end

    def names(self, column: Named, globs: Sequence[str], limit: int) -> Sequence[str]:
        if column is Named.KIND and not self._has_kinds:
            sql = f"SELECT DISTINCT kind FROM records WHERE {_any_glob('kind', globs)} LIMIT ?"
            return [name for (name,) in self._all(sql, (*globs, limit))]
        sql = f"{walked_names(column)} AND {_any_glob('name', globs)} LIMIT ?"
        return [name for (name,) in self._all(sql, (*globs, limit))]

    def tally(self, start: int, end: int) -> Sequence[tuple[str, str, str, str, int]]:
        result = "coalesce(nullif(code, ''), nullif(outcome, ''), decision)"
        sql = f"""SELECT principal, server, kind, {result}, count(*) FROM records
        WHERE seq >= ? AND seq < ? AND kind LIKE 'call.%' GROUP BY 1, 2, 3, 4"""
        return [(who, server, kind, came, number) for who, server, kind, came, number in self._all(sql, (start, end))]

    def grants(self, requester: str, target: str) -> Sequence[ApprovalRow]:
        return [approval_of(row) for row in self._all(_GRANTS, (requester, target))]

    def exceptional_approvals(self) -> Sequence[ApprovalRow]:
        return [approval_of(row) for row in self._all(_EXCEPTIONAL)]

    def find(self, event_id: str) -> Sequence[StoredRecord]:
        return [record_of(row) for row in self._all(f"SELECT {', '.join(RECORD)} FROM records WHERE event_id = ?", (event_id,))]

    def payload(self, seq: int, slot: str) -> Sequence[StoredPayload]:
        sql = "SELECT seq, slot, salt, body FROM payloads WHERE seq = ? AND slot = ?"
        return [StoredPayload(*row) for row in self._all(sql, (seq, slot))]

    def search(self, query: Query) -> Sequence[StoredRecord]:
        where, values = _conditions(query)
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE {where} ORDER BY seq DESC LIMIT ?"
        return [record_of(row) for row in reversed(self._all(sql, (*values, query.limit)))]

    def erasing(self) -> Sequence[StoredRecord]:
        return [record_of(row) for row in self._all(f"SELECT {', '.join(RECORD)} FROM records WHERE {ERASING} ORDER BY seq")]

    def holding(self) -> Sequence[StoredRecord]:
        return [record_of(row) for row in self._all(f"SELECT {', '.join(RECORD)} FROM records WHERE {HOLDING} ORDER BY seq")]

    def holds(self) -> Sequence[LegalHold]:
        return [hold_of(row) for row in self._all(_HOLDS)] if self._has_holds else []

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        return _places(self._db, seqs, slots)

    def with_payloads(self, selection: Selection, start: int, end: int, limit: int) -> Sequence[int]:
        where, values = selected(selection, "?", "instr")
        within = f"FROM ({SELECTABLE}) places WHERE seq >= ? AND seq < ? AND {where}"
        sql = f"SELECT DISTINCT seq {within} ORDER BY seq LIMIT ?"
        return [seq for (seq,) in self._all(sql, (start, end, *values, limit))]

    def open_calls(self) -> Sequence[OpenCall]:
        return [OpenCall(*row) for row in self._all(_OPEN_CALLS)]

    def size(self) -> int:
        return int(self._one("SELECT coalesce(max(seq), -1) + 1 FROM records")[0])

    def newest_checkpoint(self) -> Sequence[StoredCheckpoint]:
        sql = "SELECT size, note, frontier FROM checkpoints ORDER BY size DESC LIMIT 1"
        return [StoredCheckpoint(*row) for row in self._all(sql)]

    def records(self, start: int, count: int) -> Sequence[StoredRecord]:
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE seq >= ? ORDER BY seq LIMIT ?"
        return [record_of(row) for row in self._all(sql, (start, count))]

    def payloads(self, start: int, end: int) -> Sequence[StoredPayload]:
        sql = "SELECT seq, slot, salt, body FROM payloads WHERE seq >= ? AND seq < ? ORDER BY seq, slot"
        return [StoredPayload(*row) for row in self._all(sql, (start, end))]

    def checkpoints(self, after: int = -(2**63), up_to: int = 2**63 - 1) -> Iterator[StoredCheckpoint]:
        sql = "SELECT size, note, frontier FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size"
        with _translated():
            for row in self._db.execute(sql, (after, up_to)):
                yield StoredCheckpoint(*row)

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        return _leaf_hashes(self._db, start, end)

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        return _tile_roots(self._db, level, start, end) if self._has_tiles else []

    def tiles(self, level: int, start: int, end: int) -> Sequence[StoredTile]:
        sql = "SELECT level, idx, root, hashes FROM tiles WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
        return [StoredTile(*row) for row in self._all(sql, (level, start, end))] if self._has_tiles else []

    def checkpoint_at_most(self, size: int) -> Sequence[StoredCheckpoint]:
        sql = "SELECT size, note, frontier FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT 1"
        return [StoredCheckpoint(*row) for row in self._all(sql, (size,))]

    def damage(self) -> Sequence[str]:
        return [row[0] for row in self._all("PRAGMA integrity_check(20)") if row[0] != "ok"]

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return _all(self._db, sql, values)

    def _one(self, sql: str) -> tuple[Any, ...]:
        (row,) = self._all(sql)
        return row


class SqliteTransaction:
    """`store.Transaction`, between `BEGIN IMMEDIATE` and `COMMIT`."""

    def __init__(self, connection: apsw.Connection, folder: Path) -> None:
        self._db = connection
        self._folder = folder

    def commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except apsw.Error as error:
            raise CommitUnknown(f"the ledger's commit failed: {type(error).__name__}: {error}") from error

    def head(self) -> Head:
        for size, note, frontier in self._all("SELECT size, note, frontier FROM checkpoints ORDER BY size DESC LIMIT 1"):
            try:
                return Head(Frontier.from_bytes(size, frontier), note)
            except ValueError as error:
                raise LedgerUnavailable(f"the newest checkpoint is damaged: {error}", hint="Run `mcpgw verify`.") from error
        return Head(Frontier(), "")

    def insert(self, record: Record) -> None:
        values = (record.seq, record.event_id, record.leaf, record.hash, *(record.index[name] for name in INDEX))
        self._all(_INSERT_RECORD, values)
        for payload in record.payloads:
            self._all("INSERT INTO payloads VALUES (?, ?, ?, ?)", (record.seq, payload.slot, payload.salt, payload.packed))

    def save_head(self, head: Head) -> None:
        values = (head.frontier.size, head.note, head.frontier.to_bytes())
        self._all("INSERT INTO checkpoints VALUES (?, ?, ?)", values)

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        return _leaf_hashes(self._db, start, end)

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        return _tile_roots(self._db, level, start, end)

    def save_tile(self, tile: Tile, root: bytes) -> None:
        self._all("INSERT OR IGNORE INTO tiles VALUES (?, ?, ?, ?)", (tile.level, tile.index, root, tile.hashes))

    def approval(self, approval_id: str) -> Sequence[ApprovalRow]:
        sql = f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE id = ?"
        return [approval_of(row) for row in self._all(sql, (approval_id,))]

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]:
        return _approvals_for(self._db, request_key)

    def save_approval(self, row: ApprovalRow) -> None:
        self._all(_UPSERT_APPROVAL, approval_values(row))
        self._all("UPDATE meta SET value = value + 1 WHERE key = 'approvals_version'")

    def open_call(self, call: OpenCall) -> None:
        self._all(
            "INSERT OR REPLACE INTO open_calls VALUES (?, ?, ?, ?)", (call.call_id, call.seq, call.node, call.approval_id)
        )

    def close_call(self, call_id: str) -> None:
        self._all("DELETE FROM open_calls WHERE call_id = ?", (call_id,))

    def open_calls(self) -> Sequence[OpenCall]:
        return [OpenCall(*row) for row in self._all(_OPEN_CALLS)]

    def sessions(self, keys: Collection[str]) -> Sequence[SessionRow]:
        where, values = _where([("key", [*keys])])
        return [session_of(row) for row in self._all(f"SELECT {', '.join(SESSION)} FROM sessions {where}", tuple(values))]

    def session_of(self, seq: int) -> Sequence[SessionRow]:
        sql = f"SELECT {', '.join(SESSION)} FROM sessions WHERE id = (SELECT session FROM records WHERE seq = ?)"
        return [session_of(row) for row in self._all(sql, (seq,))]

    def idle_sessions(self, before_ns: int, limit: int) -> Sequence[SessionRow]:
        busy = "SELECT records.session FROM open_calls JOIN records USING (seq)"
        sql = f"SELECT {', '.join(SESSION)} FROM sessions WHERE seen_ns < ? AND id NOT IN ({busy}) ORDER BY seen_ns LIMIT ?"
        return [session_of(row) for row in self._all(sql, (before_ns, limit))]

    def save_session(self, row: SessionRow) -> None:
        self._all(_UPSERT_SESSION, session_values(row))

    def remove_session(self, key: str) -> None:
        self._all("DELETE FROM sessions WHERE key = ?", (key,))

    def mark(self, name: str) -> Sequence[str]:
        return [row[0] for row in self._all("SELECT value FROM marks WHERE name = ?", (name,))]

    def save_mark(self, name: str, value: str) -> None:
        sql = "INSERT INTO marks (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        self._all(sql, (name, value))

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        return _places(self._db, seqs, slots)

    def erase(self, by: int, places: Sequence[Place]) -> None:
        for place in places:
            self._all("DELETE FROM payloads WHERE seq = ? AND slot = ?", (place.seq, place.slot))
        self._all("UPDATE meta SET value = value + 1 WHERE key = 'erased'")

    def holds(self) -> Sequence[LegalHold]:
        return [hold_of(row) for row in self._all(_HOLDS)]

    def save_hold(self, hold: LegalHold) -> None:
        self._all(f"INSERT INTO holds ({', '.join(HOLD)}) VALUES ({', '.join('?' * len(HOLD))})", hold_values(hold))

    def remove_hold(self, hold_id: str) -> None:
        self._all("DELETE FROM holds WHERE id = ?", (hold_id,))

    def take_turn(self, now_ns: int, until_ns: int) -> bool:
        sql = "UPDATE meta SET value = ? WHERE key = 'sweep_due_ns' AND value <= ? RETURNING 1"
        return bool(self._all(sql, (until_ns, now_ns)))

    def nodes(self) -> Sequence[str]:
        return [row[0] for row in self._all("SELECT id FROM nodes")]

    def living(self, nodes: Collection[str]) -> Set[str]:
        return {node for node in nodes if is_alive(self._folder / NODES, node)}

    def add_node(self, node: str, name: str, time_ns: int) -> None:
        self._all("INSERT INTO nodes VALUES (?, ?, ?)", (node, name, time_ns))

    def remove_node(self, node: str) -> None:
        self._all("DELETE FROM nodes WHERE id = ?", (node,))

    def touch(self, node: str, time_ns: int) -> None:
        self._all("UPDATE nodes SET seen_ns = ? WHERE id = ?", (time_ns, node))

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return _all(self._db, sql, values)


# --- opening -------------------------------------------------------------------------------------------------------------


def _opened(name: str, busy_timeout_s: float, vfs: str | None) -> apsw.Connection:
    until = time.monotonic() + busy_timeout_s
    while True:
        db = apsw.Connection(name, vfs=vfs)
        try:
            _prepare(db)
            db.set_busy_handler(_patient(busy_timeout_s))
            return db
        except apsw.BusyError:  # making a file, switching it to WAL: SQLite does not always ask a busy handler there
            db.close()
            if time.monotonic() > until:
                raise
            time.sleep(_LONGEST_NAP_S)
        except BaseException:  # passed on: whatever it was, the connection does not outlive it
            db.close()
            raise


def _prepare(db: apsw.Connection) -> None:
    mode = db.pragma("journal_mode", "wal")
    if mode != "wal":
        raise LedgerUnavailable(f"SQLite answered journal_mode={mode} when asked for WAL", hint="Use a local file system.")
    db.pragma("synchronous", "FULL")
    db.pragma("fullfsync", True)  # macOS: a plain fsync stops at the drive's cache
    db.pragma("checkpoint_fullfsync", True)
    db.pragma("secure_delete", True)  # what is erased is overwritten
    db.pragma("recursive_triggers", True)  # or REPLACE would delete past the triggers
    if db.pragma("user_version") != VERSION:
        _migrate(db)


def _migrate(db: apsw.Connection) -> None:
    """Bring the schema up to date, in one transaction, which an error rolls back with the connection."""
    db.execute("BEGIN IMMEDIATE")
    found = int(db.pragma("user_version"))
    if found > VERSION:
        hint = "Run the mcpgw that made it, or a newer one."
        raise ConfigError(f"the ledger has schema {found}, and this mcpgw knows {VERSION}", hint=hint)
    for migration in MIGRATIONS[found:]:
        db.execute(migration).fetchall()
    db.pragma("user_version", VERSION)
    db.execute("COMMIT")


def _opened_read_only(name: str, flags: int, busy_timeout_s: float) -> apsw.Connection:
    db = apsw.Connection(name, flags=flags)
    try:
        db.set_busy_handler(_patient(busy_timeout_s))
        version = db.pragma("user_version")
        if version == 0 or version > VERSION:
            raise LedgerUnavailable(f"{name} is not a ledger that this mcpgw can read (schema {version})")
    except BaseException:  # passed on: whatever it was, the connection does not outlive it
        db.close()
        raise
    return db


def _patient(timeout_s: float) -> Callable[[int], bool]:
    """A busy handler that naps briefly and gives up after `timeout_s`."""
    waiting_since = 0.0

    def nap(tries: int) -> bool:
        nonlocal waiting_since
        if tries == 0:
            waiting_since = time.monotonic()
        if time.monotonic() - waiting_since > timeout_s:
            return False
        time.sleep(min(_LONGEST_NAP_S, _FIRST_NAP_S * 2 ** min(tries, 8)))
        return True

    return nap


def _all(db: apsw.Connection, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    try:  # as `_translated`, but this is the hot path
        return db.execute(sql, values).fetchall()
    except apsw.Error as error:
        raise _translation(error) from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _translation(error) from error


def _translation(error: apsw.Error) -> LedgerUnavailable:
    return LedgerUnavailable(f"the ledger's database failed: {type(error).__name__}: {error}")


# --- rows ----------------------------------------------------------------------------------------------------------------

_OPEN_CALLS = "SELECT call_id, seq, node, approval_id FROM open_calls ORDER BY seq"
_INSERT_RECORD = f"INSERT INTO records ({', '.join(RECORD)}) VALUES ({', '.join('?' * len(RECORD))})"
_EXCEPTIONAL = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE break_glass != 0 OR state = 'indeterminate' ORDER BY held_seq DESC"
)
_GRANTS = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals "
    "WHERE state = 'approved' AND allowances != '[]' AND requester = ? AND target = ? ORDER BY held_seq"
)
_OFFERS = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE offered_key != '' AND ? IN ('', offered_key) ORDER BY held_seq DESC"
)
_HOLDS = f"SELECT {', '.join(HOLD)} FROM holds ORDER BY seq"
_UPSERT_APPROVAL = (
    f"INSERT INTO approvals ({', '.join(APPROVAL)}) VALUES ({', '.join('?' * len(APPROVAL))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in APPROVAL if name != 'id')}"
)
_UPSERT_SESSION = (
    f"INSERT INTO sessions ({', '.join(SESSION)}) VALUES ({', '.join('?' * len(SESSION))}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in SESSION if name != 'key')}"
)


def _leaf_hashes(db: apsw.Connection, start: int, end: int) -> Sequence[bytes]:
    return [row[0] for row in _all(db, "SELECT hash FROM records WHERE seq >= ? AND seq < ? ORDER BY seq", (start, end))]


def _tile_roots(db: apsw.Connection, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
    sql = "SELECT idx, root FROM tiles WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
    return [(index, root) for index, root in _all(db, sql, (level, start, end))]


def _places(db: apsw.Connection, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
    where, values = _where([("p.seq", [*seqs]), ("p.slot", sorted(slots))])
    return [place_of(row) for row in _all(db, f"{PLACES} {where} ORDER BY p.seq, p.slot", tuple(values))]


def _approvals_for(db: apsw.Connection, request_key: str) -> Sequence[ApprovalRow]:
    sql = f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE request_key = ? ORDER BY held_seq DESC"
    return [approval_of(row) for row in _all(db, sql, (request_key,))]


def _where(columns: Sequence[tuple[str, Sequence[str | int]]]) -> tuple[str, list[Any]]:
    """`column IN (...)` for each column that has values to be among."""
    parts = [f"{name} IN ({', '.join('?' * len(values))})" for name, values in columns if values]
    bound = [value for _, values in columns for value in values]
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), bound


def _any_glob(column: str, globs: Sequence[str]) -> str:
    return f"({' OR '.join([f'{column} GLOB ?'] * len(globs))})"


def _conditions(query: Query) -> tuple[str, list[Any]]:
    parts: list[tuple[str, list[Any]]] = [
        ("seq > ? AND seq < ?", [query.after_seq, query.before_seq]),
        ("time_ns BETWEEN ? AND ?", [query.since_ns, query.until_ns]),
    ]
    if query.who:
        parts.append(("(principal GLOB ? OR principal GLOB ?)", [query.who, f"*#{query.who}"]))
    if query.tool:
        parts.append(("target GLOB ?", [query.tool]))
    if query.kind:
        parts.append(("kind GLOB ?", [query.kind]))
    if query.decision:
        parts.append(("? IN (decision, outcome, code)", [query.decision]))
    if query.call_id:
        parts.append(("call_id = ?", [query.call_id]))
    if query.approval_id:
        parts.append(("approval_id = ?", [query.approval_id]))
    if query.session:
        parts.append(("session = ?", [query.session]))
    if query.server:
        parts.append(("server = ?", [query.server]))
    for column, values in (("principal", query.principals), ("target", query.targets), ("kind", query.kinds)):
        if values:
            parts.append((f"{column} IN ({', '.join('?' * len(values))})", [*values]))
    if query.kinds and not {*query.kinds} & {*OFTEN}:
        parts.append((RARER, []))
    parts += [("instr(leaf, ?)", [text]) for text in query.holding]
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]
