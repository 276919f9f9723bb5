"""Multi round-trip requests of 2026-07-28, message by message."""

import asyncio

import anyio
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import JsonObject, TargetKind
from mcpgw.upstream.rounds import MOST_ROUNDS
from tests.upstream.asked import FORMS, Caller, day
from tests.upstream.raw_http import RawHttp, Request, reply, serving
from tests.upstream.world import http, pool_of, texts

FORM = {"method": "elicitation/create", "params": {"message": "Day?", "mode": "form", "requestedSchema": {"type": "object"}}}
STATE = "ünpredictable \u2028 state"
ASKS = {"resultType": "input_required", "inputRequests": {"a/b": FORM}, "requestState": STATE, "_meta": {"x": None}}
DONE = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


def answering(*results: object) -> RawHttp:
    """A modern server that gives these results one after another, the last of them for ever."""
    left = list(results)

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        reply(request, writer, left.pop(0) if len(left) > 1 else left[0])

    return RawHttp(handler, modern=True)


def params(request: Request) -> dict[str, object]:
    return {key: value for key, value in request.body["params"].items() if key != "_meta"}


async def test_the_call_is_made_again_with_the_answers_and_the_state_to_the_letter() -> None:
    async with serving(answering(ASKS, DONE)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS)
        assert texts(await world.call("t", {"n": 1}, interview=caller)) == ["done"]
        first, second = server.asked("tools/call")
        assert params(first) == {"name": "t", "arguments": {"n": 1}}
        answers = {"a/b": {"action": "accept", "content": {"day": "Monday"}}}
        assert params(second) == {"name": "t", "arguments": {"n": 1}, "inputResponses": answers, "requestState": STATE}
        assert first.body["id"] != second.body["id"]
        for request in (first, second):
            assert request.body["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] == FORMS
        [asked] = caller.asked
        assert (asked.method, asked.params) == (FORM["method"], FORM["params"])


async def test_each_round_brings_the_answers_of_the_last_one_alone_and_no_state_where_there_is_none() -> None:
    second = {"resultType": "input_required", "inputRequests": {"other": {"method": "roots/list"}}}
    async with serving(answering(ASKS, second, DONE)) as server, pool_of(http(server.url)) as world:
        caller = Caller({"elicitation/create": {"action": "decline"}, "roots/list": {"roots": []}})
        await world.call("t", interview=caller)
        _, _, third = server.asked("tools/call")
        assert params(third) == {"name": "t", "arguments": {}, "inputResponses": {"other": {"roots": []}}}
        assert caller.asked[1].params == {}


@pytest.mark.parametrize(
    ("kind", "method", "named"),
    [
        (TargetKind.PROMPT, "prompts/get", {"name": "t", "arguments": {"n": "1"}}),
        (TargetKind.RESOURCE, "resources/read", {"uri": "t"}),
    ],
)
async def test_prompts_and_resources_ask_in_the_same_way(kind: TargetKind, method: str, named: JsonObject) -> None:
    async with serving(answering(ASKS, DONE)) as server, pool_of(http(server.url)) as world:
        await world.call("t", {"n": "1"}, kind=kind, interview=day("Monday", declares=FORMS))
        _, second = server.asked(method)
        assert params(second) == {
            **named,
            "inputResponses": {"a/b": {"action": "accept", "content": {"day": "Monday"}}},
            "requestState": STATE,
        }


async def test_what_the_caller_answers_by_calling_again_is_returned_as_it_is() -> None:
    async with serving(answering(ASKS)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS, in_rounds=True)
        got = await world.call("t", interview=caller)
        assert got.payload == ASKS
        assert caller.asked == []
        assert len(server.asked("tools/call")) == 1


@pytest.mark.parametrize("kind", [TargetKind.TOOL, TargetKind.PROMPT, TargetKind.RESOURCE])
async def test_a_call_that_brings_answers_along_brings_them_beside_its_arguments(kind: TargetKind) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "string", "x-mcp-header": "Number"}}}

    class Listing(RawHttp):
        async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
            if request.asks == "tools/list":
                reply(request, writer, {"tools": [{"name": "t", "inputSchema": schema}], "resultType": "complete"})
            else:
                await super().answer(request, writer)

    async def done(request: Request, writer: asyncio.StreamWriter) -> None:
        reply(request, writer, DONE)

    answers = {"inputResponses": {"a/b": {"action": "cancel"}}, "requestState": STATE}
    async with serving(Listing(done, modern=True)) as server, pool_of(http(server.url)) as world:
        await world.call(
            "t", {"n": "7", "mcpgw/answers": answers}, kind=kind, interview=Caller({}, declares=FORMS, in_rounds=True)
        )
        [sent] = [one for one in server.requests if one.asks in ("tools/call", "prompts/get", "resources/read")]
        own = {"uri": "t"} if kind is TargetKind.RESOURCE else {"name": "t", "arguments": {"n": "7"}}
        assert params(sent) == {**own, **answers}
        assert ("mcp-param-number" in sent.headers) is (kind is TargetKind.TOOL)


