"""The HTTP gate against hostile requests, sent byte by byte rather than by a well-behaved client."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import anyio
import pytest

from mcpgw.core.entries import Refusal
from mcpgw.core.model import RefusalCode
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.head import Turned, check_host
from mcpgw.inbound.http import ROUTES, Access
from tests.inbound.doors import World, identity, target
from tests.inbound.raw import ACCEPT, call, modern, post, routing
from tests.inbound.wire import MODERN, Live, bearer, listening


async def test_every_route_of_the_app_is_in_the_table_and_asks_for_an_identity_unless_it_is_public(
    live: Live, http: aiohttp.ClientSession
) -> None:
    app = live.listener.config.loaded_app
    while hasattr(app, "app"):
        app = app.app
    actual = {(route.path, frozenset(route.methods)) for route in app.routes}
    assert actual == {(door.path, door.methods) for door in ROUTES}
    assert {door.path for door in ROUTES if door.access is Access.PUBLIC} == {
        "/healthz", "/readyz", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
    }  # fmt: skip
    for door in ROUTES:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            async with http.request(method, door.path, headers=ACCEPT) as response:
                if method not in door.methods:
                    assert response.status == 405, (method, door.path)
                elif door.access is Access.IDENTITY:
                    assert response.status == 401, (method, door.path)
                else:
                    assert response.status in (200, 404), (method, door.path)


@pytest.mark.parametrize("path", ["/", "/mcp/", "/mcp/x", "/sse/", "/messages", "/docs", "/openapi.json", "/admin", "/%6dcp/"])
async def test_what_is_not_in_the_table_does_not_exist(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path, headers=bearer("alice-key")) as response:
        assert response.status == 404


@pytest.mark.promise("auth-challenge")
async def test_without_a_credential_the_answer_is_a_challenge_and_a_record(world: World, http: aiohttp.ClientSession) -> None:
    body, headers = call("bank__echo")
    async with http.post("/mcp", json=body, headers={**ACCEPT, **headers}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    async with http.post("/mcp", json=body, headers={**ACCEPT, **headers, **bearer("wrong")}) as response:
        assert response.status == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.UNAUTHENTICATED] * 2
    assert {entry.origin.address for entry in world.rejections()} == {"127.0.0.1"}
    assert world.upstreams.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic YWxpY2U6YWxpY2U="},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer alice-key bob-key"},
        {"Authorization": "Bearer " + "x" * 33_000},
        {"Authorization": "alice-key"},
    ],
)
async def test_a_credential_of_another_shape_is_refused(
    world: World, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    body, routed = call("bank__echo")
    status, _, _ = await post(http, body, {**routed, **headers})
    assert status == 400
    assert len(world.rejections()) == 1


async def test_two_credentials_are_refused(world: World, http: aiohttp.ClientSession) -> None:
    body, routed = call("bank__echo")
    headers = [*ACCEPT.items(), *routed.items(), *bearer("alice-key").items(), *bearer("bob-key").items()]
    async with http.post("/mcp", json=body, headers=headers) as response:
        assert response.status == 400
    assert world.upstreams.calls == []


@pytest.mark.promise("auth-not-in-url")
@pytest.mark.parametrize("query", ["access_token=alice-key", "ACCESS_TOKEN=x", "token=x", "api_key=x", "a=b&access_token="])
async def test_a_credential_in_the_url_is_refused_even_beside_a_good_one(
    world: World, http: aiohttp.ClientSession, query: str
) -> None:
    body, routed = call("bank__echo")
    status, answer, _ = await post(http, body, routed, path=f"/mcp?{query}")
    assert status == 400 and "URL" in answer["error"]["message"]
    assert world.upstreams.calls == []
    assert len(world.rejections()) == 1


async def test_an_authenticator_that_fails_lets_nobody_in(world: World, http: aiohttp.ClientSession) -> None:
    world.keys.keys = None  # type: ignore[assignment]  # the fault
    body, routed = call("bank__echo")
    status, answer, _ = await post(http, body, routed)
    assert (status, answer["error"]["message"]) == (503, "The gateway could not check the credential.")
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.UNAVAILABLE]


async def test_anonymous_callers_are_let_in_only_where_that_was_spelled_out() -> None:
    world = World(config=InboundConfig(version="1", unsafe_allow_anonymous=identity("dev")))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        body, routed = call("bank__echo")
        async with http.post("/mcp", json=body, headers={**ACCEPT, **routed}) as response:
            assert response.status == 200
        async with http.post("/mcp", json=body, headers={**ACCEPT, **routed, **bearer("wrong")}) as response:
            assert response.status == 401, "a wrong credential is not the same as none"
    assert [call.identity.subject for call in world.upstreams.calls] == ["dev"]


@pytest.mark.promise("http-origin")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9", 200), ("LOCALHOST:80", 200), ("localhost", 200), ("[::1]:1", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example:80", 421), ("localhost:80@evil.example", 421), ("localhost:x", 421),
    ],
)  # fmt: skip
async def test_only_our_own_host_names_are_answered(world: World, http: aiohttp.ClientSession, host: str, status: int) -> None:
    body, routed = call("bank__echo")
    assert (await post(http, body, {**routed, "Host": host}))[0] == status
    assert len(world.rejections()) == (status != 200)


@pytest.mark.promise("http-origin")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 200), ("http://localhost:5173", 200), ("http://localhost", 200),
        ("https://app.example:8443", 403), ("http://app.example", 403), ("https://evil.example", 403), ("null", 403),
        ("http://localhost:5173.evil.example", 403),
    ],
)  # fmt: skip
def test_only_pages_of_allowed_origins_may_call(origin: str, status: int) -> None:
    config = InboundConfig(version="1", allowed_origins=("https://app.example", "http://localhost:*"))
    if status == 200:
        check_host(["localhost"], [origin], config)
        return
    with pytest.raises(Turned) as turned:
        check_host(["localhost"], [origin], config)
    assert turned.value.status == status


@pytest.mark.promise("http-origin")
async def test_a_foreign_origin_is_refused_and_recorded(world: World, http: aiohttp.ClientSession) -> None:
    body, routed = call("bank__echo")
    assert (await post(http, body, {**routed, "Origin": "https://evil.example"}))[0] == 403
    assert len(world.rejections()) == 1


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_a_request_has_exactly_one_host(hosts: list[str]) -> None:
    with pytest.raises(Turned):
        check_host(hosts, [], InboundConfig(version="1"))


@pytest.mark.promise("message-one-meaning")
@pytest.mark.parametrize("path", ["/mcp", "/sse/messages?session_id=00000000000000000000000000000000"])
async def test_a_malformed_body_is_answered_and_recorded(world: World, http: aiohttp.ClientSession, path: str) -> None:
    status, answer, _ = await post(http, b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"Name":"x"}}', path=path)
    assert status == 400
    assert answer["error"]["code"] == -32600 and answer["id"] == 4
    [rejection] = world.rejections()
    assert (rejection.refused.code, rejection.principal) == (RefusalCode.MALFORMED, "test#alice")


async def test_a_body_beyond_the_limit_is_refused_declared_or_not(
    world: World, live: Live, http: aiohttp.ClientSession
) -> None:
    big = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"' + b"x" * world.config.max_body_bytes + b'"}}'

    async def dribble() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    for data in (io.BytesIO(big), dribble()):
        try:
            async with http.post("/mcp", data=data, headers={**ACCEPT, **bearer("alice-key")}) as response:
                assert response.status == 413
        except (aiohttp.ClientOSError, ConnectionError):
            pass  # answered and closed while we were still sending
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.MALFORMED] * 2


async def test_a_compressed_body_is_refused(http: aiohttp.ClientSession) -> None:
    body, routed = call("bank__echo")
    assert (await post(http, json.dumps(body).encode(), {**routed, "Content-Encoding": "gzip"}))[0] == 415


async def test_a_body_that_dribbles_in_is_given_up() -> None:
    world = World(config=InboundConfig(version="1", body_timeout_s=0.2))
    async with listening(world) as live:
        with anyio.fail_after(5):
            status = await _raw(
                live, b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-key\r\nContent-Length: 50\r\n\r\n{"
            )
    assert status.startswith(b"HTTP/1.1 408")


async def test_a_head_without_end_is_refused() -> None:
    async with listening(World()) as live:
        with anyio.fail_after(10):
            endless = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nX-Pad: " + b"x" * 400_000
            assert (await _raw(live, endless)).startswith(b"HTTP/1.1 400")
            many = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000))
            assert (await _raw(live, many)).startswith(b"HTTP/1.1 400")


async def test_a_trailer_cannot_become_a_header() -> None:
    world = World()
    async with listening(world) as live:
        chunked = (
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            b"Authorization: Bearer alice-key\r\n\r\n"
        )
        assert (await _raw(live, chunked)).startswith(b"HTTP/1.1 401")


async def _raw(live: Live, request: bytes) -> bytes:
    """Send bytes and return the answer's first line; the gateway may close before it has read everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.listener.port)
    try:
        writer.write(request)
        return await reader.readline()
    finally:
        writer.transport.abort()


