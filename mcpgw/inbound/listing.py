"""`tools/list`: what this identity may call, in a fixed order, in pages whose cursors are its own."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INVALID_PARAMS

from mcpgw.core.model import Identity, Target, TargetKind
from mcpgw.inbound.caller import session_owner
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.shaping import shape_definition
from mcpgw.ports import Catalog, Policy

Publish = Callable[[Target], dict[str, Any]]
"""The definition to list for a target: the upstream's, under the published name, with the admin's annotations."""

_MAC_BYTES: Final = 16
"""A truncated HMAC-SHA-256: 128 bits against forgery, and a cursor stays short."""
_MAX_CURSOR: Final = 512
"""Characters; ours are shorter."""


class ToolList:
    """What each identity sees. Policy is asked anew for every page: a list is never remembered for anybody."""

    def __init__(self, *, catalog: Catalog, policy: Policy, publish: Publish, config: InboundConfig) -> None:
        self._catalog = catalog
        self._policy = policy
        self._publish = publish
        self._config = config

    def visible(self, identity: Identity) -> list[Target]:
        """Return the targets that the identity may call with some arguments, ordered by name."""
        targets = self._catalog.targets(TargetKind.TOOL)
        return sorted((t for t in targets if self._policy.sees(identity, t)), key=lambda target: target.name)

    def page(self, identity: Identity, cursor: str | None, *, modern: bool) -> dict[str, Any]:
        """Return one page as a `tools/list` result, before it is shaped for an era.

        A cursor names the last tool that was listed, so a list that changes meanwhile loses and repeats nothing.

        Raises:
            MCPError: the cursor is not one that this identity was given.
        """
        after = self._opened(identity, cursor) if cursor is not None else ""
        rest = [target for target in self.visible(identity) if target.name > after]
        page = rest[: self._config.page_size]
        tools = [shape_definition(self._publish(target), modern=modern) for target in page]
        result: dict[str, Any] = {"tools": tools, "ttlMs": self._config.list_ttl_ms, "cacheScope": "private"}
        if len(rest) > len(page):
            result["nextCursor"] = self._sealed(identity, page[-1].name)
        return result

    def fingerprint(self, identity: Identity) -> str:
        """Return a hash that changes exactly when the identity's own list does."""
        seen = [[target.name, target.definition_hash, target.annotations] for target in self.visible(identity)]
        return hashlib.sha256(json.dumps(seen, sort_keys=True, default=dict).encode()).hexdigest()

    def _sealed(self, identity: Identity, name: str) -> str:
        return base64.urlsafe_b64encode(self._mac(identity, name) + name.encode()).rstrip(b"=").decode()

    def _opened(self, identity: Identity, cursor: str) -> str:
        try:
            padded = cursor[:_MAX_CURSOR].encode("ascii") + b"=" * (-len(cursor) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
            mac, name = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:].decode()
        except ValueError:
            raise MCPError(INVALID_PARAMS, "Invalid cursor") from None
        if not hmac.compare_digest(mac, self._mac(identity, name)):
            raise MCPError(INVALID_PARAMS, "Invalid cursor")
        return name

    def _mac(self, identity: Identity, name: str) -> bytes:
        bound = json.dumps([TargetKind.TOOL.value, session_owner(identity), name]).encode()
        return hmac.digest(self._config.cursor_key, bound, "sha256")[:_MAC_BYTES]
