"""Reading everything that a server lists, page by page, verbatim and within bounds."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    JsonObject,
    ReplyKind,
    TargetKind,
)
from mcpgw.ports import Definitions
from mcpgw.upstream.config import Limits
from mcpgw.upstream.conversation import Conversation
from mcpgw.upstream.jsonrpc import METHOD_NOT_FOUND, encode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _List:
    kind: TargetKind
    method: str
    capability: str
    key: str
    """Where the items stand in the result."""
    identifier: str


LISTS = (
    _List(TargetKind.TOOL, "tools/list", "tools", "tools", "name"),
    _List(TargetKind.RESOURCE, "resources/list", "resources", "resources", "uri"),
    _List(TargetKind.RESOURCE, "resources/templates/list", "resources", "resourceTemplates", "uriTemplate"),
    _List(TargetKind.PROMPT, "prompts/list", "prompts", "prompts", "name"),
)


@dataclass(frozen=True, slots=True)
class Found:
    definitions: Definitions
    ttl_s: float
    """How long the server says that its lists keep (the shortest `ttlMs` above 0); 0 where it does not say."""


async def discover(name: str, conversation: Conversation, limits: Limits) -> Found:
    """Return all lists of the server, complete over all their pages; a resource template is listed after the resources.

    Tools are asked for even where the server does not declare them, because some forget to.

    Raises:
        UpstreamError: a list could not be read whole, within the bounds.
    """
    definitions: dict[TargetKind, Sequence[JsonObject]] = {}
    ttls: list[float] = []
    for listed in LISTS:
        if listed.kind is TargetKind.TOOL or listed.capability in conversation.peer.capabilities:
            found = await _read(name, conversation, listed, limits, ttls)
            definitions[listed.kind] = (*definitions.get(listed.kind, ()), *found)
    return Found(definitions, min(ttls, default=0.0))


async def _read(
    name: str, conversation: Conversation, listed: _List, limits: Limits, ttls: list[float]
) -> tuple[JsonObject, ...]:
    items: list[JsonObject] = []
    cursors: set[str] = set()
    params: dict[str, str] = {}
    size = 0
    for _ in range(limits.list_pages):
        page = await _page(name, conversation, listed, params, limits)
        size += len(encode(page))
        items += _items(name, page, listed)
        ttl_ms = page.get("ttlMs")
        if isinstance(ttl_ms, int | float) and ttl_ms > 0:
            ttls.append(ttl_ms / 1000)
        if len(items) > limits.list_items or size > limits.list_bytes:
            raise _unreadable(name, listed, "is longer than the gateway's bounds")
        cursor = page.get("nextCursor")
        if cursor is None:
            return tuple(items)
        if not isinstance(cursor, str) or cursor in cursors:
            raise _unreadable(name, listed, "goes in a circle: a cursor came twice, or is no string")
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise _unreadable(name, listed, f"has more than {limits.list_pages} pages")


async def _page(name: str, conversation: Conversation, listed: _List, params: dict[str, str], limits: Limits) -> JsonObject:
    try:
        reply = await conversation.ask(listed.method, params, timeout_s=limits.page_s)
    except TimeoutError:
        raise _unreadable(name, listed, "did not come in time") from None
    if reply.kind is ReplyKind.RESULT:
        return reply.payload
    code = reply.payload.get("code")
    if code == METHOD_NOT_FOUND:
        return {listed.key: []}
    raise _unreadable(name, listed, f"was refused with JSON-RPC error {code}")


def _items(name: str, page: JsonObject, listed: _List) -> list[JsonObject]:
    items = page.get(listed.key)
    if not isinstance(items, list):
        raise _unreadable(name, listed, f"has a page without `{listed.key}`")
    whole: list[JsonObject] = [
        item for item in items if isinstance(item, dict) and isinstance(item.get(listed.identifier), str)
    ]
    if len(whole) < len(items):
        logger.warning("upstream %s: %s holds %d items without a name", name, listed.method, len(items) - len(whole))
    return whole


def _unreadable(name: str, listed: _List, problem: str) -> UpstreamError:
    return UpstreamError(f"The {listed.method} of the upstream server {name!r} {problem}.", sent=True)
