"""Verified claims in, `Identity` out. Whatever has an unexpected shape is refused, never taken for absent."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import Identity, IdentityKind
from mcpgw.identity.issuer import Issuer, KindRule
from mcpgw.identity.key_record import MAX_NAME_CHARS

_MAX_ACTORS = 8  # of a delegation chain; longer ones are attacks or loops

_CLIENT_CLAIMS = ("client_id", "azp", "cid", "appid")
"""Who the token was issued to: RFC 9068 and RFC 8693 section 4.3, OIDC Core, Okta, Entra ID v1."""

_SERVICE_RULES = (
    KindRule(claim="gty", pattern="client-credentials", kind=IdentityKind.SERVICE),  # Auth0
    KindRule(claim="idtyp", pattern="app", kind=IdentityKind.SERVICE),  # Entra ID
    KindRule(claim="preferred_username", pattern="service-account-*", kind=IdentityKind.SERVICE),  # Keycloak
)

_Claims = Mapping[str, Any]


def identity_of(claims: _Claims, issuer: Issuer, credential_id: str) -> Identity:
    """Return the identity that verified claims describe. `credential_id` stands in where the token has no `jti`.

    Raises:
        AuthenticationError: a claim that identity, groups or scopes depend on is missing or has an unexpected shape.
    """
    actors = _actors(claims, issuer.url)
    client = _client(claims)
    return Identity(
        subject=_name(claims, issuer.subject_claim),
        issuer=issuer.url,
        kind=_kind(claims, issuer, actors, client),
        method="jwt",
        groups=_groups(claims, issuer.groups_claim),
        scopes=_scopes(claims),
        client_id=client,
        credential_id=_name(claims, "jti") if "jti" in claims else credential_id,
        actors=actors,
        amr=tuple(_strings(claims, "amr")),
        acr=claims["acr"] if _is_name(claims.get("acr")) else "",  # what is no name satisfies no rule
        auth_time=_seconds(claims, "auth_time"),
        expires=_seconds(claims, "exp"),
        claims={name: claims[name] for name in issuer.copied_claims if name in claims},
    )


def _kind(claims: _Claims, issuer: Issuer, actors: tuple[str, ...], client: str) -> IdentityKind:
    if actors:
        return IdentityKind.AGENT
    for rule in (*issuer.kind_rules, *_SERVICE_RULES):
        value = claims.get(rule.claim)
        if isinstance(value, str) and fnmatchcase(value, rule.pattern):
            return rule.kind
    # RFC 9068 section 2.2: in a grant without a person, the subject is the client itself.
    if client and claims.get("sub") == client:
        return IdentityKind.SERVICE
    return issuer.default_kind


def _actors(claims: _Claims, issuer: str) -> tuple[str, ...]:
    """Return the delegation chain as principals, the nearest actor first: the outermost `act` (RFC 8693 section 4.1)."""
    chain: list[str] = []
    holder: _Claims = claims
    while "act" in holder:
        actor = holder["act"]
        if not isinstance(actor, Mapping) or len(chain) == _MAX_ACTORS:
            raise AuthenticationError("The token's claim 'act' is not a delegation chain.")
        name = _name(actor, "sub" if "sub" in actor else "client_id")
        chain.append(f"{_name(actor, 'iss') if 'iss' in actor else issuer}#{name}")
        holder = actor
    return tuple(chain)


def _groups(claims: _Claims, claim: str) -> frozenset[str]:
    """Return the groups that the claim lists; a single string is one group, and nothing there is none."""
    path = [claim] if claim in claims else claim.split(".")
    # Entra ID leaves groups out where there are too many (OIDC Core 5.6.2). A rule that denies by group must not miss one.
    distributed = claims.get("_claim_names")
    if isinstance(distributed, Mapping) and (claim in distributed or path[0] in distributed):
        raise AuthenticationError("The issuer left the groups out of the token because there are too many of them.")
    value: Any = claims
    for key in path:
        if not isinstance(value, Mapping):
            raise AuthenticationError(f"The token's claim '{claim}' does not have the expected shape.")
        value = value.get(key)
        if value is None:
            return frozenset()
    groups = [value] if isinstance(value, str) else value
    if not isinstance(groups, list) or not all(_is_name(group) for group in groups):
        raise AuthenticationError(f"The token's claim '{claim}' is not a list of names.")
    return frozenset(groups)


def _scopes(claims: _Claims) -> frozenset[str]:
    """Return `scope` (RFC 8693 section 4.2), or `scp` (Entra ID, Okta); each as a list or separated by spaces."""
    name = "scope" if "scope" in claims else "scp"
    value = claims.get(name)
    return frozenset(_strings({name: value.split()} if isinstance(value, str) else claims, name))


def _client(claims: _Claims) -> str:
    for name in _CLIENT_CLAIMS:
        if name in claims:
            return _name(claims, name)
    return ""


def _name(claims: _Claims, claim: str) -> str:
    value: str | None = claims.get(claim)
    if value is None or not _is_name(value):
        raise AuthenticationError(f"The token's claim '{claim}' is missing or not a name.")
    return value


def _is_name(value: object) -> bool:
    """Tell whether it is a string that rules can compare and records show: printable, neither empty nor endless."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


def _strings(claims: _Claims, claim: str) -> list[str]:
    value = claims.get(claim, [])
    if not isinstance(value, list) or not all(_is_name(each) for each in value):
        raise AuthenticationError(f"The token's claim '{claim}' is not a list of names.")
    return value


def _seconds(claims: _Claims, claim: str) -> int:
    """Return a NumericDate in whole seconds, 0 where there is none. Records hold no integer beyond 2^53."""
    value = claims.get(claim, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise AuthenticationError(f"The token's claim '{claim}' is not a time.")
    return int(value)
