"""pydantic-ai: its toolset, and an agent on it, whose model calls one tool."""

import asyncio
import os
from typing import Any

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from telling import CALLS, DAY, ELICITS, HEADERS, HELD, PROMPT, RESOURCE, SAMPLES, SUMMARY, WAY, tell, until_done


async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
    return DAY


async def sample(messages: Any, params: Any, context: Any) -> str:
    return SUMMARY


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call a tool, and then say what it said."""
    for part in messages[-1].parts:
        if isinstance(part, ToolReturnPart):
            return ModelResponse(parts=[TextPart(str(part.content))])
    name, arguments = CALLS["called"]
    assert name in {tool.name for tool in info.function_tools}
    return ModelResponse(parts=[ToolCallPart(name, arguments)])


async def main() -> None:
    way: Any
    if "url" in WAY:
        way = StreamableHttpTransport(WAY["url"], headers=HEADERS)
    else:
        way = StdioTransport(WAY["command"], WAY["args"], env={**os.environ, **WAY["env"]}, keep_alive=False)
    handlers = {"elicitation_handler": elicit, "sampling_handler": sample}
    toolset = MCPToolset(way, **handlers, tool_error_behavior="error", init_timeout=30)
    async with toolset:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            try:
                said = await toolset.direct_call_tool(name, arguments)
            except Exception as error:  # what its users catch: each of its versions raises another
                return str(error)
            return str(said["result"] if isinstance(said, dict) else said)

        tell("tools", [one.name for one in await toolset.list_tools()])
        tell("resources", [one.uri for one in await toolset.list_resources()])
        tell("prompts", [one.name for one in await toolset.list_prompts()])
        for step, (name, arguments) in CALLS.items():
            tell(step, await call(name, arguments))
        tell("called", (await Agent(FunctionModel(model), toolsets=[toolset]).run("Say hello")).output)
        tell("read", await toolset.read_resource(RESOURCE))
        tell("got", str((await toolset.get_prompt(*PROMPT)).messages[0]))
        tell("elicited", await call(*ELICITS))
        tell("sampled", await call(*SAMPLES))
        tell("approved", await until_done(lambda: call(*HELD)))


asyncio.run(main())
