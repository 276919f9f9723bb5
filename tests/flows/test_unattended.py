"""A rule that lets an approved call run while nobody waits for it: once, by whoever holds it, and never against the rule."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from tests.faults.process import start
from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, bearer, lines_of, make_folder, serving, until, wait
from tests.flows.raw_tasks import raw_client
from tests.flows.test_tasks import approve
from tests.real_servers import story_server

RULES = """
[[rules]]
id = "may-run-alone"
effect = "hold"
tools = ["*__count", "*__wait"]
when = "args.marker.endsWith('.alone')"
run_unattended = true

[[rules]]
id = "somebody-waits"
effect = "hold"
tools = ["*__count"]
when = "!args.marker.endsWith('.alone')"
"""
PATIENT = "claude-code"
"""A client that is known to wait for 45 s."""


def prepared(path: Path) -> Folder:
    folder = make_folder(path, RULES, CONFIG)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(prepared(tmp_path_factory.mktemp("unattended") / "gateway")) as gateway:
        yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


def held_as(result: dict[str, Any]) -> str:
    assert result["isError"] and "not executed" in result["content"][0]["text"], result
    return str(result["_meta"]["mcpgw/approval"]["id"])


async def pending(url: str, key: str, marker: Path, tool: str = "pipe__count") -> dict[str, Any]:
    """Call as a client that is told at once that its call is held."""
    async with raw_client(url, key, declares={}) as client:
        return await client.call(tool, {"marker": str(marker)})


async def cut(gateway: Gateway, marker: Path, transport: str = "http") -> str:
    """Call as a client that waits, close the connection while it does, and return the approval's id."""
    folder, key, before = gateway.folder, gateway.folder.keys["alice"], len(gateway.folder.records("call.held"))

    async def call() -> None:
        if transport == "sse":
            await sse_call(gateway.url, key, marker)
        else:
            async with raw_client(gateway.url, key, declares={}, name=PATIENT) as client:
                await client.call("pipe__count", {"marker": str(marker)})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await until(lambda: len(folder.records("call.held")) > before, "the call is held")
        tasks.cancel_scope.cancel()
    return str(folder.records("call.held")[-1]["approval"]["id"])


