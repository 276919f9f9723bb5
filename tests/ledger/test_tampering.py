"""Every way in which somebody who owns the database can change it, and that each is found where it was done."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ledger_parts import Open, failed, intent, opened, outcome, refusal, rejection, settled, spend, vote

from mcpgw.core.model import Event
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.record import parse
from mcpgw.ledger.sqlite import SqliteStore
from mcpgw.ledger.tree import leaf_hash
from mcpgw.ledger.verify import ProblemKind, Report, verify

Tamper = Callable[[sqlite3.Connection], object]


@pytest.fixture
async def written(open_ledger: Open, folder: Path) -> Path:
    """A log of two lives of the gateway, with a record of every kind, one to a commit. Returns the database file."""
    for _ in range(2):
        async with open_ledger() as ledger:
            one = await ledger.append(intent())
            await ledger.append(outcome(one))
            await ledger.append(outcome(await ledger.append(intent()), failed()))
            await ledger.append(refusal())
            await ledger.append(rejection())
            approval = f"apr_{one.seq}"
            await ledger.append(opened(approval, key=approval))
            await ledger.append(vote(approval))
            await ledger.append(settled(approval))
            await ledger.append(outcome(await ledger.append(spend(approval))))
            await ledger.append(Event(kind="catalog.changed", actor="admin", facts={"before": "a", "after": "b"}))
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


# Records 0 to 12 are the first life: 0 started, 1 intent, 2 outcome, 3 intent, 4 outcome, 5 refused, 6 rejected, 7 held,
# 8 voted, 9 settled, 10 intent that spends, 11 outcome, 12 catalog, 13 stopped; 14 to 27 the second.
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
async def test_tampering_is_found_and_located(case: str, written: Path) -> None:
    assert verified(written).ok, verified(written).problems
    tamper, expected = CASES[case]
    tampered(written, tamper)
    report = verified(written)
    assert not report.ok
    assert found(report) == expected, report.problems


async def test_an_untouched_log_verifies_and_says_what_was_believed(written: Path) -> None:
    report = verified(written)
    assert (report.ok, report.records, report.anchored) == (True, LAST, 0)
    assert report.keys == tuple(v.vkey() for v in load_verifiers(written.parent.parent / "keys"))


async def test_a_deletion_with_renumbering_is_found_from_there_on(written: Path) -> None:
    tampered(written, delete_and_close_ranks)
    report = verified(written)
    assert (K.MISPLACED, 5, 6) in found(report)
    assert all(problem.records.start >= 5 for problem in report.problems if problem.records)


async def test_a_record_appended_without_the_gateway_is_found(written: Path) -> None:
    tampered(written, insert_a_copy)
    assert (K.UNSEALED, LAST, LAST + 1) in found(verified(written))
