"""Raw payloads for eyes outside: encrypted to age recipients, so that a gateway cannot read back what it sealed.

A sealed payload is an age file (age-encryption.org/v1, X25519 recipients) that stands beside its record like every payload.
Its plaintext is a line of canonical JSON, and then the payload's own bytes to the end:

    {"call":"…","cut":0,"left_out":[],"salt":"…","size":37,"slot":"result","v":1}
    {"content":[{"type":"text","text":"…"}]}

`slot` is `arguments` or `result`, `size` how many bytes the raw payload has, and `cut` how many were cut off at the end. `salt`
(hex) is that of the record's commitment to the raw payload, and stands nowhere else: with it and the clean view beside the
record, masked values could be tried out. `left_out` says what was removed before sealing: entity, path, count. Whoever could
open the commitment then could try those out too, so the salt is not given (an empty string).

How it may change: a reader refuses another `v`, and ignores members that it does not know.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyrage

from mcpgw.core.canonical import SALT_BYTES, canonical, commitment

VERSION = 1
ARGUMENTS, RESULT = "arguments.sealed", "result.sealed"
"""Slots of sealed payloads beside a record."""
SEALED_SLOTS = frozenset({ARGUMENTS, RESULT})
SUFFIX = ".sealed"
"""Of each of them."""


class NotSealed(ValueError):
    """What was opened is no sheet of the vault, or one of a version that is not known here."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Values that were removed before sealing, never the values."""

    entity: str
    path: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The plaintext of a sealed payload."""

    slot: str
    """`arguments` or `result`."""
    call_id: str
    body: bytes = field(repr=False)
    """The raw payload as JSON; without what is left out, and without its end where it was cut."""
    size: int
    """Length of the whole raw payload in bytes."""
    salt: bytes = field(default=b"", repr=False)
    """Of the record's commitment to the raw payload; empty where something is left out."""
    left_out: tuple[LeftOut, ...] = ()
    cut: int = 0
    """Bytes that were cut off at its end."""

    def proves(self, sha256: str) -> bool:
        """Tell whether this is, to the byte, what the record commits to by that hash (hex).

        False as well where the sheet cannot show it: something is left out, or it was cut.
        """
        return len(self.salt) == SALT_BYTES and commitment(self.salt, self.body) == sha256

    def to_bytes(self) -> bytes:
        head = {
            "v": VERSION,
            "slot": self.slot,
            "call": self.call_id,
            "size": self.size,
            "salt": self.salt.hex(),
            "cut": self.cut,
            "left_out": [[one.entity, one.path, one.count] for one in self.left_out],
        }
        return canonical(head) + b"\n" + self.body

    @classmethod
    def from_bytes(cls, plaintext: bytes) -> "Sheet":
        """Read a plaintext.

        Raises:
            NotSealed: it is none that this version knows.
        """
        line, newline, body = plaintext.partition(b"\n")
        try:
            head: dict[str, Any] = json.loads(line)
            if not newline or head["v"] != VERSION:
                raise NotSealed("this is no sheet of the vault that this mcpgw knows")
            return cls(
                slot=str(head["slot"]),
                call_id=str(head["call"]),
                body=body,
                size=int(head["size"]),
                salt=bytes.fromhex(head["salt"]),
                left_out=tuple(LeftOut(str(entity), str(path), int(count)) for entity, path, count in head["left_out"]),
                cut=int(head["cut"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise NotSealed("this is no sheet of the vault that this mcpgw knows") from error


class Recipients:
    """Public keys that payloads are sealed to: each of their owners can open them alone."""

    def __init__(self, recipients: Iterable[str]) -> None:
        """Raises: ValueError: one of them is no X25519 recipient of age (`age1…`), or there is none."""
        self._keys = [_recipient(text) for text in recipients]
        if not self._keys:
            raise ValueError("nobody could open what is sealed to nobody")

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(pyrage.encrypt(plaintext, self._keys))


def seal(sheet: Sheet, recipients: Recipients | Sequence[str]) -> bytes:
    """Return the age file that only the recipients can open.

    Raises:
        ValueError: it cannot be encrypted.
    """
    keys = recipients if isinstance(recipients, Recipients) else Recipients(recipients)
    try:
        return keys.encrypt(sheet.to_bytes())
    except pyrage.EncryptError as error:
        raise ValueError("the payload cannot be encrypted") from error


def _recipient(text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError("this is no X25519 recipient of age, such as age1…") from error