async def sse_call(url: str, key: str, marker: Path) -> None:
    """Call over HTTP+SSE by hand, since the SDK's client would say aloud that it cancels."""
    information = {"name": PATIENT, "version": "0"}
    hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": information}
    call = {"name": "pipe__count", "arguments": {"marker": str(marker)}}
    async with aiohttp.ClientSession(url, headers=bearer(key)) as http, http.get("/sse") as stream:
        lines = [await stream.content.readline() for _ in range(2)]
        post = partial(http.post, lines[1].decode().removeprefix("data: ").strip())
        for message in (
            {"id": 0, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            {"id": 1, "method": "tools/call", "params": call},
        ):
            (await post(json={"jsonrpc": "2.0", **message})).raise_for_status()
        await stream.read()


async def test_its_client_gone_the_approved_call_runs_once_and_the_identical_call_gets_its_result(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    waits, alone = tmp_path / "one", tmp_path / "one.alone"
    not_alone, approval_id = await cut(gateway, waits), await cut(gateway, alone)
    await approve(folder, not_alone)
    await approve(folder, approval_id)
    await until(lambda: folder.records("call.outcome", approval_id=approval_id), "it ran")
    assert (lines_of(alone), lines_of(waits)) == (["called"], []), "without the key nothing runs that nobody waits for"
    (intent,) = folder.records("call.intent", approval_id=approval_id)

    again = await pending(gateway.url, folder.keys["alice"], alone)
    assert again["content"][0]["text"] == "1" and again["_meta"]["mcpgw/call"]["replayed_from"] == intent["call"]
    assert (await pending(gateway.url, folder.keys["alice"], waits))["content"][0]["text"] == "1", "the approval stood"
    assert (lines_of(alone), lines_of(waits)) == (["called"], ["called"])
    (held,) = [
        record for record in folder.records("call.held", approval_id=approval_id) if record["approval"]["how"] == "opened"
    ]
    assert held["approval"]["terms"]["unattended"] is True


async def test_the_record_says_that_nobody_waited_and_says_it_of_no_other_call(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    alone = tmp_path / "said.alone"
    approval_id = held_as(await pending(gateway.url, folder.keys["alice"], alone))
    await approve(folder, approval_id)
    await until(lambda: folder.records("call.outcome", approval_id=approval_id), "it ran")
    await pending(gateway.url, folder.keys["alice"], alone)
    records = [record for record in folder.records(approval_id=approval_id) if record["kind"].startswith("call.")]
    assert [(record["kind"], record["origin"].get("attended")) for record in records] == [
        ("call.held", None), ("call.held", False), ("call.intent", False), ("call.outcome", False), ("call.outcome", None),
    ]  # fmt: skip
    assert records[2]["origin"]["client"] == records[0]["origin"]["client"] != "", "in whose place it was made"
    listed = (await folder.acli("log", "--approval", approval_id)).splitlines()
    assert ["(unattended)" in line for line in listed if "call." in line] == [False, True, True, True, False]
    replayed = await folder.acli("replay", records[2]["session"]["id"])
    assert "made by the gateway in its client's place: nobody waited for it" in replayed


async def test_whatever_its_transport(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    alone = tmp_path / "sse.alone"
    approval_id = await cut(gateway, alone, "sse")
    await approve(folder, approval_id)
    await until(lambda: folder.records("call.outcome", approval_id=approval_id), "it ran")
    assert lines_of(alone) == ["called"]


async def test_told_to_come_back_or_given_a_task_it_need_not_ask_again(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    told, task = tmp_path / "told.alone", tmp_path / "task.alone"
    result = await pending(gateway.url, folder.keys["alice"], told)
    assert result["_meta"]["mcpgw/approval"]["unattended"] is True and "runs by itself" in result["content"][0]["text"]
    async with raw_client(gateway.url, folder.keys["alice"]) as client:
        task_id = await client.held("pipe__count", {"marker": str(task)})
        for approval_id in (held_as(result), task_id):
            assert "while nobody waits" in await folder.acli("approvals", "show", approval_id, key=folder.keys["carol"])
            await approve(folder, approval_id)
        await until(lambda: lines_of(told) and lines_of(task), "both ran")
        done = await client.ended(task_id)
        assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "1")
        assert await client.held("pipe__wait", {"marker": str(tmp_path / "no.alone")}) != task_id
    assert (lines_of(told), lines_of(task)) == (["called"], ["called"])


async def test_whose_key_was_revoked_meanwhile_runs_nothing(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    key, alone = folder.key("dave", "all"), tmp_path / "revoked.alone"
    approval_id = held_as(await pending(gateway.url, key, alone))
    await folder.acli("keys", "revoke", key.split("_")[1])
    await approve(folder, approval_id)
    (refused,) = await until(lambda: folder.records("call.refused", who="dave"), "it was refused at its release")
    assert "Released to nobody" in refused["outcome"]["reason"]
    assert "approved" in await folder.acli("approvals", "list", key=folder.keys["carol"])
    assert lines_of(alone) == [] and folder.records("call.intent", approval_id=approval_id) == []


async def test_held_by_two_gateways_it_runs_at_one_of_them(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    alone = tmp_path / "two.alone"
    with serving(folder) as second:
        first = held_as(await pending(gateway.url, folder.keys["alice"], alone))
        assert held_as(await pending(second.url, folder.keys["alice"], alone)) == first
        await approve(folder, first)
        await until(lambda: folder.records("call.outcome", approval_id=first), "it ran")
    assert lines_of(alone) == ["called"] and len(folder.records("call.intent", approval_id=first)) == 1


@pytest.mark.parametrize("killed", [False, True])
async def test_a_gateway_that_is_gone_runs_nothing_and_the_identical_call_claims_it(tmp_path: Path, killed: bool) -> None:
    folder, alone = prepared(tmp_path / "gateway"), tmp_path / "gone.alone"
    gateway = start(folder)
    assert gateway.listening.wait(BOUND_S) and gateway.url, "".join(gateway.log)
    wait(lambda: not gateway.problems(), "/readyz is green")
    approval_id = held_as(await pending(gateway.url, folder.keys["alice"], alone))
    gateway.process.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
    gateway.process.wait(BOUND_S)
    await approve(folder, approval_id)
    with serving(folder) as after:
        assert lines_of(alone) == []
        result = await pending(after.url, folder.keys["alice"], alone)
        assert result["content"][0]["text"] == "1"
    assert lines_of(alone) == ["called"]
