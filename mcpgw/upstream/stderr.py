"""What a child writes to stderr: kept short, without secrets and control characters, for the admin."""

import logging
from collections import deque

logger = logging.getLogger(__name__)

_LINES_KEPT = 20
_LINE_CHARS = 500
_LOGGED_LINES = 1_000
"""Per connection: a child that floods stderr must not flood the log."""


class Stderr:
    """The last lines of a child's stderr, and the log of them all.

    Once calls run, a server may write their data to stderr. So the lines go to the log at level DEBUG only, and `tail` tells
    only what was written before the server was ready.
    """

    def __init__(self, name: str, confidential: tuple[str, ...]) -> None:
        self._name = name
        self._confidential = confidential
        self._rest = ""
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._logged = 0
        self._starting = True

    def feed(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk.decode("utf-8", "replace")).split("\n")
        self._rest = rest[-_LINE_CHARS * 8 :]
        for line in lines:
            self._line(line)

    def explain(self, line: str) -> None:
        """Add a line of our own for the admin."""
        self._line(line)

    def ready(self) -> None:
        """From now on lines may hold data of calls."""
        self._starting = False
        self._lines.clear()

    def tail(self) -> str:
        """Return what the child wrote while it was starting, its last lines."""
        return "\n".join([*self._lines, *([self._clean(self._rest)] if self._starting and self._rest else [])])

    def _line(self, line: str) -> None:
        clean = self._clean(line)
        if not clean:
            return
        if self._starting:
            self._lines.append(clean)
        if self._logged < _LOGGED_LINES:
            self._logged += 1
            logger.debug("upstream %s stderr: %s", self._name, clean)

    def _clean(self, line: str) -> str:
        for value in self._confidential:
            line = line.replace(value, "•••")
        printable = "".join(char if char.isprintable() else " " for char in line[:_LINE_CHARS])
        return printable.strip()
