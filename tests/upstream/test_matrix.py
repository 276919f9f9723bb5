"""Each way to misbehave, over each transport: one outcome, in bounded memory and time, and the server beside it goes on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import RawNotice
from mcpgw.upstream import Limits
from tests.real_servers import odd_server
from tests.servers.odd_server import flood, text
from tests.upstream.raw_http import RawHttp, Request, begin_stream, event, serving, write
from tests.upstream.test_misbehaving_sse import RawSse
from tests.upstream.world import World, http, pool_of, sse, stdio, texts

LIMITS = Limits(backoff_first_s=0.05, backoff_ceiling_s=0.2, stop_s=0.5, drain_s=0.2)
MOST_GROWTH = 120_000_000
"""Bytes of memory that 100 MB of nonsense may take for a while: a message has up to 20 MB, and is copied a few times."""
FLOODS = ("flood_progress", "flood_logs", "flood_pings", "flood_answers")
Say = Callable[[bytes], Awaitable[None]]


async def misbehave(how: str, request: Request, say: Say) -> None:
    """Send on a stream of messages what the odd server sends on its lines."""
    answer = {"jsonrpc": "2.0", "id": request.body["id"], "result": text("flooded")}
    match how:
        case "huge_line":
            for _ in range(100):
                await say(b"data: " + b"x" * 1_000_000)
            await say(b"\n\n")
        case "drip":
            await say(b"data: ")
            while True:
                await say(b"x")
                await anyio.sleep(0.02)
        case "half":
            await say(b'data: {"jsonrpc":"2.0","id"')
            raise ConnectionError
        case "invalid_json" | "invalid_utf8":
            broken = b"{]" if how == "invalid_json" else b'{"x":"\xff"}'
            await say(b'data: {"jsonrpc":"2.0","id":%d,"result":%s}\n\n' % (request.body["id"], broken))
        case "twice":
            await say(event(answer | {"result": text("first")}) + event(answer))
        case "wrong_id":
            for wrong in (None, "x", str(request.body["id"]), request.body["id"] + 1_000_000, True, 1.5):
                await say(event(answer | {"id": wrong, "result": text("wrong")}))
            await say(event(answer | {"result": text("right")}))
        case _:
            for message in flood(how, request.body["params"]["_meta"]["progressToken"]):
                await say(event(message))
            await say(event(answer))


class StreamHttp(RawHttp):
    """Answers calls on an event stream of their own."""

    def __init__(self) -> None:
        super().__init__(self.called)

    async def called(self, request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        await misbehave(request.body["params"]["name"], request, saying(writer))
        raise ConnectionError  # the end of the stream is the end of the connection


class OneStream(RawSse):
    """Answers calls on the one stream of HTTP+SSE."""

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.asks != "tools/call":
            await super().answer(request, writer)
            return
        write(writer, "202 Accepted", b"")
        await writer.drain()
        stream = self.writer
        assert stream is not None
        try:
            await misbehave(request.body["params"]["name"], request, saying(stream))
        except ConnectionError:
            stream.close()


def saying(writer: asyncio.StreamWriter) -> Say:
    async def say(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return say


@asynccontextmanager
async def beside(wire: str) -> AsyncIterator[World]:
    """Run the server `s` over that transport, and an honest one beside it."""
    honest = stdio(odd_server())
    if wire == "stdio":
        async with pool_of({"s": stdio(odd_server()), "honest": honest}, limits=LIMITS) as world:
            yield world
        return
    raw = StreamHttp() if wire == "http" else OneStream()
    async with serving(raw):
        config = http(raw.url) if wire == "http" else sse(raw.url)
        async with pool_of({"s": config, "honest": honest}, limits=LIMITS) as world:
            yield world


OUTCOMES = {
    "huge_line": "size limit",
    "half": "broke|ended|exited|before the result",
    "invalid_json": "malformed",
    "invalid_utf8": "malformed",
    "drip": "TimeoutError",
    "twice": "first",
    "wrong_id": "right",
    **dict.fromkeys(FLOODS, "flooded"),
}


@pytest.mark.parametrize("how", OUTCOMES)
@pytest.mark.parametrize("wire", ["http", "sse", "stdio"])
async def test_one_outcome_in_bounded_memory_and_time_and_the_others_go_on(wire: str, how: str) -> None:
    outcomes: list[str] = []
    notices = peak = 0

    async def call() -> None:
        try:
            timeout_s = 0.5 if how == "drip" else 60.0
            reply = await world.call(how, {"megabytes": 100}, timeout_s=timeout_s, on_notice=slow)
            outcomes.append(texts(reply)[0])
        except (UpstreamError, TimeoutError) as error:
            outcomes.append(f"{type(error).__name__}: {error}")

    async def slow(_: RawNotice) -> None:
        """A client that is in no hurry at first; over HTTP it holds the server up, over the others it loses notices."""
        nonlocal notices
        notices += 1
        await anyio.sleep(0.02 if notices < 20 else 0)

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident())
            await anyio.sleep(0.01)

    async with beside(wire) as world:
        before = resident()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                async with anyio.create_task_group() as calls:
                    calls.start_soon(call)
                    for n in range(5):
                        reply = await world.call("echo", {"text": str(n)}, server="honest", timeout_s=20.0)
                        assert texts(reply) == [str(n)]
                tasks.cancel_scope.cancel()
        assert len(outcomes) == 1
        expected = OUTCOMES[how]
        assert any(words in outcomes[0] for words in expected.split("|")), outcomes
        if sys.platform == "linux":
            assert peak - before < MOST_GROWTH, f"{(peak - before) / 1e6:.0f} MB"


def resident() -> int:
    """Return this process's memory in bytes; 0 where that is not known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


async def test_what_a_server_sends_in_vain_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        assert texts(await world.call("flood_answers")) == ["flooded"]
    assert 50 < len([record for record in caplog.records if "upstream s" in record.getMessage()]) < 150
    assert "what else it sends in vain is not told" in caplog.text
    assert json.dumps({}) not in caplog.text
