"""An HTTP server that hangs, drips, breaks off or lies gets exactly one outcome per request, within its time."""

import asyncio
import gzip
import json
from collections.abc import Callable

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import ReplyKind
from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.upstream.raw_http import RawHttp, Request, begin_stream, event, reply, serving, write
from tests.upstream.world import QUICK, http, pool_of, texts

SMALL = Limits(reply_bytes=100_000, backoff_first_s=0.05, backoff_ceiling_s=0.2, stop_s=0.5, drain_s=0.2)

Fault = Callable[[Request, asyncio.StreamWriter], None]


def answer(request: Request, **more: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}, **more}).encode()


def stream_of(*chunks: bytes) -> Fault:
    def fault(_: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.writelines(chunks)
        writer.close()

    return fault


FAULTS: dict[str, tuple[Fault, str]] = {
    "no JSON": (lambda _, writer: write(writer, "200 OK", b"{]"), "malformed answer"),
    "no UTF-8": (lambda _, writer: write(writer, "200 OK", b'{"id":1,"result":{"x":"\xff"}}'), "malformed answer"),
    "an empty body": (lambda _, writer: write(writer, "200 OK", b""), "malformed answer"),
    "another id": (lambda request, writer: write(writer, "200 OK", answer(request, id=99)), "something else"),
    "the id as text": (lambda request, writer: write(writer, "200 OK", answer(request, id="4")), "something else"),
    "a batch": (lambda request, writer: write(writer, "200 OK", b"[" + answer(request) + b"]"), "malformed answer"),
    "a page": (lambda _, writer: write(writer, "200 OK", b"<html>", "text/html"), "neither JSON nor an event stream"),
    "nothing": (lambda _, writer: write(writer, "202 Accepted", b""), "HTTP 202"),
    "a redirect": (lambda _, writer: write(writer, "307 Gone", b"", "text/plain", "Location: http://127.0.0.1:1/"), "redirect"),
    "a redirect to metadata": (
        lambda _, writer: write(writer, "302 Found", b"", "text/plain", "Location: http://169.254.169.254/latest/meta-data/"),
        "redirect",
    ),
    "401": (lambda _, writer: write(writer, "401 Unauthorized", b"{}"), "refused the gateway's credential"),
    "502": (lambda _, writer: write(writer, "502 Bad Gateway", b"<html>", "text/html"), "HTTP 502"),
    "a bomb": (
        lambda _, writer: write(writer, "200 OK", gzip.compress(b"x"), "application/json", "Content-Encoding: gzip"),
        "comp",
    ),
    "too much JSON": (lambda request, writer: write(writer, "200 OK", answer(request, x="x" * 200_000)), "size limit"),
    "too long an event": (stream_of(b"data: " + b"x" * 200_000), "size limit"),
    "too many data lines": (stream_of(b"data: xxxxxxxxxxxx\n" * 20_000), "size limit"),
    "a malformed event": (stream_of(b"data: {]\n\n"), "malformed event"),
    "a stream without an answer": (stream_of(b": ping\n\n", event({"jsonrpc": "2.0", "method": "x"})), "before the result"),
    "a stream with a foreign answer": (stream_of(event({"jsonrpc": "2.0", "id": 10**6, "result": {}})), "before the result"),
    "a closed connection": (lambda _, writer: writer.close(), "broke the connection off"),
    "half a body": (
        lambda _, writer: (write(writer, "200 OK", b"{", "application/json", "Content-Length: 50"), writer.close())[0],
        "broke the connection off|malformed",
    ),
    "no HTTP": (lambda _, writer: (writer.write(b"SSH-2.0-OpenSSH\r\n\r\n"), writer.close())[0], "broke the connection off"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])
async def test_a_broken_answer_is_one_error_that_says_what_was_broken_in_our_words(fault: str, modern: bool) -> None:
    break_it, words = FAULTS[fault]
    faulty = True

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        if faulty:
            break_it(request, writer)
        else:
            reply(request, writer, {"content": [{"type": "text", "text": "fine"}]})

    async with serving(RawHttp(handler, modern=modern)) as server, pool_of(http(server.url), limits=SMALL) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match=words) as caught:
            await world.call("t")
        assert caught.value.sent is True
        assert len(server.asked("tools/call")) == 1  # never sent twice
        faulty = False
        assert texts(await world.call("t")) == ["fine"]


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found", "500 Internal Server Error"])
async def test_a_json_rpc_error_is_a_reply_under_any_http_status(status: str) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        error = {"code": -32050, "message": "no", "data": None}
        write(writer, status, json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "error": error}).encode())

    async with serving(RawHttp(handler)) as server, pool_of(http(server.url)) as world:
        replied = await world.call("t")
        assert replied.kind is ReplyKind.ERROR
        assert replied.payload == {"code": -32050, "message": "no", "data": None}


