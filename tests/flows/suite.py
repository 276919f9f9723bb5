"""What stands between the conformance suite and a gateway: the key that the suite cannot send, and the names that it expects.

The suite calls `greet` and reads `test://a`; the gateway publishes `suite__greet` and `mcpgw+suite+test://a`. Nothing else of a
message, an answer or a stream is changed.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from aiohttp import web

from mcpgw.core.naming import published_name
from mcpgw.core.uris import published_uri
from tests.flows.gateway import BOUND_S, bearer
from tests.real_servers import NODE_MODULES

SUITE = NODE_MODULES / "@modelcontextprotocol/conformance/dist/index.js"
_HOP = frozenset({"transfer-encoding", "connection", "content-encoding", "content-length"})


@asynccontextmanager
async def before(gateway: str, key: str, server: str = "suite") -> AsyncIterator[str]:
    """Yield the URL at which the suite finds what the gateway publishes of a server, as if it was the server itself."""
    published = re.compile(rf'(?<="){server}__(?=\w)|mcpgw\+{server}\+(?=test:)'.encode())
    timeout = aiohttp.ClientTimeout(total=None, sock_read=BOUND_S)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as http:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            body = _asked(await request.read(), headers, server)
            url = f"{gateway}{request.path}"
            async with http.request(request.method, url, data=body, headers={**headers, **bearer(key)}) as got:
                kept = {name: value for name, value in got.headers.items() if name.lower() not in _HOP}
                answer = web.StreamResponse(status=got.status, headers=kept)
                await answer.prepare(request)
                with suppress(ConnectionResetError):  # the suite has heard enough
                    async for line in got.content:
                        await answer.write(published.sub(b"", line))
                return answer

        app = web.Application()
        app.router.add_route("*", "/mcp", pass_on)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site: Any = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        finally:
            await runner.cleanup()


def _asked(body: bytes, headers: dict[str, str], server: str) -> bytes:
    """Return the message with published names, in `headers` too. What names nothing is not touched."""
    message = json.loads(body) if body else None
    params = message.get("params") if isinstance(message, dict) else None
    if not isinstance(params, dict):
        return body
    for holder in (params, params.get("ref")):
        if not isinstance(holder, dict):
            continue
        for name, publish in (("name", published_name), ("uri", published_uri)):
            if isinstance(own := holder.get(name), str):
                holder[name] = publish(server, own)
                if headers.get("Mcp-Name") == own:
                    headers["Mcp-Name"] = holder[name]
    return json.dumps(message).encode()
