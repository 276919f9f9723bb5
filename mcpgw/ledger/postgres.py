"""The ledger on PostgreSQL: the SQL of the second store.

Whoever holds the lock of the row `turn` in `meta` appends; everybody else, on whatever host, waits for it. The lock ends with
the transaction, so after a commit of which nothing was heard it also tells when that commit is decided: see `confirm`.

PostgreSQL's text cannot hold a NUL, and what callers send may. It is stored as `\\0`, and a backslash as two, so that every
string comes back as it was.
"""

# ruff: noqa: S608 (SQL is put together from constants of this file alone; every value is bound)

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any

import psycopg

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.places import Place, Selection
from mcpgw.ledger.postgres_connection import Connection, execute, translated
from mcpgw.ledger.postgres_schema import CHANNEL
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
from mcpgw.ledger.sessions import SessionRow
from mcpgw.ledger.store import (
    OFTEN,
    CommitUnknown,
    Head,
    Named,
    OpenCall,
    Query,
    StoredCheckpoint,
    StoredPayload,
    StoredRecord,
)
from mcpgw.ledger.stored_tree import StoredTile
from mcpgw.ledger.tiles import Tile
from mcpgw.ledger.tree import Frontier
from mcpgw.ports import ApprovalState

_PAGE = 1000
"""Checkpoints read at a time: bounds memory."""
_HEAD = "SELECT size, note, frontier FROM checkpoints ORDER BY size DESC LIMIT 1"
_LEAF_HASHES = "SELECT hash FROM records WHERE seq >= %s AND seq < %s ORDER BY seq"
_TILE_ROOTS = "SELECT idx, root FROM tiles WHERE level = %s AND idx >= %s AND idx < %s ORDER BY idx"
_TURN = "SELECT 1 FROM meta WHERE key = 'turn' FOR UPDATE"


