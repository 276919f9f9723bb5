"""Lists: what this identity may call, get and read, in a fixed order, in pages whose cursors are its own."""

import base64
import hashlib
import hmac
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import anyio
import anyio.lowlevel
from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INVALID_PARAMS

from mcpgw.core.model import (
    Identity,
    Target,
    TargetKind,
)
from mcpgw.inbound.caller import session_owner
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.entries import Entries, Publish
from mcpgw.ports import Catalog, ListingPolicy

_MAC_BYTES: Final = 16
"""A truncated HMAC-SHA-256: 128 bits against forgery, and a cursor stays short."""
_STEP: Final = 8
"""Entries that are encoded at a time: a few milliseconds."""
_MAX_CURSOR: Final = 16_384
"""Characters; ours are shorter, since published URIs are."""


class Listing(StrEnum):
    """What can be listed; the values are the keys of the results."""

    TOOLS = "tools"
    PROMPTS = "prompts"
    RESOURCES = "resources"
    TEMPLATES = "resourceTemplates"

    def holds(self, target: Target) -> bool:
        """Tell whether a target of `KIND_OF` this listing stands in it."""
        return target.kind is not TargetKind.RESOURCE or target.is_template is (self is Listing.TEMPLATES)


KIND_OF: Final[Mapping[Listing, TargetKind]] = {
    Listing.TOOLS: TargetKind.TOOL,
    Listing.PROMPTS: TargetKind.PROMPT,
    Listing.RESOURCES: TargetKind.RESOURCE,
    Listing.TEMPLATES: TargetKind.RESOURCE,
}
LISTING_OF: Final[Mapping[str, Listing]] = {
    "tools/list": Listing.TOOLS,
    "prompts/list": Listing.PROMPTS,
    "resources/list": Listing.RESOURCES,
    "resources/templates/list": Listing.TEMPLATES,
}
"""The methods that list."""


@dataclass(frozen=True, slots=True)
class Page:
    entries: bytes
    """JSON array, ASCII on one line."""
    about: dict[str, Any]
    """Everything else that the result holds."""

    def decoded(self) -> list[Any]:
        entries: list[Any] = json.loads(self.entries)
        return entries


class Lists:
    """What each identity sees. A list is remembered only for the policy, the identity and the catalog that it was made of."""

    def __init__(self, *, catalog: Catalog, policy: ListingPolicy, publish: Publish, config: InboundConfig) -> None:
        self._catalog = catalog
        self._policy = policy
        self._entries = Entries(publish)
        self._config = config

    def listed(self, identity: Identity, listing: Listing) -> tuple[Target, ...]:
        """Return what is listed to the identity, ordered by name: of the targets that it may call with some arguments."""
        targets = self._policy.listed(identity, tuple(self._catalog.targets(KIND_OF[listing])))
        if listing is Listing.TOOLS:
            return targets
        return tuple(target for target in targets if listing.holds(target))

    def page(self, identity: Identity, listing: Listing, cursor: str | None, *, modern: bool) -> Page:
        """Return one page of what the method that lists answers, before it is shaped for an era.

        A cursor names the last entry that was listed, so a list that changes meanwhile loses and repeats nothing.

        Raises:
            MCPError: the cursor is not one that this identity was given for this list.
        """
        after = self._opened(identity, listing, cursor) if cursor is not None else ""
        targets = self.listed(identity, listing)
        begin = bisect_right(targets, after, key=attrgetter("name"))
        page = targets[begin : begin + self._config.page_size]
        about: dict[str, Any] = {"ttlMs": self._config.list_ttl_ms, "cacheScope": "private"}
        if begin + len(page) < len(targets):
            about["nextCursor"] = self._sealed(identity, listing, page[-1].name)
        return Page(self._entries.page(page, modern=modern), about)

    async def prepare(self) -> None:
        """Encode what lists hold, in small steps between other work, so that no client waits until it is done."""
        for kind in dict.fromkeys(KIND_OF.values()):
            for number, target in enumerate(self._catalog.targets(kind)):
                self._entries.text(target, modern=True)
                if number % _STEP == 0:
                    await anyio.lowlevel.checkpoint()

    def fingerprint(self, identity: Identity, kind: TargetKind) -> str:
        """Return a hash that changes exactly when the identity's own lists of that kind do."""
        targets = self._policy.listed(identity, tuple(self._catalog.targets(kind)))
        return hashlib.sha256(b"".join(self._entries.mark(target) for target in targets)).hexdigest()

    def _sealed(self, identity: Identity, listing: Listing, name: str) -> str:
        return base64.urlsafe_b64encode(self._mac(identity, listing, name) + name.encode()).rstrip(b"=").decode()

    def _opened(self, identity: Identity, listing: Listing, cursor: str) -> str:
        try:
            padded = cursor[:_MAX_CURSOR].encode("ascii") + b"=" * (-len(cursor) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
            mac, name = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:].decode()
        except ValueError:
            raise MCPError(INVALID_PARAMS, "Invalid cursor") from None
        if not hmac.compare_digest(mac, self._mac(identity, listing, name)):
            raise MCPError(INVALID_PARAMS, "Invalid cursor")
        return name

    def _mac(self, identity: Identity, listing: Listing, name: str) -> bytes:
        bound = json.dumps([listing.value, session_owner(identity), name]).encode()
        return hmac.digest(self._config.cursor_key, bound, "sha256")[:_MAC_BYTES]
