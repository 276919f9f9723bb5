"""A short text that all nodes of a log share, and that one of them at a time may change.

The right to change it is an advisory lock of the connection that changes it. So whoever lost the connection cannot write any
more, and whoever takes over reads what the last one wrote.
"""

import hashlib
from collections.abc import Callable
from contextlib import closing

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.postgres_connection import Connection, Row, execute
from mcpgw.ledger.store import SHARED

_UPSERT = "INSERT INTO marks (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_TAKEN = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = %s
)
"""


class PostgresShared:
    """`store.Shared`: for one thread at a time."""

    def __init__(self, name: str, session: Callable[[], Connection], reading: Callable[[], Connection]) -> None:
        self._name = f"{SHARED}{name}"
        self._key = int.from_bytes(hashlib.sha256(f"mcpgw shared {name}".encode()).digest()[:8]) >> 1  # a positive bigint
        self._session = session
        self._reading = reading
        self._connected: list[Connection] = []  # one, while this node has it or tries to
        self._is_mine = False

    @property
    def is_mine(self) -> bool:
        return self._is_mine

    def take(self) -> bool:
        if not self._connected:
            self._connected = [db := self._session()]
            execute(db, f"SET synchronous_commit = {db.durability}")
        ((taken,),) = self._ask("SELECT pg_try_advisory_lock(%s)", (self._key,))
        self._is_mine = bool(taken)
        return self._is_mine

    def release(self) -> None:
        for db in self._connected:
            db.close()
        self._connected, self._is_mine = [], False

    def is_taken(self) -> bool:
        with closing(self._reading()) as db:
            return bool(execute(db, _TAKEN, (self._key,))[0][0])

    def read(self) -> str:
        sql = "SELECT value FROM marks WHERE name = %s"
        if self._is_mine:
            rows = self._ask(sql, (self._name,))
        else:
            with closing(self._reading()) as db:
                rows = execute(db, sql, (self._name,))
        return "".join(row[0] for row in rows)

    def write(self, text: str) -> None:
        if not self._is_mine:
            raise LedgerUnavailable("another node may change this now")
        self._ask(_UPSERT, (self._name, text))

    def _ask(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        """Ask on the connection that has the lock. One that fails is given up, and the lock with it."""
        (db,) = self._connected
        try:
            return execute(db, sql, values)
        except LedgerUnavailable:
            self.release()
            raise
