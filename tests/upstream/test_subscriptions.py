"""Subscriptions to resources at their servers: one for each, whatever happens to the connection."""

import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import ReplyKind
from mcpgw.ports import ServerState
from mcpgw.upstream.config import ServerConfig
from tests.flows.gateway import lines_of, listening
from tests.real_servers import ROOT, odd_server
from tests.upstream.world import http, pool_of, stdio

COMMAND = [sys.executable, "-m", "tests.servers.watched_server"]
WEATHER, SECRET = "news://weather", "news://secret"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(params=["pipe", "modern", "legacy"])
def server(request: pytest.FixtureRequest, log: Path) -> Iterator[ServerConfig]:
    if request.param == "pipe":
        yield stdio([*COMMAND, str(log), "stdio"], cwd=str(ROOT))
        return
    with listening([*COMMAND, str(log), {"modern": "http"}.get(request.param, "legacy")]) as port:
        yield http(f"http://127.0.0.1:{port}/mcp")


async def test_a_server_is_asked_once_and_tells_until_it_is_told_to_stop(server: ServerConfig, log: Path) -> None:
    async with pool_of(server) as world:
        for _ in range(2):
            assert (await world.subscribe(WEATHER)).payload == {}
        assert (await world.subscribe(SECRET)).payload == {}
        await world.call("change", {"uri": WEATHER})
        await world.told.until_updated(WEATHER)
        world.pool.unsubscribe("s", WEATHER)
        world.pool.unsubscribe("s", "news://unknown")
        world.pool.unsubscribe("nobody", WEATHER)
        await over(log, WEATHER)
        await world.call("change", {"uri": WEATHER})
        await world.call("change", {"uri": SECRET})
        await world.told.until_updated(SECRET)
        asked = [line for line in lines_of(log) if line.startswith(("subscribe", "listen"))]
        assert len(asked) == len(set(asked)), "it was asked twice for the same"
        await world.subscribe(WEATHER)
        await world.call("change", {"uri": WEATHER})
        await world.told.until_updated(WEATHER)


async def over(log: Path, uri: str) -> None:
    """Wait until the server wrote that it no longer tells of the resource, to which it wrote that it did."""
    with anyio.fail_after(15):
        while not any(line.startswith(("over", "unsubscribe")) and line.endswith(uri) for line in lines_of(log)):  # noqa: ASYNC110
            await anyio.sleep(0.02)  # another process's file: there is no event to wait for


async def test_a_server_that_comes_back_is_asked_again_and_what_it_was_asked_counts_as_changed(log: Path) -> None:
    async with pool_of(stdio([*COMMAND, str(log), "stdio"], cwd=str(ROOT))) as world:
        await world.subscribe(WEATHER)
        with pytest.raises(UpstreamError):
            await world.call("die")
        await world.told.until_updated(WEATHER)
        assert lines_of(log).count(f"listen {WEATHER}") == 2
        await world.until(ServerState.READY)
        await world.call("change", {"uri": WEATHER})
        await world.told.until_updated(WEATHER)


async def test_what_a_server_refuses_is_said(log: Path) -> None:
    with listening([*COMMAND, str(log), "legacy"]) as port:
        async with pool_of(http(f"http://127.0.0.1:{port}/mcp")) as world:
            refused = await world.subscribe("news://nobody")
            assert (refused.kind, refused.payload["code"]) == (ReplyKind.ERROR, -32050)
            world.pool.unsubscribe("s", "news://nobody")
            assert (await world.subscribe(WEATHER)).kind is ReplyKind.RESULT


@pytest.mark.promise("resource-subscribe-unsupported")
async def test_a_server_that_offers_no_subscriptions_is_not_asked() -> None:
    async with pool_of(stdio(odd_server())) as world:
        with pytest.raises(UpstreamError, match="does not tell of changes of its resources") as caught:
            await world.subscribe(WEATHER)
    assert not caught.value.sent
