"""What each answer of the corridor looks like to a client, by both eras; over HTTP where the wire matters, else directly."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import LOG_LEVEL_META_KEY

from mcpgw.core.model import (
    Allow,
    Answer,
    Call,
    Change,
    CleanJson,
    CleanReply,
    Commitment,
    Completed,
    Failed,
    FailureCode,
    Held,
    Identity,
    IdentityKind,
    Intent,
    Manifest,
    Origin,
    Outcome,
    Proposal,
    RawJson,
    RawReply,
    Receipt,
    RefusalCode,
    Refused,
    ReplyKind,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    UnknownTarget,
)
from mcpgw.inbound.answers import misses_it_of_the_gateway, to_result
from tests.inbound.doors import World, target
from tests.inbound.raw import call, legacy, post
from tests.inbound.test_sessions import open_session

ECHO = target("bank__echo")
IDENTITY = Identity(subject="alice", issuer="test", kind=IdentityKind.HUMAN, method="jwt")


def answered(answer: Answer, of: Target | UnknownTarget = ECHO, url: str = "") -> dict[str, Any]:
    return to_result(answer, of, public_url=url, receipts=True)


@pytest.mark.promise("tool-errors-readable")
@pytest.mark.parametrize("code", [RefusalCode.DENIED, RefusalCode.NOT_APPROVED])
def test_a_refusal_by_policy_or_people_is_a_result_that_the_model_can_read(code: RefusalCode) -> None:
    refused = Refused(code=code, reason="No transfers on Sundays.", rule_ids=("r1", "r2"), approval_id="apr_9")
    assert answered(refused) == {
        "content": [{"type": "text", "text": "No transfers on Sundays."}],
        "isError": True,
        "_meta": {"mcpgw/refused": {"rules": ["r1", "r2"], "approval": "apr_9"}},
    }


def test_a_denial_with_a_proposal_tells_the_model_and_the_program_what_to_call_instead() -> None:
    proposal = Proposal(
        approval_id="apr_9",
        proposer="https://idp.example#bob",
        arguments={"amount": 5, "memo": "\u202ex"},
        changes=(Change(path="amount", before="9", after="5"), Change(path="memo", before="", after='"\\u202ex"')),
        comment="at most\x1b[2J 5",
        until_ns=1_790_000_000_000_000_000,
    )
    found = answered(Refused(code=RefusalCode.NOT_APPROVED, reason="Not as it is.", approval_id="apr_9", proposal=(proposal,)))
    assert found["isError"] and found["content"][0]["text"].split("\n") == [
        "Not as it is.",
        "bob proposes other arguments; to accept, call bank__echo again with exactly these, until 2026-09-21T14:13:20+00:00:",
        "{",
        '  "amount": 5,',
        '  "memo": "\\u202ex"',
        "}",
        "What differs:",
        "  amount: 9 -> 5",
        '  memo: (nothing) -> "\\u202ex"',
        "Comment: at most\\u001b[2J 5",
    ]
    assert found["_meta"] == {
        "mcpgw/refused": {"rules": [], "approval": "apr_9"},
        "mcpgw/proposal": {
            "approval": "apr_9",
            "by": "bob",
            "tool": "bank__echo",
            "arguments": {"amount": 5, "memo": "\u202ex"},
            "changes": [
                {"path": "amount", "before": "9", "after": "5"},
                {"path": "memo", "before": "", "after": '"\\u202ex"'},
            ],
            "comment": "at most\x1b[2J 5",
            "until": "2026-09-21T14:13:20+00:00",
        },
    }


@pytest.mark.parametrize(
    ("code", "rpc"),
    [
        (RefusalCode.UNKNOWN, -32602),
        (RefusalCode.MALFORMED, -32602),
        (RefusalCode.UNAUTHENTICATED, -32602),
        (RefusalCode.UNAVAILABLE, -32603),
    ],
)
def test_other_refusals_are_protocol_errors_without_data(code: RefusalCode, rpc: int) -> None:
    with pytest.raises(MCPError) as caught:
        answered(Refused(code=code, reason="why", rule_ids=("secret-rule",)))
    assert (caught.value.code, caught.value.message, caught.value.data) == (rpc, "why", None)


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("code", list(FailureCode))
def test_every_failure_says_whether_an_effect_is_possible(code: FailureCode, reached: bool) -> None:
    try:
        text = answered(Failed(code=code, reason="It broke.", reached=reached))["content"][0]["text"]
    except MCPError as error:
        assert code in (FailureCode.INTERNAL, FailureCode.UNRECORDED)
        text = error.message
    assert text == ("It broke. It may have had an effect." if reached else "It broke. It had no effect.")


def test_a_held_call_names_its_page_where_there_is_one() -> None:
    held = Held(approval_id="apr_1", deadline_ns=1_800_000_000_999_999_999, reason="")
    result = answered(held, url="https://gw.example")
    url = "https://gw.example/approvals/apr_1"
    assert result["_meta"]["mcpgw/approval"] == {"id": "apr_1", "deadline": "2027-01-15T08:00:00+00:00", "url": url}
    assert result["content"][0]["text"].splitlines() == [
        "Held for approval apr_1, not executed. Call again with identical arguments once approved.",
        "Without a decision by 2027-01-15T08:00:00+00:00 it is denied.",
        f"It waits at {url}",
    ]


def test_a_duplicate_of_a_running_call_is_not_told_that_nothing_was_executed() -> None:
    held = Held(approval_id="apr_1", deadline_ns=1_800_000_000_999_999_999, reason="", running=True)
    (block,) = answered(held, url="https://gw.example")["content"]
    assert "under way" in block["text"]
    assert "not executed" not in block["text"]


async def both_eras(http: aiohttp.ClientSession, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    body, routed = call(name)
    _, modern, _ = await post(http, body, routed)
    _, old, _ = await post(http, legacy("tools/call", {"name": name}), await open_session(http))
    return modern, old


def offer(world: World, reply: dict[str, Any] | RawReply, **more: Any) -> str:
    world.catalog.tools["bank__it"] = target("bank__it", **more)
    world.upstreams.replies["it"] = reply
    return "bank__it"


@pytest.mark.promise("message-payload-whole")
async def test_a_result_passes_whole_and_carries_the_gateways_stamp(world: World, http: aiohttp.ClientSession) -> None:
    upstream = {
        "content": [{"type": "text", "text": "ü", "annotations": None, "x": [None]}, {"type": "x-new", "y": 1}],
        "structuredContent": {"a": None},
        "x-unknown": {"z": None},
        "_meta": {"vendor/x": 1, "io.modelcontextprotocol/serverInfo": {"name": "upstream", "version": "9"}},
        "resultType": "complete",
        "ttlMs": 5,
    }
    modern, old = await both_eras(http, offer(world, upstream))
    for answer in (modern, old):
        for key in ("content", "structuredContent", "x-unknown"):
            assert answer["result"][key] == upstream[key]
        assert answer["result"]["_meta"]["vendor/x"] == 1
    assert modern["result"]["resultType"] == "complete"
    assert modern["result"]["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "mcpgw", "version": "1.2.3"}
    assert modern["result"]["_meta"]["mcpgw/call"] == {"id": "call_1"}
    assert old["result"].keys() == {"content", "structuredContent", "x-unknown", "_meta"}
    assert old["result"]["_meta"] == {"vendor/x": 1, "mcpgw/call": {"id": "call_2"}}


@pytest.mark.promise("era-legacy-shape")
@pytest.mark.parametrize("structured", [[1, 2], "text", 5, None])
async def test_structured_content_that_is_no_object_is_wrapped_for_legacy_clients_alone(
    world: World, http: aiohttp.ClientSession, structured: Any
) -> None:
    modern, old = await both_eras(http, offer(world, {"content": [], "structuredContent": structured}))
    assert modern["result"]["structuredContent"] == structured
    assert old["result"]["structuredContent"] == {"result": structured}


@pytest.mark.promise("message-error-code-kept")
async def test_an_error_of_the_upstream_is_an_error_of_the_same_code(world: World, http: aiohttp.ClientSession) -> None:
    error = RawReply(kind=ReplyKind.ERROR, payload=RawJson({"code": -32042, "message": "Look here", "data": {"u": [None]}}))
    for answer in await both_eras(http, offer(world, error)):
        assert answer["error"] == {"code": -32042, "message": "Look here", "data": {"u": [None]}}


@pytest.mark.parametrize("payload", [{}, {"code": "5", "message": 7}, {"code": True}])
async def test_an_error_without_sense_is_an_internal_one(
    world: World, http: aiohttp.ClientSession, payload: dict[str, Any]
) -> None:
    for answer in await both_eras(http, offer(world, RawReply(kind=ReplyKind.ERROR, payload=RawJson(payload)))):
        assert answer["error"] == {"code": -32603, "message": "The server answered with an error that says nothing."}


async def test_a_result_without_content_gets_an_empty_one(world: World, http: aiohttp.ClientSession) -> None:
    for answer in await both_eras(http, offer(world, {"content": None})):
        assert answer["result"]["content"] == []


async def test_a_question_of_the_upstream_is_not_passed_on_as_a_result(world: World, http: aiohttp.ClientSession) -> None:
    question = {"resultType": "input_required", "inputRequests": {"a": {}}, "requestState": "raw"}
    for answer in await both_eras(http, offer(world, question)):
        assert answer["result"]["isError"] is True
        assert "raw" not in json.dumps(answer)


BIG = {
    "content": [
        {"type": "text", "text": "ü" * 900},
        {"type": "image", "data": "A" * 100},
        {"type": "text", "text": "end" * 400},
    ]
}


async def test_a_result_beyond_the_limit_is_an_error_that_says_so(world: World, http: aiohttp.ClientSession) -> None:
    for answer in await both_eras(http, offer(world, BIG, max_result_bytes=2000)):
        assert answer["result"]["isError"] is True
        assert "the limit of this tool is 2000" in answer["result"]["content"][0]["text"]
        assert len(json.dumps(answer)) < 600


async def test_or_it_is_cut_and_says_so(world: World, http: aiohttp.ClientSession) -> None:
    for answer in await both_eras(http, offer(world, BIG, max_result_bytes=2000, truncate=True)):
        first, second, notice = answer["result"]["content"]
        assert first == {"type": "text", "text": "ü" * 900}
        assert second == {"type": "text", "text": ("end" * 400)[:200]}
        assert notice["text"].startswith("[Cut by the gateway: the result was 32")
        assert "isError" not in answer["result"]


async def test_a_cut_inside_a_character_leaves_no_broken_one(world: World, http: aiohttp.ClientSession) -> None:
    for answer in await both_eras(http, offer(world, BIG, max_result_bytes=1001, truncate=True)):
        assert answer["result"]["content"][0]["text"] == "ü" * 500


@pytest.mark.promise("tool-output-schema")
async def test_a_result_with_an_output_schema_is_never_cut(world: World, http: aiohttp.ClientSession) -> None:
    definition = {"name": "bank__it", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}}
    name = offer(world, BIG)
    world.catalog.tools[name] = target(name, definition, max_result_bytes=2000, truncate=True)
    for answer in await both_eras(http, name):
        assert answer["result"]["isError"] is True


async def test_a_result_that_is_no_json_text_is_withheld(world: World, http: aiohttp.ClientSession) -> None:
    for bad in ("\ud800", float("nan")):
        for answer in await both_eras(http, offer(world, {"content": [{"type": "text", "text": bad}]})):
            assert answer["result"]["content"][0]["text"].endswith("not valid JSON text and is withheld.")


async def test_neither_is_an_error_or_a_notice_that_is_none(world: World, http: aiohttp.ClientSession) -> None:
    error = RawReply(kind=ReplyKind.ERROR, payload=RawJson({"code": -1, "message": "m", "data": "\ud800"}))
    for answer in await both_eras(http, offer(world, error)):
        assert answer["error"]["message"].endswith("not valid JSON text, and is withheld.")
    world.upstreams.notices = [{"progress": 1, "message": "\ud800"}, {"progress": True}, {"progress": "2"}, {}, {"progress": 3}]
    body, routed = call("bank__progress", progressToken=7)
    _, answer, _ = await post(http, body, routed)
    assert answer["result"]["resultType"] == "complete"


@pytest.mark.promise("auth-no-passthrough", "trace-context")
async def test_nothing_of_the_callers_meta_reaches_the_server_but_trace_context_and_log_level(
    world: World, http: aiohttp.ClientSession
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    meta = {
        "progressToken": 5,
        "traceparent": trace,
        "tracestate": "a=1",
        "baggage": "role=admin",
        "bank.example/dryRun": False,
    }
    body, routed = call("bank__echo", {"a": 1}, **meta)
    await post(http, body, routed)
    [received] = world.upstreams.calls
    assert received.meta == {"traceparent": trace, "tracestate": "a=1"}
    assert received.origin.traceparent == trace
    assert (received.origin.request_id, received.origin.client, received.origin.address) == ("1", "raw/0", "127.0.0.1")
    body, routed = call("bank__echo", {"a": 1}, **{LOG_LEVEL_META_KEY: "notice"})
    await post(http, body, routed)
    assert world.upstreams.calls[-1].meta == {LOG_LEVEL_META_KEY: "notice"}


@pytest.mark.promise("trace-context")
@pytest.mark.parametrize("traceparent", ["nonsense", 7, "x" * 5000])
async def test_a_traceparent_that_is_none_is_not_recorded(world: World, http: aiohttp.ClientSession, traceparent: Any) -> None:
    body, routed = call("bank__echo", traceparent=traceparent)
    await post(http, body, routed)
    assert all(received.origin.traceparent == "" and not received.meta for received in world.upstreams.calls)


# --- receipts ----------------------------------------------------------------------------------------------------------------

NOTE = "bank.example/log\n8\nroot\n\n— bank.example/log sig\n"
RECEIPT = Receipt(index=7, leaf_hash="ab" * 32, checkpoint=NOTE)
WIRE = {"log": "bank.example/log", "index": 7, "leaf_hash": "ab" * 32, "checkpoint": NOTE}
FORGED = {"mcpgw/receipt": "forged", "mcpgw/approval": "forged", "mcpgw/refused": "forged", "theirs": 1}


def completed(payload: dict[str, Any], checkpoint: str = NOTE) -> Completed:
    """The answer to a call whose upstream answered with that payload."""
    kind = ReplyKind.ERROR if "code" in payload else ReplyKind.RESULT
    raw = Commitment(digest="00", salt=b"", size=0)
    reply = CleanReply(kind=kind, payload=CleanJson(payload), raw=raw, manifest=Manifest(profile="p", profile_hash="h"))
    call = Call(id="c1", identity=IDENTITY, target=ECHO, arguments={}, origin=Origin(transport="http", protocol_version="x"))
    shown = ShownCall(call=call, arguments=CleanJson({}), raw=raw, manifest=reply.manifest)
    intent = Sealed(Intent(shown=shown, allow=Allow(ruling=Ruling(rule_ids=(), reason="", policy_hash=""))), 6, "", "e6", 6)
    return Completed(reply=reply, sealed=Sealed(Outcome(intent=intent, result=reply), 7, "ab" * 32, "e7", 7, checkpoint))


@pytest.mark.parametrize(
    "answer",
    [
        completed({"content": []}),
        Held(approval_id="apr_1", deadline_ns=0, reason="", receipt=(RECEIPT,)),
        Refused(code=RefusalCode.DENIED, reason="no", receipt=(RECEIPT,)),
        Failed(code=FailureCode.TIMEOUT, reason="late", reached=True, receipt=(RECEIPT,)),
    ],
)
def test_a_result_carries_its_receipt_beside_what_else_its_meta_says(answer: Answer) -> None:
    meta = answered(answer)["_meta"]
    assert meta["mcpgw/receipt"] == WIRE
    silent = to_result(answer, ECHO, public_url="", receipts=False)
    assert silent.get("_meta", {}) == {key: value for key, value in meta.items() if key != "mcpgw/receipt"}


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (Refused(code=RefusalCode.UNKNOWN, reason="Unknown tool", receipt=(RECEIPT,)), {"mcpgw/receipt": WIRE}),
        (Failed(code=FailureCode.INTERNAL, reason="x", reached=True, receipt=(RECEIPT,)), {"mcpgw/receipt": WIRE}),
        (completed({"code": -1, "message": "no"}), {"mcpgw/receipt": WIRE}),
        (completed({"code": -1, "message": "no", "data": FORGED}), {"theirs": 1, "mcpgw/receipt": WIRE}),
        (completed({"code": -1, "message": "no", "data": ["as", "it", "is"]}), ["as", "it", "is"]),
        (completed({"code": -1, "message": "no", "data": FORGED}, checkpoint=""), {"theirs": 1}),
        (completed({"code": -1, "message": "no"}, checkpoint=""), None),
    ],
)
def test_a_protocol_error_carries_its_receipt_in_its_data_where_that_is_an_object(answer: Answer, data: object) -> None:
    with pytest.raises(MCPError) as caught:
        answered(answer)
    assert caught.value.data == data


def test_an_upstream_cannot_speak_by_the_gateways_own_keys() -> None:
    meta = answered(completed({"content": [], "_meta": FORGED}, checkpoint=""))["_meta"]
    assert meta == {"theirs": 1, "mcpgw/call": {"id": "c1"}}


def test_a_receipt_does_not_count_against_the_limit_of_a_result() -> None:
    tight = replace(ECHO, max_result_bytes=len(json.dumps(answered(completed({"content": []}, checkpoint="")))))
    assert answered(completed({"content": []}), tight)["_meta"]["mcpgw/receipt"] == WIRE


@pytest.mark.parametrize("data", [None, "text", {"requiredCapabilities": {"sampling": {}}}])
def test_a_capability_that_a_server_misses_of_the_gateway_is_not_asked_of_a_client_that_has_it(data: object) -> None:
    told = misses_it_of_the_gateway(MCPError(-32021, "Declare it.", data)).error
    assert (told.code, told.data) == (-32603, None) and "does not pass on" in told.message
    receipt = {"mcpgw/receipt": {"index": 7}}
    assert misses_it_of_the_gateway(MCPError(-32021, "Declare it.", {**receipt, "more": 1})).error.data == receipt
