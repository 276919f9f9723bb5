"""Servers that make tasks of calls, behind the gateway: their callers meet calls like any other."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequestParams, ElicitResult

from tests.flows.gateway import BOUND_S, Folder, Gateway, listening, make_folder, serving, until, words
from tests.flows.raw_tasks import WITH_TASKS, RawClient, raw_client
from tests.flows.test_conformance_tasks import approving
from tests.real_servers import task_server

RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["*__failing_job"]
when = "'careful' in args"
run_unattended = true
"""
MORE = """
[defaults]
questions = ["form"]

[tools.endless_job]
timeout_s = 2
"""
SERVERS = ("pipe", "web")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("tasks") / "gateway", RULES)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    with listening(task_server()) as port:
        folder.called("web", "http", f"http://127.0.0.1:{port}/mcp", MORE)
        folder.spawned("pipe", task_server("stdio"), MORE)
        folder.accept()
        with serving(folder) as gateway:
            yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


@pytest.fixture
async def alice(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with raw_client(gateway.url, gateway.folder.keys["alice"]) as client:
        yield client


def outcome(folder: Folder) -> dict[str, Any]:
    """Return how the last call ended, once none is open."""
    assert folder.open_calls() == set()
    end: dict[str, Any] = folder.records("call.outcome")[-1]["outcome"]
    return end


@pytest.mark.promise("tasks-of-servers")
@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_that_takes_tasks_gets_the_result_itself(folder: Folder, alice: RawClient, server: str) -> None:
    result = await alice.call(f"{server}__failing_job", {})
    assert (result["resultType"], result["content"]) == ("complete", [{"type": "text", "text": "done"}])
    assert "task-" not in str(result)
    assert outcome(folder)["class"] == "completed"


@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_of_an_earlier_protocol_gets_it_too_with_progress(gateway: Gateway, folder: Folder, server: str) -> None:
    steps: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message or "")

    async with gateway.client("http 2025", folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            result = await client.call_tool(f"{server}__failing_job", {}, progress_callback=on_progress)
    assert words(result) == "done" and not result.is_error
    assert steps == ["look 1"]


async def test_a_client_of_2026_07_28_that_takes_none_is_told_by_the_server_that_it_has_to(alice: RawClient) -> None:
    alice.declares = {}
    refused = await alice.refused("tools/call", {"name": "web__failing_job", "arguments": {}})
    assert (refused["code"], refused["data"]["requiredCapabilities"]) == (-32021, WITH_TASKS)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_task_that_failed_is_an_error_that_does_not_name_it(alice: RawClient, server: str) -> None:
    refused = await alice.refused("tools/call", {"name": f"{server}__broken_job", "arguments": {}})
    assert (refused["code"], refused["message"]) == (-32050, "(task) broke")


@pytest.mark.parametrize("server", SERVERS)
async def test_a_task_without_end_is_cut_off_with_its_call_and_cancelled(folder: Folder, alice: RawClient, server: str) -> None:
    async def cancelled() -> int:
        return int((await alice.call(f"{server}__count_cancelled", {}))["content"][0]["text"])

    before = await cancelled()
    result = await alice.call(f"{server}__endless_job", {})
    assert result["isError"] and "may have had an effect" in result["content"][0]["text"]
    end = outcome(folder)
    assert (end["class"], end["code"], end["reached"]) == ("failed", "timeout", True)
    assert await cancelled() == before + 1


@pytest.mark.parametrize("server", SERVERS)
async def test_what_a_task_asks_a_client_of_2026_07_28_answers_by_calling_again(
    folder: Folder, alice: RawClient, server: str
) -> None:
    alice.declares = {**WITH_TASKS, "elicitation": {"form": {}}}
    tool, arguments = f"{server}__multi_input", {"n": server}
    asked = await alice.call(tool, arguments)
    assert asked["resultType"] == "input_required" and {*asked["inputRequests"]} == {"first", "second"}
    assert "task-" not in str(asked), "the state is sealed"
    answers = {key: {"action": "accept", "content": {key: "yes"}} for key in ("first", "second")}
    result = await alice.call(tool, arguments, inputResponses=answers, requestState=asked["requestState"])
    assert result["content"] == [{"type": "text", "text": "done"}]
    bad = await alice.refused("tools/call", {"name": tool, "arguments": {"n": "other"}, "requestState": asked["requestState"]})
    assert bad["data"] == {"reason": "invalid_request_state"}


@pytest.mark.parametrize("server", SERVERS)
async def test_what_a_task_asks_a_client_of_an_earlier_protocol_is_asked_meanwhile(
    gateway: Gateway, folder: Folder, server: str
) -> None:
    asked: list[str] = []

    async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"confirm": "yes"})

    async with gateway.client("http 2025", folder.keys["alice"], elicitation_callback=elicit) as client:
        with anyio.fail_after(BOUND_S):
            assert words(await client.call_tool(f"{server}__confirm_delete", {})) == "done"
    assert asked == ["confirm"]
    turns = [record["kind"] for record in folder.records("call.*")][-4:]
    assert turns == ["call.intent", "call.asked", "call.answered", "call.outcome"]


async def test_a_held_call_is_the_gateways_task_and_becomes_the_servers_once_it_is_approved(
    folder: Folder, alice: RawClient
) -> None:
    held = await alice.held("web__failing_job", {"careful": 1})
    assert held.startswith("apr_")
    async with approving(folder):
        task = await alice.ended(held)
    assert task["status"] == "completed" and task["result"]["content"][0]["text"] == "done"


async def test_a_task_can_be_asked_for_at_the_gateway_by_no_id_of_its_server(alice: RawClient) -> None:
    await alice.call("web__failing_job", {})
    for number in range(1, 4):
        assert (await alice.refused("tasks/get", {"taskId": f"task-{number}"}))["code"] == -32602


async def test_a_client_that_leaves_takes_its_task_with_it(gateway: Gateway, folder: Folder) -> None:
    async with gateway.client("http 2025", folder.keys["alice"]) as client:

        async def cancelled() -> int:
            return int(words(await client.call_tool("pipe__count_cancelled", {})))

        before = await cancelled()
        with pytest.raises(MCPError):
            await client.call_tool("pipe__endless_job", {}, read_timeout_seconds=0.5)
        await until(lambda: not folder.open_calls(), "the call has ended")
        assert await cancelled() == before + 1
    assert [end["outcome"].get("code") for end in folder.records("call.outcome")[-2:]] == ["cancelled", None]
