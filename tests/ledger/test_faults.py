"""A store that fails: every caller is refused, nothing acknowledged is lost, and nobody has to restart anything."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import apsw
import pytest
from disks import FailingDisk, mounted
from ledger_parts import ORIGIN, Open, intent, outcome, refusal
from power_cuts import cut_and_judged

from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.keys import create_keys, load_verifiers
from mcpgw.ledger.record import Record
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteStore, SqliteTransaction, require_safe_library
from mcpgw.ledger.store import CommitUnknown
from mcpgw.ledger.verify import Report, verify


def verified(folder: Path, database: str = "data/ledger.db") -> Report:
    with closing(SqliteStore.connect_read_only(folder / database)) as store:
        return verify(store, load_verifiers(folder / "keys"))


async def refused(ledger: Ledger, count: int = 20) -> None:
    """Ask many at once, and see every one of them refused."""
    errors: list[LedgerUnavailable] = []

    async def one() -> None:
        with pytest.raises(LedgerUnavailable) as error:
            await ledger.append(intent())
        errors.append(error.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    assert len(errors) == count
    with pytest.raises(LedgerUnavailable):
        await ledger.probe()


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    with mounted(FailingDisk()) as disk:
        assert isinstance(disk, FailingDisk)
        yield disk


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ({"write", "truncate"}, apsw.FullError),
        ({"write", "open"}, apsw.ReadOnlyError),
        ({"write"}, apsw.IOError),
        ({"sync"}, apsw.IOError),
        ({"write", "sync", "open", "truncate", "delete"}, apsw.IOError),
    ],
    ids=["full", "read-only", "write errors", "sync errors", "dead"],
)
async def test_while_the_disk_fails_everybody_is_refused_and_afterwards_nobody(
    failing: set[str], error: type[apsw.Error], disk: FailingDisk, open_ledger: Open, folder: Path
) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger(
        database=SqliteDatabase(folder / "data", lambda: SqliteStore.connect(path, vfs=disk.name))
    ) as ledger:
        before = await ledger.append(intent())
        disk.error, disk.failing = error, frozenset(failing)
        await refused(ledger)
        disk.failing = frozenset()
        after = await ledger.append(outcome(before))
        assert after.seq > before.seq
        await ledger.probe()
        told = {before.seq, after.seq}
        found = await ledger.search(Query(kind="call.intent"))
        doubted = [record for record in found if record.seq not in told]
        closed = await ledger.search(Query(kind="call.indeterminate"))
        # a failed sync may leave the record in place: then it is closed, because its caller was told that it is not there
        assert {record.index["call_id"] for record in closed} == {record.index["call_id"] for record in doubted}
    assert verified(folder).ok


async def test_a_real_file_size_limit_refuses_every_append_and_lifting_it_is_enough(folder: Path) -> None:
    """In a process of its own: `RLIMIT_FSIZE` is what a full disk looks like without being root."""
    script = """
import asyncio, resource, signal, sys
from pathlib import Path
from ledger_parts import CONTEXT, ORIGIN, intent
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger import Ledger

async def main(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT) as ledger:
        await ledger.append(intent())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        for _ in range(20):
            try:
                await ledger.append(intent())
            except LedgerUnavailable:
                print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        print("seq", (await ledger.append(intent())).seq)

