"""A risky call waits at the desk until somebody else, in another process, has seen exactly what will run."""

import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult, Implementation

from tests.flows.gateway import BOUND_S, Folder, Gateway, make_folder, serving, until, until_listed, words
from tests.real_servers import ROOT

BANK = ROOT / "examples" / "bank"
RULES = """
[roles.payments]
members = ["group:payments"]
scopes = ["bank:move-money"]

[scopes."bank:move-money"]
by_name = true

[[rules]]
id = "small-change"
effect = "hold"
tools = ["bank__transfer"]
when = "args.memo == 'impatient'"
reason = "This one waits for a second only."
deadline = "1s"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("held") / "gateway", RULES, environ={"BANK_TOKEN": "the-banks-own-token"})
    folder.key("bob", "payments")
    folder.key("carol", "leads")
    bank = (BANK / "catalog" / "bank.toml").read_text()
    bank = bank.replace('"python3"', json.dumps(sys.executable)).replace('"server.py"', json.dumps(str(BANK / "server.py")))
    folder.server("bank", bank)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture(scope="module", params=["http 2026", "sse 2025", "stdio 2026"])
async def bob(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Client]:
    """The requester. Over stdio his gateway is another process than the one that serves, on the same folder."""
    who = Implementation(name="an unknown agent", version="1")  # one that nobody knows to wait for people
    async with gateway.client(request.param, gateway.folder.keys["bob"], client_info=who) as client:
        await until_listed(client, "bank__transfer")
        yield client


@pytest.fixture
def folder(gateway: Gateway) -> Folder:
    return gateway.folder


def effects(folder: Folder) -> int:
    """Return how often the bank did something that cannot be undone."""
    with closing(sqlite3.connect(folder.path / "bank.db")) as books:
        (count,) = books.execute("SELECT count(*) FROM effects").fetchone()
        return int(count)


async def transfer(client: Client, **changed: Any) -> CallToolResult:
    arguments = {"from_account": "CHK-100001", "to_account": "SAV-100002", "amount": 25.0, "memo": "rent", **changed}
    with anyio.fail_after(BOUND_S):
        return await client.call_tool("bank__transfer", arguments)


def approval_of(result: CallToolResult) -> str:
    assert result.is_error and "not executed" in words(result)
    return str((result.meta or {})["mcpgw/approval"]["id"])


async def test_approved_by_another_person_the_identical_call_runs_exactly_once(folder: Folder, bob: Client) -> None:
    before, memo = effects(folder), f"rent {id(bob)}"
    held = approval_of(await transfer(bob, memo=memo))
    assert approval_of(await transfer(bob, memo=memo)) == held, "the identical call joins"
    assert "somebody else must decide" in await folder.acli(
        "approvals", "approve", held, "--yes", key=folder.keys["bob"], expect=1
    )
    assert effects(folder) == before
    await folder.acli("approvals", "approve", held, "--yes", key=folder.keys["carol"])

    results: list[CallToolResult] = []

    async def again() -> None:
        results.append(await transfer(bob, memo=memo))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(again)
    done = [result for result in results if not result.is_error]
    assert done and len({words(result) for result in done}) == 1
    for result in results:
        assert not result.is_error or approval_of(result) == held, "a duplicate waits for the first, or gets its result"
    assert words(await transfer(bob, memo=memo)) == words(done[0])
    assert effects(folder) == before + 1
    assert approval_of(await transfer(bob, memo=memo, amount=25.01)) != held, "one cent more is another call"
    (intent,) = folder.records("call.intent", approval_id=held)
    assert intent["target"]["name"] == "bank__transfer"


async def test_denied_the_identical_call_is_refused(folder: Folder, bob: Client) -> None:
    before, memo = effects(folder), f"no {id(bob)}"
    held = approval_of(await transfer(bob, memo=memo))
    await folder.acli("approvals", "deny", held, "--comment", "not today", key=folder.keys["carol"])
    (vote,) = folder.records("approval.voted", approval_id=held)
    assert (vote["who"]["sub"], vote["approval"]["verdict"]) == ("carol", "deny")
    (settled,) = folder.records("approval.settled", approval_id=held)
    assert settled["approval"]["state"] == "denied"
    assert effects(folder) == before


async def test_nobody_decides_and_the_deadline_denies(folder: Folder, bob: Client) -> None:
    before = effects(folder)
    held = approval_of(await transfer(bob, memo="impatient", amount=1.0 + id(bob) % 1000))
    (settled,) = await until(lambda: folder.records("approval.settled", approval_id=held), "the deadline has passed")
    assert settled["approval"]["state"] == "expired"
    assert "deadline" in await folder.acli("approvals", "approve", held, "--yes", key=folder.keys["carol"], expect=1)
    assert effects(folder) == before


async def test_approved_while_the_client_waits_it_simply_answers(folder: Folder, gateway: Gateway, bob: Client) -> None:
    """With a progress token a client is known to wait (45 s); here the vote comes while it does."""
    before, memo = effects(folder), f"waiting {id(bob)}"
    waiting = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        waiting.set()

    async def approve() -> None:
        await waiting.wait()
        (opened,) = folder.records("call.held")[-1:]
        await folder.acli("approvals", "approve", opened["approval"]["id"], "--yes", key=folder.keys["carol"])

    arguments = {"from_account": "CHK-100001", "to_account": "SAV-100002", "amount": 5.0, "memo": memo}
    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(approve)
            result = await bob.session.call_tool("bank__transfer", arguments, progress_callback=on_progress)
    assert not result.is_error, words(result)
    assert effects(folder) == before + 1
