"""The gateway of `mcpgw serve` and `mcpgw stdio`, with everything that it needs."""

import os
import signal
import sys

import anyio

from mcpgw.app import convert, network
from mcpgw.app.console import console_routes
from mcpgw.app.gateway import open_gateway
from mcpgw.app.metrics import metrics_routes
from mcpgw.identity import stdio_identity
from mcpgw.inbound.http import make_app
from mcpgw.inbound.serving import GatewayListener, make_uvicorn
from mcpgw.inbound.stdio import serve_stdio
from mcpgw.redaction import PresidioRedactor
from mcpgw.settings import Settings


async def serve(settings: Settings, redactor: PresidioRedactor) -> None:
    """Run the gateway over HTTP until it is told to end."""
    async with open_gateway(settings, redactor, node="serve") as gateway, anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.tend_health)
        routes = [*console_routes(gateway), *metrics_routes(gateway)]
        listener = make_uvicorn(gateway.server, make_app(gateway.server, routes), network.listener(settings))
        tasks.start_soon(_announce, listener, settings)
        await listener.serve()
        tasks.cancel_scope.cancel()


async def _announce(listener: GatewayListener, settings: Settings) -> None:
    await listener.listening.wait()
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    scheme = "https" if settings.listen.tls_certificate else "http"
    print(f"mcpgw: serving {scheme}://{host}:{listener.port}/mcp", file=sys.stderr, flush=True)


async def stdio(settings: Settings, redactor: PresidioRedactor) -> None:
    """Run the gateway over standard input and output until the input ends."""
    authenticator = convert.authenticators(settings, method="stdio_key")
    await stdio_identity(os.environ, authenticator)  # a wrong key is told at once, before anything is opened
    async with (
        open_gateway(settings, redactor, node="stdio", method="stdio_key") as gateway,
        anyio.create_task_group() as tasks,
    ):
        if sys.platform != "win32":
            tasks.start_soon(_end_at_signal, tasks.cancel_scope)
        await serve_stdio(gateway.server, lambda: stdio_identity(os.environ, authenticator))
        tasks.cancel_scope.cancel()


async def _end_at_signal(serving: anyio.CancelScope) -> None:
    """Clients close stdin and soon after send SIGTERM. A call that is then under way is cancelled, and recorded as that."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            serving.cancel()
