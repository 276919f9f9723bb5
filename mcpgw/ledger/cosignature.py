"""Cosignatures: C2SP tlog-cosignature with Ed25519 (signature type 0x04): somebody saw this tree, at this time, grown honestly.

The signed message is `cosignature/v1`, a line `time SECONDS`, and the checkpoint's text; the signature is 8 bytes of that time
and 64 of Ed25519. The key is another than any that signs notes, which its type in the key id makes sure of.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mcpgw.ledger.checkpoint import PRIVATE, InvalidNote, check_name, signature_line, split_key

COSIGNATURE = b"\x04"
"""The signature type identifier byte (signed-note, "Signature types")."""
_TIME = struct.Struct(">Q")
_SIGNATURE_BYTES = 64
_LATEST = 2**63 - 1
"""Unix seconds: the largest time that a cosignature may carry."""


@dataclass(frozen=True, slots=True)
class CosignatureVerifier:
    """The public key of a cosigner and its name. A `checkpoint.NoteVerifier`.

    Raises:
        InvalidNote: nothing can be named like that, or these are no 32 bytes.
    """

    name: str
    key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key) != 32:
            raise InvalidNote(f"an Ed25519 key has 32 bytes, not {len(self.key)}")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE + self.key).digest()[:4]

    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.key).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> "CosignatureVerifier":
        """Read a verifier key.

        Raises:
            InvalidNote: it is no key of a cosigner, or its name and hash do not belong to it.
        """
        name, key_id, key = split_key(vkey, COSIGNATURE)
        verifier = cls(name, key)
        if verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the verifier key of {name} does not have the hash {key_id}")
        return verifier

    def verifies(self, text: str, signature: bytes) -> bool:
        """Tell whether the cosignature is right for the checkpoint's text, at whatever time it names but none."""
        if len(signature) != _TIME.size + _SIGNATURE_BYTES:
            return False
        time_s = cosigned_at(signature)
        if not 0 < time_s <= _LATEST:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature[_TIME.size :], _message(text, time_s))
        except InvalidSignature:
            return False
        return True


class Cosigner:
    """A cosigner's private key and its name. Its `repr` does not tell the key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self.verifier = CosignatureVerifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> "Cosigner":
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, skey: str) -> "Cosigner":
        """Read what `skey` wrote.

        Raises:
            InvalidNote: it is no such key. The message never holds key material.
        """
        if not skey.startswith(PRIVATE):
            raise InvalidNote(f"a cosigner's key starts with {PRIVATE}")
        name, key_id, seed = split_key(skey.removeprefix(PRIVATE), COSIGNATURE)
        cosigner = cls(name, seed)
        if cosigner.verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the key of {name} does not have the hash {key_id}")
        return cosigner

    def skey(self) -> str:
        """Return `PRIVATE+KEY+name+hash+base64`, the form of the log's own key."""
        encoded = base64.b64encode(COSIGNATURE + self._seed).decode()
        return f"{PRIVATE}{self.verifier.name}+{self.verifier.key_id.hex()}+{encoded}"

    def cosign(self, text: str, time_s: int) -> str:
        """Return the signature line over a checkpoint's text, newline included. `time_s` is now, in Unix seconds."""
        signed = self._key.sign(_message(text, time_s))
        return signature_line(self.verifier.name, self.verifier.key_id + _TIME.pack(time_s) + signed)


def cosigned_at(signature: bytes) -> int:
    """Return the Unix seconds that a cosignature (without its key id) claims."""
    (time_s,) = _TIME.unpack_from(signature)
    return int(time_s)


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
