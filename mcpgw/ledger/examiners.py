"""Processes that examine spans of a log, one for each core, so that a large log is verified in less time.

Each opens the log by itself, for reading alone, and answers with what it found sound, in the order in which it was asked; one
more has the database look at its file meanwhile. Whatever one doubts, and whatever it does not answer because it died, is
looked at by the process that asked. A child ends when its standard input does, so it does not outlive its parent, however that
ends. What goes over the pipes are pickles between two processes of one program.

    python -m mcpgw.ledger.examiners
"""

import contextlib
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO

from mcpgw.core.errors import GatewayError
from mcpgw.ledger.checkpoint import Verifier
from mcpgw.ledger.erasure import Erasures
from mcpgw.ledger.spans import Sound, damage, sound
from mcpgw.ledger.store import Database

logger = logging.getLogger(__name__)

_MOST = 4
"""Processes at the most: each takes about 45 MB."""
_DAMAGE = "damage"
"""The question that is no span."""
_AHEAD = 4
"""Spans that one is asked for before its first answer is taken, so that it never waits."""


class Examiners:
    def __init__(self, database: Database, origin: str, verifiers: Sequence[Verifier], *, whole_file: bool = False) -> None:
        """`whole_file` begins to ask at once what is wrong with the database's file; see `damage`."""
        count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)
        job = (database, origin, tuple(verifiers))
        self._children = [_Child(job) for _ in range(count)]
        self._looking = [_Child(job)] if whole_file else []
        for child in self._looking:
            child.ask(_DAMAGE)

    def close(self) -> None:
        """End them, whatever they are doing."""
        for child in (*self._children, *self._looking):
            child.kill()

    def damage(self) -> Sequence[str] | None:
        """Return what the database finds wrong with its file; None if nobody can tell. Waits until it has looked."""
        (child,) = self._looking
        found: Sequence[str] | None = child.answer()
        return found

    def sound(self, spans: Sequence[range]) -> Iterator[tuple[range, Sound | None]]:
        """Yield each span, in order, with what was found: None if there is any doubt, or nobody who could tell."""
        count = len(self._children)
        for number, span in enumerate(spans[: count * _AHEAD]):
            self._children[number % count].ask(span)
        for number, span in enumerate(spans):
            child = self._children[number % count]
            found: Sound | None = child.answer()
            if number + count * _AHEAD < len(spans):
                child.ask(spans[number + count * _AHEAD])
            yield span, found


class _Child:
    def __init__(self, job: tuple[Database, str, tuple[Verifier, ...]]) -> None:
        command = [sys.executable, "-m", "mcpgw.ledger.examiners"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        self._alive = True
        self._send(job)

    def ask(self, question: "range | str") -> None:
        self._send(question)

    def answer(self) -> Any:
        """Return the answer to the oldest question that was not answered; None if it will not come."""
        if not self._alive:
            return None
        assert self._process.stdout is not None  # noqa: S101 - a pipe, see above
        try:
            return pickle.load(self._process.stdout)  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError):
            self._give_up()
            return None

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101 - as above
        if self._alive:
            try:
                pickle.dump(message, self._process.stdin)
                self._process.stdin.flush()
            except OSError:
                self._give_up()

    def _give_up(self) -> None:
        self._alive = False
        logger.warning("a process that examines records has ended; its part is done by this one")


def _serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer each span that is asked for, until nothing more is asked."""
    database, origin, verifiers = pickle.load(asked)  # noqa: S301 - from our parent
    with closing(database.connect_read_only()) as store:
        erasures = Erasures(store.erasing(), store.holding())
        while True:
            question = pickle.load(asked)  # noqa: S301 - as above
            answer = damage(store) if question == _DAMAGE else sound(store, question, origin, verifiers, erasures)
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt, GatewayError):  # the parent is done, or does it by itself
        _serve(sys.stdin.buffer, sys.stdout.buffer)
