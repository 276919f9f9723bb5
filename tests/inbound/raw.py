"""Hand-made MCP messages, for what a well-behaved client would never send."""

import json
from typing import Any

import aiohttp

from tests.inbound.wire import MODERN, bearer

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
}


def modern(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    params = params or {}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": {**ENVELOPE, **params.get("_meta", {})}}}


def legacy(method: str, params: dict[str, Any] | None = None, request_id: int | None = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    return message if request_id is None else {**message, "id": request_id}


INITIALIZE = legacy(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
    request_id=0,
)


def routing(method: str, name: str = "") -> dict[str, str]:
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    return {**headers, "Mcp-Name": name} if name else headers


def call(name: str, arguments: dict[str, Any] | None = None, **meta: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A modern `tools/call` and its routing headers."""
    return modern("tools/call", {"name": name, "arguments": arguments or {}, "_meta": meta}), routing("tools/call", name)


async def post(
    http: aiohttp.ClientSession, body: Any, headers: dict[str, str] | None = None, path: str = "/mcp", key: str = "alice-key"
) -> tuple[int, Any, Any]:
    """POST and return status, the JSON that was answered (of an event stream: its last message), and headers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(path, data=data, headers={**ACCEPT, **bearer(key), **(headers or {})}) as response:
        text = await response.text()
        events = [line.removeprefix("data: ") for line in text.split("\r\n") if line.startswith("data: {")]
        text = events[-1] if events else text
        return response.status, json.loads(text) if text.startswith("{") else text, response.headers
