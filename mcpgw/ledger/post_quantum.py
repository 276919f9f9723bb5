"""ML-DSA-44 signatures of checkpoints: C2SP tlog-cosignature, signature type 0x06, which C2SP has logs use for their own too.

The signed message is not the note's text but a `cosigned_message`: who signs, when, which log, which tree. A signature is 2,420
bytes long and takes as much time as all else of a commit, so checkpoints that leave carry one, and not every commit
(docs/adr/0009).
"""

import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from mcpgw.ledger.checkpoint import (
    EVERY_SIZE,
    PRIVATE,
    Checkpoint,
    InvalidNote,
    b64,
    check_name,
    check_size,
    signature_line,
    split_key,
)

MLDSA44 = b"\x06"
"""The signature type identifier byte (signed-note, "Signature types")."""
_KEY_BYTES = 1312
_SEED_BYTES = 32
_SIGNATURE_BYTES = 2420
_TIME = struct.Struct(">Q")
_LABEL = b"subtree/v1\n\0"


def is_available() -> bool:
    """Tell whether `cryptography` was built with ML-DSA."""
    try:
        MLDSA44PrivateKey.generate()
    except UnsupportedAlgorithm:
        return False
    return True


@dataclass(frozen=True, slots=True)
class QuantumVerifier:
    """An ML-DSA-44 public key and the name that it signs by. A `checkpoint.NoteVerifier`.

    Raises:
        InvalidNote: nothing can be named like that, or these are no 1,312 bytes.
    """

    name: str
    key: bytes
    sizes: range = EVERY_SIZE
    """Sizes of the checkpoints that it is believed for."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key) != _KEY_BYTES:
            raise InvalidNote(f"an ML-DSA-44 key has {_KEY_BYTES} bytes, not {len(self.key)}")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + MLDSA44 + self.key).digest()[:4]

    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64(MLDSA44 + self.key)}"

    @classmethod
    def parse(cls, vkey: str) -> "QuantumVerifier":
        """Read a verifier key.

        Raises:
            InvalidNote: it is no ML-DSA-44 key, or its name and hash do not belong to it.
        """
        name, key_id, key = split_key(vkey, MLDSA44, _KEY_BYTES)
        verifier = cls(name, key)
        if verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the verifier key of {name} does not have the hash {key_id}")
        return verifier

    def verifies(self, text: str, signature: bytes) -> bool:
        """Tell whether the signature is right for the checkpoint, at whatever time it names.

        Raises:
            InvalidNote: the key is not believed for a checkpoint of that size.
        """
        check_size(text, self.sizes, self.vkey())
        if len(signature) != _TIME.size + _SIGNATURE_BYTES:
            return False
        (time_s,) = _TIME.unpack_from(signature)
        try:
            signed = _message(self.name, time_s, Checkpoint.parse(text))
            MLDSA44PublicKey.from_public_bytes(self.key).verify(signature[_TIME.size :], signed)
        except (InvalidSignature, InvalidNote):
            return False
        return True


class QuantumSigner:
    """An ML-DSA-44 private key and the name that it signs by. Its `repr` does not tell the key."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises `UnsupportedAlgorithm` where `is_available` says no."""
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.verifier = QuantumVerifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> "QuantumSigner":
        return cls(name, MLDSA44PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, skey: str) -> "QuantumSigner":
        """Read what `skey` wrote.

        Raises:
            InvalidNote: it is no such key. The message never holds key material.
        """
        name, key_id, seed = split_key(skey.removeprefix(PRIVATE), MLDSA44, _SEED_BYTES)
        signer = cls(name, seed)
        if signer.verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the signing key of {name} does not have the hash {key_id}")
        return signer

    def skey(self) -> str:
        """Return `PRIVATE+KEY+name+hash+base64` of the key's seed, the form of the log's other key."""
        verifier = self.verifier
        return f"{PRIVATE}{verifier.name}+{verifier.key_id.hex()}+{b64(MLDSA44 + self._key.private_bytes_raw())}"

    def sign(self, checkpoint: Checkpoint, time_s: int) -> str:
        """Return the signature line for a checkpoint, newline included. `time_s` is now, in Unix seconds.

        Extension lines are not covered, and the log writes none.
        """
        signed = self._key.sign(_message(self.verifier.name, time_s, checkpoint))
        return signature_line(self.verifier.name, self.verifier.key_id + _TIME.pack(time_s) + signed)


def _message(name: str, time_s: int, checkpoint: Checkpoint) -> bytes:
    """Return the `cosigned_message` over a whole tree (tlog-cosignature, "ML-DSA-44 signed message").

    Raises:
        InvalidNote: name or origin have more than 255 bytes.
    """
    return b"".join(
        (
            _LABEL,
            _opaque(name),
            _TIME.pack(time_s),
            _opaque(checkpoint.origin),
            struct.pack(">QQ", 0, checkpoint.size),
            checkpoint.root,
        )
    )


def _opaque(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= 255:
        raise InvalidNote("a name in an ML-DSA-44 signature has 1 to 255 bytes")
    return bytes([len(data)]) + data
