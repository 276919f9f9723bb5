"""The listener: uvicorn with bounds on what a client may send before anybody has read it, and an orderly end."""

import asyncio
import errno
import logging
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcpgw.core.errors import ConfigError
from mcpgw.inbound.server import GatewayServer

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 65_536
"""Request line and headers together. A JWT with many groups takes 16 KB; httptools itself has no limit."""

_FILES_BESIDE: Final = 500
"""Open files of a gateway beside its clients' connections: stores, upstreams, sinks, the redactor's workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the system choose."""
    grace_s: float = 30.0
    """How long a shutdown waits for calls under way before it ends them."""
    keep_alive_s: int = 75
    """Idle seconds before a connection is closed; above the 60 s of common load balancers, so that they close first."""
    max_connections: int = 4_000
    """One more is answered 503 by uvicorn, before anything of it is read, and is not recorded."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `X-Forwarded-For` and `-Proto` are believed; nobody's by default."""
    tls_certificate: str = ""
    tls_key: str = ""


def make_uvicorn(server: GatewayServer, app: ASGIApp, config: ListenerConfig) -> "GatewayListener":
    """Return a server whose `serve()` runs until a signal, then drains the gateway before it closes connections.

    Raises:
        ConfigError: the certificate or its key cannot be used.
    """
    # It would end every event stream at the signal, among them those on which calls under way are to be answered.
    AppStatus.enable_automatic_graceful_drain = False
    settings: dict[str, Any] = {}
    if config.tls_certificate:
        settings |= {"ssl_certfile": config.tls_certificate, "ssl_keyfile": config.tls_key or None}
    require_certificate(config)
    uvicorns = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,  # the ledger says who called what; paths and addresses alone say little
        server_header=False,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=list(config.trusted_proxies),
        limit_concurrency=allow_connections(config.max_connections),
        timeout_keep_alive=config.keep_alive_s,
        timeout_graceful_shutdown=5,  # seconds for the last bytes: calls have ended before, in `drain`
        **settings,
    )
    return GatewayListener(server, config.grace_s, uvicorns)


def allow_connections(most: int) -> int:
    """Raise this process's limit of open files until so many connections fit, and return how many do.

    Systems often set it to 1,024 and allow any process to raise it. One connection too many would not be refused: it could not
    be accepted, and everybody behind it would wait.
    """
    if sys.platform == "win32":
        return most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _FILES_BESIDE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    fitting = max(allowed - _FILES_BESIDE, allowed // 2)
    if fitting < most:
        logger.warning(
            "only %d of %d connections are taken, because this process may open %d files: "
            "allow it %d (LimitNOFILE= of systemd, nofile of a container), or lower listen.max_sessions",
            fitting, most, hard, wanted,
        )  # fmt: skip
    return min(fitting, most)


def require_certificate(config: ListenerConfig) -> None:
    """Try the certificate and its key, where there are any.

    Raises:
        ConfigError: they cannot be used.
    """
    if not config.tls_certificate:
        return
    try:
        no_passphrase = ""  # rather than a prompt that nobody sees
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            config.tls_certificate, config.tls_key or None, no_passphrase
        )
    except OSError as error:  # `ssl.SSLError` is one
        hint = "Give a PEM file with the certificate and its chain, and its key, without a passphrase, in `listen.tls_key`."
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"certificate or key cannot be used: {reason}", where=config.tls_certificate, hint=hint) from error


class GatewayListener(uvicorn.Server):
    """uvicorn, but calls end before connections do."""

    def __init__(self, server: GatewayServer, grace_s: float, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._gateway = server
        self._grace_s = grace_s
        self.listening = asyncio.Event()
        """Set once connections are accepted."""

    @property
    def port(self) -> int:
        """The port that is listened on, once `started`."""
        address = self.servers[0].sockets[0].getsockname()
        return int(address[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen.

        Raises:
            ConfigError: the address is taken, or is not ours.
        """
        try:
            await super().startup(sockets)
        except SystemExit as end:  # uvicorn's way to say that it cannot listen; the rooms behind it must be closed in order
            cause = end.__context__
            number = cause.errno if isinstance(cause, OSError) and cause.errno else 0
            reason = os.strerror(number) if number in errno.errorcode else "see the log"  # asyncio's own text says all twice
            hint = "Is a gateway running already? Else choose another `listen.host` or `listen.port`."
            raise ConfigError(
                f"cannot be listened on: {reason}", where=f"{self.config.host}:{self.config.port}", hint=hint
            ) from end
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal ends the serving and not the process: uvicorn would send it to itself again, and die
        before the ledger and the upstreams behind it are closed. From then on a second signal does end the process."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        await self._gateway.drain(self._grace_s)
        await super().shutdown(sockets)


class HeadTooLarge(ValueError):
    """Raised into the parser, which answers 400 and closes the connection."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits on the size and the duration of a request's head.

    uvicorn bounds heads only with its slower parser (`h11_max_incomplete_event_size`), and their duration with neither.
    """

    head_timeout_s: ClassVar[float] = 20.0
    """From the connection, or the first byte, to the end of the head: who dribbles must not hold a connection."""

    stall_timeout_s: ClassVar[float] = 60.0
    """For a client to read on, once so much waits for it that no more is written: who does not read holds no connection."""

    _stall_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _head_open = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_stall_timer()
        self._stall_timer = self.loop.call_later(self.stall_timeout_s, self._abort)

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_open:
            # Bytes of a header that is not complete have reached no callback yet, but they are held in memory.
            self._count(len(data))

    def on_message_begin(self) -> None:
        self._head_open = True
        self._head_bytes = 0
        self._start_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge
        # httptools reports trailers here too, and uvicorn would append them to the headers: an Authorization in a trailer,
        # which no proxy before us has looked at, would count (RFC 9110 section 6.5.1 forbids it). They are dropped.
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._stop_timer()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > 2 * MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _abort(self) -> None:
        self.transport.abort()  # and not `close`, which would wait until the client has read what is left

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
