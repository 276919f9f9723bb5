"""Waiting in a client's place, over in-memory doors: for whom, how many, and what ends it. Stories: tests/flows."""

import itertools
import json
from dataclasses import replace
from typing import Any

import aiohttp
import anyio
import pytest

from mcpgw.core.entries import Refusal
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.server import GatewayServer
from mcpgw.ports import ApprovalState
from tests.inbound.doors import World
from tests.inbound.raw import ACCEPT, INITIALIZE, call, legacy, post
from tests.inbound.test_tasks import CALL
from tests.inbound.wire import bearer, listening, piped

ALONE = replace(CALL, terms=replace(CALL.terms, unattended=True))


def impatient(**limits: int) -> World:
    """A gateway whose desk decides nothing while a client waits."""
    world = World(config=InboundConfig(version="1", **limits))
    world.desk.limit_s = 0.0
    world.desk.calls = [ALONE]
    return world


async def ask(http: aiohttp.ClientSession, key: str = "alice-key", name: str = "bank__alone") -> dict[str, Any]:
    body, headers = call(name)
    _, answer, _ = await post(http, body, headers, key=key)
    result: dict[str, Any] = answer["result"]
    return result


def told(result: dict[str, Any]) -> tuple[bool, str]:
    return result["_meta"]["mcpgw/approval"]["unattended"], result["content"][0]["text"]


async def taken_up(world: World) -> Refusal:
    """Wait until the approved call is taken up: the desk in memory knows no resumed call, so policy's word is seen."""
    with anyio.fail_after(5):
        await world.journal.until(Refusal, 1)
    (refusal,) = world.journal.of(Refusal)
    assert isinstance(refusal, Refusal)
    return refusal


async def test_what_its_client_was_told_to_come_back_for_is_taken_up_once_it_is_approved() -> None:
    world = impatient()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        waits, text = told(await ask(http))
        assert waits and "Once approved it runs by itself; call again with identical arguments for its result." in text
        assert told(await ask(http))[0], "it is waited for once, whoever asks again"
        assert "unattended" not in (await ask(http, name="bank__held"))["_meta"]["mcpgw/approval"]
        world.desk.calls = [replace(ALONE, state=ApprovalState.APPROVED)]
        assert (await taken_up(world)).shown.call.resumes == "apr_1"
        assert world.upstreams.calls == []


@pytest.mark.parametrize("state", [ApprovalState.DENIED, ApprovalState.SPENT])
async def test_it_waits_until_nothing_is_left_to_decide(state: ApprovalState) -> None:
    world = impatient(max_unattended=1)
    world.desk.ids = (f"apr_{number}" for number in itertools.count(1))
    world.desk.calls = [ALONE, replace(ALONE, id="apr_2"), replace(ALONE, id="apr_3")]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert told(await ask(http))[0]
        waits, text = told(await ask(http))
        assert not waits and "It does not run by itself: too many calls wait for that already." in text
        world.desk.calls = [replace(ALONE, state=state), replace(ALONE, id="apr_3")]
        if state is ApprovalState.SPENT:
            assert not told(await ask(http))[0], "somebody runs it, and its end is awaited"
            world.desk.calls = [replace(ALONE, state=ApprovalState.FAILED)]
        world.desk.ids = itertools.repeat("apr_3")
        for _ in range(500):
            if told(await ask(http))[0]:
                break
        else:
            pytest.fail("what has ended still takes the only place")
    assert not world.journal.of(Refusal), "nothing was taken up"


async def test_one_identity_takes_no_more_than_its_share() -> None:
    world = impatient(max_unattended_per_identity=1)
    world.desk.ids = (f"apr_{number}" for number in itertools.count(1))
    world.desk.calls = [ALONE, replace(ALONE, id="apr_2"), replace(ALONE, id="apr_3", requester="test#bob")]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert [told(await ask(http))[0], told(await ask(http))[0], told(await ask(http, "bob-key"))[0]] == [True, False, True]


async def test_of_two_credentials_the_newest_counts() -> None:
    world = impatient()
    world.keys.keys["alice-new"] = world.keys.keys["alice-key"]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert told(await ask(http))[0] and told(await ask(http, "alice-new"))[0]
        del world.keys.keys["alice-key"]
        world.desk.calls = [replace(ALONE, state=ApprovalState.APPROVED)]
        assert "the policy changed" in (await taken_up(world)).refused.reason, "and nothing is wrong with the credential"


async def test_a_ledger_that_cannot_be_read_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpgw.inbound.unattended._RETRY_S", 0.01)
    world = impatient()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert told(await ask(http))[0]
        world.desk.broken = True
        await anyio.sleep(0.05)
        world.desk.broken = False
        world.desk.calls = [replace(ALONE, state=ApprovalState.APPROVED)]
        await taken_up(world)


async def test_a_failure_of_one_ends_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = impatient()
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert told(await ask(http))[0]
        world.desk.calls[0] = None  # type: ignore[call-overload]
        with anyio.fail_after(5):
            await world.desk.until(lambda: "apr_1: it is not waited for any more" in caplog.text)
        world.desk.calls = [ALONE]
        assert told(await ask(http))[0]


async def test_a_gateway_that_ends_waits_for_nothing_any_more() -> None:
    world = impatient()
    server: GatewayServer = world.server()
    with anyio.fail_after(10):
        async with piped(server, world, "alice-key") as (writer, lines):
            body, _ = call("bank__alone")
            writer.write(json.dumps(body).encode() + b"\n")
            writer.flush()
            answer = json.loads(await anext(aiter(lines)))
            assert told(answer["result"])[0]
    world.desk.calls = [replace(ALONE, state=ApprovalState.APPROVED)]
    await anyio.sleep(0.05)
    assert not world.journal.of(Refusal) and world.upstreams.calls == []


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_is_waited_for_and_one_that_cancels_is_not(cancels: bool) -> None:
    world = World()
    world.desk.limit_s = 30.0
    world.desk.calls = [ALONE]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        _, _, headers = await post(http, INITIALIZE)
        session = {"Mcp-Session-Id": headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
        await post(http, legacy("notifications/initialized", request_id=None), session)
        body = legacy("tools/call", {"name": "bank__alone", "arguments": {}, "_meta": {"progressToken": 1}}, request_id=7)
        async with http.post("/mcp", json=body, headers={**ACCEPT, **bearer("alice-key"), **session}) as response:
            assert await response.content.readline()  # the first heartbeat: it is held
            if cancels:
                await post(http, legacy("notifications/cancelled", {"requestId": 7}, request_id=None), session)
                with anyio.fail_after(5):
                    await world.desk.left.wait()
        with anyio.fail_after(5):
            await world.desk.left.wait()
        world.desk.calls = [replace(ALONE, state=ApprovalState.APPROVED)]
        if not cancels:
            await taken_up(world)
        else:
            await anyio.sleep(0.1)
            assert not world.journal.of(Refusal), "the approval stands, and nothing runs"
