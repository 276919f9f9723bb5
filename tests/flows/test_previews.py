"""What a held call would do, as its server says: asked through the corridor, shown to approvers, hashed into their votes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.console.bank import Person
from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, lines_of, make_folder, serving, until
from tests.flows.raw_tasks import raw_client
from tests.real_servers import OUR_SERVERS

RULES = """
[[rules]]
id = "payments"
effect = "hold"
tools = ["bank__pay"]
when = "!(has(args.dry_run) && args.dry_run) || args.to == 'held'"

[[rules]]
id = "cancellations"
effect = "hold"
tools = ["bank__cancel"]

[[rules]]
id = "no-trials-there"
effect = "deny"
tools = ["bank__pay"]
when = "has(args.dry_run) && args.dry_run && args.to == 'denied'"
"""
TOOLS = """
[tools.pay]
preview = { arguments = { dry_run = true } }

[tools.cancel]
preview = { tool = "look_at" }

[tools.look_at]
name = "look"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = CONFIG.replace("[approval]", '[approval]\npreview_timeout = "12s"')
    folder = make_folder(tmp_path_factory.mktemp("previews") / "gateway", RULES, config)
    for name, group in (("alice", "all"), ("carol", "leads")):
        folder.key(name, group)
    folder.spawned("bank", [sys.executable, str(OUR_SERVERS / "payment_server.py"), str(folder.path / "marker")], TOOLS)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


