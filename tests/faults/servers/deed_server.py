"""An MCP server of 2026-07-28 without any library whose effects can be counted: `deed_server.py http|stdio JOURNAL`.

Each call appends one line, `NAME DEED TIME_NS`, to the journal and syncs it before anything else happens: the line is the
effect. Over HTTP it prints `PORT <number>` and outlives every gateway. What a tool does after its effect is what its name says.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

VERSION = "2026-07-28"
SCHEMA = {
    "type": "object",
    "properties": {"deed": {"type": "string"}, "ms": {"type": "integer"}},
    "required": ["deed"],
}
TOOLS = {
    "do": "Have one effect, and answer after `ms`.",
    "risky": "The same, for the catalog to call risky.",
    "cut": "Have one effect, then break the connection off without an answer.",
    "die": "Have one effect, then end the whole process.",
}


class Journal:
    """What happened, for good."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, tool: str, deed: str) -> None:
        os.write(self._file, f"{tool} {deed} {time.time_ns()}\n".encode())
        os.fsync(self._file)


class Cut(Exception):
    """The connection ends here."""


async def answer(message: dict[str, Any], journal: Journal) -> dict[str, Any]:
    match message["method"]:
        case "server/discover":
            versions = {"supportedVersions": [VERSION], "capabilities": {"tools": {}}, "resultType": "complete"}
            return {"result": {**versions, "ttlMs": 0, "cacheScope": "private"}}
        case "tools/list":
            tools = [{"name": name, "description": about, "inputSchema": SCHEMA} for name, about in TOOLS.items()]
            return {"result": {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}}
        case "tools/call":
            return {"result": await call(message["params"]["name"], message["params"]["arguments"], journal)}
        case method:
            return {"error": {"code": -32601, "message": f"no {method} here"}}


async def call(tool: str, arguments: dict[str, Any], journal: Journal) -> dict[str, Any]:
    deed = arguments["deed"]
    journal.note(tool, deed)
    if tool == "die":
        os._exit(9)
    if tool == "cut":
        raise Cut
    await asyncio.sleep(arguments.get("ms", 0) / 1000)
    return {"content": [{"type": "text", "text": deed}], "structuredContent": {"deed": deed}, "resultType": "complete"}


# --- the two transports --------------------------------------------------------------------------------------------------


async def serve_http(journal: Journal) -> None:
    async def post(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if "id" not in message:
            return web.Response(status=202)
        try:
            body = await answer(message, journal)
        except Cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # nobody is there to receive it
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], **body})

    app = web.Application()
    app.router.add_post("/mcp", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"PORT {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


async def serve_stdio(journal: Journal) -> None:
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def respond(message: dict[str, Any]) -> None:
        try:
            body = await answer(message, journal)
        except Cut:
            os._exit(0)  # the end of a pipe is the end of the process
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)

    async with asyncio.TaskGroup() as tasks:
        async for line in reader:
            if "id" in (message := json.loads(line)):
                tasks.create_task(respond(message))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["http", "stdio"])
    parser.add_argument("journal", type=Path)
    options = parser.parse_args()
    journal = Journal(options.journal)
    asyncio.run((serve_http if options.transport == "http" else serve_stdio)(journal))


if __name__ == "__main__":
    main()
