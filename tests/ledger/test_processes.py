"""Several processes on one folder: one dense sequence, whatever becomes of them."""

import signal
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from ledger_parts import Open, buried, intent, outcome
from stores import Kept, verified

from mcpgw.ledger import FloodLimits, Query

APPENDER = Path(__file__).with_name("appender.py")


async def start(kept: Kept, *count: str) -> Process:
    return await anyio.open_process([sys.executable, str(APPENDER), str(kept.folder), kept.address, *count], stderr=None)


async def acknowledged(process: Process, enough: int = 10**9) -> list[list[str]]:
    """Return what the process printed, whole lines only: to its end, or until there is enough."""
    text = ""
    assert process.stdout is not None
    async for chunk in TextReceiveStream(process.stdout):
        text += chunk
        if text.count("\n") >= enough:
            break
    return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]


def hashes(kept: Kept) -> dict[int, str]:
    with closing(kept.database().connect_read_only()) as store:
        return {record.seq: record.hash.hex() for record in store.records(0, 10**6)}


@pytest.mark.parametrize("processes", [2, 4])
async def test_processes_that_append_at_once_share_one_dense_sequence(processes: int, kept: Kept) -> None:
    seen: list[list[str]] = []

    async def run() -> None:
        async with await start(kept, "80") as process:
            seen.extend(await acknowledged(process))
        assert process.returncode == 0

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(processes):
                tasks.start_soon(run)
    stored = hashes(kept)
    assert len(seen) == processes * 160
    # They share one session, which one of them opens.
    assert {int(seq) for _, seq, _ in seen} < set(stored) == set(range(1 + processes * 162))
    assert all(stored[int(seq)] == leaf_hash for _, seq, leaf_hash in seen)
    assert verified(kept).ok


@pytest.mark.parametrize("killed_after", [1, 15, 40])
async def test_after_a_kill_nothing_acknowledged_is_lost_and_open_calls_are_indeterminate(
    killed_after: int, kept: Kept, open_ledger: Open
) -> None:
    with anyio.fail_after(60):
        async with await start(kept) as process:
            seen = await acknowledged(process, killed_after)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        stored = hashes(kept)
        assert all(stored[int(seq)] == leaf_hash for _, seq, leaf_hash in seen)
        async with open_ledger() as ledger:
            await buried(ledger)
            records = await ledger.search(Query(kind="call.*", limit=10**6))
    ends: dict[str, list[str]] = {}
    for record in records:
        ends.setdefault(str(record.index["call_id"]), []).append(str(record.index["kind"]))
    assert all(kinds in (["call.intent", "call.outcome"], ["call.intent", "call.indeterminate"]) for kinds in ends.values())
    assert any(kinds[-1] == "call.indeterminate" for kinds in ends.values())
    assert verified(kept).ok


async def test_the_calls_of_a_living_process_are_left_alone(open_ledger: Open) -> None:
    async with open_ledger(node="serve") as serve:
        one = await serve.append(intent())
        async with open_ledger(node="stdio") as stdio:
            assert await stdio.recover() == 0
            assert await stdio.search(Query(kind="call.indeterminate")) == []
        await serve.append(outcome(one))
    async with open_ledger() as again:
        assert await again.search(Query(kind="call.indeterminate")) == []


async def test_a_process_that_lives_on_records_what_another_left_behind(kept: Kept, open_ledger: Open) -> None:
    async with open_ledger(limits=FloodLimits(window_s=0.1)) as ledger:
        with anyio.fail_after(60):
            async with await start(kept) as process:
                await acknowledged(process, 5)
                process.send_signal(signal.SIGKILL)
                await process.wait()
            while not await ledger.search(Query(kind="call.indeterminate")):  # noqa: ASYNC110 - a database has no event
                await anyio.sleep(0.02)
        assert await ledger.recover() == 0
        if kept.kind == "sqlite":
            nodes = kept.folder / "data" / "nodes"
            assert list(nodes.iterdir()) == [nodes / ledger.node_id]


async def test_starting_and_stopping_leave_records(open_ledger: Open) -> None:
    async with open_ledger(node="serve"):
        pass
    async with open_ledger(node="cli", announce=False) as ledger:
        found = await ledger.search(Query())
        assert [record.index["kind"] for record in found] == ["gateway.started", "gateway.stopped"]
