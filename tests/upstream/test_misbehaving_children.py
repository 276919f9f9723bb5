"""A child that crashes, floods, stammers or lies harms its own call at most, and never the gateway."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Masking, ReplyKind
from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.real_servers import odd_server
from tests.upstream.world import AGENT, World, pool_of, stdio, texts

SMALL = Limits(reply_bytes=1_500_000, backoff_first_s=0.05, backoff_ceiling_s=0.2, stop_s=0.5, drain_s=0.2)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with pool_of(stdio(odd_server()), limits=SMALL) as world:
        yield world


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").notices.clear()


async def test_what_a_server_logs_late_goes_to_no_other_caller_and_to_no_call_that_is_masked_otherwise() -> None:
    """A log message names no call: what comes behind an answer would pass for the next call's."""
    bob = replace(AGENT, subject="bob")
    for other in ({"identity": bob}, {"masking": Masking(columns=("ssn",))}):
        async with pool_of(stdio(odd_server()), limits=SMALL) as world:
            await world.call("log")
            await world.call("log", identity=replace(AGENT, credential_id="a newer token"))
            assert len(world.notices) == 2, "all calls so far are one caller's"
            await world.call("log", **other)
            await world.call("log")
            assert len(world.notices) == 2


@pytest.mark.parametrize("fault", ["invalid_json", "invalid_utf8", "not_a_number", "lone_surrogate", "null_result"])
async def test_an_answer_that_is_no_json_rpc_ends_its_own_call_at_once_and_no_other(world: World, fault: str) -> None:
    with anyio.fail_after(5), pytest.raises(UpstreamError, match="malformed") as caught:
        await world.call(fault)
    assert caught.value.sent is True
    assert texts(await world.call("echo", {"text": "on"})) == ["on"]


@pytest.mark.promise("message-one-response")
async def test_the_first_of_two_answers_counts(world: World) -> None:
    assert texts(await world.call("twice")) == ["first"]
    assert texts(await world.call("echo", {"text": "on"})) == ["on"]


@pytest.mark.promise("message-one-response")
async def test_only_an_answer_under_the_very_id_counts(world: World) -> None:
    assert texts(await world.call("wrong_id")) == ["right"]


@pytest.mark.promise("stdio-stray-lines")
async def test_lines_that_are_no_messages_are_passed_over(world: World) -> None:
    assert texts(await world.call("junk_first")) == ["after junk"]


@pytest.mark.promise("message-error-code-kept")
async def test_a_json_rpc_error_comes_back_whole(world: World) -> None:
    reply = await world.call("error")
    assert reply.kind is ReplyKind.ERROR
    assert reply.payload == {"code": -32050, "message": "no", "data": {"why": None, "deep": [1]}}


@pytest.mark.promise("message-payload-whole")
async def test_integers_of_any_size_and_nulls_survive_both_ways(world: World) -> None:
    reply = await world.call("big_integer", {"n": 3**60})
    assert reply.payload["structuredContent"] == {
        "n": 2**70,
        "negative": -(2**64),
        "exact": 9007199254740993,
        "nothing": None,
        "echo": 3**60,
    }


async def test_what_is_not_json_is_not_sent(world: World) -> None:
    for arguments in ({"x": "\ud800"}, {"x": 2**70, "y": float("inf")}, {"x": object()}):
        with pytest.raises(UpstreamError, match="not JSON") as caught:
            await world.call("echo", arguments)
        assert caught.value.sent is False


async def test_the_upstream_gets_the_callers_metadata_and_a_progress_token_of_ours(world: World) -> None:
    meta = {"progressToken": "the client's", "traceparent": "00-1-2-01", "vendor/key": None}
    reply = await world.call("params", {"a": [None]}, meta=meta)
    params = reply.payload["structuredContent"]
    assert params["name"] == "params"
    assert params["arguments"] == {"a": [None]}
    token = params["_meta"].pop("progressToken")
    assert isinstance(token, int)
    assert params["_meta"] == {"traceparent": "00-1-2-01", "vendor/key": None}


