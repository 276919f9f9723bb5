"""Prompts, resources, templates and completions on the wire: listed, got, read, completed, held and refused, in both eras."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import encode_header_value
from mcp.shared.uri_template import UriTemplate

from mcpgw.core.entries import Refusal
from mcpgw.core.model import (
    CleanJson,
    RawJson,
    RawReply,
    ReplyKind,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.tasks import TASKS_EXTENSION
from mcpgw.core.uris import published_uri
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.covering import located
from tests.inbound import doors
from tests.inbound.doors import World
from tests.inbound.raw import legacy, modern, post, routing
from tests.inbound.test_sessions import open_session
from tests.inbound.test_tasks import CALL
from tests.inbound.wire import listening

ERAS = ("modern", "legacy")


def prompt(name: str, *arguments: str, **more: Any) -> Target:
    definition = {"name": name, "description": f"The {name} prompt.", "arguments": [{"name": one} for one in arguments]}
    return _offered(TargetKind.PROMPT, name, definition, **more)


def resource(uri: str, server: str = "bank", **more: Any) -> Target:
    return _offered(TargetKind.RESOURCE, published_uri(server, uri), {"uri": uri, "name": "A file"}, uri, server, **more)


def template(uri: str, server: str = "bank", **more: Any) -> Target:
    definition = {"uriTemplate": uri, "name": "Files"}
    return _offered(TargetKind.RESOURCE, published_uri(server, uri), definition, uri, server, **more)


def _offered(
    kind: TargetKind, name: str, definition: dict[str, Any], upstream: str = "", server: str = "bank", **more: Any
) -> Target:
    made = doors.target(name, definition, **more)
    return Target(
        **{
            **{field: getattr(made, field) for field in made.__slots__},
            "kind": kind,
            "server": server,
            "upstream_name": upstream or name,
        }
    )


OFFERED = [
    prompt("bank__letter", "to"),
    prompt("bank__secret", tags=frozenset({"only:bob"})),
    prompt("bank__held", tags=frozenset({"hold", "unattended"})),
    prompt("bank__denied", tags=frozenset({"deny"})),
    resource("file:///a"),
    resource("file:///a", "other_bank"),
    resource("ui://view"),
    resource("file:///held", tags=frozenset({"hold"})),
    resource("file:///bobs", tags=frozenset({"only:bob"})),
    template("db://{table}/{id}"),
    template("db://audit/{id}"),
    template("bobs://{id}", tags=frozenset({"only:bob"})),
    template("files:///{+path}"),
]


@pytest.fixture
def offered(world: World) -> World:
    world.catalog.others[:] = OFFERED
    return world


class Ask:
    """One client of one era."""

    def __init__(self, http: aiohttp.ClientSession, era: str, key: str = "alice-key") -> None:
        self.http, self.era, self.key = http, era, key
        self.session: dict[str, str] = {}

    async def __call__(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        params = params or {}
        if self.era == "modern":
            name = params.get("name") or params.get("uri") or ""
            body = modern(method, {**params, "_meta": meta})
            _, answer, _ = await post(self.http, body, routing(method, name), key=self.key)
        else:
            self.session = self.session or await open_session(self.http, key=self.key)
            _, answer, _ = await post(self.http, legacy(method, params), self.session, key=self.key)
        return dict(answer)


@pytest.fixture(params=ERAS)
def ask(request: pytest.FixtureRequest, offered: World, http: aiohttp.ClientSession) -> Ask:
    return Ask(http, request.param)


# --- lists ---------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("list-own")
async def test_each_identity_is_listed_its_own_prompts_resources_and_templates(ask: Ask) -> None:
    bob = Ask(ask.http, ask.era, "bob-key")
    alices = await ask("prompts/list")
    assert [one["name"] for one in alices["result"]["prompts"]] == ["bank__denied", "bank__held", "bank__letter"]
    assert "bank__secret" in json.dumps(await bob("prompts/list"))

    resources = (await ask("resources/list"))["result"]["resources"]
    assert [one["uri"] for one in resources] == [
        "mcpgw+bank+file:///a",
        "mcpgw+bank+file:///held",
        "mcpgw+other.bank+file:///a",
        "ui://bank/view",
    ]
    templates = (await ask("resources/templates/list"))["result"]
    assert [one["uriTemplate"] for one in templates["resourceTemplates"]] == [
        "mcpgw+bank+db://audit/{id}",
        "mcpgw+bank+db://{table}/{id}",
        "mcpgw+bank+files:///{+path}",
    ]
    assert ("ttlMs" in templates, templates.get("cacheScope")) == ((True, "private") if ask.era == "modern" else (False, None))


@pytest.mark.promise("list-cursor-bound")
async def test_pages_of_each_list_have_cursors_for_that_list_and_identity_alone() -> None:
    world = World(config=InboundConfig(version="1", page_size=2))
    world.catalog.others = [*OFFERED, resource("x:" + "é" * 1900), resource("x:" + "é" * 1901), resource("x:z")]
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        ask, bob = Ask(http, "modern"), Ask(http, "modern", "bob-key")
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            result = (await ask("resources/list", cursor))["result"]
            seen += [one["uri"] for one in result["resources"]]
            if "nextCursor" not in result:
                break
            cursor = {"cursor": result["nextCursor"]}
            assert (await bob("resources/list", cursor))["error"]["code"] == -32602
            assert (await ask("resources/templates/list", cursor))["error"]["code"] == -32602
    assert len(seen) == 7 and seen == sorted(set(seen))


@pytest.mark.promise("era-capabilities")
async def test_capabilities_say_what_there_is(ask: Ask) -> None:
    if ask.era == "modern":
        capabilities = (await ask("server/discover"))["result"]["capabilities"]
    else:
        _, answer, _ = await post(
            ask.http,
            legacy(
                "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "r", "version": "0"}}
            ),
        )
        capabilities = answer["result"]["capabilities"]
    assert capabilities["prompts"] == {"listChanged": True}
    assert capabilities["resources"] == {"subscribe": True, "listChanged": True}
    assert capabilities["completions"] == {}


# --- get, read, complete -------------------------------------------------------------------------------------------------


@pytest.mark.promise("prompt-get")
async def test_a_prompt_is_got_by_its_published_name(ask: Ask, offered: World) -> None:
    link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
    embedded = {"type": "resource", "resource": {"uri": "file:///a", "text": "A"}}
    messages = [{"role": "user", "content": block} for block in (link, embedded, {"type": "text", "text": "file:///a"})]
    offered.upstreams.replies["letter"] = {"messages": messages, "x": None}
    answer = await ask("prompts/get", {"name": "bank__letter", "arguments": {"to": "mcpgw+bank+file:///a"}})
    got = [message["content"] for message in answer["result"]["messages"]]
    assert (got[0]["uri"], got[1]["resource"]["uri"], got[2]["text"]) == (
        "mcpgw+bank+file:///a",
        "mcpgw+bank+file:///a",
        "file:///a",
    )
    assert answer["result"]["x"] is None
    (sent,) = offered.upstreams.calls
    assert (sent.target.kind, dict(sent.arguments)) == (TargetKind.PROMPT, {"to": "file:///a"})


@pytest.mark.promise("resource-read")
@pytest.mark.parametrize(
    ("uri", "name", "arguments"),
    [
        ("mcpgw+bank+file:///a", "mcpgw+bank+file:///a", {"uri": "file:///a"}),
        ("mcpgw+other.bank+file:///a", "mcpgw+other.bank+file:///a", {"uri": "file:///a"}),
        ("ui://bank/view", "ui://bank/view", {"uri": "ui://view"}),
        ("mcpgw+bank+db://t/7", "mcpgw+bank+db://{table}/{id}", {"uri": "db://t/7", "variables": {"table": "t", "id": "7"}}),
        ("mcpgw+bank+db://audit/7", "mcpgw+bank+db://audit/{id}", {"uri": "db://audit/7", "variables": {"id": "7"}}),
        (
            "mcpgw+bank+db://t/a%2Fb",
            "mcpgw+bank+db://{table}/{id}",
            {"uri": "db://t/a%2Fb", "variables": {"table": "t", "id": "a/b"}},
        ),
        (
            "mcpgw+bank+files:///a/b(1).txt",
            "mcpgw+bank+files:///{+path}",
            {"uri": "files:///a/b(1).txt", "variables": {"path": "a/b(1).txt"}},
        ),
    ],
)
async def test_a_resource_is_read_by_its_published_uri(
    ask: Ask, offered: World, uri: str, name: str, arguments: dict[str, Any]
) -> None:
    reply = {"contents": [{"uri": arguments["uri"], "text": "A"}]}
    for target in OFFERED:
        offered.upstreams.replies[target.name.partition("__")[2]] = reply
    answer = await ask("resources/read", {"uri": uri})
    assert answer["result"]["contents"] == [{"uri": uri, "text": "A"}]
    if ask.era == "modern":
        assert (answer["result"]["ttlMs"], answer["result"]["cacheScope"]) == (0, "private")
    (sent,) = offered.upstreams.calls
    assert (sent.target.kind, sent.target.name, dict(sent.arguments)) == (TargetKind.RESOURCE, name, arguments)


UNKNOWN = [
    "mcpgw+bank+file:///nowhere",
    "mcpgw+bank+file:///bobs",  # hidden
    "mcpgw+bank+bobs://7",  # under a hidden template
    "file:///a",  # never published so
    "mcpgw+nobody+file:///a",
    "mcpgw+bank+db://%74/7",  # another spelling of `t`
    "mcpgw+bank+db://t/%c3%a9",  # %C3%A9 is how it is expanded
    "mcpgw+bank+db://t/7?more=1",
    "mcpgw+bank+db://t/..",
    "mcpgw+bank+db://t/..%2F..%2Fetc",
    "mcpgw+bank+db://t/%00",
    "mcpgw+bank+db://t/%E2%80%AE",
    "mcpgw+bank+files:///a/../b",
    "mcpgw+bank+files:///a%2Fb",
    "mcpgw+bank+db://t/\u202e7",
    "mcpgw+bank+ui://view",
    "ui://view",
    "no uri at all",
]


@pytest.mark.promise("resource-unknown")
@pytest.mark.parametrize("uri", UNKNOWN)
async def test_what_is_unknown_and_what_is_hidden_answer_alike_and_reach_nobody(ask: Ask, offered: World, uri: str) -> None:
    answer = await ask("resources/read", {"uri": uri}) if uri.isascii() else await _without_name_header(ask, uri)
    code = -32602 if ask.era == "modern" else -32002
    assert answer["error"] == {"code": code, "message": "Unknown resource", "data": {"uri": uri}}
    assert offered.upstreams.calls == []
    (refusal,) = offered.journal.of(Refusal)
    assert refusal.refused.reason == "Unknown resource"


async def _without_name_header(ask: Ask, uri: str) -> dict[str, Any]:
    if ask.era == "legacy":
        return await ask("resources/read", {"uri": uri})
    headers = routing("resources/read", encode_header_value(uri))
    _, answer, _ = await post(ask.http, modern("resources/read", {"uri": uri}), headers)
    return dict(answer)


async def test_the_record_holds_no_more_of_an_unknown_uri_than_its_scheme(ask: Ask, offered: World) -> None:
    await ask("resources/read", {"uri": "mcpgw+bank+customer://078-05-1120"})
    await ask("resources/read", {"uri": "078-05-1120"})
    named = [refusal.shown.call.target.name for refusal in offered.journal.of(Refusal)]
    assert named == ["mcpgw+bank+customer:", "no published URI"]


@pytest.mark.parametrize("held_back", ["db://t/7", "db://t/{x}", "db://t{/x*}", "db://{+a}{+b}", "db://%74/7"])
async def test_no_template_is_a_way_to_what_is_offered_and_not_published(ask: Ask, offered: World, held_back: str) -> None:
    offered.catalog.held_back.append("db://t/8")
    assert "result" in await ask("resources/read", {"uri": "mcpgw+bank+db://t/7"})
    offered.catalog.held_back.append(held_back)
    assert "error" in await ask("resources/read", {"uri": "mcpgw+bank+db://t/7"})
    assert "result" in await ask("resources/read", {"uri": "mcpgw+bank+file:///a"})


@pytest.mark.promise("completion-complete")
async def test_prompts_and_templates_are_completed_under_their_published_names(ask: Ask, offered: World) -> None:
    offered.upstreams.replies["letter"] = {"completion": {"values": ["Ann"], "total": 1, "hasMore": False}}
    argument = {"name": "to", "value": "A"}
    of_prompt = {"ref": {"type": "ref/prompt", "name": "bank__letter"}, "argument": argument}
    answer = await ask("completion/complete", of_prompt)
    assert answer["result"]["completion"] == {"values": ["Ann"], "total": 1, "hasMore": False}

    context = {"arguments": {"table": "t"}}
    uri = "mcpgw+bank+db://{table}/{id}"
    answer = await ask(
        "completion/complete", {"ref": {"type": "ref/resource", "uri": uri}, "argument": argument, "context": context}
    )
    assert answer["result"]["completion"] == {"values": []}  # whatever a server answers, a client can read
    first, second = offered.upstreams.calls
    assert (first.target.kind, first.target.name, dict(first.arguments)) == (
        TargetKind.COMPLETION,
        "bank__letter",
        {"argument": argument},
    )
    assert (second.target.name, dict(second.arguments)) == (uri, {"argument": argument, "context": context})


@pytest.mark.promise("completion-hidden")
@pytest.mark.parametrize(
    "ref",
    [
        {"type": "ref/prompt", "name": "bank__nothing"},
        {"type": "ref/prompt", "name": "bank__secret"},
        {"type": "ref/resource", "uri": "mcpgw+bank+bobs://{id}"},
        {"type": "ref/resource", "uri": "db://{table}/{id}"},
        {"type": "ref/resource", "uri": "mcpgw+bank+customer://078-05-1120"},
    ],
)
async def test_nobody_completes_what_is_hidden_or_unknown(ask: Ask, offered: World, ref: dict[str, Any]) -> None:
    answer = await ask("completion/complete", {"ref": ref, "argument": {"name": "to", "value": ""}})
    assert answer["error"] == {"code": -32602, "message": "Unknown prompt or resource template"}
    (refusal,) = offered.journal.of(Refusal)
    assert "078" not in refusal.shown.call.target.name


# --- links in results, and back ------------------------------------------------------------------------------------------


@pytest.mark.promise("tool-links")
async def test_links_that_a_tool_gives_out_can_be_read_and_given_back(ask: Ask, offered: World) -> None:
    content = [
        {"type": "resource_link", "uri": "file:///a", "name": "a"},
        {"type": "resource_link", "uri": "HTTPS://example.com/x", "name": "web"},
        {"type": "resource", "resource": {"uri": "ui://view", "text": "<p>"}},
        {"type": "resource", "resource": None},
        {"type": "resource_link", "uri": 7},
        "no block",
    ]
    meta = {"ui": {"resourceUri": "ui://view"}, "ui/resourceUri": "ui://view"}
    offered.upstreams.replies["echo"] = {"content": content, "_meta": meta}
    arguments = {
        "uri": "mcpgw+bank+file:///a",
        "many": ["ui://bank/view", "mcpgw+other.bank+file:///a", 1],
        "text": "see ui://bank/view",
    }
    answer = await ask("tools/call", {"name": "bank__echo", "arguments": arguments})
    got = answer["result"]["content"]
    assert [block.get("uri") for block in got[:2]] == ["mcpgw+bank+file:///a", "HTTPS://example.com/x"]
    assert (got[2]["resource"]["uri"], got[3:]) == ("ui://bank/view", content[3:])
    assert answer["result"]["_meta"]["ui"] == {"resourceUri": "ui://bank/view"}
    assert answer["result"]["_meta"]["ui/resourceUri"] == "ui://bank/view"
    (sent,) = offered.upstreams.calls
    assert sent.arguments == {
        "uri": "file:///a",
        "many": ["ui://view", "mcpgw+other.bank+file:///a", 1],
        "text": "see ui://bank/view",
    }


@pytest.mark.promise("tool-apps")
async def test_the_page_of_an_app_is_named_as_it_can_be_read(ask: Ask, offered: World) -> None:
    meta = {"ui": {"resourceUri": "ui://view", "visibility": ["app"]}, "ui/resourceUri": "ui://view", "x": 1}
    definition = {"name": "bank__app", "inputSchema": {"type": "object"}, "_meta": meta}
    offered.catalog.tools["bank__app"] = doors.target("bank__app", definition)
    tools = {tool["name"]: tool for tool in (await ask("tools/list"))["result"]["tools"]}
    assert tools["bank__app"]["_meta"] == {
        "ui": {"resourceUri": "ui://bank/view", "visibility": ["app"]},
        "ui/resourceUri": "ui://bank/view",
        "x": 1,
    }


# --- what is no reply ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"), [("prompts/get", {"name": "bank__held"}), ("resources/read", {"uri": "mcpgw+bank+file:///held"})]
)
async def test_what_is_held_is_an_error_that_says_so(ask: Ask, offered: World, method: str, params: dict[str, Any]) -> None:
    answer = await ask(method, params)
    assert answer["error"]["code"] == -32010
    assert answer["error"]["message"].startswith("Held for approval apr_1, not executed. Call again")
    assert answer["error"]["data"]["mcpgw/approval"]["id"] == "apr_1"
    assert offered.upstreams.calls == []


async def test_what_was_approved_while_the_client_waited_is_answered(ask: Ask, offered: World) -> None:
    offered.desk.approved.set()
    offered.upstreams.replies["held"] = {"messages": []}
    meta = {"progressToken": 1} if ask.era == "modern" else {}
    answer = await ask("prompts/get", {"name": "bank__held"}, **meta)
    assert answer["result"]["messages"] == []


async def test_what_policy_refuses_is_an_error_with_its_rules(ask: Ask) -> None:
    answer = await ask("prompts/get", {"name": "bank__denied"})
    assert answer["error"] == {
        "code": -32011,
        "message": "Because rule-1 says so.",
        "data": {"mcpgw/refused": {"rules": ["rule-1"], "approval": ""}},
    }


async def test_a_result_over_its_limit_is_an_error(ask: Ask, offered: World) -> None:
    offered.catalog.others.append(prompt("bank__long", max_result_bytes=200, truncate=True))
    offered.upstreams.replies["long"] = {"messages": [{"role": "user", "content": {"type": "text", "text": "x" * 300}}]}
    answer = await ask("prompts/get", {"name": "bank__long"})
    assert answer["error"]["code"] == -32603
    assert "the limit of this prompt is 200" in answer["error"]["message"]


@pytest.mark.parametrize(
    "reply",
    [
        {"messages": None},
        {"resultType": "input_required", "inputRequests": {}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "resource", "resource": {"uri": "x:y", "text": ""}}]},
                "no message",
                {},
            ]
        },
        RawReply(kind=ReplyKind.ERROR, payload=RawJson({"code": -32602, "message": "No."})),
    ],
)
async def test_whatever_a_server_answers_a_client_can_read(ask: Ask, offered: World, reply: Any) -> None:
    offered.upstreams.replies["letter"] = reply
    answer = await ask("prompts/get", {"name": "bank__letter"})
    if "result" in answer:
        assert "mcpgw+bank+x:y" in json.dumps(answer) or answer["result"]["messages"] == []
    else:
        assert answer["error"]["code"] in (-32602, -32603)


@pytest.mark.promise("message-bad-parameters")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "n" * 257}),
        ("resources/read", {"uri": "x" * 2049}),
        ("resources/read", {"uri": ""}),
        ("prompts/get", {"name": "bank__letter", "arguments": {"To": "case"}}),
        ("prompts/get", {"name": "bank__letter", "arguments": {"to": 7}}),
        ("completion/complete", {"ref": {"type": "ref/other"}, "argument": {"name": "x", "value": ""}}),
    ],
)
async def test_what_is_malformed_never_becomes_a_call(ask: Ask, offered: World, method: str, params: dict[str, Any]) -> None:
    answer = await ask(method, params)
    assert answer["error"]["code"] in (-32602, -32600, -32020)
    assert offered.upstreams.calls == [] and offered.journal.of(Refusal) == []
    assert offered.rejections()


# --- other ways to be told -----------------------------------------------------------------------------------------------


async def test_a_held_prompt_is_no_task_but_a_page_and_rounds_for_who_can_show_one() -> None:
    world = World(config=InboundConfig(version="1", public_url="https://gw.example", state_key=b"k" * 32))
    world.catalog.others = list(OFFERED)
    world.upstreams.replies["held"] = {"messages": []}
    able = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}, "extensions": {TASKS_EXTENSION: {}}}}
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        ask = Ask(http, "modern")
        first = (await ask("prompts/get", {"name": "bank__held"}, **able))["result"]
        assert first["resultType"] == "input_required"
        assert first["inputRequests"]["approval"]["params"]["url"] == "https://gw.example/approvals/apr_1"
        world.desk.approved.set()
        answer = {"approval": {"action": "accept"}}
        again = {"name": "bank__held", "requestState": first["requestState"], "inputResponses": answer}
        assert (await ask("prompts/get", again, **able))["result"]["messages"] == []
        other = {"uri": "mcpgw+bank+file:///held", "requestState": first["requestState"], "inputResponses": answer}
        assert (await ask("resources/read", other, **able))["error"]["code"] == -32602


async def test_an_approval_of_a_prompt_cannot_be_asked_for_as_a_task(world: World, http: aiohttp.ClientSession) -> None:
    tasks = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
    for kind, code in (("tool", None), ("prompt", -32602)):
        world.desk.calls[:] = [replace(CALL, facts=CleanJson({"target": {"kind": kind}}))]
        body = modern("tasks/get", {"taskId": "apr_1", "_meta": tasks})
        _, answer, _ = await post(http, body, routing("tasks/get", "apr_1"))
        assert answer.get("error", {}).get("code") == code


# --- whatever is asked for -----------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["db://", "files:///", "t", "/", "audit", "7", "%2F", "%2f", "%74", "..", "é", "%C3%A9", "?x=1", "#", "{id}", "+", " ", "!"]
)


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)))
def test_finding_a_resource_is_total_and_what_is_found_is_one_spelling(uri: str) -> None:
    world = World()
    world.catalog.others = list(OFFERED)
    for asked in (uri, published_uri("bank", uri)):
        found = located(asked, world.catalog)
        variables = found.arguments.get("variables")
        target = world.catalog.find(TargetKind.RESOURCE, found.name)
        if variables is None:
            assert isinstance(target, UnknownTarget) or found.arguments["uri"] == target.upstream_name
            continue
        assert isinstance(target, Target) and target.is_template
        again = located(published_uri("bank", UriTemplate.parse(target.upstream_name).expand(variables)), world.catalog)
        assert (again.name, again.arguments["variables"]) == (found.name, variables)
