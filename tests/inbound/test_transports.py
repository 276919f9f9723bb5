"""The same stories over every transport and in both eras, told by the SDK's own client."""

from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.core.entries import Refusal
from mcpgw.core.model import (
    Failed,
    FailureCode,
    Intent,
    Outcome,
)
from tests.inbound.doors import ECHO_TOOLS, World, identity, target
from tests.inbound.wire import LEGACY, MODERN, TRANSPORTS, Connect, Live


@pytest.fixture(params=[f"{transport} {mode}" for transport in TRANSPORTS for mode in (MODERN, LEGACY)])
def connect(request: pytest.FixtureRequest, live: Live) -> Connect:
    transport, mode = request.param.split()
    if transport == "stdio":
        return Connect(live.world.server(), live.world, transport, mode)
    return Connect(live.server, live.world, transport, mode, live.url)


async def test_a_client_lists_what_its_identity_sees_and_calls_it(connect: Connect) -> None:
    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            answer = await client.call_tool("bank__echo", {"a": [1, None, "ü"]})

    assert names == sorted(names)
    assert "bank__alice" in names and "bank__bob" not in names
    assert answer.content[0].text == '{"a": [1, null, "\\u00fc"]}'
    [call] = world.upstreams.calls
    assert (call.identity.subject, call.origin.transport, call.target.name) == ("alice", connect.transport, "bank__echo")
    assert call.origin.protocol_version == (MODERN if connect.mode == MODERN else "2025-11-25")
    assert call.origin.client.startswith("mcp/")


@pytest.mark.promise("list-own")
async def test_two_identities_see_two_lists(connect: Connect) -> None:
    seen = {}
    for who in ("alice", "bob"):
        with anyio.fail_after(20):
            async with connect.anew()(f"{who}-key") as client:
                seen[who] = {tool.name for tool in (await client.list_tools()).tools}
    assert seen["alice"] ^ seen["bob"] == {"bank__alice", "bank__bob"}


@pytest.mark.promise("tool-unknown")
async def test_a_hidden_tool_answers_like_one_that_does_not_exist(connect: Connect) -> None:
    world = connect.world
    errors = []
    with anyio.fail_after(20):
        async with connect("bob-key") as client:
            for name in ("bank__alice", "bank__nosuch"):
                with pytest.raises(MCPError) as caught:
                    await client.call_tool(name, {})
                errors.append(caught.value.error.model_dump())
    hidden, unknown = errors
    assert hidden == {"code": -32602, "message": "Unknown tool: bank__alice", "data": None}
    assert unknown == {"code": -32602, "message": "Unknown tool: bank__nosuch", "data": None}
    assert [type(entry) for entry in world.journal.entries] == [Refusal, Refusal], "each is recorded, and once"


@pytest.mark.promise("progress-token")
async def test_progress_comes_back_under_the_clients_own_token(connect: Connect) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            await client.call_tool("bank__progress", {}, progress_callback=on_progress)
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert "progressToken" not in world.upstreams.calls[0].meta


@pytest.mark.promise("log-levels")
async def test_log_messages_reach_a_client_that_asked_for_them(connect: Connect) -> None:
    logged: list[Any] = []

    async def on_log(params: Any) -> None:
        logged.append((params.level, params.logger, params.data))

    for level, heard in (("info", [("warning", "up", {"hello": "world"})]), ("error", [])):
        logged.clear()
        with anyio.fail_after(20):
            async with connect.anew()("alice-key", logging_callback=on_log, log_level=level) as client:
                if connect.mode == LEGACY:
                    with pytest.warns(match="deprecated"):
                        await client.set_logging_level(level)
                await client.call_tool("bank__progress", {})
        assert logged == heard


