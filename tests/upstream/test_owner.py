"""The owner task keeps one server's lists current, gives a mute one up, and survives whatever happens to it."""

import asyncio
import json
import logging
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import ConfigError, UpstreamError
from mcpgw.core.model import TargetKind
from mcpgw.ports import Definitions, ServerState, ServerStatus
from mcpgw.upstream import Limits, UpstreamPool
from tests.real_servers import odd_server
from tests.upstream.raw_http import RawHttp, Request, serving, write
from tests.upstream.world import QUICK, http, pool_of, stdio, texts


async def test_a_list_that_changed_silently_is_noticed_from_time_to_time() -> None:
    limits = Limits(refresh_s=0.2, refresh_least_s=0.1)
    async with serving(Changing()) as server, pool_of(http(server.url), limits=limits) as world:
        assert [tool["name"] for tool in world.pool.definitions("s")[TargetKind.TOOL]] == ["t"]
        server.tools = [{"name": "t", "inputSchema": {"const": True}}]
        await world.told.more.wait()
        assert world.told.definitions[-1][1][TargetKind.TOOL] == ({"name": "t", "inputSchema": {"const": True}},)
        told = len(world.told.definitions)
        server.tools = [{"name": "t", "inputSchema": {"const": 1}}]  # Python takes 1 for True, JSON does not
        while len(world.told.definitions) == told:
            await world.told.more.wait()


async def test_an_idle_server_that_does_not_list_any_more_counts_as_down_and_keeps_its_definitions() -> None:
    limits = Limits(refresh_s=0.2, refresh_least_s=0.1, page_s=0.2, backoff_first_s=0.05, handshake_s=0.3, probe_s=0.3)
    async with serving(Changing()) as server, pool_of(http(server.url), limits=limits) as world:
        server.tools = None
        with anyio.fail_after(10):
            await world.told.until_down()
        down = next(status for status in world.told.statuses if status.state is ServerState.DOWN)
        assert "does not answer any more" in down.problem
        assert world.pool.definitions("s")[TargetKind.TOOL] == ({"name": "t"},)
        server.tools = []
        await world.until(ServerState.READY)
        assert world.pool.definitions("s")[TargetKind.TOOL] == ()


async def test_a_catalog_that_refuses_the_definitions_keeps_the_server_down() -> None:
    async def refuse(name: str, definitions: Definitions) -> None:
        raise ConfigError("two tools have one name", where="catalog/s.toml")

    statuses: list[ServerStatus] = []

    async def status(told: ServerStatus) -> None:
        statuses.append(told)
        if told.state is ServerState.DOWN:
            down.set()

    down = anyio.Event()
    async with UpstreamPool(on_definitions=refuse, on_status=status, version="0", limits=QUICK) as pool:
        pool.configure({"s": stdio(odd_server())})
        with anyio.fail_after(10):
            await down.wait()
        assert pool.definitions("s") == {}
    assert "catalog/s.toml: two tools have one name" in statuses[1].problem
    assert statuses[-1].state is ServerState.STOPPED


async def test_a_fault_of_our_own_in_one_server_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(name: str, definitions: Definitions) -> None:
        if name == "unlucky":
            raise ZeroDivisionError
        good.set()

    async def status(told: ServerStatus) -> None: ...

    good = anyio.Event()
    async with UpstreamPool(on_definitions=fail, on_status=status, version="0", limits=QUICK) as pool:
        pool.configure({"unlucky": stdio(odd_server()), "good": stdio(odd_server("--era", "2024"))})
        with anyio.fail_after(10):
            await good.wait()
            while not any("ZeroDivisionError" in told.problem for told in pool.status()):  # noqa: ASYNC110
                await anyio.sleep(0.02)
    assert "internal error" in caplog.text


async def test_problems_are_told_once_and_not_at_every_attempt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with pool_of(stdio(["no-such-program"]), ready=False) as world:
        await world.until(ServerState.DOWN)
        await anyio.sleep(0.5)  # several attempts
        assert [status.state for status in world.told.statuses] == [ServerState.STARTING, ServerState.DOWN]
        assert caplog.text.count("is down") == 1


async def test_a_call_waits_for_a_server_that_has_just_been_started() -> None:
    async with pool_of(stdio(odd_server()), ready=False) as world:
        assert texts(await world.call("echo", {"text": "first"})) == ["first"]


async def test_a_server_that_takes_long_to_start_is_not_waited_for_any_longer() -> None:
    async with pool_of(stdio(["sleep", "60"]), limits=Limits(starting_s=0.1, stop_s=0.2), ready=False) as world:
        with anyio.fail_after(1), pytest.raises(UpstreamError, match="is starting") as caught:
            await world.call("t")
        assert caught.value.sent is False


async def test_servers_may_be_replaced_faster_than_they_stop(tmp_path: Path) -> None:
    journals = [tmp_path / str(number) for number in range(4)]
    async with pool_of(stdio(odd_server("--journal", str(journals[0])))) as world:
        for journal in journals[1:]:
            world.pool.configure({"s": stdio(odd_server("--journal", str(journal)))})
        await world.until(ServerState.READY)
        assert texts(await world.call("echo", {"text": "last"})) == ["last"]
    assert [journal.exists() for journal in journals] == [True, False, False, True]


class Changing(RawHttp):
    """Offers `tools`; does not answer where they are None."""

    def __init__(self) -> None:
        super().__init__(self.nothing)
        self.tools: list[dict[str, object]] | None = [{"name": "t"}]

    async def nothing(self, request: Request, writer: asyncio.StreamWriter) -> None: ...

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.asks != "tools/list":
            await super().answer(request, writer)
        elif self.tools is not None:
            result = {"jsonrpc": "2.0", "id": request.body["id"], "result": {"tools": self.tools}}
            write(writer, "200 OK", json.dumps(result).encode())
