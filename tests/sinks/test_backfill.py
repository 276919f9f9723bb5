"""A range is sent again, with patience, and a changed record in it is named."""

import pytest
from aiohttp import web
from sink_parts import FAST, SECRET, Collector, MemoryLog, Row

from mcpgw.sinks.backfill import backfill, first_since
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.receiver import SinkUnavailable


async def sent(collector: Collector, log: MemoryLog, first: int, last: int) -> tuple[list[int], list[int]]:
    """Return the numbers at which batches ended, and those of the records that were refused."""
    feed = WebhookSink(name="soc", url=collector.url, secret=SECRET, max_events=4)
    ends, refused = [], []
    async with open_receiver(feed) as receiver:
        async for end, events in backfill(feed, receiver, log, first=first, last=last, pace=FAST):
            ends.append(end)
            refused += [event.seq for event in events]
    return ends, refused


async def test_exactly_the_range_is_sent(log: MemoryLog, collector: Collector) -> None:
    log.fill(20)
    assert await sent(collector, log, 3, 12) == ([6, 10, 12], [])
    assert collector.seqs == list(range(3, 13))


async def test_a_range_beyond_the_log_ends_with_the_log(log: MemoryLog, collector: Collector) -> None:
    log.fill(3)
    assert await sent(collector, log, 2, 99) == ([2], [])


async def test_a_changed_record_is_named(log: MemoryLog, collector: Collector) -> None:
    log.fill(2)
    log.rows.append(Row(2, b"?", b"?"))
    assert await sent(collector, log, 2, 2) == ([2], [2])


async def test_a_receiver_that_stumbles_is_tried_again_and_one_that_is_gone_is_given_up(
    log: MemoryLog, collector: Collector
) -> None:
    log.fill(3)
    answers = iter([web.Response(status=503)])
    collector.behave = lambda events: next(answers, None)
    assert await sent(collector, log, 0, 2) == ([2], [])
    collector.behave = lambda events: web.Response(status=503)
    with pytest.raises(SinkUnavailable, match="503"):
        await sent(collector, log, 0, 2)
    assert len(collector.requests) == 2 + 8


async def test_a_time_is_found_by_halving(log: MemoryLog) -> None:
    log.fill(100)
    assert [await first_since(log, 10**18 + n) for n in (-5, 0, 37, 99, 100)] == [0, 0, 37, 99, 100]
    assert await first_since(MemoryLog(), 0) == 0