class PostgresStore:
    """`store.Store` on one connection. Not for two threads at a time."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._db = connect()
        # READ COMMITTED: each statement behind the lock sees what was committed by whoever had the turn before.
        self._begin = f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = {self._db.durability}; {_TURN}; "

    def close(self) -> None:
        self._db.close()

    # --- writing ---------------------------------------------------------------------------------------------------------

    def begin(self) -> "PostgresTransaction":
        head = self._started(self._begin + _HEAD)  # which may change the connection
        return PostgresTransaction(self._db, head)

    def confirm(self, event_id: str) -> bool:
        self._started(self._begin)  # the lost transaction held the turn: now that it is ours, that one is decided
        try:
            if not self.find(event_id):
                return False
            execute(self._db, "UPDATE meta SET value = value + 1 WHERE key = 'turn'")
            _commit(self._db)  # durable, so what is before it in the server's log is durable too
            return True
        finally:
            with contextlib.suppress(LedgerUnavailable):
                execute(self._db, "ROLLBACK")

    # --- reading ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        self._started("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            with contextlib.suppress(LedgerUnavailable):
                execute(self._db, "ROLLBACK")

    def approvals_version(self) -> int:
        ((version,),) = execute(self._db, "SELECT value FROM meta WHERE key = 'approvals_version'")
        return int(version)

    def approvals(self, ids: Sequence[str], states: Sequence[ApprovalState], limit: int) -> Sequence[ApprovalRow]:
        columns = (("id", [stored(one) for one in ids]), ("state", [state.value for state in states]))
        asked = [(name, values) for name, values in columns if values]
        where = "WHERE " + " AND ".join(f"{name} = ANY(%s)" for name, _ in asked) if asked else ""
        sql = f"SELECT {', '.join(APPROVAL)} FROM approvals {where} ORDER BY held_seq DESC LIMIT %s"
        return [approval_of(_shown(row)) for row in execute(self._db, sql, [*(values for _, values in asked), limit])]

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]:
        return _approvals_for(self._db, request_key)

    def mark(self, name: str) -> Sequence[str]:
        return [_shown(row)[0] for row in execute(self._db, "SELECT value FROM marks WHERE name = %s", (stored(name),))]

    def marks(self) -> Mapping[str, str]:
        return dict(map(_shown, execute(self._db, "SELECT name, value FROM marks")))

    def first_since(self, start: int, time_ns: int) -> Sequence[int]:
        sql = "SELECT seq FROM records WHERE seq >= %s AND time_ns >= %s ORDER BY seq LIMIT 1"
        return [seq for (seq,) in execute(self._db, sql, (start, time_ns))]

    def extent(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        sql = "SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) + 1 FROM records WHERE time_ns BETWEEN %s AND %s"
        ((start, end),) = execute(self._db, sql, (since_ns, until_ns))
        return start, end

    def names(self, column: Named, globs: Sequence[str], limit: int) -> Sequence[str]:
        matching = " OR ".join(["name ~ %s"] * len(globs))
        sql = f"{walked_names(column)} AND ({matching}) LIMIT %s"
        return [_original(name) for (name,) in execute(self._db, sql, [*map(globbed, globs), limit])]

    def tally(self, start: int, end: int) -> Sequence[tuple[str, str, str, str, int]]:
        result = "coalesce(nullif(code, ''), nullif(outcome, ''), decision)"
        sql = f"""SELECT principal, server, kind, {result}, count(*) FROM records
        WHERE seq >= %s AND seq < %s AND kind LIKE 'call.%%' GROUP BY 1, 2, 3, 4"""
        return [
            (who, server, kind, came, number)
            for who, server, kind, came, number in map(_shown, execute(self._db, sql, (start, end)))
        ]

    def grants(self, requester: str, target: str) -> Sequence[ApprovalRow]:
        found = execute(self._db, _GRANTS, (stored(requester), stored(target)))
        return [approval_of(_shown(row)) for row in found]

    def offers(self, request_key: str) -> Sequence[ApprovalRow]:
        return [approval_of(_shown(row)) for row in execute(self._db, _OFFERS, (stored(request_key),))]

    def exceptional_approvals(self) -> Sequence[ApprovalRow]:
        return [approval_of(_shown(row)) for row in execute(self._db, _EXCEPTIONAL)]

    def find(self, event_id: str) -> Sequence[StoredRecord]:
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE event_id = %s"
        return [record_of(_shown(row)) for row in execute(self._db, sql, (stored(event_id),))]

    def payload(self, seq: int, slot: str) -> Sequence[StoredPayload]:
        sql = "SELECT seq, slot, salt, body FROM payloads WHERE seq = %s AND slot = %s"
        return [StoredPayload(*_shown(row)) for row in execute(self._db, sql, (seq, stored(slot)))]

    def search(self, query: Query) -> Sequence[StoredRecord]:
        where, values = _conditions(query)
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE {where} ORDER BY seq DESC LIMIT %s"
        return [record_of(_shown(row)) for row in reversed(execute(self._db, sql, [*values, query.limit]))]

    def erasing(self) -> Sequence[StoredRecord]:
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE {ERASING} ORDER BY seq"
        return [record_of(_shown(row)) for row in execute(self._db, sql)]

    def holding(self) -> Sequence[StoredRecord]:
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE {HOLDING} ORDER BY seq"
        return [record_of(_shown(row)) for row in execute(self._db, sql)]

    def holds(self) -> Sequence[LegalHold]:
        return [hold_of(_shown(row)) for row in execute(self._db, _HOLDS)]

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        return _places(self._db, seqs, slots)

    def with_payloads(self, selection: Selection, start: int, end: int, limit: int) -> Sequence[int]:
        where, values = selected(selection, "%s", "strpos")
        within = f"FROM ({SELECTABLE}) places WHERE seq >= %s AND seq < %s AND {where}"
        sql = f"SELECT DISTINCT seq {within} ORDER BY seq LIMIT %s"
        return [
            seq
            for (seq,) in execute(
                self._db, sql, (start, end, *(stored(one) if isinstance(one, str) else one for one in values), limit)
            )
        ]

    def open_calls(self) -> Sequence[OpenCall]:
        return [OpenCall(*_shown(row)) for row in execute(self._db, _OPEN_CALLS)]

    def size(self) -> int:
        ((size,),) = execute(self._db, "SELECT coalesce(max(seq), -1) + 1 FROM records")
        return int(size)

    def newest_checkpoint(self) -> Sequence[StoredCheckpoint]:
        return [StoredCheckpoint(*_shown(row)) for row in execute(self._db, _HEAD)]

    def records(self, start: int, count: int) -> Sequence[StoredRecord]:
        sql = f"SELECT {', '.join(RECORD)} FROM records WHERE seq >= %s ORDER BY seq LIMIT %s"
        return [record_of(_shown(row)) for row in execute(self._db, sql, (start, count))]

    def payloads(self, start: int, end: int) -> Sequence[StoredPayload]:
        sql = "SELECT seq, slot, salt, body FROM payloads WHERE seq >= %s AND seq < %s ORDER BY seq, slot"
        return [StoredPayload(*_shown(row)) for row in execute(self._db, sql, (start, end))]

    def checkpoints(self, after: int = -(2**63), up_to: int = 2**63 - 1) -> Iterator[StoredCheckpoint]:
        sql = "SELECT size, note, frontier FROM checkpoints WHERE size > %s AND size <= %s ORDER BY size LIMIT %s"
        page = execute(self._db, sql, (after, up_to, _PAGE))
        while page:
            yield from (StoredCheckpoint(*_shown(row)) for row in page)
            page = execute(self._db, sql, (page[-1][0], up_to, _PAGE)) if len(page) == _PAGE else []

    def checkpoint_at_most(self, size: int) -> Sequence[StoredCheckpoint]:
        sql = "SELECT size, note, frontier FROM checkpoints WHERE size <= %s ORDER BY size DESC LIMIT 1"
        return [StoredCheckpoint(*_shown(row)) for row in execute(self._db, sql, (size,))]

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        return [hashed for (hashed,) in execute(self._db, _LEAF_HASHES, (start, end))]

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        return [(index, root) for index, root in execute(self._db, _TILE_ROOTS, (level, start, end))]

    def tiles(self, level: int, start: int, end: int) -> Sequence[StoredTile]:
        sql = "SELECT level, idx, root, hashes FROM tiles WHERE level = %s AND idx >= %s AND idx < %s ORDER BY idx"
        return [StoredTile(*row) for row in execute(self._db, sql, (level, start, end))]

    def damage(self) -> Sequence[str]:
        sql = "SELECT checksum_failures, checksum_last_failure::text FROM pg_stat_database WHERE datname = current_database()"
        ((failures, last),) = execute(self._db, sql)
        return [f"{failures} pages failed their checksum, the last one at {last}"] if failures else []

    def _started(self, sql: str) -> list[tuple[Any, ...]]:
        """Begin a transaction; on a new connection, where the old one turns out to have ended while nothing was done on it."""
        try:
            return execute(self._db, sql)
        except LedgerUnavailable:
            if not self._db.broken:
                raise
        self._db.close()
        self._db = self._connect()
        return execute(self._db, sql)


class PostgresTransaction:
    """`store.Transaction`. What it writes is sent together, before the next read or the commit."""

    def __init__(self, db: Connection, head: Sequence[tuple[Any, ...]]) -> None:
        self._db = db
        self._head = head
        self._unsent: list[tuple[str, Sequence[Any]]] = []

    def commit(self) -> None:
        self._send()
        _commit(self._db)

    def head(self) -> Head:
        for size, note, frontier in map(_shown, self._head):
            try:
                return Head(Frontier.from_bytes(size, frontier), note)
            except ValueError as error:
                raise LedgerUnavailable(f"the newest checkpoint is damaged: {error}", hint="Run `mcpgw verify`.") from error
        return Head(Frontier(), "")

    def insert(self, record: Record) -> None:
        values = (record.seq, record.event_id, record.leaf, record.hash, *(record.index[name] for name in INDEX))
        self._later(_INSERT_RECORD, values)
        for payload in record.payloads:
            self._later(
                "INSERT INTO payloads VALUES (%s, %s, %s, %s)", (record.seq, payload.slot, payload.salt, payload.packed)
            )

    def save_head(self, head: Head) -> None:
        values = (head.frontier.size, head.note, head.frontier.to_bytes())
        self._later("INSERT INTO checkpoints VALUES (%s, %s, %s)", values)

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        return [hashed for (hashed,) in self._all(_LEAF_HASHES, (start, end))]

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        return [(index, root) for index, root in self._all(_TILE_ROOTS, (level, start, end))]

    def save_tile(self, tile: Tile, root: bytes) -> None:
        sql = "INSERT INTO tiles (level, idx, root, hashes) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
        self._later(sql, (tile.level, tile.index, root, tile.hashes))

    def approval(self, approval_id: str) -> Sequence[ApprovalRow]:
        sql = f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE id = %s"
        return [approval_of(_shown(row)) for row in self._all(sql, (stored(approval_id),))]

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]:
        self._send()
        return _approvals_for(self._db, request_key)

    def save_approval(self, row: ApprovalRow) -> None:
        self._later(_UPSERT_APPROVAL, approval_values(row))
        self._later("UPDATE meta SET value = value + 1 WHERE key = 'approvals_version'")
        self._later("SELECT pg_notify(%s, '')", (CHANNEL,))

    def open_call(self, call: OpenCall) -> None:
        sql = """INSERT INTO open_calls (call_id, seq, node, approval_id) VALUES (%s, %s, %s, %s) ON CONFLICT (call_id)
        DO UPDATE SET seq = excluded.seq, node = excluded.node, approval_id = excluded.approval_id"""
        self._later(sql, (call.call_id, call.seq, call.node, call.approval_id))

    def close_call(self, call_id: str) -> None:
        self._later("DELETE FROM open_calls WHERE call_id = %s", (call_id,))

    def open_calls(self) -> Sequence[OpenCall]:
        return [OpenCall(*_shown(row)) for row in self._all(_OPEN_CALLS)]

    def sessions(self, keys: Collection[str]) -> Sequence[SessionRow]:
        sql = f"SELECT {', '.join(SESSION)} FROM sessions WHERE key = ANY(%s)"
        return [session_of(_shown(row)) for row in self._all(sql, ([stored(key) for key in keys],))]

    def session_of(self, seq: int) -> Sequence[SessionRow]:
        sql = f"SELECT {', '.join(SESSION)} FROM sessions WHERE id = (SELECT session FROM records WHERE seq = %s)"
        return [session_of(_shown(row)) for row in self._all(sql, (seq,))]

    def idle_sessions(self, before_ns: int, limit: int) -> Sequence[SessionRow]:
        busy = "SELECT records.session FROM open_calls JOIN records USING (seq)"
        sql = f"SELECT {', '.join(SESSION)} FROM sessions WHERE seen_ns < %s AND id NOT IN ({busy}) ORDER BY seen_ns LIMIT %s"
        return [session_of(_shown(row)) for row in self._all(sql, (before_ns, limit))]

    def save_session(self, row: SessionRow) -> None:
        self._later(_UPSERT_SESSION, session_values(row))

    def remove_session(self, key: str) -> None:
        self._later("DELETE FROM sessions WHERE key = %s", (key,))

    def mark(self, name: str) -> Sequence[str]:
        return [_shown(row)[0] for row in self._all("SELECT value FROM marks WHERE name = %s", (stored(name),))]

    def save_mark(self, name: str, value: str) -> None:
        sql = "INSERT INTO marks (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        self._later(sql, (name, value))

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        self._send()
        return _places(self._db, seqs, slots)

    def erase(self, by: int, places: Sequence[Place]) -> None:
        self._later("SELECT erase(%s)", (by,))  # which reads in the record which they are

    def holds(self) -> Sequence[LegalHold]:
        return [hold_of(_shown(row)) for row in self._all(_HOLDS)]

    def save_hold(self, hold: LegalHold) -> None:
        self._later(f"INSERT INTO holds ({', '.join(HOLD)}) VALUES ({', '.join(['%s'] * len(HOLD))})", hold_values(hold))

    def remove_hold(self, hold_id: str) -> None:
        self._later("DELETE FROM holds WHERE id = %s", (hold_id,))

    def take_turn(self, now_ns: int, until_ns: int) -> bool:
        sql = "UPDATE meta SET value = %s WHERE key = 'sweep_due_ns' AND value <= %s RETURNING 1"
        return bool(self._all(sql, (until_ns, now_ns)))

    def nodes(self) -> Sequence[str]:
        return [_shown(row)[0] for row in self._all("SELECT id FROM nodes")]

    def living(self, nodes: Collection[str]) -> Set[str]:
        held = {key for (key,) in self._all(_HELD)}
        return {node for node in nodes if lock_of(node) in held}

    def add_node(self, node: str, name: str, time_ns: int) -> None:
        self._later("INSERT INTO nodes (id, name, seen_ns) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (node, name, time_ns))

    def remove_node(self, node: str) -> None:
        self._later("DELETE FROM nodes WHERE id = %s", (node,))

    def touch(self, node: str, time_ns: int) -> None:
        self._later("UPDATE nodes SET seen_ns = %s WHERE id = %s", (time_ns, node))
        # The node's row may be gone, and a transaction that wrote nothing would prove nothing.
        self._later("UPDATE meta SET value = value + 1 WHERE key = 'turn'")

    def _later(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._unsent.append((sql, [stored(value) if isinstance(value, str) else value for value in values]))

    def _send(self) -> None:
        """Send what is unsent in one go: however much it is, the network is crossed once."""
        if not self._unsent:
            return
        unsent, self._unsent = self._unsent, []
        try:
            with self._db.pipeline(), self._db.cursor() as cursor:
                for sql, values in unsent:
                    cursor.execute(sql.encode(), values or None)
        except psycopg.Error as error:
            raise translated(error) from error

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._send()
        return execute(self._db, sql, values)


def _commit(db: Connection) -> None:
    db.warned = ""
    try:
        done = db.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        raise CommitUnknown(f"the ledger's commit failed: {translated(error)}") from error
    if done != "COMMIT":
        raise LedgerUnavailable(f"the ledger's database answered {done} when asked to commit")
    if db.warned:  # for one, that somebody cancelled the wait for the standby: it is committed, and not everywhere
        raise CommitUnknown(f"the ledger's commit came with a warning: {db.warned}")


# --- nodes ---------------------------------------------------------------------------------------------------------------

_HELD = """
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def lock_of(node: str) -> int:
    """Return the key of the advisory lock that the node's connections share, for as long as there is one of them."""
    return int.from_bytes(hashlib.sha256(f"mcpgw node {node}".encode()).digest()[:8]) >> 1  # a positive bigint


