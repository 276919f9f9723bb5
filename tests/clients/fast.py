"""FastMCP's client."""

import os
from typing import Any

import anyio
from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from mcp_types import CreateMessageResult, TextContent
from telling import CALLS, DAY, ELICITS, HEADERS, HELD, PROMPT, RESOURCE, SAMPLES, SUMMARY, WAY, tell, until_done


async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
    return DAY


async def sample(messages: Any, params: Any, context: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", model="m", content=TextContent(text=SUMMARY))


async def main() -> None:
    way: Any
    if "url" in WAY:
        way = (SSETransport if WAY["url"].endswith("/sse") else StreamableHttpTransport)(WAY["url"], headers=HEADERS)
    else:
        way = StdioTransport(WAY["command"], WAY["args"], env={**os.environ, **WAY["env"]}, keep_alive=False)
    async with Client(way, elicitation_handler=elicit, sampling_handler=sample) as client:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return (await client.call_tool(name, arguments, raise_on_error=False)).content[0].text

        tell("tools", [one.name for one in await client.list_tools()])
        tell("resources", [str(one.uri) for one in await client.list_resources()])
        tell("prompts", [one.name for one in await client.list_prompts()])
        for step, (name, arguments) in CALLS.items():
            tell(step, await call(name, arguments))
        tell("read", (await client.read_resource(RESOURCE))[0].text)
        tell("got", (await client.get_prompt(*PROMPT)).messages[0].content.text)
        tell("elicited", await call(*ELICITS))
        tell("sampled", await call(*SAMPLES))
        tell("approved", await until_done(lambda: call(*HELD)))


anyio.run(main)
