"""Settings in, the values of the rooms that talk to the network out. Apart from `convert`, because it is slow to import."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mcpgw import __version__
from mcpgw.catalog.entry import Entry, Transport
from mcpgw.identity import refuse_unless_loopback, unsafe_anonymous
from mcpgw.inbound.config import LOOPBACK_HOSTS, WAITING_CLIENTS, InboundConfig, Nobody, PatienceTable
from mcpgw.inbound.presentation import Presentation
from mcpgw.inbound.serving import ListenerConfig
from mcpgw.settings import Settings
from mcpgw.upstream import HttpServer, ServerConfig, SseServer, StdioServer

_DOORS_WITH_STREAMS = 3
"""A session's own stream, `/sse` and `subscriptions/listen`: each may have `max_sessions` open, and each holds a connection."""
_CONNECTIONS_BESIDE = 1_000
"""For requests, so that whoever wants to be served is when all streams are taken."""


def inbound(settings: Settings) -> InboundConfig:
    """Return what the inbound room accepts.

    Raises:
        ConfigError: anonymous callers are allowed, and the listener is not on loopback.
    """
    anonymous = settings.identity.unsafe_allow_anonymous
    if anonymous:
        refuse_unless_loopback(settings.listen.host)
    public = urlsplit(settings.public_url)
    host = f"[{public.hostname}]" if ":" in (public.hostname or "") else public.hostname
    hosts = (*LOOPBACK_HOSTS, f"{host}:*", f"{host}", *settings.listen.allowed_hosts)
    return InboundConfig(
        version=__version__,
        name=settings.name,
        instructions=settings.instructions,
        public_url=pages(settings),
        receipts=settings.ledger.receipts,
        allowed_hosts=tuple(dict.fromkeys(hosts)),
        allowed_origins=(f"{public.scheme}://{public.netloc}", *settings.listen.allowed_origins),
        unsafe_allow_anonymous=unsafe_anonymous() if anonymous else Nobody(),
        max_body_bytes=settings.listen.max_body_bytes,
        max_sessions=settings.listen.max_sessions,
        max_sessions_per_identity=settings.listen.max_sessions_per_identity,
        answer_timeout_s=settings.listen.answer_timeout,
        max_unattended=settings.approval.max_unattended,
        max_unattended_per_identity=settings.approval.max_unattended_per_identity,
        presentations=frozenset({Presentation.PENDING, *map(Presentation, settings.approval.presentations)}),
        patience=PatienceTable(
            unknown_s=settings.approval.budget,
            by_client={**WAITING_CLIENTS, **{name.lower(): wait for name, wait in settings.approval.budgets.items()}},
        ),
    )


def pages(settings: Settings) -> str:
    """Return where a held call's page is; empty where there is none, or the system chooses the port."""
    known = settings.listen.public_url or settings.listen.port
    return settings.public_url if settings.console.enabled and known else ""


def listener(settings: Settings) -> ListenerConfig:
    """Return where `mcpgw serve` listens."""
    return ListenerConfig(
        host=settings.listen.host,
        port=settings.listen.port,
        grace_s=settings.listen.shutdown_grace,
        max_connections=_DOORS_WITH_STREAMS * settings.listen.max_sessions + _CONNECTIONS_BESIDE,
        trusted_proxies=tuple(settings.listen.trusted_proxies),
        tls_certificate=_beside(settings, settings.listen.tls_certificate),
        tls_key=_beside(settings, settings.listen.tls_key),
    )


def _beside(settings: Settings, name: str) -> str:
    return str(settings.folder / name) if name else ""


def server(entry: Entry, folder: Path, environ: Mapping[str, str]) -> ServerConfig:
    """Return how to reach an upstream, with its secrets filled in.

    Raises:
        CatalogError: a reference cannot be resolved.
    """
    access = entry.resolve(folder, environ)
    if access.transport is Transport.HTTP:
        return HttpServer(
            fingerprint=entry.fingerprint,
            url=access.url,
            headers=access.headers,
            private=entry.private,
            questions=entry.questions,
        )
    if access.transport is Transport.SSE:
        return SseServer(
            fingerprint=entry.fingerprint,
            url=access.url,
            headers=access.headers,
            private=entry.private,
            questions=entry.questions,
        )
    return StdioServer(
        fingerprint=entry.fingerprint,
        command=access.command,
        args=access.args,
        env=access.env,
        cwd=str(access.cwd),
        memory_mb=entry.limits.memory_mb,
        open_files=entry.limits.open_files,
        cpu_s=entry.limits.cpu_s,
        questions=entry.questions,
        confidential=tuple(filled for filled, written in zip(access.args, entry.args, strict=True) if filled != written),
    )
