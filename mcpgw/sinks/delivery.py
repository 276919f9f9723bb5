"""One sink: read behind the cursor, send, move the cursor. In that order, so that a crash repeats and never loses.

standby ──lock──► delivering ──► batch ──► receiver ──acknowledged──► cursor (durable) ──► next batch
                      ▲                        └─ not acknowledged ──► pause with backoff ──┘
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio
from anyio import to_thread

from mcpgw.core.entries import Event
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import Sealed
from mcpgw.sinks.config import Feed
from mcpgw.sinks.cursor import Cursor, CursorKeep
from mcpgw.sinks.outbox import DamagedRecord, Outbox, OutboxRecord, OutgoingEvent, event_of
from mcpgw.sinks.pace import Pace
from mcpgw.sinks.receiver import Receiver
from mcpgw.sinks.sift import RefusedEvent, send_sifted
from mcpgw.sinks.status import require_same_log

logger = logging.getLogger(__name__)

FAILED = "sink.failed"
_LINES = 100
"""Refused events in one `sink.failed` record, so that it fits a leaf."""
_DAMAGED = "damaged"


class EventLog(Protocol):
    """The part of `ports.Journal` that a sink needs."""

    async def append(self, entry: Event) -> Sealed[Event]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that belong together on their way: what can be sent of them, and what cannot."""

    events: tuple[OutgoingEvent, ...]
    damaged: tuple[RefusedEvent, ...]
    last: OutboxRecord


Compose = Callable[[OutboxRecord], Awaitable[OutgoingEvent | None]]
"""What a record becomes on its way out; nothing, where the receiver is not meant to hear of it. Raises `DamagedRecord`."""


async def everything(record: OutboxRecord) -> OutgoingEvent:
    """`Compose` for a SIEM: every record is an event."""
    return event_of(record)


async def next_batch(records: Sequence[OutboxRecord], feed: Feed, compose: Compose = everything) -> Batch:
    """Return as many of the records (at least one) as one batch may hold."""
    events: list[OutgoingEvent] = []
    damaged: list[RefusedEvent] = []
    last, size = records[0], 0
    for record in records:
        try:
            event = await compose(record)
        except DamagedRecord as error:
            damaged.append(RefusedEvent(record.seq, record.hash.hex(), _DAMAGED, str(error)))
        else:
            size += len(event.body) if event else 0
            if events and size > feed.max_bytes:
                break
            events += [event] if event else []
        last = record
    return Batch(tuple(events), tuple(damaged), last)


