"""JSON-RPC 2.0 messages as plain data: bytes in, one of four shapes out, nothing lost.

A payload keeps every field, `null` and integer that the upstream wrote. What is not JSON (RFC 8259, strict UTF-8, no NaN, no
lone surrogate, nesting of at most 1024) is refused here, so that nothing behind this door has to deal with it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from mcpgw.core.model import (
    Json,
    RawJson,
    RawReply,
    ReplyKind,
)

METHOD_NOT_FOUND = -32601
"""JSON-RPC 2.0 section 5.1, as is the next."""
INVALID_PARAMS = -32602

_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 19
"""2^63 has 19 digits: orjson reads longer integers as floats, so a message with such a run takes the exact, slower road."""

_ID_FIRST = re.compile(rb'\A\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*([0-9]{1,15})\s*[,}]')
_ID_LAST = re.compile(rb'"id"\s*:\s*([0-9]{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


class Malformed(ValueError):
    """Bytes that are no JSON-RPC message. The message never quotes them."""


@dataclass(frozen=True, slots=True)
class Response:
    id: int
    reply: RawReply


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A question of the server to its client. Its id is the server's, echoed verbatim."""

    id: int | float | str
    method: str
    params: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Stray:
    """Well-formed, but answers nothing that was asked: an id that is not ours (ours are integers), or none."""

    reply: RawReply


Message: TypeAlias = Response | ServerRequest | Notification | Stray


def decode(data: bytes) -> Message:
    """Read one message.

    Raises:
        Malformed: it is not JSON, or not a JSON-RPC request, notification or response.
    """
    return _classify(_parse(data))


def encode(message: Mapping[str, Json]) -> bytes:
    """Write one message without a line break in it. NaN does not get this far: inbound refuses it.

    Raises:
        Malformed: a value is not JSON (a lone surrogate).
    """
    try:
        return orjson.dumps(message, default=_plain)
    except TypeError:
        pass  # an integer beyond 64 bits, or no JSON at all: the standard library can tell
    try:
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError):
        raise Malformed("a value that is not JSON") from None


def guess_id(data: bytes) -> int | None:
    """Return the id that a malformed response stands under, as far as can be told, so that its call need not time out.

    Looked for at the message's own edge, where every known library writes it, never inside its payload.
    """
    found = _ID_FIRST.search(data[:200]) or _ID_LAST.search(data[-200:])
    return int(found[1]) if found else None


def _parse(data: bytes) -> Json:
    try:
        message = orjson.loads(data)
        return json.loads(data) if _LONG_NUMBER in data.translate(_TO_ZERO) else message
    except (ValueError, RecursionError):
        raise Malformed("not valid JSON") from None


def _classify(message: Json) -> Message:
    if not isinstance(message, dict):
        raise Malformed("not a JSON object")
    method = message.get("method")
    if method is None:
        return _response(message)
    if not isinstance(method, str):
        raise Malformed("a method that is not a string")
    params = message.get("params", {})
    if not isinstance(params, dict):
        raise Malformed("params that are not an object")
    match message.get("id"):
        case None:
            return Notification(method, params)
        case bool() | list() | dict():
            raise Malformed("an id that is neither a number nor a string")
        case request_id:
            return ServerRequest(request_id, method, params)


def _response(message: dict[str, Json]) -> Response | Stray:
    error = message.get("error")
    if error is None:
        if not isinstance(result := message.get("result"), dict):
            raise Malformed("neither a method, a result that is an object, nor an error")
        reply = RawReply(kind=ReplyKind.RESULT, payload=RawJson(result))
    elif isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str):
        reply = RawReply(kind=ReplyKind.ERROR, payload=RawJson(error))
    else:
        raise Malformed("an error without a code and a message")
    response_id = message.get("id")
    return Response(response_id, reply) if type(response_id) is int else Stray(reply)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
