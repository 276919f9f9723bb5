"""The Python SDK of 2.x, in the era that its second argument says."""

import os
import sys
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageResult, ElicitResult, TextContent
from telling import CALLS, DAY, ELICITS, HEADERS, HELD, PROMPT, RESOURCE, SAMPLES, SUMMARY, WAY, tell, until_done


async def elicit(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=DAY)


async def sample(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", model="m", content=TextContent(text=SUMMARY))


async def main() -> None:
    if "url" in WAY:
        streams = streamable_http_client(WAY["url"], http_client=httpx2.AsyncClient(headers=HEADERS, timeout=30))
    else:
        environ = {**os.environ, **WAY["env"]}
        streams = stdio_client(StdioServerParameters(command=WAY["command"], args=WAY["args"], env=environ))
    async with Client(streams, mode=sys.argv[2], elicitation_callback=elicit, sampling_callback=sample) as client:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return (await client.call_tool(name, arguments)).content[0].text

        tell("tools", [one.name for one in (await client.list_tools()).tools])
        tell("resources", [one.uri for one in (await client.list_resources()).resources])
        tell("prompts", [one.name for one in (await client.list_prompts()).prompts])
        for step, (name, arguments) in CALLS.items():
            tell(step, await call(name, arguments))
        tell("read", (await client.read_resource(RESOURCE)).contents[0].text)
        tell("got", (await client.get_prompt(*PROMPT)).messages[0].content.text)
        tell("elicited", await call(*ELICITS))
        tell("sampled", await call(*SAMPLES))
        tell("approved", await until_done(lambda: call(*HELD)))


anyio.run(main)
