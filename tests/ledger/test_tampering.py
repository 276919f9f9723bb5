"""Every way in which somebody who owns the database can change it, and that each is found where it was done."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import anyio
import apsw
import pytest
from ledger_parts import CONTEXT, ORIGIN, Open, failed, intent, opened, outcome, refusal, rejection, settled, spend, vote

from mcpgw.core.entries import Event, SettledAs
from mcpgw.ledger import Ledger
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.keys import create_keys, load_verifiers
from mcpgw.ledger.record import parse
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteStore
from mcpgw.ledger.store import Database
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ledger.verify import Report, verify

pytestmark = pytest.mark.sqlite  # what an admin of PostgreSQL can do: test_postgres_tampering.py

Tamper = Callable[[sqlite3.Connection], object]
Change = Callable[[bytes], bytes]


async def written_twice(folder: Path, database: Database) -> None:
    """Write a log of two lives of the gateway, with a record of every kind, one to a commit."""
    create_keys(folder / "keys", ORIGIN)
    for announce in (False, True):
        async with open_again(folder, database, announce=announce) as ledger:
            one = await ledger.append(intent())
            await ledger.append(outcome(one))
            await ledger.append(outcome(await ledger.append(intent()), failed()))
            await ledger.append(refusal())
            await ledger.append(rejection())
            approval = f"apr_{one.seq}"
            await ledger.append(opened(approval, key=approval))
            await ledger.append(vote(approval))
            await ledger.append(settled(approval, ballots=1))
            await ledger.append(outcome(await ledger.append(spend(approval))))
            await ledger.append(Event(kind="catalog.changed", actor="admin", facts={"before": "a", "after": "b"}))
            if not announce:
                await ledger.append(Event(kind="gateway.stopped", actor="gateway", facts={}))


def open_again(folder: Path, database: Database, *, announce: bool = True) -> AbstractAsyncContextManager[Ledger]:
    return Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, database=database, announce=announce
    )


@pytest.fixture(scope="module")
async def template(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of two lives of the gateway, with a record of every kind, one to a commit."""
    folder = tmp_path_factory.mktemp("template")
    await written_twice(folder, SqliteDatabase(folder / "data"))
    return folder


