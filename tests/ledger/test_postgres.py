"""What is particular to PostgreSQL: a server that fails in its own ways, roles, migrations, and who is alive across hosts."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import anyio
import psycopg
import pytest
from ledger_parts import Open, intent, opened, outcome, refusal, settled
from postgres_server import ADMIN, Server, documented_sql, running
from stores import KeptInPostgres, verified

from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.postgres import PostgresStore, PostgresTransaction, globbed, stored
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.postgres_migrate import migrate, schema_status
from mcpgw.ledger.postgres_schema import MIGRATIONS, Migration
from mcpgw.ledger.store import CommitUnknown

pytestmark = pytest.mark.postgres


CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mcpgw'"
"""Ends every connection of every gateway."""


async def refused(ledger: Ledger, count: int = 10) -> None:
    """Ask many at once, and see every one of them refused."""
    errors: list[LedgerUnavailable] = []

    async def one() -> None:
        with pytest.raises(LedgerUnavailable) as error:
            await ledger.append(intent())
        errors.append(error.value)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
    assert len(errors) == count


async def recovered(ledger: Ledger) -> None:
    """See an append succeed within 5 seconds of the fault's end, and reading too."""
    with anyio.fail_after(5):
        while True:
            try:
                await ledger.append(intent())
                await ledger.size()
                return
            except LedgerUnavailable:
                await anyio.sleep(0.05)


def no_refused_intent_stands_open(kept: KeptInPostgres, told: int) -> None:
    """Intents in the log are those that were acknowledged, or closed because their caller was told otherwise."""
    with kept.admin() as admin:
        (intents,) = admin.execute("SELECT count(*) FROM records WHERE kind = 'call.intent'").fetchone()
        (closed,) = admin.execute("SELECT count(*) FROM records WHERE kind = 'call.indeterminate'").fetchone()
    assert intents - closed == told


# --- a server that fails -----------------------------------------------------------------------------------------------------


