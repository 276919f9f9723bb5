"""Gateways on several hosts that share a log: one delivers to a sink, wherever it runs, and another goes on where it ended."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from ledger_parts import Open, intent
from stores import Kept, KeptInPostgres, verified

from mcpgw.app.cursors import SharedCursor, cursors
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.projections import compare
from mcpgw.ledger.store import SHARED
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.cursor import Cursor, CursorFile
from mcpgw.sinks.exporter import Exporter, open_exporter
from tests.sinks.sink_parts import FAST, SECRET, Collector

pytestmark = pytest.mark.postgres


def host(kept: Kept, tmp_path: Path, name: str) -> SharedCursor:
    """Return the cursor as a gateway on another host has it, with a folder of its own."""
    keep = cursors(kept.database(), tmp_path / name)("soc")
    assert isinstance(keep, SharedCursor)
    return keep


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not await anyio.to_thread.run_sync(done):  # noqa: ASYNC110 - a database tells nobody
            await anyio.sleep(0.05)


@asynccontextmanager
async def gateway(kept: Kept, tmp_path: Path, name: str, collector: Collector, open_ledger: Open) -> AsyncIterator[Exporter]:
    sink = WebhookSink(name="soc", url=collector.url, secret=SECRET, max_events=5)
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(node=name, announce=False))
        keep = cursors(kept.database(), tmp_path / name)
        exporter = await stack.enter_async_context(open_exporter([sink], log=ledger, cursors=keep, pace=FAST))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(exporter.run)
        yield exporter
        tasks.cancel_scope.cancel()


async def test_of_two_hosts_one_delivers_and_the_other_goes_on_where_it_ended(
    kept: Kept, tmp_path: Path, open_ledger: Open
) -> None:
    async with Collector().serving() as collector, open_ledger(node="writer", announce=False) as ledger:
        async with gateway(kept, tmp_path, "b", collector, open_ledger):
            async with gateway(kept, tmp_path, "a", collector, open_ledger) as exporter:
                for _ in range(30):
                    await ledger.append(intent())
                await collector.until_seqs(set(range(30)))
                await until(lambda: host(kept, tmp_path, "c").read().seq >= 29)
                assert [one.delivering for one in await exporter.status()] == [True]
            for _ in range(10):
                await ledger.append(intent())
            await collector.until_seqs(set(range(40)))
            await until(lambda: host(kept, tmp_path, "c").read().seq >= 39)
        assert collector.seqs == sorted(set(collector.seqs)), "in order, and each once"
    with closing(kept.database().connect_read_only()) as store:
        assert json.loads(store.marks()[f"{SHARED}sink.soc"])["seq"] >= 39
        assert compare(store) == [], "a cursor is no projection of the records"
    assert not verified(kept).problems
    assert not host(kept, tmp_path, "a").is_taken()


async def test_a_host_that_loses_its_connection_may_move_the_cursor_no_more(kept: Kept, tmp_path: Path) -> None:
    assert isinstance(kept, KeptInPostgres)
    one, other = host(kept, tmp_path, "a"), host(kept, tmp_path, "b")
    assert one.take() and not other.take() and other.is_taken()
    one.write(Cursor(seq=7, leaf_hash="ab"))
    assert (other.read().seq, other.exists) == (7, True)
    with pytest.raises(LedgerUnavailable, match="another node"):
        other.write(Cursor(seq=3))
    kept.server.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    await until(other.take)
    other.write(Cursor(seq=9, leaf_hash="cd"))
    with pytest.raises(LedgerUnavailable):
        one.write(Cursor(seq=8, leaf_hash="ef"))
    assert not one.is_mine and not one.take() and one.read().seq == 9
    other.release()
    assert one.take()
    one.release()


async def test_a_host_that_delivered_by_itself_before_begins_where_it_was(kept: Kept, tmp_path: Path) -> None:
    CursorFile(tmp_path / "a", "soc").write(Cursor(seq=5, leaf_hash="ab"))
    one = host(kept, tmp_path, "a")
    assert (one.read().seq, one.exists) == (5, True)
    assert (host(kept, tmp_path, "b").read(), host(kept, tmp_path, "b").exists) == (Cursor(), False)
    assert one.take()
    one.write(Cursor(seq=6, leaf_hash="cd"))
    one.release()
    assert host(kept, tmp_path, "b").read().seq == 6
    assert isinstance(kept, KeptInPostgres)
    kept.server.run(f"UPDATE mcpgw.marks SET value = 'x' WHERE name = '{SHARED}sink.soc'", "mcpgw")
    with pytest.raises(ConfigError, match="the cursor of soc in the database"):
        one.read()
