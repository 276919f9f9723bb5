"""The writer's bounds, its thread, and what it says of what went wrong: logs and hints that somebody acts upon."""

import asyncio
import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import apsw
import pytest
from ledger_parts import Open, intent, opened, outcome
from test_faults import Broken, Doubtful, Kept, Lossy, copy, replace_head

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.record import parse
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteTransaction
from mcpgw.ledger.store import Query
from mcpgw.ledger.writer import MAX_BATCH

pytestmark = pytest.mark.sqlite


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mcpgw.ledger.writer")


def doubtful(folder: Path) -> SqliteDatabase:
    return SqliteDatabase(folder / "data", lambda: Doubtful.connect(folder / "data" / "ledger.db"))


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "mcpgw.ledger.writer"]


async def test_no_commit_takes_more_callers_than_others_may_have_to_wait_for(open_ledger: Open, folder: Path) -> None:
    async with open_ledger() as ledger:
        with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as other:
            async with anyio.create_task_group() as tasks:
                other.execute("BEGIN IMMEDIATE")
                tasks.start_soon(ledger.probe)
                await anyio.sleep(0.1)
                for _ in range(MAX_BATCH + 40):
                    tasks.start_soon(ledger.append, intent())
                await anyio.sleep(0.1)
                other.execute("ROLLBACK")
            sizes = [size for (size,) in other.execute("SELECT size FROM checkpoints ORDER BY size")]
    commits = [new - old for old, new in itertools.pairwise(sizes)]
    assert MAX_BATCH == 256
    assert commits[0] == MAX_BATCH + 1 and sum(commits[:2]) == MAX_BATCH + 41  # and their session's opening


async def test_one_thread_writes_and_ends_with_its_ledger(open_ledger: Open) -> None:
    def writers() -> list[bool]:
        return [thread.daemon for thread in threading.enumerate() if thread.name == "ledger-writer"]

    async with open_ledger():
        assert writers() == [True]
    assert writers() == []


@pytest.mark.parametrize(
    ("transaction", "logs"),
    [
        (Kept, [("WARNING", "the commit failed; reading the store again")]),
        (
            Lossy,
            [
                ("WARNING", "the commit failed; reading the store again"),
                ("ERROR", "1 appends failed: the commit failed"),
            ],
        ),
        (
            Broken,
            [
                ("ERROR", "the ledger's writer met an unexpected error"),
                ("ERROR", "1 appends failed: the ledger's writer failed: ZeroDivisionError"),
            ],
        ),
    ],
)
async def test_what_became_of_a_commit_is_logged(
    transaction: type[SqliteTransaction], logs: list[tuple[str, str]], open_ledger: Open, folder: Path, caplog
) -> None:
    async with open_ledger(database=doubtful(folder)) as ledger:
        Doubtful.next = transaction
        with anyio.fail_after(20):
            try:
                await ledger.append(intent())
            except LedgerUnavailable as error:
                assert str(error) == logs[-1][1].removeprefix("1 appends failed: ")
                assert transaction is not Kept
        assert said(caplog) == logs
        unexpected = [record for record in caplog.records if record.exc_info]
        assert bool(unexpected) is (transaction is Broken)


async def test_that_nobody_knows_what_became_of_a_commit_is_logged(open_ledger: Open, folder: Path, caplog) -> None:
    dark = [False]

    def connect() -> Doubtful:
        if dark[0]:
            raise LedgerUnavailable("the store cannot be reached")
        return Doubtful.connect(folder / "data" / "ledger.db")

    async with open_ledger(database=SqliteDatabase(folder / "data", connect)) as ledger:
        Doubtful.next, dark[0] = Kept, True
        with pytest.raises(LedgerUnavailable, match=r"^the commit failed$"):
            await ledger.append(intent())
        dark[0] = False
        assert ("WARNING", "whether the batch is durable is unknown: the store cannot be reached") in said(caplog)
        one = await ledger.append(intent())
        await ledger.append(outcome(one))
        kinds = [record.index["kind"] for record in await ledger.records_after(-1, 100)]
    closed = ["session.opened", "call.intent", "call.indeterminate", "call.intent", "call.outcome"]
    assert kinds == ["gateway.started", *closed]  # once: what was settled is not settled again


async def test_a_database_set_back_says_what_to_do(open_ledger: Open, folder: Path) -> None:
    path, old = folder / "data" / "ledger.db", folder / "old.db"
    async with open_ledger() as ledger:
        await ledger.append(intent())
        copy(path, old)
        await ledger.append(intent())
        copy(old, path)
        with pytest.raises(LedgerUnavailable) as caught:
            await ledger.append(intent())
    assert caught.value.hint == "The database was replaced by an older or another one. Verify it, then restart the gateway."


