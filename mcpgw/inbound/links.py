"""URIs on their way out and back in: in results and definitions as clients know them, in arguments as their server does.

Only where the protocol puts a URI: links and embedded resources among content, the contents of a resource, and the page of an
MCP App in `_meta`. A URI in a text is a text, and so is one in `structuredContent`, whose shape is the tool's own.
"""

from collections.abc import Mapping
from typing import Any, Final

from mcpgw.core.model import Target, TargetKind
from mcpgw.core.uris import published_uri, upstream_uri

_WEB: Final = ("https://", "http://")
"""A link to the web is for the client to fetch by itself (2025-11-25 server/resources, common URI schemes)."""
_APP: Final = "ui/resourceUri"
"""Key of `_meta` that names an MCP App's page, before `ui.resourceUri` did."""


def with_published_uris(result: dict[str, Any], server: str) -> dict[str, Any]:
    """Return a result of any kind with its server's URIs as clients know them; what has another shape stays as it is."""
    changed = _with_app(result, server)
    if isinstance(changed.get("content"), list):
        changed["content"] = [_block(block, server) for block in changed["content"]]
    if isinstance(changed.get("contents"), list):
        changed["contents"] = [_located(contents, server) for contents in changed["contents"]]
    if isinstance(changed.get("messages"), list):
        changed["messages"] = [_message(message, server) for message in changed["messages"]]
    return changed


def published_definition(target: Target, shown: dict[str, Any]) -> dict[str, Any]:
    """Return a definition as it is listed, with the URIs in it as clients know them."""
    return _with_app(shown, target.server) if target.kind is TargetKind.TOOL and not target.is_own else shown


def restored(value: Any, server: str) -> Any:
    """Return arguments with every text that is exactly a published URI of that server as the server knows it.

    A tool gave the URI out, so it must get it back. The depth of arguments is bounded where they are read.
    """
    if isinstance(value, str):
        found = upstream_uri(value)
        return found.uri if found.server == server else value
    if isinstance(value, Mapping):
        return {key: restored(item, server) for key, item in value.items()}
    return [restored(item, server) for item in value] if isinstance(value, list) else value


def _message(message: Any, server: str) -> Any:
    """A prompt's message, whose content is one block; a list of blocks is what sampling has, and some servers write."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [_block(block, server) for block in content]}
    return {**message, "content": _block(content, server)} if "content" in message else message


def _block(block: Any, server: str) -> Any:
    if not isinstance(block, dict):
        return block
    if block.get("type") == "resource":
        return {**block, "resource": _located(block.get("resource"), server)}
    if block.get("type") == "resource_link" and not str(block.get("uri")).lower().startswith(_WEB):
        return _located(block, server)
    return block


def _located(holder: Any, server: str) -> Any:
    uri = holder.get("uri") if isinstance(holder, dict) else None
    return {**holder, "uri": published_uri(server, uri)} if isinstance(uri, str) else holder


def _with_app(holder: dict[str, Any], server: str) -> dict[str, Any]:
    meta = holder.get("_meta")
    if not isinstance(meta, dict):
        return dict(holder)
    changed = dict(meta)
    ui = meta.get("ui")
    if isinstance(ui, dict) and isinstance(ui.get("resourceUri"), str):
        changed["ui"] = {**ui, "resourceUri": published_uri(server, ui["resourceUri"])}
    if isinstance(meta.get(_APP), str):
        changed[_APP] = published_uri(server, meta[_APP])
    return {**holder, "_meta": changed}