@pytest.mark.promise("http-headers-match")
async def test_routing_headers_that_contradict_the_body_are_refused(world: World, http: aiohttp.ClientSession) -> None:
    body, routed = call("bank__echo")
    for lie in ({"Mcp-Method": "tools/list"}, {"Mcp-Name": "bank__alice"}, {"MCP-Protocol-Version": "2026-01-01"}):
        status, answer, _ = await post(http, body, {**routed, **lie})
        assert (status, answer["error"]["code"]) == (400, -32020), lie
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.MALFORMED] * 3
    assert "-32020" in world.rejections()[0].refused.reason
    assert world.upstreams.calls == []


@pytest.mark.promise("http-header-space")
async def test_white_space_around_a_header_is_no_contradiction(world: World, live: Live) -> None:
    body, _ = call("bank__echo")
    data = json.dumps(body).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nHost:  localhost \r\nAuthorization:   Bearer alice-key  \r\nContent-Type: application/json\r\n"
        f"Accept: */*\r\nMCP-Protocol-Version: {MODERN} \t\r\nMcp-Method: tools/call \r\nMcp-Name: bank__echo  \r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    assert await _raw(live, head.encode() + data) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.promise("http-parameter-headers-checked")
async def test_parameter_headers_are_compared_with_the_body_unless_the_tool_is_hidden(
    world: World, http: aiohttp.ClientSession
) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    for name, tags in (("bank__routed", frozenset()), ("bank__secret", frozenset({"only:bob"}))):
        world.catalog.tools[name] = target(name, {"name": name, "inputSchema": schema}, tags=tags)

    async def ask(name: str, header: dict[str, str]) -> Any:
        body, routed = call(name, {"region": "eu"})
        status, answer, _ = await post(http, body, {**routed, **header})
        return status, answer.get("error", {}).get("code")

    assert await ask("bank__routed", {"Mcp-Param-Region": "eu"}) == (200, None)
    assert await ask("bank__routed", {"Mcp-Param-Region": "us"}) == (400, -32020)
    assert await ask("bank__routed", {}) == (400, -32020)
    assert await ask("bank__secret", {"Mcp-Param-Region": "us"}) == (400, -32602)
    assert await ask("bank__nosuch", {"Mcp-Param-Region": "us"}) == (400, -32602)


