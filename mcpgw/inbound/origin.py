"""Where a request came from, for the record: what its transport knows, and what its client says of itself."""

import re
from collections.abc import Mapping
from typing import Any, Final

from mcp.server.context import ServerRequestContext

from mcpgw.core.model import Origin
from mcpgw.inbound.caller import caller_of

_MAX_HINT: Final = 128
"""Characters of what a client claims about itself, for the record."""
_CONVERSATION: Final = ("mcpgw/conversation", "openai/session", "vscode.conversationId")
"""Keys of `_meta` that name the conversation: ours, and what clients in use send. The specification has none."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context section 3.2.2, version 00 and what later versions keep of it."""


def client_of(ctx: ServerRequestContext[Any, Any]) -> tuple[str, str]:
    """Name and version that the client claims; empty where it does not introduce itself."""
    params = ctx.session.client_params
    if params is None:
        return "", ""
    return params.client_info.name[:_MAX_HINT], params.client_info.version[:_MAX_HINT]


def origin_of(ctx: ServerRequestContext[Any, Any]) -> Origin:
    """Return where a request came from, for the record."""
    caller = caller_of(ctx)
    meta: Mapping[str, Any] = (ctx.params or {}).get("_meta") or {}
    traceparent = meta.get("traceparent")
    return Origin(
        transport=caller.transport,
        protocol_version=ctx.protocol_version,
        request_id=str(ctx.request_id) if ctx.request_id is not None else "",
        address=caller.address,
        client="/".join(part for part in client_of(ctx) if part),
        traceparent=str(traceparent) if is_traceparent(traceparent) else "",
        session=caller.session,
        conversation=_conversation(meta),
    )


def _conversation(meta: Mapping[str, Any]) -> str:
    """What the client calls its conversation, by the first of the keys that it sends; empty where it says nothing of use."""
    said = (meta.get(key) for key in _CONVERSATION)
    return next((value for value in said if isinstance(value, str) and 0 < len(value) <= _MAX_HINT), "")


def is_traceparent(value: object) -> bool:
    return isinstance(value, str) and _TRACEPARENT.fullmatch(value) is not None
