"""The same story on every transport and era: list, call, progress, cancel, time out, hear of changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import ReplyKind, TargetKind
from mcpgw.upstream import ServerConfig
from tests.real_servers import story_server, story_url
from tests.upstream.world import World, http, line_in, pool_of, sse, stdio, texts

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

WAYS = {
    "stdio, modern": ("stdio", (), MODERN),
    "HTTP, modern": ("http", (), MODERN),
    "HTTP, modern, JSON": ("http", ("--json",), MODERN),
    "HTTP, legacy": ("http", ("--legacy-only",), LEGACY),
    "SSE": ("sse", (), LEGACY),
}
STREAMING = [way for way in WAYS if "JSON" not in way]
"""Where an answer can be preceded by progress, and a disconnect is seen."""


@pytest.fixture(scope="module", params=STREAMING)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One server for all tests that leave it as it was."""
    async with story(request.param) as world:
        world.way = request.param
        yield world


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").notices.clear()


@asynccontextmanager
async def story(way: str) -> AsyncIterator[World]:
    transport, options, _ = WAYS[way]
    if transport == "stdio":
        async with pool_of(stdio(story_server())) as world:
            yield world
        return
    async with story_url(transport, *options) as url:
        config: ServerConfig = sse(url) if transport == "sse" else http(url)
        async with pool_of(config) as world:
            yield world


@pytest.mark.promise("era-newest-common")
async def test_a_call_is_answered_verbatim_in_the_newest_era_that_both_speak(world: World) -> None:
    status = world.status()
    assert status.protocol_version == WAYS[world.way][2]
    assert status.server_info is not None
    assert status.server_info["name"] == "story"
    assert texts(await world.call("echo", {"text": "grüße 🦊"})) == ["grüße 🦊"]
    added = await world.call("add", {"a": 2, "b": 3})
    assert added.payload["structuredContent"] == {"sum": 5}
    failed = await world.call("fail")
    assert failed.kind is ReplyKind.RESULT
    assert failed.payload["isError"] is True


async def test_resources_prompts_and_completions_go_the_same_way(world: World) -> None:
    definitions = world.pool.definitions("s")
    assert [item["uri"] for item in definitions[TargetKind.RESOURCE]] == ["story://one"]
    assert [item["name"] for item in definitions[TargetKind.PROMPT]] == ["tell"]
    read = await world.call("story://one", kind=TargetKind.RESOURCE)
    assert read.payload["contents"][0]["text"] == "once upon a time"
    told = await world.call("tell", {"who": "Ann"}, kind=TargetKind.PROMPT)
    assert "Tell Ann a story." in str(told.payload["messages"])
    asked = {"ref": {"type": "ref/prompt", "name": "s__tell"}, "argument": {"name": "who", "value": "Sche"}}
    completed = await world.call("tell", asked, kind=TargetKind.COMPLETION)
    assert completed.payload["completion"]["values"] == ["Scherab"]


@pytest.mark.promise("progress-before-answer")
async def test_progress_arrives_in_order_before_the_answer_and_without_the_upstreams_token(world: World) -> None:
    assert texts(await world.call("steps", {"count": 30})) == ["30 steps"]
    assert [notice.params for notice in world.notices] == [
        {"progress": step, "total": 30, "message": f"step {step}"} for step in range(1, 31)
    ]


async def test_the_server_learns_that_its_caller_has_gone(world: World, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.call, "wait", {"marker": str(marker)})
        await line_in(marker, "started")
        tasks.cancel_scope.cancel()
    await line_in(marker, "cancelled")
    assert texts(await world.call("echo", {"text": "still here"})) == ["still here"]


@pytest.mark.promise("cancel-timeout")
async def test_a_call_that_takes_too_long_times_out_and_is_cancelled(world: World, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(TimeoutError):
        await world.call("wait", {"marker": str(marker)}, timeout_s=0.5)
    await line_in(marker, "cancelled")
    assert texts(await world.call("echo", {"text": "still here"})) == ["still here"]


@pytest.mark.promise("list-changed-heard")
async def test_a_changed_list_is_read_again_as_soon_as_the_server_says_so(world: World) -> None:
    await anyio.sleep(0.2)  # the stream for notifications opens beside everything else, and tells nobody
    await world.call("grow", {"name": "late"})
    await world.told.until_tool("late")
    assert texts(await world.call("late")) == ["here"]


@pytest.mark.promise("http-parameter-headers-sent", "http-json-or-stream")
async def test_json_answers_and_parameters_that_travel_in_a_header_too() -> None:
    async with story("HTTP, modern, JSON") as world:
        assert world.status().protocol_version == MODERN
        assert texts(await world.call("steps", {"count": 3})) == ["3 steps"]
        assert texts(await world.call("region", {"where": "Zürich "})) == ["Zürich "]  # the server compares both


@pytest.mark.promise("message-own-answer")
async def test_many_calls_at_once_get_each_their_own_answer(world: World) -> None:
    got: dict[int, list[str]] = {}

    async def one(number: int) -> None:
        got[number] = texts(await world.call("echo", {"text": str(number)}))

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(one, number)
    assert got == {number: [str(number)] for number in range(60)}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["HTTP, modern", "HTTP, legacy", "SSE"])
async def test_a_server_that_dies_in_a_call_may_have_acted_and_the_call_says_so(way: str) -> None:
    async with story(way) as world:
        with anyio.fail_after(10), pytest.raises(UpstreamError) as caught:
            await world.call("die")
        assert caught.value.sent is True
        assert "'s'" in str(caught.value)
        await world.told.until_down()
        with pytest.raises(UpstreamError) as caught:
            await world.call("echo", {"text": "x"})
        assert caught.value.sent is False
