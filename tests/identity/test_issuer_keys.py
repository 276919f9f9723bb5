"""Discovery, rotation and outages of an issuer, with the requests counted at the issuer."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import Identity
from mcpgw.identity import Issuer, JwtIssuers
from mcpgw.identity.discovery import metadata_urls
from mcpgw.identity.documents import MAX_BYTES, DocumentError, fetch

AUDIENCE = "https://gateway.example/mcp"
METADATA = "/.well-known/openid-configuration"


class Clock:
    """A monotonic clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def trusting(server: Any, clock: Clock, **changes: Any) -> JwtIssuers:
    return JwtIssuers([Issuer(url=server.url, audiences=(AUDIENCE,), **changes)], monotonic=clock)


async def test_keys_are_fetched_once_and_then_kept(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    for _ in range(3):
        await tokens.authenticate(issuer_server.token())
    assert issuer_server.requests == [METADATA, "/jwks"]


async def test_a_hundred_first_callers_share_one_fetch(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    found: list[Identity] = []

    async def call(text: str) -> None:
        found.append(await tokens.authenticate(text))

    issuer_server.gate = anyio.Event()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(call, issuer_server.token())
            await anyio.wait_all_tasks_blocked()
            issuer_server.gate.set()
    assert len(found) == 100
    assert issuer_server.requests == [METADATA, "/jwks"]


async def test_a_new_key_of_the_issuer_is_found_at_once(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    await tokens.authenticate(issuer_server.token())
    issuer_server.published = ["next"]
    clock.now += 31
    assert await tokens.authenticate(issuer_server.token(key="next"))
    with pytest.raises(AuthenticationError, match="signature"):
        await tokens.authenticate(issuer_server.token(key="rsa"))


@pytest.mark.parametrize("kid", [..., "rsa"])
async def test_a_rotation_is_found_even_if_key_ids_are_left_out_or_used_again(
    issuer_server: Any, clock: Clock, kid: object
) -> None:
    tokens = trusting(issuer_server, clock)
    await tokens.authenticate(issuer_server.token(header={"kid": kid}))
    issuer_server.keys["rsa"] = issuer_server.keys["next"]
    with pytest.raises(AuthenticationError, match="signature"):
        await tokens.authenticate(issuer_server.token(header={"kid": kid}))
    clock.now += 31
    assert await tokens.authenticate(issuer_server.token(header={"kid": kid}))
    assert issuer_server.requests.count("/jwks") == 2


async def test_made_up_signatures_cannot_make_the_gateway_flood_the_issuer(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    await tokens.authenticate(issuer_server.token())
    for _ in range(50):
        clock.now += 1
        with pytest.raises(AuthenticationError, match="signature"):
            await tokens.authenticate(issuer_server.token(key="foreign", header={"kid": "rsa"}))
    assert issuer_server.requests.count("/jwks") == 2


async def test_made_up_key_ids_cannot_make_the_gateway_flood_the_issuer(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    await tokens.authenticate(issuer_server.token())
    for number in range(50):
        clock.now += 1
        with pytest.raises(AuthenticationError, match="signature"):
            await tokens.authenticate(issuer_server.token(header={"kid": f"made-up-{number}"}))
    assert issuer_server.requests.count("/jwks") == 2


async def test_a_key_that_the_issuer_withdrew_stops_working_when_the_keys_are_no_longer_fresh(
    issuer_server: Any, clock: Clock
) -> None:
    tokens = trusting(issuer_server, clock, keys_fresh_s=600)
    await tokens.authenticate(issuer_server.token())
    issuer_server.published = ["next"]
    clock.now += 601
    with pytest.raises(AuthenticationError, match="signature"):
        await tokens.authenticate(issuer_server.token())


async def test_a_known_key_does_not_wait_for_a_fetch_of_another_caller(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    await tokens.authenticate(issuer_server.token())
    issuer_server.gate = anyio.Event()
    clock.now += 3601
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(tokens.authenticate, issuer_server.token())
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(3):  # less than the other's fetch may take
                assert await tokens.authenticate(issuer_server.token())
            issuer_server.gate.set()


async def test_keys_survive_an_outage_of_the_issuer_for_the_bounded_time_only(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock, keys_fresh_s=600, keys_stale_s=3600)
    await tokens.authenticate(issuer_server.token())
    issuer_server.down = True
    clock.now += 3600
    assert await tokens.authenticate(issuer_server.token())
    clock.now += 1
    with pytest.raises(AuthenticationError, match="cannot be checked now"):
        await tokens.authenticate(issuer_server.token())
    issuer_server.down = False
    clock.now += 31
    assert await tokens.authenticate(issuer_server.token())


async def test_an_issuer_that_was_never_reached_lets_nobody_in(clock: Clock, issuer_server: Any) -> None:
    issuer_server.down = True
    tokens = trusting(issuer_server, clock)
    for _ in range(5):
        with pytest.raises(AuthenticationError, match="cannot be checked now"):
            await tokens.authenticate(issuer_server.token())
    assert len(issuer_server.requests) == 1


async def test_a_cancelled_fetch_leaves_the_next_caller_free_to_try(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock)
    issuer_server.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(tokens.authenticate, issuer_server.token())
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    issuer_server.gate.set()
    with anyio.fail_after(10):
        assert await tokens.authenticate(issuer_server.token())


async def test_a_token_without_a_key_id_needs_a_single_key_that_can_be_meant(issuer_server: Any, clock: Clock) -> None:
    issuer_server.published = ["rsa", "ec"]
    assert await trusting(issuer_server, clock).authenticate(issuer_server.token(header={"kid": ...}))
    issuer_server.published = ["rsa", "next"]
    with pytest.raises(AuthenticationError, match="signature"):
        await trusting(issuer_server, clock).authenticate(issuer_server.token(header={"kid": ...}))


async def test_two_keys_of_one_id_are_both_tried(issuer_server: Any, clock: Clock) -> None:
    issuer_server.documents["/jwks"] = {"keys": [issuer_server.jwk("next") | {"kid": "rsa"}, issuer_server.jwk("rsa")]}
    assert await trusting(issuer_server, clock).authenticate(issuer_server.token())


async def test_a_jwks_url_replaces_discovery(issuer_server: Any, clock: Clock) -> None:
    tokens = trusting(issuer_server, clock, jwks_url=f"{issuer_server.url}/jwks")
    await tokens.authenticate(issuer_server.token())
    assert issuer_server.requests == ["/jwks"]


async def test_an_issuer_with_a_path_is_found_by_rfc_8414(issuer_server: Any, clock: Clock) -> None:
    root = issuer_server.url
    issuer_server.url += "/tenant"
    issuer_server.documents["/.well-known/oauth-authorization-server/tenant"] = {
        "issuer": issuer_server.url,
        "jwks_uri": f"{root}/jwks",
    }
    assert await trusting(issuer_server, clock).authenticate(issuer_server.token())
    assert issuer_server.requests[0] == "/tenant/.well-known/openid-configuration"


def test_metadata_is_sought_where_the_two_standards_put_it() -> None:
    assert metadata_urls("https://idp.example/a/") == (
        "https://idp.example/a/.well-known/openid-configuration",
        "https://idp.example/.well-known/oauth-authorization-server/a",
        "https://idp.example/.well-known/openid-configuration/a",
    )
    assert len(metadata_urls("https://idp.example")) == 2


Documents = Callable[[Any], dict[str, Any]]
"""What a server that misbehaves answers, by path."""

_SMALL_RSA = {
    "kty": "RSA",
    "kid": "rsa",
    "e": "AQAB",
    "n": "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxK",
}


def metadata(answer: Any) -> Documents:
    return lambda _server: {METADATA: answer}


def key(**changes: Any) -> Documents:
    return lambda server: {"/jwks": {"keys": [server.jwk("rsa") | changes]}}


def key_set(**document: Any) -> Documents:
    return lambda _server: {"/jwks": document}


BAD: dict[str, Documents] = {
    "metadata of another issuer": lambda server: {METADATA: {"issuer": server.url + "/", "jwks_uri": f"{server.url}/jwks"}},
    "metadata without keys": lambda server: {METADATA: {"issuer": server.url}},
    "keys over plain http": lambda server: {METADATA: {"issuer": server.url, "jwks_uri": "http://idp.example/jwks"}},
    "metadata that is a list": metadata([1]),
    "metadata that is no JSON": lambda _server: {METADATA: web.Response(text="<html>")},
    "a redirect": lambda server: {METADATA: web.Response(status=302, headers={"Location": f"{server.url}/elsewhere"})},
    "no metadata at all": lambda _server: {METADATA: web.Response(status=404)},
    "a huge document": lambda server: {"/jwks": {"keys": [server.jwk("rsa")], "x": "a" * MAX_BYTES}},
    "too many keys": lambda server: {"/jwks": {"keys": [server.jwk("rsa")] * 65}},
    "no keys": key_set(keys=[]),
    "keys of another shape": key_set(keys={"rsa": {}}),
    "keys that are no objects": key_set(keys=[7]),
    "an encryption key": key(use="enc"),
    "a key for other operations": key(key_ops=["encrypt"]),
    "a private key": lambda server: {"/jwks": {"keys": [server.keys["rsa"].as_dict(private=True) | {"kid": "rsa"}]}},
    "a shared secret": key_set(keys=[{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"}]),
    "a broken key": key(n="!!"),
    "half a key": key_set(keys=[{"kty": "RSA", "kid": "rsa"}]),
    "a small RSA key": key_set(keys=[_SMALL_RSA]),
    "a key of another algorithm": key(alg="RSA-OAEP"),
    "a key with an odd algorithm": key(alg=7),
    "a key with an odd id": key(kid=7),
}


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD.items()])
async def test_bad_metadata_or_keys_let_nobody_in(issuer_server: Any, clock: Clock, bad: Documents) -> None:
    issuer_server.documents |= bad(issuer_server)
    with pytest.raises(AuthenticationError, match="cannot be checked now"):
        await trusting(issuer_server, clock).authenticate(issuer_server.token())
    assert "/elsewhere" not in issuer_server.requests


@pytest.mark.slow
async def test_an_issuer_that_never_answers_is_an_outage_after_five_seconds(issuer_server: Any, clock: Clock) -> None:
    issuer_server.gate = anyio.Event()
    with anyio.fail_after(10), pytest.raises(AuthenticationError, match="cannot be checked now"):
        await trusting(issuer_server, clock).authenticate(issuer_server.token())


async def test_a_server_that_is_not_there_is_an_outage(unused_tcp_url: str, issuer_server: Any, clock: Clock) -> None:
    issuer_server.url = unused_tcp_url
    with anyio.fail_after(10), pytest.raises(AuthenticationError, match="cannot be checked now"):
        await trusting(issuer_server, clock).authenticate(issuer_server.token())


@pytest.fixture
def unused_tcp_url() -> str:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_proxy_of_the_environment_is_used_and_no_password_of_a_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    async def proxy(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"asked": str(request.url)})

    (tmp_path / "netrc").write_text("default login teller password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with TestServer(proxy_app(proxy)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await fetch("http://issuer.example/keys") == {"asked": "http://issuer.example/keys"}
        assert seen == [None]
        monkeypatch.setenv("no_proxy", "issuer.example")
        with pytest.raises(DocumentError, match="cannot be reached"):
            await fetch("http://issuer.example/keys")
        assert len(seen) == 1


def proxy_app(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    return app
