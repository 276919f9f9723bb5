"""LangChain's adapters: over HTTP each call has a session of its own, as they do by default; they have no sampling."""

import asyncio
import os
from typing import Any

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.prompts import load_mcp_prompt
from langchain_mcp_adapters.resources import load_mcp_resources
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.types import ElicitResult
from telling import CALLS, DAY, ELICITS, HEADERS, HELD, PROMPT, RESOURCE, WAY, tell, until_done


async def elicit(mcp_context: Any, params: Any, context: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=DAY)


async def main() -> None:
    if "url" in WAY:
        server: Any = {"transport": "streamable_http", "url": WAY["url"], "headers": HEADERS}
    else:
        environ = {**os.environ, **WAY["env"]}
        server = {"transport": "stdio", "command": WAY["command"], "args": WAY["args"], "env": environ}
    callbacks = Callbacks(on_elicitation=elicit)
    client = MultiServerMCPClient({"gateway": server}, callbacks=callbacks)
    async with client.session("gateway") as session:
        if "url" in WAY:
            tools = await client.get_tools()
        else:  # where a session is a process
            tools = await load_mcp_tools(session, callbacks=callbacks, server_name="gateway")
        by_name = {tool.name: tool for tool in tools}

        async def call(name: str, arguments: dict[str, Any]) -> str:
            asked = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
            return str((await by_name[name].ainvoke(asked)).text)

        tell("tools", [*by_name])
        tell("resources", [str(one.uri) for one in (await session.list_resources()).resources])
        tell("prompts", [one.name for one in (await session.list_prompts()).prompts])
        for step, (name, arguments) in CALLS.items():
            tell(step, await call(name, arguments))
        tell("read", (await load_mcp_resources(session, uris=RESOURCE))[0].as_string())
        tell("got", (await load_mcp_prompt(session, PROMPT[0], arguments=PROMPT[1]))[0].content)
        tell("elicited", await call(*ELICITS))
        tell("approved", await until_done(lambda: call(*HELD)))


asyncio.run(main())