async def test_an_error_from_before_the_id_was_read_is_a_reply_too() -> None:
    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, "400 Bad Request", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}')

    async with serving(RawHttp(handler)) as server, pool_of(http(server.url)) as world:
        assert (await world.call("t")).payload["code"] == -32700


@pytest.mark.parametrize("how", ["hangs", "drips", "drips events", "stops in the head"])
@pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])
async def test_a_server_that_hangs_or_drips_gets_no_more_than_the_calls_time(how: str, modern: bool) -> None:
    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        if how == "stops in the head":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-")
        elif how == "drips":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n")
        elif how == "drips events":
            begin_stream(writer)
        while not writer.is_closing():
            if how.startswith("drips"):
                writer.write(b" " if how == "drips" else b": ping\n\n")
                await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(RawHttp(handler, modern=modern)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await world.call("t", timeout_s=0.3)
        assert world.status().state is ServerState.READY
        await anyio.sleep(0.1)
        cancelled = [request.body["params"]["requestId"] for request in server.asked("notifications/cancelled")]
        assert cancelled == ([] if modern else [server.asked("tools/call")[0].body["id"]])


@pytest.mark.promise("http-headers-sent")
async def test_requests_carry_the_headers_of_their_era_and_the_configured_ones() -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        reply(request, writer, {"content": []})

    for modern in (True, False):
        async with serving(RawHttp(handler, modern=modern, session="s-1")) as server:
            async with pool_of(http(server.url, {"Authorization": "Bearer k", "Content-Type": "text/evil"})) as world:
                await world.call("t")
            headers = server.asked("tools/call")[0].headers
            assert headers["authorization"] == "Bearer k"
            assert headers["content-type"] == "application/json"
            if modern:
                assert headers["mcp-protocol-version"] == "2026-07-28"
                assert headers["mcp-method"] == "tools/call"
                assert headers["mcp-name"] == "t"
                assert "mcp-session-id" not in headers
            else:
                assert headers["mcp-protocol-version"] == "2025-11-25"
                assert headers["mcp-session-id"] == "s-1"
                assert "mcp-method" not in headers
                assert server.requests[-1].method == "DELETE"


@pytest.mark.promise("http-session-renewed")
async def test_a_forgotten_session_is_begun_anew_once_and_what_was_not_processed_is_sent_again() -> None:
    live = "one"

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers["mcp-session-id"] != live:
            write(writer, "404 Not Found", b"")
        else:
            reply(request, writer, {"content": [{"type": "text", "text": live}]})

    async with serving(RawHttp(handler, session="one")) as server, pool_of(http(server.url)) as world:
        assert texts(await world.call("t")) == ["one"]
        live = server.session = "two"
        answers: list[list[str]] = []

        async def one() -> None:
            answers.append(texts(await world.call("t")))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert answers == [["two"]] * 5
        assert len(server.asked("initialize")) == 2
        assert len(server.asked("tools/call")) == 1 + 5 + 5


async def test_a_server_that_answers_400_for_a_forgotten_session_is_understood_too() -> None:
    """As servers on the TypeScript SDK do after a restart."""

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers["mcp-session-id"] != server.session:
            error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
            write(writer, "400 Bad Request", json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode())
        else:
            reply(request, writer, {"content": [{"type": "text", "text": server.session}]})

    async with serving(RawHttp(handler, session="one")) as server, pool_of(http(server.url)) as world:
        server.session = "two"
        assert texts(await world.call("t")) == ["two"]
        assert len(server.asked("initialize")) == 2


@pytest.mark.promise("http-json-or-stream")
async def test_an_answer_on_an_event_stream_does_not_cost_its_connection() -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        body = event({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    ports: set[int] = set()
    async with serving(RawHttp(handler, modern=True)) as server, pool_of(http(server.url)) as world:
        for _ in range(3):
            await world.call("t")
            await anyio.sleep(0.1)
    assert len(ports) == 1


async def test_a_session_that_is_forgotten_again_and_again_is_an_error_and_not_a_loop() -> None:
    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, "404 Not Found", b"")

    async with serving(RawHttp(handler, session="one")) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match="forgot the gateway's session") as caught:
            await world.call("t")
        assert caught.value.sent is False
        assert len(server.asked("tools/call")) == 2


async def test_a_session_that_cannot_be_begun_anew_in_the_calls_time_is_an_error_and_nothing_was_sent() -> None:
    class Hanging(RawHttp):
        async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
            if request.asks == "initialize" and self.asked("tools/call"):
                await asyncio.sleep(30)
            await super().answer(request, writer)

    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, "404 Not Found", b"")

    async with serving(Hanging(handler, session="one")) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(3), pytest.raises(UpstreamError, match="did not begin another in time") as caught:
            await world.call("t", timeout_s=0.4)
        assert caught.value.sent is False
        assert len(server.asked("tools/call")) == 1