async def test_while_the_server_is_dead_everybody_is_refused_and_afterwards_nobody(
    open_ledger: Open, kept: KeptInPostgres
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
        kept.server.kill()
        await refused(ledger)
        kept.server.start()
        await recovered(ledger)
        no_refused_intent_stands_open(kept, 2)
    assert verified(kept).ok


async def test_a_server_killed_under_load_loses_nothing_that_was_acknowledged(open_ledger: Open, kept: KeptInPostgres) -> None:
    told: dict[int, str] = {}
    failures = 0

    async def caller(ledger: Ledger) -> None:
        nonlocal failures
        while failures < 8:
            try:
                one = await ledger.append(intent())
                told[one.seq] = one.leaf_hash
            except LedgerUnavailable:
                failures += 1

    async with open_ledger() as ledger:
        for _ in range(2):
            failures = 0
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(caller, ledger)
                await anyio.sleep(0.15)
                await anyio.to_thread.run_sync(kept.server.kill)
            kept.server.start()
            await recovered(ledger)
        with closing(kept.database().connect_read_only()) as store:
            assert told.items() <= {record.seq: record.hash.hex() for record in store.records(0, 10**6)}.items()
        no_refused_intent_stands_open(kept, len(told) + 2)
    assert verified(kept).ok


async def test_a_server_that_does_not_answer_is_given_up_on(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger(database=kept.database(timeout_s=0.4)) as ledger:
        await ledger.append(intent())
        with kept.server.frozen():
            began = time.monotonic()
            await refused(ledger, 3)
            assert time.monotonic() - began < 10
        await recovered(ledger)
        no_refused_intent_stands_open(kept, 2)
    assert verified(kept).ok


async def test_without_a_free_connection_everybody_is_refused(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
        kept.server.run("ALTER ROLE mcpgw_gateway CONNECTION LIMIT 0")
        try:
            kept.server.run(CUT)
            await refused(ledger)
        finally:
            kept.server.run("ALTER ROLE mcpgw_gateway CONNECTION LIMIT -1")
        await recovered(ledger)
    assert verified(kept).ok


async def test_a_database_that_may_only_be_read_refuses_until_it_may_be_written(
    open_ledger: Open, kept: KeptInPostgres
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
        kept.server.run("ALTER DATABASE mcpgw SET default_transaction_read_only = on")
        kept.server.run(CUT)
        await refused(ledger)
        kept.server.run("ALTER DATABASE mcpgw RESET default_transaction_read_only")
        await recovered(ledger)
    assert verified(kept).ok


async def test_a_disk_that_is_full_refuses_until_there_is_room(open_ledger: Open, kept: KeptInPostgres) -> None:
    """A trigger says what the server says then: SQLSTATE 53100."""
    async with open_ledger() as ledger:
        await ledger.append(intent())
        with kept.admin() as admin:
            admin.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
            )
            admin.execute("CREATE TRIGGER full_disk BEFORE INSERT ON payloads EXECUTE FUNCTION full_disk()")
            await refused(ledger)
            admin.execute("DROP FUNCTION full_disk CASCADE")
        await recovered(ledger)
        no_refused_intent_stands_open(kept, 2)
    assert verified(kept).ok


async def test_somebody_who_holds_the_turn_is_waited_for_and_then_given_up(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger(database=kept.database(timeout_s=0.3)) as ledger:
        with closing(psycopg.connect(kept.address)) as other:
            other.execute("SELECT 1 FROM mcpgw.meta WHERE key = 'turn' FOR UPDATE")
            with pytest.raises(LedgerUnavailable, match="lock timeout"):
                await ledger.append(intent())
            other.rollback()
        await ledger.append(intent())


async def test_a_commit_cut_off_is_resolved_by_reading_again(open_ledger: Open, kept: KeptInPostgres) -> None:
    """Connections end at random moments, commits included: what was acknowledged stands, what was refused stands closed."""
    told = 0
    with kept.admin() as admin:
        async with open_ledger() as ledger:
            for _ in range(40):
                async with anyio.create_task_group() as tasks:
                    results: list[bool] = []

                    async def one(results: list[bool] = results) -> None:
                        try:
                            await ledger.append(intent())
                            results.append(True)
                        except LedgerUnavailable:
                            results.append(False)

                    for _ in range(4):
                        tasks.start_soon(one)
                    await anyio.sleep(0.001)
                    admin.execute(CUT)
                told += sum(results)
            await recovered(ledger)
            no_refused_intent_stands_open(kept, told + 1)
    assert verified(kept).ok


class Unheard(PostgresTransaction):
    """Its commit is durable, and nobody hears of it."""

    def commit(self) -> None:
        super().commit()
        raise CommitUnknown("the line was cut")


class Doubtful(PostgresStore):
    doubt = False

    def begin(self) -> PostgresTransaction:
        transaction = super().begin()
        if Doubtful.doubt:
            Doubtful.doubt = False
            return Unheard(self._db, transaction._head)
        return transaction


class DoubtfulDatabase(PostgresDatabase):
    def connect(self) -> PostgresStore:
        return Doubtful(self._session)


async def test_a_commit_of_which_nothing_was_heard_is_found_and_acknowledged(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger(database=DoubtfulDatabase(kept.address)) as ledger:
        Doubtful.doubt = True
        one = await ledger.append(intent())
        await ledger.append(outcome(one))
        assert [record.seq for record in await ledger.search(Query(kind="call.*"))] == [one.seq, one.seq + 1]
    assert verified(kept).ok


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE checkpoints SET note = replace(note, 'bank', 'tank')", "another one of 5 is there now"),
        ("UPDATE checkpoints SET frontier = x'00'", "is damaged"),
        (f"UPDATE checkpoints SET frontier = x'{'00' * 64}'", "another one of 5 is there now"),
        ("DELETE FROM checkpoints WHERE size > 3", "had 5 records; another one of 3"),
    ],
)
async def test_a_head_that_was_altered_is_not_built_upon(
    statement: str, says: str, open_ledger: Open, kept: KeptInPostgres
) -> None:
    async with open_ledger() as ledger:
        for _ in range(3):
            await ledger.append(intent())
        with kept.tampering() as admin:
            admin.execute(statement)
        with pytest.raises(LedgerUnavailable, match=says):
            await ledger.append(intent())


# --- what is refused at the start --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def careless() -> Iterator[Server]:
    """A server of its own, to be started in careless ways."""
    with running() as server:
        for statement in documented_sql():
            server.run(statement)
        migrate(server.address("mcpgw_owner"))
        server.stop()
        yield server
        server.start()


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_what_it_acknowledged_is_refused(setting: str, careless: Server) -> None:
    careless.start(f"{setting}=off")
    try:
        with pytest.raises(ConfigError, match=f"{setting} = off"):
            PostgresDatabase(careless.address("mcpgw_gateway")).connect()
    finally:
        careless.stop()


@pytest.mark.parametrize("role", ["mcpgw_owner", ADMIN])
def test_a_role_that_may_change_records_is_refused(role: str, postgres: Server) -> None:
    with pytest.raises(ConfigError, match=f"the role {role} may change checkpoints"):
        PostgresDatabase(postgres.address(role)).connect()


def test_a_database_without_a_log_is_named_with_what_to_do(postgres: Server) -> None:
    for connected in (PostgresDatabase.connect, PostgresDatabase.connect_read_only):
        with pytest.raises(ConfigError, match="holds no ledger") as error:
            connected(PostgresDatabase(postgres.address(ADMIN, "template1")))
        assert "mcpgw ledger migrate" in error.value.hint


def test_a_table_that_a_crash_would_empty_is_refused(postgres: Server) -> None:
    postgres.run("ALTER TABLE mcpgw.payloads SET UNLOGGED", "mcpgw")
    try:
        with pytest.raises(ConfigError, match="payloads is not logged"):
            PostgresDatabase(postgres.address("mcpgw_gateway")).connect()
    finally:
        postgres.run("ALTER TABLE mcpgw.payloads SET LOGGED", "mcpgw")


def test_a_database_that_cannot_hold_every_character_is_refused(postgres: Server) -> None:
    postgres.run("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with pytest.raises(ConfigError, match="encoded in SQL_ASCII"):
        PostgresDatabase(postgres.address("mcpgw_gateway", "ascii")).connect()


def test_a_stricter_durability_of_the_server_is_kept(postgres: Server) -> None:
    postgres.run("ALTER DATABASE mcpgw SET synchronous_commit = remote_apply")
    try:
        with closing(PostgresDatabase(postgres.address("mcpgw_gateway")).connect()) as store:
            store.begin()
            assert store._db.execute("SHOW synchronous_commit").fetchall() == [("remote_apply",)]
    finally:
        postgres.run("ALTER DATABASE mcpgw RESET synchronous_commit")


def test_a_server_without_the_roles_is_named(postgres: Server) -> None:
    postgres.run("ALTER ROLE mcpgw_auditor RENAME TO somebody_else")
    try:
        with pytest.raises(ConfigError, match="no role mcpgw_auditor"):
            migrate(postgres.address("mcpgw_owner"))
    finally:
        postgres.run("ALTER ROLE somebody_else RENAME TO mcpgw_auditor")


SECRET = "hunter2hunter2"


def test_no_error_holds_the_password(postgres: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[BaseException] = []
    for address in (
        postgres.address("nobody_known"),
        "postgresql://x@127.0.0.1:1/mcpgw",
        "postgresql://x@h:port/y?a",
        "rubbish:",
    ):
        with pytest.raises((LedgerUnavailable, ConfigError)) as error:
            PostgresDatabase(address, SECRET).connect()
        said.append(error.value)
    assert not [error for error in said if SECRET in f"{error!r} {error} {error.__cause__!r}"]
    assert SECRET not in caplog.text


# --- roles and triggers ------------------------------------------------------------------------------------------------------

CHANGES = [f"{verb} mcpgw.{table}" for table in ("records", "checkpoints", "payloads") for verb in ("DELETE FROM", "TRUNCATE")]
CHANGES += [
    "UPDATE mcpgw.records SET kind = 'x'",
    "UPDATE mcpgw.checkpoints SET note = 'x'",
    "UPDATE mcpgw.payloads SET slot = 'x'",
]


@pytest.mark.parametrize("statement", CHANGES)
async def test_a_gateway_has_no_right_to_change_the_log_and_an_owner_meets_a_trigger(
    statement: str, open_ledger: Open, kept: KeptInPostgres
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    for role in ("mcpgw_gateway", "mcpgw_auditor"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            kept.server.run(statement, "mcpgw", role)
    if statement != "DELETE FROM mcpgw.payloads":  # whoever erases may do that, and nobody else was granted it
        with pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"):
            kept.server.run(statement, "mcpgw", "mcpgw_owner")


async def test_records_that_are_not_the_next_are_refused_by_the_database(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    for seq in (0, 1, 7):
        with pytest.raises(psycopg.errors.RaiseException, match="only ever appended"):
            kept.server.run(
                f"INSERT INTO mcpgw.records SELECT {seq}, 'x', leaf, hash, time_ns, kind, principal, server, target, decision, "
                "outcome, code, call_id, approval_id, session, node FROM mcpgw.records LIMIT 1",
                "mcpgw",
                "mcpgw_gateway",
            )


async def test_an_auditor_can_verify_and_cannot_append(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    auditor = PostgresDatabase(kept.server.address("mcpgw_auditor"))
    with closing(auditor.connect_read_only()) as store:
        assert store.size() == 4
        assert store.damage() == []
    with closing(auditor.connect()) as store, pytest.raises(LedgerUnavailable, match="permission denied"):
        store.begin()


async def test_an_eraser_made_as_documented_deletes_payloads_and_does_nothing_else(
    open_ledger: Open, kept: KeptInPostgres
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    for statement in documented_sql(1):
        kept.server.run(statement, "mcpgw")
    try:
        for forbidden in (
            "SELECT body FROM mcpgw.payloads",
            "DELETE FROM mcpgw.records",
            "UPDATE mcpgw.payloads SET body = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                kept.server.run(forbidden, "mcpgw", "mcpgw_eraser")
        kept.server.run("DELETE FROM mcpgw.payloads WHERE seq = 2 AND slot = 'arguments.clean'", "mcpgw", "mcpgw_eraser")
    finally:
        kept.server.run("DROP OWNED BY mcpgw_eraser", "mcpgw")
        kept.server.run("DROP ROLE mcpgw_eraser")
    report = verified(kept)
    assert [problem.what for problem in report.problems] == ["record 2: the payload arguments.clean is missing"]


# --- migrations --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def migrated(postgres: Server) -> Iterator[Callable[[Migration], object]]:
    """Applies one more migration, and takes it back at the end."""
    yield lambda migration: migrate(postgres.address("mcpgw_owner"), migrations=(*MIGRATIONS, migration))
    postgres.run(f"DELETE FROM mcpgw.migrations WHERE version > {len(MIGRATIONS)}", "mcpgw")
    postgres.run("ALTER TABLE mcpgw.records DROP COLUMN IF EXISTS added", "mcpgw")


async def test_a_gateway_that_runs_survives_a_migration(open_ledger: Open, kept: KeptInPostgres, migrated) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
        migrated(Migration("ALTER TABLE records ADD COLUMN added text NOT NULL DEFAULT ''", oldest=1))
        await ledger.append(intent())
        assert len(await ledger.search(Query(kind="call.intent"))) == 2
        assert schema_status(kept.server.address("mcpgw_owner")).version == len(MIGRATIONS) + 1
    assert verified(kept).ok


def test_a_migration_that_leaves_this_gateway_behind_is_named(kept: KeptInPostgres, migrated) -> None:
    migrated(Migration("ALTER TABLE records ADD COLUMN added text", oldest=len(MIGRATIONS) + 1))
    with pytest.raises(ConfigError, match=f"needs an mcpgw that knows schema {len(MIGRATIONS) + 1}"):
        kept.database().connect()


def test_a_migration_that_fails_leaves_nothing(kept: KeptInPostgres, migrated) -> None:
    with pytest.raises(LedgerUnavailable, match="no_such"):
        migrated(Migration("ALTER TABLE records ADD COLUMN added text; ALTER TABLE no_such ADD x text", oldest=1))
    assert schema_status(kept.server.address("mcpgw_owner")).version == len(MIGRATIONS)
    kept.database().connect().close()


def test_migrating_again_changes_nothing(postgres: Server) -> None:
    assert migrate(postgres.address("mcpgw_owner")) == schema_status(postgres.address("mcpgw_owner"))


# --- what text can hold, and what is looked for -----------------------------------------------------------------------------


async def test_every_string_comes_back_as_it_was(open_ledger: Open, kept: KeptInPostgres) -> None:
    names = ["a\0b", "a\\0b", "\\", "\0", "a\nb", "x'; DROP TABLE records; --", "%s", "\U0001f600"]
    async with open_ledger() as ledger:
        for name in names:
            await ledger.append(refusal(tool=name))
        found = await ledger.search(Query(kind="call.refused"))
        assert [record.index["target"] for record in found] == names
        for name in ("a\\0b", "\\", "%s"):
            assert [record.index["target"] for record in await ledger.search(Query(tool=name))] == [name]
    assert verified(kept).ok


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("bank__*", ["bank__", "bank__x\ny"], ["Bank__x", "xbank__"]),
        ("a?c", ["abc", "a\\c", "a\0c"], ["ac", "abbc"]),
        ("[ab]x", ["ax", "bx"], ["cx"]),
        ("[^ab]x", ["cx"], ["ax"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("a.b(c)|d", ["a.b(c)|d"], ["axb(c)|d", "d"]),
        ("[", ["["], ["a"]),
        ("a\\b", ["a\\b"], ["ab"]),
    ],
)
def test_globs_mean_what_they_mean_on_sqlite(pattern: str, fits: list[str], fits_not: list[str], postgres: Server) -> None:
    with closing(psycopg.connect(postgres.address(ADMIN))) as db:
        for text in fits + fits_not:
            ((matched,),) = db.execute('SELECT %s::text COLLATE "C" ~ %s', (stored(text), globbed(pattern))).fetchall()
            assert matched is (text in fits), text


# --- who is alive ------------------------------------------------------------------------------------------------------------


async def test_a_gateway_whose_connections_were_all_cut_is_not_taken_for_dead(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger(node="serve") as serve, open_ledger(node="other") as other:
        one = await serve.append(intent())
        with kept.admin() as admin:
            admin.execute(CUT)
        with anyio.fail_after(10):
            for _ in range(5):
                assert await other.recover() == 0
                await anyio.sleep(0.05)
        await serve.append(outcome(one))
        assert await other.search(Query(kind="call.indeterminate")) == []


async def test_a_waiter_whose_listener_was_cut_learns_of_the_change(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await one.append(opened("a"))
        await one.approval("a")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.changed, 60.0)
                await anyio.sleep(0.05)
                with kept.admin() as admin:
                    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                await other.append(settled("a"))


async def test_notify_wakes_a_waiter_long_before_it_would_look_by_itself(open_ledger: Open, kept: KeptInPostgres) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await one.append(opened("a"))
        await one.approval("a")
        await anyio.sleep(0.2)  # the listeners are there
        woken = anyio.Event()

        async def wait() -> None:
            await one.changed(60.0)
            woken.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.2)
            began = time.monotonic()
            await other.append(settled("a"))
            await woken.wait()
            assert time.monotonic() - began < kept.database().poll_s / 2
