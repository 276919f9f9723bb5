"""Lists: what this identity may call, get and read, in a fixed order, in pages whose cursors are its own."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INVALID_PARAMS

from mcpgw.core.model import Identity, Target, TargetKind
from mcpgw.inbound.caller import session_owner
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.links import published_definition
from mcpgw.inbound.shaping import shape_definition
from mcpgw.ports import Catalog, Policy

Publish = Callable[[Target], dict[str, Any]]
"""The definition to list for a target: the upstream's, under the published name, with the admin's annotations."""

_MAC_BYTES: Final = 16
"""A truncated HMAC-SHA-256: 128 bits against forgery, and a cursor stays short."""
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


class Lists:
    """What each identity sees. Policy is asked anew for every page: a list is never remembered for anybody."""

    def __init__(self, *, catalog: Catalog, policy: Policy, publish: Publish, config: InboundConfig) -> None:
        self._catalog = catalog
        self._policy = policy
        self._publish = publish
        self._config = config

    def visible(self, identity: Identity, listing: Listing) -> list[Target]:
        """Return the targets that the identity may call with some arguments, ordered by name."""
        targets = [target for target in self._catalog.targets(KIND_OF[listing]) if listing.holds(target)]
        return sorted((t for t in targets if self._policy.sees(identity, t)), key=lambda target: target.name)

    def page(self, identity: Identity, listing: Listing, cursor: str | None, *, modern: bool) -> dict[str, Any]:
        """Return one page as a result of the method that lists, before it is shaped for an era.

        A cursor names the last entry that was listed, so a list that changes meanwhile loses and repeats nothing.

        Raises:
            MCPError: the cursor is not one that this identity was given for this list.
        """
        after = self._opened(identity, listing, cursor) if cursor is not None else ""
        rest = [target for target in self.visible(identity, listing) if target.name > after]
        page = rest[: self._config.page_size]
        shown = [self._shown(target, modern=modern) for target in page]
        result: dict[str, Any] = {listing.value: shown, "ttlMs": self._config.list_ttl_ms, "cacheScope": "private"}
        if len(rest) > len(page):
            result["nextCursor"] = self._sealed(identity, listing, page[-1].name)
        return result

    def fingerprint(self, identity: Identity, kind: TargetKind) -> str:
        """Return a hash that changes exactly when the identity's own lists of that kind do."""
        targets = [target for listing in Listing if KIND_OF[listing] is kind for target in self.visible(identity, listing)]
        seen = [[target.name, target.definition_hash, target.annotations] for target in targets]
        return hashlib.sha256(json.dumps(seen, sort_keys=True, default=dict).encode()).hexdigest()

    def _shown(self, target: Target, *, modern: bool) -> dict[str, Any]:
        definition = published_definition(target, self._publish(target))
        return shape_definition(definition, modern=modern) if target.kind is TargetKind.TOOL else definition

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
