"""Malformed frames and requests against a real listener and a real pipe, made from seeds: what no client should send.

`python -m tests.inbound.fuzz --count 1000000 --seed 1`. Promised is: nothing crashes, nothing hangs, every refusal of the MCP
doors is on record before its answer leaves, and memory stays flat. The doors behind the corridor are in memory.
"""

import argparse
import asyncio
import ctypes
import gc
import itertools
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from mcpgw.core.model import Sealed
from mcpgw.inbound.config import InboundConfig
from mcpgw.ports import EntryT
from tests.inbound.doors import MemoryJournal, World
from tests.inbound.raw import ACCEPT, INITIALIZE, legacy, modern, routing
from tests.inbound.wire import Live, listening, piped

HANG_S = 10.0
"""An answer that takes longer counts as none. The figures of a run say how long they really took."""
SLOW_S = 1.0
PARTS = 10
"""Of a run, each told of; sessions and streams are new in each."""
GROWTH_MB = 60
"""Of the process after the first tenth of a run, at most."""
_STREAM_S = 0.05
"""How long a stream that stands open is read before its client leaves."""
_CANARY = 100
"""After so many cases a connection's next request is a good one, which has to be answered."""
_REFUSED = frozenset({400, 401, 403, 404, 406, 408, 411, 413, 415, 421, 429, 503})
_BELOW = (b"Invalid HTTP request", b"Request head too large", b"Not Found", b"Method Not Allowed")
"""Answers of the HTTP layer to what is no request, or is for no door: no MCP refusal, so not on record."""
_TEXTS = (
    "",
    "x",
    "alice",
    "bank__echo",
    "\u0000",
    "\ud800",
    "\u202e",
    "\U0001f600",
    "é" * 300,
    "a" * 5000,
    "../..",
    "%00",
    "1",
    "{}",
)
_NAMES = ("bank__echo", "bank__alice", "bank__bob", "bank__denied", "bank__progress", "bank__none", "mcpgw__status", "")
_METHODS = (
    "tools/call", "tools/list", "prompts/get", "prompts/list", "resources/read", "resources/list", "resources/templates/list",
    "completion/complete", "logging/setLevel", "ping", "server/discover", "initialize", "notifications/initialized",
    "notifications/cancelled", "notifications/progress", "tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen",
    "resources/subscribe", "no/such", "", "__proto__",
)  # fmt: skip


# --- cases ---------------------------------------------------------------------------------------------------------------


def message(r: random.Random, *, is_modern: bool) -> dict[str, Any]:
    """Return a message that is right, or nearly."""
    method = r.choice(_METHODS)
    params: dict[str, Any] = {
        "tools/call": {"name": r.choice(_NAMES), "arguments": {"a": _value(r)}},
        "prompts/get": {"name": r.choice(_NAMES)},
        "resources/read": {"uri": r.choice(("mcpgw+bank+file:///a", "x", "ui://bank/a"))},
        "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}},
        "logging/setLevel": {"level": r.choice(("info", "shout"))},
        "tasks/get": {"taskId": "task_1"},
        "notifications/cancelled": {"requestId": r.randrange(5)},
    }.get(method, {})
    if is_modern:
        return modern(method, params) | {"id": r.randrange(1_000)}
    return legacy(method, params, None if method.startswith("notifications/") else r.randrange(1_000))


def _value(r: random.Random, depth: int = 0) -> Any:
    kind = r.randrange(9 if depth < 4 else 6)
    match kind:
        case 0 | 1:
            return r.choice(_TEXTS)
        case 2:
            return r.choice((0, -1, 2**53, 2**70, 1e308, 0.1, True, False, None))
        case 3 | 4 | 5:
            return r.getrandbits(30)
        case 6:
            return [_value(r, depth + 1) for _ in range(r.randrange(4))]
        case _:
            return {r.choice((*_TEXTS, "name", "_meta", "uri")): _value(r, depth + 1) for _ in range(r.randrange(4))}


