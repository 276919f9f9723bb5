"""Where the sinks' cursors are kept: in files beside a log of one machine, in the database of a log of many."""

from collections.abc import Callable
from pathlib import Path

from mcpgw.ledger.store import Database, Shared
from mcpgw.sinks.cursor import Cursor, CursorFile, CursorKeep, cursor_of, text_of

Cursors = Callable[[str], CursorKeep]
"""By a sink's name."""


def cursors(database: Database, folder: Path) -> Cursors:
    """Return where the cursors are kept. `folder` holds the files, and is where a shared one begins that has a file there."""

    def keep(name: str) -> CursorKeep:
        file = CursorFile(folder, name)
        for shared in database.shared(f"sink.{name}"):
            return SharedCursor(name, shared, file)
        return file

    return keep


class SharedCursor:
    """`sinks.cursor.CursorKeep` that all gateways on a log share: exactly one of them delivers, on whatever host."""

    def __init__(self, name: str, shared: Shared, file: CursorFile) -> None:
        self._name = name
        self._shared = shared
        self._file = file
        self._exists = False

    @property
    def is_mine(self) -> bool:
        return self._shared.is_mine

    @property
    def exists(self) -> bool:
        return self._exists

    def read(self) -> Cursor:
        """Where nothing is shared yet, return what this host's file says: it delivered by itself before."""
        text = self._shared.read()
        self._exists = bool(text) or self._file.exists
        return cursor_of(text, f"the cursor of {self._name} in the database") if text else self._file.read()

    def write(self, cursor: Cursor) -> None:
        self._shared.write(text_of(cursor))

    def take(self) -> bool:
        return self._shared.take()

    def release(self) -> None:
        self._shared.release()

    def is_taken(self) -> bool:
        return self._shared.is_taken()