@pytest.fixture
def written(template: Path, folder: Path) -> Path:
    """The database file of a copy of that folder."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return folder / "data" / "ledger.db"


def tampered(path: Path, tamper: Tamper) -> None:
    """Do what an admin with the `sqlite3` tool could do: drop the triggers, change something, put them back."""
    with closing(sqlite3.connect(path)) as db, db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        tamper(db)
        for _, sql in triggers:
            db.execute(sql)


def verified(path: Path, against: str = "") -> Report:
    store = SqliteStore.connect_read_only(path)
    try:
        return verify(store, load_verifiers(path.parent.parent / "keys"), against=against)
    finally:
        store.close()


def found(report: Report) -> set[tuple[ProblemKind, int, int]]:
    return {(problem.kind, problem.records.start, problem.records.stop) for problem in report.problems}


def flip(table: str, column: str, key: str, value: int, at: int = 0) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        where = f"{key} = {value} ORDER BY rowid LIMIT 1 OFFSET {at}"
        rowid, data = db.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchone()
        changed = bytearray(data if isinstance(data, bytes) else data.encode())
        changed[len(changed) // 2] ^= 1
        stored = bytes(changed) if isinstance(data, bytes) else changed.decode()
        assert db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (stored, rowid)).rowcount == 1

    return tamper


def swap(first: int, second: int) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        for old, new in ((first, -1), (second, first), (-1, second)):
            db.execute("UPDATE records SET seq = ? WHERE seq = ?", (new, old))
            db.execute("UPDATE payloads SET seq = ? WHERE seq = ?", (new, old))

    return tamper


def rewrite_leaf(seq: int) -> Tamper:
    """The cleverer kind: the leaf, its hash and its columns agree with each other."""

    def tamper(db: sqlite3.Connection) -> None:
        (leaf,) = db.execute("SELECT leaf FROM records WHERE seq = ?", (seq,)).fetchone()
        forged = leaf.replace(b"alice", b"mallo").replace(b"10.0.0.1", b"10.0.0.2")
        assert forged != leaf
        parse(forged)
        columns = (forged, leaf_hash(forged), seq)
        db.execute(
            "UPDATE records SET leaf = ?, hash = ?, principal = replace(principal, 'alice', 'mallo') WHERE seq = ?", columns
        )

    return tamper


def delete_and_close_ranks(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM records WHERE seq = 5")
    db.execute("DELETE FROM payloads WHERE seq = 5")
    for seq in range(6, 26):
        db.execute("UPDATE records SET seq = ? WHERE seq = ?", (seq - 1, seq))
        db.execute("UPDATE payloads SET seq = ? WHERE seq = ?", (seq - 1, seq))


def insert_a_copy(db: sqlite3.Connection) -> None:
    columns = [row[1] for row in db.execute("PRAGMA table_info(records)")][2:]
    names = ", ".join(columns)
    db.execute(f"INSERT INTO records (seq, event_id, {names}) SELECT max(seq) + 1, 'forged', {names} FROM records WHERE 1")


def sql(*statements: str) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        for statement in statements:
            assert db.execute(statement).rowcount > 0

    return tamper


# Records 0 to 13 are the first life: 0 session opened, 1 intent, 2 outcome, 3 intent, 4 outcome, 5 refused, 6 rejected, 7 held,
# 8 voted, 9 settled, 10 intent that spends, 11 outcome, 12 catalog, 13 stopped; 14 to 27 the second,
# with 14 started, in the same session.
LAST = 28
K = ProblemKind
CASES: dict[str, tuple[Tamper, set[tuple[ProblemKind, int, int]]]] = {
    "a flipped bit in a leaf": (flip("records", "leaf", "seq", 5), {(K.ALTERED, 5, 6)}),
    "a flipped bit in the first leaf": (flip("records", "leaf", "seq", 0), {(K.ALTERED, 0, 1)}),
    "a flipped bit in the last leaf": (flip("records", "leaf", "seq", LAST - 1), {(K.ALTERED, LAST - 1, LAST)}),
    "a flipped bit in a leaf's hash": (flip("records", "hash", "seq", 5), {(K.ALTERED, 5, 6), (K.ROOT, 5, 6)}),
    "a hash cut short": (sql("UPDATE records SET hash = x'00' WHERE seq = 5"), {(K.ALTERED, 5, 6)}),
    "a leaf rewritten with its hash": (rewrite_leaf(5), {(K.ROOT, 5, 6)}),
    "two leaves rewritten with their hashes": (
        lambda db: (rewrite_leaf(5)(db), rewrite_leaf(15)(db)),
        {(K.ROOT, 5, 6), (K.ROOT, 15, 16)},
    ),
    "a record deleted": (sql("DELETE FROM records WHERE seq = 5"), {(K.MISSING, 5, 6)}),
    "records deleted": (
        sql("DELETE FROM records WHERE seq BETWEEN 5 AND 7"),
        {(K.MISSING, 5, 6), (K.MISSING, 6, 7), (K.MISSING, 7, 8)},
    ),
    "the newest record cut off": (sql(f"DELETE FROM records WHERE seq = {LAST - 1}"), {(K.MISSING, LAST - 1, LAST)}),
    "two records swapped": (
        swap(5, 6),
        {(K.MISPLACED, 5, 6), (K.MISPLACED, 6, 7), (K.ROOT, 5, 6), (K.ROOT, 6, 7)},
    ),
    "a checkpoint's signature altered": (flip("checkpoints", "note", "size", 6), {(K.CHECKPOINT, 0, 0)}),
    "a checkpoint's frontier altered": (flip("checkpoints", "frontier", "size", 6), {(K.CHECKPOINT, 0, 0)}),
    "a checkpoint's frontier cut short": (
        sql("UPDATE checkpoints SET frontier = x'00' WHERE size = 6"),
        {(K.CHECKPOINT, 0, 0)},
    ),
    "the newest checkpoint removed": (
        sql(f"DELETE FROM checkpoints WHERE size = {LAST}"),
        {(K.UNSEALED, LAST - 1, LAST)},
    ),
    "a time altered": (sql("UPDATE records SET time_ns = time_ns - 1 WHERE seq = 5"), {(K.COLUMNS, 5, 6)}),
    "a session altered": (sql("UPDATE records SET session = 's2' WHERE seq = 5"), {(K.COLUMNS, 5, 6)}),
    "a principal altered": (sql("UPDATE records SET principal = 'x' WHERE seq = 5"), {(K.COLUMNS, 5, 6)}),
    "an event id altered": (sql("UPDATE records SET event_id = 'x' WHERE seq = 5"), {(K.COLUMNS, 5, 6)}),
    "a payload altered": (flip("payloads", "body", "seq", 5), {(K.PAYLOAD, 5, 6)}),
    "a salt altered": (flip("payloads", "salt", "seq", 5), {(K.PAYLOAD, 5, 6)}),
    "a salt cut short": (sql("UPDATE payloads SET salt = x'00' WHERE seq = 5"), {(K.PAYLOAD, 5, 6)}),
    "a payload removed": (sql("DELETE FROM payloads WHERE seq = 5"), {(K.PAYLOAD, 5, 6)}),
    "a payload moved": (sql("UPDATE payloads SET seq = 6 WHERE seq = 5"), {(K.PAYLOAD, 5, 6), (K.PAYLOAD, 6, 7)}),
}


@pytest.mark.parametrize("case", CASES)
def test_tampering_is_found_and_located(case: str, written: Path) -> None:
    assert verified(written).ok, verified(written).problems
    tamper, expected = CASES[case]
    tampered(written, tamper)
    report = verified(written)
    assert not report.ok
    assert found(report) == expected, report.problems


def test_an_untouched_log_verifies_and_says_what_was_believed(written: Path) -> None:
    report = verified(written)
    assert (report.ok, report.records, report.anchored) == (True, LAST, 0)
    assert report.keys == tuple(v.vkey() for v in load_verifiers(written.parent.parent / "keys"))


def test_a_deletion_with_renumbering_is_found_from_there_on(written: Path) -> None:
    tampered(written, delete_and_close_ranks)
    report = verified(written)
    assert (K.MISPLACED, 5, 6) in found(report)
    assert all(problem.records.start >= 5 for problem in report.problems if problem.records)


def test_a_record_appended_without_the_gateway_is_found(written: Path) -> None:
    tampered(written, insert_a_copy)
    assert (K.UNSEALED, LAST, LAST + 1) in found(verified(written))


# --- what only a checkpoint kept elsewhere can show --------------------------------------------------------------------------


def note_over(path: Path, size: int) -> str:
    with closing(sqlite3.connect(path)) as db:
        (note,) = db.execute("SELECT note FROM checkpoints WHERE size = ?", (size,)).fetchone()
    return str(note)


def cut_back_to(size: int) -> Tamper:
    """Yesterday's database: records and checkpoints are consistent, there are just fewer of them."""

    def tamper(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM records WHERE seq >= ?", (size,))
        db.execute("DELETE FROM payloads WHERE seq >= ?", (size,))
        db.execute("DELETE FROM checkpoints WHERE size > ?", (size,))

    return tamper


def test_a_log_cut_back_with_its_checkpoints_is_found_against_an_exported_one(written: Path) -> None:
    exported = note_over(written, LAST)
    assert verified(written, exported).ok
    tampered(written, cut_back_to(20))
    assert verified(written).ok, "without a checkpoint kept elsewhere nobody can know"
    assert found(verified(written, exported)) == {(K.ANCHOR, 20, LAST)}


def test_a_log_that_goes_on_from_an_older_checkpoint_is_good(written: Path) -> None:
    for size in (2, 5, 20):
        report = verified(written, note_over(written, size))
        assert (report.ok, report.anchored) == (True, size)


async def test_a_log_rewritten_with_its_key_is_found_against_an_exported_checkpoint(
    written: Path, open_ledger: Open, folder: Path
) -> None:
    exported = note_over(written, 10)
    for file in (folder / "data").glob("ledger.db*"):
        file.unlink()
    async with open_ledger() as ledger:
        for _ in range(15):
            await ledger.append(intent())
    assert verified(written).ok
    assert found(verified(written, exported)) == {(K.ANCHOR, 0, 10)}


def test_the_anchor_counts_although_something_before_it_is_missing(written: Path) -> None:
    exported = note_over(written, 20)
    tampered(written, sql("DELETE FROM records WHERE seq = 5"))
    assert found(verified(written, exported)) == {(K.MISSING, 5, 6)}


# --- fraud through the projection --------------------------------------------------------------------------------------------


async def test_an_approval_that_was_approved_in_the_database_alone_is_found(open_ledger: Open, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger() as ledger:
        await ledger.append(opened("a"))
        await ledger.append(opened("b", key="b"))
        await ledger.append(settled("b", SettledAs.DENIED))
    tampered(path, sql("UPDATE approvals SET state = 'approved'"))
    async with open_ledger() as ledger:
        spent = await ledger.append(spend("a"))
        again = await ledger.append(spend("b"))
    assert found(verified(path)) == {(K.APPROVAL, spent.seq, spent.seq + 1), (K.APPROVAL, again.seq, again.seq + 1)}


async def test_an_approval_that_was_made_spendable_again_is_found(open_ledger: Open, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    async with open_ledger() as ledger:
        await ledger.append(opened("a"))
        await ledger.append(settled("a"))
        await ledger.append(outcome(await ledger.append(spend("a"))))
    tampered(path, sql("UPDATE approvals SET state = 'approved'"))
    async with open_ledger() as ledger:
        twice = await ledger.append(spend("a"))
    assert found(verified(path)) == {(K.APPROVAL, twice.seq, twice.seq + 1)}


# --- damage below SQL ----------------------------------------------------------------------------------------------------


def pages(path: Path) -> dict[str, list[int]]:
    """Return the page numbers of each table and index."""
    with closing(apsw.Connection(str(path))) as db:
        found: dict[str, list[int]] = {}
        for name, page in db.execute("SELECT name, pageno FROM dbstat WHERE pagetype = 'leaf' ORDER BY pageno"):
            found.setdefault(name, []).append(page)
        return found


@pytest.mark.parametrize("table", ["records", "payloads", "checkpoints", "records_by_principal"])
def test_a_page_that_was_overwritten_is_found(table: str, written: Path) -> None:
    page = pages(written)[table][-1]
    with written.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    report = verified(written)
    assert K.DAMAGED in {problem.kind for problem in report.problems}


@pytest.mark.parametrize("seed", range(12))
def test_any_byte_flipped_in_the_pages_of_the_log_is_found(seed: int, written: Path) -> None:
    """Anywhere in the content of a record's page, without knowing what stands there."""
    chance = random.Random(seed)
    page = chance.choice(pages(written)["records"])
    data = bytearray(written.read_bytes())
    start = (page - 1) * 4096
    content = start + int.from_bytes(data[start + 5 : start + 7], "big")  # the cells; the gap before them holds nothing
    position = chance.randrange(content, start + 4096)
    data[position] ^= 1 << chance.randrange(8)
    written.write_bytes(data)
    assert not verified(written).ok


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda leaf: b"[]", "not a leaf"),
        (lambda leaf: b"{}", "not a leaf"),
        (lambda leaf: b"\xff", "not a leaf"),
        (lambda leaf: b"[" * 100_000, "not a leaf"),
        (lambda leaf: leaf.replace(b'"v":1', b'"v":2'), "has version 2"),
        (lambda leaf: leaf.replace(ORIGIN.encode(), b"evil.example/log"), "belongs to the log 'evil.example/log'"),
        (lambda leaf: leaf.replace(b'"seq":5,"session"', b'"seq":7,"session"'), "says that it is record 7"),
    ],
)
def test_a_leaf_of_another_version_log_place_or_shape_is_named(change: Change, says: str, written: Path) -> None:
    def forge(db: sqlite3.Connection) -> None:
        (leaf,) = db.execute("SELECT leaf FROM records WHERE seq = 5").fetchone()
        forged = change(leaf)
        db.execute("UPDATE records SET leaf = ?, hash = ? WHERE seq = 5", (forged, leaf_hash(forged)))

    tampered(written, forge)
    problems = verified(written).problems
    assert any(says in problem.what for problem in problems)
    assert {problem.records for problem in problems} == {range(5, 6)}


