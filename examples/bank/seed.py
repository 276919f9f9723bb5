"""The bank's books, made up: the same customers, accounts and transactions at every run, and none of them real.

Everything looks real to a detector and belongs to nobody: social security numbers of areas that are never issued (900-999, with
groups that are no ITIN either), telephone numbers of the 555-01XX range, mail under example.com, published test numbers of
cards, routing numbers of an unassigned Federal Reserve prefix, IBANs of an unassigned German bank code. All check digits are
right.

    python examples/bank/seed.py bank.db
"""

import os
import random
import sqlite3
import sys
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

CUSTOMERS = 200
TRANSACTIONS = 2000
_SEED = 20260728
_LAST_DAY = date(2026, 6, 30)  # fixed: books that depend on today would differ tomorrow

SCHEMA = """
CREATE TABLE customers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, ssn TEXT NOT NULL, date_of_birth TEXT NOT NULL, email TEXT NOT NULL,
    phone TEXT NOT NULL, address TEXT NOT NULL, card_number TEXT NOT NULL, risk_rating TEXT NOT NULL, notes TEXT NOT NULL
) STRICT;
CREATE TABLE accounts (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (id), kind TEXT NOT NULL, routing_number TEXT NOT NULL,
    iban TEXT NOT NULL, balance_cents INTEGER NOT NULL, status TEXT NOT NULL
) STRICT;
CREATE TABLE transactions (
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts (id), posted TEXT NOT NULL, amount_cents INTEGER NOT NULL,
    counterparty TEXT NOT NULL, memo TEXT NOT NULL
) STRICT;
CREATE INDEX transactions_by_account ON transactions (account_id, posted);
CREATE TABLE effects (
    id INTEGER PRIMARY KEY, audit_id TEXT NOT NULL UNIQUE, tool TEXT NOT NULL, account_id TEXT NOT NULL,
    amount_cents INTEGER NOT NULL, detail TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
"""
"""`effects` is for whoever watches the bank: one row for every change that a tool made, in the transaction that made it."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GIVEN = _words("""
    Aaliyah Abigail Adrian Aiko Alejandro Amara Andre Anika Antonio Beatriz Benjamin Bianca Caleb Camila Carmen Cedric
    Chloe Daniela Darius Deborah Dmitri Elena Elijah Esther Fatima Felix Gabriela Gloria Hannah Hassan Helen Ibrahim
    Imani Ingrid Isaac Jasmine Javier Joanna Jonas Kareem Katrina Keiko Kwame Laila Leonard Lucia Malik Marcus Marisol
    Mei Miriam Nadia Naomi Nikolai Olivia Omar Paloma Patrick Priya Quentin Rafael Renata Rosa Samuel Sofia Sunita
    Tamara Theo Valeria Victor Wanda Xavier Yasmin Zoe
""")
_FAMILY = _words("""
    Abbott Aguilar Akins Bauer Bell Blackwood Calloway Castillo Chen Dalton Delgado Dubois Eastman Ellison Eze Farrell
    Fischer Garza Gibson Goldberg Haddad Hale Hartmann Hoang Iverson Jansen Jimenez Kapoor Keller Kowalski Lambert
    Lindqvist Lopez Maddox Mbeki Mendez Nakamura Nguyen Novak Okafor Ortega Park Petrov Quinn Rahman Reyes Rossi
    Sandoval Schultz Silva Tanaka Thornton Ueda Vargas Vasquez Walsh Whitaker Yamamoto Young Zimmerman
""")
_STREETS = _words("""
    Alder Birch Cedar Chestnut Dogwood Elm Hawthorn Juniper Laurel Magnolia Maple Poplar Spruce Sycamore Willow
