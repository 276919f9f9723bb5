"""The text of an API key: `mcpgw_<id>_<secret><checksum>`.

    mcpgw_5f0c9a1be24d_Qm9…(43 characters of base64url: 32 random bytes)…xX2k9A(6 characters: CRC-32 of all before it)

The fixed prefix and length let secret scanners find it (`SCANNER_PATTERN`), the checksum lets them and us tell a typo from a
wrong key without asking any store. The id is public and is what records name. A new format gets a new prefix; this one stays.
"""

import base64
import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass

from mcpgw.core.errors import AuthenticationError

PREFIX = "mcpgw_"
_ID_BYTES = 6
_SECRET_BYTES = 32  # 256 bits: out of reach of any search, with or without the hash
SCANNER_PATTERN = r"mcpgw_[0-9a-f]{12}_[A-Za-z0-9_-]{49}"
"""What to give to a secret scanner (gitleaks, GitHub custom patterns)."""

_KEY = re.compile(r"mcpgw_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})(?P<checksum>[A-Za-z0-9_-]{6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyText:
    """An API key that is well-formed; whether it opens anything is the store's to say."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyText(id={self.id!r})"  # the secret must not reach a log by way of a traceback

    @property
    def text(self) -> str:
        body = f"{PREFIX}{self.id}_{self.secret}"
        return body + _checksum(body)

    @property
    def hash(self) -> str:
        """Return the hex SHA-256 of the secret: all that is ever stored.

        A fast hash is right here: slow hashes (scrypt, Argon2) make guessing of *guessable* secrets dear. This one has 256
        random bits, so there is nothing to guess, and each call of an agent would pay for the slowness.
        """
        return hashlib.sha256(self.secret.encode("ascii")).hexdigest()


def generate() -> KeyText:
    return KeyText(secrets.token_hex(_ID_BYTES), _base64url(secrets.token_bytes(_SECRET_BYTES)))


def parse(credential: str) -> KeyText:
    """Return the key that the text spells.

    Raises:
        AuthenticationError: it is not of the form, or its checksum says that it was mistyped or cut off.
    """
    match = _KEY.fullmatch(credential)
    if match is None:
        raise AuthenticationError("The API key is malformed: it is mistyped or cut off.")
    key = KeyText(match["id"], match["secret"])
    if key.text != credential:
        raise AuthenticationError("The API key is mistyped: its checksum does not match.")
    return key


def _checksum(body: str) -> str:
    return _base64url(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
