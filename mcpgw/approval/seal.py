"""What the desk's key does: names identical calls, salts digests, and hides exact arguments from the store's readers."""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mcpgw.core.errors import ConfigError, GatewayError

KEY_BYTES = 32
"""Length of the desk's key: 256 bits, so that each key derived from it has full strength."""

_GCM_NONCE_BYTES = 12
"""The length that AES-GCM is specified for (NIST SP 800-38D, section 5.2.1.1)."""


class SealBroken(GatewayError):
    """Stored exact arguments do not open: another desk's key, or the store was changed."""


class Seal:
    """The desk's key, used for three things with a key of its own for each (HKDF, RFC 5869)."""

    def __init__(self, key: bytes) -> None:
        """Take the desk's key, `KEY_BYTES` long, the same for every process on one store.

        Raises:
            ConfigError: the key has another length.
        """
        if len(key) != KEY_BYTES:
            hint = "Restore the key of this data directory from your backup; `mcpgw init` makes one for a new directory."
            raise ConfigError(f"the desk's key has {len(key)} bytes; it must have {KEY_BYTES}", hint=hint)
        self._request_key = _derive(key, b"mcpgw/approval/request/1")
        self._nonce_key = _derive(key, b"mcpgw/approval/nonce/1")
        self._aead = AESGCM(_derive(key, b"mcpgw/approval/exact/1"))
        self._grants = AESGCM(_derive(key, b"mcpgw/approval/grant/1"))

    def request_key(self, request: bytes) -> str:
        """Return the name of an identical call: hex HMAC-SHA256, so that the store tells nobody what was asked."""
        return _hmac(self._request_key, request)

    def nonce(self, approval_id: str) -> str:
        """Return the approval's nonce. It follows from the key and the id, so it is nowhere stored in the clear.

        A record keeps the digest for years; without the nonce nobody can find a masked argument by trying values.
        """
        return _hmac(self._nonce_key, approval_id.encode())

    def close(self, approval_id: str, plain: bytes, *, grant: bool = False) -> bytes:
        """Encrypt for the approval of that id alone: a random nonce, then AES-256-GCM with the id as associated data.

        What a grant covers has a key of its own: a gateway that knows nothing of grants, and would show its example as if that
        were all, can open none and so have nobody approve one.
        """
        nonce = secrets.token_bytes(_GCM_NONCE_BYTES)
        return nonce + self._key(grant).encrypt(nonce, plain, approval_id.encode())

    def _key(self, grant: bool) -> AESGCM:
        return self._grants if grant else self._aead

    def open(self, approval_id: str, sealed: bytes, *, grant: bool = False) -> bytes:
        """Decrypt what `close` made for that id.

        Raises:
            SealBroken: it was made with another key or for another approval, or was changed since.
        """
        try:
            return self._key(grant).decrypt(sealed[:_GCM_NONCE_BYTES], sealed[_GCM_NONCE_BYTES:], approval_id.encode())
        except (InvalidTag, ValueError) as error:
            hint = "Check that every process uses the desk key of this data directory, then run `mcpgw verify`."
            raise SealBroken(f"The exact arguments of {approval_id} cannot be opened.", hint=hint) from error


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _hmac(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
