"""Reversible tokens: pseudonyms that an entitled upstream is given the real values of, and nobody else (ADR 7).

A worker derives a token from the value, the scope and a key, and hands token and value to the gateway's process, which keeps
them for the identity that is about to receive the token. On the way in, tokens in the arguments of that identity's calls are
replaced by their values before policy judges the call.
"""

import base64
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcpgw.core.model import (
    Json,
    JsonObject,
    Masked,
)

TOKEN = re.compile(r"(?:<|&lt;)(?P<entity>[A-Z][A-Z0-9_]{1,40})_(?P<id>[0-9a-hjkmnp-tv-z]{12})(?:>|&gt;)")
"""A token as redaction writes it, and as it is written between tags."""
RESTORED = "token-restored@1"
NOT_RESTORED = "token-unknown@1"
"""Nobody's, another identity's, or expired: nobody is told which."""
_MAX_TOKENS = 1_000
"""Different tokens in one call's arguments that are looked up; with more the call is refused."""
_RFC4648, _CROCKFORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
_PLAIN_KEY = re.compile(r"(?!.*\d{5})[A-Za-z_][\w-]{0,40}")


class TokenStore(Protocol):
    """Keeps what stands behind tokens. Every process of a deployment sees the same."""

    async def keep(self, holder: str, issued: Mapping[str, Json]) -> None:
        """Keep the values of tokens that the holder is about to receive; durable against a crash of the process.

        Raises:
            RedactionError: they cannot be kept, or a token of the holder stands for another value already.
        """
        ...

    async def values(self, holder: str, tokens: Sequence[str]) -> Mapping[str, Json]:
        """Return the values of those tokens that the holder was given and that have not expired.

        Raises:
            RedactionError: the store cannot be read.
        """
        ...


def pseudonym(key: bytes, scope: str, entity: str, value: Json) -> str:
    """Return the token of a value: the same for equal values in the same scope, 60 bits of a keyed hash."""
    text = f"{scope}\0{entity}\0{type(value).__name__}\0{value}".encode("utf-8", "surrogatepass")
    mac = hmac.digest(derived(key, "pseudonym"), text, hashlib.sha256)
    name = base64.b32encode(mac)[:12].translate(bytes.maketrans(_RFC4648, _CROCKFORD)).decode("ascii")
    return f"<{entity}_{name}>"


def derived(key: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose (HKDF-Expand of RFC 5869 with one block; the key is uniformly random already)."""
    return hmac.digest(key, f"mcpgw tokens {purpose}\x01".encode("ascii"), hashlib.sha256)


def tokens_in(value: Json) -> list[str]:
    """Return the tokens in the strings of a JSON value, each once, as redaction writes them."""
    found: dict[str, None] = {}
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.update((_written(match), None) for match in TOKEN.finditer(item))
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return list(found)


def too_many(tokens: Sequence[str]) -> bool:
    return len(tokens) > _MAX_TOKENS


@dataclass(slots=True)
class Restoration:
    """Puts values in the place of tokens. `counted` is what the record says of it: types and places, never values."""

    values: Mapping[str, Json] = field(repr=False)
    counted: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def arguments(self, arguments: JsonObject, schema: Json) -> dict[str, Any]:
        """Return the arguments with values. `schema` is the tool's `inputSchema`: where it wants a string, a number is written
        as one."""
        restored = self._value(dict(arguments), schema, "")
        assert isinstance(restored, dict)  # noqa: S101 - an object stays one
        return restored

    @property
    def masked(self) -> tuple[Masked, ...]:
        return tuple(Masked(entity, path, detector, count) for (entity, path, detector), count in sorted(self.counted.items()))

    def _value(self, value: Json, schema: Json, path: str) -> Json:
        if isinstance(value, str):
            return self._string(value, schema, path)
        if isinstance(value, Mapping):
            return {key: self._value(item, _property(schema, key), _join(path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = schema.get("items") if isinstance(schema, Mapping) else None
            return [self._value(item, items, f"{path}[*]") for item in value]
        return value

    def _string(self, text: str, schema: Json, path: str) -> Json:
        whole = TOKEN.fullmatch(text.strip())
        if whole is not None:
            value = self._of(whole, path)
            wants_text = isinstance(schema, Mapping) and schema.get("type") == "string"
            return str(value) if wants_text else value
        return TOKEN.sub(lambda match: str(self._of(match, path)), text)

    def _of(self, match: re.Match[str], path: str) -> Json:
        """Return a token's value, or what stands there where it has none."""
        token = _written(match)
        known = token in self.values
        self.counted[match["entity"], path, RESTORED if known else NOT_RESTORED] += 1
        return self.values[token] if known else match.group()


def _written(match: re.Match[str]) -> str:
    return f"<{match['entity']}_{match['id']}>"


def _property(schema: Json, key: str) -> Json:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties.get(key) if isinstance(properties, Mapping) else None


def _join(path: str, key: str) -> str:
    safe = key if _PLAIN_KEY.fullmatch(key) else "*"
    return f"{path}.{safe}" if path else safe
