"""What the bank can do with its books. Every change and its row in `effects` are one transaction."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

MAX_ROWS = 500  # of one answer

Row = dict[str, Any]


class BankError(Exception):
    """The bank refuses: no such account, not enough money, SQL that does not run. The caller may see why."""


class Books:
    """The books at `path`. Every call opens its own connection, so calls may come from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def customers(self, who: str) -> list[Row]:
        """Return customers by id, or whose name contains the text, with their accounts."""
        with self._open() as db:
            pattern = "%" + who.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            find = r"SELECT * FROM customers WHERE id = ? OR name LIKE ? ESCAPE '\' ORDER BY id LIMIT 20"
            found = _rows(db.execute(find, (who, pattern)))
            for customer in found:
                accounts = db.execute("SELECT * FROM accounts WHERE customer_id = ? ORDER BY id", (customer["id"],))
                customer["accounts"] = [_in_dollars(account, "balance") for account in _rows(accounts)]
            return found

    def transactions(self, account: str, limit: int) -> list[Row]:
        """Return the newest transactions of the account."""
        with self._open() as db:
            _balance(db, account)
            newest = "SELECT * FROM transactions WHERE account_id = ? ORDER BY posted DESC, id DESC LIMIT ?"
            return [_in_dollars(row, "amount") for row in _rows(db.execute(newest, (account, limit)))]

    def query(self, sql: str) -> tuple[list[Row], int]:
        """Run any one statement, reading or writing, and return its rows and the number of rows that it changed."""
        with self._open() as db:
            before = db.total_changes
            try:
                cursor = db.execute(sql)
                rows = _rows(cursor)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise BankError(f"SQL: {error}") from error
            changed = db.total_changes - before
            if changed or cursor.description is None:  # a change, or a statement that is not a question
                _effect(db, "query", detail={"sql": sql, "changed": changed})
            return rows, changed

    def transfer(self, source: str, target: str, amount: Decimal, memo: str) -> Row:
        """Move money and return the audit id and the new balance."""
        cents = _cents(amount)
        if source == target:
            raise BankError("source and target are the same account")
        with self._open() as db:
            if _balance(db, source) < cents:
                raise BankError(f"{source} does not hold ${amount:,.2f}")
            _balance(db, target)
            detail = {"to": target, "memo": memo}
            audit_id = _effect(db, "transfer", account=source, cents=cents, detail=detail)
            for account, change, other in ((source, -cents, target), (target, cents, source)):
                db.execute("UPDATE accounts SET balance_cents = balance_cents + ? WHERE id = ?", (change, account))
                row = (f"T-{uuid.uuid4()}", account, _now()[:10], change, other, memo)
                db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?)", row)
            return {"audit_id": audit_id, "from_balance": _balance(db, source) / 100}

    def close(self, account: str) -> Row:
        """Close the account for good, pay out what it holds, and return the audit id."""
        with self._open() as db:
            cents = _balance(db, account)
            audit_id = _effect(db, "close_account", account=account, cents=cents, detail={})
            db.execute("UPDATE accounts SET status = 'closed', balance_cents = 0 WHERE id = ?", (account,))
            return {"audit_id": audit_id, "paid_out": cents / 100}

    def month(self, account: str, month: str) -> list[Row]:
        """Return the account's transactions of a month, `2026-05`, in order."""
        with self._open() as db:
            _balance(db, account)
            find = "SELECT * FROM transactions WHERE account_id = ? AND substr(posted, 1, 7) = ? ORDER BY posted, id"
            return [_in_dollars(row, "amount") for row in _rows(db.execute(find, (account, month)))]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=rw", uri=True, timeout=10, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if db.in_transaction:
                db.execute("COMMIT")


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    return [dict(row) for row in cursor.fetchmany(MAX_ROWS)]


def _balance(db: sqlite3.Connection, account: str) -> int:
    found = db.execute("SELECT balance_cents, status FROM accounts WHERE id = ?", (account,)).fetchone()
    if found is None:
        raise BankError(f"there is no account {account}")
    if found["status"] != "open":
        raise BankError(f"the account {account} is {found['status']}")
    return int(found["balance_cents"])


def _effect(db: sqlite3.Connection, tool: str, *, account: str = "", cents: int = 0, detail: Row) -> str:
    audit_id = str(uuid.uuid4())
    row = (audit_id, tool, account, cents, json.dumps(detail), _now())
    db.execute("INSERT INTO effects (audit_id, tool, account_id, amount_cents, detail, at) VALUES (?, ?, ?, ?, ?, ?)", row)
    return audit_id


def _cents(amount: Decimal) -> int:
    cents = amount * 100
    if not 0 < cents < 10**12 or cents != cents.to_integral_value():
        raise BankError("an amount is above zero and has no fractions of a cent")
    return int(cents)


def _in_dollars(row: Row, name: str) -> Row:
    return {**{key: value for key, value in row.items() if key != f"{name}_cents"}, name: row[f"{name}_cents"] / 100}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
