"""Held calls by URL elicitation: the page, then rounds of waiting, with clients that others wrote and with one by hand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.elicitation import ElicitResult as FastElicitResult
from fastmcp.client.transports import StreamableHttpTransport
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult, Implementation

from mcpgw.app import convert
from mcpgw.cli.common import open_gateway_store
from mcpgw.core.entries import Verdict
from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, bearer, lines_of, make_folder, serving, words
from tests.flows.raw_tasks import WITH_URL, RawClient, raw_client
from tests.real_servers import story_server

PAGES = "https://gateway.example"
RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["*__count"]
reason = "People look at this first."
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = CONFIG.replace("port = 0", f'port = 0\npublic_url = "{PAGES}"')
    config = config.replace('budget = "300ms"', 'budget = "300ms"\nbudgets = { patient = "25s" }')
    folder = make_folder(tmp_path_factory.mktemp("rounds") / "gateway", RULES, config)
    folder.key("alice", "all")
    folder.key("bob", "all")
    folder.key("carol", "leads")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


@pytest.fixture
async def alice(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with raw_client(gateway.url, gateway.folder.keys["alice"], declares=dict(WITH_URL)) as client:
        yield client


async def decide(folder: Folder, approval_id: str, verdict: Verdict = Verdict.APPROVE) -> None:
    async with open_gateway_store(folder.path) as store:
        carol = await convert.authenticators(store.settings).authenticate(folder.keys["carol"])
        await store.desk.vote(approval_id, carol, verdict)


async def test_the_sdks_client_without_a_person_waits_and_gets_the_result(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    """It cancels what it is shown, as hosts without a person do. That is no denial."""
    marker, shown = tmp_path / "marker", list[ElicitRequestURLParams]()

    async with anyio.create_task_group() as tasks:

        async def nobody(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            assert isinstance(params, ElicitRequestURLParams)
            shown.append(params)
            tasks.start_soon(decide, folder, params.url.rpartition("/")[2])
            return ElicitResult(action="cancel")

        who = Implementation(name="patient", version="1")
        async with gateway.client("http 2026", folder.keys["alice"], elicitation_callback=nobody, client_info=who) as client:
            with anyio.fail_after(BOUND_S):
                result = await client.call_tool("pipe__count", {"marker": str(marker)})
    assert words(result) == "1" and lines_of(marker) == ["called"]
    (once,) = shown
    assert once.url.startswith(f"{PAGES}/approvals/apr_") and "People look at this first." in once.message


async def test_fastmcps_client_is_shown_the_page_and_gets_the_result(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    marker, urls = tmp_path / "marker", list[str]()

    async with anyio.create_task_group() as tasks:

        async def person(message: str, response_type: Any, params: ElicitRequestParams, context: Any) -> Any:
            assert isinstance(params, ElicitRequestURLParams)
            urls.append(params.url)
            tasks.start_soon(decide, folder, params.url.rpartition("/")[2])
            return FastElicitResult(action="accept", content=None)

        way = StreamableHttpTransport(f"{gateway.url}/mcp", headers=bearer(folder.keys["alice"]))
        who = Implementation(name="patient", version="1")
        async with FastClient(way, elicitation_handler=person, client_info=who) as client:
            with anyio.fail_after(BOUND_S):
                result = await client.call_tool("pipe__count", {"marker": str(marker)})
    assert result.content[0].text == "1" and lines_of(marker) == ["called"]
    assert len(urls) == 1


async def test_a_client_that_takes_ten_rounds_is_told_that_the_call_is_pending(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    marker, shown = tmp_path / "marker", list[str]()

    async def nobody(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams)
        shown.append(params.url.rpartition("/")[2])
        return ElicitResult(action="decline")

    async with gateway.client("http 2026", folder.keys["alice"], elicitation_callback=nobody) as client:
        with anyio.fail_after(BOUND_S):
            result = await client.call_tool("pipe__count", {"marker": str(marker)})
        assert result.is_error and "not executed" in words(result)
        assert shown == [(result.meta or {})["mcpgw/approval"]["id"]]
        await decide(folder, shown[0])
        with anyio.fail_after(BOUND_S):
            assert words(await client.call_tool("pipe__count", {"marker": str(marker)})) == "1"
    assert lines_of(marker) == ["called"]


async def test_denied_while_it_waits_the_retry_says_so_and_opens_no_new_question(
    folder: Folder, alice: RawClient, tmp_path: Path
) -> None:
    arguments = {"marker": str(tmp_path / "marker")}
    first = await alice.call("pipe__count", arguments)
    assert (first["resultType"], list(first["inputRequests"])) == ("input_required", ["approval"])
    approval_id = first["_meta"]["mcpgw/approval"]["id"]
    second = await alice.call("pipe__count", arguments, requestState=first["requestState"])
    assert (second["resultType"], "inputRequests" in second) == ("input_required", False)
    assert second["requestState"] != first["requestState"]
    await decide(folder, approval_id, Verdict.DENY)
    for state in (first["requestState"], second["requestState"]):
        denied = await alice.call("pipe__count", arguments, requestState=state)
        assert denied["isError"] and denied["_meta"]["mcpgw/refused"]["approval"] == approval_id
    asked_anew = await alice.call("pipe__count", arguments)
    assert asked_anew["_meta"]["mcpgw/approval"]["id"] != approval_id, "without a state it is a new question"


@pytest.mark.promise("state-sealed")
async def test_a_state_is_for_one_caller_one_tool_and_one_set_of_arguments(
    gateway: Gateway, folder: Folder, alice: RawClient, tmp_path: Path
) -> None:
    arguments = {"marker": str(tmp_path / "marker")}
    state = (await alice.call("pipe__count", arguments))["requestState"]
    other = (await alice.call("pipe__count", {"marker": str(tmp_path / "other")}))["requestState"]
    await decide(folder, (await alice.call("pipe__count", arguments, requestState=state))["_meta"]["mcpgw/approval"]["id"])
    invalid = {"code": -32602, "message": "Invalid or expired requestState", "data": {"reason": "invalid_request_state"}}

    async def refused(client: RawClient, tool: str, arguments: dict[str, Any], state: object) -> dict[str, Any]:
        return await client.refused("tools/call", {"name": tool, "arguments": arguments, "requestState": state})

    async with raw_client(gateway.url, folder.keys["bob"], declares=dict(WITH_URL)) as bob:
        assert await refused(bob, "pipe__count", arguments, state) == invalid
    assert await refused(alice, "pipe__count", {**arguments, "more": 1}, state) == invalid
    assert await refused(alice, "pipe__echo", arguments, state) == invalid
    assert await refused(alice, "pipe__count", arguments, other) == invalid
    for altered in (state[:-2] + ("AA" if state[-2:] != "AA" else "BB"), state.upper(), "v1.", "", "nonsense"):
        assert await refused(alice, "pipe__count", arguments, altered) == invalid
    assert lines_of(tmp_path / "marker") == []
    recorded = [record for record in folder.records("call.refused") if "requestState" in str(record)]
    assert {record["actor"].rpartition("#")[2] for record in recorded} >= {"alice", "bob"}

    done = await alice.call("pipe__count", arguments, requestState=state)
    again = await alice.call("pipe__count", arguments, requestState=state)
    assert done["content"][0]["text"] == again["content"][0]["text"] == "1", "replayed by its owner it tells, and runs nothing"
    assert lines_of(tmp_path / "marker") == ["called"]


async def test_the_retry_may_reach_another_gateway_on_the_store(folder: Folder, alice: RawClient, tmp_path: Path) -> None:
    arguments = {"marker": str(tmp_path / "marker")}
    first = await alice.call("pipe__count", arguments)
    await decide(folder, first["_meta"]["mcpgw/approval"]["id"])
    with serving(folder) as second:
        async with raw_client(second.url, folder.keys["alice"], declares=dict(WITH_URL)) as there:
            done = await there.call("pipe__count", arguments, requestState=first["requestState"])
    assert done["content"][0]["text"] == "1" and lines_of(tmp_path / "marker") == ["called"]


async def test_tasks_come_before_the_page_and_the_page_before_waiting(alice: RawClient, tmp_path: Path) -> None:
    alice.declares = {**WITH_URL, "extensions": {"io.modelcontextprotocol/tasks": {}}}
    assert (await alice.call("pipe__count", {"marker": str(tmp_path / "a")}))["resultType"] == "task"
    alice.declares = {"elicitation": {"form": {}}}
    assert (await alice.call("pipe__count", {"marker": str(tmp_path / "b")}))["resultType"] == "complete"
