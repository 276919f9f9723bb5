"""The time that a request has. People take theirs: while a question of the server is open, it stands still."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Clock:
    """What is left of a request's time, or of a call's that takes several requests, one after another."""

    def __init__(self, timeout_s: float) -> None:
        self._ends = anyio.current_time() + timeout_s
        self._open = 0
        self._stopped_at = 0.0
        self._scope = anyio.CancelScope()

    @property
    def left_s(self) -> float:
        return self._deadline - anyio.current_time()

    def scope(self) -> anyio.CancelScope:
        """Return a scope that is cancelled when the time is over, in place of the one that was returned before."""
        self._scope = anyio.CancelScope(deadline=self._deadline)
        return self._scope

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still inside. Several may be inside at once."""
        if not self._open:
            self._stopped_at = anyio.current_time()
        self._open += 1
        self._scope.deadline = self._deadline
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._ends += anyio.current_time() - self._stopped_at
            self._scope.deadline = self._deadline

    @property
    def _deadline(self) -> float:
        return math.inf if self._open else self._ends