def test_problems_beyond_what_a_reader_can_use_are_counted(written: Path) -> None:
    tampered(written, lambda db: db.execute("UPDATE records SET session = 'x'"))
    with closing(SqliteStore.connect_read_only(written)) as store:
        report = verify(store, load_verifiers(written.parent.parent / "keys"), describe=3)
    assert (len(report.problems), report.found) == (3, LAST)


def test_verification_needs_a_key_to_believe(written: Path) -> None:
    with closing(SqliteStore.connect_read_only(written)) as store, pytest.raises(ValueError, match="public key"):
        verify(store, ())


async def one_commit_of_five(open_ledger: Open, folder: Path) -> Path:
    """Five intents that waited for the same commit: records 1 to 6 under one checkpoint, with the session that they open."""
    async with open_ledger() as ledger:
        with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as other:
            async with anyio.create_task_group() as tasks:
                other.execute("BEGIN IMMEDIATE")
                tasks.start_soon(ledger.probe)  # takes the writer thread to the lock, where it waits
                await anyio.sleep(0.05)
                for _ in range(5):
                    tasks.start_soon(ledger.append, intent())
                await anyio.sleep(0.05)
                other.execute("ROLLBACK")
    return folder / "data" / "ledger.db"


async def test_within_a_commit_a_deletion_is_located_and_a_clever_rewriting_is_located_to_the_commit(
    open_ledger: Open, folder: Path
) -> None:
    path = await one_commit_of_five(open_ledger, folder)
    assert note_over(path, 7)
    tampered(path, rewrite_leaf(3))
    assert found(verified(path)) == {(K.ROOT, 1, 7)}
    tampered(path, sql("DELETE FROM records WHERE seq = 3", "DELETE FROM payloads WHERE seq = 3"))
    assert found(verified(path)) == {(K.MISSING, 3, 4)}
