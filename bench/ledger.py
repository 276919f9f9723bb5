"""What durable records cost: many callers, one writer, group commit; beside the disk and SQLite by themselves."""

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

from bench.contenders import mcpgw
from bench.machine import sync_times
from bench.report import Cell, Findings, median, percentile, ratio
from mcpgw.core.model import (
    Allow,
    Call,
    CleanJson,
    CleanReply,
    Commitment,
    Identity,
    IdentityKind,
    Intent,
    Manifest,
    Masked,
    Origin,
    Outcome,
    ReplyKind,
    Ruling,
    ShownCall,
    Target,
    TargetKind,
)
from mcpgw.ledger import Ledger, RecordContext, new_id

CONTEXT = RecordContext(version="bench", config_hash="c0" * 32, catalog_hash="ca" * 32)
_ORIGIN = "bench.example/ledger"
_IDENTITY = Identity(subject="bench", issuer="mcpgw", kind=IdentityKind.AGENT, method="api_key", groups=frozenset({"staff"}))
_TARGET = Target(
    kind=TargetKind.TOOL,
    name="bank__lookup",
    server="bank",
    server_fingerprint="ab" * 32,
    upstream_name="lookup",
    definition={"name": "lookup"},
    definition_hash="cd" * 32,
)
_MASKED = (Masked("EMAIL", "content[*].text", "pattern.email@1", 1),)
_MANIFEST = Manifest(profile="default", profile_hash="ff" * 32, masked=_MASKED)
_TEXT = "Ticket 00000000. Please send the statement to <EMAIL> before Friday. " * 2


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    rounds, seconds = (1, 0.3) if short else (4, 1.5)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'[ledger]\norigin = "{_ORIGIN}"\n')
    mcpgw(folder, "init", ".")
    loads = [(1, 1), (1, 64), (1, 256), (2, 64)]
    durable: dict[tuple[int, int], list[tuple[float, float, float]]] = {load: [] for load in loads}
    synced: list[list[float]] = []
    bare: list[list[float]] = []
    for _ in range(rounds):
        synced.append(sync_times(folder, 50 if short else 300))
        bare.append(_bare_commits(folder, 50 if short else 300))
        for processes, callers in loads:
            durable[processes, callers].append(_appends(folder, processes, callers, seconds))
    rows: list[tuple[Cell, ...]] = [
        _alone("4 KB append and fdatasync", synced),
        _alone("SQLite alone: one small row, synchronous=FULL", bare),
    ]
    one = median([p50 for _, p50, _ in durable[1, 1]])
    for (processes, callers), came in durable.items():
        who = f"{callers} caller{'s' * (callers > 1)}" + (f" in each of {processes} processes" if processes > 1 else "")
        rate, p50, p99 = (median([figures[index] for figures in came]) for index in range(3))
        rows.append((f"ledger, {who}", rate, p50 * 1e3, p99 * 1e3, ratio(p50, one)))
    note = (
        f"Medians of {rounds} interleaved rounds. Half of the appends are intents, half outcomes, as calls write them. "
        f"Two of them, which is what a call waits for when it is alone: {2 * one * 1e3:.2f} ms."
    )
    columns = ("what", "appends/s", "p50 ms", "p99 ms", "p50, of one caller's")
    yield Findings(title="ledger: durable appends", columns=columns, rows=tuple(rows), note=note)


def _alone(name: str, rounds: list[list[float]]) -> tuple[str, float, float, float, None]:
    rate = median([len(times) / sum(times) for times in rounds])
    p50, p99 = (median([percentile(times, share) for times in rounds]) for share in (0.5, 0.99))
    return name, rate, p50 * 1e3, p99 * 1e3, None


def _bare_commits(folder: Path, count: int) -> list[float]:
    taken: list[float] = []
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as store:
        store.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t (x)")
        for _ in range(count):
            began = time.perf_counter()
            store.execute("INSERT INTO t VALUES (?)", (_TEXT,))
            taken.append(time.perf_counter() - began)
    return taken


def _appends(folder: Path, processes: int, callers: int, seconds: float) -> tuple[float, float, float]:
    """Append in so many processes at once; return appends per second of all, and p50 and p99 in seconds."""
    command = [sys.executable, "-m", "bench.ledger", str(folder), str(callers), str(seconds)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
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
    return sum(one["rate"] for one in came), median([one["p50"] for one in came]), median([one["p99"] for one in came])


# --- in a process of its own ---------------------------------------------------------------------------------------------


async def _work(folder: Path, callers: int, seconds: float) -> None:
    keys = folder / "keys"
    async with Ledger.open(folder / "data", keys, origin=_ORIGIN, context=lambda: CONTEXT) as ledger:
        taken: list[float] = []
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
    print(json.dumps({"rate": len(taken) / spent, "p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}))


async def _calls(ledger: Ledger, taken: list[float], end: float) -> None:
    while time.perf_counter() < end:
        shown = _shown()
        began = time.perf_counter()
        intent = await ledger.append(Intent(shown=shown, allow=Allow(ruling=_RULING)))
        between = time.perf_counter()
        await ledger.append(Outcome(intent=intent, result=_reply(), latency_ns={"upstream": 1_000_000}))
        taken += [between - began, time.perf_counter() - between]


_RULING = Ruling(rule_ids=("r1",), reason="", policy_hash="ee" * 32)


def _shown() -> ShownCall:
    origin = Origin(transport="http", protocol_version="2026-07-28", request_id="1", address="127.0.0.1", client="bench/1")
    call = Call(id=new_id(), identity=_IDENTITY, target=_TARGET, arguments={}, origin=origin, received_ns=time.time_ns())
    raw = Commitment(digest="0a" * 32, salt=b"s" * 32, size=150)
    return ShownCall(call=call, arguments=CleanJson({"text": _TEXT}), raw=raw, manifest=_MANIFEST)


def _reply() -> CleanReply:
    raw = Commitment(digest="0b" * 32, salt=b"t" * 32, size=200)
    payload = CleanJson({"content": [{"type": "text", "text": _TEXT}]})
    return CleanReply(kind=ReplyKind.RESULT, payload=payload, raw=raw, manifest=_MANIFEST)


if __name__ == "__main__":
    anyio.run(_work, Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), backend_options={"use_uvloop": True})