# --- rows ----------------------------------------------------------------------------------------------------------------

_OPEN_CALLS = "SELECT call_id, seq, node, approval_id FROM open_calls ORDER BY seq"
_INSERT_RECORD = f"INSERT INTO records ({', '.join(RECORD)}) VALUES ({', '.join(['%s'] * len(RECORD))})"
_EXCEPTIONAL = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE break_glass != 0 OR state = 'indeterminate' ORDER BY held_seq DESC"
)
_GRANTS = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals "
    "WHERE state = 'approved' AND allowances != '[]' AND requester = %s AND target = %s ORDER BY held_seq"
)
_OFFERS = (
    f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE offered_key != '' AND %s IN ('', offered_key) ORDER BY held_seq DESC"
)
_HOLDS = f"SELECT {', '.join(HOLD)} FROM holds ORDER BY seq"
_UPSERT_APPROVAL = (
    f"INSERT INTO approvals ({', '.join(APPROVAL)}) VALUES ({', '.join(['%s'] * len(APPROVAL))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in APPROVAL if name != 'id')}"
)
_UPSERT_SESSION = (
    f"INSERT INTO sessions ({', '.join(SESSION)}) VALUES ({', '.join(['%s'] * len(SESSION))}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in SESSION if name != 'key')}"
)