@pytest.mark.promise("progress-token")
async def test_notices_that_no_client_asked_for_are_not_redacted(connect: Connect) -> None:
    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            if connect.mode == LEGACY:
                with pytest.warns(match="deprecated"):
                    await client.set_logging_level("error")
            await client.call_tool("bank__progress", {})
            assert world.redactor.notices == []
            await client.call_tool("bank__progress", {}, progress_callback=_ignore_progress)
            assert world.redactor.notices == ["notifications/progress"] * 3


async def _ignore_progress(progress: float, total: float | None, message: str | None) -> None: ...


@pytest.mark.parametrize("level", [["warning"], {"a": 1}, None, 3])
async def test_a_message_of_no_level_is_dropped(live: Live, level: Any) -> None:
    world = live.world
    world.upstreams.level = level
    with anyio.fail_after(20):
        async with Connect(live.server, world, "http", LEGACY, live.url)("alice-key") as client:
            assert not (await client.call_tool("bank__progress", {})).is_error
    assert world.redactor.notices == []


@pytest.mark.promise("cancel-passed-on")
async def test_cancelling_a_call_cancels_it_upstream_and_records_that(connect: Connect) -> None:
    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "bank__wait", {})
                await world.upstreams.started.wait()
                tasks.cancel_scope.cancel()
            await world.upstreams.cancelled.wait()
            await client.call_tool("bank__echo", {})  # the connection goes on
    cancelled = next(outcome for outcome in world.outcomes() if isinstance(outcome.result, Failed))
    assert cancelled.result.code is FailureCode.CANCELLED
    assert len(world.journal.of(Intent)) == len(world.outcomes()) == 2


async def test_a_client_that_leaves_in_the_middle_of_a_call_leaves_an_outcome(connect: Connect) -> None:
    world = connect.world
    with anyio.fail_after(20):
        with anyio.CancelScope() as life:
            async with connect("alice-key") as client, anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "bank__wait", {})
                await world.upstreams.started.wait()
                life.cancel()
        if (connect.transport, connect.mode) == ("http", LEGACY):
            world.upstreams.release.set()  # before 2026-07-28 a broken stream is no cancellation, and the call goes on
            await world.journal.until(Outcome, 1)
            return
        await world.upstreams.cancelled.wait()
        await world.journal.until(Outcome, 1)
    assert [outcome.result.code for outcome in world.outcomes()] == [FailureCode.CANCELLED]


async def test_a_held_call_whose_client_left_is_never_executed(connect: Connect) -> None:
    world = connect.world
    world.desk.limit_s = 30.0

    async def leave(progress: float, total: float | None, message: str | None) -> None:
        life.cancel()

    with anyio.fail_after(20):
        with anyio.CancelScope() as life:
            async with connect("alice-key") as client:
                await client.call_tool("bank__held", {}, progress_callback=leave)
        await world.desk.left.wait()
        world.desk.approved.set()
    assert world.upstreams.calls == []


async def test_a_held_call_shows_progress_and_then_says_how_to_come_back(connect: Connect) -> None:
    heartbeats: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heartbeats.append(progress)

    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            answer = await client.call_tool("bank__held", {"to": "x"}, progress_callback=on_progress)
    assert answer.is_error
    assert answer.content[0].text.startswith("Held for approval apr_1, not executed. Call again with identical arguments")
    assert answer.meta is not None
    assert answer.meta["mcpgw/approval"] == {"id": "apr_1", "deadline": "2027-01-15T08:00:00+00:00"}
    assert heartbeats
    assert world.upstreams.calls == []


async def test_a_held_call_does_not_run_for_a_credential_that_was_revoked_while_it_waited(connect: Connect) -> None:
    world = connect.world
    world.desk.limit_s = 10

    async def revoke_and_approve(progress: float, total: float | None, message: str | None) -> None:
        world.keys.keys.pop("alice-key", None)
        world.desk.approved.set()

    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            answer = await client.call_tool("bank__held", {"to": "x"}, progress_callback=revoke_and_approve)
            world.keys.keys["alice-key"] = identity("alice")  # or the client could not take its leave
    assert answer.is_error and "Released to nobody" in answer.content[0].text
    assert world.upstreams.calls == []
    [refusal] = [entry for entry in world.journal.entries if isinstance(entry, Refusal)]
    assert "unknown or revoked" in refusal.refused.reason


