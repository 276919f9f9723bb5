"""How far a sink is behind, for whoever asks: any process, from the cursor and the log alone."""

import json
import time
from dataclasses import dataclass

from anyio import to_thread

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.config import Feed
from mcpgw.sinks.cursor import Cursor, CursorKeep
from mcpgw.sinks.outbox import FIRST, Outbox, OutboxRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """One sink at one moment."""

    name: str
    kind: str
    delivering: bool
    """Whether a process has it in hand; it may be failing all the same."""
    seq: int
    """The last record that is settled; -1 before the first."""
    lag: int
    """Records behind the log's end."""
    oldest_age_s: float
    """Age of the oldest record that waits; 0 where none does."""
    refused: int
    """Events that the receiver refused for good, ever. Each is in a `sink.failed` record."""
    problem: str
    """Why nothing moves; empty while all is well."""
    problem_since_ns: int


async def sink_status(feed: Feed, file: CursorKeep, outbox: Outbox) -> SinkStatus:
    """Return how a sink stands. A damaged or foreign cursor is the sink's problem, and all records wait.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    problem = ""
    try:
        cursor = await to_thread.run_sync(file.read)
        await require_same_log(cursor, outbox, feed.name)
    except ConfigError as error:
        cursor, problem = Cursor(), f"{error} {error.hint}"
    waiting = await outbox.records_after(cursor.seq, 1)
    return SinkStatus(
        name=feed.name,
        kind=feed.kind,
        delivering=await to_thread.run_sync(file.is_taken),
        seq=cursor.seq,
        lag=max(0, await outbox.size() - 1 - cursor.seq),
        oldest_age_s=max(0.0, time.time() - _time_s(waiting[0])) if waiting else 0.0,
        refused=cursor.refused,
        problem=problem or cursor.problem,
        problem_since_ns=cursor.problem_since_ns,
    )


async def require_same_log(cursor: Cursor, outbox: Outbox, name: str) -> None:
    """Return if the log holds what the cursor says was delivered.

    Raises:
        ConfigError: it does not: another log, an older copy of it, or a rewritten one.
    """
    if cursor.seq == FIRST:
        return
    found = await outbox.records_after(cursor.seq - 1, 1)
    if [(record.seq, record.hash.hex()) for record in found] != [(cursor.seq, cursor.leaf_hash)]:
        hint = "Was the data folder restored? Run `mcpgw verify`; then remove the cursor to send everything again."
        raise ConfigError(f"the log does not hold the record {cursor.seq} that was delivered", where=f"sink {name}", hint=hint)


def _time_s(record: OutboxRecord) -> float:
    try:
        return int(json.loads(record.leaf)["time_ns"]) / 1e9
    except (ValueError, KeyError, TypeError):
        return time.time()  # damaged: its age is not known
