"""FastMCP's proxy, as its documentation shows it; runs in .venv-bench: `fastmcp_proxy.py PORT default|shared ECHO…`.

`shared` connects once and lends that session to everybody; `default` makes a client for each request.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


def target(echo: list[str]) -> Any:
    return echo[0] if echo[0].startswith("http") else StdioTransport(echo[0], echo[1:])


async def serve(proxy: Any, port: int) -> None:
    app = proxy.http_app(stateless_http=False)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", loop="uvloop", http="httptools")
    await uvicorn.Server(config).serve()


async def main() -> None:
    port, kind, echo = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if kind == "default":
        await serve(create_proxy(target(echo)), port)
    else:
        async with Client(target(echo)) as client:
            await serve(create_proxy(client), port)


if __name__ == "__main__":
    asyncio.run(main())
