"""What the admin says of one issuer of tokens."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import IdentityKind

ALGORITHMS: tuple[str, ...] = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
"""Signature algorithms that can be allowed: asymmetric ones alone. `none` has no signature; with HS256 and its kin whoever can
check a token can forge it. `EdDSA` is the older name of `Ed25519` (RFC 9864) and means nothing else here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRule:
    """A token whose claim matches the glob belongs to this kind of caller."""

    claim: str
    pattern: str
    kind: IdentityKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One OIDC provider or OAuth authorization server whose tokens are accepted.

    `url` is compared with the token's `iss` character by character, a trailing slash included. `audiences` are the names of
    this gateway, one of which the token must be meant for: its public URL (RFC 8707) and whatever else the issuer writes there.

    Raises:
        ConfigError: a value that would make the check weaker than it looks.
    """

    url: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt", "jwt")
    """Accepted `typ` headers, without `application/`, compared without case; a token that has none counts as `jwt`."""
    accept_id_tokens: bool = False
    """An ID token tells a client who logged in; it is no permit to call anyone. True only where an issuer has no other."""
    leeway_s: float = 60.0
    """Tolerated difference of clocks, in seconds."""
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    """Name of the claim that lists groups; where there is no such claim, dots reach into objects (`realm_access.roles`)."""
    kind_rules: tuple[KindRule, ...] = ()
    """Looked at before the built-in ones of `claims.py`; the first match wins."""
    default_kind: IdentityKind = IdentityKind.HUMAN
    copied_claims: tuple[str, ...] = ()
    """Further claims that rules may look at."""
    jwks_url: str = ""
    """Where the keys are, for an issuer without discovery; empty: ask its metadata."""
    keys_fresh_s: float = 3600.0
    """Age at which the keys are fetched again, so that a key that the issuer withdrew stops working."""
    keys_stale_s: float = 6 * 3600.0
    """Age up to which keys are used on while the issuer cannot be reached; then its tokens are refused."""
    keys_retry_s: float = 30.0
    """Least time between two fetches: tokens with made-up key ids must not turn the gateway against the issuer."""

    def __post_init__(self) -> None:
        check_url(self.url, self.url)
        if self.jwks_url:
            check_url(self.jwks_url, self.url)
        if not self.audiences or not all(self.audiences):
            hint = "Name the audience that the issuer writes into tokens for this gateway, such as its public URL."
            raise ConfigError("an issuer without an audience would let in tokens meant for others", where=self.url, hint=hint)
        refused = [name for name in self.algorithms if name not in ALGORITHMS]
        if refused or not self.algorithms:
            hint = f"Choose from {', '.join(ALGORITHMS)}."
            raise ConfigError(
                f"not an acceptable list of algorithms: {', '.join(refused) or 'none at all'}", where=self.url, hint=hint
            )
        if not self.groups_claim or not self.token_types:
            raise ConfigError("groups_claim and token_types must not be empty", where=self.url)
        if not 0 <= self.leeway_s <= 300:
            raise ConfigError("leeway_s is from 0 to 300 seconds: mend the clocks instead", where=self.url)
        if not 0 < self.keys_retry_s <= self.keys_fresh_s <= self.keys_stale_s:
            raise ConfigError("0 < keys_retry_s <= keys_fresh_s <= keys_stale_s must hold", where=self.url)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine is reached by that host, judged by the text alone: no name but `localhost` is trusted."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_url(url: str, issuer: str) -> None:
    """Refuse a URL that could be read or changed on its way, or that an issuer's identifier may not be (OIDC Core section 2).

    Plain http is for an issuer on loopback, and then for its own documents on loopback only.

    Raises:
        ConfigError: not absolute https, or with user, query or fragment.
    """
    try:
        parts, by = urlsplit(url), urlsplit(issuer)
        host, by_host, _ = parts.hostname or "", by.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError("is not a URL", where=url) from error
    local = parts.scheme == "http" and is_loopback(host) and by.scheme == "http" and is_loopback(by_host)
    if not host or not (parts.scheme == "https" or local):
        raise ConfigError("must be an https URL (http only on loopback)", where=url)
    if parts.username or parts.password or parts.query or parts.fragment or "#" in url or "?" in url:
        raise ConfigError("must have no user, query or fragment", where=url)
