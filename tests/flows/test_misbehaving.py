"""Servers that misbehave over each transport, behind one whole gateway: each call has its one outcome on record."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import anyio
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.flows.gateway import BOUND_S, make_folder, serving, until_listed, words
from tests.real_servers import odd_server
from tests.upstream.raw_http import Request, event, reply, write
from tests.upstream.raw_http import serving as listening
from tests.upstream.test_matrix import OneStream, StreamHttp

WAYS = ("invalid_utf8", "twice", "drip", "half")
"""All the others are told apart in tests/upstream; to the record they are like one of these."""
SERVERS = ("pipe", "web", "events")
LISTED = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", *WAYS)]}


class Web(StreamHttp):
    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.asks == "tools/list":
            reply(request, writer, LISTED)
            await writer.drain()
        else:
            await super().answer(request, writer)


class Events(OneStream):
    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.asks == "tools/list" and self.writer is not None:
            write(writer, "202 Accepted", b"")
            self.writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "result": LISTED}))
            await writer.drain()
        else:
            await super().answer(request, writer)


async def test_each_call_of_a_server_that_misbehaves_has_one_outcome_on_record(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gateway")
    folder.key("alice", "all")
    folder.spawned("honest", odd_server())
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(LISTED))
    more = "[defaults]\ntimeout_s = 4\n[tools.drip]\ntimeout_s = 1\n"
    async with listening(Web()) as web, listening(Events()) as events:
        folder.spawned("pipe", odd_server("--lists", str(lists)), more)
        folder.called("web", "http", web.url, more)
        folder.called("events", "sse", events.url, more)
        await folder.acli("catalog", "accept", "--all", "--yes")
        running = serving(folder)
        gateway = await anyio.to_thread.run_sync(running.__enter__)
        try:
            async with gateway.client("http 2025", folder.keys["alice"]) as client, anyio.create_task_group() as tasks:
                for server in SERVERS:
                    tasks.start_soon(all_ways, client, server)
        finally:
            await anyio.to_thread.run_sync(running.__exit__, None, None, None)  # judges that no intent is left open
    intents = {record["call"]: record["target"]["name"] for record in folder.records("call.intent")}
    ends = Counter(intents[record["call"]] for record in folder.records("call.outcome"))
    once = {f"{server}__{way}": 1 for server in SERVERS for way in WAYS}
    assert ends == Counter({**once, "honest__echo": len(SERVERS) * len(WAYS)})


async def all_ways(client: Client, server: str) -> None:
    for way in WAYS:
        await until_listed(client, f"{server}__echo", "honest__echo")  # it may be on its way back from what it did before
        with anyio.fail_after(BOUND_S):
            try:
                said = words(await client.call_tool(f"{server}__{way}", {}))
            except MCPError as error:
                said = str(error)
            assert said
            assert words(await client.call_tool("honest__echo", {"text": way})) == way
