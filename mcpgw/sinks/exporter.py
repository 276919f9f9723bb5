"""All sinks and notifiers of one gateway process."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import anyio

from mcpgw.sinks.config import NoticeConfig, NoticeFeed, SinkConfig
from mcpgw.sinks.cursor import CursorKeep
from mcpgw.sinks.delivery import Compose, Delivery, EventLog, everything
from mcpgw.sinks.notice import Approvals, Notices
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.outbox import Outbox
from mcpgw.sinks.pace import Pace
from mcpgw.sinks.receiver import Receiver
from mcpgw.sinks.status import SinkStatus, sink_status

_PACE = Pace()


class Log(Outbox, EventLog, Approvals, Protocol):
    """What the ledger is to this room."""


class Exporter:
    """Delivers the log to every sink, each on its own: one that is down holds up no other, and no call."""

    def __init__(
        self,
        receivers: Sequence[tuple[SinkConfig | NoticeConfig, Receiver]],
        *,
        log: Log,
        cursors: Callable[[str], CursorKeep],
        pace: Pace,
    ) -> None:
        """Use `open_exporter`."""
        self._receivers = receivers
        self._log = log
        self._cursors = cursors
        self._pace = pace

    async def run(self) -> None:
        """Deliver until cancelled. What goes wrong is a sink's `problem`, never an exception."""
        async with anyio.create_task_group() as tasks:
            for sink, receiver in self._receivers:
                delivery = Delivery(
                    sink,
                    receiver,
                    outbox=self._log,
                    journal=self._log,
                    cursor=self._cursors(sink.name),
                    pace=self._pace,
                    compose=_composer(sink, self._log),
                )
                tasks.start_soon(delivery.run)

    async def status(self) -> Sequence[SinkStatus]:
        """Return how each sink stands, whichever process delivers to it.

        Raises:
            LedgerUnavailable: the log cannot be read.
        """
        return [await sink_status(sink, self._cursors(sink.name), self._log) for sink, _ in self._receivers]


@asynccontextmanager
async def open_exporter(
    sinks: Sequence[SinkConfig | NoticeConfig], *, log: Log, cursors: Callable[[str], CursorKeep], pace: Pace = _PACE
) -> AsyncIterator[Exporter]:
    """Yield the exporter; `run` delivers. `cursors` says by name where each is kept: processes that share them share the work.

    Raises:
        ConfigError: a key or a TLS file of a sink cannot be used. Nothing was sent.
    """
    async with AsyncExitStack() as stack:
        receivers = [(sink, await stack.enter_async_context(open_receiver(sink))) for sink in sinks]
        yield Exporter(receivers, log=log, cursors=cursors, pace=pace)


def _composer(sink: SinkConfig | NoticeConfig, approvals: Approvals) -> Compose:
    return Notices(sink, approvals).compose if isinstance(sink, NoticeFeed) else everything
