"""Fifty odd definitions go through the whole gateway, and what a client reads on the wire is what the upstream wrote."""

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.flows.gateway import MODERN, Folder, Gateway, bearer, make_folder, serving, until
from tests.real_servers import odd_server

SCHEMA: dict[str, Any] = {"type": "object"}
PERSONAL = "Call with 078-05-1120 or test@example.com"


def odd_definitions() -> list[dict[str, Any]]:
    """Everything that a definition may hold and that a library on the way might drop, reorder, fill in or round."""
    odd: dict[str, dict[str, Any]] = {
        "nulls": {"title": None, "description": None, "inputSchema": {"type": "object", "default": None}, "icons": None},
        "no_description": {"inputSchema": SCHEMA},
        "empty_texts": {"title": "", "description": "", "inputSchema": SCHEMA},
        "unknown_fields": {"inputSchema": SCHEMA, "x-vendor": {"a": [1, 2.5, None, True]}, "execution": {"taskSupport": "no"}},
        "name_last": {"zebra": 1, "inputSchema": SCHEMA, "apple": 2},
        "defs": {"inputSchema": {"type": "object", "$defs": {"A": {"$ref": "#/$defs/A"}}, "not": {"$ref": "#/$defs/A"}}},
        "dialect": {"inputSchema": {"$schema": "https://json-schema.org/draft/2019-09/schema", "$id": "u", "type": "object"}},
        "draft_4": {"inputSchema": {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object", "definitions": {}}},
        "composed": {"inputSchema": {"type": "object", "anyOf": [{"required": ["a"]}, {"not": {}}], "if": {}, "then": True}},
        "icons": {"inputSchema": SCHEMA, "icons": [{"src": "data:image/png;base64,AA==", "sizes": ["any"], "theme": "dark"}]},
        "icons_odd": {"inputSchema": SCHEMA, "icons": [{"src": "https://x.example/i.svg", "mimeType": None, "more": {}}]},
        "unicode": {"title": "Ünïcödé 🦊 ünïcödé", "inputSchema": {"type": "object", "properties": {"ключ": {"const": "🦊"}}}},
        "scripts": {"description": "日本語 العربية हिन्दी ไทย", "inputSchema": SCHEMA},
        "combining": {"description": "e\u0301 is not \u00e9, and a\u0308 is not \u00e4", "inputSchema": SCHEMA},
        "escapes": {"description": 'a "quote", a \\ backslash, a / slash, \b\f\n\r\t \0 \u001f \x7f', "inputSchema": SCHEMA},
        "html": {"description": "<script>alert(1)</script> &amp; \u2028 \u2029", "inputSchema": SCHEMA},
        "integers": {"inputSchema": {"type": "object", "minProperties": 0, "x": [2**53 + 1, -(2**63), 2**64, 0]}},
        "floats": {"inputSchema": {"type": "object", "x": [0.1, -0.5, 1e-7, 1.5e300, 100.25]}},
        "booleans": {"inputSchema": {"type": "object", "properties": {"a": True, "b": False}, "additionalProperties": False}},
        "annotated": {"inputSchema": SCHEMA, "annotations": {"title": "A", "readOnlyHint": True, "idempotentHint": False}},
        "annotated_odd": {"inputSchema": SCHEMA, "annotations": {"title": None, "x-cost": 3, "readOnlyHint": False}},
        "annotated_empty": {"inputSchema": SCHEMA, "annotations": {}},
        "meta": {"inputSchema": SCHEMA, "_meta": {"io.example/x": {"": ""}, "ui": {"visibility": ["app"]}}},
        "meta_empty": {"inputSchema": SCHEMA, "_meta": {}},
        "huge": {"description": "x" * 100_000, "inputSchema": {"type": "object", "enum": list(range(3_000))}},
        "wide": {"inputSchema": {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(500)}}},
        "deep": {"inputSchema": {"type": "object", "not": json.loads('{"not":' * 50 + "{}" + "}" * 50)}},
        "x_header": {"inputSchema": {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "Region"}}}},
        "output": {"inputSchema": SCHEMA, "outputSchema": {"type": "object", "properties": {"a": {"type": "object"}}}},
        "output_null": {"inputSchema": SCHEMA, "outputSchema": None},
        "output_array": {"inputSchema": SCHEMA, "outputSchema": {"type": "array", "items": {"type": "object"}}},
        "personal": {"description": PERSONAL, "inputSchema": {"type": "object", "properties": {"who": {"default": PERSONAL}}}},
    }  # fmt: skip
    plain = {f"plain_{number}": {"description": f"Number {number}.", "inputSchema": SCHEMA} for number in range(50 - len(odd))}
    return [{"name": name, **definition} for name, definition in (odd | plain).items()]


@pytest.fixture(scope="module", params=["modern", "legacy"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    path = tmp_path_factory.mktemp("odd")
    lists = path / "lists.json"
    lists.write_text(json.dumps({"tools": odd_definitions()}), encoding="utf-8")
    folder = make_folder(path / "gateway")
    folder.key("alice", "all")
    folder.spawned("odd", odd_server("--lists", str(lists), "--era", request.param, "--pages", "7"))
    accept_all(folder)
    with serving(folder) as gateway:
        yield gateway


def accept_all(folder: Folder) -> None:
    """As a person who was shown the hidden characters, has read why they are flagged, and says yes all the same."""
    folder.cli("catalog", "accept", "--all", "--flagged", answers="y\n")


@pytest.mark.promise("list-verbatim")
async def test_every_definition_arrives_as_it_was_written(gateway: Gateway) -> None:
    written = {tool["name"]: tool for tool in odd_definitions()}
    await until(lambda: not gateway.problems(), "the gateway is ready")
    read = {tool["name"].removeprefix("odd__"): tool for tool in await listed(gateway, len(written))}
    assert read.keys() == written.keys() and len(read) == 50
    written["personal"]["description"] = "Call with <US_SSN> or <EMAIL>"  # the words alone; what a client sends stays
    for name, tool in read.items():
        assert in_order(as_written(tool)) == in_order(as_written(written[name])), name
        assert tool["name"] == f"odd__{name}"
        hints = written[name].get("annotations") or {}
        assert tool["annotations"] == {**hints, "readOnlyHint": hints.get("readOnlyHint") is True}, name


def as_written(tool: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the gateway answers for: the name and `annotations`, which the test looks at by themselves."""
    return {key: value for key, value in tool.items() if key not in ("name", "annotations")}


def in_order(value: object) -> str:
    """JSON text: keys in their order, 1 is not 1.0, and null is not absent."""
    return json.dumps(value, ensure_ascii=True)


async def listed(gateway: Gateway, wanted: int) -> list[dict[str, Any]]:
    """Return `tools/list` as it stands on the wire, all pages of it, without any MCP library in between."""
    tools: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    names = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
    meta = {f"io.modelcontextprotocol/{key}": value for key, value in names.items()}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
    async with aiohttp.ClientSession(headers={**headers, **bearer(gateway.folder.keys["alice"])}) as http:
        while True:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {**cursor, "_meta": meta}}
            async with http.post(f"{gateway.url}/mcp", json=body) as response:
                text = await response.text()
            data = next((line[6:] for line in text.splitlines() if line.startswith("data: {")), text)
            result = json.loads(data)["result"]
            tools += result["tools"]
            if "nextCursor" not in result:
                return tools
            cursor = {"cursor": result["nextCursor"]}