async def test_a_server_that_only_wants_time_is_asked_again_with_its_state() -> None:
    later = {"resultType": "input_required", "requestState": "later"}
    async with serving(answering(later, later, DONE)) as server, pool_of(http(server.url)) as world:
        assert texts(await world.call("t")) == ["done"]
        assert [params(one).get("requestState") for one in server.asked("tools/call")] == [None, "later", "later"]


async def test_a_server_that_wants_time_gets_no_more_than_the_call_has() -> None:
    async with (
        serving(answering({"resultType": "input_required", "requestState": "later"})) as server,
        pool_of(http(server.url)) as world,
    ):
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await world.call("t", timeout_s=0.6)
        assert 1 < len(server.asked("tools/call")) <= 4


async def test_a_server_that_asks_for_ever_is_left_alone_at_some_point() -> None:
    async with serving(answering(ASKS)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS)
        with pytest.raises(UpstreamError, match=f"more than {MOST_ROUNDS} times") as caught:
            await world.call("t", interview=caller)
        assert caught.value.sent is True
        assert len(server.asked("tools/call")) == MOST_ROUNDS + 1
        assert len(caller.asked) == MOST_ROUNDS


async def test_a_server_that_was_told_that_it_may_ask_nothing_and_asks_breaks_the_protocol() -> None:
    async with serving(answering(ASKS)) as server, pool_of(http(server.url)) as world:
        for in_rounds in (False, True):
            caller = day("Monday", declares={}, in_rounds=in_rounds)
            with pytest.raises(UpstreamError, match=r"told that it may ask nothing.*`questions`") as caught:
                await world.call("t", interview=caller)
            assert caught.value.sent is True
            assert caller.asked == []
        assert server.asked("tools/call")[0].body["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] == {}


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"inputRequests": {}},
        {"requestState": ""},
        {"requestState": 5, "inputRequests": {"a": FORM}},
        {"inputRequests": [FORM]},
        {"inputRequests": {"a": "elicitation/create"}},
        {"inputRequests": {"a": {"params": {}}}},
        {"inputRequests": {"a": {"method": "elicitation/create", "params": []}}},
    ],
)
async def test_a_result_that_asks_in_no_known_form_is_an_error(malformed: JsonObject) -> None:
    async with serving(answering({"resultType": "input_required", **malformed})) as server, pool_of(http(server.url)) as world:
        for in_rounds in (False, True):
            with pytest.raises(UpstreamError, match="in a form that its protocol does not know"):
                await world.call("t", interview=day("Monday", declares=FORMS, in_rounds=in_rounds))


async def test_completions_ask_nothing() -> None:
    async with serving(answering(ASKS)) as server, pool_of(http(server.url)) as world:
        argument = {"argument": {"name": "n", "value": "v"}}
        with pytest.raises(UpstreamError, match="no such answer"):
            await world.call("t", argument, kind=TargetKind.COMPLETION, interview=day("Monday", declares=FORMS))
        assert server.asked("completion/complete")[0].body["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] == {}
