"""The two stores that the ledger is measured on: SQLite, and a PostgreSQL of its own on the same disk."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.contenders import mcpgw
from bench.made_log import ORIGIN
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.postgres_migrate import migrate
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database
from tests.ledger.postgres_server import ADMIN, Server, cannot_run, documented_sql


@dataclass(frozen=True, slots=True)
class Place:
    """A working folder and where its log is."""

    name: str
    folder: Path
    address: str
    """Of PostgreSQL; empty for SQLite."""

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def database(self) -> Database:
        return database(self.folder, self.address)


def database(folder: Path, address: str) -> Database:
    return PostgresDatabase(address) if address else SqliteDatabase(folder / "data")


@contextmanager
def places(folder: Path) -> Iterator[list[Place]]:
    """Make both, or SQLite alone where PostgreSQL is not installed."""
    sqlite = _place("SQLite", folder / "sqlite", "")
    if cannot_run():
        yield [sqlite]
        return
    with _server(folder / "server") as server:
        yield [sqlite, _place(f"PostgreSQL {_version(server)}", folder / "postgres", server.address("mcpgw_gateway"))]


def _place(name: str, folder: Path, address: str) -> Place:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\nurl = "{address}"\n')
    mcpgw(folder, "init", ".")
    (folder / "data").mkdir(exist_ok=True)
    return Place(name, folder, address)


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    """Run a server whose files are on the disk that is measured, with its defaults."""
    folder.mkdir(parents=True)
    if os.geteuid() == 0:  # it runs as nobody, who has to get there
        for above in (folder.parent, folder.parent.parent):
            above.chmod(0o711)
    server = Server(folder)
    server.start("shared_buffers=128MB")
    try:
        for statement in documented_sql():
            server.run(statement)
        migrate(server.address("mcpgw_owner"))
        yield server
    finally:
        server.stop()


def _version(server: Server) -> str:
    ((version,),) = server.run("SELECT current_setting('server_version')", role=ADMIN)
    return str(version).split()[0]


def empty(place: Place) -> None:
    """Take away the log that `mcpgw init` began, so that another one can be brought there."""
    if not place.address:
        for file in (place.folder / "data").glob("ledger.db*"):
            file.unlink()
        return
    address = place.address.replace("mcpgw_gateway", "admin")
    with closing(psycopg.connect(address)) as db, db:
        db.execute("DROP SCHEMA mcpgw CASCADE")
    migrate(place.address.replace("mcpgw_gateway", "mcpgw_owner"))
