"""What servers ask in the middle of calls, over in-memory doors: each way to a client, and each way in which it goes wrong."""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import anyio
import mcp_types
import pytest
from anyio.abc import TaskGroup

from mcpgw.core.answers import Answers, Question, answers_of
from mcpgw.core.entries import Interviewed
from mcpgw.core.model import (
    Answer,
    CleanJson,
    CleanNotice,
    Deny,
    Failed,
    FailureCode,
    Intent,
    Outcome,
    RefusalCode,
    Refused,
)
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.head import Turned
from mcpgw.inbound.parking import Parked, ParkedPeer, Parking
from mcpgw.inbound.peer import RequestPeer
from mcpgw.inbound.tasks import Tasks
from mcpgw.own import CALL as CALL_TOOL
from mcpgw.ports import ApprovalState
from tests.inbound.doors import CALM, FORM, World, identity, target
from tests.inbound.raw import ACCEPT, INITIALIZE, call, legacy, modern, post, routing
from tests.inbound.test_kinds import prompt
from tests.inbound.test_tasks import CALL, WITH_TASKS, ask
from tests.inbound.wire import LEGACY, MODERN, TRANSPORTS, Live, bearer, connected, listening

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CAN = {CAPABILITIES: {"elicitation": {"form": {}}}}
ANSWER = {"action": "accept", "content": {"name": "Ann"}}


def asking(world: World, *questions: Question) -> World:
    """Let the servers of two tools ask these, or anything."""
    for name in ("bank__asks", "bank__rounds", "bank__held"):
        known = world.catalog.tools.get(name, target(name))
        world.catalog.tools[name] = replace(known, questions=frozenset(questions or Question))
    return world


@pytest.fixture
def world(live: Live) -> World:
    return asking(live.world)


async def person(_: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
    assert params.message == "Who?"
    return mcp_types.ElicitResult(action="accept", content={"name": "Ann"})


async def model(_: Any, params: mcp_types.CreateMessageRequestParams) -> mcp_types.CreateMessageResult:
    said = mcp_types.TextContent(type="text", text="hello")
    return mcp_types.CreateMessageResult(role="assistant", content=said, model="m", stop_reason="endTurn")


async def folders(_: Any) -> mcp_types.ListRootsResult:
    return mcp_types.ListRootsResult(roots=[mcp_types.Root(uri="file:///work")])  # type: ignore[arg-type]


def text(result: mcp_types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, mcp_types.TextContent)
    return block.text


@pytest.mark.promise("question-reaches-caller")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_a_client_of_either_era_answers_in_the_middle_of_a_call(transport: str, mode: str) -> None:
    if (transport, mode) == ("sse", MODERN):
        pytest.skip("HTTP+SSE is a transport of 2024-11-05")
    world = asking(World())
    async with connected(world, transport, mode, elicitation_callback=person) as client:
        assert json.loads(text(await client.call_tool("bank__asks", {}))) == {"who": ANSWER}
    (declared,) = world.upstreams.declared
    assert set(declared) == {"elicitation"} and "form" in declared["elicitation"]
    assert [entry.turn.value for entry in world.journal.of(Interviewed)] == ["asked", "answered"]
    assert len(world.journal.of(Intent)) == len(world.outcomes()) == 1


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_server_that_asks_in_rounds_is_called_again_with_the_answers(transport: str) -> None:
    world = asking(World())
    async with connected(world, transport, MODERN, elicitation_callback=person) as client:
        assert "Ann" in text(await client.call_tool("bank__rounds", {"amount": 1}))
    first, second = world.upstreams.calls
    assert not answers_of(first.arguments)
    brought = answers_of(second.arguments)
    assert (brought.responses, brought.state) == ({"who": ANSWER}, "server's own")
    assert len(world.outcomes()) == 2, "each round is a call of its own on record"


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_sampling_and_roots_find_their_way(mode: str) -> None:
    world = asking(World())
    message = {"role": "user", "content": {"type": "text", "text": "hi"}}
    world.upstreams.questions = {
        "a": {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 5}},
        "b": {"method": "roots/list", "params": {}},
    }
    async with connected(world, "http", mode, sampling_callback=model, list_roots_callback=folders) as client:
        given = json.loads(text(await client.call_tool("bank__asks", {})))
    assert given["a"]["content"]["text"] == "hello" and given["b"]["roots"][0]["uri"] == "file:///work"
    assert set(world.upstreams.declared[0]) == {"sampling", "roots"}


