"""Clients that others wrote: FastMCP's, and the MCP Inspector's command line in both eras. The SDK's is in every story"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from mcp.shared.exceptions import MCPError

from tests.flows.gateway import BOUND_S, Gateway, bearer, make_folder, serving, until
from tests.real_servers import NODE, inspector, story_server


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_fastmcps_client_lists_and_calls(stories: Gateway, transport: str) -> None:
    key = stories.folder.keys["bob"]
    way: Any
    match transport:
        case "http":
            way = StreamableHttpTransport(f"{stories.url}/mcp", headers=bearer(key))
        case "sse":
            way = SSETransport(f"{stories.url}/sse", headers=bearer(key))
        case _:
            arguments = ["-m", "mcpgw", "stdio", "-C", str(stories.folder.path)]
            way = StdioTransport(sys.executable, arguments, env=stories.folder.full_environ(key), keep_alive=False)
    with anyio.fail_after(BOUND_S):
        async with FastClient(way) as client:
            listed: set[str] = set()
            while len(listed) < 3:  # over stdio the upstreams of this gateway are starting
                listed = {tool.name for tool in await client.list_tools()}
            assert listed == {"pipe__echo", "web__echo", "events__echo"}
            result = await client.call_tool("web__echo", {"text": "hello"})
            assert (result.content[0].text, result.structured_content) == ("hello", {"result": "hello"})
            with pytest.raises(MCPError, match="Unknown tool: web__count"):
                await client.call_tool("web__count", {})


@pytest.mark.parametrize(("era", "path"), [("legacy", "mcp"), ("modern", "mcp"), ("legacy", "sse")])
async def test_the_inspector_lists_and_calls(stories: Gateway, era: str, path: str) -> None:
    key = stories.folder.keys["bob"]
    listed = await inspected(stories, key, era, path, "--method", "tools/list")
    assert {tool["name"] for tool in listed["tools"]} == {"pipe__echo", "web__echo", "events__echo"}
    called = await inspected(
        stories, key, era, path, "--method", "tools/call", "--tool-name", "pipe__echo", "--tool-arg", "text=hello"
    )
    assert called["content"] == [{"type": "text", "text": "hello"}]


async def test_the_inspector_waits_for_people_and_gets_the_result(holding: Gateway) -> None:
    """Of 2026-07-28 it declares the tasks extension, and polls."""
    folder, said = holding.folder, list[dict[str, Any]]()
    call = ("--method", "tools/call", "--tool-name", "pipe__echo", "--tool-arg", "text=hello")

    async def ask() -> None:
        said.append(await inspected(holding, folder.keys["alice"], "modern", "mcp", *call))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        (held,) = await until(lambda: folder.records("call.held"), "it is held")
        await folder.acli("approvals", "approve", held["approval"]["id"], "--yes", key=folder.keys["carol"])
    assert said[0]["content"] == [{"type": "text", "text": "hello"}]
    given_out = [read["facts"] for read in folder.records("evidence.read") if read["facts"].get("read") == "result"]
    assert [facts["approval_id"] for facts in given_out] == [held["approval"]["id"]]


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    rule = '[[rules]]\nid = "people-look"\neffect = "hold"\ntools = ["*__echo"]\nreason = "People look at this first."\n'
    folder = make_folder(tmp_path_factory.mktemp("holding") / "gateway", rule)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


async def inspected(gateway: Gateway, key: str, era: str, path: str, *method: str) -> dict[str, Any]:
    if not NODE.exists():
        pytest.skip("the Inspector is not installed: scripts/upstreams")
    transport = ["--transport", "sse" if path == "sse" else "http"]
    where = ["--server-url", f"{gateway.url}/{path}", *transport, "--header", f"Authorization: Bearer {key}"]
    command = inspector("--cli", *where, "--protocol-era", era, "--stored-auth-only", *method)

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, stdin=subprocess.DEVNULL)

    done = await anyio.to_thread.run_sync(run)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found
