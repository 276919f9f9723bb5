"""HTTP around a witness: two routes, bounded bodies, bounded patience."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from aiohttp import web

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.witness.folder import WitnessConfig
from mcpgw.ledger.witness.judge import MAX_BODY_BYTES, Reply, Witness
from mcpgw.ledger.witness.memory import MemoryFailed

logger = logging.getLogger(__name__)

_BODY_S = 10.0
"""In which a body must arrive."""
_MAX_AT_WORK = 64
"""Submissions under way at once; one more is answered 503."""


@asynccontextmanager
async def serving(witness: Witness, config: WitnessConfig) -> AsyncIterator[str]:
    """Serve, and yield the address; what is under way at the end is finished.

    Raises:
        ConfigError: the address or the certificate cannot be used.
    """
    runner = web.AppRunner(_Door(witness).app(), access_log=None, shutdown_timeout=_BODY_S, keepalive_timeout=75.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, ssl_context=_context(config))
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"cannot be listened on: {error.strerror}", where=f"{config.host}:{config.port}") from error
        port = runner.addresses[0][1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        yield f"{'https' if config.tls_certificate else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


class _Door:
    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._at_work = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/add-checkpoint", self._add_checkpoint)
        app.router.add_get("/{origin:[0-9a-f]{64}}/checkpoint", self._checkpoint)
        return app

    async def _add_checkpoint(self, request: web.Request) -> web.Response:
        if self._at_work >= _MAX_AT_WORK:
            return _answer(Reply(HTTPStatus.SERVICE_UNAVAILABLE, "too many submissions at once\n"))
        self._at_work += 1
        try:
            async with asyncio.timeout(_BODY_S):
                body = await request.read()  # 413 beyond the bound
            return await _said(lambda: self._witness.add_checkpoint(body))
        except TimeoutError:
            return _answer(Reply(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time\n"))
        finally:
            self._at_work -= 1

    async def _checkpoint(self, request: web.Request) -> web.Response:
        return await _said(lambda: self._witness.checkpoint(request.match_info["origin"]))


async def _said(question: Callable[[], Reply]) -> web.Response:
    try:
        return _answer(await asyncio.to_thread(question))
    except MemoryFailed as error:
        logger.error("nothing is cosigned: %s", error)
        return _answer(Reply(HTTPStatus.SERVICE_UNAVAILABLE, "the witness cannot remember, so it does not cosign\n"))


def _answer(reply: Reply) -> web.Response:
    headers = {"Content-Type": reply.content_type, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return web.Response(status=reply.status, body=reply.body.encode(), headers=headers)


def _context(config: WitnessConfig) -> ssl.SSLContext | None:
    if not config.tls_certificate:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(config.tls_certificate, config.tls_key or None, lambda: "")  # rather than a prompt
    except OSError as error:  # `ssl.SSLError` is one
        hint = "Give PEM files: the certificate with its chain, and its key without a passphrase."
        what = f"certificate or key cannot be used: {error.strerror or type(error).__name__}"
        raise ConfigError(what, where=config.tls_certificate, hint=hint) from error
    return context