@pytest.mark.promise("question-capabilities")
@pytest.mark.parametrize(
    ("allowed", "declared"),
    [((Question.FORM, Question.URL), {"elicitation": {"form": {}}}), ((Question.URL,), {}), ((Question.ROOTS,), {})],
)
async def test_a_server_is_told_of_what_client_and_catalog_have_in_common(
    allowed: tuple[Question, ...], declared: dict[str, Any], world: World, http: aiohttp.ClientSession
) -> None:
    asking(world, *allowed)
    body, headers = call("bank__asks", **CAN)
    _, answer, _ = await post(http, body, headers)
    assert world.upstreams.declared == [declared]
    if not declared:
        assert "This caller cannot be asked for elicitation/create" in answer["result"]["content"][0]["text"]


async def test_a_server_that_the_catalog_does_not_let_ask_is_told_of_nobody(world: World, http: aiohttp.ClientSession) -> None:
    world.catalog.tools["bank__asks"] = target("bank__asks")
    body, headers = call("bank__asks", **CAN)
    await post(http, body, headers)
    assert world.upstreams.declared == [{}]


async def first_round(http: aiohttp.ClientSession, name: str = "bank__asks") -> str:
    body, headers = call(name, **CAN)
    _, answer, _ = await post(http, body, headers)
    asked = answer["result"]
    assert (asked["resultType"], asked["inputRequests"]) == ("input_required", FORM), answer
    state: str = asked["requestState"]
    return state


async def retry(http: aiohttp.ClientSession, state: str, key: str = "alice-key", **arguments: Any) -> dict[str, Any]:
    body, headers = call("bank__asks", arguments, **CAN)
    body["params"] |= {"requestState": state, "inputResponses": {"who": ANSWER, "nobody asked": ANSWER}}
    _, answer, _ = await post(http, body, headers, key=key)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.promise("state-sealed")
async def test_what_a_client_holds_between_rounds_is_good_for_its_own_call_alone(
    world: World, http: aiohttp.ClientSession
) -> None:
    state = await first_round(http)
    for stolen in (retry(http, state, key="bob-key"), retry(http, state, amount=1), retry(http, state[:-2] + "AA")):
        assert (await stolen)["error"]["code"] == -32602
    answer = await retry(http, state)
    assert json.loads(answer["result"]["content"][0]["text"]) == {"who": ANSWER}
    assert "does not wait here" in (await retry(http, state))["error"]["message"], "answered twice"
    assert "does not wait here" in world.rejections()[-1].refused.reason
    assert len(world.upstreams.calls) == 1