class Delivery:
    """Delivers the log to one receiver for as long as it runs, and waits in standby while another process does."""

    def __init__(
        self,
        feed: Feed,
        receiver: Receiver,
        *,
        outbox: Outbox,
        journal: EventLog,
        cursor: CursorKeep,
        pace: Pace,
        compose: Compose = everything,
    ) -> None:
        self._compose = compose
        self._feed = feed
        self._receiver = receiver
        self._outbox = outbox
        self._journal = journal
        self._file = cursor
        self._pace = pace
        self._cursor = Cursor()
        self._outage_told = False

    async def run(self) -> None:
        """Deliver until cancelled. Whatever goes wrong is kept as the cursor's `problem`, and tried again."""
        failures = 0
        try:
            while True:
                try:
                    await self._deliver()
                    failures = 0
                except Exception as error:  # turned into a visible problem and a pause: a sink never stops the gateway's calls
                    failures += 1
                    await self._report(error)
                    await anyio.sleep(self._pace.pause(failures, getattr(error, "retry_after_s", 0.0)))
        finally:
            self._file.release()

    async def _deliver(self) -> None:
        """Send one batch, or wait for something to send."""
        if not self._file.is_mine:
            await self._take_over()
        records = await self._outbox.records_after(self._cursor.seq, self._feed.max_events)
        if not records:
            await self._solved()
            await anyio.sleep(self._pace.poll_s)
            return
        batch = await next_batch(records, self._feed, self._compose)
        refused = batch.damaged
        if batch.events:
            refused += await send_sifted(self._receiver, batch.events)
        await self._record(refused)  # before the cursor moves: what is passed over is never passed over silently
        await self._move(batch.last, refused)
        if len(records) < self._feed.max_events:  # the log's end was in sight: let the next batch gather
            await anyio.sleep(self._pace.poll_s)

    async def _take_over(self) -> None:
        while True:
            if await to_thread.run_sync(self._file.take):
                break
            await anyio.sleep(self._pace.standby_s)  # the kernel tells nobody that a lock has become free
        try:
            self._cursor = await self._found_cursor()
        except BaseException:
            self._file.release()  # the next try starts afresh
            raise
        logger.info("sink %s: delivering from record %d on", self._feed.name, self._cursor.seq + 1)

    async def _found_cursor(self) -> Cursor:
        """Return where another process, or this one before a restart, has come to."""
        cursor = await to_thread.run_sync(self._file.read)
        if self._feed.from_now and not self._file.exists and (size := await self._outbox.size()):
            (newest,) = await self._outbox.records_after(size - 2, 1)
            cursor = Cursor(seq=newest.seq, leaf_hash=newest.hash.hex(), moved_ns=time.time_ns())
            await to_thread.run_sync(self._file.write, cursor)
        await require_same_log(cursor, self._outbox, self._feed.name)
        return cursor

    async def _record(self, refused: Sequence[RefusedEvent]) -> None:
        """Make a durable record of what the receiver will not get.

        A `sink.failed` that is refused itself gets no further record, or two sinks could keep each other busy for ever; the
        cursor counts it all the same, and the process's log names it.
        """
        for event in refused:
            logger.error("sink %s: event %d (%s) is not delivered: %s", self._feed.name, event.seq, event.kind, event.why)
        lines = [_facts(event) for event in refused if event.kind != FAILED]
        for at in range(0, len(lines), _LINES):
            facts = {"sink": self._feed.name, "events": lines[at : at + _LINES]}
            await self._journal.append(Event(kind=FAILED, actor="gateway", facts=facts))

    async def _move(self, last: OutboxRecord, refused: Sequence[RefusedEvent]) -> None:
        moved = Cursor(
            seq=last.seq, leaf_hash=last.hash.hex(), moved_ns=time.time_ns(), refused=self._cursor.refused + len(refused)
        )
        await to_thread.run_sync(self._file.write, moved)
        if self._cursor.problem:
            logger.warning("sink %s: delivering again", self._feed.name)
        self._cursor, self._outage_told = moved, False

    async def _report(self, error: Exception) -> None:
        """Say once why nothing moves, where the status finds it; and once for each outage in the record."""
        problem = _worded(error)
        await self._tell_outage(problem)
        if problem == self._cursor.problem:
            return
        logger.warning("sink %s: %s", self._feed.name, problem, exc_info=None if isinstance(error, _EXPECTED) else error)
        since = self._cursor.problem_since_ns or time.time_ns()
        self._cursor = replace(self._cursor, problem=problem, problem_since_ns=since)
        await self._save_problem()

    async def _tell_outage(self, problem: str) -> None:
        """Record that nothing has moved for a while. What cannot be recorded now is tried again at the next failure."""
        since_ns = self._cursor.problem_since_ns
        if self._outage_told or not since_ns or time.time_ns() - since_ns < self._pace.outage_s * 1e9:
            return
        facts = {"sink": self._feed.name, "problem": problem, "since_ns": str(since_ns)}
        try:
            await self._journal.append(Event(kind=FAILED, actor="gateway", facts=facts))
            self._outage_told = True
        except GatewayError as error:
            logger.error("sink %s: its outage cannot be recorded: %s", self._feed.name, error)

    async def _solved(self) -> None:
        if self._cursor.problem:
            self._cursor = replace(self._cursor, problem="", problem_since_ns=0)
            await self._save_problem()

    async def _save_problem(self) -> None:
        if not self._file.is_mine:
            return  # the cursor is not ours, or cannot be understood: leave it as it is
        try:
            await to_thread.run_sync(self._file.write, self._cursor)
        except _EXPECTED as error:
            logger.error("sink %s: the cursor cannot be written: %s", self._feed.name, _worded(error))


_EXPECTED = (GatewayError, OSError)


def _worded(error: Exception) -> str:
    """Say what is wrong without a payload. Only our own errors are known to hold none."""
    if isinstance(error, GatewayError):
        return " ".join(filter(None, (str(error), error.hint)))
    if isinstance(error, OSError):
        return f"the cursor cannot be written: {error.strerror}"
    return f"an error in the gateway itself: {type(error).__name__}"


def _facts(event: RefusedEvent) -> dict[str, str | int]:
    return {"seq": event.seq, "kind": event.kind, "leaf_hash": event.uid, "why": event.why}
