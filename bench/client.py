"""A client that costs little and the same for everybody: JSON-RPC frames made by hand, over HTTP or a pipe."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
_INFO = {"name": "bench", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_LONGEST_LINE = 1_000_000


class Wrong(Exception):
    """A contender did not answer the call: its figures would be worthless."""


class Caller(ABC):
    """One client. Calls of different tasks may overlap."""

    def __init__(self, tool: str, texts: Sequence[str], era: str) -> None:
        self._tool = tool
        self._texts = itertools.cycle(texts)
        self._ids = itertools.count(1)
        self._era = era

    @abstractmethod
    async def call(self) -> None:
        """Call the tool once.

        Raises:
            Wrong: the answer is no result.
        """

    def request(self, method: str, params: dict[str, Any]) -> tuple[int, bytes]:
        number = next(self._ids)
        if self._era == MODERN:
            params = {**params, "_meta": _META}
        return number, orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    def echo(self) -> tuple[int, bytes]:
        return self.request("tools/call", {"name": self._tool, "arguments": {"text": next(self._texts)}})


def check(answer: Any) -> None:
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict) or result.get("isError") or not result["content"][0]["text"].startswith("Ticket "):
        raise Wrong(str(answer)[:500])


INITIALIZE = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _INFO}
INITIALIZED = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})


class HttpCaller(Caller):
    """Streamable HTTP. Use `http_caller`."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, tool: str, texts: Sequence[str], era: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(tool, texts, era)
        self._http = http
        self._url = url
        self._headers = {
            **headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": era,
        }
        self.received = b""
        """The last answer's body."""
        if era == MODERN:
            self._headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}

    def is_about(self, method: str) -> None:
        """Say in the head of each request that it has another method, which names nothing."""
        self._headers.pop("Mcp-Name")
        self._headers["Mcp-Method"] = method

    async def call(self) -> None:
        _, body = self.echo()
        check(await self._post(body))

    async def _post(self, body: bytes) -> Any:
        async with self._http.post(self._url, data=body, headers=self._headers) as response:
            raw = self.received = await response.read()
            session = response.headers.get("Mcp-Session-Id")
            if session:
                self._headers["Mcp-Session-Id"] = session
            if not response.ok:
                raise Wrong(f"HTTP {response.status}: {raw[:500]!r}")
            if response.content_type == "text/event-stream":
                raw = _last_event(raw)
            return orjson.loads(raw) if raw else {}

    async def handshake(self) -> None:
        if self._era == LEGACY:
            headers, self._headers = self._headers, {k: v for k, v in self._headers.items() if k != "MCP-Protocol-Version"}
            await self._post(self.request("initialize", INITIALIZE)[1])
            self._headers = {**headers, **self._headers}
            await self._post(INITIALIZED)


def _last_event(raw: bytes) -> bytes:
    """Return the data of the last event of an answer's stream."""
    return [line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:") and len(line) > 6][-1]


@asynccontextmanager
async def http_caller(
    url: str, tool: str, texts: Sequence[str], era: str, headers: Mapping[str, str]
) -> AsyncIterator[HttpCaller]:
    """Connect, with as many connections as there are calls at a time."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        caller = HttpCaller(http, url, tool, texts, era, headers)
        await caller.handshake()
        yield caller


class PipeCaller(Caller):
    """A server on stdio, spoken to directly. Use `pipe_caller`."""

    def __init__(self, process: Process, tool: str, texts: Sequence[str], era: str) -> None:
        super().__init__(tool, texts, era)
        self.pid = process.pid
        if process.stdin is None or process.stdout is None:
            raise Wrong("the process has no pipes")
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._writing = anyio.Lock()
        self._answers: dict[int, Any] = {}
        self._events: dict[int, anyio.Event] = {}

    async def call(self) -> None:
        check(await self._ask(*self.echo()))

    async def read(self) -> None:
        while True:
            try:
                answer = orjson.loads(await self._stdout.receive_until(b"\n", _LONGEST_LINE))
            except anyio.IncompleteRead:
                return
            if event := self._events.pop(answer.get("id", 0), None):
                self._answers[answer["id"]] = answer
                event.set()

    async def handshake(self) -> None:
        if self._era == LEGACY:
            await self._ask(*self.request("initialize", INITIALIZE))
            await self._stdin.send(INITIALIZED + b"\n")

    async def _ask(self, number: int, body: bytes) -> Any:
        event = self._events[number] = anyio.Event()
        async with self._writing:
            await self._stdin.send(body + b"\n")
        await event.wait()
        return self._answers.pop(number)


@asynccontextmanager
async def pipe_caller(
    command: Sequence[str], folder: Path, tool: str, texts: Sequence[str], era: str
) -> AsyncIterator[PipeCaller]:
    async with await anyio.open_process(command, cwd=folder, stderr=None) as process, anyio.create_task_group() as tasks:
        caller = PipeCaller(process, tool, texts, era)
        tasks.start_soon(caller.read)
        with anyio.fail_after(30):
            await caller.handshake()
        yield caller
        process.kill()
        tasks.cancel_scope.cancel()


Dial = AbstractAsyncContextManager[Caller]


@dataclass(frozen=True, slots=True)
class Load:
    """What one stretch of calls came to."""

    calls: int
    seconds: float
    latencies_s: tuple[float, ...]


async def load(caller: Caller, clients: int, seconds: float) -> Load:
    """Call in so many tasks at once, each again as soon as it is answered, for about so long."""
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def client() -> None:
        now = time.perf_counter()
        while now < end:
            await caller.call()
            done = time.perf_counter()
            latencies.append(done - now)
            now = done

    async with anyio.create_task_group() as tasks:
        for _ in range(clients):
            tasks.start_soon(client)
    return Load(len(latencies), time.perf_counter() - began, tuple(latencies))
