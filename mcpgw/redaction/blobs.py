"""Binary resources that are text all the same: read like text, and written in their encoding again."""

import base64
import binascii

_BREAKS = dict.fromkeys(map(ord, "\t\r\n\f"))


class Decoded(str):
    """The text of a resource whose contents came encoded."""

    __slots__ = ("source",)

    source: str
    """As it was encoded."""

    def encoded(self, new: str | None) -> str:
        """Return what stands for the text after redaction: what was read where nothing changed (None)."""
        return self.source if new is None else base64.b64encode(new.encode()).decode()


def decoded(blob: str) -> Decoded | None:
    """Return the text that a blob is (base64 of UTF-8 without control characters), or None for anything else."""
    try:
        text = base64.b64decode(blob, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    if not text.translate(_BREAKS).isprintable():
        return None
    found = Decoded(text)
    found.source = blob
    return found
