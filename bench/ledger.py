"""What durable records cost: many callers, one writer, group commit, on both stores; and what it costs to verify them all."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio

from bench.ledger_stores import Place, database, empty, places
from bench.machine import sync_times
from bench.made_log import CONTEXT, ORIGIN, RULING, TEXT, make_log, reply, shown
from bench.processes import cost
from bench.report import Cell, Findings, median, percentile, ratio
from mcpgw.core.model import (
    Allow,
    Intent,
    Outcome,
)
from mcpgw.ledger import Ledger
from mcpgw.ledger.backup import back_up, restore

_PROCESSES, _CALLERS = (1, 2, 4), (1, 64, 256)
_VERIFIED = 1_000_000
"""Records; 2,000 in the short mode, which starts no further processes."""
_COMMIT = 4
"""Records in each commit of the log that is verified: as many signatures are a part of what verifying costs."""


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    folder.mkdir(parents=True)
    with places(folder) as found:
        yield _durable(folder, found, short=short)
        yield _verified(folder, found, 2_000 if short else _VERIFIED)


def _durable(folder: Path, found: list[Place], *, short: bool) -> Findings:
    rounds, seconds = (1, 0.2) if short else (3, 1.5)
    loads = [(1, 1), (2, 8)] if short else [(processes, callers) for processes in _PROCESSES for callers in _CALLERS]
    keys = [(place, processes, callers) for place in found for processes, callers in loads]
    durable: dict[tuple[Place, int, int], list[Figures]] = {key: [] for key in keys}
    synced: list[list[float]] = []
    bare: list[list[float]] = []
    for _ in range(rounds):
        synced.append(sync_times(folder, 50 if short else 300))
        bare.append(_bare_commits(folder, 50 if short else 300))
        for place, processes, callers in keys:
            durable[place, processes, callers].append(_appends(place, processes, callers, seconds))
    rows: list[tuple[Cell, ...]] = [
        _alone("4 KB append and fdatasync", synced),
        _alone("SQLite alone: one small row, synchronous=FULL", bare),
    ]
    for (place, processes, callers), came in durable.items():
        who = f"{callers} caller{'s' * (callers > 1)}" + (f" in each of {processes} processes" if processes > 1 else "")
        rate, p50, p99, both = (median([figures[index] for figures in came]) for index in range(4))
        one = median([figures[1] for figures in durable[place, 1, 1]])
        rows.append((f"{place.name}, {who}", rate, p50 * 1e3, p99 * 1e3, both * 1e3, ratio(p50, one)))
    note = (
        f"Medians of {rounds} interleaved rounds. Half of the appends are intents, half outcomes, as calls write them; a call "
        "waits for one of each."
    )
    columns = ("what", "appends/s", "p50 ms", "p99 ms", "both of a call, p50 ms", "p50, of one caller's")
    return Findings(title="ledger: durable appends", columns=columns, rows=tuple(rows), note=note)


def _verified(folder: Path, found: list[Place], count: int) -> Findings:
    """Make a log on the first store, bring it to the others by a backup, and verify each as a person does."""
    source = folder / "verified"
    rows: list[tuple[Cell, ...]] = []
    for place in found:
        if not rows:
            empty(place)
            make_log(place.database(), place.keys, count, commit=_COMMIT)
            with closing(place.database().connect_read_only()) as store:
                back_up(store, source)
        else:
            empty(place)
            for key in place.keys.glob("ledger.*"):
                key.write_bytes((found[0].keys / key.name).read_bytes())
            with closing(place.database().connect()) as store:
                restore(store, source)
        seconds, cpu, memory = _verify(place)
        rows.append((f"mcpgw verify, {place.name}", count, seconds, count / seconds, cpu, memory))
    note = (
        f"Each record with its payloads, a signed checkpoint over every {_COMMIT}. CPU and memory of all its processes "
        "together, without the database's own."
    )
    columns = ("what", "records", "seconds", "records/s", "CPU s", "peak RSS MB")
    return Findings(title="ledger: verification", columns=columns, rows=tuple(rows), note=note)


def _verify(place: Place) -> tuple[float, float, float]:
    """Run `mcpgw verify`; return its seconds, the CPU seconds of its processes, and their greatest memory together in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mcpgw", "verify", "--json"]
    peak = cpu = 0.0
    with (place.folder / "report.json").open("wb") as out:
        process = subprocess.Popen(command, cwd=place.folder, stdout=out, env=_environ())
        while process.poll() is None:
            now = cost(process.pid)
            peak, cpu = max(peak, now.rss_mb), max(cpu, now.cpu_ms / 1e3)
            time.sleep(0.05)
    report = json.loads((place.folder / "report.json").read_text())
    if not report["ok"]:
        raise RuntimeError(f"the log does not verify: {report['problems'][:3]}")
    return time.perf_counter() - began, cpu, peak


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def _alone(name: str, rounds: list[list[float]]) -> tuple[Cell, ...]:
    rate = median([len(times) / sum(times) for times in rounds])
    p50, p99 = (median([percentile(times, share) for times in rounds]) for share in (0.5, 0.99))
    return name, rate, p50 * 1e3, p99 * 1e3, None, None


