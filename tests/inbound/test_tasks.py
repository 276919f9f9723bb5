"""Tasks on the wire, over in-memory doors: every state of an approval, and every door that fails. Stories: tests/flows."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import anyio
import pytest

from mcpgw.core.entries import Refusal
from mcpgw.core.model import (
    AlreadyDone,
    CleanJson,
    CleanReply,
    Commitment,
    Manifest,
    Proposal,
    ReplyKind,
)
from mcpgw.core.terms import Terms
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.presentation import Presentation
from mcpgw.inbound.rounds import StateSeal
from mcpgw.ports import Approval, ApprovalState, Remark, RemarkKind
from tests.inbound.doors import World, target
from tests.inbound.raw import ACCEPT, modern, post, routing
from tests.inbound.wire import Live, bearer, listening, piped

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
WITH_TASKS = {CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
WITH_URL = {CAPABILITIES: {"elicitation": {"url": {}}}}
OPENED_NS = 1_790_000_000_000_000_000
CALL = Approval(
    id="apr_1",
    state=ApprovalState.PENDING,
    digest="d",
    request_key="k",
    call_id="call_0",
    requester="test#alice",
    actors=(),
    target="bank__echo",
    facts=CleanJson({"target": {"kind": "tool"}}),
    exact=b'{"to": "x"}',
    terms=Terms.simple(("group:ops",)),
    level=0,
    rule_ids=("rule-1",),
    reason="Because rule-1 says so.",
    policy_hash="p",
    opened_ns=OPENED_NS,
    deadline_ns=OPENED_NS + 3_600_000_000_000,
    usable_until_ns=OPENED_NS + 3_600_000_000_000,
    votes=(),
)


def reply(kind: ReplyKind, payload: dict[str, Any]) -> tuple[AlreadyDone, ...]:
    raw = Commitment(digest="0" * 64, salt=b"", size=0)
    clean = CleanReply(kind=kind, payload=CleanJson(payload), raw=raw, manifest=Manifest(profile="p", profile_hash="h"))
    return (AlreadyDone(approval_id="apr_1", call_id="call_7", reply=clean),)


async def ask(
    http: aiohttp.ClientSession, method: str, params: dict[str, Any] | None = None, key: str = "alice-key"
) -> dict[str, Any]:
    """Ask as a client that declares tasks, and return the whole answer."""
    params = params or {"taskId": "apr_1"}
    message = modern(method, {**params, "_meta": {**WITH_TASKS, **params.get("_meta", {})}})
    _, answer, _ = await post(http, message, routing(method, str(params.get("taskId", params.get("name", "")))), key=key)
    assert isinstance(answer, dict), answer
    return answer


async def task(http: aiohttp.ClientSession) -> dict[str, Any]:
    answer = await ask(http, "tasks/get")
    assert answer["result"]["resultType"] == "complete"
    result: dict[str, Any] = answer["result"]
    return result


@pytest.mark.parametrize(
    ("state", "status", "says"),
    [
        (ApprovalState.PENDING, "working", "Held for approval apr_1, not executed."),
        (ApprovalState.SPENT, "working", "Approved as apr_1; it is under way."),
        (ApprovalState.DONE, "completed", "Approved as apr_1, and executed."),
        (ApprovalState.FAILED, "completed", "It is not sent again by itself."),
        (ApprovalState.INDETERMINATE, "completed", "whether it had an effect is unknown"),
        (ApprovalState.DENIED, "completed", "Because rule-1 says so."),
        (ApprovalState.EXPIRED, "completed", "Because rule-1 says so."),
        (ApprovalState.REVOKED, "completed", "Because rule-1 says so."),
        (ApprovalState.WITHDRAWN, "cancelled", "Because rule-1 says so."),
    ],
)
async def test_each_state_of_an_approval_is_one_of_a_task(
    world: World, http: aiohttp.ClientSession, state: ApprovalState, status: str, says: str
) -> None:
    world.desk.calls = [replace(CALL, state=state)]
    found = await task(http)
    assert (found["taskId"], found["status"]) == ("apr_1", status) and says in found["statusMessage"]
    assert found["createdAt"] == found["lastUpdatedAt"] == "2026-09-21T14:13:20.000Z"
    assert found["ttlMs"] == 3_600_000 + 600_000
    assert ("result" in found) is (status == "completed")
    if status == "completed":
        assert found["result"]["isError"] and found["result"]["content"][0]["text"] == found["statusMessage"]


async def test_what_its_requester_said_when_it_ended_is_theirs_to_read(world: World, http: aiohttp.ClientSession) -> None:
    said = [
        Remark(kind=RemarkKind.STOPPED, person=person, comment=f"Said by {person}.", time_ns=1)
        for person in ("test#alice", "test#carol")
    ]
    world.desk.calls = [replace(CALL, state=ApprovalState.WITHDRAWN, reason="Withdrawn.", remarks=tuple(said))]
    assert (await task(http))["statusMessage"] == "Withdrawn. Said by test#alice."


async def test_an_error_of_the_protocol_fails_the_task_and_a_tools_own_completes_it(
    world: World, http: aiohttp.ClientSession
) -> None:
    error = {"code": -32050, "message": "no", "data": {"why": 1}}
    world.desk.calls = [replace(CALL, state=ApprovalState.DONE, done=reply(ReplyKind.ERROR, error))]
    failed = await task(http)
    assert (failed["status"], failed["error"], "result" in failed) == ("failed", error, False)
    payload = {"content": [{"type": "text", "text": "no"}], "isError": True, "_meta": {"mcpgw/refused": "forged"}}
    world.desk.calls = [replace(CALL, state=ApprovalState.DONE, done=reply(ReplyKind.RESULT, payload))]
    completed = await task(http)
    assert (completed["status"], completed["result"]["isError"]) == ("completed", True)
    meta = completed["result"]["_meta"]
    assert meta["mcpgw/call"] == {"id": "call_7"} and "mcpgw/refused" not in meta


async def test_a_result_is_given_to_nobody_who_may_not_see_its_tool_any_more(world: World, http: aiohttp.ClientSession) -> None:
    done = reply(ReplyKind.RESULT, {"content": [{"type": "text", "text": "secret"}]})
    for name in ("bank__bob", "bank__nothing"):
        world.desk.calls = [replace(CALL, state=ApprovalState.DONE, done=done, target=name)]
        assert "secret" not in json.dumps(await ask(http, "tasks/get"))


async def test_denied_with_a_proposal_the_task_tells_it_and_only_of_a_tool_that_is_seen(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.desk.proposals = (
        Proposal(approval_id="apr_1", proposer="test#bob", arguments={"n": 1}, changes=(), comment="", until_ns=OPENED_NS),
    )
    world.desk.calls = [replace(CALL, state=ApprovalState.DENIED)]
    found = (await task(http))["result"]
    assert found["_meta"]["mcpgw/proposal"]["arguments"] == {"n": 1} and found["isError"]
    assert "bob proposes other arguments; to accept, call bank__echo again" in found["content"][0]["text"]
    world.desk.calls = [replace(CALL, state=ApprovalState.DENIED, target="bank__bob")]
    assert "mcpgw/proposal" not in (await task(http))["result"]["_meta"]
    world.desk.calls = [replace(CALL, state=ApprovalState.EXPIRED)]
    assert "mcpgw/proposal" not in (await task(http))["result"]["_meta"]


async def test_an_approved_call_walks_the_corridor_when_it_is_asked_for(world: World, http: aiohttp.ClientSession) -> None:
    """The desk in memory knows no resumed call, so policy's own word is seen here: not held any more, so not run."""
    world.desk.calls = [replace(CALL, state=ApprovalState.APPROVED)]
    assert (await task(http))["status"] == "working"
    with anyio.fail_after(5):
        await world.desk.until(lambda: world.desk.calls[0].state is ApprovalState.WITHDRAWN)
    assert (await task(http))["status"] == "cancelled"
    assert world.desk.calls[0].reason.startswith("Refused at its release: The approval is void: the policy changed")
    refusal: Refusal = world.journal.of(Refusal)[0]
    assert (refusal.shown.call.resumes, refusal.shown.call.arguments) == ("apr_1", {"to": "x"})
    assert world.upstreams.calls == []


