"""The last shaping of a payload for one era of the protocol. Pure functions on plain dicts; nothing else is changed.

2026-07-28 results say what kind they are and may hold any schema; clients of earlier revisions validate against models that
refuse both, so what they cannot read is left out at the rim, for them alone.
"""

import json
from typing import Any, Final

from mcp_types import SERVER_INFO_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

_MODERN_KEYS: Final = ("resultType", "ttlMs", "cacheScope")


def is_modern(protocol_version: str) -> bool:
    return protocol_version in MODERN_PROTOCOL_VERSIONS


def shape_definition(definition: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    """Return a tool definition as that era may list it: unchanged, but for an `outputSchema` that is no object's, and for the
    word that it has to be called as a task of 2025-11-25. The gateway calls it so, and clients which read that word refuse to
    call it plainly."""
    definition = _callable(definition)
    schema = definition.get("outputSchema")
    if modern or "outputSchema" not in definition or (isinstance(schema, dict) and schema.get("type") == "object"):
        return definition
    return {key: value for key, value in definition.items() if key != "outputSchema"}


def _callable(definition: dict[str, Any]) -> dict[str, Any]:
    execution = definition.get("execution")
    if not isinstance(execution, dict) or execution.get("taskSupport") != "required":
        return definition
    rest = {key: value for key, value in execution.items() if key != "taskSupport"}
    kept = {key: value for key, value in definition.items() if key != "execution"}
    return {**kept, "execution": rest} if rest else kept


def shape_result(result: dict[str, Any], *, modern: bool, server_info: dict[str, Any]) -> dict[str, Any]:
    """Return a result as that era must be given it.

    Only the gateway's own results are of another type than `complete`: `answers` passes on no other.
    The stamp of who answered is the gateway's own: an upstream's would name a server that the client never spoke to.
    """
    meta = {key: value for key, value in _object(result.get("_meta")).items() if key != SERVER_INFO_META_KEY}
    shaped = {key: value for key, value in result.items() if key not in ("_meta", "resultType")}
    if modern:
        kind = result.get("resultType", "complete")
        return {"resultType": kind, **shaped, "_meta": {**meta, SERVER_INFO_META_KEY: server_info}}
    shaped = {key: value for key, value in shaped.items() if key not in _MODERN_KEYS}
    structured = shaped.get("structuredContent")
    if "structuredContent" in shaped and not isinstance(structured, dict):
        shaped["structuredContent"] = {"result": structured}
    return {**shaped, "_meta": meta} if meta else shaped


def encoded_size(result: dict[str, Any]) -> int:
    """Return the length of the result as compact JSON in UTF-8 bytes.

    Raises:
        ValueError: it cannot be written as JSON at all (a lone surrogate, NaN).
    """
    return len(json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8"))


def truncated(result: dict[str, Any], limit: int, size: int) -> dict[str, Any]:
    """Return the result with its text cut to about `limit` bytes, saying so; everything that is not text is left out."""
    left = limit
    content: list[dict[str, Any]] = []
    for block in result.get("content", []):
        if block.get("type") != "text" or left <= 0:
            continue
        kept = str(block.get("text", "")).encode("utf-8")[:left]
        left -= len(kept)
        content.append({**block, "text": kept.decode("utf-8", errors="ignore")})
    notice = f"[Cut by the gateway: the result was {size} bytes long, and the limit of this tool is {limit}.]"
    content.append({"type": "text", "text": notice})
    return {**{key: value for key, value in result.items() if key != "structuredContent"}, "content": content}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