async def test_an_argument_that_differs_from_the_tools_own_in_case_alone_is_refused_unless_the_tool_is_hidden(
    world: World, http: aiohttp.ClientSession
) -> None:
    schema = {"type": "object", "properties": {"amount": {"type": "number"}, "kind": {}, "KIND": {}}}
    for name, tags in (("bank__pay", frozenset()), ("bank__secret", frozenset({"only:bob"}))):
        world.catalog.tools[name] = target(name, {"name": name, "inputSchema": schema}, tags=tags)

    async def ask(name: str, arguments: dict[str, Any]) -> Any:
        body, routed = call(name, arguments)
        return (await post(http, body, routed))[1].get("error", {}).get("message")

    assert await ask("bank__pay", {"amount": 5, "kind": 1, "KIND": 2, "Other": 3, "other": 4}) is None
    asked = len(world.upstreams.calls)
    for arguments in ({"Amount": 5}, {"amount": 5, "AMOUNT": 100_000}, {"\u212aind": 1}):
        assert "but for its case" in await ask("bank__pay", arguments)
        assert await ask("bank__secret", arguments) == "Unknown tool: bank__secret"
    assert len(world.upstreams.calls) == asked
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.MALFORMED] * 3


@pytest.mark.promise("tool-unknown")
async def test_a_hidden_tool_and_an_unknown_one_answer_byte_for_byte_alike(http: aiohttp.ClientSession) -> None:
    answers = []
    for name in ("bank__bob", "bank__bab"):
        body, routed = call(name)
        async with http.post("/mcp", json=body, headers={**ACCEPT, **bearer("alice-key"), **routed}) as response:
            headers = {key: value for key, value in response.headers.items() if key != "Date"}
            answers.append((response.status, headers, (await response.read()).replace(name.encode(), b"NAME")))
    assert answers[0] == answers[1]


