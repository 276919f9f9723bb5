"""A log in a PostgreSQL database, for any number of gateways on any number of hosts.

Each connection of a gateway holds, together with its others, one advisory lock that stands for its node. The lock ends with the
last of them, however that one ends, so others see who is alive without comparing clocks. A lost connection looks the same as a
dead process at first, hence `patience_s`.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

import psycopg

from mcpgw.core.errors import GatewayError
from mcpgw.ledger.postgres import PostgresStore, lock_of
from mcpgw.ledger.postgres_connection import (
    Connection,
    connect,
    execute,
    require_append_only,
    require_durable,
    require_schema,
    translated,
)
from mcpgw.ledger.postgres_migrate import migrate, schema_status
from mcpgw.ledger.postgres_schema import CHANNEL
from mcpgw.ledger.postgres_shared import PostgresShared
from mcpgw.ledger.store import SchemaStatus, Shared

logger = logging.getLogger(__name__)

_RETRY_S = 0.5
"""Between two tries to reach a server that is gone."""
_LISTEN_S = 60.0
"""How long to listen without a pause; psycopg wants a bound."""
_READ_S = 600.0
"""For one question of somebody who only reads, such as a search without an index over everything."""


class PostgresDatabase:
    """`store.Database`."""

    poll_s = 2.0  # NOTIFY tells at once; this is for what was missed while a connection was lost

    def __init__(self, address: str, password: str = "", *, timeout_s: float = 5.0, patience_s: float = 5.0) -> None:
        """`address` is a libpq URL without the password. `timeout_s` bounds each wait: for a turn, and for an answer.

        `patience_s`: a lost connection is replaced sooner, unless the network is down.
        """
        self.patience_s = patience_s
        self._address = address
        self._password = password
        self._timeout_s = timeout_s
        self._node = ""  # until `attend`

    def connect(self) -> PostgresStore:
        return PostgresStore(self._session)

    def connect_read_only(self) -> PostgresStore:
        return PostgresStore(self._reading)

    def shared(self, name: str) -> Sequence[Shared]:
        return [PostgresShared(name, self._session, self._reading)]

    def migrate(self) -> SchemaStatus:
        """Bring the schema up to date, as its owner; see `postgres_migrate.migrate`."""
        return migrate(self._address, self._password)

    def schema_status(self) -> SchemaStatus:
        """Return how far the schema is; see `postgres_migrate.schema_status`."""
        return schema_status(self._address, self._password)

    def scrub(self) -> bool:
        """Do nothing: autovacuum reuses the place of deleted rows, and who owns the table may VACUUM it sooner."""
        return True

    def attend(self, node: str, told: Callable[[], None]) -> "PostgresNode":
        self.connect().close()
        self._node = node
        return PostgresNode(self._session, told)

    def _session(self) -> Connection:
        """Connect for writing, as the node that this process is."""
        milliseconds = int(self._timeout_s * 1000)
        settings = f"SET lock_timeout = {milliseconds}; SET idle_in_transaction_session_timeout = {milliseconds};"
        db = connect(self._address, self._password, settings=settings, patience_s=self._timeout_s * 1.5)
        try:
            db.durability = require_durable(db)
            require_schema(db)
            require_append_only(db)
            if self._node:
                execute(db, "SELECT pg_advisory_lock_shared(%s)", (lock_of(self._node),))
        except BaseException:  # passed on: whatever it was, the connection does not outlive it
            db.close()
            raise
        return db

    def _reading(self) -> Connection:
        db = connect(self._address, self._password, settings="SET default_transaction_read_only = on;", patience_s=_READ_S)
        try:
            require_schema(db)
        except BaseException:  # as above
            db.close()
            raise
        return db


class PostgresNode:
    """`store.Presence`: a connection that holds the node's lock while no other is open, and hears what others changed."""

    def __init__(self, session: Callable[[], Connection], told: Callable[[], None]) -> None:
        self._session = session
        self._told = told
        self._ending = threading.Event()
        self._changing = threading.Lock()
        self._line: list[socket.socket] = []  # the connection's socket, while there is one
        self._thread = threading.Thread(target=self._run, name="ledger-listener", daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._ending.set()
        with self._changing:
            for line in self._line:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)  # wakes the thread, which waits for the server to say something
        self._thread.join()

    def _run(self) -> None:
        """Listen, on one connection after the other, until released."""
        while not self._ending.is_set():
            try:
                with contextlib.closing(self._session()) as db:
                    self._listen(db)
            except GatewayError as error:
                logger.warning("waiting for the ledger's database: %s", error)
            except psycopg.Error as error:
                if not self._ending.is_set():
                    logger.warning("the connection for notices was lost: %s", translated(error))
            self._ending.wait(_RETRY_S)

    def _listen(self, db: Connection) -> None:
        execute(db, f"LISTEN {CHANNEL}")
        self._told()  # something may have changed while nobody listened
        with contextlib.closing(socket.socket(fileno=os.dup(db.pgconn.socket))) as line:
            with self._changing:
                self._line = [line]
            try:
                while not self._ending.is_set():
                    for _ in db.notifies(timeout=_LISTEN_S, stop_after=1):
                        self._told()
            finally:
                with self._changing:
                    self._line = []
