"""Whatever a caller or an issuer writes: an identity or an AuthenticationError, never another exception."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import Identity
from mcpgw.identity import ApiKeys, Authenticators, Issuer, JwtIssuers
from mcpgw.identity.key_set import parse_key_set

AUDIENCE = "https://gateway.example/mcp"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
CLAIMS = (
    *("iss", "aud", "sub", "exp", "nbf", "iat", "jti", "typ", "nonce", "groups", "scope", "scp", "azp", "client_id"),
    *("act", "amr", "auth_time", "gty", "idtyp", "preferred_username", "_claim_names", "dept"),
)
HEADERS = ("alg", "kid", "typ", "crit", "b64", "jku", "x5u", "x5c", "jwk", "cty", "x5t", "zip")


@pytest.fixture
def door(issuer_server: Any, tmp_path: Path) -> Authenticators:
    issuer = Issuer(url=issuer_server.url, audiences=(AUDIENCE,), copied_claims=("dept",))
    return Authenticators(ApiKeys(tmp_path / "api_keys.json"), JwtIssuers([issuer]))


async def outcome(door: Authenticators, credential: str) -> Identity | AuthenticationError:
    try:
        return await door.authenticate(credential)
    except AuthenticationError as error:
        return error


# The door and the issuer are shared by all examples: neither remembers one.
shared = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@shared
@given(credential=st.text(max_size=200) | st.from_regex(r"mcpgw_[0-9a-f]{12}_[A-Za-z0-9_-]{49}", fullmatch=True))
async def test_any_text_as_credential(door: Authenticators, credential: str) -> None:
    assert isinstance(await outcome(door, credential), AuthenticationError)


@shared
@given(header=json_values, payload=json_values, signature=st.binary(max_size=300))
async def test_any_json_as_token(issuer_server: Any, door: Authenticators, header: Any, payload: Any, signature: bytes) -> None:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    assert isinstance(await outcome(door, ".".join(issuer_server.encode(part) for part in parts)), AuthenticationError)


@shared
@given(changes=st.dictionaries(st.sampled_from(CLAIMS), json_values, max_size=3))
async def test_any_claims_of_a_trusted_issuer(issuer_server: Any, door: Authenticators, changes: dict[str, Any]) -> None:
    token = issuer_server.token(**changes)
    found = await outcome(door, token)
    if isinstance(found, Identity):
        assert found.issuer == issuer_server.url
        assert found.subject
        assert all(isinstance(name, str) for name in (*found.groups, *found.scopes, *found.amr, *found.actors))
        assert math.isfinite(found.expires)


@shared
@given(changes=st.dictionaries(st.sampled_from(HEADERS[1:]), json_values, max_size=3))
async def test_any_header_of_a_trusted_issuer(issuer_server: Any, door: Authenticators, changes: dict[str, Any]) -> None:
    assert await outcome(door, issuer_server.token(header=changes))


@given(
    key=st.dictionaries(st.sampled_from(("kty", "kid", "n", "e", "crv", "x", "y", "use", "key_ops", "alg", "d")), json_values)
)
def test_any_key_set(key: dict[str, Any]) -> None:
    for kty in ({}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256"}, {"kty": "OKP", "crv": "Ed25519"}):
        try:
            parse_key_set({"keys": [{**key, **kty}]})
        except ValueError as error:
            assert "signature" in str(error)
