"""The SIEM's hard hour: the collector is down while the load of an hour is recorded; then it answers late, wrongly and twice,
and what it keeps is out of order. Nothing may be lost, and the order must come back.

The hour is simulated: its records are written as fast as the ledger takes them. While the lag drains, calls go on being
recorded at the hour's rate. `hour.py --rate 20` is the long run; the test of the same name runs a short one.
"""

import argparse
import contextlib
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "ledger"), str(HERE.parent.parent)]

import anyio  # noqa: E402 - the path comes first, as this is run as a script
from aiohttp import web  # noqa: E402
from anyio.abc import Process  # noqa: E402
from ledger_parts import CONTEXT, ORIGIN, intent, outcome  # noqa: E402
from sink_parts import SECRET, Collector  # noqa: E402

from mcpgw.ledger import Ledger, create_keys  # noqa: E402
from mcpgw.sinks.config import WebhookSink  # noqa: E402
from mcpgw.sinks.cursor import CursorFile  # noqa: E402
from mcpgw.sinks.exporter import Exporter, open_exporter  # noqa: E402
from mcpgw.sinks.pace import Pace  # noqa: E402

PACE = Pace(poll_s=0.02, first_retry_s=0.05, longest_retry_s=0.5, outage_s=0.1)
_WRITERS = 64
_BOUND_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the hour came to."""

    records: int
    written_s: float
    lag: int
    """Records that waited when the collector came back."""
    drained_s: float
    meanwhile: int
    """Records that came while it drained."""
    received: int
    """Events that the collector kept, duplicates among them."""
    disordered: int
    """Events that it kept before one of a smaller number."""
    lost: int
    in_order: bool
    """Whether dropping duplicates by uid and sorting by sequence gives the log."""

    @property
    def drain(self) -> float:
        """Records delivered for each one that comes meanwhile."""
        return (self.lag + self.meanwhile) / max(1, self.meanwhile)

    def __str__(self) -> str:
        delivered = self.lag + self.meanwhile
        return (
            f"{self.records} records, written in {self.written_s:.1f} s.\n"
            f"{self.lag} waited when the collector came back, and were delivered in {self.drained_s:.1f} s "
            f"({delivered / self.drained_s:.0f}/s),\nwhile {self.meanwhile} came: {self.drain:.0f} times the input.\n"
            f"The collector kept {self.received} events, {self.received - self.records} of them duplicates, {self.disordered} "
            f"out of order.\nLost: {self.lost}. Order restored: {'yes' if self.in_order else 'NO'}."
        )


async def hour(folder: Path, *, rate: float, minutes: int, seed: int) -> Found:
    """Live through it, in an empty folder."""
    create_keys(folder / "keys", ORIGIN)
    (folder / "data").mkdir()
    kept = folder / "kept.jsonl"
    down = folder / "down"
    down.touch()
    async with (
        Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT) as ledger,
        collecting(kept, down, seed) as url,
        open_exporter(
            [WebhookSink(name="soc", url=url, secret=SECRET, max_events=100)],
            log=ledger,
            cursors=partial(CursorFile, folder / "data/sinks"),
            pace=PACE,
        ) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        began = time.monotonic()
        await written(ledger, round(rate * minutes * 60))
        written_s = time.monotonic() - began
        (status,) = await exporter.status()
        assert status.problem, "the sink says that nothing moves"
        assert status.seq == -1, "what is not acknowledged is not passed over"
        down.unlink()
        lag, began = await ledger.size(), time.monotonic()
        with anyio.CancelScope() as scope:
            tasks.start_soon(going_on, ledger, rate, scope)
            await until_lag(exporter, 1)
            drained_s = time.monotonic() - began
            meanwhile = await ledger.size() - lag
            scope.cancel()
        await until_lag(exporter, 0)
        size = await ledger.size()
        log = [record.hash.hex() for at in range(0, size, 1000) for record in await ledger.records_after(at - 1, 1000)]
        await until_kept(kept, set(log))
        tasks.cancel_scope.cancel()
    return examined(kept, log, lag=lag, written_s=written_s, drained_s=drained_s, meanwhile=meanwhile)


def examined(kept: Path, log: list[str], **measured: Any) -> Found:
    """Do what a SIEM does: drop duplicates by uid, sort by sequence."""
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    sequences = [line["sequence"] for line in lines]
    unique = {line["uid"]: line["sequence"] for line in lines}
    restored = [uid for uid, _ in sorted(unique.items(), key=lambda item: item[1])]
    return Found(
        records=len(log),
        received=len(lines),
        disordered=sum(later < earlier for earlier, later in itertools.pairwise(sequences)),
        lost=len(set(log) - set(unique)),
        in_order=restored == log,
        **measured,
    )


async def written(ledger: Ledger, count: int) -> None:
    """Record so many intents and outcomes, as fast as the ledger takes them."""

    async def write(mine: int) -> None:
        for number in range(0, mine, 2):
            sealed = await ledger.append(intent())
            if number + 1 < mine:
                await ledger.append(outcome(sealed))

    async with anyio.create_task_group() as tasks:
        for writer in range(_WRITERS):
            tasks.start_soon(write, count // _WRITERS + (writer < count % _WRITERS))


async def going_on(ledger: Ledger, rate: float, until: anyio.CancelScope) -> None:
    while not until.cancel_called:
        await ledger.append(intent())
        await anyio.sleep(1 / rate)


async def until_lag(exporter: Exporter, lag: int) -> None:
    with anyio.fail_after(_BOUND_S):
        while (await exporter.status())[0].lag > lag:  # noqa: ASYNC110 - another process moves it, and tells nobody
            await anyio.sleep(0.02)


async def until_kept(kept: Path, uids: set[str]) -> None:
    """Wait until the collector's queue is empty. What it lacks then is lost."""
    with anyio.move_on_after(10):
        while True:
            found = {json.loads(line)["uid"] for line in (await anyio.Path(kept).read_text()).splitlines()}
            if uids <= found:
                return
            await anyio.sleep(0.2)


