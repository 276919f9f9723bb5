"""What stands around the check itself: telling credentials apart, stdio, development, and what HTTP clients are told."""

from pathlib import Path
from typing import Any

import pytest

from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import IdentityKind
from mcpgw.identity import (
    ApiKeys,
    Authenticators,
    Issuer,
    JwtIssuers,
    UnsafeAnonymous,
    new_key,
    protected_resource_metadata,
    protected_resource_paths,
    refuse_unless_loopback,
    stdio_identity,
    unsafe_anonymous,
    www_authenticate,
)

URL = "https://gateway.example/mcp"


@pytest.fixture
def key(tmp_path: Path) -> str:
    made = new_key(subject="batch", kind=IdentityKind.SERVICE)
    ApiKeys(tmp_path / "api_keys.json").add(made.record)
    return made.text


@pytest.fixture
def keys_alone(tmp_path: Path) -> Authenticators:
    return Authenticators(ApiKeys(tmp_path / "api_keys.json"), JwtIssuers([]))


async def test_a_key_and_a_token_are_told_apart_by_their_form(issuer_server: Any, tmp_path: Path, key: str) -> None:
    tokens = JwtIssuers([Issuer(url=issuer_server.url, audiences=(URL,))])
    both = Authenticators(ApiKeys(tmp_path / "api_keys.json"), tokens)
    assert (await both.authenticate(key)).method == "api_key"
    assert (await both.authenticate(issuer_server.token())).method == "jwt"


@pytest.mark.parametrize("credential", ["", "hunter2", "Bearer x", "mcpgw_", "a.b", "a.b.c.d", "\x00", "mcpgw_\u00e9"])
async def test_anything_else_is_refused_without_being_repeated(keys_alone: Authenticators, credential: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await keys_alone.authenticate(credential)
    assert not credential or credential not in str(caught.value)


async def test_stdio_takes_its_key_from_the_environment(keys_alone: Authenticators, key: str) -> None:
    assert (await stdio_identity({"MCPGW_API_KEY": f" {key}\n"}, keys_alone)).subject == "batch"


async def test_stdio_takes_its_key_from_a_file_that_the_environment_names(
    keys_alone: Authenticators, key: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key + "\n")
    assert (await stdio_identity({"MCPGW_API_KEY_FILE": str(tmp_path / "key")}, keys_alone)).subject == "batch"


async def test_stdio_without_a_key_says_what_to_do(keys_alone: Authenticators) -> None:
    with pytest.raises(AuthenticationError, match="MCPGW_API_KEY is not set") as caught:
        await stdio_identity({}, keys_alone)
    assert "mcpgw keys create" in caught.value.hint


async def test_stdio_with_two_keys_or_an_unreadable_file_is_refused(keys_alone: Authenticators, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match="Both"):
        await stdio_identity({"MCPGW_API_KEY": "a", "MCPGW_API_KEY_FILE": "b"}, keys_alone)
    for name, content in (("empty", b" \n"), ("binary", b"\xff\xfe"), ("large", b"a" * 20_000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AuthenticationError, match="MCPGW_API_KEY_FILE"):
            await stdio_identity({"MCPGW_API_KEY_FILE": str(tmp_path / name)}, keys_alone)
    with pytest.raises(AuthenticationError, match="FileNotFoundError"):
        await stdio_identity({"MCPGW_API_KEY_FILE": str(tmp_path / "absent")}, keys_alone)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_may_go_without_authentication(host: str) -> None:
    refuse_unless_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example", "127.0.0.1.nip.io"])
def test_nothing_else_may(host: str) -> None:
    with pytest.raises(ConfigError, match="unsafe_allow_anonymous"):
        refuse_unless_loopback(host)


async def test_without_authentication_everybody_is_one_service_but_a_wrong_key_is_still_wrong(
    keys_alone: Authenticators, key: str
) -> None:
    door = UnsafeAnonymous("127.0.0.1", keys_alone)
    assert await door.authenticate("") == unsafe_anonymous()
    assert unsafe_anonymous().kind is IdentityKind.SERVICE
    assert (await door.authenticate(key)).subject == "batch"
    with pytest.raises(AuthenticationError):
        await door.authenticate("hunter2")
    with pytest.raises(ConfigError):
        UnsafeAnonymous("0.0.0.0", keys_alone)


def test_the_resource_metadata_names_issuers_and_the_least_scopes() -> None:
    assert protected_resource_metadata(URL, ["https://idp.example"], ["mcp:call", "mcp:call"]) == {
        "resource": URL,
        "authorization_servers": ["https://idp.example"],
        "bearer_methods_supported": ["header"],
        "resource_name": "mcpgw",
        "scopes_supported": ["mcp:call"],
    }
    assert "scopes_supported" not in protected_resource_metadata(URL, ["https://idp.example"])


@pytest.mark.parametrize(
    ("url", "issuers", "scopes"),
    [("http://gateway.example", ["i"], []), (URL, [], []), (URL, ["i"], ["two words"]), (URL, ["i"], ['"'])],
)
def test_metadata_that_a_client_could_not_use_is_refused(url: str, issuers: list[str], scopes: list[str]) -> None:
    with pytest.raises(ConfigError):
        protected_resource_metadata(url, issuers, scopes)


def test_the_metadata_stands_at_the_path_of_the_resource_first() -> None:
    root = "/.well-known/oauth-protected-resource"
    assert protected_resource_paths(URL) == (f"{root}/mcp", root)
    assert protected_resource_paths("https://gateway.example/") == (root,)


def test_the_challenge_is_that_of_rfc_6750_and_9728() -> None:
    where = 'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp"'
    assert www_authenticate(URL) == f'Bearer realm="mcpgw", {where}'
    assert www_authenticate(URL, "invalid_token", description="The token has expired.", scopes=["mcp:call"]) == (
        'Bearer realm="mcpgw", error="invalid_token", error_description="The token has expired.", scope="mcp:call", ' + where
    )
    assert www_authenticate(URL, oauth=False) == 'Bearer realm="mcpgw"'


def test_nothing_can_break_out_of_the_challenge() -> None:
    header = www_authenticate(URL, "invalid_token", description='x", realm="evil"\r\nSet-Cookie: a=b \\ é', oauth=False)
    assert "\r" not in header
    assert "\n" not in header
    assert header.count('"') == 6
    assert "\\" not in header
