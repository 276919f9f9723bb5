"""An issuer's public keys (RFC 7517), read with suspicion: only keys that can check a signature, and only their public part."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

logger = logging.getLogger(__name__)

_MAX_KEYS = 64  # of one set; the large providers publish below ten

_MIN_RSA_BITS = 2048  # NIST SP 800-131A

_FAMILIES: Mapping[str, frozenset[str]] = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC/P-256": frozenset({"ES256"}),
    "EC/P-384": frozenset({"ES384"}),
    "EC/P-521": frozenset({"ES512"}),
    "OKP/Ed25519": frozenset({"Ed25519", "EdDSA"}),
}
"""What each kind of key can check: the key decides which algorithms are possible, never the token alone (RFC 8725, 3.1)."""

_PublicKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key with the algorithms that its type, curve and own `alg` leave."""

    kid: str
    algorithms: frozenset[str]
    key: _PublicKey


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[VerifyingKey, ...]

    def candidates(self, kid: str, algorithm: str) -> tuple[VerifyingKey, ...]:
        """Return the keys of that id that can check the algorithm; ids need not be unique (RFC 7517 section 4.5).

        A token without an id is accepted only where a single key can be meant.
        """
        able = tuple(each for each in self.keys if algorithm in each.algorithms)
        if not kid:
            return able if len(able) == 1 else ()
        return tuple(each for each in able if each.kid == kid)


def parse_key_set(document: Mapping[str, Any]) -> KeySet:
    """Return the usable keys of a JWK set; others are left out, as RFC 7517 section 5 asks.

    Raises:
        ValueError: it is no key set, is too large, or holds no usable key.
    """
    raw = document.get("keys")
    if not isinstance(raw, list) or len(raw) > _MAX_KEYS:
        raise ValueError(f"not a JWK set of at most {_MAX_KEYS} keys")
    found = tuple(key for each in raw if isinstance(each, dict) for key in _parse(each))
    if not found:
        raise ValueError("no key in it can check a signature")
    return KeySet(found)


def _parse(jwk: Mapping[str, Any]) -> Sequence[VerifyingKey]:
    """Return the key, or nothing if it is not for checking signatures or not understood."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    if "d" in jwk:
        logger.error(
            "an issuer publishes the private part of its key %s: anyone can forge its tokens; key left out", jwk.get("kid")
        )
        return ()
    kid = jwk.get("kid", "")
    family = jwk.get("kty") if "crv" not in jwk else f"{jwk.get('kty')}/{jwk['crv']}"
    algorithms = _FAMILIES.get(str(family), frozenset())
    if "alg" in jwk:
        algorithms &= {jwk["alg"]} if isinstance(jwk["alg"], str) else set()
    if not algorithms or not isinstance(kid, str):
        return ()
    try:
        return (VerifyingKey(kid, algorithms, _public_key(jwk)),)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("an issuer's key %s cannot be read and is left out: %s", kid[:64], type(error).__name__)
        return ()


def _public_key(jwk: Mapping[str, Any]) -> _PublicKey:
    """Import the public members alone: certificates and addresses beside them are never followed."""
    match jwk["kty"]:
        case "RSA":
            if len(urlsafe_b64decode(jwk["n"].encode("ascii")).lstrip(b"\0")) * 8 < _MIN_RSA_BITS:
                raise ValueError(f"an RSA key of less than {_MIN_RSA_BITS} bits")
            return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
        case "EC":
            return ECKey.import_key({"kty": "EC", "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]})
        case _:
            return OKPKey.import_key({"kty": "OKP", "crv": jwk["crv"], "x": jwk["x"]})