def stored(text: str) -> str:
    """Return the text as a column holds it: without NUL, and no two texts alike."""
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\\" in text or "\0" in text else text


def _original(text: str) -> str:
    return (
        re.sub(r"\\(.)", lambda found: "\0" if found[1] == "0" else found[1], text, flags=re.DOTALL) if "\\" in text else text
    )


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_original(value) if isinstance(value, str) else value for value in row)


def _places(db: Connection, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
    sql = f"{PLACES} WHERE p.seq = ANY(%s) AND p.slot = ANY(%s) ORDER BY p.seq, p.slot"
    return [place_of(_shown(row)) for row in execute(db, sql, ([*seqs], sorted(slots)))]


def _approvals_for(db: Connection, request_key: str) -> Sequence[ApprovalRow]:
    sql = f"SELECT {', '.join(APPROVAL)} FROM approvals WHERE request_key = %s ORDER BY held_seq DESC"
    return [approval_of(_shown(row)) for row in execute(db, sql, (stored(request_key),))]


def _conditions(query: Query) -> tuple[str, list[Any]]:
    parts: list[tuple[str, list[Any]]] = [
        ("seq > %s AND seq < %s", [query.after_seq, query.before_seq]),
        ("time_ns BETWEEN %s AND %s", [query.since_ns, query.until_ns]),
    ]
    if query.who:
        parts.append(("(principal ~ %s OR principal ~ %s)", [globbed(query.who), globbed(f"*#{query.who}")]))
    if query.tool:
        parts.append(("target ~ %s", [globbed(query.tool)]))
    if query.kind:
        parts.append(("kind ~ %s", [globbed(query.kind)]))
    if query.decision:
        parts.append(("%s IN (decision, outcome, code)", [stored(query.decision)]))
    if query.call_id:
        parts.append(("call_id = %s", [stored(query.call_id)]))
    if query.approval_id:
        parts.append(("approval_id = %s", [stored(query.approval_id)]))
    if query.session:
        parts.append(("session = %s", [stored(query.session)]))
    if query.server:
        parts.append(("server = %s", [stored(query.server)]))
    for column, values in (("principal", query.principals), ("target", query.targets), ("kind", query.kinds)):
        if values:
            parts.append((f"{column} = ANY(%s)", [[stored(value) for value in values]]))
    if query.kinds and not {*query.kinds} & {*OFTEN}:
        parts.append((RARER, []))
    parts += [("position(%s::bytea in leaf) > 0", [text]) for text in query.holding]
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]


_SPECIAL, _ESCAPED = re.compile(r"[\[\]\\]"), r"\\\g<0>"
_GLOB = re.compile(r"\*+|\?|\[\^?\]?[^\]]*\]|.", re.DOTALL)


def globbed(pattern: str) -> str:
    """Return SQLite's GLOB as a regular expression of PostgreSQL over stored texts: `*`, `?`, `[abc]`, `[^a-z]`."""
    return f"^{''.join(_expression(found[0]) for found in _GLOB.finditer(pattern))}$"


def _expression(piece: str) -> str:
    if piece.startswith("*"):
        return ".*"
    if piece == "?":
        return r"(?:\\.|[^\\])"
    if len(piece) > 1:
        negated = piece.startswith("[^")
        inside = piece[2 if negated else 1 : -1]
        return f"[{'^' * negated}{_SPECIAL.sub(_ESCAPED, inside)}]"
    return "".join(character if character.isalnum() else f"\\{character}" for character in stored(piece.replace("\0", "")))