def mutated(r: random.Random, value: Any) -> Any:
    """Change one thing somewhere in a message: take it, put another there, rename it, repeat it, go deeper."""
    if not isinstance(value, (dict, list)) or not value:
        return _value(r)
    keys: list[Any] = [*value] if isinstance(value, dict) else [*range(len(value))]
    key = r.choice(keys)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    match r.randrange(7):
        case 0:
            del copy[key]
        case 1:
            copy[key] = _value(r)
        case 2 if isinstance(copy, dict):
            copy[r.choice((str(key).upper(), str(key).title(), f"{key} ", "\u017f" + str(key)[1:]))] = copy.pop(key)
        case 3 if isinstance(copy, dict):
            copy[r.choice(("jsonrpc", "id", "method", "params", "result", "error", "_meta", "name", "Name"))] = _value(r)
        case 4:
            deep: Any = copy[key]
            for _ in range(r.choice((3, 60, 64, 65, 150))):
                deep = [deep] if r.random() < 0.5 else {"a": deep}
            copy[key] = deep
        case _:
            copy[key] = mutated(r, copy[key])
    return copy


def written(r: random.Random, value: Any) -> bytes:
    """Write a message down, perhaps not as JSON."""
    text = json.dumps(value, ensure_ascii=r.random() < 0.7)
    match r.randrange(30):
        case 0 if '"method"' in text:
            text = text.replace('"method"', '"method": "ping", "method"', 1)
        case 1:
            text = text.replace(": 1", r.choice((": NaN", ": 1e999", ": 01", ": " + "9" * 5000, ": -Infinity")), 1)
        case 2:
            text = r.choice(("[%s]", "[%s,%s]", "%s%s", "\ufeff%s", "%s\n", " %s ", "(%s)")).replace("%s", text)
        case 3:
            return text.encode(r.choice(("utf-16", "utf-32", "utf-16-le")), "surrogatepass")
        case _:
            pass
    data = text.encode("utf-8", "surrogatepass")
    return noisy(r, data) if r.random() < 0.15 else data


def noisy(r: random.Random, data: bytes) -> bytes:
    """Change bytes: flip, cut, repeat, insert."""
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 8))):
        at = r.randrange(len(out) + 1)
        match r.randrange(5):
            case 0:
                out[at : at + 1] = bytes([r.randrange(256)])
            case 1:
                del out[at : at + r.choice((1, 4, 100))]
            case 2:
                out[at:at] = out[max(0, at - r.choice((1, 10, 100))) : at]
            case 3:
                out[at:at] = r.randbytes(r.choice((1, 4, 64)))
            case _:
                out[at:at] = r.choice(
                    (b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b'"', b"\\u", b"\r\n\r\n", b"{" * 80)
                )
    return bytes(out)


@dataclass(slots=True)
class HttpCase:
    data: bytes
    is_whole: bool
    """Whether it has to be answered: its framing was left alone."""