@pytest.mark.promise("http-resumed")
async def test_an_answer_stream_that_the_server_let_go_is_taken_up_where_it_stopped() -> None:
    asked: list[Request] = []
    last_ids: list[str] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        begin_stream(writer)
        writer.write(b"retry: 10\nid: e0\ndata:\n\n" + event(note(request, 1), "e1"))
        writer.close()

    async def stream(request: Request, writer: asyncio.StreamWriter) -> None:
        if "last-event-id" not in request.headers:
            write(writer, "405 Method Not Allowed", b"")
            return
        last_ids.append(request.headers["last-event-id"])
        begin_stream(writer)
        if len(last_ids) < 4:
            writer.write(event(note(asked[0], len(last_ids) + 1), f"e{len(last_ids) + 1}"))
        else:
            writer.write(event({"jsonrpc": "2.0", "id": asked[0].body["id"], "result": {"content": []}}, "e9"))
        writer.close()

    def note(request: Request, progress: int) -> dict[str, object]:
        params = {"progressToken": request.body["params"]["_meta"]["progressToken"], "progress": progress}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    async with serving(RawHttp(handler, stream=stream)) as server, pool_of(http(server.url)) as world:
        assert (await world.call("t")).payload == {"content": []}
        assert last_ids == ["e1", "e2", "e3", "e4"]
        assert [notice.params["progress"] for notice in world.notices] == [1, 2, 3, 4]
        assert len(asked) == 1


async def test_an_answer_stream_that_brings_nothing_more_is_given_up() -> None:
    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.write(b"retry: 10\nid: e0\ndata:\n\n")
        writer.close()

    async with serving(RawHttp(handler)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match="before the result"):
            await world.call("t")


async def test_a_server_that_cannot_be_reached_costs_its_callers_nothing_and_comes_back() -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        reply(request, writer, {"content": []})

    raw = RawHttp(handler)
    listener = await asyncio.start_server(raw.connected, "127.0.0.1", 0)
    raw.port = listener.sockets[0].getsockname()[1]
    async with pool_of(http(raw.url), limits=QUICK) as world:
        await world.call("t")
        listener.close()
        for writer in raw.open:
            writer.close()
        with pytest.raises(UpstreamError):
            await world.call("t")  # it may go out on the connection that is just closing, so it may have been sent
        with pytest.raises(UpstreamError) as caught:
            await world.call("t")
        assert caught.value.sent is False
        await world.told.until_down()
        with anyio.fail_after(1), pytest.raises(UpstreamError, match="It is down") as caught:
            await world.call("t")
        assert caught.value.sent is False
        again = await asyncio.start_server(raw.connected, "127.0.0.1", raw.port)
        await world.until(ServerState.READY)
        await world.call("t")
        again.close()


async def test_a_server_that_breaks_off_again_and_again_counts_as_down() -> None:
    async def handler(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(RawHttp(handler)) as server, pool_of(http(server.url)) as world:
        for _ in range(3):
            with pytest.raises(UpstreamError):
                await world.call("t")
        await world.told.until_down()
        await world.until(ServerState.READY)


async def test_an_address_that_is_none_is_said_to_be_so() -> None:
    async with pool_of({"a": http("ftp://x/"), "b": http("/mcp"), "c": http("http://[::1")}, ready=False) as world:
        for name in "abc":
            status = await world.until(ServerState.DOWN, name)
            assert "no http or https URL" in status.problem
