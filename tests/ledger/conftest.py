"""A ledger in a temporary folder, on either store, and small real calls to record in it."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.postgres_migrate import migrate

sys.path.insert(0, str(Path(__file__).parent))  # for `ledger_parts`, which the processes that tests start import as well
import postgres_server
from ledger_parts import CONTEXT, ORIGIN, Open
from stores import Kept, KeptInPostgres, KeptInSqlite


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sqlite: about SQLite alone")
    config.addinivalue_line("markers", "postgres: about PostgreSQL alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What uses a ledger is run on both stores, unless it is about one of them."""
    if "kept" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        kinds = [kind for kind in ("sqlite", "postgres") if kind in marks] or ["sqlite", "postgres"]
        metafunc.parametrize("kept", kinds, indirect=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if (why := postgres_server.cannot_run()) and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(f"NOTICE: the ledger's tests did not run on PostgreSQL. {why}", yellow=True, bold=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A running server with the roles and the database of docs/postgres.md, migrated."""
    if why := postgres_server.cannot_run():
        pytest.skip(why)
    with postgres_server.running() as server:
        for statement in postgres_server.documented_sql():
            server.run(statement)
        migrate(server.address("mcpgw_owner"))
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gateway's folder: `keys/` with a fresh key, `data/` empty."""
    create_keys(tmp_path / "keys", ORIGIN)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def kept(request: pytest.FixtureRequest, folder: Path) -> Kept:
    """Where the test's log is kept: each test runs on both stores."""
    if request.param == "sqlite":
        return KeptInSqlite(folder)
    server: postgres_server.Server = request.getfixturevalue("postgres")
    server.empty()
    return KeptInPostgres(folder, server)


@pytest.fixture
def open_ledger(kept: Kept, folder: Path) -> Open:
    def opened(**options: object) -> AbstractAsyncContextManager[Ledger]:
        options.setdefault("database", kept.database())
        return Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, **options)

    return opened


@pytest.fixture
async def ledger(open_ledger: Open) -> AsyncIterator[Ledger]:
    async with open_ledger() as ledger:
        yield ledger
