"""The tools that the tasks scenarios of the conformance suite call, on a server that knows nothing of tasks.

`suite_server.py` speaks over stdio. What makes a task of a call is the gateway before it, which holds the call for people.
"""

from typing import Annotated

import anyio
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

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


class Confirmed(BaseModel):
    confirm: bool


class Named(BaseModel):
    name: str


class Value(BaseModel):
    value: str = ""


def is_it_meant(filename: str) -> Elicit[Confirmed]:
    return Elicit(f"Delete {filename}?", Confirmed)


def who() -> Elicit[Named]:
    return Elicit("What is your name?", Named)


def first() -> Elicit[Value]:
    return Elicit("The first value?", Value)


def second() -> Elicit[Value]:
    return Elicit("The second value?", Value)


@server.tool()
def confirm_delete(filename: str, answer: Annotated[ElicitationResult[Confirmed], Resolve(is_it_meant)]) -> str:
    """Ask whether it is meant, and delete nothing."""
    return f"{filename} is still there: {answer.action}"


@server.tool()
def multi_input(
    one: Annotated[ElicitationResult[Value], Resolve(first)], other: Annotated[ElicitationResult[Value], Resolve(second)]
) -> str:
    """Ask two things at once."""
    return f"{one.action}, {other.action}"


@server.tool()
def test_tool_with_task(answer: Annotated[Named, Resolve(who)]) -> str:
    """Ask who it is for, and greet them."""
    return f"Hello, {answer.name}!"


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
