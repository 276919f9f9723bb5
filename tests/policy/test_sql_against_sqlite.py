"""SQLite itself is asked: whatever is read as SELECT alone does nothing but select."""

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw.policy.sql import read
from mcpgw.policy.sql_parser import Unreadable

HARMLESS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
HARMFUL = {
    "DELETE FROM t": sqlite3.SQLITE_DELETE,
    "DELETE FROM t WHERE a = 1": sqlite3.SQLITE_DELETE,
    "DROP TABLE t": sqlite3.SQLITE_DROP_TABLE,
    "UPDATE t SET a = 1": sqlite3.SQLITE_UPDATE,
    "INSERT INTO t VALUES (1, 2)": sqlite3.SQLITE_INSERT,
    "REPLACE INTO t VALUES (1, 2)": sqlite3.SQLITE_INSERT,
    "WITH d AS (SELECT 1) DELETE FROM t": sqlite3.SQLITE_DELETE,
    "CREATE TABLE u (a)": sqlite3.SQLITE_CREATE_TABLE,
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END": sqlite3.SQLITE_CREATE_TRIGGER,
    "PRAGMA user_version = 7": sqlite3.SQLITE_PRAGMA,
    "ATTACH ':memory:' AS other": sqlite3.SQLITE_ATTACH,
    "ALTER TABLE t RENAME TO s": sqlite3.SQLITE_ALTER_TABLE,
    "BEGIN": sqlite3.SQLITE_TRANSACTION,
    "SAVEPOINT s": sqlite3.SQLITE_SAVEPOINT,
    "REINDEX": sqlite3.SQLITE_REINDEX,
    "ANALYZE": sqlite3.SQLITE_ANALYZE,
    "VACUUM": None,
}
"""Statements, and the action that SQLite's authorizer reports for each (VACUUM reports none that is its own)."""

_PIECES = """' " ` [ ] ; ( ) , . -- /* */ $$ \\ '' x' E' --x /*! # SELECT 1 FROM t AS EXPLAIN UNION VALUES @ : ? ;"""
DISGUISES = st.sampled_from([*_PIECES.split(), "\n", ";\n"])
TEXTS = st.lists(DISGUISES | st.sampled_from(sorted(HARMFUL)), min_size=1, max_size=8).map(" ".join)


def actions(text: str) -> set[int]:
    """Run the text, as far as SQLite takes it, and return what it did beyond reading."""
    done: set[int] = set()

    def note(action: int, *_details: object) -> int:
        done.add(action)
        return sqlite3.SQLITE_OK

    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.executescript("CREATE TABLE t (a, b); CREATE INDEX i ON t (a)")
        database.set_authorizer(note)
        database.executescript(text)
    except (sqlite3.Error, ValueError):
        pass  # what ran before the error is what counts
    finally:
        database.close()
    return done - HARMLESS


@settings(max_examples=600, deadline=2000)
@given(TEXTS)
def test_what_is_read_as_select_alone_only_selects(text: str) -> None:
    try:
        reading = read(text, "sqlite")
    except Unreadable:
        return
    if reading.kinds == {"select"}:
        assert not actions(text), text


def test_each_harmful_statement_is_one_and_is_seen() -> None:
    for text, action in HARMFUL.items():
        assert action is None or action in actions(text), text
        assert read(text, "sqlite").kinds != {"select"}
        assert read(f"SELECT 1; {text}", "sqlite").kinds > {"select"}
