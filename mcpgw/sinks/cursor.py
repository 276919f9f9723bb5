"""How far a sink has come: one small text for each, which one process at a time may move.

Of a log on one machine it is a file.

`NAME.json` is written anew and renamed into place after every acknowledged batch; a reader sees the old or the new one, never
half of one. `NAME.lock` is locked by the process that delivers, and never removed: the kernel drops the lock when that process
ends, however it ends. Both live in `data/sinks/`, which has to be on a local file system, as the ledger's file has.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.outbox import FIRST

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The last record that was acknowledged or refused for good, and how things stand."""

    seq: int = FIRST
    leaf_hash: str = ""
    """Of that record; empty before the first. Tells when a cursor meets another log."""
    moved_ns: int = 0
    """When it moved last, Unix nanoseconds."""
    refused: int = 0
    """How many events the receiver refused for good, ever."""
    problem: str = ""
    """Why nothing moves at the moment, safe to show; empty while all is well."""
    problem_since_ns: int = 0


class CursorKeep(Protocol):
    """Where a sink's cursor is kept, and which process may move it. All methods block.

    They raise `OSError` or `LedgerUnavailable` where it cannot be reached.
    """

    @property
    def is_mine(self) -> bool:
        """Whether this object may move it."""
        ...

    @property
    def exists(self) -> bool:
        """Whether it had a beginning, as it was when it was read last."""
        ...

    def read(self) -> Cursor:
        """Return it; one before the first record where there is none. Raises `ConfigError`: it is damaged."""
        ...

    def write(self, cursor: Cursor) -> None:
        """Replace it, durably."""
        ...

    def take(self) -> bool:
        """Try to become the one process that delivers; return whether it is this one now."""
        ...

    def release(self) -> None:
        """Let another process deliver."""
        ...

    def is_taken(self) -> bool:
        """Tell whether some process delivers."""
        ...


def text_of(cursor: Cursor) -> str:
    """Return the cursor as it is kept."""
    return json.dumps({"v": _VERSION, **asdict(cursor)}, indent=1)


def cursor_of(text: str | bytes, where: str) -> Cursor:
    """Return the cursor that was kept.

    Raises:
        ConfigError: it is damaged. It is not replaced by a fresh one: that would send the whole log again.
    """
    try:
        values = json.loads(text)
        if values.pop("v") != _VERSION:
            raise ValueError("made by another version")
        return Cursor(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = "Restore it, or remove it: then the sink gets everything again, from the first record."
        raise ConfigError("the cursor cannot be understood", where=where, hint=hint) from error


class CursorFile:
    """`CursorKeep` in `folder`, for processes of one machine."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.json"
        self._lock_path = folder / f"{name}.lock"
        self._lock = -1  # a file descriptor while the lock is held

    @property
    def is_mine(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock >= 0

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def read(self) -> Cursor:
        """Return the cursor; one before the first record where there is no file.

        Raises:
            ConfigError: the file is damaged. It is not replaced by a fresh one: that would send the whole log again.
        """
        try:
            return cursor_of(self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return Cursor()

    def write(self, cursor: Cursor) -> None:
        """Replace the cursor; it survives a power cut once this returns.

        Raises:
            OSError: it is not durable.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, text_of(cursor).encode())
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(self._path)
        sync_folder(self._path.parent)

    def take(self) -> bool:
        """Try to become the one process that delivers; return whether it is this one now.

        Raises:
            OSError: the folder cannot be written.
        """
        self._lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._lock = file
        return True

    def release(self) -> None:
        """Let another process deliver."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def is_taken(self) -> bool:
        """Tell whether some process delivers. One that is just trying to take over may have to try once more."""
        try:
            file = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(file)


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
