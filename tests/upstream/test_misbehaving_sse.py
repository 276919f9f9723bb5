"""The legacy HTTP+SSE transport: the stream is trusted with nothing but answers."""

import asyncio
import json

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.upstream.raw_http import RawHttp, Request, begin_stream, event, serving, write
from tests.upstream.world import QUICK, pool_of, sse, texts


class RawSse(RawHttp):
    """Answers the handshake on the stream; `endpoint` is what its first event says."""

    def __init__(self, endpoint: str = "/messages?s=1", post: str = "202 Accepted") -> None:
        super().__init__(self.nothing)
        self.endpoint = endpoint
        self.post = post
        self.writer: asyncio.StreamWriter | None = None
        self.mute = False

    async def nothing(self, request: Request, writer: asyncio.StreamWriter) -> None: ...

    async def open_stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.write(f"event: endpoint\r\ndata: {self.endpoint}\r\n\r\n".encode())
        self.writer = writer

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET":
            await self.open_stream(request, writer)
            return
        calling = request.asks == "tools/call"
        if calling and self.post == "close":
            writer.close()
            return
        if calling and self.post == "hang":
            return
        if not (calling and self.post == "answer first"):
            write(writer, self.post if calling else "202 Accepted", b"")
        if self.writer is None or "id" not in request.body or (calling and self.mute):
            return
        info = {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "raw", "version": "0"}}
        results = {"initialize": info, "tools/list": {"tools": []}}
        result = results.get(request.asks, {"content": [{"type": "text", "text": "sse"}]})
        self.writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))


async def test_answers_come_on_the_stream() -> None:
    raw = RawSse()
    async with serving(raw), pool_of(sse(raw.url)) as world:
        assert world.status().protocol_version == "2024-11-05"
        assert texts(await world.call("t")) == ["sse"]
        assert raw.requests[1].path == "/messages?s=1"


@pytest.mark.promise("sse-endpoint-origin")
@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/steal", "https://127.0.0.1/", "//evil.example/x", "http://[", "file:///x"]
)
async def test_an_endpoint_of_another_origin_is_refused_because_it_would_get_our_credential(endpoint: str) -> None:
    raw = RawSse(endpoint=endpoint)
    async with serving(raw), pool_of(sse(raw.url, {"Authorization": "Bearer x"}), ready=False) as world:
        status = await world.until(ServerState.DOWN)
        assert "endpoint" in status.problem
        assert all(request.method == "GET" for request in raw.requests)


@pytest.mark.parametrize(("post", "words"), [("500 Oops", "HTTP 500"), ("403 No", "credential"), ("307 There", "redirect")])
async def test_a_post_that_is_refused_ends_its_call_at_once(post: str, words: str) -> None:
    raw = RawSse(post=post)
    raw.mute = True
    async with serving(raw), pool_of(sse(raw.url)) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match=words) as caught:
            await world.call("t")
        assert caught.value.sent is True


async def test_a_post_that_breaks_off_or_hangs_ends_its_call_in_time() -> None:
    raw = RawSse()
    async with serving(raw), pool_of(sse(raw.url), limits=Limits(post_s=0.3)) as world:
        for post, words in (("close", "broke the connection off"), ("hang", "did not take the request in time")):
            raw.post = post
            with anyio.fail_after(5), pytest.raises(UpstreamError, match=words) as caught:
                await world.call("t")
            assert caught.value.sent is True


async def test_an_answer_that_is_faster_than_its_post_counts() -> None:
    raw = RawSse(post="answer first")
    async with serving(raw), pool_of(sse(raw.url)) as world:
        with anyio.fail_after(5):
            assert texts(await world.call("t")) == ["sse"]


@pytest.mark.parametrize("status", ["401 No", "200 OK", "302 There"])
async def test_an_address_without_an_event_stream_is_down(status: str) -> None:
    async def page(_: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, status, b"<html>", "text/html")

    async with serving(RawHttp(page, stream=page)) as server, pool_of(sse(server.url), ready=False) as world:
        assert "HTTP" in (await world.until(ServerState.DOWN)).problem


async def test_a_stream_that_ends_fails_the_calls_that_wait_on_it_and_is_opened_again() -> None:
    raw = RawSse()
    raw.mute = True
    async with serving(raw), pool_of(sse(raw.url)) as world:
        async with anyio.create_task_group() as tasks:

            async def fails() -> None:
                with pytest.raises(UpstreamError, match="event stream") as caught:
                    await world.call("t")
                assert caught.value.sent is True

            tasks.start_soon(fails)
            await anyio.sleep(0.2)
            assert raw.writer is not None
            raw.writer.close()
        await world.told.until_down()
        await world.until(ServerState.READY)
        raw.mute = False
        assert texts(await world.call("t")) == ["sse"]


async def test_a_stream_that_names_no_endpoint_is_given_up_in_time() -> None:
    async def silent(_: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        await asyncio.sleep(30)

    limits = Limits(connect_s=0.3, backoff_first_s=5)
    async with serving(RawHttp(silent, stream=silent)) as server, pool_of(sse(server.url), limits=limits, ready=False) as world:
        with anyio.fail_after(5):
            assert "named no endpoint in time" in (await world.until(ServerState.DOWN)).problem


async def test_an_event_beyond_the_limit_ends_the_stream() -> None:
    limits = Limits(reply_bytes=100_000, backoff_first_s=0.05)
    raw = RawSse()
    raw.mute = True
    async with serving(raw), pool_of(sse(raw.url), limits=limits) as world, anyio.create_task_group() as tasks:

        async def fails() -> None:
            with pytest.raises(UpstreamError, match="size limit"):
                await world.call("t")

        tasks.start_soon(fails)
        await anyio.sleep(0.2)
        assert raw.writer is not None
        raw.writer.write(b"data: " + json.dumps("x" * 200_000).encode() + b"\n\n")
    assert QUICK.reply_bytes > 100_000
