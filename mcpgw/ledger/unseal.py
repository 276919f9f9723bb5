"""Opening what the vault sealed, on the machine of somebody who has a private key. No gateway imports this: a test holds it."""

from collections.abc import Sequence
from typing import Any

import pyrage

from mcpgw.ledger.vault import NotSealed, Sheet


class Identities:
    """Private keys of age, as `age-keygen` writes them."""

    def __init__(self, text: str) -> None:
        """Read the text of a key file: a key in each line, `#` begins a comment.

        Raises:
            ValueError: there is no key in it, or a line is none. The message quotes nothing.
        """
        lines = [line.strip() for line in text.splitlines()]
        self._keys: Sequence[Any] = [_identity(line) for line in lines if line and not line.startswith("#")]
        if not self._keys:
            raise ValueError("there is no key in it")

    def open(self, sealed: bytes) -> Sheet:
        """Return what is in an age file of the vault.

        Raises:
            NotSealed: it is altered, sealed to others, or no sheet of the vault.
        """
        try:
            plaintext = bytes(pyrage.decrypt(sealed, self._keys))
        except pyrage.DecryptError as error:
            raise NotSealed("none of these keys opens it: it is sealed to others, or altered") from error
        return Sheet.from_bytes(plaintext)


def _identity(line: str) -> Any:
    try:
        return pyrage.x25519.Identity.from_str(line)
    except pyrage.IdentityError as error:
        raise ValueError("a line is no X25519 identity of age (AGE-SECRET-KEY-1…)") from error
