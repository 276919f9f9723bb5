"""What one message must be before anyone reads it: exactly one JSON-RPC 2.0 message that all parsers read alike.

Two parsers that disagree about a message are a way around policy: one judges `name`, the other runs `Name`. So whatever
could be read in two ways is refused: duplicate keys, keys that differ from the protocol's in case alone, numbers that are
not finite, lone surrogates, batches. Pure functions; the same for HTTP, SSE and stdio.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
MAX_ID_LENGTH: Final = 256
"""Characters of a string id: ids are recorded and echoed, so they are bounded."""
MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 7493 section 2.2: JavaScript clients and logs hold no larger integer exactly."""

_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset(
    {
        "_meta", "name", "arguments", "uri", "cursor", "ref", "argument", "context", "level", "notifications", "requestId",
        "reason", "progressToken", "progress", "total", "message", "protocolVersion", "capabilities", "clientInfo",
        "inputResponses", "requestState", "task", "taskId",
    }
)  # fmt: skip
_NOTIFICATIONS = "notifications/"
"""What the method of every notification of MCP begins with, in all versions."""
_META_PREFIX = "io.modelcontextprotocol/"
_META = frozenset(
    {
        "progressToken", "traceparent", "tracestate", "baggage", f"{_META_PREFIX}protocolVersion",
        f"{_META_PREFIX}clientInfo", f"{_META_PREFIX}clientCapabilities", f"{_META_PREFIX}logLevel",
        f"{_META_PREFIX}serverInfo", f"{_META_PREFIX}subscriptionId",
    }
)  # fmt: skip
_FOLDED: dict[frozenset[str], frozenset[str]] = {
    known: frozenset(key.casefold() for key in known) for known in (_ENVELOPE, _PARAMS, _META)
}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class MalformedMessage(Exception):
    """The message is refused. `str(error)` names the defect and holds nothing of the payload."""

    def __init__(self, code: int, message: str, request_id: str | int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        """The id to answer to; None (JSON `null`) where it could not be read (JSON-RPC 2.0 section 5)."""


def check(raw: bytes, *, max_bytes: int, max_depth: int) -> dict[str, Any]:
    """Return the one JSON-RPC message that `raw` is.

    Raises:
        MalformedMessage: it is none, or one that two parsers could read differently.
    """
    if len(raw) > max_bytes:
        raise MalformedMessage(INVALID_REQUEST, too_large(max_bytes))
    message = _parse(raw)
    if isinstance(message, list):
        raise MalformedMessage(INVALID_REQUEST, "Batches are not accepted: send one message at a time.")
    if not isinstance(message, dict):
        raise MalformedMessage(INVALID_REQUEST, "A message must be a JSON object.")
    request_id = _request_id(message)
    _bound_depth(message, max_depth, request_id)
    _refuse_lone_surrogates(raw, message)
    _check_envelope(message, request_id)
    _check_keys(message, request_id)
    return message


def too_large(max_bytes: int) -> str:
    return f"The message is larger than {max_bytes} bytes."


def _parse(raw: bytes) -> object:
    try:
        # Strict UTF-8 first: given bytes, `json` would guess UTF-16 and UTF-32 as well.
        text = raw.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise MalformedMessage(PARSE_ERROR, "The message is not UTF-8.") from None
    except RecursionError:
        raise MalformedMessage(INVALID_REQUEST, "The message is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise MalformedMessage(PARSE_ERROR, f"The message is not JSON: {where}.") from None
    except ValueError:  # an integer beyond `sys.get_int_max_str_digits()`
        raise MalformedMessage(PARSE_ERROR, "The message holds a number that is too long.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedMessage(INVALID_REQUEST, "An object in the message has the same key twice.")
    return value


def _refuse_constant(_: str) -> NoReturn:
    raise MalformedMessage(PARSE_ERROR, "NaN and Infinity are not JSON.")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise MalformedMessage(PARSE_ERROR, "The message holds a number beyond the range of a double.")
    return value


def _request_id(message: dict[str, Any]) -> str | int | None:
    """The id, if it is one that can be answered to."""
    match message.get("id"):
        case bool():
            return None
        case str() as text if len(text) <= MAX_ID_LENGTH and text.isprintable():
            return text
        case int() as number if abs(number) <= MAX_SAFE_INTEGER:
            return number
        case _:
            return None


def _bound_depth(message: dict[str, Any], max_depth: int, request_id: str | int | None) -> None:
    level: list[Any] = [message]
    for _ in range(max_depth):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return
    raise MalformedMessage(INVALID_REQUEST, f"The message is nested deeper than {max_depth} levels.", request_id)


def _children(parent: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return parent.values() if isinstance(parent, dict) else parent


def _refuse_lone_surrogates(raw: bytes, message: dict[str, Any]) -> None:
    if _SURROGATE.search(raw) is None:
        return
    try:
        json.dumps(message, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        # Without the id: it may be the broken string.
        raise MalformedMessage(PARSE_ERROR, "The message holds a lone surrogate, which is no Unicode text.") from None


def _check_envelope(message: dict[str, Any], request_id: str | int | None) -> None:
    """JSON-RPC 2.0 sections 4 and 5, as MCP narrows them: ids are strings or integers, parameters are objects."""
    if message.get("jsonrpc") != "2.0":
        raise MalformedMessage(INVALID_REQUEST, 'The message needs "jsonrpc": "2.0".', request_id)
    if "id" in message and request_id is None:
        raise MalformedMessage(INVALID_REQUEST, f"The id must be an integer or a string of up to {MAX_ID_LENGTH} characters.")
    if "method" in message:
        _check_request(message, request_id)
    elif "id" not in message or ("result" in message) == ("error" in message):
        raise MalformedMessage(
            INVALID_REQUEST, "The message is neither a request nor a notification nor a response.", request_id
        )
    elif not _is_outcome(message):
        raise MalformedMessage(
            INVALID_REQUEST, "A response needs a result object, or an error with code and message.", request_id
        )


def _is_outcome(message: dict[str, Any]) -> bool:
    match message:
        case {"result": dict()}:
            return True
        case {"error": {"code": int() as code, "message": str()}}:
            return not isinstance(code, bool)
        case _:
            return False


def _check_request(message: dict[str, Any], request_id: str | int | None) -> None:
    if not isinstance(message["method"], str):
        raise MalformedMessage(INVALID_REQUEST, "The method must be a string.", request_id)
    if "id" not in message and not message["method"].startswith(_NOTIFICATIONS):
        # It would be carried out, and nobody would hear of it: neither of its result nor of a refusal.
        raise MalformedMessage(INVALID_REQUEST, "A request needs an id: only notifications have none.")
    if "result" in message or "error" in message:
        raise MalformedMessage(INVALID_REQUEST, "A request has neither result nor error.", request_id)
    params = message.get("params")
    if params is not None and not isinstance(params, dict):
        raise MalformedMessage(INVALID_REQUEST, "The params must be an object.", request_id)


def _check_keys(message: dict[str, Any], request_id: str | int | None) -> None:
    _refuse_variants(message, _ENVELOPE, "the message", request_id)
    params = message.get("params")
    if isinstance(params, dict):
        _refuse_variants(params, _PARAMS, "params", request_id)
        meta = params.get("_meta", {})
        if not isinstance(meta, dict):  # of a response too, which has no params by right
            raise MalformedMessage(INVALID_REQUEST, "The params' _meta must be an object.", request_id)
        _refuse_variants(meta, _META, "params._meta", request_id)


def _refuse_variants(value: dict[str, Any], known: frozenset[str], where: str, request_id: str | int | None) -> None:
    """Refuse keys that a case-insensitive reader (Go's `encoding/json`) would take for another one.

    Full case folding, because such readers also fold the long s and the Kelvin sign.
    """
    reserved = _FOLDED[known]
    seen: set[str] = set()
    for key in value:
        folded = key.casefold()
        if folded in seen:
            raise MalformedMessage(INVALID_REQUEST, f"Two keys of {where} differ in case alone.", request_id)
        if folded in reserved and key not in known:
            raise MalformedMessage(INVALID_REQUEST, f"A key of {where} is the protocol's but for its case.", request_id)
        seen.add(folded)