@asynccontextmanager
async def collecting(kept: Path, down: Path, seed: int) -> AsyncIterator[str]:
    """Start the collector, a process of its own, and yield its address."""
    command = [sys.executable, __file__, "--collect", str(kept), "--down", str(down), "--seed", str(seed)]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            yield await _address(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _address(process: Process) -> str:
    assert process.stdout is not None
    with anyio.fail_after(60):
        return (await process.stdout.receive()).decode().strip()


async def collect(kept: Path, down: Path, seed: int) -> None:
    """Keep what comes, shuffled and some of it twice; refuse while `down` is there. Answers are now and then the wrong ones."""
    chance = random.Random(seed)
    late: list[dict[str, Any]] = []
    """A batch that is kept after the next one, or after a while: what a queue with two workers makes of it."""

    with kept.open("a") as file:

        def keep(events: list[dict[str, Any]]) -> None:
            chance.shuffle(events)
            twice = [event for event in events if chance.random() < 0.05]
            file.writelines(json.dumps(_told(event)) + "\n" for event in (*events, *twice))
            file.flush()

        def behave(events: list[dict[str, Any]]) -> web.Response | None:
            if down.exists():
                return web.Response(status=503)
            luck = chance.random()
            if luck < 0.05:
                return web.Response(status=429, headers={"Retry-After": "0"})
            before, late[:] = [*late], events if luck < 0.3 else []
            keep([] if late else events)
            keep(before)
            return web.Response(status=500) if luck > 0.9 else None  # kept, and told to come again

        collector = Collector()
        collector.behave = behave
        async with collector.serving():
            print(collector.url, flush=True)
            while True:
                await anyio.sleep(0.2)
                keep([*late])
                late.clear()


def _told(event: dict[str, Any]) -> dict[str, Any]:
    return {"uid": event["metadata"]["uid"], "sequence": event["metadata"]["sequence"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0, help="records a second of the hour (20)")
    parser.add_argument("--minutes", type=int, default=60, help="simulated (60)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--collect", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--down", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.collect:
        anyio.run(collect, asked.collect, asked.down, asked.seed)
    logging.disable(logging.WARNING)  # each wrong answer is one
    print(f"{asked.minutes} minutes at {asked.rate:g} records a second, seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = anyio.run(lambda: hour(Path(folder), rate=asked.rate, minutes=asked.minutes, seed=asked.seed))
    print(found)
    return 0 if found.in_order and not found.lost and found.drain >= 10 else 1


if __name__ == "__main__":
    sys.exit(main())
