"""Everything that the conformance suite's server scenarios call, on the SDK and on both eras: what a gateway is held against.

`conformance_server.py modern|older` listens on a free port of 127.0.0.1, prints `PORT <number>`, and serves `/mcp`; the older
one never heard of 2026-07-28. The suite's own descriptions say what each name does. Where the suite wants to hear of a change,
the lists do change: a gateway tells nobody of a change that is none.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError
from pydantic import Field

from tests.servers.story_server import legacy_only, serve

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01").decode()
SILENCE = base64.b64encode(b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00data\x00\x00\x00\x00").decode()
Ctx = Context[Any, Any]

server = MCPServer(
    "everything",
    version="1.0.0",
    log_level="ERROR",
    request_state_security=RequestStateSecurity(keys=[b"not a secret: the key of a server in a test"]),
)


# --- content -------------------------------------------------------------------------------------------------------------


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PIXEL, mime_type="image/png")


def embedded(uri: str, words: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool()
def test_simple_text() -> str:
    """Answer with a text."""
    return "This is a simple text response for testing."


@server.tool(structured_output=False)
def test_image_content() -> list[Any]:
    """Answer with an image."""
    return [image()]


@server.tool(structured_output=False)
def test_audio_content() -> list[Any]:
    """Answer with a sound."""
    return [types.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")]


@server.tool(structured_output=False)
def test_embedded_resource() -> list[Any]:
    """Answer with a resource."""
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


@server.tool(structured_output=False)
def test_multiple_content_types() -> list[Any]:
    """Answer with a text, an image and a resource."""
    mixed = embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
    return [text("Multiple content types test:"), image(), mixed]


@server.tool()
def test_error_handling() -> str:
    """Fail as a tool does."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
def test_x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none") -> str:
    """Have a parameter that travels in a header as well."""
    return f"region={region}"


SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@server.tool()
def json_schema_2020_12_tool() -> str:
    """Have a schema with everything in it."""
    return "a schema with all of it"


server._tool_manager._tools["json_schema_2020_12_tool"].parameters = SCHEMA_2020_12  # the SDK makes schemas of signatures alone


# --- while a call runs ---------------------------------------------------------------------------------------------------


@server.tool()
async def test_tool_with_logging(ctx: Ctx) -> str:
    """Log three messages."""
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(words)
        await asyncio.sleep(0.05)
    return "logged"


@server.tool()
async def test_logging_tool(ctx: Ctx) -> str:
    """Log one message."""
    await ctx.info("only for those who asked")
    return "logged"


@server.tool()
async def test_tool_with_progress(ctx: Ctx) -> str:
    """Report progress three times."""
    for step in (0, 50, 100):
        await ctx.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(0.05)
    return "done"


@server.tool()
async def test_reconnection(ctx: Ctx) -> str:
    """End the stream in the middle of the call."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return "Reconnection test completed successfully"


@server.tool(icons=[types.Icon(src="https://icons.example/told.png", mime_type="image/png", sizes=["48x48"])])
def what_was_told(ctx: Ctx) -> str:
    """Say what came in `_meta`."""
    return json.dumps(dict(ctx.request_context.meta or {}))


@server.resource("ui://everything/page.html", mime_type="text/html;profile=mcp-app")
def page() -> str:
    """The page of an MCP App."""
    return "<p>everything</p>"


# --- questions of the handshake's eras -----------------------------------------------------------------------------------


@server.tool()
async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """Ask the client's model."""
    question = types.SamplingMessage(role="user", content=text(prompt))
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(answer.content, 'text', '')}"


def elicitation(name: str, message: str, properties: dict[str, Any]) -> None:
    """Register a tool that asks for these and says what it was told."""

    async def ask(ctx: Ctx) -> str:
        """Ask the person at the client."""
        schema = {"type": "object", "properties": properties, "required": [*properties]}
        answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
        return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"

    server.tool(name)(ask)


@server.tool()
async def test_elicitation(message: str, ctx: Ctx) -> str:
    """Ask the person at the client for a response."""
    schema = {"type": "object", "properties": {"response": {"type": "string"}}, "required": ["response"]}
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return f"User response: action={answer.action}, content={json.dumps(answer.content)}"


def titled(**titles: str) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in titles.items()]


elicitation(
    "test_elicitation_sep1034_defaults",
    "Please check these.",
    {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
)
elicitation(
    "test_elicitation_sep1330_enums",
    "Please choose.",
    {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled(value1="First", value2="Second", value3="Third")},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled(value1="First", value2="Second", value3="Third")}},
    },
)


# --- questions of 2026-07-28 ---------------------------------------------------------------------------------------------

Rounds = Callable[[Ctx, dict[str, Any]], "types.InputRequiredResult | str"]


def form(message: str, **properties: str) -> types.ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": [*properties],
    }
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(words: str) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(words))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))