def http_case(r: random.Random, door: str, session: str) -> HttpCase:
    """Return one request for a door of the gateway, in bytes."""
    is_modern = door == "/mcp" and r.random() < 0.6
    built = message(r, is_modern=is_modern)
    headers = {**ACCEPT, "Host": "127.0.0.1:1", "Authorization": "Bearer " + r.choice(("alice-key", "alice-key", "bob-key"))}
    if is_modern:
        name = built["params"].get("name") or built["params"].get("uri", "")
        headers |= routing(built["method"], name if name.isprintable() else "")
    elif session:
        headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    changed: Any = built
    for _ in range(r.choice((0, 0, 0, 1, 1, 2, 4))):
        changed = mutated(r, changed)
    body = written(r, changed) if r.random() < 0.97 else r.choice((b"", b"{", b"x" * 1_100_000, r.randbytes(200)))
    if r.random() < 0.2:
        _worsen(r, headers)
    method = r.choices(("POST", "GET", "DELETE", "PUT"), (95, 2, 2, 1))[0]
    path = door if r.random() < 0.97 else r.choice((f"{door}/", f"{door}?token=x", f"{door}%00", "/", "/readyz", "//mcp"))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1", "replace")
    match r.randrange(60):
        case 0:
            return HttpCase(noisy(r, head) + body, is_whole=False)
        case 1:
            return HttpCase((head + body)[: r.randrange(len(head + body))], is_whole=False)
        case 2:
            framing = r.choice(
                (b"Content-Length: 99999", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Content-Length: 1")
            )
            return HttpCase(head.replace(f"Content-Length: {len(body)}".encode(), framing) + body, is_whole=False)
        case _:
            return HttpCase(head + body, is_whole=True)


def _worsen(r: random.Random, headers: dict[str, str]) -> None:
    name = r.choice([*headers])
    match r.randrange(6):
        case 0:
            del headers[name]
        case 1:
            headers[name] = r.choice(
                (" x ", "\u00e9\u00ff", "a" * 3000, "text/html", "evil.example", "gzip", "1", "bank__other")
            )
        case 2:
            headers[name.upper() + " "[: r.randrange(2)]] = headers[name]
        case 3:
            extra = r.choice(("Content-Encoding", "Origin", "Mcp-Name", "Mcp-Method", "Last-Event-ID", "Expect", "Upgrade"))
            headers[extra] = r.choice(("gzip", "http://evil.example", "x", "100-continue", "websocket"))
        case 4:
            headers["Authorization"] = r.choice(
                ("Bearer", "Bearer nobody", "Basic YTpi", "Bearer a b", "Bearer " + "x" * 40_000)
            )
        case _:
            headers["MCP-Protocol-Version"] = r.choice(("2026-07-28", "2024-11-05", "1999-01-01", "", "x" * 200))


# --- the run -------------------------------------------------------------------------------------------------------------


class Counting(MemoryJournal):
    """Counts what is recorded by the address that it came from, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.by_address: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._seq = itertools.count(1)

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        await anyio.lowlevel.checkpoint()
        made: Any = entry
        shown = getattr(made, "shown", None)
        call = getattr(made, "call", None) or getattr(shown, "call", None)
        origin = getattr(made, "origin", None) or getattr(call, "origin", None)
        self.by_address[origin.address if origin else ""] += 1
        self.kinds[type(entry).__name__] += 1
        seq = next(self._seq)
        return Sealed(entry=entry, seq=seq, leaf_hash=f"{seq:064x}", event_id=f"evt_{seq}", time_ns=seq)


class Crashes(logging.Handler):
    """What was logged as an error: nothing that a client sends may be one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.seen) < 20:
            self.seen.append(logging.Formatter().format(record))


@dataclass
class Tally:
    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    times_ms: Counter[int] = field(default_factory=Counter)
    """Answers by how long they took. Were each kept, they would take more memory than what is watched."""
    hangs: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    records: int = 0
    before_mb: float = 0.0
    after_mb: float = 0.0

    def took(self, seconds: float) -> None:
        self.times_ms[round(seconds * 1e3)] += 1

    def quantile_ms(self, share: float) -> int:
        left = int(share * self.times_ms.total())
        for took_ms, count in sorted(self.times_ms.items()):
            left -= count
            if left < 0:
                return took_ms
        return max(self.times_ms, default=0)

    @property
    def problems(self) -> list[str]:
        """Every broken promise."""
        grown = self.after_mb - self.before_mb
        return [
            *(f"crash: {one}" for one in self.crashes),
            *(f"hang: {one}" for one in self.hangs),
            *(f"unrecorded: {one}" for one in self.unrecorded),
            *([f"memory grew by {grown:.0f} MB"] if grown > GROWTH_MB else []),
        ]

    def __str__(self) -> str:
        slow = sum(count for took_ms, count in self.times_ms.items() if took_ms > SLOW_S * 1e3)
        answers = ", ".join(f"{count} {status}" for status, count in self.statuses.most_common(12))
        return (
            f"{self.cases} cases ({answers}), {self.records} records\n"
            f"p50 {self.quantile_ms(0.5)} ms, p99.99 {self.quantile_ms(0.9999)} ms,"
            f" longest {self.quantile_ms(1)} ms, {slow} over {SLOW_S:g} s\n"
            f"memory {self.before_mb:.0f} MB after a tenth, {self.after_mb:.0f} MB at the end\n"
            f"{len(self.crashes)} crashes, {len(self.hangs)} hangs, {len(self.unrecorded)} unrecorded refusals"
        )


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[bytes, bytes]
    closes: bool


