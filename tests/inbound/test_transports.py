"""The same stories over every transport and in both eras, told by the SDK's own client."""

from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.core.model import Failed, FailureCode, Intent, Refusal
from tests.inbound.doors import ECHO_TOOLS, World, identity
from tests.inbound.wire import LEGACY, MODERN, TRANSPORTS, connected, connections

pytestmark = pytest.mark.parametrize(
    ("transport", "mode"), [(transport, mode) for transport in TRANSPORTS for mode in (MODERN, LEGACY)]
)


async def test_a_client_lists_what_its_identity_sees_and_calls_it(transport: str, mode: str) -> None:
    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            answer = await client.call_tool("bank__echo", {"a": [1, None, "ü"]})

    assert names == sorted(names)
    assert "bank__alice" in names and "bank__bob" not in names
    assert answer.content[0].text == '{"a": [1, null, "\\u00fc"]}'
    [call] = world.upstreams.calls
    assert (call.identity.subject, call.origin.transport, call.target.name) == ("alice", transport, "bank__echo")
    assert call.origin.protocol_version == (MODERN if mode == MODERN else "2025-11-25")
    assert call.origin.client.startswith("mcp/")


async def test_two_identities_see_two_lists(transport: str, mode: str) -> None:
    seen = {}
    for who in ("alice", "bob"):
        with anyio.fail_after(20):
            async with connected(World(), transport, mode, f"{who}-key") as client:
                seen[who] = {tool.name for tool in (await client.list_tools()).tools}
    assert seen["alice"] ^ seen["bob"] == {"bank__alice", "bank__bob"}


async def test_a_hidden_tool_answers_like_one_that_does_not_exist(transport: str, mode: str) -> None:
    world = World()
    errors = []
    with anyio.fail_after(20):
        async with connected(world, transport, mode, "bob-key") as client:
            for name in ("bank__alice", "bank__nosuch"):
                with pytest.raises(MCPError) as caught:
                    await client.call_tool(name, {})
                errors.append(caught.value.error.model_dump())
    hidden, unknown = errors
    assert hidden == {"code": -32602, "message": "Unknown tool: bank__alice", "data": None}
    assert unknown == {"code": -32602, "message": "Unknown tool: bank__nosuch", "data": None}
    assert [type(entry) for entry in world.journal.entries] == [Refusal, Refusal], "each is recorded, and once"


async def test_progress_comes_back_under_the_clients_own_token(transport: str, mode: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            await client.call_tool("bank__progress", {}, progress_callback=on_progress)
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert "progressToken" not in world.upstreams.calls[0].meta


async def test_log_messages_reach_a_client_that_asked_for_them(transport: str, mode: str) -> None:
    logged: list[Any] = []

    async def on_log(params: Any) -> None:
        logged.append((params.level, params.logger, params.data))

    for level, heard in (("info", [("warning", "up", {"hello": "world"})]), ("error", [])):
        logged.clear()
        with anyio.fail_after(20):
            async with connected(World(), transport, mode, logging_callback=on_log, log_level=level) as client:
                if mode == LEGACY:
                    with pytest.warns(match="deprecated"):
                        await client.set_logging_level(level)
                await client.call_tool("bank__progress", {})
        assert logged == heard


async def test_cancelling_a_call_cancels_it_upstream_and_records_that(transport: str, mode: str) -> None:
    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "bank__wait", {})
                await world.upstreams.started.wait()
                tasks.cancel_scope.cancel()
            await world.upstreams.cancelled.wait()
            await client.call_tool("bank__echo", {})  # the connection goes on
    cancelled = next(outcome for outcome in world.outcomes() if isinstance(outcome.result, Failed))
    assert cancelled.result.code is FailureCode.CANCELLED
    assert len(world.journal.of(Intent)) == len(world.outcomes()) == 2


async def test_a_client_that_leaves_in_the_middle_of_a_call_leaves_an_outcome(transport: str, mode: str) -> None:
    if (transport, mode) == ("http", LEGACY):
        pytest.skip("before 2026-07-28 a broken stream is no cancellation: the session may come back for the answer")
    world = World()
    with anyio.fail_after(20):
        async with connections(world, transport, mode) as connect:
            with anyio.CancelScope() as life:
                async with connect("alice-key") as client, anyio.create_task_group() as tasks:
                    tasks.start_soon(client.call_tool, "bank__wait", {})
                    await world.upstreams.started.wait()
                    life.cancel()
            await world.upstreams.cancelled.wait()
    assert [outcome.result.code for outcome in world.outcomes()] == [FailureCode.CANCELLED]


async def test_a_held_call_shows_progress_and_then_says_how_to_come_back(transport: str, mode: str) -> None:
    heartbeats: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heartbeats.append(progress)

    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            answer = await client.call_tool("bank__held", {"to": "x"}, progress_callback=on_progress)
    assert answer.is_error
    assert answer.content[0].text.startswith("Held for approval apr_1, not executed. Call again with identical arguments")
    assert answer.meta is not None
    assert answer.meta["mcpgw/approval"] == {"id": "apr_1", "deadline": "2027-01-15T08:00:00+00:00"}
    assert heartbeats
    assert world.upstreams.calls == []


async def test_a_held_call_that_is_approved_in_time_simply_answers(transport: str, mode: str) -> None:
    world = World()
    world.desk.approved.set()
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            answer = await client.call_tool("bank__held", {"to": "x"}, progress_callback=on_progress)
    assert not answer.is_error
    assert progress == sorted(set(progress)), "progress of one request increases"


async def test_a_denied_call_is_a_tool_error_with_the_rules(transport: str, mode: str) -> None:
    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            answer = await client.call_tool("bank__denied", {})
    assert answer.is_error
    assert answer.content[0].text == "Because rule-1 says so."
    assert answer.meta is not None
    assert answer.meta["mcpgw/refused"] == {"rules": ["rule-1"], "approval": ""}


async def test_a_ledger_that_cannot_write_answers_with_an_error_and_calls_nobody(transport: str, mode: str) -> None:
    world = World()
    world.journal.broken = True
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            with pytest.raises(MCPError, match="cannot write its record") as caught:
                await client.call_tool("bank__echo", {})
    assert caught.value.code == -32603
    assert world.upstreams.calls == []


async def test_a_list_that_changes_is_announced_to_those_who_see_the_change(transport: str, mode: str) -> None:
    world = World()
    told = anyio.Event()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            told.set()

    with anyio.fail_after(20):
        async with connections(world, transport, mode) as connect, connect("alice-key", message_handler=on_message) as client:
            server = connect.server
            if mode == LEGACY:
                await client.list_tools()
                await _change(world, "bank__bob", server)
                assert not told.is_set(), "what alice does not see is not announced to her"
                await _change(world, "bank__alice", server)
                while transport == "http" and not told.is_set():  # the session's standing stream opens after the handshake
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


async def test_a_revoked_key_stops_at_the_next_message(transport: str, mode: str) -> None:
    world = World()
    with anyio.fail_after(20):
        async with connected(world, transport, mode) as client:
            await client.call_tool("bank__echo", {})
            del world.keys.keys["alice-key"]
            with pytest.raises(Exception, match=r"401|revoked|Unauthorized|closed") if transport != "sse" else _silence():
                await client.call_tool("bank__echo", {})
            world.keys.keys["alice-key"] = identity("alice")
    assert len(world.upstreams.calls) == 1
    assert "unknown or revoked" in world.rejections()[0].refused.reason


def _silence() -> Any:
    """The SDK's SSE client logs a refused POST and waits on: nothing comes, and that is what is asserted."""
    return anyio.move_on_after(0.3)
