"""`tools/list`: verbatim definitions, the identity's own, in pages."""

import json
from typing import Any

import aiohttp
import pytest

from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.listing import Listing, Lists
from mcpgw.inbound.shaping import shape_definition
from tests.inbound.doors import MemoryCatalog, World, identity, published, target
from tests.inbound.raw import legacy, modern, post, routing
from tests.inbound.test_sessions import open_session
from tests.inbound.wire import listening

_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "string"}}}

ODD: list[dict[str, Any]] = [
    {},
    {"description": ""},
    {"description": None},
    {"description": "Ünï¢ödé 🏦 \u202e \u0000 \ufeff"},
    {"title": None, "annotations": None},
    {"annotations": {}},
    {"annotations": {"readOnlyHint": True, "x-vendor": [1, None]}},
    {"annotations": {"title": "T", "destructiveHint": False, "idempotentHint": None}},
    {"icons": []},
    {"icons": [{"src": "data:image/png;base64,AAAA", "mimeType": "image/png", "sizes": ["48x48", "any"], "theme": "dark"}]},
    {"icons": [{"src": "https://example.com/i.svg", "unknown": {"deep": [None]}}]},
    {"_meta": {}},
    {"_meta": {"vendor.example/thing": None, "ui": {"visibility": ["app"], "resourceUri": None}}},
    {"execution": {"taskSupport": "optional"}},
    {"execution": None},
    {"x-unknown": None},
    {"x-unknown": {"a": {"b": {"c": [1, 2.5, 1e-7, -0.0, True, None, ""]}}}},
    {"inputSchema": {"type": "object"}},
    {"inputSchema": {"type": "object", "properties": None}},
    {"inputSchema": {"type": "object", "additionalProperties": False}},
    {"inputSchema": {"type": "object", "default": None, "examples": [None]}},
    {"inputSchema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}},
    {"inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "definitions": {"A": True}}},
    {"inputSchema": {"type": "object", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"type": ["string", "null"]}}}},
    {"inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"const": None}}}},
    {"inputSchema": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "unevaluatedProperties": False}},
    {"inputSchema": {"type": "object", "properties": {"$ref": {"type": "string"}, "__proto__": {}, "": {}}}},
    {"inputSchema": {"type": "object", "properties": {"n": {"type": "number", "maximum": 1.7976931348623157e308}}}},
    {"inputSchema": {"type": "object", "properties": {"n": {"enum": [9007199254740993, 123456789012345678901234567890]}}}},
    {"inputSchema": {"type": "object", "properties": {"日本": {"description": "キー"}}, "required": ["日本"]}},
    {"inputSchema": {"type": "object", "if": {"required": ["a"]}, "then": False, "else": True}},
    {"inputSchema": {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "Region"}}}},
    {"outputSchema": {"type": "object"}},
    {"outputSchema": {"type": "array", "items": {"type": "integer"}}},
    {"outputSchema": {"type": "string"}},
    {"outputSchema": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
    {"outputSchema": True},
    {"outputSchema": {}},
    {"outputSchema": None},
    {"outputSchema": {"type": "object", "properties": {"result": {"type": "array"}}, "required": ["result"]}},
    {"description": "x" * 50_000},
    {"inputSchema": {"type": "object", "properties": {f"p{n}": {"type": "string", "description": f"{n}"} for n in range(400)}}},
    {"inputSchema": {"type": "object", "enum": list(range(2000))}},
    {"deprecated": True, "replacedBy": "other"},
    {"name_": "not the name", "Name": "nor this"},
    {"resultType": "not ours", "ttlMs": 5, "cacheScope": "public", "nextCursor": "x"},
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call"},
    {"securitySchemes": [{"type": "oauth2", "scopes": ["a"]}, {"type": "noauth"}]},
    {"description": "</script><script>alert(1)</script> {{7*7}} ${x} %s %n"},
    {"description": "line\nline\r\nline\ttab\u2028sep\u2029sep\x7f"},
]


def odd_world() -> World:
    tools = {}
    for number, odd in enumerate(ODD):
        name = f"odd__{number:02}"
        definition = {"name": name, "inputSchema": _SCHEMA, **odd}
        tools[name] = target(name, definition)
    return World(catalog=MemoryCatalog(tools), config=InboundConfig(version="1", page_size=7))


async def pages(http: aiohttp.ClientSession, *, session: dict[str, str] | None = None) -> tuple[list[Any], list[Any]]:
    """Follow all pages; return the tools and the results."""
    tools: list[Any] = []
    results: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        message = modern("tools/list", cursor) if session is None else legacy("tools/list", cursor)
        status, answer, _ = await post(http, message, session or routing("tools/list"))
        assert status == 200, answer
        results.append(answer["result"])
        tools += answer["result"]["tools"]
        if "nextCursor" not in answer["result"]:
            return tools, results
        cursor = {"cursor": answer["result"]["nextCursor"]}


