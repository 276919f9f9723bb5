"""Lists come whole, verbatim and bounded."""

import json
from pathlib import Path

import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import TargetKind
from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.real_servers import odd_server
from tests.upstream.world import pool_of, stdio

ODD_TOOLS = [
    {"name": "nulls", "description": None, "inputSchema": {"type": "object", "default": None}, "outputSchema": None},
    {"name": "unknown", "inputSchema": {"type": "object"}, "x-vendor": {"a": [1, 2.5, None, True]}, "execution": {"t": "x"}},
    {"name": "defs", "inputSchema": {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A", "$schema": "urn:x"}},
    {"name": "icons", "inputSchema": {}, "icons": [{"src": "data:image/png;base64,AA==", "sizes": ["any"], "theme": "dark"}]},
    {"name": "ünïcödé 🦊", "title": "\u202eevil\u0000", "inputSchema": {"properties": {"ключ": {"const": "\ud83e\udd8a"}}}},
    {"name": "numbers", "inputSchema": {"minimum": -(2**63), "maximum": 2**80, "multipleOf": 1e-7, "const": 0.1}},
    {"name": "output", "inputSchema": True, "outputSchema": {"type": "array", "items": False}},
    {"name": "meta", "inputSchema": {"type": "object"}, "_meta": {"io.example/x": {"": ""}}, "annotations": {"title": None}},
    {"name": "huge", "description": "x" * 300_000, "inputSchema": {"enum": list(range(5_000))}},
    {"name": "deep", "inputSchema": json.loads('{"not":' * 200 + "{}" + "}" * 200)},
    {"name": "", "inputSchema": {}},
    {"name": "meta", "inputSchema": {"second": "of the same name"}},
]


def offering(tmp_path: Path, **lists: object) -> str:
    file = tmp_path / "lists.json"
    file.write_text(json.dumps(lists), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_odd_definitions_arrive_as_they_were_written(tmp_path: Path, era: str) -> None:
    resources = [{"uri": "odd://1", "name": None, "size": 2**70}]
    prompts = [{"name": "p", "arguments": [{"name": "a", "required": None, "complete": "?"}]}]
    templates = [{"uriTemplate": "odd://{x}", "name": None}]
    lists = offering(tmp_path, tools=ODD_TOOLS, resources=resources, resourceTemplates=templates, prompts=prompts)
    async with pool_of(stdio(odd_server("--lists", lists, "--era", era))) as world:
        definitions = world.pool.definitions("s")
    assert _bytes(definitions[TargetKind.TOOL]) == _bytes(ODD_TOOLS)
    assert _bytes(definitions[TargetKind.RESOURCE]) == _bytes([*resources, *templates])
    assert _bytes(definitions[TargetKind.PROMPT]) == _bytes(prompts)


async def test_items_that_nobody_could_name_are_left_out(tmp_path: Path) -> None:
    lists = offering(tmp_path, tools=[None, 1, "x", {}, {"name": 3}, {"name": "good"}])
    async with pool_of(stdio(odd_server("--lists", lists))) as world:
        assert world.pool.definitions("s")[TargetKind.TOOL] == ({"name": "good"},)


@pytest.mark.promise("list-every-page")
async def test_a_hundred_pages_are_read_to_the_end(tmp_path: Path) -> None:
    tools = [{"name": f"t{number}"} for number in range(200)]
    async with pool_of(stdio(odd_server("--lists", offering(tmp_path, tools=tools), "--pages", "2"))) as world:
        assert list(world.pool.definitions("s")[TargetKind.TOOL]) == tools


@pytest.mark.promise("list-endless")
@pytest.mark.parametrize(
    ("pages", "limits", "problem"),
    [
        ("circle", Limits(backoff_first_s=5), "goes in a circle"),
        ("endless", Limits(backoff_first_s=5, list_pages=50), "has more than 50 pages"),
        ("endless", Limits(backoff_first_s=5, list_items=40), "is longer than the gateway's bounds"),
        ("endless", Limits(backoff_first_s=5, list_bytes=2_000), "is longer than the gateway's bounds"),
    ],
)
async def test_a_list_without_an_end_is_given_up_and_the_server_with_it(
    tmp_path: Path, pages: str, limits: Limits, problem: str
) -> None:
    lists = offering(tmp_path, tools=[{"name": "t"}])
    async with pool_of(stdio(odd_server("--lists", lists, "--pages", pages)), limits=limits, ready=False) as world:
        status = await world.until(ServerState.DOWN)
        assert problem in status.problem
        with pytest.raises(UpstreamError, match=problem) as caught:
            await world.call("t")
        assert caught.value.sent is False


async def test_a_list_that_is_none_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    async with pool_of(stdio(odd_server("--lists", offering(tmp_path, tools={"a": 1}))), ready=False) as world:
        status = await world.until(ServerState.DOWN)
        assert "a page without `tools`" in status.problem


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()
