"""The log reaches a receiver whole and in order, whatever the receiver does; what it will never take is recorded."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from sink_parts import FAST, SECRET, Collector, MemoryLog, Row, seq_of

from mcpgw.core.entries import Event
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import Sealed
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.cursor import Cursor, CursorFile
from mcpgw.sinks.exporter import Exporter, open_exporter
from mcpgw.sinks.status import SinkStatus


def webhook(collector: Collector, **options: Any) -> WebhookSink:
    return WebhookSink(**{"name": "soc", "url": collector.url, "secret": SECRET, "max_events": 10, **options})


@asynccontextmanager
async def exporting(sink: WebhookSink, log: MemoryLog, folder: Path) -> AsyncIterator[Exporter]:
    async with (
        open_exporter([sink], log=log, cursors=partial(CursorFile, folder), pace=FAST) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        yield exporter
        tasks.cancel_scope.cancel()


async def until(exporter: Exporter, wanted: Any) -> SinkStatus:
    with anyio.fail_after(20):
        while True:
            (status,) = await exporter.status()
            if wanted(status):
                return status
            await anyio.sleep(0.01)


def drained(status: SinkStatus) -> bool:
    return status.lag == 0 and not status.problem


async def test_everything_arrives_once_and_in_order_while_all_is_well(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(25)
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, drained)
        log.fill(3)
        await collector.until_seqs(set(range(28)))
        await until(exporter, drained)
    assert collector.seqs == list(range(28))
    assert max(len(batch) for batch in collector.batches) == 10


async def test_a_restart_goes_on_where_it_ended(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(7)
    for _ in range(2):
        async with exporting(webhook(collector), log, tmp_path) as exporter:
            await until(exporter, drained)
        log.fill(4)
    assert collector.seqs == list(range(11))


async def test_a_receiver_that_is_down_for_long_loses_nothing_and_the_lag_is_a_number(
    log: MemoryLog, tmp_path: Path
) -> None:  # fmt: skip
    async with Collector().serving() as gone:
        pass  # its address is known, and nobody answers there any more
    log.fill(30)
    async with exporting(webhook(gone), log, tmp_path) as exporter:
        status = await until(exporter, lambda status: status.problem)
        assert (status.seq, status.lag, status.delivering) == (-1, 30, True)
        assert status.oldest_age_s > 10**8  # the test's records say that they are from 2001
        assert status.problem_since_ns > 0
        assert "no answer" in status.problem
        async with gone.serving(int(gone.url.split(":")[2].split("/")[0])):
            status = await until(exporter, drained)
    assert gone.seqs == list(range(30))
    assert (status.seq, status.oldest_age_s, status.problem_since_ns) == (29, 0.0, 0)


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
async def test_an_answer_about_the_receiver_makes_events_wait(
    status: int, log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(12)
    answers = iter([web.Response(status=status, headers={"Retry-After": "0", "Location": "/in"})] * 1)
    collector.behave = lambda events: next(answers, None)
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, drained)
    assert collector.seqs == list(range(12))
    assert log.kinds() == ["gateway.started"] * 12


async def test_an_event_that_is_refused_for_good_is_recorded_and_its_neighbours_arrive(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(10)
    collector.behave = lambda events: web.Response(status=400) if any(seq_of(event) == 6 for event in events) else None
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await collector.until_seqs({*range(6), *range(7, 11)})
        status = await until(exporter, drained)
    assert 6 not in collector.seqs
    assert status.refused == 1
    (failure,) = [event for event in collector.events if event["metadata"]["event_code"] == "sink.failed"]
    facts = failure["unmapped"]["mcpgw"]["facts"]
    lost = {"seq": 6, "kind": "gateway.started", "leaf_hash": log.rows[6].hash.hex(), "why": "the receiver answered 400"}
    assert facts == {"sink": "soc", "events": [lost]}
    assert failure["severity"] == "High"


async def test_a_receiver_that_refuses_everything_is_down_and_costs_no_event(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(10)
    collector.behave = lambda events: web.Response(status=400)
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        status = await until(exporter, lambda status: status.problem)
        assert "none is given up" in status.problem
        collector.behave = lambda events: None
        await until(exporter, drained)
    assert set(collector.seqs) == set(range(10))
    assert log.kinds() == ["gateway.started"] * 10


async def test_a_refused_event_that_is_alone_waits_until_it_can_be_compared(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(1)
    collector.behave = lambda events: web.Response(status=422) if any(seq_of(event) == 0 for event in events) else None
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, lambda status: status.problem)
        assert log.kinds() == ["gateway.started"]
        log.fill(1)
        await until(exporter, drained)
    assert log.kinds() == ["gateway.started", "gateway.started", "sink.failed"]


async def test_a_refused_failure_makes_no_further_failure_but_is_counted(
    log: MemoryLog, collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(events: list[dict[str, Any]]) -> web.Response | None:
        bad = any(seq_of(event) == 3 or event["metadata"]["event_code"] == "sink.failed" for event in events)
        return web.Response(status=400) if bad else None

    log.fill(10)
    collector.behave = refuse
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        with anyio.fail_after(20):
            await log.grown.wait()
        log.fill(1)  # something that the lonely failure can be compared with
        status = await until(exporter, drained)
    assert log.kinds().count("sink.failed") == 1
    assert status.refused == 2
    assert "event 10 (sink.failed) is not delivered" in caplog.text


async def test_a_batch_that_is_too_large_for_the_receiver_is_halved(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:  # fmt: skip
    log.fill(10)
    collector.behave = lambda events: web.Response(status=413) if len(events) > 3 else None
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, drained)
    assert set(collector.seqs) == set(range(10))
    assert "sink.failed" not in log.kinds()


async def test_batches_end_at_a_number_of_bytes(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(4)
    log.add(reason="x" * 5000)
    log.fill(4)
    async with exporting(webhook(collector, max_bytes=2500), log, tmp_path) as exporter:
        await until(exporter, drained)
    assert collector.seqs == list(range(9))
    assert max(len(body) for _, body in collector.requests) < 2600
    assert len(collector.batches) > 3


async def test_a_changed_record_does_not_leave_and_the_siem_is_told(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:  # fmt: skip
    log.fill(5)
    log.rows[2] = Row(2, log.rows[2].leaf.replace(b"gateway", b"gatewax"), log.rows[2].hash)
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await collector.until_seqs({0, 1, 3, 4, 5})
        await until(exporter, drained)
    assert log.kinds()[-1] == "sink.failed"
    assert b"does not have its hash" in log.rows[-1].leaf


async def test_a_log_of_which_nothing_can_be_read_still_moves_on(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:  # fmt: skip
    log.rows.append(Row(0, b"?", b"?"))
    async with exporting(webhook(collector), log, tmp_path):
        await collector.until_seqs({1})
    assert collector.seqs == [1]


async def test_a_new_sink_may_begin_behind_the_newest_record(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(5)
    async with exporting(webhook(collector, from_now=True), log, tmp_path) as exporter:
        await until(exporter, lambda status: status.seq == 4)
        log.fill(2)
        await until(exporter, drained)
    async with exporting(webhook(collector, from_now=True), log, tmp_path) as exporter:
        log.fill(1)
        await collector.until_seqs({7})
    assert collector.seqs == [5, 6, 7]


async def test_a_cursor_that_belongs_to_another_log_stops_the_sink_until_somebody_looks(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    log.fill(5)
    file = CursorFile(tmp_path, "soc")
    file.write(Cursor(seq=3, leaf_hash="00" * 32))
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        status = await until(exporter, lambda status: status.problem)
        assert "does not hold the record 3" in status.problem
        assert status.lag == 5
        await anyio.sleep(0.1)
        assert collector.batches == []
        file.write(Cursor(seq=3, leaf_hash=log.rows[3].hash.hex()))
        await collector.until_seqs({4})
    assert collector.seqs == [4]


async def test_a_damaged_cursor_is_reported_and_not_replaced(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(2)
    (tmp_path / "soc.json").write_text('{"v": 1, "seq":')
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        status = await until(exporter, lambda status: status.problem)
    assert "soc.json: the cursor cannot be understood" in status.problem
    assert collector.batches == []
    assert (tmp_path / "soc.json").read_text() == '{"v": 1, "seq":'


class FullLog(MemoryLog):
    """A log that cannot be written for a while."""

    full = True

    async def append(self, entry: Event) -> Sealed[Event]:
        if self.full:
            self.full = False
            raise LedgerUnavailable("the disk is full")
        return await super().append(entry)


async def test_nothing_is_passed_over_before_that_is_recorded(collector: Collector, tmp_path: Path) -> None:
    log = FullLog()
    log.fill(4)
    collector.behave = lambda events: web.Response(status=400) if any(seq_of(event) == 1 for event in events) else None
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, drained)
    assert log.kinds()[4:] == ["sink.failed"]


class BrokenLog(MemoryLog):
    broken = True

    async def records_after(self, seq: int, limit: int) -> Any:
        if self.broken:
            raise ZeroDivisionError("a secret that must not be shown")
        return await super().records_after(seq, limit)


async def until_problem(folder: Path, expected: str) -> None:
    with anyio.fail_after(20):
        while True:
            problem = CursorFile(folder, "soc").read().problem
            if (expected in problem) if expected else not problem:
                return
            await anyio.sleep(0.01)


async def test_an_error_of_our_own_is_a_problem_of_the_sink_and_never_of_the_gateway(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = BrokenLog()
    log.fill(2)
    with caplog.at_level(logging.WARNING):
        async with exporting(webhook(collector), log, tmp_path):
            await until_problem(tmp_path, "ZeroDivisionError")
            log.broken = False
            await collector.until_seqs({0, 1})
            log.broken = True  # with nothing left to send: the problem ends as well when the log can be read again
            await until_problem(tmp_path, "ZeroDivisionError")
            log.broken = False
            await until_problem(tmp_path, "")
    assert "a secret" not in (tmp_path / "soc.json").read_text()


async def test_one_sink_that_is_down_holds_up_no_other(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(5)
    down = replace(webhook(collector), name="down", url="http://127.0.0.1:9/")
    async with (
        open_exporter([down, webhook(collector)], log=log, cursors=partial(CursorFile, tmp_path), pace=FAST) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        await collector.until_seqs(set(range(5)))
        with anyio.fail_after(20):
            while True:
                if [bool(status.problem) for status in await exporter.status()] == [True, False]:
                    break
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_a_receiver_that_keeps_a_batch_and_then_says_no_gets_it_again_with_the_same_ids(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:
    seen: list[list[dict[str, Any]]] = []

    def keep_and_fail(events: list[dict[str, Any]]) -> web.Response | None:
        seen.append(events)
        return web.Response(status=503) if len(seen) % 2 else None

    log.fill(35)
    collector.behave = keep_and_fail
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await until(exporter, drained)
    kept = [event for batch in reversed(seen) for event in batch]  # doubled, and in another order
    by_uid = {event["metadata"]["uid"]: event for event in kept}
    assert len(kept) == 70
    assert [seq_of(event) for event in sorted(by_uid.values(), key=seq_of)] == list(range(35))
    assert {json.dumps(event) for event in kept} == {json.dumps(event) for event in by_uid.values()}


async def test_a_cursor_that_cannot_be_written_is_a_problem_and_the_batch_comes_again(
    log: MemoryLog, collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.fill(3)
    (tmp_path / "soc.new").mkdir()  # where the cursor's next version would be written
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await collector.until(lambda: len(collector.batches) >= 2)
        assert (await exporter.status())[0].lag == 3
        (tmp_path / "soc.new").rmdir()
        await until(exporter, drained)
    assert "the cursor cannot be written: Is a directory" in caplog.text
    assert set(collector.seqs) == {0, 1, 2}


async def test_a_process_in_standby_waits_for_the_lock(log: MemoryLog, collector: Collector, tmp_path: Path) -> None:
    log.fill(2)
    other = CursorFile(tmp_path, "soc")
    assert other.take()
    async with exporting(webhook(collector), log, tmp_path) as exporter:
        await anyio.sleep(0.1)
        assert collector.batches == []
        other.release()
        await until(exporter, drained)
    assert collector.seqs == [0, 1]


async def test_the_age_of_a_record_that_cannot_be_read_is_not_made_up(
    log: MemoryLog, collector: Collector, tmp_path: Path
) -> None:  # fmt: skip
    log.rows.append(Row(0, b"?", b"?"))
    async with open_exporter([webhook(collector)], log=log, cursors=partial(CursorFile, tmp_path)) as exporter:
        (status,) = await exporter.status()
    assert (status.lag, status.oldest_age_s) == (1, 0.0)
