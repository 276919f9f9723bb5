"""A well-behaved MCP server on the SDK, for every transport and both eras: `story_server.py stdio|http|sse [--legacy-only]`.

On HTTP it listens on a free port of 127.0.0.1 and prints `PORT <number>` as its first line. Paths are `/mcp` and `/sse`.
Tools that take a `marker` append lines to that file, so that a test sees what happened to the server.
"""

import argparse
import json
import os
import socket
import threading
from pathlib import Path
from typing import Annotated, Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import Completion, ToolAnnotations
from pydantic import Field

server = MCPServer("story", version="1.2.3", log_level="ERROR")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Say it back."""
    return text


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers, structured."""
    return {"sum": a + b}


@server.tool()
async def steps(count: int, ctx: Context[Any, Any]) -> str:
    """Report progress `count` times, with a log message in the middle."""
    for step in range(1, count + 1):
        await ctx.report_progress(step, count, f"step {step}")
    return f"{count} steps"


@server.tool()
async def wait(marker: str, ctx: Context[Any, Any], seconds: float = 60, until: str = "") -> str:
    """Wait that long, or until a file appears; tell the marker when it started and whether it was cancelled."""
    note(marker, "started")
    try:
        await ctx.report_progress(1, 2, "waiting")
        with anyio.move_on_after(seconds):
            await appeared(until)
    except anyio.get_cancelled_exc_class():
        note(marker, "cancelled")
        raise
    note(marker, "finished")
    return "waited"


@server.tool()
def count(marker: str) -> int:
    """Append one line to the marker and return how many there are: an effect that can be counted."""
    note(marker, "called")
    return len(Path(marker).read_text().splitlines())


@server.tool()
async def grow(ctx: Context[Any, Any], name: str = "late") -> str:
    """Offer one more tool, and say so."""
    server.add_tool(lambda: "here", name=name, description="Came later.")
    if ctx.protocol_version == "2026-07-28":
        await ctx.notify_tools_changed()
    else:
        await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
def environment() -> dict[str, str]:
    """Return the whole environment of this process."""
    return dict(os.environ)


@server.tool()
def region(where: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """A parameter that travels in a header as well (2026-07-28)."""
    return where


@server.tool()
def fail() -> str:
    """Always fail."""
    raise ValueError("account 4111 1111 1111 1111 is closed")


@server.tool()
def die(marker: str = "") -> str:
    """End the process in the middle of the call."""
    if marker:
        note(marker, "dying")
    os._exit(3)


@server.resource("story://one", name="one")
def one() -> str:
    """A resource."""
    return "once upon a time"


@server.prompt()
def tell(who: str) -> str:
    """A prompt."""
    return f"Tell {who} a story."


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> Any:
    return Completion(values=[f"{argument.value}rab"], total=1, has_more=False)


async def appeared(file: str) -> None:
    while not (file and await anyio.Path(file).exists()):  # noqa: ASYNC110 - another process makes it
        await anyio.sleep(0.05)


def note(marker: str, line: str) -> None:
    with Path(marker).open("a") as file:
        file.write(line + "\n")


def legacy_only(app: Any) -> Any:
    """Answer as a server does that never heard of 2026-07-28."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") == b"2026-07-28":
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"unsupported protocol version"})
            return
        await app(scope, receive, send)

    return wrapped


def serve(app: Any) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # so that whoever reads the port can connect at once
    print(f"PORT {listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def run(server: MCPServer) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["stdio", "http", "sse"])
    parser.add_argument("--legacy-only", action="store_true")
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of event streams")
    options = parser.parse_args()
    if options.transport == "stdio":
        if options.legacy_only:
            refuse_discovery()
        server.run("stdio")
    elif options.transport == "sse":
        serve(server.sse_app())
    else:
        app = server.streamable_http_app(json_response=options.json)
        serve(legacy_only(app) if options.legacy_only else app)


def refuse_discovery() -> None:
    """What `legacy_only` is to HTTP, on stdio: the SDK never hears the question by which it would become modern."""
    source = os.fdopen(os.dup(0), "rb")
    end, beginning = os.pipe()
    os.dup2(end, 0)

    def sift() -> None:
        with os.fdopen(beginning, "wb", buffering=0) as sink:
            for line in source:
                message = json.loads(line)
                if message.get("method") == "server/discover":
                    error = {"code": -32601, "message": "Method not found"}
                    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
                else:
                    sink.write(line)

    threading.Thread(target=sift, daemon=True).start()


if __name__ == "__main__":
    run(server)
