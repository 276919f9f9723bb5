"""The bytes that stand for a payload: what commitments bind to, and what a worker is sent."""

import json
import secrets
from typing import Any

from mcpgw.core.canonical import SALT_BYTES, commitment
from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Commitment


def payload_bytes(payload: Any) -> bytes:
    """Return a payload as compact JSON: keys in the order received, everything beyond ASCII escaped.

    Unlike RFC 8785 it takes what upstreams really send: integers of any size, NaN, lone surrogates. Whoever holds the same
    payload gets the same bytes from `json.dumps(payload, separators=(",", ":"))`.

    Raises:
        RedactionError: it is nested too deep for the JSON writer, or is not JSON data.
    """
    try:
        return json.dumps(payload, separators=(",", ":")).encode("ascii")
    except (RecursionError, TypeError, ValueError, OverflowError):
        raise RedactionError("it cannot be written as JSON: nested too deep, a number too long, or not JSON data") from None


def commit(payload: bytes) -> Commitment:
    """Return a fresh commitment to the bytes of a payload."""
    salt = secrets.token_bytes(SALT_BYTES)
    return Commitment(digest=commitment(salt, payload), salt=salt, size=len(payload))
