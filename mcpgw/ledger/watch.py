"""Waiting for a change of an approval, by this process or by another."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mcpgw.core.errors import LedgerUnavailable


class ApprovalWatch:
    """Wakes all waiters when the approvals' version moves. Lives on one event loop."""

    def __init__(self, read_version: Callable[[], Awaitable[int]], poll_s: float) -> None:
        """`poll_s`: how late another process's change is seen at most, where nobody calls `look`."""
        self._read_version = read_version
        self._poll_s = poll_s
        self._told = asyncio.Event()
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._poller: asyncio.Task[None] | None = None  # None while nobody waits

    async def beyond(self, version: int, timeout_s: float) -> None:
        """Return once the version is another than this one, or after the timeout."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = version
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await waiter
        finally:
            del self._waiting[waiter]

    def wake(self) -> None:
        """Wake everybody: this process changed an approval."""
        self._wake_unless(-1)

    def look(self) -> None:
        """Look now: another process may have changed an approval."""
        self._told.set()

    def _wake_unless(self, version: int) -> None:
        for waiter, known in self._waiting.items():
            if known != version and not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        try:
            while self._waiting:
                self._told.clear()
                with contextlib.suppress(LedgerUnavailable):  # the waiter's own next read will meet the fault and report it
                    self._wake_unless(await self._read_version())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._told.wait()
        finally:
            self._poller = None
