"""Tokens of a real issuer over real HTTP: what is accepted, and the table of attacks that are not."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import IdentityKind
from mcpgw.identity import Issuer, JwtIssuers, KindRule
from mcpgw.identity.issuer import ALGORITHMS

AUDIENCE = "https://gateway.example/mcp"


def trusting(server: Any, **changes: Any) -> JwtIssuers:
    return JwtIssuers([Issuer(url=server.url, audiences=(AUDIENCE,), **changes)])


async def test_a_token_of_a_trusted_issuer_becomes_an_identity(issuer_server: Any) -> None:
    tokens = trusting(issuer_server, copied_claims=("dept", "absent"))
    now = int(time.time())
    text = issuer_server.token(
        groups=["tellers", "audit"],
        scope="bank:read bank:write",
        azp="desktop",
        amr=["pwd", "otp"],
        auth_time=now - 60,
        exp=now + 300,
        dept="fraud",
        salary=1,
    )
    identity = await tokens.authenticate(text)
    assert identity.principal == f"{issuer_server.url}#alice"
    assert (identity.kind, identity.method, identity.credential_id) == (IdentityKind.HUMAN, "jwt", "t-1")
    assert identity.groups == {"tellers", "audit"}
    assert identity.scopes == {"bank:read", "bank:write"}
    assert (identity.client_id, identity.amr, identity.auth_time, identity.expires) == (
        "desktop",
        ("pwd", "otp"),
        now - 60,
        now + 300,
    )
    assert identity.claims == {"dept": "fraud"}


@pytest.mark.parametrize("key", ["rsa", "ec", "ed"])
async def test_each_family_of_keys_verifies(issuer_server: Any, key: str) -> None:
    issuer_server.published = [key]
    assert (await trusting(issuer_server).authenticate(issuer_server.token(key=key))).subject == "alice"


async def test_the_old_name_of_ed25519_verifies_without_a_warning(issuer_server: Any) -> None:
    issuer_server.published = ["ed"]
    assert await trusting(issuer_server).authenticate(issuer_server.token(key="ed", header={"alg": "EdDSA"}))


Forge = Callable[[Any], str]


def claims(**changes: Any) -> Forge:
    return lambda server: server.token(**changes)


def header(**changes: Any) -> Forge:
    return lambda server: server.token(header=changes)


def payload(text: Callable[[str], str]) -> Forge:
    """Properly signed, but the payload is not what one object of unambiguous JSON would be."""
    head = {"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}
    return lambda server: server.sign(head, text(json.dumps(server.claims())).encode())


def twice_in_header(server: Any) -> str:
    head = b'{"alg":"RS256","kid":"foreign","kid":"rsa","typ":"at+jwt"}'
    return server.sign_raw(head, json.dumps(server.claims()).encode(), "rsa", "RS256")


def unsigned(server: Any) -> str:
    return server.sign({"alg": "none", "typ": "at+jwt"}, json.dumps(server.claims()).encode())


def unsigned_with_something(server: Any) -> str:
    return unsigned(server) + "AA"


def altered(server: Any) -> str:
    """Alice's signature under an admin's claims."""
    good, other = server.token(), server.token(sub="admin")
    return ".".join((good.split(".")[0], other.split(".")[1], good.split(".")[2]))


def with_own_key(server: Any) -> str:
    """Signed by the attacker, whose key the header brings along."""
    return server.token(key="foreign", header={"kid": "rsa", "jwk": server.jwk("foreign")})


def pointing_at_own_keys(server: Any) -> str:
    server.documents["/evil"] = {"keys": [server.jwk("foreign")]}
    return server.token(key="foreign", header={"jku": f"{server.url}/evil", "x5u": f"{server.url}/evil"})


def with_a_key_for_another_algorithm(server: Any) -> str:
    server.documents["/jwks"] = {"keys": [server.jwk("rsa", alg="RS256")]}
    return server.token(header={"alg": "PS256"})


def detached(server: Any) -> str:
    first, _, last = server.token().split(".")
    return f"{first}..{last}"


FUTURE = int(time.time()) + 3600
PAST = int(time.time()) - 3600

ATTACKS: list[tuple[str, Forge, str]] = [
    ("no signature", unsigned, "not a signed JWT"),
    ("alg none with a signature", unsigned_with_something, "algorithm"),
    ("HS256 with the public key", lambda server: server.confused(), "algorithm"),
    ("PS256 with a key for RS256", with_a_key_for_another_algorithm, "signature"),
    ("altered claims", altered, "signature"),
    ("a foreign key under the issuer's kid", lambda server: server.token(key="foreign", header={"kid": "rsa"}), "signature"),
    ("a foreign key under its own kid", lambda server: server.token(key="foreign"), "signature"),
    ("a key in the header", with_own_key, "signature"),
    ("addresses of keys in the header", pointing_at_own_keys, "signature"),
    ("a path as kid", lambda server: server.token(key="foreign", header={"kid": "../../dev/null"}), "signature"),
    ("SQL as kid", lambda server: server.token(key="foreign", header={"kid": "x' UNION SELECT 'k"}), "signature"),
    ("a list as kid", header(kid=["rsa"]), "malformed"),
    ("crit", header(crit=["exp"], exp=1), "extension"),
    ("b64", header(b64=False), "extension"),
    ("another type", header(typ="dpop+jwt"), "type"),
    ("a detached payload", detached, "not a signed JWT"),
    ("two kids", twice_in_header, "not a signed JWT"),
    ("two subjects", payload(lambda text: text[:-1] + ', "sub": "admin"}'), "not a signed JWT"),
    ("NaN", payload(lambda text: text[:-1] + ', "nbf": NaN}'), "not a signed JWT"),
    ("a list as payload", payload(lambda text: f"[{text}]"), "not a signed JWT"),
    ("deep nesting", payload(lambda text: text[:-1] + ', "x": ' + "[" * 2500 + "]" * 2500 + "}"), "not a signed JWT"),
    ("another audience", claims(aud="https://other.example"), "audience"),
    ("a longer audience", claims(aud=AUDIENCE + "/admin"), "audience"),
    ("other audiences", claims(aud=["https://other.example", "account"]), "audience"),
    ("no audience", claims(aud=...), "aud"),
    ("an empty audience", claims(aud=[]), "audience"),
    ("another issuer", claims(iss="https://idp.example"), "issuer"),
    ("a longer issuer", lambda server: server.token(iss=server.url + "/"), "issuer"),
    ("an issuer in capitals", lambda server: server.token(iss=server.url.upper()), "issuer"),
    ("no issuer", claims(iss=...), "issuer"),
    ("expired", claims(exp=PAST), "expired"),
    ("no expiry", claims(exp=...), "exp"),
    ("an expiry in words", claims(exp="tomorrow"), "exp"),
    ("an expiry beyond all calendars", claims(exp=10**40), "exp"),
    ("not valid yet", claims(nbf=FUTURE), "not valid yet"),
    ("issued in the future", claims(iat=FUTURE), "future"),
    ("no subject", claims(sub=...), "sub"),
    ("an empty subject", claims(sub=""), "sub"),
    ("a subject with a line break", claims(sub="alice\nadmin"), "sub"),
    ("a number as subject", claims(sub=7), "sub"),
    ("an ID token by its nonce", lambda server: server.token(header={"typ": "JWT"}, nonce="n-1"), "ID token"),
    ("groups as an object", claims(groups={"admin": True}), "groups"),
    ("groups of numbers", claims(groups=["tellers", 1]), "groups"),
    ("an empty group", claims(groups=[""]), "groups"),
    ("a group with a control character", claims(groups=["tellers\x1b[2J"]), "groups"),
    ("a lone surrogate", payload(lambda text: text[:-1] + ', "dept": "\\ud800"}'), "not a signed JWT"),
    ("groups left out by Entra ID", claims(_claim_names={"groups": "src1"}), "too many"),
    ("an actor without a name", claims(act={"iss": "https://x.example"}), "client_id"),
    ("an actor as text", claims(act="agent"), "delegation"),
    ("a scope with a control character", claims(scope="bank:read \x1b[2J"), "scope"),
    ("scopes as an object", claims(scope={"a": 1}), "scope"),
    ("amr as text", claims(amr="pwd"), "amr"),
    ("a negative auth_time", claims(auth_time=-1), "auth_time"),
    ("a true auth_time", claims(auth_time=True), "auth_time"),
]


@pytest.mark.parametrize(("forge", "words"), [pytest.param(forge, words, id=name) for name, forge, words in ATTACKS])
async def test_a_forged_or_foreign_token_is_refused(issuer_server: Any, forge: Forge, words: str) -> None:
    text = forge(issuer_server)
    with pytest.raises(AuthenticationError, match=words) as caught:
        await trusting(issuer_server).authenticate(text)
    assert text not in str(caught.value)
    assert "/evil" not in issuer_server.requests


async def test_a_delegation_chain_longer_than_eight_is_refused(issuer_server: Any) -> None:
    act: dict[str, Any] = {"sub": "agent"}
    for _ in range(8):
        act = {"sub": "agent", "act": act}
    with pytest.raises(AuthenticationError, match="delegation"):
        await trusting(issuer_server).authenticate(issuer_server.token(act=act))


async def test_a_token_beyond_8_kb_is_refused_before_it_is_read(issuer_server: Any) -> None:
    with pytest.raises(AuthenticationError, match="longer than 8192"):
        await trusting(issuer_server).authenticate(issuer_server.token(x="a" * 8192))
    assert issuer_server.requests == []


async def test_a_token_of_an_unknown_issuer_fetches_nothing(issuer_server: Any) -> None:
    with pytest.raises(AuthenticationError, match="does not trust"):
        await trusting(issuer_server).authenticate(issuer_server.token(iss="https://evil.example"))
    assert issuer_server.requests == []


@pytest.mark.parametrize("junk", ["a.b.c", "..", "é.é.é", "a.b.c.d.e", "eyJ9.eyJ9.eyJ9", "bnVsbA.bnVsbA.AA"])
async def test_junk_is_refused_in_plain_words(issuer_server: Any, junk: str) -> None:
    with pytest.raises(AuthenticationError, match="not a signed JWT"):
        await trusting(issuer_server).authenticate(junk)


@pytest.mark.parametrize("signature", ["AA", "A" * 342, "_" * 342])
async def test_a_signature_of_any_shape_is_refused_not_an_error(issuer_server: Any, signature: str) -> None:
    issuer_server.published = ["rsa", "ec", "ed"]
    for key in ("rsa", "ec", "ed"):
        text = issuer_server.token(key=key).rsplit(".", 1)[0]
        with pytest.raises(AuthenticationError, match="signature"):
            await trusting(issuer_server).authenticate(f"{text}.{signature}")


async def test_clocks_may_differ_by_the_leeway_and_no_more(issuer_server: Any) -> None:
    tokens = JwtIssuers([Issuer(url=issuer_server.url, audiences=(AUDIENCE,), leeway_s=60)], clock=lambda: 1_000_000.0)
    at = {"iat": 999_000, "nbf": 999_000}
    assert await tokens.authenticate(issuer_server.token(**at, exp=1_000_000 - 59))
    assert await tokens.authenticate(issuer_server.token(iat=1_000_060, nbf=1_000_060, exp=1_000_300))
    with pytest.raises(AuthenticationError, match="expired"):
        await tokens.authenticate(issuer_server.token(**at, exp=1_000_000 - 60))
    with pytest.raises(AuthenticationError, match="not valid yet"):
        await tokens.authenticate(issuer_server.token(iat=999_000, nbf=1_000_061, exp=1_000_300))


async def test_a_leeway_of_a_fraction_of_a_second_counts(issuer_server: Any) -> None:
    tokens = JwtIssuers([Issuer(url=issuer_server.url, audiences=(AUDIENCE,), leeway_s=0.5)], clock=lambda: 1_000_000.25)
    assert await tokens.authenticate(issuer_server.token(iat=999_000, exp=1_000_000))
    with pytest.raises(AuthenticationError, match="expired"):
        await tokens.authenticate(issuer_server.token(iat=999_000, exp=999_999))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, IdentityKind.HUMAN),
        ({"client_id": "batch", "sub": "batch"}, IdentityKind.SERVICE),
        ({"azp": "batch", "sub": "batch"}, IdentityKind.SERVICE),
        ({"azp": "desktop"}, IdentityKind.HUMAN),
        ({"gty": "client-credentials", "sub": "x@clients"}, IdentityKind.SERVICE),
        ({"idtyp": "app"}, IdentityKind.SERVICE),
        ({"preferred_username": "service-account-batch", "azp": "batch"}, IdentityKind.SERVICE),
        ({"act": {"sub": "assistant"}}, IdentityKind.AGENT),
        ({"entity": "bot-7"}, IdentityKind.AGENT),
        ({"entity": "bot-7", "gty": "client-credentials"}, IdentityKind.AGENT),  # the admin's rule goes first
        ({"entity": "person-7"}, IdentityKind.HUMAN),
    ],
)
async def test_the_kind_of_caller_follows_from_the_claims(issuer_server: Any, changes: Any, kind: IdentityKind) -> None:
    tokens = trusting(issuer_server, kind_rules=(KindRule(claim="entity", pattern="bot-*", kind=IdentityKind.AGENT),))
    assert (await tokens.authenticate(issuer_server.token(**changes))).kind is kind


async def test_a_delegated_token_names_the_person_and_the_chain_of_actors(issuer_server: Any) -> None:
    act = {"sub": "assistant", "act": {"iss": "https://other.example", "sub": "planner", "act": {"client_id": "desktop"}}}
    identity = await trusting(issuer_server).authenticate(issuer_server.token(act=act))
    assert identity.subject == "alice"
    url = issuer_server.url
    assert identity.actors == (f"{url}#assistant", "https://other.example#planner", f"{url}#desktop")


@pytest.mark.parametrize(
    ("claim", "changes", "groups"),
    [
        ("groups", {}, set()),
        ("groups", {"groups": None}, set()),
        ("groups", {"groups": "tellers"}, {"tellers"}),
        ("groups", {"groups": ["a", "a", "/bank/tellers"]}, {"a", "/bank/tellers"}),
        ("realm_access.roles", {"realm_access": {"roles": ["tellers"]}}, {"tellers"}),
        ("realm_access.roles", {"realm_access": {}}, set()),
        ("https://bank.example/groups", {"https://bank.example/groups": ["tellers"]}, {"tellers"}),
    ],
)
async def test_groups_are_found_in_every_usual_shape(issuer_server: Any, claim: str, changes: Any, groups: set[str]) -> None:
    identity = await trusting(issuer_server, groups_claim=claim).authenticate(issuer_server.token(**changes))
    assert identity.groups == groups


async def test_a_groups_path_through_something_else_is_refused(issuer_server: Any) -> None:
    tokens = trusting(issuer_server, groups_claim="realm_access.roles")
    with pytest.raises(AuthenticationError, match="expected shape"):
        await tokens.authenticate(issuer_server.token(realm_access=["tellers"]))


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        ({"scope": " a  b "}, {"a", "b"}),
        ({"scope": ["a"]}, {"a"}),
        ({"scp": "a b"}, {"a", "b"}),
        ({"scp": ["a", "b"]}, {"a", "b"}),
    ],
)
async def test_scopes_are_read_from_scope_and_scp(issuer_server: Any, changes: Any, scopes: set[str]) -> None:
    assert (await trusting(issuer_server).authenticate(issuer_server.token(**changes))).scopes == scopes


async def test_id_tokens_are_accepted_only_where_that_is_said(issuer_server: Any) -> None:
    text = issuer_server.token(header={"typ": ...}, typ="ID")
    with pytest.raises(AuthenticationError, match="ID token"):
        await trusting(issuer_server).authenticate(text)
    assert await trusting(issuer_server, accept_id_tokens=True).authenticate(text)


async def test_a_token_without_a_type_is_refused_where_only_access_tokens_are_accepted(issuer_server: Any) -> None:
    tokens = trusting(issuer_server, token_types=("at+jwt",))
    assert await tokens.authenticate(issuer_server.token(header={"typ": "application/AT+JWT"}))
    with pytest.raises(AuthenticationError, match="type"):
        await tokens.authenticate(issuer_server.token(header={"typ": ...}))


async def test_a_token_without_an_id_is_named_by_its_hash(issuer_server: Any) -> None:
    text = issuer_server.token(jti=...)
    identity = await trusting(issuer_server).authenticate(text)
    assert identity.credential_id.startswith("sha256:")
    assert len(identity.credential_id) == len("sha256:") + 16


async def test_without_issuers_no_token_is_accepted(issuer_server: Any) -> None:
    with pytest.raises(AuthenticationError, match="does not trust"):
        await JwtIssuers([]).authenticate(issuer_server.token())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://idp.example"}, "https"),
        ({"url": "https://"}, "https"),
        ({"url": "https://[idp"}, "not a URL"),
        ({"url": "https://user@idp.example"}, "no user"),
        ({"url": "https://idp.example/?tenant=1"}, "no user, query"),
        ({"url": "https://idp.example#"}, "no user, query"),
        ({"jwks_url": "http://127.0.0.1/jwks"}, "https"),
        ({"audiences": ()}, "audience"),
        ({"audiences": ("",)}, "audience"),
        ({"algorithms": ()}, "none at all"),
        ({"algorithms": ("RS256", "HS256")}, "HS256"),
        ({"algorithms": ("none",)}, "none"),
        ({"groups_claim": ""}, "groups_claim"),
        ({"leeway_s": 3600}, "leeway"),
        ({"keys_fresh_s": 1, "keys_retry_s": 2}, "keys_retry_s"),
    ],
)
def test_an_issuer_that_would_weaken_the_check_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Issuer(**{"url": "https://idp.example", "audiences": (AUDIENCE,), **changes})


def test_two_issuers_with_one_url_are_refused() -> None:
    one = Issuer(url="https://idp.example", audiences=("a",))
    with pytest.raises(ConfigError, match="same url"):
        JwtIssuers([one, one])


def test_only_asymmetric_algorithms_can_be_allowed() -> None:
    assert not [name for name in ALGORITHMS if name.startswith("HS") or name == "none"]
