"""A server on the SDK that asks its caller in the middle of calls: `asking_server.py stdio|http|sse [--legacy-only]`.

It asks as each era does: by requests of its own up to 2025-11-25, by results that ask for input in 2026-07-28.
"""

import os
from typing import Annotated, Any

import anyio
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel
from story_server import run

server = MCPServer("asking", version="1.0.0", log_level="ERROR")


class Day(BaseModel):
    day: str


def which_day(what: str) -> Elicit[Day]:
    return Elicit(f"Which day for {what}?", Day)


def which_other_day(what: str) -> Elicit[Day]:
    return Elicit(f"And if not, which other day for {what}?", Day)


def summary(text: str) -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(text=f"Sum up: {text}"))], max_tokens=50)


def all_folders() -> ListRoots:
    return ListRoots()


@server.tool()
def book(what: str, chosen: Annotated[ElicitationResult[Day], Resolve(which_day)]) -> str:
    """Ask for a day, and say what became of it."""
    return f"{what}: {chosen.action} {chosen.data.day if chosen.action == 'accept' else ''}".strip()


@server.tool()
def book_twice(
    what: str,
    first: Annotated[Day, Resolve(which_day)],
    second: Annotated[Day, Resolve(which_other_day)],
) -> str:
    """Ask two questions."""
    return f"{what}: {first.day} or {second.day}"


@server.tool()
def sum_up(text: str, answer: Annotated[CreateMessageResult, Resolve(summary)]) -> str:
    """Ask the client's model."""
    return answer.content.text if isinstance(answer.content, TextContent) else ""


@server.tool()
def folders(found: Annotated[ListRootsResult, Resolve(all_folders)]) -> list[str]:
    """Ask for the client's folders."""
    return [str(root.uri) for root in found.roots]


@server.tool()
async def sign(ctx: Context[Any, Any]) -> str:
    """Send the user to a page, and tell when they were there (2025-11-25)."""
    answered = await ctx.elicit_url("Please sign", "https://sign.example.org/7", "elicitation-7")
    await ctx.session.send_elicit_complete("elicitation-7", related_request_id=ctx.request_id)
    return answered.action


@server.tool()
async def both(ctx: Context[Any, Any]) -> str:
    """Have two questions open at once, and tell of progress meanwhile (2025-11-25)."""
    days: dict[str, str] = {}

    async def ask(name: str) -> None:
        answered = await ctx.elicit(name, Day)
        days[name] = answered.data.day if answered.action == "accept" else answered.action

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "first")
        tasks.start_soon(ask, "second")
        await anyio.sleep(0.1)
        await ctx.report_progress(1, 2, "asked")
    return f"{days['first']}, {days['second']}"


@server.tool()
async def unlinked(ctx: Context[Any, Any]) -> str:
    """Ask beside the call's own stream (2025-11-25)."""
    answered = await ctx.session.elicit_form("Which day?", Day.model_json_schema())
    return f"{answered.action} {answered.content}"


@server.tool()
async def impatient(ctx: Context[Any, Any]) -> str:
    """Ask, and take the question back after a while (2025-11-25)."""
    with anyio.move_on_after(0.3):
        await ctx.elicit("Quick!", Day)
    return "went on"


@server.tool()
async def dies_asking(ctx: Context[Any, Any]) -> str:
    """End the process while its question is open (2025-11-25)."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ctx.elicit, "Are you there?", Day)
        await anyio.sleep(0.3)
        os._exit(3)


@server.tool()
async def whereabouts(ctx: Context[Any, Any], seconds: float = 0) -> dict[str, Any]:
    """Tell in which process and session this runs, and what the client declared in it."""
    await anyio.sleep(seconds)
    declared = ctx.client_capabilities
    return {
        "pid": os.getpid(),
        "session": (ctx.headers or {}).get("mcp-session-id", ""),
        "declared": declared.model_dump(mode="json", by_alias=True, exclude_none=True) if declared else {},
    }


if __name__ == "__main__":
    run(server)
