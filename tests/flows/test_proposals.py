"""An approver proposes other arguments: the client is told by whatever way it follows, and only what it calls for then runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.gateway import CONFIG, Folder, Gateway, lines_of, make_folder, serving, until
from tests.flows.raw_tasks import WITH_URL, raw_client
from tests.real_servers import story_server

RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["*__count"]

[[rules]]
id = "two-people-look"
effect = "hold"
tools = ["*__wait"]
quorum = 2
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = CONFIG.replace("port = 0", 'port = 0\npublic_url = "https://gateway.example"')
    folder = make_folder(tmp_path_factory.mktemp("proposals") / "gateway", RULES, config)
    for name, group in (("alice", "all"), ("bob", "all"), ("carol", "leads"), ("dora", "leads")):
        folder.key(name, group)
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


async def propose(folder: Folder, approval_id: str, arguments: dict[str, Any], who: str = "carol") -> str:
    """Propose as a person does by the command line, with the arguments in a file."""
    file = folder.path / f"{approval_id}.json"
    file.write_text(json.dumps(arguments))
    words = ("approvals", "propose", approval_id, "--arguments", str(file), "-m", "into the other one", "--yes")
    return await folder.acli(*words, key=folder.keys[who])


async def pending(gateway: Gateway, tool: str, arguments: dict[str, Any], who: str = "alice") -> dict[str, Any]:
    async with raw_client(gateway.url, gateway.folder.keys[who], declares={}) as client:
        return await client.call(tool, arguments)


def held_as(result: dict[str, Any]) -> str:
    return str(result["_meta"]["mcpgw/approval"]["id"])


async def test_told_by_the_identical_call_it_runs_once_called_for_and_never_as_it_was(
    gateway: Gateway, folder: Folder, tmp_path: Path
) -> None:
    asked, instead = {"marker": str(tmp_path / "asked")}, {"marker": str(tmp_path / "instead")}
    approval_id = held_as(await pending(gateway, "pipe__count", asked))
    said = await propose(folder, approval_id, instead)
    assert f'- "{asked["marker"]}"' in said and f'+ "{instead["marker"]}"' in said and "it is denied" in said

    told = await pending(gateway, "pipe__count", asked)
    proposal = told["_meta"]["mcpgw/proposal"]
    assert told["isError"] and (proposal["by"], proposal["tool"]) == ("carol", "pipe__count")
    assert (proposal["arguments"], proposal["comment"]) == (instead, "into the other one")
    assert "carol proposes other arguments; to accept, call pipe__count again" in told["content"][0]["text"]
    assert "mcpgw/proposal" not in (await pending(gateway, "pipe__count", asked, "bob")).get("_meta", {}), "it is alice's"

    elsewhere = held_as(await pending(gateway, "pipe__count", instead, "bob"))
    assert elsewhere != approval_id, "somebody else's identical words are a call of its own"
    assert lines_of(tmp_path / "instead") == []
    done = await pending(gateway, "pipe__count", proposal["arguments"])
    assert done["content"][0]["text"] == "1", done
    assert (await pending(gateway, "pipe__count", instead))["_meta"]["mcpgw/call"]["replayed_from"]
    assert (lines_of(tmp_path / "instead"), lines_of(tmp_path / "asked")) == (["called"], [])

    (record,) = folder.records("approval.proposed", approval_id=approval_id)
    assert (record["who"]["sub"], record["approval"]["changed"]) == ("carol", ["marker"])
    assert str(tmp_path) not in json.dumps(record) and "into the other one" not in json.dumps(record)
    (opened,) = [one for one in folder.records("call.held") if one["approval"].get("accepts") == approval_id]
    assert f"taken up as {opened['approval']['id']}" in await folder.acli(
        "approvals", "show", approval_id, key=folder.keys["dora"]
    )


async def test_with_two_seats_somebody_else_approves_as_well(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    marker, go = tmp_path / "wait", tmp_path / "go"
    go.touch()
    asked = {"marker": str(marker), "until": str(tmp_path / "never")}
    approval_id = held_as(await pending(gateway, "pipe__wait", asked))
    await folder.acli("approvals", "approve", approval_id, "--yes", key=folder.keys["dora"])
    instead = {"marker": str(marker), "until": str(go)}
    await propose(folder, approval_id, instead)
    accepted = held_as(await pending(gateway, "pipe__wait", instead))
    assert "0 of 2" not in (shown := await folder.acli("approvals", "show", accepted, key=folder.keys["dora"]))
    assert "carol: approve" in shown and "dora: approve" not in shown
    await folder.acli("approvals", "approve", accepted, "--yes", key=folder.keys["dora"])
    assert (await pending(gateway, "pipe__wait", instead))["content"][0]["text"] == "waited"


async def test_a_task_and_a_page_tell_of_it_as_well(gateway: Gateway, folder: Folder, tmp_path: Path) -> None:
    asked, instead = {"marker": str(tmp_path / "task")}, {"marker": str(tmp_path / "task instead")}
    async with raw_client(gateway.url, folder.keys["alice"]) as client:
        task_id = await client.held("pipe__count", asked)
        await propose(folder, task_id, instead)
        task = await client.ended(task_id)
        assert (task["status"], task["result"]["_meta"]["mcpgw/proposal"]["arguments"]) == ("completed", instead)
        given = [one for one in folder.records("evidence.read") if one["facts"].get("read") == "proposal"]
        assert [one["facts"]["approval_id"] for one in given] == [task_id]
        assert (await client.call("pipe__count", instead))["content"][0]["text"] == "1"

    asked, instead = {"marker": str(tmp_path / "page")}, {"marker": str(tmp_path / "page instead")}
    async with raw_client(gateway.url, folder.keys["alice"], declares=WITH_URL) as client:
        first = await client.call("pipe__count", asked)
        assert first["resultType"] == "input_required"
        await propose(folder, held_as(first), instead)
        await until(lambda: folder.records("approval.proposed", approval_id=held_as(first)), "it is proposed")
        told = await client.call("pipe__count", asked, requestState=first["requestState"])
        assert told["_meta"]["mcpgw/proposal"]["arguments"] == instead
        assert (await client.call("pipe__count", instead))["content"][0]["text"] == "1"
