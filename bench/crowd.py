"""Many upstreams in one process, each at a path of its own with its own tools: `python -m bench.crowd PORT FIRST COUNT TOOLS`.

`python -m bench.crowd stdio NUMBER TOOLS` is one of them on a pipe. Both protocol eras, on the SDK's low-level server.
"""

import sys
from contextlib import AsyncExitStack
from typing import Any

import anyio
import mcp_types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

VERBS = ("list", "get", "find", "open", "close", "approve", "reject", "export")
NOUNS = ("accounts", "payments", "cards", "loans", "customers")
"""Eight by five are the forty tools of a server; further ones are numbered."""


def tool_names(tools: int) -> list[str]:
    pairs = [f"{verb}_{noun}" for noun in NOUNS for verb in VERBS]
    return [pairs[n] if n < len(pairs) else f"{pairs[n % len(pairs)]}_{n}" for n in range(tools)]


def definitions(number: int, tools: int) -> list[mcp_types.Tool]:
    """Return tools as servers in use write them: a sentence or two, four described arguments, some with an output schema."""
    return [_tool(number, name, n) for n, name in enumerate(tool_names(tools))]


def _tool(number: int, name: str, n: int) -> mcp_types.Tool:
    verb, _, noun = name.partition("_")
    text = {"type": "string"}
    return mcp_types.Tool(
        name=name,
        title=f"{verb.capitalize()} {noun} of branch {number}",
        description=f"{verb.capitalize()} the {noun} that branch {number} keeps, newest first. Use it when somebody asks about "
        f"{noun} by reference or by date. It returns at most a hundred entries.",
        input_schema={
            "type": "object",
            "properties": {
                "reference": {**text, "description": f"The reference of the {noun}, as it stands on the statement."},
                "since": {**text, "format": "date", "description": "Only what is newer than this day."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many at most."},
                "currency": {"enum": ["CHF", "EUR", "GBP", "USD"], "description": "Only in this currency."},
            },
            "required": ["reference"],
        },
        output_schema={"type": "object", "properties": {"entries": {"type": "array", "items": text}}} if n % 2 else None,
        annotations=mcp_types.ToolAnnotations(read_only_hint=verb in ("list", "get", "find")),
    )


def server(number: int, tools: int) -> Server[Any]:
    listed = mcp_types.ListToolsResult(tools=definitions(number, tools))

    async def _list(_: Any, __: Any) -> mcp_types.ListToolsResult:
        return listed

    async def _call(_: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text=f"{number} {params.name}")])

    made: Server[Any] = Server(
        f"branch-{number}", version="1", on_list_tools=_list, on_call_tool=_call, get_tool_input_schema=lambda _: None
    )
    made.middleware.clear()  # tracing
    return made


class Crowd:
    """An ASGI application of so many servers, at `/0/mcp`, `/1/mcp` and so on."""

    def __init__(self, first: int, count: int, tools: int) -> None:
        self._apps = {str(n): server(n, tools).streamable_http_app(json_response=True) for n in range(first, first + count)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        _, number, path = scope["path"].split("/", 2)
        await self._apps[number]({**scope, "path": f"/{path}", "raw_path": f"/{path}".encode()}, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            for app in self._apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _stdio(number: int, tools: int) -> None:
    one = server(number, tools)
    async with stdio_server() as (source, sink):
        await one.run(source, sink, one.create_initialization_options())


def main() -> None:
    if sys.argv[1] == "stdio":
        anyio.run(_stdio, int(sys.argv[2]), int(sys.argv[3]), backend_options={"use_uvloop": True})
        return
    port, first, count, tools = map(int, sys.argv[1:5])
    crowd = Crowd(first, count, tools)
    uvicorn.run(crowd, host="127.0.0.1", port=port, log_level="error", loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
