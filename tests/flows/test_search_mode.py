"""A call through `mcpgw__call_tool` is its inner tool's in all that happens to it: cancelled, masked, told of, held."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult

from tests.flows.gateway import BOUND_S, Gateway, lines_of, listening, make_folder, serving, until, words
from tests.real_servers import story_server

SEARCH = """
[scopes.searching]
tools = ["mcpgw__find_tools", "mcpgw__call_tool"]

[roles.searchers]
members = ["group:searchers"]
scopes = ["everything", "searching"]

[profiles.search]
roles = ["searchers"]
search = true

[[rules]]
id = "people-look"
effect = "hold"
tools = ["story__count"]
reason = "People look at this first."
"""
MASKS = """
[tools.add]
redaction = { columns = ["sum"] }
"""
OUTER = "mcpgw__call_tool"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Sam searches, and carol decides; one of the story server's tools has a mask of its own."""
    folder = make_folder(tmp_path_factory.mktemp("search") / "gateway", SEARCH)
    folder.key("sam", "searchers")
    folder.key("carol", "leads")
    with listening(story_server("http")) as port:
        folder.called("story", "http", f"http://127.0.0.1:{port}/mcp", MASKS)
        folder.accept()
        with serving(folder) as gateway:
            yield gateway


def searcher(gateway: Gateway, downstream: str) -> Client:
    return gateway.client(downstream, gateway.folder.keys["sam"])


async def inner(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool(OUTER, {"name": tool, "arguments": arguments})


def of_the_inner_call(gateway: Gateway, since: int) -> list[dict[str, Any]]:
    """Return the records of calls from then on, all of one call that was made by way of the outer tool."""
    records = gateway.folder.records("call.*")[since:]
    assert {(record["target"]["name"], record["origin"]["via"]) for record in records if "target" in record} <= {
        ("story__wait", OUTER)
    }
    assert len({record["call"] for record in records}) == 1
    return records


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025", "sse 2025"])
async def test_who_cancels_the_outer_call_cancels_the_inner_one_at_its_server(
    gateway: Gateway, downstream: str, tmp_path: Path
) -> None:
    marker, before = tmp_path / "marker", len(gateway.folder.records("call.*"))
    async with searcher(gateway, downstream) as sam:
        with anyio.fail_after(BOUND_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: inner(sam, "story__wait", marker=str(marker)))
                await until(lambda: lines_of(marker) == ["started"], "the server is at work")
                tasks.cancel_scope.cancel()
            await until(lambda: lines_of(marker) == ["started", "cancelled"], "the server has heard of it")
            await until(lambda: not gateway.folder.open_calls(), "the outcome is recorded")
        records = of_the_inner_call(gateway, before)
        assert [record["kind"] for record in records] == ["call.intent", "call.outcome"]
        assert (records[-1]["outcome"]["class"], records[-1]["outcome"]["code"]) == ("failed", "cancelled")
        assert words(await inner(sam, "story__steps", count=1)) == "1 steps"


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
async def test_progress_of_the_inner_call_comes_whole_and_in_order(gateway: Gateway, downstream: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async with searcher(gateway, downstream) as sam:
        arguments = {"name": "story__steps", "arguments": {"count": 3}}
        assert words(await sam.call_tool(OUTER, arguments, progress_callback=note)) == "3 steps"
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


async def test_an_inner_result_is_masked_as_the_catalog_says_of_the_inner_tool(gateway: Gateway) -> None:
    async with searcher(gateway, "http 2026") as sam:
        by_way = await inner(sam, "story__add", a=40_004, b=2)
        direct = await sam.call_tool("story__add", {"a": 40_004, "b": 2})
        unmasked = await inner(sam, "story__steps", count=2)
    assert by_way.content == direct.content and by_way.structured_content == direct.structured_content
    assert "40006" not in by_way.model_dump_json() and "sum" in by_way.model_dump_json()
    assert words(unmasked) == "2 steps"
    intents = gateway.folder.records("call.intent")[-3:]
    assert [(intent["target"]["name"], intent["origin"].get("via")) for intent in intents] == [
        ("story__add", OUTER), ("story__add", None), ("story__steps", OUTER),
    ]  # fmt: skip
    masked = [outcome["masking"]["result"] for outcome in gateway.folder.records("call.outcome")[-3:]]
    assert masked[0] == masked[1] != masked[2]


async def test_a_hold_shows_people_the_inner_tool_and_its_arguments_and_the_outer_one_nowhere(
    gateway: Gateway, tmp_path: Path
) -> None:
    folder, marker = gateway.folder, tmp_path / "marker"
    async with searcher(gateway, "http 2026") as sam:
        held = await inner(sam, "story__count", marker=str(marker))
        assert held.is_error and "People look at this first." in words(held)
        record = folder.records("call.held")[-1]
        assert (record["target"]["name"], record["origin"]["via"]) == ("story__count", OUTER)
        approval = record["approval"]["id"]
        shown = await folder.acli("approvals", "show", approval, key=folder.keys["carol"])
        assert "story__count" in shown and f'"marker": "{marker}"' in shown
        assert OUTER not in shown and '"name"' not in shown and '"arguments"' not in shown
        await folder.acli("approvals", "approve", approval, "--yes", key=folder.keys["carol"])
        assert words(await inner(sam, "story__count", marker=str(marker))) == "1"
    assert lines_of(marker) == ["called"]
