"""Sending again what was sent before, without moving the cursor; and one event that means nothing, to try a connection."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anyio

from mcpgw.sinks.config import Feed
from mcpgw.sinks.delivery import next_batch
from mcpgw.sinks.ocsf import CATEGORY_UID, CLASS_UID, OCSF_VERSION
from mcpgw.sinks.outbox import Outbox, OutgoingEvent, outgoing
from mcpgw.sinks.pace import Pace
from mcpgw.sinks.receiver import Receiver, SinkUnavailable
from mcpgw.sinks.sift import RefusedEvent, send_sifted

_TRIES = 8
"""For one batch: about a minute of patience, with a person waiting."""


async def backfill(
    feed: Feed, receiver: Receiver, outbox: Outbox, *, first: int, last: int, pace: Pace
) -> AsyncIterator[tuple[int, tuple[RefusedEvent, ...]]]:
    """Send the records `first` to `last` (both included); yield, for each batch, its last record and what was refused in it.

    Raises:
        SinkUnavailable: a batch was not acknowledged in several tries. Begin again behind the last number that was yielded.
        LedgerUnavailable: the log cannot be read.
    """
    after = first - 1
    while after < last:
        records = await outbox.records_after(after, min(feed.max_events, last - after))
        if not records:
            return
        batch = await next_batch(records, feed)
        refused = batch.damaged
        if batch.events:
            refused += await _patiently(receiver, batch.events, pace)
        after = batch.last.seq
        yield after, refused


async def _patiently(receiver: Receiver, events: tuple[OutgoingEvent, ...], pace: Pace) -> tuple[RefusedEvent, ...]:
    for failures in range(1, _TRIES):
        try:
            return await send_sifted(receiver, events)
        except SinkUnavailable as error:
            await anyio.sleep(pace.pause(failures, error.retry_after_s))
    return await send_sifted(receiver, events)


async def first_since(outbox: Outbox, time_ns: int) -> int:
    """Return the number of the first record that is not older; the log's size if all are. Halves its way there.

    Clocks may step back a little between records, so the answer is exact only as far as the clocks were.
    """
    low, high = 0, await outbox.size()
    while low < high:
        middle = (low + high) // 2
        (record,) = await outbox.records_after(middle - 1, 1)
        if int(json.loads(record.leaf)["time_ns"]) < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


def trial_event(log: str, version: str) -> OutgoingEvent:
    """Return an event that says of itself that it is a test. It has no place in the log, so its uid is no leaf hash."""
    now_ns = time.time_ns()
    event: dict[str, Any] = {
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "activity_id": 99,
        "activity_name": "sink.test",
        "type_uid": CLASS_UID * 100 + 99,
        "type_name": "API Activity: Other",
        "time": now_ns // 10**6,
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 1,
        "status": "Success",
        "message": "A test by `mcpgw siem test`: nothing happened.",
        "metadata": {
            "version": OCSF_VERSION,
            "uid": f"test-{uuid.uuid4()}",
            "event_code": "sink.test",
            "labels": ["test"],
            "product": {"name": "mcpgw", "vendor_name": "mcpgw", "version": version},
            "log_name": log,
            "log_provider": "mcpgw",
        },
        "actor": {"user": {"name": "admin", "uid": "admin", "type_id": 2, "type": "Admin"}},
        "api": {"operation": "sink.test", "service": {"name": "mcpgw"}},
        "src_endpoint": {"name": "mcpgw"},
        "unmapped": {"mcpgw": {"test": True}},
    }
    return outgoing(event, seq=-1, time_ns=now_ns)
