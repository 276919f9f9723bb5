"""What somebody who owns the database can do to the log in PostgreSQL: the table of `test_tampering`, found in the same places.

Each case is done and verified inside one transaction, which is then rolled back: a log for each would take long to make.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_server import ADMIN, LOG, Server
from stores import PostgresAdmin
from test_tampering import CASES, LAST, Tamper, cut_back_to, delete_and_close_ranks, found, written_twice

from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.postgres import PostgresStore
from mcpgw.ledger.postgres_connection import connect
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.verify import Report, verify

Verified = Callable[..., Report]


@pytest.fixture(scope="module")
async def log(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> AsyncIterator[Path]:
    folder = tmp_path_factory.mktemp("postgres")
    postgres.empty()
    await written_twice(folder, PostgresDatabase(postgres.address("mcpgw_gateway")))
    yield folder


@pytest.fixture
def verified(log: Path, postgres: Server) -> Verified:
    """Verifies the log as it is after something was done to it; nothing of that stays."""

    def run(tamper: Tamper, against: str = "") -> Report:
        with tampered(postgres, tamper) as store:
            return verify(store, load_verifiers(log / "keys"), against=against)

    return run


@contextmanager
def tampered(server: Server, tamper: Tamper) -> Iterator[PostgresStore]:
    db = connect(server.address(ADMIN), "", settings="", patience_s=30)
    try:
        db.execute("BEGIN")
        for table in LOG:
            db.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
        tamper(PostgresAdmin(db))
        yield Inside(lambda: db)
    finally:
        db.close()


class Inside(PostgresStore):
    """Reads inside the transaction that is open."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("case", CASES)
def test_tampering_is_found_and_located(case: str, verified: Verified) -> None:
    tamper, expected = CASES[case]
    report = verified(tamper)
    assert not report.ok
    assert found(report) == expected, report.problems


def test_an_untouched_log_verifies(verified: Verified) -> None:
    report = verified(lambda db: None)
    assert (report.ok, report.records) == (True, LAST)


def test_a_deletion_with_renumbering_is_found_from_there_on(verified: Verified) -> None:
    report = verified(delete_and_close_ranks)
    assert (K.MISPLACED, 5, 6) in found(report)


def test_a_log_cut_back_with_its_checkpoints_is_found_against_an_exported_one(verified: Verified, postgres: Server) -> None:
    ((exported,),) = postgres.run(f"SELECT note FROM mcpgw.checkpoints WHERE size = {LAST}", "mcpgw")
    assert verified(cut_back_to(20)).ok, "without a checkpoint kept elsewhere nobody can know"
    assert found(verified(cut_back_to(20), exported)) == {(K.ANCHOR, 20, LAST)}