@pytest.mark.promise("list-verbatim")
async def test_fifty_odd_definitions_are_listed_byte_for_byte_to_a_modern_client() -> None:
    assert len(ODD) == 50
    world = odd_world()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        tools, results = await pages(http)
    given = [dict(tool.definition) for tool in world.catalog.tools.values()]
    assert [json.dumps(tool) for tool in tools] == [json.dumps(definition) for definition in given]
    assert len(results) == 8
    for result in results:
        assert (result["resultType"], result["cacheScope"], result["ttlMs"]) == ("complete", "private", 60_000)
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "mcpgw", "version": "1"}


@pytest.mark.promise("era-legacy-shape")
async def test_a_legacy_client_gets_the_same_without_what_it_cannot_read() -> None:
    world = odd_world()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        tools, results = await pages(http, session=await open_session(http))
    for tool, given in zip(tools, world.catalog.tools.values(), strict=True):
        left_out = {key: value for key, value in given.definition.items() if key not in tool}
        assert left_out.keys() <= {"outputSchema"}
        assert tool == {key: value for key, value in given.definition.items() if key not in left_out}
        if "outputSchema" in tool:
            assert tool["outputSchema"]["type"] == "object"
    for result in results:
        assert result.keys() <= {"tools", "nextCursor"}


@pytest.mark.parametrize(
    ("execution", "listed"), [({"taskSupport": "required"}, None), ({"taskSupport": "required", "x": [None]}, {"x": [None]})]
)
def test_that_a_tool_has_to_be_called_as_a_task_is_not_listed_for_the_gateway_does_that(execution: Any, listed: Any) -> None:
    for is_modern in (True, False):
        given = {"name": "t", "execution": execution, "inputSchema": _SCHEMA}
        shown = shape_definition(given, modern=is_modern)
        assert shown == {"name": "t", "inputSchema": _SCHEMA, **({"execution": listed} if listed else {})}
        assert given["execution"] == execution, "what was accepted stays as it is"


@pytest.mark.promise("list-cursor-bound")
async def test_a_cursor_is_good_for_the_identity_that_received_it_and_for_nobody_else() -> None:
    async with listening(odd_world()) as live, aiohttp.ClientSession(live.url) as http:
        _, answer, _ = await post(http, modern("tools/list"), routing("tools/list"))
        cursor = answer["result"]["nextCursor"]
        for key, value, code in (
            ("alice-key", cursor, None),
            ("bob-key", cursor, -32602),
            ("alice-key", cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), -32602),
            ("alice-key", "", -32602),
            ("alice-key", "ä", -32602),
            ("alice-key", "A" * 10_000, -32602),
        ):
            _, answer, _ = await post(http, modern("tools/list", {"cursor": value}), routing("tools/list"), key=key)
            assert answer.get("error", {}).get("code") == code, (key, value)


@pytest.mark.promise("list-pages-whole")
async def test_a_list_that_changes_between_pages_loses_and_repeats_nothing() -> None:
    world = odd_world()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        _, first, _ = await post(http, modern("tools/list"), routing("tools/list"))
        for gone in ("odd__00", "odd__06", "odd__07"):
            del world.catalog.tools[gone]
        _, second, _ = await post(http, modern("tools/list", {"cursor": first["result"]["nextCursor"]}), routing("tools/list"))
    assert second["result"]["tools"][0]["name"] == "odd__08"


@pytest.mark.promise("era-earlier-revisions")
@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_earlier_revision_lists(http: aiohttp.ClientSession, version: str) -> None:
    hello = legacy("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "r", "version": "0"}})
    _, answer, headers = await post(http, hello)
    assert answer["result"]["protocolVersion"] == version
    assert answer["result"]["capabilities"]["tools"] == {"listChanged": True}
    session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": version}
    await post(http, legacy("notifications/initialized", request_id=None), session)
    _, answer, _ = await post(http, legacy("tools/list"), session)
    assert "bank__echo" in {tool["name"] for tool in answer["result"]["tools"]}


async def test_a_list_that_grows_between_pages_loses_and_repeats_nothing_of_what_was_there() -> None:
    world = odd_world()
    before = [*world.catalog.tools]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        _, answer, _ = await post(http, modern("tools/list"), routing("tools/list"))
        names = [tool["name"] for tool in answer["result"]["tools"]]
        for more in ("odd__00b", "odd__08b", "zoo__ask"):  # before, within and behind what is still to come
            world.catalog.tools[more] = target(more)
        while cursor := answer["result"].get("nextCursor"):
            _, answer, _ = await post(http, modern("tools/list", {"cursor": cursor}), routing("tools/list"))
            names += [tool["name"] for tool in answer["result"]["tools"]]
    assert names == sorted([*before, "odd__08b", "zoo__ask"])


async def test_both_eras_list_the_same_whether_entries_are_put_in_or_stand_in_the_answer() -> None:
    """Over HTTP they are put in on the way out; over a pipe they stand in the answer itself."""
    world = odd_world()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        _, answer, headers = await post(http, modern("tools/list"), routing("tools/list"))
    put_in = answer["result"]["tools"]
    lists = Lists(catalog=world.catalog, policy=world.policy, publish=published, config=world.config)
    page = lists.page(identity("alice"), Listing.TOOLS, None, modern=True)
    assert json.dumps(put_in) == json.dumps(page.decoded())
    assert int(headers["Content-Length"]) > len(page.entries)
