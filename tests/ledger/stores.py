"""The two stores, as tests see them: the same log in either, and what an administrator of its database could do to it."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from postgres_server import ADMIN, LOG, Server

from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database
from mcpgw.ledger.verify import Report, verify


class Admin(Protocol):
    """A connection of somebody who owns the database. SQL is SQLite's, with `?`."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any: ...


class Kept(Protocol):
    """One log in one kind of store."""

    kind: str
    folder: Path
    """Where `keys` and `data` are."""
    address: str
    """For processes that tests start; empty for SQLite."""

    def database(self) -> Database: ...

    def tampering(self) -> Any:
        """Return a context with an `Admin` past all triggers, whose changes stay."""

    def admin(self) -> Any:
        """Return a context with an `Admin` who meets the triggers."""


def verified(kept: Kept, against: str = "") -> Report:
    with closing(kept.database().connect_read_only()) as store:
        return verify(store, load_verifiers(kept.folder / "keys"), against=against)


class KeptInSqlite:
    kind, address = "sqlite", ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def database(self) -> SqliteDatabase:
        return SqliteDatabase(self.folder / "data")

    @contextmanager
    def tampering(self) -> Iterator[Admin]:
        with closing(sqlite3.connect(self.folder / "data" / "ledger.db")) as db, db:
            triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                db.execute(f"DROP TRIGGER {name}")
            yield db
            for _, sql in triggers:
                db.execute(sql)

    @contextmanager
    def admin(self) -> Iterator[Admin]:
        with closing(sqlite3.connect(self.folder / "data" / "ledger.db")) as db:
            yield db


class KeptInPostgres:
    kind = "postgres"

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.address = server.address("mcpgw_gateway")

    def database(self, timeout_s: float = 5.0) -> PostgresDatabase:
        return PostgresDatabase(self.address, timeout_s=timeout_s, patience_s=0.3)

    @contextmanager
    def tampering(self) -> Iterator[Admin]:
        with self.admin() as admin:
            for table in LOG:
                admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            yield admin
            for table in LOG:
                admin.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")

    @contextmanager
    def admin(self) -> Iterator["PostgresAdmin"]:
        with closing(psycopg.connect(self.server.address(ADMIN), autocommit=True)) as db:
            db.execute("SET search_path = mcpgw")
            yield PostgresAdmin(db)


class PostgresAdmin:
    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self._db = db

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        spoken = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", sql).replace("rowid", "ctid").replace("?", "%s")
        return self._db.execute(spoken.encode(), values or None)
