"""Checkpoints: C2SP tlog-checkpoint in a C2SP signed-note (v1.0.0), signed with Ed25519.

    <origin>
    <size>
    <root hash, base64>

    — <key name> <base64 of key id and signature>

The key's name is the log's origin. Other lines may sign the same text (witnesses, a rotated key, another algorithm): whoever
reads a note ignores keys that he does not know and believes none but those that he does.
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mcpgw.core.errors import GatewayError
from mcpgw.ledger.tree import HASH_BYTES

ED25519 = b"\x01"
"""The signature type identifier byte (signed-note, "Signature types")."""
MAX_NOTE_BYTES = 1_000_000
"""A reader's bound, far above 16 post-quantum signatures, which every reader must accept."""
MAX_SIGNATURES = 100
EVERY_SIZE = range(2**63)
_KEY_ID_BYTES = 4
_KEY_BYTES = 32
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
"""ASCII control characters but for the newline, none of which a note may hold (signed-note, "Format")."""
_DASH = "\N{EM DASH} "
PRIVATE = "PRIVATE+KEY+"
_P = 2**255 - 19
_Y = 2**255 - 1
"""All bits of an encoded point but the sign of its X (RFC 8032 section 5.1.2)."""
_EIGHTH = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER = frozenset({0, 1, _P - 1, _P, _P + 1, _EIGHTH, _P - _EIGHTH})
"""Y of all encodings of the points of small order, in either form."""


