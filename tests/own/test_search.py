"""Search mode over MCP: few definitions are listed, all that may be called are found, and an inner call is its tool's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jsonschema_rs
import pytest
from mcp import Client
from mcp_types import CallToolResult

from mcpgw.own import FIND
from tests.console.bank import Bank, approval_of
from tests.flows.gateway import names, words
from tests.flows.raw_tasks import WITH_TASKS, WITH_URL, RawClient

HIDDEN, UNKNOWN = "bank__close_account", "bank__close_nothing"


async def find(client: Client, query: str, **more: Any) -> dict[str, Any]:
    result = await client.call_tool("mcpgw__find_tools", {"query": query, **more})
    assert not result.is_error and isinstance(result.structured_content, dict), words(result)
    jsonschema_rs.validator_for(FIND.output).validate(result.structured_content)
    return result.structured_content


async def inner(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool("mcpgw__call_tool", {"name": tool, "arguments": arguments})


def payment(cents: int) -> dict[str, Any]:
    return {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": cents / 100, "memo": "rent"}


@asynccontextmanager
async def raw(bank: Bank, declares: dict[str, Any]) -> AsyncIterator[RawClient]:
    async with aiohttp.ClientSession() as http:
        yield RawClient(http, bank.url, bank.key("sam"), declares)


@pytest.mark.parametrize("era", ["http 2026", "http 2025"])
async def test_a_searcher_is_listed_the_two_tools_the_own_ones_and_what_is_pinned(bank: Bank, era: str) -> None:
    async with bank.gateway.client(era, bank.key("sam")) as sam:
        assert await names(sam) == [
            "bank__lookup_customer", "mcpgw__approval_status", "mcpgw__call_tool", "mcpgw__find_tools",
        ]  # fmt: skip
        listed = {tool.name: tool for tool in (await sam.list_tools()).tools}
    assert listed["mcpgw__call_tool"].output_schema is None


async def test_what_is_found_is_what_may_be_called_with_the_schema_that_a_list_would_show(bank: Bank) -> None:
    async with bank.client("alice") as alice:
        listed = {tool.name: tool.model_dump(by_alias=True, exclude_none=True) for tool in (await alice.list_tools()).tools}
    async with bank.client("sam") as sam:
        found = await find(sam, "transfer money between accounts")
        assert found["tools"][0]["name"] == "bank__transfer"
        for tool in found["tools"]:
            assert tool["inputSchema"] == listed[tool["name"]]["inputSchema"]
        assert HIDDEN in listed
        everything = await find(sam, "bank close account", limit=20)
        assert HIDDEN not in [tool["name"] for tool in everything["tools"]] and everything["more"] == 0
        first = await find(sam, "bank", limit=1)
        assert (len(first["tools"]), first["more"]) == (1, len(everything["tools"]) - 1)
        assert await find(sam, "bank") == await find(sam, "bank")
        assert await find(sam, "zeppelin") == {"tools": [], "more": 0}


@pytest.mark.parametrize("era", ["http 2026", "http 2025"])
async def test_an_inner_call_is_answered_and_recorded_as_the_tools_own(bank: Bank, era: str) -> None:
    async with bank.gateway.client(era, bank.key("sam")) as sam:
        direct = await sam.call_tool("bank__list_transactions", {"account": "CHK-100001", "limit": 2})
        by_way = await inner(sam, "bank__list_transactions", account="CHK-100001", limit=2)
    assert not direct.is_error and by_way.content == direct.content
    assert by_way.structured_content == direct.structured_content
    calls = [record for record in bank.folder.records("call.intent") if record["who"]["sub"] == "sam"][-2:]
    assert [call["target"]["name"] for call in calls] == ["bank__list_transactions"] * 2
    assert [call["origin"].get("via") for call in calls] == [None, "mcpgw__call_tool"]
    assert calls[0]["target"] == calls[1]["target"]
    replayed = await bank.folder.acli("replay", calls[1]["session"]["id"])
    assert replayed.count("named through mcpgw__call_tool") >= 2, "the call and its answer"


async def test_progress_of_the_inner_call_reaches_its_caller(bank: Bank) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with bank.client("sam") as sam:
        schema = (await find(sam, "statement report"))["tools"][0]["inputSchema"]
        assert "account" in schema["properties"]
        arguments = {"name": "bank__statement_report", "arguments": {"account": "CHK-100001", "months": 2}}
        result = await sam.call_tool("mcpgw__call_tool", arguments, progress_callback=note)
    assert not result.is_error, words(result)
    assert steps


async def test_a_hidden_tool_answers_by_way_as_directly_and_as_one_that_does_not_exist(bank: Bank) -> None:
    answers = []
    async with raw(bank, {}) as sam:
        for name in (HIDDEN, UNKNOWN):
            answers.append(await sam.send("tools/call", {"name": name, "arguments": {"a": 1}}))
            by_way = {"name": name, "arguments": {"a": 1}}
            answers.append(await sam.send("tools/call", {"name": "mcpgw__call_tool", "arguments": by_way}))
    for answer in answers:
        assert answer["error"].pop("data").keys() == {"mcpgw/receipt"}  # each of its own record
    texts = {str(answer).replace(HIDDEN, "X").replace(UNKNOWN, "X") for answer in answers}
    assert len(texts) == 1 and "Unknown tool" in texts.pop()


async def test_who_was_not_granted_it_has_no_way_through_it(bank: Bank) -> None:
    async with aiohttp.ClientSession() as http:
        alice = RawClient(http, bank.url, bank.key("alice"), {})
        arguments = {"name": "bank__list_transactions", "arguments": {"account": "CHK-100001"}}
        answer = await alice.send("tools/call", {"name": "mcpgw__call_tool", "arguments": arguments})
    assert answer["error"]["message"] == "Unknown tool: mcpgw__call_tool"


async def test_an_inner_call_is_held_and_runs_once_whichever_way_it_is_made_again(bank: Bank) -> None:
    async with bank.client("sam") as sam:
        held = await inner(sam, "bank__transfer", **payment(5_001_01))
        assert held.is_error and "Held for approval" in words(held)
        approval_id = str(approval_of(held)["id"])
        async with bank.person("carol") as carol:
            await carol.decide(approval_id)
        assert not (await inner(sam, "bank__transfer", **payment(5_001_01))).is_error
        assert not (await sam.call_tool("bank__transfer", payment(5_001_01))).is_error  # the same call, so the same result
    assert bank.transfers(5_001_01) == 1


async def test_an_inner_call_that_is_held_is_a_task_for_who_has_tasks(bank: Bank) -> None:
    arguments = {"name": "bank__transfer", "arguments": payment(5_001_02)}
    async with raw(bank, WITH_TASKS) as sam:
        task = await sam.ask("tools/call", {"name": "mcpgw__call_tool", "arguments": arguments})
        assert task["resultType"] == "task"
        async with bank.person("carol") as carol:
            await carol.decide(task["taskId"])
        while (now := await sam.ask("tasks/get", {"taskId": task["taskId"]}))["status"] in ("working", "input_required"):
            pass
    assert now["status"] == "completed" and bank.transfers(5_001_02) == 1


async def test_an_inner_call_that_is_held_shows_its_page_and_the_retry_resumes_it(bank: Bank) -> None:
    back = {"from_account": "CHK-100002", "to_account": "CHK-100001"}
    arguments = {"name": "bank__transfer", "arguments": {**payment(5_001_03), **back}}
    params: dict[str, Any] = {"name": "mcpgw__call_tool", "arguments": arguments}
    async with raw(bank, WITH_URL) as sam:
        asked = await sam.ask("tools/call", params)
        assert asked["resultType"] == "input_required"
        ((key, question),) = asked["inputRequests"].items()
        approval_id = question["params"]["url"].rpartition("/")[2]
        async with bank.person("carol") as carol:
            await carol.decide(approval_id)
        again = {**params, "inputResponses": {key: {"action": "accept"}}, "requestState": asked["requestState"]}
        other = {**again, "arguments": {**arguments, "name": "bank__list_transactions"}}
        assert "error" in await sam.send("tools/call", other)
        done = await sam.ask("tools/call", again)
        assert done["resultType"] == "complete" and not done.get("isError"), done
    assert bank.transfers(5_001_03) == 1


async def test_what_is_no_call_of_another_tool_says_so(bank: Bank) -> None:
    async with bank.client("sam") as sam:
        for arguments, complaint in (
            ({}, "`name` is missing."),
            ({"name": "bank__query", "arguments": [1]}, "`arguments` must be an object."),
            ({"name": "bank__query", "args": {}}, "There is no 'args' here."),
            ({"name": "mcpgw__call_tool", "arguments": {"name": "bank__query"}}, "and not itself."),
        ):
            result = await sam.call_tool("mcpgw__call_tool", arguments)
            assert result.is_error and complaint in words(result), words(result)
