"""JSON Web Tokens of trusted issuers (RFC 7519, with the advice of RFC 8725 and the access-token profile RFC 9068)."""

import copy
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import Identity
from mcpgw.core.strict_json import loads
from mcpgw.identity.claims import identity_of
from mcpgw.identity.issuer import Issuer
from mcpgw.identity.issuer_keys import IssuerKeys
from mcpgw.identity.key_set import VerifyingKey

MAX_TOKEN_CHARS = 8192
"""Of a whole token, before any of it is decoded. Common servers limit all headers together to as much."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)

_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash")
"""What only ID tokens have (OIDC Core sections 2 and 3.3.2.11); Keycloak says it in a claim `typ` besides."""


_CLAIM_PROBLEMS = {
    "aud": "The token is not meant for this gateway: its audience is another.",
    "nbf": "The token is not valid yet.",
    "iat": "The token is from the future.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unverified:
    """What an unproven token says of itself: it chooses among our issuers and keys and decides nothing else."""

    text: str
    issuer: str
    algorithm: str
    kid: str
    type: str


class _BadSignature(AuthenticationError):
    """No key at hand has made this signature."""


_EDDSA = copy.copy(JWSRegistry.algorithms["EdDSA"])
_EDDSA.security_warning = None  # joserfc warns of each use: the name leaves the curve open. Here the key's type has decided it.


class _Registry(JWSRegistry):
    algorithms = JWSRegistry.algorithms | {"EdDSA": _EDDSA}
    max_header_length = MAX_TOKEN_CHARS  # the token as a whole is limited; certificates in headers are legal


class JwtIssuers:
    """Identities behind tokens of the issuers that the admin named. With no issuer, no token is accepted."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use these issuers; nothing is fetched before the first token.

        Raises:
            ConfigError: two issuers share a URL.
        """
        self._issuers = {issuer.url: issuer for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ConfigError("two issuers have the same url")
        self._keys = {issuer.url: IssuerKeys(issuer, clock=monotonic) for issuer in issuers}
        self._clock = clock

    async def authenticate(self, credential: str) -> Identity:
        """Return the identity behind the token: signed by a trusted issuer, meant for this gateway, valid now.

        Headers that bring or point at keys (`jwk`, `jku`, `x5c`, `x5u`) are never followed.

        Raises:
            AuthenticationError: any of these does not hold, or the issuer's keys cannot be read.
        """
        token = _parse(credential)
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            raise AuthenticationError("The token is from an issuer that this gateway does not trust.")
        _check_header(token, issuer)
        claims = await _verified(token, self._keys[issuer.url])
        self._check_claims(claims, issuer, token)
        # A token without an id is named by its hash: enough to find it in the issuer's log, useless for a caller.
        return identity_of(claims, issuer, f"sha256:{hashlib.sha256(credential.encode('ascii')).hexdigest()[:16]}")

    def _check_claims(self, claims: dict[str, Any], issuer: Issuer, token: _Unverified) -> None:
        registry = JWTClaimsRegistry(
            # A NumericDate may have a fraction (RFC 7519 section 2), and joserfc does nothing but compare these with it.
            now=self._clock(),  # type: ignore[arg-type]
            leeway=issuer.leeway_s,  # type: ignore[arg-type]
            iss={"essential": True, "value": issuer.url},
            aud={"essential": True, "values": list(issuer.audiences)},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError as error:
            raise AuthenticationError("The token has expired.") from error
        except ClaimError as error:
            problem = _CLAIM_PROBLEMS.get(error.claim, f"The token's claim '{error.claim}' is missing or not acceptable.")
            raise AuthenticationError(problem) from error
        if not issuer.accept_id_tokens and token.type != "at+jwt" and _is_id_token(claims):
            raise AuthenticationError("This is an ID token; an access token is needed.")


def _parse(credential: str) -> _Unverified:
    if len(credential) > MAX_TOKEN_CHARS:
        raise AuthenticationError(f"The token is longer than {MAX_TOKEN_CHARS} characters.")
    if not _COMPACT.fullmatch(credential):
        raise AuthenticationError("The token is not a signed JWT.")
    header, payload = (_object(part) for part in credential.split(".")[:2])
    # RFC 7515 section 4.1.11: `crit` must be understood or refused, and we understand no extension; `b64` is one (RFC 7797).
    if "crit" in header or "b64" in header:
        raise AuthenticationError("The token uses an extension that this gateway does not know.")
    algorithm, kid, kind, issuer = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT"), payload.get("iss")
    if not (isinstance(algorithm, str) and isinstance(kid, str) and isinstance(kind, str) and isinstance(issuer, str)):
        raise AuthenticationError("The token's header or issuer is malformed.")
    kind = kind.lower().removeprefix("application/")  # RFC 7515 section 4.1.9
    return _Unverified(text=credential, issuer=issuer, algorithm=algorithm, kid=kid, type=kind)


def _object(part: str) -> Mapping[str, Any]:
    try:
        value = loads(urlsafe_b64decode(part.encode("ascii")))
    except ValueError as error:
        raise AuthenticationError("The token is not a signed JWT.") from error
    if not isinstance(value, dict):
        raise AuthenticationError("The token is not a signed JWT.")
    return value


def _check_header(token: _Unverified, issuer: Issuer) -> None:
    if token.algorithm not in issuer.algorithms:
        raise AuthenticationError("The token's signature algorithm is not allowed.")
    if token.type not in {each.lower() for each in issuer.token_types}:
        raise AuthenticationError("The token is not an access token: its type is not accepted.")


async def _verified(token: _Unverified, keys: IssuerKeys) -> dict[str, Any]:
    """Return the claims, if one of the issuer's keys signed them: one at hand, or else one fetched anew, because issuers that
    write no key ids (or use them again) rotate as well."""
    try:
        return _signed(token, await keys.find(token.kid, token.algorithm))
    except _BadSignature:
        return _signed(token, await keys.find_newer(token.kid, token.algorithm))


def _signed(token: _Unverified, keys: Sequence[VerifyingKey]) -> dict[str, Any]:
    registry = _Registry(algorithms=[token.algorithm], strict_check_header=False)
    for each in keys:
        try:
            signed = deserialize_compact(token.text, each.key, registry=registry)
        except JoseError:
            continue  # not this key; a header that joserfc refuses ends at the same refusal
        claims: dict[str, Any] = loads(signed.payload or b"")
        return claims
    raise _BadSignature("The token's signature is not of a key that its issuer publishes.")


def _is_id_token(claims: Mapping[str, Any]) -> bool:
    return claims.get("typ") == "ID" or any(name in claims for name in _ID_TOKEN_CLAIMS)
