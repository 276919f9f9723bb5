"""A personal session over HTTP: what opens, renews and closes it."""

import asyncio
from dataclasses import replace

import anyio
import pytest

from mcpgw.core.answers import Question
from mcpgw.core.model import ReplyKind, TargetKind
from mcpgw.ports import ServerState
from mcpgw.upstream import personal
from tests.real_servers import everything_server, everything_url
from tests.upstream.asked import ANN, BOB, FORMS, Caller, day
from tests.upstream.raw_http import RawHttp, Request, begin_stream, event, serving, write
from tests.upstream.world import World, http, pool_of, sse, stdio, texts


class Sessions(RawHttp):
    """Names each session by a number, and forgets one when it is told to."""

    def __init__(self) -> None:
        super().__init__(self.asks, session="1", stream=self.listens)
        self.forgotten: set[str] = set()
        self.answers: asyncio.Queue[Request] = asyncio.Queue()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers.get("mcp-session-id") in self.forgotten:
            write(writer, "404 Not Found", b"")
            return
        await super().answer(request, writer)
        if request.method == "POST" and not request.asks:
            self.answers.put_nowait(request)
        if request.asks == "initialize":
            self.session = str(int(self.session) + 1)

    async def listens(self, request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)

    async def asks(self, request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.write(event({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "Day?"}}))
        await writer.drain()
        with anyio.fail_after(10):
            answer = await self.answers.get()
        told = {"content": [], "structuredContent": answer.body["result"] | {"session": answer.headers["mcp-session-id"]}}
        writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "result": told}))
        await writer.drain()
        writer.close()


async def test_each_identity_has_a_session_that_declares_what_it_can_do_and_is_ended() -> None:
    async with serving(Sessions()) as server:
        async with pool_of(http(server.url)) as world:
            for identity, name in ((ANN, "Monday"), (BOB, "Friday"), (ANN, "Sunday")):
                told = await world.call("t", identity=identity, interview=day(name, declares=FORMS))
                session = "2" if identity is ANN else "3"
                answer = {"action": "accept", "content": {"day": name}}
                assert told.payload["structuredContent"] == answer | {"session": session}
            assert [begun.body["params"]["capabilities"] for begun in server.asked("initialize")] == [{}, FORMS, FORMS]
        ended = [request.headers["mcp-session-id"] for request in server.requests if request.method == "DELETE"]
        assert sorted(ended) == ["1", "2", "3"]


async def test_a_personal_session_that_the_server_forgot_is_begun_anew_with_the_same_capabilities() -> None:
    async with serving(Sessions()) as server, pool_of(http(server.url)) as world:
        await world.call("t", identity=ANN, interview=day("Monday", declares=FORMS))
        server.forgotten = {"2"}
        told = await world.call("t", identity=ANN, interview=day("Friday", declares=FORMS))
        assert told.payload["structuredContent"]["session"] == "3"
        assert [begun.body["params"]["capabilities"] for begun in server.asked("initialize")] == [{}, FORMS, FORMS]


async def test_a_server_without_a_notification_stream_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "_LISTENING_S", 600.0)

    async def refuse(request: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, "405 Method Not Allowed", b"")

    server = Sessions()
    server.stream = refuse
    async with serving(server), pool_of(http(server.url)) as world:
        with anyio.fail_after(30):  # less than it would wait for a stream to begin
            await world.call("t", identity=ANN, interview=day("Monday", declares=FORMS))


async def test_an_error_that_asks_for_a_page_to_be_visited_first_is_a_reply_like_others() -> None:
    data = {"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://x.example", "message": "m"}]}

    async def require(request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        error = {"code": -32042, "message": "This request requires more information.", "data": data}
        writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "error": error}))
        writer.close()

    async with serving(RawHttp(require)) as server, pool_of(http(server.url)) as world:
        got = await world.call("t", identity=ANN, interview=Caller({}))
        assert got.kind is ReplyKind.ERROR
        assert got.payload["code"] == -32042
        assert got.payload["data"] == data


# --- a server that other people wrote ------------------------------------------------------------------------------------


async def test_the_everything_server_from_npm_asks_over_stdio(npm_servers: None) -> None:
    async with pool_of(stdio(everything_server())) as world:
        await asks_everything(world)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["streamableHttp", "sse"])
async def test_the_everything_server_from_npm_asks_over_http(npm_servers: None, transport: str) -> None:
    async with everything_url(transport) as url, pool_of(sse(url) if transport == "sse" else http(url)) as world:
        await asks_everything(world)


async def test_what_a_legacy_server_lists_only_for_those_who_can_be_asked_is_listed(npm_servers: None) -> None:
    """The everything server has such tools; what its catalog file does not let ask is left out as before."""
    for questions, listed in ((frozenset(Question), True), (frozenset[Question](), False)):
        async with pool_of(replace(stdio(everything_server()), questions=questions)) as world:
            await world.until(ServerState.READY)
            names = {tool["name"] for tool in world.pool.definitions("s")[TargetKind.TOOL]}
            asking = {"trigger-elicitation-request", "trigger-sampling-request", "get-roots-list"}
            assert ("echo" in names, asking <= names) == (True, listed)


async def asks_everything(world: World) -> None:
    said = {"role": "assistant", "content": {"type": "text", "text": "said by the model"}, "model": "m"}
    caller = Caller(
        {
            "elicitation/create": {"action": "accept", "content": {"name": "Ann"}},
            "sampling/createMessage": said,
            "roots/list": {"roots": [{"uri": "file:///work", "name": "work"}]},
        }
    )
    assert "- Name: Ann" in "\n".join(texts(await world.call("trigger-elicitation-request", interview=caller)))
    sampled = await world.call("trigger-sampling-request", {"prompt": "p", "maxTokens": 5}, interview=caller)
    assert "said by the model" in texts(sampled)[0]
    assert "file:///work" in texts(await world.call("get-roots-list", interview=caller))[0]
    declined = Caller({"elicitation/create": {"action": "decline"}})
    refused = await world.call("trigger-elicitation-request", interview=declined)
    assert "declined" in texts(refused)[0]
