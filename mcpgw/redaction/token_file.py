"""Tokens in a file: SQLite beside the ledger, every value under AES-256-GCM, nobody's name readable in it.

Every process on the folder opens the same file; SQLite's own locks order them. A row is found by a keyed hash of holder and
token, so a copy of the file tells neither who holds what nor how many hold the same, and a row moved to another place, or given
another expiry, does not open. What the file format of version 1 is may only be added to; a file of another version is refused.
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Json
from mcpgw.redaction.tokens import derived

_VERSION = 1
_TABLE = (
    "CREATE TABLE IF NOT EXISTS token (slot BLOB PRIMARY KEY, expires INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID"
)
_NONCE_BYTES = 12
"""NIST SP 800-38D section 8.2.2: random, so at most 2^32 rows under one key."""
_BUSY_S = 2.0
"""How long one process waits for another's write; a write takes milliseconds."""
_SWEEP_S = 60.0
_RECENT = 16_384
"""Tokens whose last keeping is remembered, so that what is given out again and again is not written each time."""

T = TypeVar("T")


class TokenFile:
    """`tokens.TokenStore` on one file, which is opened, or made, at its first use. `close` after the last.

    Tokens survive a crash of the process; a power cut may lose the newest, which then stay literal. Expired rows are deleted
    and overwritten (`secure_delete`).
    """

    def __init__(self, path: Path, key: bytes, *, lifetime_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._slot_key = derived(key, "slot")
        self._cipher = AESGCM(derived(key, "seal"))
        self._db: sqlite3.Connection | None = None  # None until the first use
        self._lock = anyio.Lock()
        self._recent: OrderedDict[bytes, float] = OrderedDict()
        self._swept = 0.0

    def close(self) -> None:
        """Close the file; other processes keep theirs open. It may be used again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    async def keep(self, holder: str, issued: Mapping[str, Json]) -> None:
        """See `TokenStore.keep`."""
        now = self._clock()
        slots = {self._slot(holder, token): value for token, value in issued.items()}
        stale = {slot: value for slot, value in slots.items() if self._recent.get(slot, 0.0) < now + self._lifetime_s / 2}
        if not stale:
            return
        expires = int(now + self._lifetime_s)
        await self._run(partial(self._write, stale, expires, now))
        for slot in stale:
            self._recent[slot] = expires
            self._recent.move_to_end(slot)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def values(self, holder: str, tokens: Sequence[str]) -> Mapping[str, Json]:
        """See `TokenStore.values`."""
        slots = {self._slot(holder, token): token for token in tokens}
        found = await self._run(partial(self._read, list(slots), int(self._clock())))
        return {slots[slot]: value for slot, value in found.items()}

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._lock:
            return await anyio.to_thread.run_sync(self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._db = self._db or self._connect()
            return work(self._db)
        except (OSError, sqlite3.Error) as error:
            raise RedactionError(f"the file of tokens cannot be used: {error}", hint=f"See {self._path}.") from None

    def _connect(self) -> sqlite3.Connection:
        """Open the file, or make it, readable by its owner alone."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
                db.execute(f"PRAGMA {pragma}")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise RedactionError(f"{self._path.name} has version {version}, and this gateway writes {_VERSION}")
            db.execute(_TABLE)
            db.execute("CREATE INDEX IF NOT EXISTS token_expires ON token (expires)")
            db.execute(f"PRAGMA user_version={_VERSION}")
        except (sqlite3.Error, RedactionError):
            db.close()
            raise
        return db

    def _write(self, slots: Mapping[bytes, Json], expires: int, now: float, db: sqlite3.Connection) -> None:
        rows = [(slot, expires, self._seal(slot, expires, value)) for slot, value in slots.items()]
        db.execute("BEGIN IMMEDIATE")
        try:
            if now - self._swept > _SWEEP_S:
                db.execute("DELETE FROM token WHERE expires < ?", (int(now),))
                self._swept = now
            there = self._read(list(slots), int(now), db)
            if any(slots[slot] != value for slot, value in there.items()):
                raise RedactionError("two values have the same token, which happens once in 2^60 times", hint="Ask for less.")
            db.executemany(
                "INSERT INTO token VALUES (?, ?, ?) ON CONFLICT (slot) DO UPDATE SET expires = excluded.expires,"
                " sealed = excluded.sealed",
                rows,
            )
            db.execute("COMMIT")
        except BaseException:  # whatever it was goes on; the transaction must not stay open behind it
            db.execute("ROLLBACK")
            raise

    def _read(self, slots: Sequence[bytes], now: int, db: sqlite3.Connection) -> dict[bytes, Json]:
        found: dict[bytes, Json] = {}
        for slot in slots:
            row = db.execute("SELECT expires, sealed FROM token WHERE slot = ? AND expires >= ?", (slot, now)).fetchone()
            if row is not None:
                found[slot] = self._open(slot, *row)
        return found

    def _slot(self, holder: str, token: str) -> bytes:
        return hmac.digest(self._slot_key, f"{holder}\0{token}".encode(), hashlib.sha256)

    def _seal(self, slot: bytes, expires: int, value: Json) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(value).encode("ascii"), slot + expires.to_bytes(8, "big"))

    def _open(self, slot: bytes, expires: int, sealed: bytes) -> Json:
        bound = slot + expires.to_bytes(8, "big")
        try:
            return json.loads(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound))
        except (InvalidTag, ValueError, OverflowError):
            hint = f"Another key wrote it, or it was changed. Without {self._path.name}, tokens given out so far stay literal."
            raise RedactionError("a token's row does not open", hint=hint) from None
