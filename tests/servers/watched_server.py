"""A server on the SDK whose resources, tools and prompts change, and which tells: `watched_server.py LOG stdio|http|legacy`.

`legacy` is HTTP, and never heard of 2026-07-28. The log gets a line for each resource that somebody subscribes to, and for each
end of that.
"""

import os
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Prompt
from mcp.server.mcpserver.resources import TextResource
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError

from tests.servers.story_server import legacy_only, note, serve

LOG = sys.argv[1]


async def watching(ctx: Any, call_next: Any) -> Any:
    """Note the streams of 2026-07-28 that name resources: when one begins, and when it ends."""
    named = ((ctx.params or {}).get("notifications") or {}).get("resourceSubscriptions", ())
    if ctx.method != "subscriptions/listen" or not named:
        return await call_next(ctx)
    note(LOG, f"listen {' '.join(named)}")
    try:
        return await call_next(ctx)
    finally:
        note(LOG, f"over {' '.join(named)}")


server = MCPServer("watched", version="1.0.0", log_level="ERROR", middleware=[watching])
sessions: dict[str, set[ServerSession]] = {}
"""Those of before 2026-07-28 that are subscribed, by URI."""


@server.resource("news://{topic}/today", name="news")
def news(topic: str) -> str:
    """What is new."""
    return f"Nothing about {topic}."


@server.resource("news://weather", name="weather")
def weather() -> str:
    """The weather."""
    return "It rains."


@server.resource("news://secret", name="secret")
def secret() -> str:
    """Not for everybody."""
    return "It will rain."


@server.tool()
async def change(uri: str, ctx: Context[Any, Any]) -> str:
    """Change a resource, or one below it, and tell who subscribed."""
    await ctx.notify_resource_updated(uri)
    for name, subscribed in sessions.items():
        for session in subscribed if uri == name or uri.startswith(f"{name}/") else ():
            await session.send_resource_updated(uri)
    return "changed"


@server.tool()
async def grow(name: str, ctx: Context[Any, Any]) -> str:
    """Offer a tool, a resource and a prompt more, and say so."""
    server.add_tool(lambda: "here", name=name, description="Came later.")
    server.add_resource(TextResource(uri=f"news://{name}", name=name, text="new"))
    server.add_prompt(Prompt.from_function(lambda: "Read it.", name=name))
    return await tell(ctx)


@server.tool()
async def shrink(name: str, ctx: Context[Any, Any]) -> str:
    """Withdraw them, and say so."""
    server.remove_tool(name)
    server.remove_prompt(name)
    server._resource_manager._resources.pop(f"news://{name}")  # the SDK has no name for this
    return await tell(ctx)


@server.tool()
def die() -> str:
    """End the process in the middle of the call."""
    os._exit(3)


async def tell(ctx: Context[Any, Any]) -> str:
    if ctx.protocol_version == "2026-07-28":
        await ctx.notify_tools_changed()
        await ctx.notify_resources_changed()
        await ctx.notify_prompts_changed()
    else:
        await ctx.session.send_tool_list_changed()
        await ctx.session.send_resource_list_changed()
        await ctx.session.send_prompt_list_changed()
    return "told"


async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
    if params.uri == "news://nobody":
        raise MCPError(-32050, "nobody hears of that")
    note(LOG, f"subscribe {params.uri}")
    sessions.setdefault(str(params.uri), set()).add(ctx.session)
    return types.EmptyResult()


async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    note(LOG, f"unsubscribe {params.uri}")
    sessions.pop(str(params.uri), None)
    return types.EmptyResult()


lowlevel = server._lowlevel_server  # the one way to methods that the high-level server has no name for
lowlevel.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
lowlevel.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)


if __name__ == "__main__":
    Path(LOG).touch()
    if sys.argv[2] == "stdio":
        server.run("stdio")
    else:
        app = server.streamable_http_app()
        serve(legacy_only(app) if sys.argv[2] == "legacy" else app)