async def test_a_held_call_that_is_approved_in_time_simply_answers(connect: Connect) -> None:
    world = connect.world
    world.desk.approved.set()
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            answer = await client.call_tool("bank__held", {"to": "x"}, progress_callback=on_progress)
    assert not answer.is_error
    assert progress == sorted(set(progress)), "progress of one request increases"


@pytest.mark.promise("progress-increases")
async def test_progress_goes_on_increasing_after_a_hold(connect: Connect) -> None:
    world = connect.world
    world.catalog.tools["bank__progress"] = target("bank__progress", tags=frozenset({"hold"}))
    world.desk.approved.set()
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            await client.call_tool("bank__progress", {}, progress_callback=on_progress)
    assert len(progress) == 5
    assert progress == sorted(set(progress))


async def test_a_denied_call_is_a_tool_error_with_the_rules(connect: Connect) -> None:
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            answer = await client.call_tool("bank__denied", {})
    assert answer.is_error
    assert answer.content[0].text == "Because rule-1 says so."
    assert answer.meta is not None
    assert answer.meta["mcpgw/refused"] == {"rules": ["rule-1"], "approval": ""}


async def test_a_ledger_that_cannot_write_answers_with_an_error_and_calls_nobody(connect: Connect) -> None:
    world = connect.world
    world.journal.broken = True
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            with pytest.raises(MCPError, match="cannot write its record") as caught:
                await client.call_tool("bank__echo", {})
    assert caught.value.code == -32603
    assert world.upstreams.calls == []


@pytest.mark.promise("list-changed-told")
async def test_a_list_that_changes_is_announced_to_those_who_see_the_change(connect: Connect) -> None:
    world = connect.world
    told = anyio.Event()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            told.set()

    with anyio.fail_after(20):
        async with connect("alice-key", message_handler=on_message) as client:
            server = connect.server
            if connect.mode == LEGACY:
                await client.list_tools()
                await _change(world, "bank__bob", server)
                assert not told.is_set(), "what alice does not see is not announced to her"
                await _change(world, "bank__alice", server)
                while (
                    connect.transport == "http" and not told.is_set()
                ):  # the session's standing stream opens after the handshake
                    await anyio.sleep(0.05)
                    await _change(world, "bank__alice", server)
                await told.wait()
                return
            async with client.listen(tools_list_changed=True) as events:
                await _change(world, "bank__bob", server)
                await _change(world, "bank__alice", server)
                assert type(await anext(aiter(events))).__name__ == "ToolsListChanged"


async def _change(world: World, name: str, server: Any) -> None:
    """Take a tool away or give it back."""
    if world.catalog.tools.pop(name, None) is None:
        world.catalog.tools[name] = ECHO_TOOLS[name]
    await server.notify_list_changed()


@pytest.mark.promise("auth-every-message")
async def test_a_revoked_key_stops_at_the_next_message(connect: Connect) -> None:
    world = connect.world
    with anyio.fail_after(20):
        async with connect("alice-key") as client:
            await client.call_tool("bank__echo", {})
            del world.keys.keys["alice-key"]
            with (
                pytest.raises(Exception, match=r"401|revoked|Unauthorized|closed") if connect.transport != "sse" else _silence()
            ):
                await client.call_tool("bank__echo", {})
            world.keys.keys["alice-key"] = identity("alice")
    assert len(world.upstreams.calls) == 1
    assert "unknown or revoked" in world.rejections()[0].refused.reason


def _silence() -> Any:
    """The SDK's SSE client logs a refused POST and waits on: nothing comes, and that is what is asserted."""
    return anyio.move_on_after(0.3)
