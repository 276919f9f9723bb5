"""The ledger as the other rooms see it: `ports.Journal` and `ports.ApprovalStore` over one data folder."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from mcpgw.core.entries import (
    Changed,
    Event,
    Refusal,
    Rejection,
)
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Failed,
    FailureCode,
    Outcome,
    Sealed,
)
from mcpgw.ledger import changes, summaries
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.assemble import assemble
from mcpgw.ledger.describe import Indeterminate, Recordable, RecordContext, draft
from mcpgw.ledger.eraser import Eraser
from mcpgw.ledger.floods import FloodLimits, RefusalCounter
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.keys import LogKeys
from mcpgw.ledger.nodes import OutOfSight
from mcpgw.ledger.record import Draft, Record
from mcpgw.ledger.rotation import opened_keys, reloaded_keys
from mcpgw.ledger.sessions import calls_of, key_of
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database, OpenCall, Query, Reading, Store, StoredRecord, Transaction
from mcpgw.ledger.stored_tree import subtrees_of
from mcpgw.ledger.tree import consistency_proof
from mcpgw.ledger.watch import ApprovalWatch
from mcpgw.ledger.writer import MAX_BATCH, Batch, Writer
from mcpgw.ports import Approval, ApprovalState, EntryT

logger = logging.getLogger(__name__)

COUNTED = -1
"""The `seq` of a refusal that got no record of its own because it is counted in a `refusals.counted` record."""
_LIMITS = FloodLimits()
SESSION_IDLE_S = 1800.0
"""How long a session stays open without a record, unless the settings say otherwise."""

T = TypeVar("T")

_seen: ContextVar[int] = ContextVar("approvals_version_seen")
"""The approvals' version at the task's last read, so that `changed` misses nothing that came between."""


class Ledger:
    """One log, open for writing. Any number of processes may have it open at once."""

    def __init__(
        self,
        *,
        keys: LogKeys,
        reload: Callable[[str], LogKeys],
        database: Database,
        context: Callable[[], RecordContext],
        limits: FloodLimits,
        session_idle_s: float,
        clock: Callable[[], int],
        countersign: Callable[[str], str],
    ) -> None:
        """Use `open`."""
        self._node = new_id()
        self._connect = database.connect
        self._out_of_sight = OutOfSight(database.patience_s)
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._idle_ns = int(session_idle_s * 1e9)
        self._sum_up_ns = 0
        """When to look for a day that is to be summed up."""
        self._writer = Writer(
            self._connect,
            keys,
            reload=reload,
            node=self._node,
            recover=self._close_calls,
            on_commit=self._committed,
            describe=self._draft,
            clock=clock,
        )
        self.eraser = Eraser(self._writer.submit, self._read, self._draft, database.scrub, clock)
        """What removes payloads."""
        self._watch = ApprovalWatch(self._approvals_version, database.poll_s)
        self._limits = limits
        self._countersign = countersign
        self._closing = asyncio.Event()
        self._refusals = RefusalCounter(limits)
        self._window_from_ns = time.time_ns()
        self._owed: dict[str, Outcome] = {}
        """By call id: what the record must say of calls whose outcome could not be recorded when they ended."""
        self._reader: Store | None = None  # None until the first read, and after a fault
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reader")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        data_dir: Path,
        keys_dir: Path,
        *,
        origin: str,
        context: Callable[[], RecordContext],
        node: str = "",
        announce: bool = True,
        limits: FloodLimits = _LIMITS,
        database: Database | None = None,
        session_idle_s: float = SESSION_IDLE_S,
        clock: Callable[[], int] = time.time_ns,
        countersign: Callable[[str], str] = str,
    ) -> "AsyncIterator[Ledger]":
        """Open the log, record what died before, and close it at the end with everything in flight finished.

        `node` is a name for people. `announce` writes `gateway.started` and `gateway.stopped`; a short-lived command does
        without. `database` is where the log is kept, if not in SQLite in `data_dir`. A session in which nothing was recorded
        for `session_idle_s` seconds is closed. `clock` tells the Unix nanoseconds that records carry. `countersign` adds a
        signature to a checkpoint that is about to leave; `str` adds none.

        Raises:
            ConfigError: no key, a wrong or a retired one, or a database that must not be written as it is set up.
            LedgerUnavailable: the folder or the database cannot be written.
        """
        kept_in = database or SqliteDatabase(data_dir)
        keys = await asyncio.to_thread(opened_keys, keys_dir, origin, kept_in)
        ledger = cls(
            keys=keys,
            reload=partial(reloaded_keys, keys_dir, origin),
            database=kept_in,
            context=context,
            limits=limits,
            session_idle_s=session_idle_s,
            clock=clock,
            countersign=countersign,
        )
        presence = await asyncio.to_thread(kept_in.attend, ledger.node_id, ledger._told)
        ledger._writer.start()
        try:
            await ledger._join(node, announce=announce)
            tending = asyncio.create_task(ledger._tend(sums_up=announce))
            try:
                yield ledger
            finally:
                with anyio.CancelScope(shield=True):
                    ledger._closing.set()
                    await tending
                    await ledger._leave(node, announce=announce)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(ledger._close)
                await asyncio.to_thread(presence.release)

    @property
    def node_id(self) -> str:
        """The id that this process's records carry as `node`."""
        return self._node

    # --- Journal ---------------------------------------------------------------------------------------------------------

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        """`Journal.append`. A refusal in a flood is counted instead of recorded: its `seq` is `COUNTED`.

        An outcome that could not be recorded is on the record as `unrecorded` as soon as the store can be written again.
        """
        if isinstance(entry, Outcome):
            try:
                return await self._record(entry)
            except LedgerUnavailable:
                self._owed[entry.intent.entry.shown.call.id] = _unrecorded(entry)
                raise
        if not isinstance(entry, Refusal | Rejection):
            return await self._record(entry)
        if not self._refusals.deserves_record(entry):
            return Sealed(entry=entry, seq=COUNTED, leaf_hash="", event_id=new_id(), time_ns=time.time_ns())
        try:
            return await self._record(entry)
        except LedgerUnavailable:
            self._refusals.count(entry)  # once the store can be written again, the record will say how many there were
            raise

    async def probe(self) -> None:
        """Prove with a durable write that the store can be written.

        Raises:
            LedgerUnavailable: it cannot.
        """
        await self._writer.submit(lambda batch: batch.tx.touch(self._node, time.time_ns()))
        await self._pay()

    async def recover(self) -> int:
        """Record the intents of processes that died as indeterminate; return how many there were.

        Raises:
            LedgerUnavailable: they could not be recorded.
        """
        found: int = await self._writer.submit(self._bury)
        return found

    async def close_idle_sessions(self) -> int:
        """Write the last record of sessions that have been idle for long enough and have no call under way.

        Returns how many there were. Whichever process comes first does it.

        Raises:
            LedgerUnavailable: they could not be closed.
        """

        def work(batch: Batch) -> int:
            idle = batch.tx.idle_sessions(self._clock() - self._idle_ns, MAX_BATCH)
            still = [row for row in idle if row in batch.sessions.of(row.key)]  # nothing in this very batch went on with it
            for row in still:
                batch.close_session(row)
            return len(still)

        closed: int = await self._writer.submit(work)
        return closed

    async def sum_up(self) -> int:
        """Write the daily summaries that are due, and return how many days they are of.

        Each stretch of the log is summed up once, by whichever process comes first.

        Raises:
            LedgerUnavailable: they could not be written; the next call goes on from there.
        """
        days = 0
        while self._clock() >= self._sum_up_ns:
            found, self._sum_up_ns = await self._read(lambda store: summaries.due(store, self._clock()))
            for stretch in found:
                days += await self._writer.submit(self._summing(stretch))
            if not found:
                break
        return days

    def _summing(self, stretch: summaries.Due) -> Callable[[Batch], int]:
        drafts = [(page, self._draft(page)) for page in summaries.pages(stretch)]

        def work(batch: Batch) -> int:
            if next((int(mark) for mark in batch.tx.mark(summaries.MARK)), 0) != stretch.start:
                return 0  # another process was faster
            for page, drafted in drafts:
                batch.append(page, drafted)
            batch.tx.save_mark(summaries.MARK, str(stretch.end))
            return 1

        return work

    async def record_changes(self, *changed: Changed) -> int:
        """Record those of the changes, in order, that the record does not know yet, and return how many that are.

        Nobody else records one of them as well, nor anything between them: it is one transaction.

        Raises:
            LedgerUnavailable: they may not be recorded.
        """
        if not await self._read(lambda store: [one for one in changed if changes.differs(one, _mark(store, one))]):
            return 0

        def work(batch: Batch) -> int:
            recorded = 0
            for one in changed:
                mark = _mark(batch.tx, one)
                if changes.differs(one, mark):
                    event = changes.event_of(one, mark)
                    batch.append(event, self._draft(event))
                    batch.tx.save_mark(changes.mark_name(one.standing.aspect), changes.mark_of(one.standing))
                    recorded += 1
            return recorded

        count: int = await self._writer.submit(work)
        return count

    # --- ApprovalStore ---------------------------------------------------------------------------------------------------

    async def approval(self, approval_id: str) -> tuple[Approval, ...]:
        return await self._approvals(lambda store: store.approvals([approval_id], (), 1))

    async def live(self, request_key: str) -> tuple[Approval, ...]:
        now_ns = self._clock()
        return await self._approvals(lambda store: [row for row in store.approvals_for(request_key) if row.matters(now_ns)][:1])

    async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
        return await self._approvals(lambda store: store.approvals((), states, limit))

    async def grants(self, requester: str, target: str) -> tuple[Approval, ...]:
        return await self._approvals(lambda store: store.grants(requester, target))

    async def offers(self, request_key: str = "") -> tuple[Approval, ...]:
        return await self._approvals(lambda store: store.offers(request_key))

    async def open_items(self) -> tuple[Approval, ...]:
        found = await self._approvals(lambda store: store.exceptional_approvals())
        return tuple(approval for approval in found if approval.needs_review or approval.needs_resolution)

    async def changed(self, timeout_s: float) -> None:
        """`ApprovalStore.changed`. Returns at once if something changed since this task last read an approval."""
        known = _seen.get(None)
        await self._watch.beyond(await self._approvals_version() if known is None else known, timeout_s)

    # --- reading ---------------------------------------------------------------------------------------------------------

    async def search(self, query: Query) -> Sequence[StoredRecord]:
        """Return the newest records that match, the newest last."""
        return await self._read(lambda store: store.search(query))

    async def records_after(self, seq: int, limit: int) -> Sequence[StoredRecord]:
        """Return the oldest `limit` records behind that sequence number (-1: from the first), in order.

        Raises:
            LedgerUnavailable: the log cannot be read.
        """
        return await self._read(lambda store: store.records(seq + 1, limit))

    async def size(self) -> int:
        """Return how many records the log has.

        Raises:
            LedgerUnavailable: the log cannot be read.
        """
        return await self._read(lambda store: store.size())

    async def export_checkpoint(self) -> str:
        """Return the newest signed checkpoint, to be kept where the database's admin cannot reach it.

        Raises:
            ConfigError: it cannot be signed as it is to be signed for that.
            InvalidNote: it is altered.
            LedgerUnavailable: it cannot be read, or there is none yet.
        """
        for checkpoint in await self._read(lambda store: store.newest_checkpoint()):
            return await asyncio.to_thread(self._countersign, checkpoint.note)
        raise LedgerUnavailable("the log has no checkpoint yet: nothing was recorded")

    async def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Return the proof that the log of `first` records is the beginning of that of `second` (RFC 9162 section 2.1.4).

        Raises:
            LedgerUnavailable: it cannot be made.
            ValueError: the first is the longer one.
        """
        return await self._read(lambda store: consistency_proof(subtrees_of(store, second), first, second))

    # --- inside ----------------------------------------------------------------------------------------------------------

    async def _record(self, entry: EntryT) -> Sealed[EntryT]:
        drafted = self._draft(entry)
        keys = [key_of(call) for call in calls_of(entry)]
        batch, record = await self._writer.submit(lambda batch: (batch, batch.append(entry, drafted)), keys)
        return _sealed(entry, record, batch)

    def _draft(self, entry: Recordable) -> Draft:
        return draft(entry, node=self._node, context=self._context())

    async def _join(self, name: str, *, announce: bool) -> None:
        started = Event(kind="gateway.started", actor="gateway", facts={"name": name, "node": self._node})

        def work(batch: Batch) -> None:
            batch.tx.add_node(self._node, name, time.time_ns())
            if announce:
                batch.append(started, self._draft(started))
            self._bury(batch)

        await self._writer.submit(work)

    async def _leave(self, name: str, *, announce: bool) -> None:
        stopped = Event(kind="gateway.stopped", actor="gateway", facts={"name": name, "node": self._node})

        def work(batch: Batch) -> None:
            if announce:
                batch.append(stopped, self._draft(stopped))
            batch.tx.remove_node(self._node)

        try:
            await self._writer.submit(work)
        except LedgerUnavailable as error:
            logger.error("the gateway's end could not be recorded: %s", error)

    def _bury(self, batch: Batch) -> int:
        """Close the calls of nodes that are dead, or gone without closing them."""
        nodes, calls = batch.tx.nodes(), batch.tx.open_calls()
        others = {*nodes, *(call.node for call in calls)} - {self._node}
        dead = self._out_of_sight.dead(others - batch.tx.living(others))
        left = [call for call in calls if call.node in dead]
        self._close_calls(batch, left)
        for node in dead:
            batch.tx.remove_node(node)
        return len(left)

    def _close_calls(self, batch: Batch, calls: Sequence[OpenCall]) -> None:
        if calls:
            logger.warning("%d calls have an intent and no outcome: recording them as indeterminate", len(calls))
        for call in calls:
            entry = Indeterminate(
                call_id=call.call_id,
                intent_seq=call.seq,
                intent_node=call.node,
                approval_id=call.approval_id,
                reason="The process ended, or its store failed, before the outcome was recorded.",
            )
            batch.append(entry, self._draft(entry))

    def _committed(self, batch: Batch) -> None:
        """Called by the writer thread."""
        if batch.approvals_changed:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits on it
                self._loop.call_soon_threadsafe(self._watch.wake)

    def _told(self) -> None:
        """Called by a thread of the database: another process may have changed an approval."""
        with contextlib.suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._watch.look)

    async def _tend(self, *, sums_up: bool) -> None:
        """At the end of each window write what was counted in it, and what a process that died has left behind."""
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.window_s):
                    await self._closing.wait()
            await self._write_counts()
            with contextlib.suppress(LedgerUnavailable):  # the writer has logged it; the next round tries again
                await self._pay()
                await self.recover()
                await self.close_idle_sessions()
                await self.eraser.scrub()  # what a process that died has erased, or a reader was in the way of
                if sums_up:
                    await self.sum_up()

    async def _pay(self) -> None:
        """Record what is owed, of calls that are still open: a commit that seemed to fail may have been one.

        Raises:
            LedgerUnavailable: it is owed as before.
        """
        owed = dict(self._owed)
        if not owed:
            return

        def work(batch: Batch) -> None:
            standing = {call.call_id for call in batch.tx.open_calls()}
            for call_id in owed.keys() & standing:
                batch.append(owed[call_id], self._draft(owed[call_id]))

        await self._writer.submit(work)
        for call_id in owed:
            del self._owed[call_id]

    async def _write_counts(self) -> None:
        """Record what was counted since the last time, all pages or none; what cannot be recorded is counted on."""
        from_ns, now_ns = self._window_from_ns, time.time_ns()
        events = self._refusals.close_window(from_ns, now_ns)
        drafts = [(event, self._draft(event)) for event in events]

        def work(batch: Batch) -> None:
            for event, drafted in drafts:
                batch.append(event, drafted)

        try:
            if drafts:
                await self._writer.submit(work)
            self._window_from_ns = now_ns
        except LedgerUnavailable:
            for event in events:
                self._refusals.restore(event)

    async def _approvals(self, rows: Callable[[Reading], Sequence[ApprovalRow]]) -> tuple[Approval, ...]:
        version, found = await self._read(lambda store: (store.approvals_version(), assemble(store, rows(store))))
        _seen.set(version)
        return found

    async def _approvals_version(self) -> int:
        return await self._read(lambda store: store.approvals_version())

    async def _read(self, question: Callable[[Reading], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._ask, question)

    def _ask(self, question: Callable[[Reading], T]) -> T:
        """In the reader thread: one consistent view for the whole question."""
        store = self._reader = self._reader or self._connect()
        try:
            with store.snapshot():
                return question(store)
        except LedgerUnavailable:
            store.close()
            self._reader = None
            raise

    def _close(self) -> None:
        self._writer.stop()
        self._reading.shutdown()
        if self._reader is not None:
            self._reader.close()


def _mark(store: Reading | Transaction, changed: Changed) -> Sequence[str]:
    return store.mark(changes.mark_name(changed.standing.aspect))


def _unrecorded(outcome: Outcome) -> Outcome:
    """What the caller was told instead: that the answer is withheld."""
    reached = not isinstance(outcome.result, Failed) or outcome.result.reached
    reason = "The outcome could not be recorded when the call ended, so its answer was withheld."
    lost = Failed(code=FailureCode.UNRECORDED, reason=reason, reached=reached)
    return Outcome(intent=outcome.intent, result=lost, latency_ns=outcome.latency_ns)


def _sealed(entry: EntryT, record: Record, batch: Batch) -> Sealed[EntryT]:
    return Sealed(
        entry=entry,
        seq=record.seq,
        leaf_hash=record.hash.hex(),
        event_id=record.event_id,
        time_ns=record.time_ns,
        checkpoint=batch.note,
    )