@pytest.fixture
async def hasty() -> Any:
    """A gateway on which questions wait for a moment, and few calls can be asked."""
    world = asking(World(config=InboundConfig(version="1", answer_timeout_s=0.3, max_parked_per_identity=2)))
    async with listening(world) as live, aiohttp.ClientSession(live.url, timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield live, http


async def test_a_client_that_does_not_come_back_in_time_is_not_waited_for(hasty: tuple[Live, aiohttp.ClientSession]) -> None:
    live, http = hasty
    state = await first_round(http)
    with anyio.fail_after(5):
        await live.world.journal.until(Outcome, 1)
    assert [entry.turn.value for entry in live.world.journal.of(Interviewed)] == ["asked", "unanswered"]
    (outcome,) = live.world.outcomes()
    assert "refused: The caller did not answer in time." in outcome.result.payload["content"][0]["text"]  # type: ignore[union-attr]
    told = await retry(http, state)
    assert "refused: The caller did not answer in time." in told["result"]["content"][0]["text"], "what came of it all the same"


async def test_one_identity_cannot_park_calls_without_end(hasty: tuple[Live, aiohttp.ClientSession]) -> None:
    live, http = hasty
    await first_round(http)
    await first_round(http)
    body, headers = call("bank__asks", **CAN)
    _, answer, _ = await post(http, body, headers)
    assert "Too many calls that may ask for input" in answer["error"]["message"]
    assert [entry.refused.code for entry in live.world.rejections()] == [RefusalCode.DENIED]
    _, answer, _ = await post(http, body, headers, key="bob-key")
    assert answer["result"]["resultType"] == "input_required", "another identity has room"


async def test_a_client_that_leaves_between_question_and_answer_ends_the_call_it_waits_for(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.catalog.tools["bank__wait"] = replace(world.catalog.tools["bank__wait"], questions=frozenset(Question))
    body, headers = call("bank__wait", **CAN)
    with pytest.raises(TimeoutError):
        await http.post(
            "/mcp", json=body, headers={**ACCEPT, **bearer("alice-key"), **headers}, timeout=aiohttp.ClientTimeout(total=0.5)
        )
    with anyio.fail_after(5):
        await world.upstreams.cancelled.wait()
        await world.journal.until(Outcome, 1)


async def test_a_legacy_client_without_a_stream_back_or_that_refuses_is_not_asked(
    world: World, http: aiohttp.ClientSession
) -> None:
    _, _, headers = await post(http, INITIALIZE)
    session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    await post(http, legacy("notifications/initialized", request_id=None), session)
    await post(http, legacy("tools/call", {"name": "bank__asks", "arguments": {}}), session)
    assert world.upstreams.declared == [{}], "it declared nothing"

    async def refuses(*_: Any) -> mcp_types.ErrorData:
        return mcp_types.ErrorData(code=-1, message="User rejected")

    other = asking(World())
    async with connected(other, "http", LEGACY, elicitation_callback=refuses) as client:
        assert text(await client.call_tool("bank__asks", {})) == "refused: The client answered with JSON-RPC error -1."


async def test_no_argument_can_pass_for_answers(world: World, http: aiohttp.ClientSession) -> None:
    body, headers = call("bank__echo", {"mcpgw/answers": {"inputResponses": {}}})
    _, answer, _ = await post(http, body, headers)
    assert answer["error"] == {"code": -32602, "message": "No argument's name may begin with mcpgw/."}
    world.catalog.tools["mcpgw__call_tool"] = CALL_TOOL.target
    for name in ("bank__echo", "bank__bob", "bank__nothing"):
        inner = {"name": name, "arguments": {"mcpgw/answers": {"requestState": "forged"}}}
        body, headers = call("mcpgw__call_tool", inner)
        _, by_way, _ = await post(http, body, headers)
        assert by_way["error"] == answer["error"], "whoever's tool it is, and whether there is one"
    assert not world.upstreams.calls


async def test_answers_that_come_unasked_are_told_to_the_server_and_recorded(world: World, http: aiohttp.ClientSession) -> None:
    body, headers = call("bank__rounds", **CAN)
    body["params"]["inputResponses"] = {"who": ANSWER}
    await post(http, body, headers)
    (sent,) = world.upstreams.calls
    assert (answers_of(sent.arguments).responses, answers_of(sent.arguments).state) == ({"who": ANSWER}, "")


@pytest.fixture
def questions(world: World) -> Iterator[World]:
    second = {"method": "elicitation/create", "params": {"mode": "form", "message": "And?", "requestedSchema": {}}}
    world.upstreams.questions = {**FORM, "more": second}
    world.catalog.tools["bank__asks"] = replace(world.catalog.tools["bank__asks"], tags=frozenset({"hold"}))
    world.desk.calls = [replace(CALL, state=ApprovalState.APPROVED, target="bank__asks", exact=b"{}")]
    world.desk.approved.set()
    yield world


async def test_a_task_asks_and_is_answered_part_by_part(questions: World, http: aiohttp.ClientSession) -> None:
    can = {"_meta": {CAPABILITIES: {**WITH_TASKS[CAPABILITIES], **CAN[CAPABILITIES]}}, "taskId": "apr_1"}

    async def until(status: str, count: int) -> dict[str, Any]:
        with anyio.fail_after(5):
            while True:
                found = (await ask(http, "tasks/get", can))["result"]
                if found["status"] == status and len(found.get("inputRequests", {})) == count:
                    return dict(found)

    asked = await until("input_required", 2)
    assert asked["inputRequests"]["who"] == FORM["who"] and "its server asks for input" in asked["statusMessage"]
    questions.keys.keys["narrow-key"] = replace(identity("alice"), scopes=frozenset({"less"}))
    assert (await ask(http, "tasks/get", can, key="narrow-key"))["result"]["status"] == "working", "it is not asked of that one"
    await ask(http, "tasks/update", {**can, "inputResponses": {"who": ANSWER, "more": ANSWER}}, key="narrow-key")
    await until("input_required", 2)
    assert (await ask(http, "tasks/update", {**can, "inputResponses": {"who": ANSWER}}))["result"]["resultType"] == "complete"
    assert list((await until("input_required", 1))["inputRequests"]) == ["more"]
    await ask(http, "tasks/update", {**can, "inputResponses": {"more": {"action": "decline"}}})
    with anyio.fail_after(5):
        await questions.journal.until(Outcome, 1)
    (outcome,) = questions.outcomes()
    said = json.loads(outcome.result.payload["content"][0]["text"])  # type: ignore[union-attr]
    assert said == {"who": ANSWER, "more": {"action": "decline"}}
    wrong = await ask(http, "tasks/update", {**can, "inputResponses": []})
    assert wrong["error"]["code"] == -32602


# --- what a state is good for, and for whom ------------------------------------------------------------------------------


FORGED = json.dumps({"server": "forged"})


@pytest.mark.parametrize("state", [FORGED, json.dumps({"approval": "apr_1", "round": 1}), "no JSON", 7])
async def test_a_state_that_nobody_sealed_counts_for_nothing(state: object, world: World, http: aiohttp.ClientSession) -> None:
    """The SDK's boundary opens the states of some methods of 2026-07-28; elsewhere there are none."""
    world.catalog.others.append(prompt("bank__letter"))
    _, _, headers = await post(http, INITIALIZE)
    session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    await post(http, legacy("notifications/initialized", request_id=None), session)
    brought = {"requestState": state, "inputResponses": {"who": ANSWER}}
    _, answer, _ = await post(http, legacy("tools/call", {"name": "bank__echo", "arguments": {"a": 1}, **brought}), session)
    assert json.loads(answer["result"]["content"][0]["text"]) == {"a": 1}
    wanted = {"ref": {"type": "ref/prompt", "name": "bank__letter"}, "argument": {"name": "to", "value": "A"}}
    await post(http, modern("completion/complete", {**wanted, **brought}), routing("completion/complete"))
    assert [(answers_of(one.arguments), one.resumes) for one in world.upstreams.calls] == [(Answers(), ""), (Answers(), "")]


async def test_what_came_of_a_parked_call_is_for_the_credential_that_made_it(world: World, http: aiohttp.ClientSession) -> None:
    """A state is sealed to a principal, and one principal may have narrower credentials."""
    state = await first_round(http)
    alice = world.keys.keys["alice-key"]
    world.keys.keys["narrow-key"] = replace(alice, scopes=frozenset({"little"}), credential_id="narrow")
    assert "another credential" in (await retry(http, state, key="narrow-key"))["error"]["message"]
    (refused,) = world.rejections()
    assert refused.principal == alice.principal
    answer = await retry(http, state)
    assert json.loads(answer["result"]["content"][0]["text"]) == {"who": ANSWER}, "it goes on for whoever made it"


async def test_a_credential_that_is_revoked_while_its_call_is_parked_answers_nothing(
    hasty: tuple[Live, aiohttp.ClientSession],
) -> None:
    live, http = hasty
    state = await first_round(http)
    del live.world.keys.keys["alice-key"]
    assert "unknown or revoked" in str(await retry(http, state))
    with anyio.fail_after(5):
        await live.world.journal.until(Outcome, 1)
    assert [entry.turn.value for entry in live.world.journal.of(Interviewed)] == ["asked", "unanswered"]


async def test_an_answer_is_judged_by_the_policy_that_is_in_force_when_it_comes(
    world: World, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await first_round(http)
    monkeypatch.setattr(world.policy, "decide", lambda call: Deny(ruling=CALM))
    answer = await retry(http, state)
    assert "may not go on with these answers" in answer["result"]["content"][0]["text"]
    assert [entry.turn.value for entry in world.journal.of(Interviewed)] == ["asked", "unanswered"]


async def test_a_gateway_that_ends_ends_the_calls_that_are_parked_and_records_them() -> None:
    world = asking(World())
    async with listening(world, grace_s=0.2) as live, aiohttp.ClientSession(live.url) as http:
        await first_round(http)
        with anyio.fail_after(5):
            await live.server.drain(0.2)
        (outcome,) = world.outcomes()
        assert isinstance(outcome.result, Failed) and outcome.result.code is FailureCode.CANCELLED
    assert len(world.journal.of(Intent)) == 1


def parking_in(group: TaskGroup, answer_timeout_s: float) -> Parking:
    tasks = cast(Tasks, SimpleNamespace(in_background=lambda work, name: group.start_soon(work, name) or True))
    return Parking(tasks=tasks, most=1, most_per_identity=1, answer_timeout_s=answer_timeout_s)


def hearing(heard: list[Any]) -> RequestPeer:
    async def notify(notice: CleanNotice) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(notice.params["progress"])

    return cast(RequestPeer, SimpleNamespace(notify=notify, waits=()))


async def test_a_call_that_ends_while_its_client_is_away_is_told_when_it_comes_back_with_all_that_happened() -> None:
    """A server may ask, and go on without the answer: for the roots, say, of which it only wants to hear some day."""
    refused = Refused(code=RefusalCode.DENIED, reason="")

    async def walk(peer: ParkedPeer) -> Answer:
        async with anyio.create_task_group() as asking:
            asking.start_soon(peer.answers, {"who": CleanNotice(method="roots/list", params=CleanJson({}))})
            for number in range(1, 6):
                if number == 3:
                    await away.wait()
                await peer.notify(CleanNotice(method="notifications/progress", params=CleanJson({"progress": number})))
            asking.cancel_scope.cancel()
        return refused

    before: list[Any] = []
    after: list[Any] = []
    for timeout_s, answers in ((5.0, True), (0.0, False)):
        away = anyio.Event()
        async with anyio.create_task_group() as group:
            parking = parking_in(group, timeout_s)
            parked = await parking.next(parking.begin(hearing(before), identity("alice"), walk))
            assert isinstance(parked, Parked)
            away.set()
            with anyio.fail_after(5):
                while not parked.outcome:
                    await anyio.lowlevel.checkpoint()
            if answers:
                back = parking.resume(parked.id, hearing(after), identity("alice"), {"who": {"roots": []}})
                assert await parking.next(back) == refused
            else:
                parking.begin(hearing(before), identity("alice"), walk)  # there is room for one
                group.cancel_scope.cancel()
            with pytest.raises(Turned, match="does not wait here"):
                parking.resume(parked.id, hearing(after), identity("alice"), {})
    assert (before[:2], after) == ([1, 2], [3, 4, 5])


async def test_a_client_is_not_let_go_under_a_notice_that_is_on_its_way_to_it() -> None:
    """The end of its request's stream would lose it without a word."""
    on_its_way, read, told, heard = anyio.Event(), anyio.Event(), list[str](), list[Any]()

    async def notify(notice: CleanNotice) -> None:
        on_its_way.set()
        await read.wait()
        told.append(f"told {notice.params['progress']}")

    async def walk(peer: ParkedPeer) -> Answer:
        async with anyio.create_task_group() as both:
            both.start_soon(peer.notify, CleanNotice(method="notifications/progress", params=CleanJson({"progress": 1})))
            await on_its_way.wait()
            both.start_soon(peer.answers, {"who": CleanNotice(method="roots/list", params=CleanJson({}))})
            await anyio.wait_all_tasks_blocked()
            both.start_soon(peer.notify, CleanNotice(method="notifications/progress", params=CleanJson({"progress": 2})))
            await anyio.wait_all_tasks_blocked()
            read.set()
        return Refused(code=RefusalCode.DENIED, reason="")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            parking = parking_in(group, 5.0)
            slow = cast(RequestPeer, SimpleNamespace(notify=notify, waits=()))
            parked = await parking.next(parking.begin(slow, identity("alice"), walk))
            told.append("let go")
            assert isinstance(parked, Parked)
            back = parking.resume(
                parked.id, hearing(heard), identity("alice"), {key: {} for key in parked.peer.questions.requests}
            )
            assert isinstance(await parking.next(back), Refused)
    assert (told + [f"told {number}" for number in heard]).index("let go") >= 1
    assert sorted([*told, *(f"told {number}" for number in heard)]) == ["let go", "told 1", "told 2"]


async def test_a_call_that_ends_as_its_client_leaves_is_parked_no_longer() -> None:
    """Whichever comes first: its place is free, or somebody would run out of places for good."""
    async with anyio.create_task_group() as group:
        parking = parking_in(group, 1.0)
        refused = Refused(code=RefusalCode.DENIED, reason="")
        for _ in range(2):
            leaving = anyio.CancelScope()

            async def walk(_: ParkedPeer, leaving: anyio.CancelScope = leaving) -> Answer:
                await anyio.lowlevel.checkpoint()
                leaving.cancel()
                return refused

            with leaving:
                await parking.next(parking.begin(cast(RequestPeer, None), identity("alice"), walk))