asyncio.run(main(Path(sys.argv[1])))
"""
    command = [sys.executable, "-c", script, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with anyio.fail_after(60):
        done = await anyio.run_process(command, env=environment, check=False)
    assert done.stdout.decode().split() == ["refused"] * 20 + ["seq", "3"], done.stderr
    assert verified(folder).ok


@pytest.mark.sqlite
async def test_a_data_folder_that_is_a_file_is_named_at_the_start(open_ledger: Open, folder: Path) -> None:
    (folder / "data").rmdir()
    (folder / "data").touch()
    with pytest.raises(LedgerUnavailable, match="the data folder cannot be written"):
        async with open_ledger():
            pass


@pytest.mark.sqlite
async def test_a_writer_that_does_not_get_its_turn_gives_up_and_gets_it_later(open_ledger: Open, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger(
        database=SqliteDatabase(folder / "data", lambda: SqliteStore.connect(path, busy_timeout_s=0.05))
    ) as ledger:
        with closing(apsw.Connection(str(path))) as other:  # two SQLite libraries in one process would not see their locks
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="Busy"):
                await ledger.append(intent())
            other.execute("ROLLBACK")
        await ledger.append(intent())


# --- power cuts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
async def test_a_power_cut_loses_nothing_that_was_acknowledged(seed: int, tmp_path: Path) -> None:
    create_keys(tmp_path / "keys", ORIGIN)
    cut = await cut_and_judged(seed, tmp_path / "log", tmp_path / "keys")
    assert (cut.lost, cut.problems) == (0, [])


async def test_the_judge_of_power_cuts_sees_what_a_careless_setting_loses(tmp_path: Path) -> None:
    """The test of the test: with `synchronous=NORMAL` the same disk loses what was acknowledged."""
    create_keys(tmp_path / "keys", ORIGIN)
    cut = await cut_and_judged(1, tmp_path / "log", tmp_path / "keys", synchronous="NORMAL")
    assert 0 < cut.lost <= len(cut.told)


# --- commits of which nobody knows ---------------------------------------------------------------------------------------


class Lossy(SqliteTransaction):
    """Its commit fails. `kept` tells whether the transaction was durable all the same."""

    kept = False

    def commit(self) -> None:
        if self.kept:
            super().commit()
        raise CommitUnknown("the commit failed")


class Kept(Lossy):
    kept = True


class Doubtful(SqliteStore):
    """A store whose transactions are of the class `next`, once."""

    next: type[SqliteTransaction] = SqliteTransaction

    def begin(self) -> SqliteTransaction:
        super().begin()
        made, Doubtful.next = Doubtful.next, SqliteTransaction
        return made(self._db, self._folder)


@pytest.mark.sqlite
async def test_a_commit_that_failed_but_was_kept_is_found_and_acknowledged(open_ledger: Open, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger(database=SqliteDatabase(folder / "data", lambda: Doubtful.connect(path))) as ledger:
        Doubtful.next = Kept
        one = await ledger.append(intent())
        assert [record.seq for record in await ledger.search(Query(kind="call.intent"))] == [one.seq]
        Doubtful.next = Kept  # and this time the batch is one record
        assert (await ledger.append(outcome(one))).seq == one.seq + 1
    assert verified(folder).ok


@pytest.mark.sqlite
async def test_a_commit_that_failed_and_was_lost_is_refused(open_ledger: Open, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger(database=SqliteDatabase(folder / "data", lambda: Doubtful.connect(path))) as ledger:
        Doubtful.next = Lossy
        with pytest.raises(LedgerUnavailable):
            await ledger.append(intent())
        assert await ledger.search(Query(kind="call.intent")) == []
        await ledger.append(intent())
    assert verified(folder).ok


@pytest.mark.sqlite
async def test_an_intent_that_was_kept_unseen_is_closed_before_the_next_append(open_ledger: Open, folder: Path) -> None:
    path, dark = folder / "data" / "ledger.db", [False]

    def connect() -> SqliteStore:
        if dark[0]:
            raise LedgerUnavailable("the store cannot be reached")
        return Doubtful.connect(path)

    async with open_ledger(database=SqliteDatabase(folder / "data", connect)) as ledger:
        Doubtful.next = Kept
        dark[0] = True
        with pytest.raises(LedgerUnavailable):
            await ledger.append(intent())
        dark[0] = False
        await ledger.append(refusal())
        kinds = [record.index["kind"] for record in await ledger.search(Query())]
        assert kinds == ["gateway.started", "session.opened", "call.intent", "call.indeterminate", "call.refused"]
    assert verified(folder).ok


# --- a store that somebody changed while the gateway runs ------------------------------------------------------------------


@pytest.mark.sqlite
async def test_a_database_set_back_while_the_gateway_runs_is_not_built_upon(open_ledger: Open, folder: Path) -> None:
    path, old = folder / "data" / "ledger.db", folder / "old.db"
    async with open_ledger() as ledger:
        await ledger.append(intent())
        copy(path, old)
        await ledger.append(intent())
        copy(old, path)
        with pytest.raises(LedgerUnavailable, match="had 4 records; another one of 3 is there now"):
            await ledger.append(intent())


def copy(source: Path, destination: Path) -> None:
    with (
        closing(apsw.Connection(str(source))) as old,
        closing(apsw.Connection(str(destination))) as new,
        new.backup("main", old, "main") as backup,
    ):
        backup.step()


def replace_head(path: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TRIGGER checkpoints_hold")
        change(db)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE checkpoints SET note = replace(note, 'bank', 'tank')", "cannot be believed"),
        ("UPDATE checkpoints SET frontier = x'00'", "is damaged"),
        ("UPDATE checkpoints SET frontier = randomblob(length(frontier))", r"^the newest checkpoint does not fit the tree$"),
    ],
)
async def test_a_head_that_was_altered_is_not_built_upon(statement: str, says: str, open_ledger: Open, folder: Path) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    replace_head(folder / "data" / "ledger.db", lambda db: db.execute(statement))
    with pytest.raises(LedgerUnavailable, match=says):
        async with open_ledger():
            pass


@pytest.mark.sqlite
async def test_a_database_of_a_newer_mcpgw_is_refused(open_ledger: Open, folder: Path) -> None:
    async with open_ledger():
        pass
    with closing(sqlite3.connect(folder / "data" / "ledger.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="schema 99"):
        async with open_ledger():
            pass
    with pytest.raises(LedgerUnavailable, match="schema 99"):
        SqliteStore.connect_read_only(folder / "data" / "ledger.db")


@pytest.mark.sqlite
async def test_a_file_that_is_no_database_is_refused(open_ledger: Open, folder: Path) -> None:
    (folder / "data" / "ledger.db").write_bytes(b"not a database, whatever it may be" * 100)
    with pytest.raises(LedgerUnavailable, match="NotADB"):
        async with open_ledger():
            pass


def test_a_store_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="No such file"):
        SqliteStore.connect(tmp_path / "missing" / "ledger.db")
    with pytest.raises(LedgerUnavailable, match="journal_mode=memory"):
        SqliteStore.connect(tmp_path / "ledger.db", vfs="memdb")


def test_a_new_file_that_somebody_else_is_making_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "ledger.db"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="Busy"):
            SqliteStore.connect(tmp_path / "ledger.db", busy_timeout_s=0.02)


def test_an_sqlite_that_can_corrupt_a_shared_log_is_refused() -> None:
    require_safe_library(3_051_003)
    with pytest.raises(ConfigError, match="3051002"):
        require_safe_library(3_051_002)


@pytest.mark.sqlite
async def test_records_and_checkpoints_refuse_to_be_changed_or_deleted(open_ledger: Open, folder: Path) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    with closing(sqlite3.connect(folder / "data" / "ledger.db")) as db:
        for statement in (
            "UPDATE records SET kind = 'x'",
            "DELETE FROM records",
            "INSERT OR REPLACE INTO records SELECT * FROM records WHERE seq = 1",
            "UPDATE checkpoints SET note = 'x'",
            "DELETE FROM checkpoints",
            "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
        ):
            with pytest.raises(sqlite3.IntegrityError, match=r"never|only ever"):
                db.execute(statement)


@pytest.mark.sqlite
async def test_a_backup_without_its_folder_can_be_read_from_a_medium_that_cannot_be_written(
    open_ledger: Open, folder: Path, tmp_path: Path
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    shutil.copy(folder / "data" / "ledger.db", tmp_path / "copy.db")
    (tmp_path / "copy.db").chmod(0o400)
    assert verified(tmp_path, "copy.db").ok


async def test_what_a_leaf_cannot_hold_is_refused_alone(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        for facts in ({"n": 1.5}, {"n": 2**53}, {"n": "\ud800"}, {"ключ": 1}, {"n": "x" * 70_000}, {"n": object()}, {1: 2}):
            with pytest.raises(LedgerUnavailable, match="cannot be recorded"):
                await ledger.append(Event(kind="x", actor="admin", facts=facts))
        await ledger.append(Event(kind="x", actor="admin", facts={"n": 2**53 - 1, "l": [True, None, "x"]}))


async def test_a_closed_ledger_refuses(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        pass
    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.append(intent())


# --- the writer itself -------------------------------------------------------------------------------------------------------


class Broken(SqliteTransaction):
    def insert(self, record: Record) -> None:
        raise ZeroDivisionError("a bug")


@pytest.mark.sqlite
async def test_a_bug_in_the_writer_refuses_the_batch_and_the_next_one_works(open_ledger: Open, folder: Path) -> None:
    async with open_ledger(
        database=SqliteDatabase(folder / "data", lambda: Doubtful.connect(folder / "data" / "ledger.db"))
    ) as ledger:
        Doubtful.next = Broken
        with pytest.raises(LedgerUnavailable, match="ZeroDivisionError"):
            await ledger.append(intent())
        await ledger.append(intent())
    assert verified(folder).ok


@pytest.mark.sqlite
async def test_what_is_queued_when_the_ledger_closes_is_written(open_ledger: Open, folder: Path) -> None:
    async with anyio.create_task_group() as tasks, open_ledger() as ledger:
        for _ in range(20):
            tasks.start_soon(ledger.append, intent())
        await anyio.wait_all_tasks_blocked()
    assert verified(folder).records == 20 + len(("started", "session", "stopped"))


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.sqlite
async def test_a_folder_that_cannot_be_written_can_be_read_unless_something_newer_would_be_missed(
    open_ledger: Open, folder: Path
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    with TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        read_from_a_medium(Path(name), folder / "data" / "ledger.db")


def read_from_a_medium(medium: Path, database: Path) -> None:
    copied = medium / "ledger.db"
    shutil.copy(database, copied)
    copied.chmod(0o444)
    medium.chmod(0o555)
    with nobody(), closing(SqliteStore.connect_read_only(copied)) as store:
        assert store.size() == 4
    medium.chmod(0o755)
    (medium / "ledger.db-wal").write_bytes(b"records that are not in the database yet" * 100)
    medium.chmod(0o555)
    with nobody(), pytest.raises(LedgerUnavailable):
        SqliteStore.connect_read_only(copied)
    medium.chmod(0o755)


@pytest.mark.sqlite
async def test_an_outcome_that_met_a_failing_disk_is_told_as_unrecorded_once_it_works_again(
    disk: FailingDisk, open_ledger: Open, folder: Path
) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger(
        database=SqliteDatabase(folder / "data", lambda: SqliteStore.connect(path, vfs=disk.name))
    ) as ledger:
        lost, kept = await ledger.append(intent()), await ledger.append(intent())
        disk.failing = frozenset({"write", "truncate"})
        for sealed in (lost, kept):
            with pytest.raises(LedgerUnavailable):
                await ledger.append(outcome(sealed))
        disk.failing = frozenset()
        await ledger.append(outcome(kept))  # as if its commit had only seemed to fail
        await ledger.probe()
        await ledger.probe()
        ends = {record.index["call_id"]: record.index for record in await ledger.search(Query(kind="call.outcome"))}
    assert len(ends) == 2
    assert ends[lost.entry.shown.call.id]["code"] == "unrecorded"
    assert ends[kept.entry.shown.call.id]["outcome"] == "completed"
    assert verified(folder).ok
