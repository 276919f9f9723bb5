"""A session belongs to the identity that opened it; for anybody else it does not exist."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import anyio
import pytest

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import RefusalCode
from mcpgw.inbound.config import InboundConfig
from tests.inbound.doors import World, identity
from tests.inbound.raw import ACCEPT, INITIALIZE, legacy, modern, post, routing
from tests.inbound.wire import Live, bearer, listening


async def open_session(http: aiohttp.ClientSession, key: str = "alice-key") -> dict[str, str]:
    status, answer, headers = await post(http, INITIALIZE, key=key)
    assert status == 200 and answer["result"]["protocolVersion"] == "2025-11-25"
    session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    assert (await post(http, legacy("notifications/initialized", request_id=None), session, key=key))[0] == 202
    return session


@pytest.mark.promise("http-session-owner")
async def test_another_identity_finds_no_such_session(world: World, http: aiohttp.ClientSession) -> None:
    session = await open_session(http)
    nobodys = {**session, "Mcp-Session-Id": "0" * 32}
    ask = legacy("tools/call", {"name": "bank__echo"})
    stolen = await post(http, ask, session, key="bob-key")
    unknown = await post(http, ask, nobodys, key="bob-key")
    assert stolen[:2] == unknown[:2]
    assert stolen[0] == 404
    assert [entry.principal for entry in world.rejections()] == ["test#bob"] * 2
    for method in ("GET", "DELETE"):
        async with http.request(method, "/mcp", headers={**ACCEPT, **bearer("bob-key"), **session}) as response:
            assert response.status == 404
    assert (await post(http, ask, session))[1]["result"]["content"][0]["text"] == "{}"
    assert [call.identity.subject for call in world.upstreams.calls] == ["alice"]


@pytest.mark.promise("http-session-owner")
async def test_the_same_person_through_another_agent_is_another_owner(world: World, http: aiohttp.ClientSession) -> None:
    session = await open_session(http)
    world.keys.keys["agent-key"] = replace(identity("alice"), actors=("agent-7",))
    assert (await post(http, legacy("tools/list"), session, key="agent-key"))[0] == 404


async def test_a_session_id_is_recorded_as_its_hash(world: World, http: aiohttp.ClientSession) -> None:
    session = await open_session(http)
    await post(http, legacy("tools/call", {"name": "bank__echo"}), session)
    [call] = world.upstreams.calls
    assert len(call.origin.session) == 16
    assert session["Mcp-Session-Id"] not in repr(world.journal.entries)


async def test_saying_it_is_initialized_again_changes_nothing(live: Live, http: aiohttp.ClientSession) -> None:
    before = len(live.server._watchers._watchers)
    session = await open_session(http)
    for _ in range(5):
        await post(http, legacy("notifications/initialized", request_id=None), session)
    await post(http, legacy("ping"), session)
    assert len(live.server._watchers._watchers) == before + 3  # tools, prompts, resources
    async with http.delete("/mcp", headers={**ACCEPT, **bearer("alice-key"), **session}) as response:
        assert response.status == 200
    with anyio.fail_after(5):
        while len(live.server._watchers._watchers) > before:  # noqa: ASYNC110  the session ends after its answer
            await anyio.sleep(0.01)


@pytest.mark.promise("era-initialize-first")
async def test_before_the_handshake_nothing_is_answered(world: World, http: aiohttp.ClientSession) -> None:
    _, _, headers = await post(http, legacy("tools/list"))
    assert "Mcp-Session-Id" not in headers or world.upstreams.calls == []
    status, answer, _ = await post(http, legacy("tools/list"), {"MCP-Protocol-Version": "2025-11-25"})
    assert status == 400 and "error" in answer


async def test_the_number_of_sessions_is_bounded() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=2))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        for _ in range(2):
            await open_session(http)
        assert (await post(http, INITIALIZE))[0] == 503
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.UNAVAILABLE]


async def test_one_identity_cannot_take_all_sessions() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=5, max_sessions_per_identity=2))
    world.keys.keys["alice-agent"] = replace(identity("alice"), actors=("agent-7",), client_id="another")
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        first = await open_session(http)
        await open_session(http, "alice-agent")  # the same person, whatever clients she comes with
        for key in ("alice-key", "alice-agent"):
            status, answer, headers = await post(http, INITIALIZE, key=key)
            assert (status, headers["retry-after"]) == (429, "60")
            assert "2 open sessions" in answer["error"]["message"]
        await open_session(http, "bob-key")
        await http.delete("/mcp", headers={**ACCEPT, **bearer("alice-key"), **first})
        await open_session(http)
    assert [(entry.principal, entry.refused.code) for entry in world.rejections()] == [("test#alice", RefusalCode.DENIED)] * 2


async def test_idle_sessions_end_by_themselves_and_make_room() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=10, session_idle_s=1.0))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        sessions = [await open_session(http) for _ in range(10)]
        assert (await post(http, INITIALIZE, key="bob-key"))[0] == 503
        with anyio.fail_after(10):
            while (await post(http, INITIALIZE, key="bob-key"))[0] != 200:  # noqa: ASYNC110  a limit tells nobody of room
                await anyio.sleep(0.05)
            while len(live.server._watchers._watchers) > 0:  # noqa: ASYNC110  nor does its end
                await anyio.sleep(0.05)
        statuses = [(await post(http, legacy("tools/list"), session))[0] for session in sessions]
    assert statuses == [404] * 10


async def test_one_identity_cannot_take_all_streams_of_sse() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=2, max_sessions_per_identity=1))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        with anyio.fail_after(10):
            async with sse(http, "alice-key"):
                async with http.get("/sse", headers=bearer("alice-key")) as refused:
                    assert refused.status == 429 and "1 open sessions" in (await refused.json())["error"]["message"]
                async with sse(http, "bob-key"):
                    world.keys.keys["carol-key"] = identity("carol")
                    async with http.get("/sse", headers=bearer("carol-key")) as refused:
                        assert refused.status == 503
    told = [(entry.principal, entry.refused.code, entry.origin.transport) for entry in world.rejections()]
    assert told == [("test#alice", RefusalCode.DENIED, "sse"), ("test#carol", RefusalCode.UNAVAILABLE, "sse")]


@pytest.mark.promise("listen-bounded")
async def test_subscriptions_are_bounded() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=1))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        ask = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        headers = {**ACCEPT, **bearer("alice-key"), **routing("subscriptions/listen")}
        async with http.post("/mcp", json=ask, headers=headers) as first:
            assert first.status == 200
            await first.content.readline()
            _, answer, _ = await post(http, ask, routing("subscriptions/listen"), key="bob-key")
            assert answer["error"]["message"] == "Too many open subscriptions. Try again in a minute."
    assert [(entry.principal, entry.refused.code) for entry in world.rejections()] == [("test#bob", RefusalCode.UNAVAILABLE)]


async def test_one_identity_cannot_take_all_subscriptions() -> None:
    world = World(config=InboundConfig(version="1", max_sessions=5, max_sessions_per_identity=1))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        ask = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        headers = {**ACCEPT, **routing("subscriptions/listen")}
        async with http.post("/mcp", json=ask, headers={**headers, **bearer("alice-key")}) as first:
            await first.content.readline()
            _, answer, _ = await post(http, ask, routing("subscriptions/listen"))
            assert "1 open subscriptions" in answer["error"]["message"]
            async with http.post("/mcp", json=ask, headers={**headers, **bearer("bob-key")}) as other:
                assert b"error" not in await other.content.readline()
    assert [(entry.principal, entry.refused.code) for entry in world.rejections()] == [("test#alice", RefusalCode.DENIED)]


@asynccontextmanager
async def sse(http: aiohttp.ClientSession, key: str, url: str = "") -> AsyncIterator[tuple[str, aiohttp.StreamReader]]:
    """Open a legacy SSE stream; yield the path to post to, and the stream."""
    async with http.get(f"{url}/sse", headers={**bearer(key), "Accept": "text/event-stream"}) as response:
        assert response.status == 200
        yield await event(response.content), response.content


async def event(stream: aiohttp.StreamReader) -> str:
    while True:
        line = (await stream.readline()).decode().strip()
        if line.startswith("data: "):
            return line.removeprefix("data: ")


@pytest.mark.promise("sse-owner")
async def test_an_sse_session_belongs_to_whoever_opened_its_stream(world: World, http: aiohttp.ClientSession) -> None:
    with anyio.fail_after(10):
        async with sse(http, "alice-key") as (path, stream):
            assert (await post(http, INITIALIZE, path=path, key="bob-key"))[0] == 404
            assert (await post(http, INITIALIZE, path=path))[0] == 202
            assert json.loads(await event(stream))["result"]["serverInfo"]["name"] == "mcpgw"
            assert (await post(http, legacy("notifications/initialized", request_id=None), path=path))[0] == 202
            ask = legacy("tools/call", {"name": "bank__echo"})
            assert (await post(http, ask, path=path, key="bob-key"))[0] == 404
            assert (await post(http, ask, path=path))[0] == 202
            assert "result" in json.loads(await event(stream))
    assert [(call.identity.subject, call.origin.transport) for call in world.upstreams.calls] == [("alice", "sse")]


@pytest.mark.promise("listen-revoked")
@pytest.mark.parametrize("failure", [AuthenticationError("revoked"), OSError("no disk"), KeyError("a bug")])
async def test_a_standing_stream_ends_when_its_credential_cannot_be_vouched_for(failure: Exception) -> None:
    world = World(config=InboundConfig(version="1", recheck_s=0.05))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        with anyio.fail_after(10):
            async with sse(http, "alice-key") as (_, stream):
                world.keys.failures.append(failure)
                with pytest.raises(aiohttp.ClientPayloadError):
                    while await stream.readline():
                        pass
                    raise aiohttp.ClientPayloadError("ended in order")


async def test_a_request_whose_session_ends_under_it_is_answered_to_its_end(world: World, http: aiohttp.ClientSession) -> None:
    """The kernel leaves it without a last word, or without a first one: a broken answer, and an error in the log."""
    lost = 0
    for moment in range(24):
        _, _, opened = await post(http, INITIALIZE)
        session = {"Mcp-Session-Id": opened["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        statuses: list[int] = []

        async def ask(number: int, session: dict[str, str] = session, statuses: list[int] = statuses) -> None:
            status, _, _ = await post(http, legacy("tools/list", request_id=number), session)
            statuses.append(status)

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(ask, number)
            await anyio.sleep(moment % 8 / 1000)
            async with http.delete("/mcp", headers={**ACCEPT, **bearer("alice-key"), **session}) as ended:
                assert ended.status == 200
        assert len(statuses) == 6 and set(statuses) <= {200, 404}
        lost += statuses.count(404)
    assert len(world.rejections()) == lost