async def test_released_to_a_credential_that_is_no_longer_good_the_approval_stands(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.catalog.tools["bank__wait_held"] = target("bank__wait_held", tags=frozenset({"deny"}))
    world.desk.calls = [replace(CALL, state=ApprovalState.APPROVED, target="bank__wait_held")]
    alice = world.keys.keys["alice-key"]

    class OnceGood(dict[str, Any]):
        """Alice's key is revoked right after her poll was let in."""

        def __contains__(self, key: object) -> bool:
            return super().__contains__(key) if not world.journal.of(Refusal) else False

    world.keys.keys = OnceGood(world.keys.keys)
    assert (await task(http))["status"] == "working"
    with anyio.fail_after(5):
        await world.journal.until(Refusal, 1)
        await anyio.sleep(0.1)
    assert world.desk.calls[0].state is ApprovalState.APPROVED
    world.keys.keys = {"alice-key": alice}


@pytest.mark.parametrize("exact", [b"", b"no json"])
async def test_what_cannot_be_taken_up_again_ends_in_the_log_and_hurts_nobody_else(
    world: World, http: aiohttp.ClientSession, exact: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world.desk.calls = [replace(CALL, state=ApprovalState.APPROVED, exact=exact)]
    assert (await task(http))["status"] == "working"
    with anyio.fail_after(5):
        await world.desk.until(lambda: "apr_1: its call could not be taken up" in caplog.text)
    assert (await task(http))["status"] == "working" and world.upstreams.calls == []


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
async def test_while_the_ledger_cannot_answer_no_task_is_known_to_be_there_or_not(
    world: World, http: aiohttp.ClientSession, method: str
) -> None:
    world.desk.calls = [CALL]
    world.desk.broken = True
    error = (await ask(http, method))["error"]
    assert (error["code"], error["message"]) == (-32603, "the disk is full")


async def test_a_stream_takes_a_bounded_number_of_tasks(world: World, http: aiohttp.ClientSession) -> None:
    too_many = {"notifications": {"taskIds": [f"apr_{number}" for number in range(51)]}}
    assert (await ask(http, "subscriptions/listen", too_many))["error"]["code"] == -32602


async def test_a_stream_whose_credential_ended_is_told_no_more(world: World, http: aiohttp.ClientSession) -> None:
    world.desk.calls = [CALL]
    message = modern("subscriptions/listen", {"notifications": {"taskIds": ["apr_1"]}, "_meta": WITH_TASKS})
    headers = {**ACCEPT, **bearer("alice-key"), **routing("subscriptions/listen")}
    told: list[dict[str, Any]] = []
    async with http.post("/mcp", json=message, headers=headers) as response:
        with anyio.move_on_after(0.5):
            async for line in response.content:
                if line.startswith(b"data: {"):
                    told.append(json.loads(line.removeprefix(b"data: ")))
                if len(told) == 2:
                    world.keys.keys.pop("alice-key", None)
                    done = reply(ReplyKind.RESULT, {"content": [{"type": "text", "text": "secret"}]})
                    world.desk.calls = [replace(CALL, state=ApprovalState.DONE, done=done)]
    assert [message["method"] for message in told] == ["notifications/subscriptions/acknowledged", "notifications/tasks"]
    assert told[1]["params"]["status"] == "working"


async def test_over_stdio_a_task_is_asked_for_without_headers(world: World) -> None:
    world.desk.calls = [replace(CALL, state=ApprovalState.DENIED)]
    server = world.server()
    with anyio.fail_after(10):
        async with piped(server, world, "alice-key") as (writer, lines):
            message = modern("tasks/get", {"taskId": "apr_1", "_meta": WITH_TASKS})
            writer.write(json.dumps(message).encode() + b"\n")
            writer.flush()
            answer = json.loads(await anext(aiter(lines)))
    assert (answer["result"]["status"], answer["result"]["result"]["isError"]) == ("completed", True)


async def test_a_presentation_that_is_switched_off_is_not_offered() -> None:
    world = World(
        config=InboundConfig(version="1", public_url="https://gw.example", presentations=frozenset({Presentation.PENDING}))
    )
    world.desk.calls = [replace(CALL, requester="test#alice")]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        assert (await ask(http, "tasks/get"))["error"]["code"] == -32601
        assert "extensions" not in (await ask(http, "server/discover", {"x": 1}))["result"]["capabilities"]
        for declared in (WITH_TASKS, WITH_URL):
            held = await ask(http, "tools/call", {"name": "bank__held", "arguments": {}, "_meta": declared})
            assert held["result"]["resultType"] == "complete" and held["result"]["isError"]
    assert [patience.budget_s for patience in world.desk.patience] == [0.0, 0.0]


async def test_before_2026_there_are_no_tasks_whatever_is_declared(live: Live, http: aiohttp.ClientSession) -> None:
    live.world.desk.calls = [CALL]
    initialize = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            "clientInfo": {"name": "raw", "version": "0"},
        },
    }
    _, answer, headers = await post(http, initialize)
    assert "extensions" not in answer["result"]["capabilities"]
    session = {"Mcp-Session-Id": headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    await post(http, {"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "apr_1"}}
    _, answer, _ = await post(http, message, session)
    assert answer["error"]["code"] == -32601


async def test_a_state_that_is_too_old_is_refused_on_record() -> None:
    config = InboundConfig(version="1", public_url="https://gw.example", state_lifetime_s=0.001)
    world = World(config=config)
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        call = {"name": "bank__held", "arguments": {}, "_meta": WITH_URL}
        first = (await ask(http, "tools/call", call))["result"]
        assert first["inputRequests"]["approval"]["params"]["url"] == "https://gw.example/approvals/apr_1"
        await anyio.sleep(0.01)
        late = await ask(http, "tools/call", {**call, "requestState": first["requestState"]})
    assert late["error"]["data"] == {"reason": "invalid_request_state"}
    (rejection,) = world.rejections()
    assert rejection.refused.reason.startswith("A requestState was refused") and rejection.principal == "test#alice"


async def test_without_pages_there_is_nothing_to_show_so_the_call_waits(world: World, http: aiohttp.ClientSession) -> None:
    held = await ask(http, "tools/call", {"name": "bank__held", "arguments": {}, "_meta": WITH_URL})
    assert held["result"]["resultType"] == "complete" and held["result"]["isError"]
    assert [patience.budget_s for patience in world.desk.patience] == [4.0]


def test_a_seal_needs_a_key_that_is_worth_one() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        StateSeal(b"short", audience="mcpgw", lifetime_s=1)