def wanted(requests: dict[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def said(answer: Any, key: str) -> str:
    """What a form's answer says; nothing where it is no form's."""
    content = answer.content if isinstance(answer, types.ElicitResult) else None
    return str((content or {}).get(key, ""))


def rounds(name: str) -> Callable[[Rounds], Rounds]:
    """Register a tool that works in rounds: it is given what was answered so far."""

    def register(work: Rounds) -> Rounds:
        async def run(ctx: Ctx) -> types.InputRequiredResult | str:
            """Ask in rounds."""
            return work(ctx, dict(ctx.input_responses or {}))

        server.tool(name)(run)
        return work

    return register


@rounds("test_input_required_result_elicitation")
def asked_for_a_name(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    if "user_name" in answers:
        return f"Hello, {said(answers['user_name'], 'name')}!"
    return wanted({"user_name": form("What is your name?", name="string")})


@rounds("test_streaming_elicitation")
def streamed(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    return "answered" if "confirm" in answers else wanted({"confirm": form("Go on?", ok="boolean")})


@rounds("test_input_required_result_sampling")
def asked_of_a_model(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    if "capital_question" in answers:
        return f"It said: {getattr(getattr(answers['capital_question'], 'content', None), 'text', '')}"
    return wanted({"capital_question": sampling("What is the capital of France?")})


@rounds("test_input_required_result_list_roots")
def asked_for_roots(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    if "client_roots" in answers:
        return f"{len(getattr(answers['client_roots'], 'roots', []))} roots"
    return wanted({"client_roots": types.ListRootsRequest()})


@rounds("test_input_required_result_request_state")
def with_a_state(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    if "confirm" in answers and ctx.request_state == "nonce":
        return "state-ok"
    return wanted({"confirm": form("Please confirm", ok="boolean")}, "nonce")


@rounds("test_input_required_result_multiple_inputs")
def asked_for_much(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    questions = {
        "user_name": form("What is your name?", name="string"),
        "greeting": sampling("Generate a greeting"),
        "client_roots": types.ListRootsRequest(),
    }
    return "All of it came." if questions.keys() <= answers.keys() else wanted(questions, "many")


@rounds("test_input_required_result_multi_round")
def in_three_rounds(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    state = json.loads(ctx.request_state or "{}")
    if "name" in state and "step2" in answers:
        return f"{state['name']} likes {said(answers['step2'], 'color')}."
    if "step1" in answers:
        name = said(answers["step1"], "name")
        return wanted({"step2": form("Step 2: What is your favorite color?", color="string")}, json.dumps({"name": name}))
    return wanted({"step1": form("Step 1: What is your name?", name="string")}, json.dumps({"round": 1}))


@rounds("test_input_required_result_tampered_state")
def with_a_seal(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    return "state-ok" if ctx.request_state else wanted({"confirm": form("Please confirm", ok="boolean")}, "sealed by the SDK")


@rounds("test_input_required_result_capabilities")
def what_the_client_can(ctx: Ctx, answers: dict[str, Any]) -> types.InputRequiredResult | str:
    can = ctx.client_capabilities
    questions: dict[str, Any] = {}
    if can is not None and can.sampling is not None:
        questions["sample"] = sampling("Say hello")
    if can is not None and can.elicitation is not None:
        questions["ask"] = form("What is your name?", name="string")
    return wanted(questions, "what you can")


@server.tool()
async def test_missing_capability(ctx: Ctx) -> str:
    """Refuse a client that has no model to ask."""
    can = ctx.client_capabilities
    if can is None or can.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool asks the client's model.", needed)
    return "The client can."


@server.prompt()
async def test_input_required_result_prompt(ctx: Ctx) -> Any:
    """A prompt that asks first."""
    answers = ctx.input_responses or {}
    if "user_context" in answers:
        return [UserMessage(content=text(f"Use the following context: {said(answers['user_context'], 'context')}"))]
    return wanted({"user_context": form("What context should the prompt use?", context="string")})


# --- prompts and resources -----------------------------------------------------------------------------------------------


@server.prompt()
def test_simple_prompt() -> list[UserMessage]:
    """A prompt."""
    return [UserMessage(content=text("This is a simple prompt for testing."))]


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    """A prompt with arguments."""
    return [UserMessage(content=text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """A prompt with a resource in it."""
    inside = embedded(resourceUri, "Embedded resource content for testing.")
    return [UserMessage(content=inside), UserMessage(content=text("Please process the embedded resource above."))]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """A prompt with an image in it."""
    return [UserMessage(content=image()), UserMessage(content=text("Please analyze the image above."))]


@server.resource("test://static-text", description="Text.", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", description="Bytes.", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PIXEL)


@server.resource("test://watched-resource", description="May be subscribed to.", mime_type="text/plain")
def watched() -> str:
    return "watched"


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> types.Completion:
    return types.Completion(values=["paris", "park", "party"], total=3, has_more=False)


# --- changes -------------------------------------------------------------------------------------------------------------


def late() -> str:
    """Come and go."""
    return "came and went"


server.tool("test_dynamic_tool")(late)
server.add_prompt(Prompt.from_function(late, name="test_dynamic_prompt"))


@server.tool()
async def test_trigger_tool_change(ctx: Ctx) -> str:
    """Withdraw a tool, or offer it again."""
    if any(tool.name == "test_dynamic_tool" for tool in await server.list_tools()):
        server.remove_tool("test_dynamic_tool")
    else:
        server.tool("test_dynamic_tool")(late)
    await ctx.notify_tools_changed()
    return "changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Ctx) -> str:
    """Withdraw a prompt, or offer it again."""
    if any(prompt.name == "test_dynamic_prompt" for prompt in await server.list_prompts()):
        server.remove_prompt("test_dynamic_prompt")
    else:
        server.add_prompt(Prompt.from_function(late, name="test_dynamic_prompt"))
    await ctx.notify_prompts_changed()
    return "changed"


def acknowledged() -> Callable[[Any, Any], Awaitable[types.EmptyResult]]:
    async def acknowledge(ctx: Any, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    return acknowledge


lowlevel = server._lowlevel_server  # the one way to methods that the high-level server has no name for
lowlevel.add_request_handler("logging/setLevel", types.SetLevelRequestParams, acknowledged())
lowlevel.add_request_handler("resources/subscribe", types.SubscribeRequestParams, acknowledged())
lowlevel.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, acknowledged())


if __name__ == "__main__":
    app = server.streamable_http_app()
    serve(legacy_only(app) if sys.argv[1] == "older" else app)
