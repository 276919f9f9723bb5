"""The tools that the tasks scenarios of the conformance suite call, on a server that knows nothing of tasks.

`suite_server.py` speaks over stdio. What makes a task of a call is the gateway before it, which holds the call for people.
"""

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

server = MCPServer("suite", version="1.0.0", log_level="ERROR")


@server.tool()
def greet(name: str) -> str:
    """Greet somebody, at once."""
    return f"Hello, {name}!"


@server.tool()
async def slow_compute(seconds: float, label: str = "") -> str:
    """Take that long."""
    await anyio.sleep(seconds)
    return f"{label} took {seconds:g} s"


@server.tool()
def confirm_delete(filename: str) -> str:
    """Delete nothing, and ask nobody."""
    return f"{filename} is still there"


@server.tool()
async def failing_job() -> str:
    """Fail as a tool does."""
    raise ValueError("the job failed")


@server.tool()
async def protocol_error_job() -> str:
    """Fail as a server does."""
    raise MCPError(-32050, "the server cannot do this job")


if __name__ == "__main__":
    server.run("stdio")