async def call(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    async with raw_client(gateway.url, gateway.folder.keys["alice"], declares={}) as client:
        return await client.call(tool, arguments)


async def held(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> str:
    return str((await call(gateway, tool, arguments))["_meta"]["mcpgw/approval"]["id"])


def of_preview(folder: Folder, approval_id: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in folder.records(kind) if record.get("previews") == approval_id]


async def previewed(folder: Folder, approval_id: str, kind: str = "call.outcome") -> str:
    """Wait until the preview has ended on record, and return what its approver sees."""
    await until(lambda: of_preview(folder, approval_id, kind), "the preview has ended")
    return await folder.acli("approvals", "show", approval_id, key=folder.keys["carol"])


async def test_what_the_call_would_do_is_shown_and_nothing_is_done_by_it(gateway: Gateway, folder: Folder) -> None:
    marker = folder.path / "marker"
    approval_id = await held(gateway, "bank__pay", {"to": "bob", "amount": 5})
    sheet = await previewed(folder, approval_id)
    assert "What the server says the call would do; nobody checked it:" in sheet
    assert "would pay 5 to bob, of <EMAIL>\\u202e" in sheet, "redacted, and in characters that cannot deceive"
    assert lines_of(marker).count("tried") == 1 and "paid" not in lines_of(marker)
    (intent,) = of_preview(folder, approval_id, "call.intent")
    assert intent["who"]["sub"] == "alice" and "approval" not in intent, "a call of its own, which spends nothing"

    async with httpx2.AsyncClient(base_url=gateway.url, timeout=BOUND_S) as http:
        carol = Person(http, gateway.url)
        await carol.sign_in(folder.keys["carol"])
        page = (await carol.get(f"/approvals/{approval_id}")).text
    assert "nobody checked its answer" in page and "would pay 5 to bob, of &lt;EMAIL&gt;\\u202e" in page

    await folder.acli("approvals", "approve", approval_id, "--yes", key=folder.keys["carol"])
    (vote,) = folder.records("approval.voted", approval_id=approval_id)
    read = [one["facts"]["shown"] for one in folder.records("evidence.read") if one["facts"]["approval_id"] == approval_id]
    assert vote["approval"]["shown"] == read[-1]
    assert (await call(gateway, "bank__pay", {"to": "bob", "amount": 5}))["content"][0]["text"] == "paid 5"
    assert (lines_of(marker).count("paid"), lines_of(marker).count("tried")) == (1, 1)


async def test_another_tool_of_the_server_may_say_it(gateway: Gateway, folder: Folder) -> None:
    approval_id = await held(gateway, "bank__cancel", {"reference": "r-1"})
    assert "booked" in await previewed(folder, approval_id)
    (intent,) = of_preview(folder, approval_id, "call.intent")
    assert intent["target"]["name"] == "bank__look"
    assert "looked" in lines_of(folder.path / "marker") and "cancelled" not in lines_of(folder.path / "marker")


FAILS = {
    "held": ("call.refused", "The preview would itself have to be approved, so it was not made."),
    "denied": ("call.refused", "Rule no-trials-there denies this call."),
    "nobody": ("call.outcome", "The server answered with an error."),
    "slow": ("call.outcome", "The server did not answer within the time for previews."),
}


@pytest.mark.parametrize("case", FAILS)
async def test_a_preview_that_fails_says_why_and_the_call_is_held_all_the_same(
    gateway: Gateway, folder: Folder, case: str
) -> None:
    kind, says = FAILS[case]
    arguments = {"to": case, "amount": 7}
    approval_id = await held(gateway, "bank__pay", arguments)
    assert says in await previewed(folder, approval_id, kind)
    facts = json.loads(await folder.acli("approvals", "show", approval_id, "--json", key=folder.keys["carol"]))
    assert says in facts["preview_problem"] and "preview" in facts
    assert len([one for one in folder.records("call.held") if one["approval"]["how"] == "opened"]) == len(
        {one["approval"]["id"] for one in folder.records("call.held")}
    ), "no preview is held itself"
    await folder.acli("approvals", "approve", approval_id, "--yes", key=folder.keys["carol"])
    done = await call(gateway, "bank__pay", arguments)
    assert done["content"][0]["text"] == ("paid 7" if case != "nobody" else done["content"][0]["text"])


async def test_a_long_preview_is_cut_and_says_so(gateway: Gateway, folder: Folder) -> None:
    approval_id = await held(gateway, "bank__pay", {"to": "loud", "amount": 1})
    sheet = await previewed(folder, approval_id)
    assert "… (cut: it has " in sheet and "!" * 4_001 not in sheet


async def test_joined_by_the_identical_call_it_is_previewed_once(gateway: Gateway, folder: Folder) -> None:
    approval_id = await held(gateway, "bank__pay", {"to": "twice", "amount": 1})
    assert await held(gateway, "bank__pay", {"to": "twice", "amount": 1}) == approval_id
    await previewed(folder, approval_id)
    assert len(of_preview(folder, approval_id, "call.intent")) == 1


def test_what_is_kept_of_previews_is_made_again_from_the_records(folder: Folder) -> None:
    assert "are what the records say" in folder.cli("ledger", "rebuild", "--check")


def test_a_dry_run_that_nobody_uses_is_pointed_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gateway")
    command = [sys.executable, str(OUR_SERVERS / "payment_server.py"), str(tmp_path / "marker")]
    folder.spawned("bank", command)
    folder.accept()
    assert "has a `dry_run` that is not used" in folder.cli("check")
    folder.spawned("bank", command, '[tools.pay]\npreview = { tool = "lok_at" }\n')
    said = folder.cli("check")
    assert "dry_run" not in said and 'offers no tool "lok_at", so calls of pay have no preview' in said
    wrong = {
        '{ tool = "a", arguments = {} }': "`preview` needs `arguments` or `tool`, and not both.",
        "{ }": "`preview` needs `arguments` or `tool`, and not both.",
        "{ arguments = { day = 2026-01-01 } }": "`arguments` must be a table of JSON values, not a table.",
        '{ toool = "x" }': "unknown key `toool`.",
        "true": "`preview` must be a table, not true or false.",
    }
    for written, says in wrong.items():
        folder.spawned("bank", command, f"[tools.pay]\npreview = {written}\n")
        assert says in folder.cli("check", expect=1)
    assert json.loads(json.dumps(lines_of(tmp_path / "marker"))) == [], "checking asks for no preview"
