"""Clients in the wild: how long each one waits, and FastMCP's own client."""

import anyio
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.transports import SSETransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from mcp_types import Implementation

from mcpgw.inbound.config import PatienceTable
from tests.inbound.doors import World
from tests.inbound.wire import LEGACY, MODERN, Live, bearer, connected


@pytest.mark.parametrize(
    ("client", "wants_progress", "budget"),
    [
        ("claude-code", False, 45.0),
        ("Visual Studio Code", False, 45.0),
        ("some agent", False, 4.0),
        ("some agent", True, 45.0),
        ("", False, 4.0),
        ("mcp", True, 4.0),  # the OpenAI Agents SDK gives up after 5 s, progress or not
    ],
)
def test_a_client_waits_as_long_as_it_is_known_to(client: str, wants_progress: bool, budget: float) -> None:
    assert PatienceTable().of(client, wants_progress=wants_progress).budget_s == budget


def test_a_client_that_heeds_no_progress_waits_as_long_as_the_settings_say() -> None:
    table = PatienceTable(unknown_s=1.5)
    assert [table.of("mcp", wants_progress=asks).budget_s for asks in (True, False)] == [1.5, 1.5]
    assert PatienceTable(by_client={"mcp": 9.0}).of("MCP", wants_progress=True).budget_s == 9.0


def test_the_table_can_be_extended() -> None:
    table = PatienceTable(by_client={"our-agent": 300.0}, heartbeat_s=5.0)
    patience = table.of("Our-Agent", wants_progress=False)
    assert (patience.budget_s, patience.heartbeat_s) == (300.0, 5.0)


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_the_name_that_counts_is_the_one_in_client_info(mode: str) -> None:
    world = World()
    world.desk.approved.set()
    with anyio.fail_after(10):
        async with connected(world, "http", mode, client_info=Implementation(name="claude-code", version="2")) as client:
            await client.call_tool("bank__held", {})
    assert [patience.budget_s for patience in world.desk.patience] == [45.0]
    assert world.upstreams.calls[0].origin.client == "claude-code/2"


@pytest.mark.parametrize("transport", [StreamableHttpTransport, SSETransport])
async def test_fastmcps_client_lists_and_calls(world: World, live: Live, transport: type) -> None:
    path = "/mcp" if transport is StreamableHttpTransport else "/sse"
    with anyio.fail_after(15):
        async with FastClient(transport(live.url + path, headers=bearer("alice-key"))) as client:
            assert "bank__echo" in {tool.name for tool in await client.list_tools()}
            assert (await client.call_tool("bank__echo", {"x": 1})).content[0].text == '{"x": 1}'
            with pytest.raises(ToolError, match="Because rule-1 says so"):
                await client.call_tool("bank__denied", {})