async def test_a_server_that_asks_its_client_is_told_that_there_is_no_such_feature_and_ping_is_answered(world: World) -> None:
    reply = await world.call("ask_client")
    ping, sampling = reply.payload["structuredContent"]["answers"]
    assert ping == {"jsonrpc": "2.0", "id": "q1", "result": {}}
    assert sampling["id"] == 2
    assert sampling["error"]["code"] == -32601


async def test_input_required_of_a_legacy_server_is_an_error_and_says_that_the_server_was_reached(world: World) -> None:
    with pytest.raises(UpstreamError, match="asked for input") as caught:
        await world.call("input_required")
    assert caught.value.sent is True


async def test_a_log_message_goes_to_the_one_call_that_is_under_way(world: World) -> None:
    await world.call("log")
    assert [(notice.method, notice.params["data"]) for notice in world.notices] == [("notifications/message", "a word")]


@pytest.mark.promise("log-own")
async def test_a_log_message_that_could_belong_to_two_callers_goes_to_nobody(world: World) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.call, "hang")
        await anyio.lowlevel.checkpoint()
        await world.call("log")
        assert world.notices == []
        tasks.cancel_scope.cancel()


async def test_a_flood_on_stderr_does_not_stop_the_call(world: World) -> None:
    assert texts(await world.call("stderr_flood")) == ["flooded"]


async def test_a_line_beyond_the_limit_ends_the_connection_and_the_next_one_works() -> None:
    async with pool_of(stdio(odd_server()), limits=SMALL) as world:
        with anyio.fail_after(10), pytest.raises(UpstreamError, match="size limit") as caught:
            await world.call("huge_line", {"megabytes": 2})
        assert caught.value.sent is True
        await world.told.until_down()
        await world.until(ServerState.READY)
        assert texts(await world.call("echo", {"text": "on"})) == ["on"]


async def test_a_long_line_within_the_limit_does_not_block_the_loop_for_long() -> None:
    async with pool_of(stdio(odd_server())) as world:
        with anyio.fail_after(10):
            reply = await world.call("huge_line", {"megabytes": 15})
        assert len(reply.payload["x"]) == 15_000_000


async def test_a_crash_in_a_call_is_told_with_its_status_and_the_server_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with pool_of(stdio(odd_server())) as world:
        with anyio.fail_after(10), pytest.raises(UpstreamError) as caught:
            await world.call("crash")
        assert caught.value.sent is True
        await world.told.until_down()
        down = next(status for status in world.told.statuses if status.state is ServerState.DOWN)
        assert "exited with status 7" in down.problem
        await world.until(ServerState.READY)
        assert texts(await world.call("echo", {"text": "back"})) == ["back"]
        told = repr(world.told.statuses) + caplog.text + str(caught.value)
        assert "4711" not in told  # what a server writes while calls run may be their data


async def test_a_server_that_does_not_read_cannot_hold_its_caller_beyond_the_timeout(tmp_path: Path) -> None:
    async with pool_of(stdio(odd_server())) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(world.call, "hang", {"seconds": 30})
        await anyio.sleep(0.2)
        with pytest.raises(TimeoutError):
            await world.call("echo", {"text": "x" * 10_000_000}, timeout_s=0.5)
        tasks.cancel_scope.cancel()


async def test_a_slow_listener_to_progress_does_not_lose_an_answer_that_came(tmp_path: Path) -> None:
    async with pool_of(stdio(odd_server())) as world:

        async def slow(_: object) -> None:
            await anyio.sleep(30)

        assert texts(await world.call("log", timeout_s=0.5, on_notice=slow)) == ["logged"]


async def test_every_request_is_answered_or_cancelled_by_its_id(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with pool_of(stdio(odd_server("--journal", str(journal)))) as world:
        with pytest.raises(TimeoutError):
            await world.call("hang", timeout_s=0.2)
        await world.call("echo")
    messages = [json.loads(line) for line in journal.read_text().splitlines()]
    hung = next(message for message in messages if message.get("params", {}).get("name") == "hang")
    cancelled = [message for message in messages if message["method"] == "notifications/cancelled"]
    assert [message["params"]["requestId"] for message in cancelled] == [hung["id"]]
    ids = [message["id"] for message in messages if "id" in message]
    assert len(ids) == len(set(ids))