async def test_an_unknown_tool_is_recorded_once_by_the_corridor(world: World, http: aiohttp.ClientSession) -> None:
    body, routed = call("bank__nosuch")
    assert (await post(http, body, routed))[0] == 400
    assert [type(entry) for entry in world.journal.entries] == [Refusal]


@pytest.mark.promise("message-bad-parameters")
@pytest.mark.parametrize(
    "params", [{"name": ""}, {"name": "x" * 300}, {"name": 5}, {}, {"name": "bank__echo", "arguments": []}]
)
async def test_bad_parameters_never_reach_the_corridor(
    world: World, http: aiohttp.ClientSession, params: dict[str, Any]
) -> None:
    name = params.get("name")
    routed = routing("tools/call", name if isinstance(name, str) else "")
    status, answer, _ = await post(http, modern("tools/call", params), routed)
    assert status == 400 and answer["error"]["code"] in (-32602, -32020)
    assert len(world.rejections()) == len(world.journal.entries) == 1


@pytest.mark.promise("message-unknown-method")
async def test_probing_for_a_method_is_answered_and_not_recorded(world: World, http: aiohttp.ClientSession) -> None:
    status, answer, _ = await post(http, modern("no/such"), routing("no/such"))
    assert (status, answer["error"]["code"]) == (404, -32601)
    assert world.journal.entries == []


async def test_every_answer_forbids_sniffing_caching_and_framing(http: aiohttp.ClientSession) -> None:
    for path in ("/healthz", "/mcp", "/nowhere"):
        async with http.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert "no-store" in response.headers["Cache-Control"]
            assert "Server" not in response.headers


async def test_readiness_names_the_problems(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "problems": {}})
    world.problems["ledger"] = "The disk is full."
    async with http.get("/readyz") as response:
        assert (response.status, await response.json()) == (503, {"ready": False, "problems": {"ledger": "The disk is full."}})
    async with http.get("/healthz") as response:
        assert response.status == 200


@pytest.mark.promise("auth-metadata")
async def test_protected_resource_metadata_is_public_where_there_is_an_authorization_server(
    world: World, http: aiohttp.ClientSession
) -> None:
    for path in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"):
        world.metadata = {}
        async with http.get(path) as response:
            assert response.status == 404
        world.metadata = {"resource": "https://gw.example/mcp", "authorization_servers": ["https://idp.example"]}
        async with http.get(path) as response:
            assert (response.status, await response.json()) == (200, world.metadata)


async def test_an_internal_error_tells_the_client_nothing(world: World, http: aiohttp.ClientSession) -> None:
    world.catalog.tools["bank__broken"] = replace(target("bank__broken"), definition=None)  # type: ignore[arg-type]  # the fault
    status, answer, _ = await post(http, modern("tools/list"), routing("tools/list"))
    assert (status, answer["error"]) == (200, {"code": -32603, "message": "Internal error"})
    assert [entry.refused.reason for entry in world.rejections()] == ["The tools/list message failed in the gateway."]