class InvalidNote(GatewayError):
    """A note, a checkpoint or a key is not what it claims to be."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the root over the first `size` leaves of the log `origin`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text, final newline included."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note text; extension lines are allowed and ignored (tlog-checkpoint, "Note text").

        Raises:
            InvalidNote: it breaks the format.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise InvalidNote("a checkpoint is three or more lines, none of them empty")
        origin, size, root = lines[:3]
        if not _SIZE.fullmatch(size):
            raise InvalidNote("a checkpoint's second line is the tree's size in decimal, without leading zeroes")
        digest = unb64(root, "a checkpoint's root hash")
        if len(digest) != HASH_BYTES:
            raise InvalidNote(f"a checkpoint's root hash has {HASH_BYTES} bytes, not {len(digest)}")
        return cls(origin, int(size), digest)


class NoteVerifier(Protocol):
    """Whoever can tell whether a signature line over a note's text is his, and right."""

    @property
    def name(self) -> str: ...

    @property
    def key_id(self) -> bytes: ...

    def verifies(self, text: str, signature: bytes) -> bool:
        """Tell whether the signature, without its key id, is right for the text.

        Raises:
            InvalidNote: it is not believed for that text, whatever the signature.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the name that it signs by."""

    name: str
    key: bytes
    sizes: range = EVERY_SIZE
    """Sizes of the checkpoints that it is believed for. A key is retired with one commit, and the next one begins with it."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key) != _KEY_BYTES:
            raise InvalidNote(f"an Ed25519 key has {_KEY_BYTES} bytes, not {len(self.key)}")
        if int.from_bytes(self.key, "little") & _Y in _SMALL_ORDER:
            raise InvalidNote(f"the key of {self.name} is a point of small order: anybody could sign with it")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:_KEY_ID_BYTES]

    def vkey(self) -> str:
        """Return `name+hash+base64`, as Go's sumdb/note and the C2SP tools read it."""
        return f"{self.name}+{self.key_id.hex()}+{b64(ED25519 + self.key)}"

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """Read a verifier key.

        Raises:
            InvalidNote: it is no Ed25519 key, or its name and hash do not belong to it.
        """
        name, key_id, key = split_key(vkey, ED25519)
        verifier = cls(name, key)
        if verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the verifier key of {name} does not have the hash {key_id}")
        return verifier

    def verifies(self, text: str, signature: bytes) -> bool:
        check_size(text, self.sizes, self.vkey())
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key and the name that it signs by. Its `repr` does not tell the key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> "Signer":
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, skey: str) -> "Signer":
        """Read what `skey` wrote: `PRIVATE+KEY+name+hash+base64`, the form of Go's sumdb/note.

        Raises:
            InvalidNote: it is no such key. The message never holds key material.
        """
        if not skey.startswith(PRIVATE):
            raise InvalidNote(f"a signing key starts with {PRIVATE}")
        name, key_id, seed = split_key(skey.removeprefix(PRIVATE), ED25519)
        signer = cls(name, seed)
        if signer.verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the signing key of {name} does not have the hash {key_id}")
        return signer

    def skey(self) -> str:
        return f"{PRIVATE}{self.verifier.name}+{self.verifier.key_id.hex()}+{b64(ED25519 + self._seed)}"

    def sign(self, text: str) -> str:
        """Return the signed note over a text that ends in a newline."""
        return f"{text}\n{self.line(text)}"

    def line(self, text: str) -> str:
        """Return the signature line for a text, newline included, as it stands below others."""
        return signature_line(self.verifier.name, self.verifier.key_id + self._key.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a note. It is not to be believed before somebody has verified it."""

    line: str
    """As it stands in the note, with its newline."""
    name: str
    key_id: bytes
    value: bytes
    """What follows the key id."""


def signatures_of(note: str) -> tuple[str, tuple[Signature, ...]]:
    """Return a note's text and its signatures, none of them verified.

    Raises:
        InvalidNote: malformed.
    """
    text, lines = _split_note(note)
    return text, tuple(Signature(f"{line}\n", *_split_signature(line)) for line in lines)


def signature_line(name: str, signature: bytes) -> str:
    """Return the line of a signature that begins with its key id, newline included."""
    return f"{_DASH}{name} {b64(signature)}\n"


def open_note(note: str, verifiers: Sequence[NoteVerifier]) -> str:
    """Return the text of a note that at least one of the verifiers signed, and that none of them signed wrongly.

    Raises:
        InvalidNote: malformed, a known key's signature is wrong, or no known key signed it.
    """
    text, signatures = signatures_of(note)
    if not verified(text, signatures, verifiers):
        names = ", ".join(sorted({verifier.name for verifier in verifiers})) or "nobody"
        raise InvalidNote(f"the note is signed by none of the keys that are trusted here ({names})")
    return text


def verified(text: str, signatures: Sequence[Signature], verifiers: Sequence[NoteVerifier]) -> tuple[Signature, ...]:
    """Return those of the signatures that the verifiers made.

    Raises:
        InvalidNote: a known key's signature is wrong, or not believed for this text.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    ours = [signature for signature in signatures if (signature.name, signature.key_id) in known]
    for signature in ours:
        if not known[signature.name, signature.key_id].verifies(text, signature.value):
            raise InvalidNote(f"the signature of {signature.name} is wrong: the text or the signature was altered")
    return tuple(ours)


def open_checkpoint(note: str, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    """Return the checkpoint of a signed note.

    Raises:
        InvalidNote: as `open_note` and `Checkpoint.parse`.
    """
    return Checkpoint.parse(open_note(note, verifiers))


def _split_note(note: str) -> tuple[str, list[str]]:
    if len(note) > MAX_NOTE_BYTES:
        raise InvalidNote(f"the note is longer than {MAX_NOTE_BYTES} characters")
    if _CONTROL.search(note):
        raise InvalidNote("the note holds a control character")
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise InvalidNote("a note is a text, an empty line and signature lines")
    lines = tail.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidNote(f"the note has more than {MAX_SIGNATURES} signatures")
    return head + "\n", lines


def _split_signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise InvalidNote("a signature line is an em dash, a key name and a signature")
    check_name(name)
    signature = unb64(encoded, f"the signature of {name}")
    if len(signature) <= _KEY_ID_BYTES:
        raise InvalidNote(f"the signature of {name} is too short")
    return name, signature[:_KEY_ID_BYTES], signature[_KEY_ID_BYTES:]


def split_key(text: str, algorithm: bytes, length: int = _KEY_BYTES) -> tuple[str, str, bytes]:
    """Return name, hash (hex) and key of `name+hash+base64`, for an algorithm whose keys have `length` bytes.

    Raises:
        InvalidNote: it is no such key. The message never holds key material.
    """
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")  # base64 may hold a plus; names and hashes do not
    key = unb64(encoded, f"the key of {name!r}")
    if key[:1] != algorithm or len(key) != 1 + length:
        raise InvalidNote(f"the key of {name!r} is not one of signature type 0x{algorithm.hex()} with {length} bytes")
    return name, key_id, key[1:]


def check_size(text: str, sizes: range, vkey: str) -> None:
    """Raises `InvalidNote` where a key is not believed for the checkpoint of that text: retired before, or not made yet."""
    if sizes != EVERY_SIZE and (size := Checkpoint.parse(text).size) not in sizes:
        key = "+".join(vkey.split("+")[:2])
        when = "not in use yet" if size < sizes.start else "retired"
        raise InvalidNote(f"{key} signed it, and was {when}: it is believed for {sizes_named(sizes)}")


def sizes_named(sizes: range) -> str:
    """Return which checkpoints a key is believed for, in words."""
    if sizes.stop == EVERY_SIZE.stop:
        return f"checkpoints over {sizes.start} records and more"
    return f"checkpoints over {sizes.start} to {sizes.stop - 1} records"


def check_name(name: str) -> None:
    """Raises `InvalidNote` where the name cannot name a key (signed-note, "Format")."""
    if not name or any(char.isspace() or char == "+" or unicodedata.category(char) == "Cc" for char in name):
        raise InvalidNote(f"a key's name is not empty and has no space, plus or control character: {name!r}")


def b64(data: bytes) -> str:
    """Return standard base64, as notes write it."""
    return base64.b64encode(data).decode()


def unb64(text: str, what: str) -> bytes:
    """Decode base64 that has one spelling only: padded, no stray bits, nothing outside the alphabet.

    Raises:
        InvalidNote: `what` is not that.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or b64(data) != text:
        raise InvalidNote(f"{what} is not standard base64")
    return data