class Attacker:
    """One client with an address of its own (127.0.1.N), so that what it causes to be recorded can be told from the others'."""

    def __init__(self, number: int, live: Live, journal: Counting, tally: Tally) -> None:
        self.address = f"127.0.1.{number}"
        self._live = live
        self._journal = journal
        self._tally = tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None  # None while not connected

    async def run(self, door: str, seeds: range) -> None:
        session = ""
        for position, seed in enumerate(seeds):
            if position % _CANARY == 0:
                session = await self._good(seed)
            case = http_case(random.Random(seed), door, session)
            await self._send(case, seed)
            self._tally.cases += 1
        self._leave()

    async def _good(self, seed: int) -> str:
        """Send what has to be answered, whatever came before; return the new session, if there was room for one."""
        self._leave()
        body = json.dumps(INITIALIZE).encode()
        headers = {**ACCEPT, "Host": "127.0.0.1:1", "Authorization": "Bearer alice-key", "Content-Length": str(len(body))}
        head = "\r\n".join(["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""])
        answer = await self._exchange(HttpCase(head.encode() + body, is_whole=True), seed)
        if answer is None or answer.status not in (200, 429, 503):
            self._tally.hangs.append(f"seed {seed}: a good request got {answer}")
            return ""
        return answer.headers.get(b"mcp-session-id", b"").decode()

    async def _send(self, case: HttpCase, seed: int) -> None:
        before = self._journal.by_address[self.address]
        answer = await self._exchange(case, seed)
        if answer is None:
            self._tally.statuses["none"] += 1
            return
        self._tally.statuses[str(answer.status)] += 1
        if answer.status >= 500 and answer.status != 503:
            self._tally.crashes.append(f"seed {seed}: HTTP {answer.status}: {answer.body[:200]!r} to {case.data[:2_000]!r}")
        if _is_on_record(answer) and self._journal.by_address[self.address] == before:
            self._tally.unrecorded.append(f"seed {seed}: HTTP {answer.status}: {answer.body[:200]!r}")

    async def _exchange(self, case: HttpCase, seed: int) -> Answer | None:
        """Return the answer; None where there was none, which is a hang if there had to be one."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(HANG_S if case.is_whole else 0.05):
                if self._streams is None:
                    made = asyncio.open_connection("127.0.0.1", self._live.listener.port, local_addr=(self.address, 0))
                    self._streams = await made
                reader, writer = self._streams
                writer.write(case.data)
                answer = await _answer_from(reader)
        except TimeoutError:
            if case.is_whole:
                self._tally.hangs.append(f"seed {seed}: no answer in {HANG_S:g} s: {case.data[:300]!r}")
            self._leave()
            return None
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self._leave()  # it closed the connection: an answer to what is no HTTP
            return None
        if case.is_whole:
            self._tally.took(time.perf_counter() - began)
        if answer.closes or not case.is_whole:
            self._leave()
        return answer

    def _leave(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None


def _is_on_record(answer: Answer) -> bool:
    """Tell whether the answer is a refusal that docs/ledger.md promises on record: all but those below HTTP and -32601."""
    if answer.status not in _REFUSED or answer.body.startswith(_BELOW):
        return False
    with suppress(ValueError, LookupError, TypeError):
        return bool(json.loads(answer.body)["error"]["code"] != -32601)
    return True


async def _answer_from(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.rstrip().split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    status = int(first.split()[1])
    if status == 100:
        return await _answer_from(reader)
    closes = headers.get(b"connection", b"").lower() == b"close"
    if headers.get(b"transfer-encoding") != b"chunked":
        return Answer(status, await reader.readexactly(int(headers.get(b"content-length", b"0"))), headers, closes)
    body = b""
    try:
        async with asyncio.timeout(_STREAM_S if headers.get(b"content-type", b"").startswith(b"text/event") else HANG_S):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
    except TimeoutError:
        closes = True  # a stream that stands open
    return Answer(status, body, headers, closes)


@asynccontextmanager
async def sse_door(live: Live) -> AsyncIterator[str]:
    """Open a stream of HTTP+SSE, read it for as long as this lasts, and yield where to post."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.listener.port)
    writer.write(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer alice-key\r\n\r\n")
    line = b""
    while not line.startswith(b"data: "):
        line = await asyncio.wait_for(reader.readline(), HANG_S)

    async def read() -> None:
        while await reader.read(65_536):
            pass

    reading = asyncio.create_task(read())
    try:
        yield line.removeprefix(b"data: ").strip().decode()
    finally:
        reading.cancel()
        writer.transport.abort()


async def over_stdio(world: World, journal: Counting, tally: Tally, seeds: range) -> None:
    """Write lines; after each the answer to a good one has to come, and each refusal among the answers be on record."""
    async with piped(world.server(), world, "alice-key") as (writer, lines):
        reading = lines.__aiter__()

        def put(data: bytes) -> None:
            writer.write(data)
            writer.flush()

        for seed in seeds:
            r = random.Random(seed)
            value: Any = message(r, is_modern=r.random() < 0.5)
            for _ in range(r.choice((0, 1, 1, 2))):
                value = mutated(r, value)
            line = written(r, value).replace(b"\n", b" ")
            before, refused = journal.by_address[""], 0
            began = time.perf_counter()
            good = {"jsonrpc": "2.0", "id": f"good-{seed}", "method": "ping"}
            await anyio.to_thread.run_sync(put, line + b"\n" + json.dumps(good).encode() + b"\n")
            answer: dict[str, Any] = {}
            try:
                async with asyncio.timeout(HANG_S):
                    while answer.get("id") != good["id"]:
                        answer = json.loads(await reading.__anext__())
                        refused += "error" in answer and answer["id"] is None
            except TimeoutError:
                tally.hangs.append(f"stdio, seed {seed}: no answer in {HANG_S:g} s: {line[:300]!r}")
                return
            tally.took(time.perf_counter() - began)
            if refused > journal.by_address[""] - before:
                tally.unrecorded.append(f"stdio, seed {seed}: {line[:200]!r}")
            tally.cases += 1
            tally.statuses["stdio"] += 1


async def run(
    count: int, first: int = 0, told: Callable[[str], object] = lambda _: None, journal: Counting | None = None
) -> Tally:
    """Send `count` cases: nine in ten over Streamable HTTP of both eras, the rest over HTTP+SSE and stdio."""
    tally = Tally()
    journal = journal or Counting()
    crashes = Crashes()
    config = InboundConfig(version="0", body_timeout_s=1.0, session_idle_s=30.0, max_sessions_per_identity=60)
    world = World(journal=journal, config=config)
    logging.getLogger().addHandler(crashes)
    try:
        async with listening(world) as live:
            for part in range(PARTS):
                begin, end = (first + count * number // PARTS for number in (part, part + 1))
                await _attack(live, world, journal, tally, range(begin, end))
                told(str(tally))
    finally:
        logging.getLogger().removeHandler(crashes)
    tally.crashes += crashes.seen
    return tally


async def _attack(live: Live, world: World, journal: Counting, tally: Tally, seeds: range) -> None:
    """Send the cases of these seeds, and note the memory after them."""
    share = max(1, len(seeds) // 20)
    async with sse_door(live) as posts, anyio.create_task_group() as tasks:
        tasks.start_soon(over_stdio, World(config=world.config, journal=journal), journal, tally, seeds[:share])
        tasks.start_soon(Attacker(99, live, journal, tally).run, posts, seeds[share : 2 * share])
        for number in range(6):
            tasks.start_soon(Attacker(number + 1, live, journal, tally).run, "/mcp", seeds[2 * share :][number::6])
    world.upstreams.calls.clear()
    gc.collect()
    give_back()
    tally.before_mb, tally.after_mb = (tally.before_mb or resident_mb()), resident_mb()
    tally.records = sum(journal.kinds.values())


def give_back() -> None:
    """Have the C library give back what is free, where it can: what it keeps for later grows with chance, and is no leak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def resident_mb() -> float:
    """Return this process's memory; 0 where that is not known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 / 1e6 if statm.exists() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz_wire", description="Send what no MCP client should send.")
    parser.add_argument("--count", type=int, default=1_000_000, help="cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    tally = anyio.run(run, options.count, options.seed, lambda text: print(text, flush=True))
    print(f"in {time.monotonic() - began:.0f} s")
    for problem in tally.problems:
        print(problem)
    sys.exit(1 if tally.problems else 0)


if __name__ == "__main__":
    main()
