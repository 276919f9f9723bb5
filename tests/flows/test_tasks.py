"""Held calls as tasks: the state and the result are asked for, and the call runs when somebody is there to ask."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.inbound import encode_header_value

from mcpgw.app import convert
from mcpgw.cli.common import open_gateway_store
from mcpgw.core.entries import Verdict
from tests.faults.process import start
from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, lines_of, make_folder, serving, until, wait
from tests.flows.raw_tasks import TASKS, RawClient, raw_client
from tests.real_servers import story_server

RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["*__count", "*__wait"]
when = "!args.marker.endsWith('.soon')"
reason = "People look at this first."

[[rules]]
id = "soon-over"
effect = "hold"
tools = ["*__count"]
when = "args.marker.endsWith('.soon')"
deadline = "2s"
"""


def prepared(path: Path) -> Folder:
    folder = make_folder(path, RULES, CONFIG.replace("port = 0", 'port = 0\npublic_url = "https://gateway.example"'))
    folder.key("alice", "all")
    folder.key("bob", "all")
    folder.key("carol", "leads")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(prepared(tmp_path_factory.mktemp("tasks") / "gateway")) as gateway:
        yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


@pytest.fixture
async def alice(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with raw_client(gateway.url, gateway.folder.keys["alice"]) as client:
        yield client


@pytest.fixture
async def bob(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with raw_client(gateway.url, gateway.folder.keys["bob"]) as client:
        yield client


async def approve(folder: Folder, task_id: str) -> None:
    """Approve as Carol does by `mcpgw approvals`: at the store, beside whatever serves."""
    async with open_gateway_store(folder.path) as store:
        carol = await convert.authenticators(store.settings).authenticate(folder.keys["carol"])
        await store.desk.vote(task_id, carol, Verdict.APPROVE)


async def test_held_it_is_a_task_and_runs_once_it_is_approved_and_asked_for(
    folder: Folder, alice: RawClient, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    assert (await alice.ask("server/discover", {}))["capabilities"]["extensions"] == {TASKS: {}}
    created = await alice.call("pipe__count", {"marker": str(marker)})
    assert created.keys() == {
        "resultType", "taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs", "_meta",
    }  # fmt: skip
    assert (created["resultType"], created["status"]) == ("task", "working")
    assert created["ttlMs"] > 1_800_000 and created["pollIntervalMs"] > 0
    task_id = created["taskId"]
    assert created["_meta"]["mcpgw/approval"]["url"] == f"https://gateway.example/approvals/{task_id}"
    assert created["_meta"]["mcpgw/receipt"]["leaf_hash"]

    waiting = await alice.get(task_id)
    assert (waiting["resultType"], waiting["status"]) == ("complete", "working")
    assert "not executed" in waiting["statusMessage"] and "result" not in waiting
    assert await alice.held("pipe__count", {"marker": str(marker)}) == task_id, "the identical call is the same task"

    await folder.acli("approvals", "approve", task_id, "--yes", key=folder.keys["carol"])
    await anyio.sleep(0.3)
    assert lines_of(marker) == [], "nothing runs while nobody asks"
    done = await alice.ended(task_id)
    assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "1")
    assert done["result"]["resultType"] == "complete" and "isError" not in {k for k, v in done["result"].items() if v is True}
    assert lines_of(marker) == ["called"]
    assert (await alice.get(task_id))["result"] == done["result"]
    (intent,) = folder.records("call.intent", approval_id=task_id)
    assert intent["call"] == done["result"]["_meta"]["mcpgw/call"]["id"]
    read = [record for record in folder.records("evidence.read") if record["facts"].get("read") == "result"]
    assert [record["facts"]["approval_id"] for record in read] == [task_id, task_id], "each handing over is recorded"


async def test_twenty_polls_at_once_run_the_call_once(folder: Folder, alice: RawClient, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    await approve(folder, task_id)
    results: list[dict[str, Any]] = []

    async def poll() -> None:
        results.append((await alice.ended(task_id))["result"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(poll)
    assert lines_of(marker) == ["called"]
    assert len(results) == 20 and all(result == results[0] for result in results)
    assert len(folder.records("call.intent", approval_id=task_id)) == 1


async def test_denied_it_ends_with_a_result_that_says_so(folder: Folder, alice: RawClient, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    await folder.acli("approvals", "deny", task_id, "--comment", "no", key=folder.keys["carol"])
    task = await alice.get(task_id)
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert "Denied by an approver" in task["result"]["content"][0]["text"]
    assert task["result"]["_meta"]["mcpgw/refused"] == {"rules": ["people-look"], "approval": task_id}
    assert lines_of(marker) == []


async def test_after_the_deadline_nobody_can_approve_and_the_task_says_so(
    folder: Folder, alice: RawClient, tmp_path: Path
) -> None:
    marker = tmp_path / "marker.soon"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    task = await alice.ended(task_id)
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert "Not approved in time" in task["result"]["content"][0]["text"]
    refused = await folder.acli("approvals", "approve", task_id, "--yes", key=folder.keys["carol"], expect=1)
    assert "deadline" in refused or "expired" in refused
    assert (await alice.get(task_id))["status"] == "completed" and lines_of(marker) == []


async def test_cancelled_it_is_withdrawn_on_record_and_never_runs(folder: Folder, alice: RawClient, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for approved in (False, True):
        task_id = await alice.held("pipe__count", {"marker": str(marker)})
        if approved:
            await approve(folder, task_id)
        cancelled = await alice.ask("tasks/cancel", {"taskId": task_id})
        assert cancelled.keys() == {"resultType", "_meta"} and cancelled["resultType"] == "complete"
        assert (await alice.get(task_id))["status"] == "cancelled"
        assert (await alice.ask("tasks/cancel", {"taskId": task_id}))["resultType"] == "complete", "once more changes nothing"
        (withdrawn,) = folder.records("approval.withdrawn", approval_id=task_id)
        assert withdrawn["who"]["sub"] == "alice"
        refused = await folder.acli("approvals", "approve", task_id, "--yes", key=folder.keys["carol"], expect=1)
        assert "withdrawn" in refused
    assert lines_of(marker) == []


async def test_too_late_a_cancel_changes_nothing(folder: Folder, alice: RawClient, tmp_path: Path) -> None:
    marker, go = tmp_path / "marker", tmp_path / "go"
    task_id = await alice.held("pipe__wait", {"marker": str(marker), "until": str(go)})
    await approve(folder, task_id)
    assert (await alice.get(task_id))["status"] == "working"
    await until(lambda: lines_of(marker), "the call is under way")
    assert (await alice.ask("tasks/cancel", {"taskId": task_id}))["resultType"] == "complete"
    under_way = await alice.get(task_id)
    assert under_way["status"] == "working" and "under way" in under_way["statusMessage"]
    go.touch()
    assert (await alice.ended(task_id))["result"]["content"][0]["text"] == "waited"


@pytest.mark.promise("tasks-foreign-id")
async def test_a_foreign_id_and_one_that_nobody_has_get_the_same_answer(
    gateway: Gateway, folder: Folder, alice: RawClient, bob: RawClient, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    await approve(folder, task_id)
    for method, more in (("tasks/get", {}), ("tasks/cancel", {}), ("tasks/update", {"inputResponses": {}})):
        foreign = await bob.refused(method, {"taskId": task_id, **more})
        assert foreign == {"code": -32602, "message": "There is no such task."}
        for guess in ("apr_aaaaaaaaaaaaaaaaaaaa", task_id.upper(), task_id[:-1], "x", "a" * 5_000, "a\x00b", "' OR 1=1 --"):
            assert await bob.refused(method, {"taskId": guess, **more}, name=encode_header_value(guess)) == foreign
    async with raw_client(gateway.url, folder.keys["carol"]) as carol:
        assert (await carol.refused("tasks/get", {"taskId": task_id}))["code"] == -32602, "an approver polls nobody's call"
    assert lines_of(marker) == [], "nobody else's poll runs it"
    refused = [record for record in folder.records("call.refused") if "no such task" in str(record).lower()]
    assert refused and {record["actor"].rpartition("#")[2] for record in refused} == {"bob", "carol"}, "and it is on record"
    assert (await alice.ended(task_id))["result"]["content"][0]["text"] == "1"


async def test_headers_and_capabilities_are_asked_for_before_anything_is_looked_up(alice: RawClient, tmp_path: Path) -> None:
    task_id = await alice.held("pipe__count", {"marker": str(tmp_path / "marker")})
    for wrong in ("apr_somebodyelses", "", task_id.upper()):
        assert (await alice.refused("tasks/get", {"taskId": task_id}, name=wrong))["code"] == -32020
    assert (await alice.refused("tasks/get", {"taskId": 7}, name="7"))["code"] == -32602
    assert (await alice.refused("tasks/update", {"taskId": task_id}))["code"] == -32602, "it has no inputResponses"
    assert (await alice.ask("tasks/update", {"taskId": task_id, "inputResponses": {"x": {}}}))["resultType"] == "complete"
    for method in ("tasks/list", "tasks/result"):
        assert (await alice.refused(method, {}))["code"] == -32601
    alice.declares = {}
    missing = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        error = await alice.refused(method, {"taskId": task_id, "inputResponses": {}})
        assert (error["code"], error["data"]) == (-32021, missing)
    pending = await alice.call("pipe__count", {"marker": str(tmp_path / "marker")})
    assert (pending["resultType"], pending["isError"]) == ("complete", True), "no task for a client that declares none"


async def test_a_stream_is_told_of_its_own_tasks_and_that_is_presence_enough(
    folder: Folder, alice: RawClient, bob: RawClient, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    foreign = await bob.held("pipe__count", {"marker": str(tmp_path / "other")})
    with anyio.fail_after(BOUND_S):
        async with alice.listening(task_id, foreign, "apr_nobodys") as messages:
            acknowledged = await anext(messages)
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
            first = await anext(messages)
            assert (first["method"], first["params"]["status"]) == ("notifications/tasks", "working")
            assert first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1
            await approve(folder, task_id)
            told = [first["params"]]
            async for message in messages:
                told.append(message["params"])
                if told[-1]["status"] != "working":
                    break
    assert {task["taskId"] for task in told} == {task_id}
    assert (told[-1]["status"], told[-1]["result"]["content"][0]["text"]) == ("completed", "1")
    assert lines_of(marker) == ["called"]
    alice.declares = {}
    error = await alice.refused("subscriptions/listen", {"notifications": {"taskIds": [task_id]}})
    assert error["code"] == -32021


async def test_another_gateway_on_the_store_answers_for_the_task_and_runs_it(
    gateway: Gateway, folder: Folder, alice: RawClient, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    task_id = await alice.held("pipe__count", {"marker": str(marker)})
    with serving(folder) as second:
        async with raw_client(second.url, folder.keys["alice"]) as there:
            assert (await there.get(task_id))["status"] == "working"
            await approve(folder, task_id)
            results: list[dict[str, Any]] = []

            async def poll(client: RawClient) -> None:
                results.append((await client.ended(task_id))["result"])

            async with anyio.create_task_group() as tasks:
                for client in (alice, there) * 4:
                    tasks.start_soon(poll, client)
    assert lines_of(marker) == ["called"]
    assert len({result["content"][0]["text"] for result in results}) == 1 and len(results) == 8


async def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path / "gateway"), tmp_path / "marker"
    with serving(folder) as gateway:
        async with raw_client(gateway.url, folder.keys["alice"]) as alice:
            task_id = await alice.held("pipe__count", {"marker": str(marker)})
    await approve(folder, task_id)
    with serving(folder) as gateway:
        async with raw_client(gateway.url, folder.keys["alice"]) as alice:
            task = await alice.ended(task_id)
            assert task["result"]["content"][0]["text"] == "1"
    with serving(folder) as gateway:
        async with raw_client(gateway.url, folder.keys["alice"]) as alice:
            assert (await alice.get(task_id))["result"] == task["result"]
    assert lines_of(marker) == ["called"]


async def test_killed_between_approval_and_result_the_state_stays_honest(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path / "gateway"), tmp_path / "marker"
    gateway = start(folder)
    assert gateway.listening.wait(BOUND_S) and gateway.url, "".join(gateway.log)
    wait(lambda: not gateway.problems(), "/readyz is green")
    async with raw_client(gateway.url, folder.keys["alice"]) as alice:
        unasked = await alice.held("pipe__count", {"marker": str(tmp_path / "unasked")})
        task_id = await alice.held("pipe__wait", {"marker": str(marker)})
        await approve(folder, task_id)
        await alice.get(task_id)
        await until(lambda: lines_of(marker), "the call is under way")
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(BOUND_S)
    await approve(folder, unasked)
    with serving(folder) as again:
        async with raw_client(again.url, folder.keys["alice"]) as alice:
            task = await alice.ended(task_id)
            assert (task["status"], task["result"]["isError"]) == ("completed", True)
            assert "whether it had an effect is unknown" in task["result"]["content"][0]["text"]
            assert lines_of(marker).count("started") == 1, "it is never sent again"
            assert (await alice.ended(unasked))["result"]["content"][0]["text"] == "1", "what was approved only, runs"
