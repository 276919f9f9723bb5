"""What stands between the conformance suite and a gateway: the key that the suite cannot send, and the names that it expects.

The suite calls `greet`; the gateway publishes `suite__greet`. Nothing else of a message or an answer is changed.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.flows.gateway import bearer

PREFIX = "suite__"
_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})


@asynccontextmanager
async def before(gateway: str, key: str) -> AsyncIterator[str]:
    """Yield the URL at which the suite finds the gateway."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            body, headers = await request.read(), {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
            message = json.loads(body) if body else {}
            if message.get("method") == "tools/call":
                name = message["params"]["name"]
                message["params"]["name"] = PREFIX + name
                if headers.get("Mcp-Name") == name:
                    headers["Mcp-Name"] = PREFIX + name
                body = json.dumps(message).encode()
            async with http.request(
                request.method, f"{gateway}{request.path}", data=body, headers={**headers, **bearer(key)}
            ) as got:
                answer = (await got.read()).replace(f'"name":"{PREFIX}'.encode(), b'"name":"')
                kept = {k: v for k, v in got.headers.items() if k.lower() not in _HOP}
                return web.Response(status=got.status, body=answer, headers=kept)

        app = web.Application()
        app.router.add_route("*", "/mcp", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        site: Any = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        finally:
            await runner.cleanup()
