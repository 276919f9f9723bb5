"""The upstream that every contender stands before: one tool, `echo`, on the SDK's low-level server, stateless where it can be.

`python -m bench.echo stdio`, or `python -m bench.echo http PORT`. Both protocol eras.
"""

import sys
from typing import Any

import anyio
import mcp_types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


async def _list(_: Any, __: Any) -> mcp_types.ListToolsResult:
    read_only = mcp_types.ToolAnnotations(read_only_hint=True)
    tool = mcp_types.Tool(name="echo", description="Say it back.", input_schema=SCHEMA, annotations=read_only)
    return mcp_types.ListToolsResult(tools=[tool])


async def _call(_: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
    text = str((params.arguments or {}).get("text", ""))
    return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text=text)])


def server() -> Server[Any]:
    made: Server[Any] = Server(
        "echo", version="1", on_list_tools=_list, on_call_tool=_call, get_tool_input_schema=lambda _: None
    )
    made.middleware.clear()  # tracing
    return made


async def _stdio() -> None:
    echo = server()
    async with stdio_server() as (source, sink):
        await echo.run(source, sink, echo.create_initialization_options())


def main() -> None:
    if sys.argv[1] == "stdio":
        anyio.run(_stdio, backend_options={"use_uvloop": True})
    else:
        app = server().streamable_http_app(json_response=True)
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