async def test_another_history_of_the_same_size_is_not_built_upon(open_ledger: Open, folder: Path) -> None:
    path, fork = folder / "data" / "ledger.db", folder / "fork" / "ledger.db"
    fork.parent.mkdir()
    async with open_ledger() as ledger:
        await ledger.append(intent())
        copy(path, fork)
        async with open_ledger(database=SqliteDatabase(fork.parent)) as other:
            await other.append(intent())
        with closing(SqliteDatabase(fork.parent).connect_read_only()) as store:
            size = store.size()
        while (await ledger.append(intent())).seq < size - 1:
            pass
        copy(fork, path)
        with pytest.raises(LedgerUnavailable, match=f"^the log had {size} records; another one of {size} is there now$"):
            await ledger.append(intent())


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db.execute("UPDATE checkpoints SET note = replace(note, 'bank', 'tank')"),
        lambda db: db.execute("UPDATE checkpoints SET note = 'no note'"),
        lambda db: db.execute("UPDATE checkpoints SET frontier = randomblob(length(frontier))"),
    ],
)
async def test_a_head_that_cannot_be_believed_says_what_to_do(
    change: Callable[[sqlite3.Connection], object], open_ledger: Open, folder: Path
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    replace_head(folder / "data" / "ledger.db", change)
    with pytest.raises(LedgerUnavailable) as caught:
        async with open_ledger():
            pass
    assert caught.value.hint == "Run `mcpgw verify`."


async def test_a_checkpoint_that_is_none_and_comes_meanwhile_is_named(open_ledger: Open, folder: Path) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
        with closing(sqlite3.connect(folder / "data" / "ledger.db")) as db, db:
            ((size,),) = db.execute("SELECT max(size) + 1 FROM checkpoints")
            db.execute("INSERT INTO checkpoints VALUES (?, 'no note', ?)", (size, bytes(32 * size.bit_count())))
        with pytest.raises(LedgerUnavailable, match=r"^the newest checkpoint cannot be believed: .*note"):
            await ledger.append(intent())


async def test_appends_whose_event_loop_is_gone_are_counted(open_ledger: Open, folder: Path, caplog) -> None:
    async with open_ledger() as ledger:
        with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as other:
            other.execute("BEGIN IMMEDIATE")

            def elsewhere() -> None:
                async def hasty() -> None:
                    with anyio.move_on_after(0.05):
                        await ledger.append(intent())

                asyncio.run(hasty())

            await anyio.to_thread.run_sync(elsewhere)
            other.execute("ROLLBACK")
        await ledger.append(intent())
        assert ("WARNING", "1 appends were durable when their event loop was gone") in said(caplog)
        assert len(await ledger.search(Query(kind="call.intent"))) == 2


class Unwatched(SqliteDatabase):
    """Nobody looks at it by himself, so that who waits is woken by a commit of this process alone."""

    poll_s = 60.0


async def test_a_commit_wakes_who_waits_for_an_approval_and_one_about_something_else_does_not(
    open_ledger: Open, folder: Path
) -> None:
    async with open_ledger(database=Unwatched(folder / "data")) as ledger:
        woken = anyio.Event()

        async def wait() -> None:
            await ledger.changed(60)
            woken.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.2)
            await ledger.append(intent())
            await anyio.sleep(0.2)
            assert not woken.is_set()
            await ledger.append(opened("a1"))
            with anyio.fail_after(20):
                await woken.wait()


async def test_a_call_that_needed_no_approval_has_none_when_its_outcome_is_unknown(open_ledger: Open, folder: Path) -> None:
    dark = [False]

    def connect() -> Doubtful:
        if dark[0]:
            raise LedgerUnavailable("the store cannot be reached")
        return Doubtful.connect(folder / "data" / "ledger.db")

    async with open_ledger(database=SqliteDatabase(folder / "data", connect)) as ledger:
        Doubtful.next, dark[0] = Kept, True
        with pytest.raises(LedgerUnavailable):
            await ledger.append(intent())
        dark[0] = False
        await ledger.append(intent())
        (closed,) = await ledger.search(Query(kind="call.indeterminate"))
    assert "approval" not in parse(closed.leaf)


async def test_a_closed_ledger_says_so(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        pass
    with pytest.raises(LedgerUnavailable, match=r"^the ledger is closed$"):
        await ledger.append(intent())
