"""The same stories over every transport and in both eras, told by the SDK's own client."""

import anyio
import mcp_types
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.core.model import Failed, FailureCode
from tests.inbound.doors import World
from tests.inbound.wire import LEGACY, MODERN, TRANSPORTS, connected

pytestmark = pytest.mark.parametrize(
    ("transport", "mode"), [(transport, mode) for transport in TRANSPORTS for mode in (MODERN, LEGACY)]
)


async def test_a_client_lists_what_its_identity_sees_and_calls_it(transport: str, mode: str) -> None:
    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            answer = await client.call_tool("bank__echo", {"a": [1, None, "ü"]})

    assert names == sorted(names)
    assert "bank__alice" in names and "bank__bob" not in names
    assert answer.content[0].text == '{"a": [1, null, "\\u00fc"]}'
    [call] = world.upstreams.calls
    assert (call.identity.subject, call.origin.transport, call.target.name) == ("alice", transport, "bank__echo")
    assert call.origin.protocol_version == (MODERN if mode == MODERN else "2025-11-25")
    assert call.origin.client.startswith("mcp/")