""")
_CITIES = (
    ("Springfield", "IL", "62701", "217"),
    ("Riverton", "WY", "82501", "307"),
    ("Fairview", "OR", "97024", "503"),
    ("Georgetown", "TX", "78626", "512"),
    ("Salem", "MA", "01970", "978"),
    ("Madison", "WI", "53703", "608"),
    ("Clayton", "MO", "63105", "314"),
    ("Dayton", "OH", "45402", "937"),
)
_SHOPS = (
    "Corner Grocery",
    "Blue Heron Pharmacy",
    "Northside Fuel",
    "Harbor Books",
    "Sunrise Bakery",
    "City Transit",
    "Lakeview Dental",
    "Pinecrest Power",
    "Summit Insurance",
    "Old Mill Hardware",
    "Metro Wireless",
    "Willow Creek Rent",
    "Parkside Cinema",
    "Golden Gate Noodles",
    "Redwood Fitness",
)
_CARDS = (
    *("4111111111111111", "4012888888881881", "5555555555554444", "5105105105105100", "378282246310005"),
    *("371449635398431", "6011111111111117", "6011000990139424", "3530111333300000", "4242424242424242"),
)
"""Test numbers that card networks and processors publish."""

_NOTES = (
    "Prefers to be called at {phone}. Spouse {other} may ask about balances.",
    "Moved from {street}; asked for paper statements by mail to {address}.",
    "Verified by phone with SSN {ssn} and date of birth {born}.",
    "Reported a lost card ending in {last4}; replacement sent. Contact {email}.",
    "No special handling.",
)


def create(path: Path) -> None:
    """Write fresh books to `path`, over whatever is there; nobody sees them half written."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as db:
        db.execute("PRAGMA journal_mode = WAL")  # a watcher may read while the bank writes
        db.executescript(SCHEMA)
        chance = random.Random(_SEED)
        with db:
            accounts = [account for number in range(CUSTOMERS) for account in _customer(db, chance, number)]
            for number in range(TRANSACTIONS):
                _transaction(db, chance, number, chance.choice(accounts))
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)  # of older books
    draft.replace(path)


def _customer(db: sqlite3.Connection, chance: random.Random, number: int) -> list[str]:
    """Insert one customer with one or two accounts, and return the accounts' ids."""
    customer = f"C-{1001 + number}"
    name, other = _name(chance), _name(chance)
    city, state, code, area = chance.choice(_CITIES)
    street = f"{chance.randint(12, 2890)} {chance.choice(_STREETS)} Street"
    address = f"{street}, {city}, {state} {code}"
    ssn = f"{900 + number // 2:03d}-{chance.randint(1, 49):02d}-{chance.randint(1, 9999):04d}"
    born = (date(1945, 1, 1) + timedelta(days=chance.randrange(21_000))).isoformat()
    phone = f"({area}) 555-01{chance.randint(0, 99):02d}"
    email = f"{name.lower().replace(' ', '.')}{number}@example.com"
    card = _CARDS[number % len(_CARDS)]
    facts = {"phone": phone, "other": other, "street": street, "address": address, "ssn": ssn, "born": born, "email": email}
    note = chance.choice(_NOTES).format(**facts, last4=card[-4:])
    rating = chance.choices(("low", "medium", "high"), (8, 3, 1))[0]
    row = (customer, name, ssn, born, email, phone, address, card, rating, note)
    db.execute("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    kinds = ("CHK", "SAV") if number % 2 else ("CHK",)
    return [_account(db, chance, customer, kind, number) for kind in kinds]


def _name(chance: random.Random) -> str:
    return f"{chance.choice(_GIVEN)} {chance.choice(_FAMILY)}"


def _account(db: sqlite3.Connection, chance: random.Random, customer: str, kind: str, number: int) -> str:
    account = f"{kind}-{100001 + number}"
    balance = chance.randint(2_500, 9_000_000)
    digits = f"{chance.randrange(10**10):010d}"
    row = (account, customer, "checking" if kind == "CHK" else "savings", routing_number(), iban(digits), balance, "open")
    db.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return account


def _transaction(db: sqlite3.Connection, chance: random.Random, number: int, account: str) -> None:
    posted = _LAST_DAY - timedelta(days=chance.randrange(365))
    if chance.random() < 0.12:
        counterparty, memo, cents = _name(chance), "Zelle", chance.randint(1_000, 250_000)
    elif chance.random() < 0.1:
        counterparty, memo, cents = "Payroll", f"Salary {posted:%B}", chance.randint(180_000, 640_000)
    else:
        counterparty, memo, cents = chance.choice(_SHOPS), "Card purchase", -chance.randint(250, 42_000)
    row = (f"T-{500001 + number}", account, posted.isoformat(), cents, counterparty, memo)
    db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?)", row)


def routing_number() -> str:
    """Return an ABA routing number with a right check digit, of prefix 33, which the Federal Reserve has not assigned."""
    body = "33120004"
    weights = (3, 7, 1, 3, 7, 1, 3, 7)
    return body + str(-sum(weight * int(digit) for weight, digit in zip(weights, body, strict=True)) % 10)


def iban(account: str) -> str:
    """Return a German IBAN with right check digits (ISO 13616), of bank code 99999999, which nobody has."""
    body = f"99999999{account}"
    check = 98 - int(f"{body}131400") % 97  # D = 13, E = 14, and 00 in place of the check digits
    return f"DE{check:02d}{body}"


if __name__ == "__main__":
    create(Path(sys.argv[1]))