def _bare_commits(folder: Path, count: int) -> list[float]:
    taken: list[float] = []
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as store:
        store.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t (x)")
        for _ in range(count):
            began = time.perf_counter()
            store.execute("INSERT INTO t VALUES (?)", (TEXT,))
            taken.append(time.perf_counter() - began)
    return taken


Figures = tuple[float, float, float, float]
"""Appends per second of all processes; p50 and p99 of one append, and p50 of the two of a call, in seconds."""


def _appends(place: Place, processes: int, callers: int, seconds: float) -> Figures:
    """Append in so many processes at once."""
    command = [sys.executable, "-m", "bench.ledger", str(place.folder), place.address, str(callers), str(seconds)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environ())
        for _ in range(processes)
    ]
    for process in started:
        if process.stdout is None or process.stdout.readline() != "open\n":
            raise RuntimeError("the ledger could not be opened; see above")
    for process in started:
        if process.stdin is not None:
            process.stdin.write("go\n")
            process.stdin.flush()
    came = [json.loads(process.communicate()[0]) for process in started]
    p50, p99, both = (median([one[name] for one in came]) for name in ("p50", "p99", "both"))
    return sum(one["rate"] for one in came), p50, p99, both


# --- in a process of its own ---------------------------------------------------------------------------------------------


async def _work(folder: Path, address: str, callers: int, seconds: float) -> None:
    kept_in = database(folder, address)
    data, keys = folder / "data", folder / "keys"
    async with Ledger.open(data, keys, origin=ORIGIN, context=lambda: CONTEXT, database=kept_in) as ledger:
        taken: list[tuple[float, float]] = []
        spent = 0.0
        for warm in (True, False):
            if not warm:
                print("open", flush=True)
                await anyio.to_thread.run_sync(sys.stdin.readline)
            taken.clear()
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(callers):
                    tasks.start_soon(_calls, ledger, taken, began + (0.2 if warm else seconds))
            spent = time.perf_counter() - began
    each = [one for pair in taken for one in pair]
    found = {"p50": percentile(each, 0.5), "p99": percentile(each, 0.99), "both": percentile([*map(sum, taken)], 0.5)}
    print(json.dumps({"rate": len(each) / spent, **found}))


async def _calls(ledger: Ledger, taken: list[tuple[float, float]], end: float) -> None:
    while time.perf_counter() < end:
        call, done = shown(0), reply(0)
        began = time.perf_counter()
        intent = await ledger.append(Intent(shown=call, allow=Allow(ruling=RULING)))
        between = time.perf_counter()
        await ledger.append(Outcome(intent=intent, result=done, latency_ns={"upstream": 1_000_000}))
        taken.append((between - began, time.perf_counter() - between))


if __name__ == "__main__":
    anyio.run(_work, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), backend_options={"use_uvloop": True})
