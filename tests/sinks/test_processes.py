"""Several gateways on one folder: one delivers, another takes over when it dies, and nothing is lost in between."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio.abc import Process
from ledger_parts import intent
from sink_parts import SECRET, Collector, seq_of

from mcpgw.ledger import Ledger
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.cursor import CursorFile
from mcpgw.sinks.exporter import open_exporter
from mcpgw.sinks.pace import Pace

HERE = Path(__file__).parent
CALM = Pace(poll_s=0.01, first_retry_s=0.1, longest_retry_s=1.0)
"""Every try reads and maps a batch: a receiver that is down for a test's seconds should not cost the test its processor."""


@asynccontextmanager
async def deliverer(folder: Path, collector: Collector) -> AsyncIterator[Process]:
    command = [sys.executable, str(HERE / "deliverer.py"), str(folder), collector.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "ledger")])}
    async with await anyio.open_process(command, stderr=None, env=environment) as process:
        assert process.stdout is not None
        try:
            with anyio.fail_after(20):
                assert (await process.stdout.receive()).startswith(b"ready")
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def fill(ledger: Ledger, count: int) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(ledger.append, intent())


async def until_cursor(folder: Path, seq: int) -> None:
    """A process that is killed before its cursor has moved sends its last batch again, rightly."""
    with anyio.fail_after(20):
        while True:
            if CursorFile(folder / "data" / "sinks", "soc").read().seq == seq:
                return
            await anyio.sleep(0.01)


@pytest.mark.parametrize("kept", [True, False], ids=["taken and not answered", "neither taken nor answered"])
async def test_a_process_that_is_killed_in_the_middle_of_a_batch_loses_nothing(
    kept: bool, ledger: Ledger, folder: Path, collector: Collector
) -> None:
    await fill(ledger, 100)
    size = await ledger.size()
    before_death: list[int] = []

    async with deliverer(folder, collector) as first:

        def kill_in_the_third_batch(events: list[dict[str, Any]]) -> web.Response | None:
            if len(collector.batches) < 2:
                return None
            if kept:  # the receiver has them for good, and the process will never know
                collector.batches.append(events)
            before_death.extend(collector.seqs)
            first.send_signal(signal.SIGKILL)
            collector.behave = lambda events: None
            return web.Response(status=500)

        collector.behave = kill_in_the_third_batch
        with anyio.fail_after(20):
            assert await first.wait() == -signal.SIGKILL
    assert CursorFile(folder / "data" / "sinks", "soc").read().seq < size - 1

    async with deliverer(folder, collector):
        await collector.until_seqs(set(range(size)))
    doubled = len(collector.seqs) - len(set(collector.seqs))
    assert doubled == (20 if kept else 0)
    assert sorted(set(collector.seqs)) == list(range(size))


@pytest.mark.slow
async def test_of_two_processes_one_delivers_and_the_other_takes_over(
    ledger: Ledger, folder: Path, collector: Collector
) -> None:
    await fill(ledger, 50)
    async with deliverer(folder, collector) as one:
        await collector.until_seqs(set(range(50)))
        async with deliverer(folder, collector) as two:
            await fill(ledger, 50)
            await collector.until_seqs(set(range(100)))
            await until_cursor(folder, await ledger.size() - 1)
            one.send_signal(signal.SIGKILL)
            with anyio.fail_after(20):
                await one.wait()
            await fill(ledger, 50)
            size = await ledger.size()
            await collector.until_seqs(set(range(size)))
            assert two.returncode is None
    assert collector.seqs == list(range(size))  # in order, and none twice: they never delivered at the same time


async def test_an_hour_of_records_arrives_whole_after_the_sink_was_down(ledger: Ledger, folder: Path) -> None:
    async with Collector().serving() as collector:
        pass  # down from the first record on
    sink = WebhookSink(name="soc", url=collector.url, secret=SECRET)
    async with (
        open_exporter([sink], log=ledger, cursors=partial(CursorFile, folder / "data" / "sinks"), pace=CALM) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        await fill(ledger, 5000)
        with anyio.fail_after(20):
            while True:
                (status,) = await exporter.status()
                if status.problem:
                    break
                await anyio.sleep(0.01)
        assert "no answer" in status.problem
        assert status.lag == await ledger.size() >= 5000
        troubles = iter([500, 200, 429, 200, 503] * 4)

        def stumble(events: list[dict[str, Any]]) -> web.Response | None:
            collector.batches.append(events)  # whatever it answers, it has kept them
            return web.Response(status=next(troubles, 200))

        collector.behave = stumble
        async with collector.serving(int(collector.url.split(":")[2].split("/")[0])):
            began = anyio.current_time()
            await collector.until_seqs(set(range(5000)))
            took = anyio.current_time() - began
        tasks.cancel_scope.cancel()
    once = {event["metadata"]["uid"]: event for event in collector.events}
    size = await ledger.size()
    assert len(collector.events) > size  # some came twice
    assert [seq_of(event) for event in sorted(once.values(), key=seq_of)] == list(range(size))
    assert took < 3600 / 10, "an hour's records should drain at ten times the speed at which they came, at least"
