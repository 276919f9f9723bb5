"""What a sink is made of: plain, checked values. Importing this loads no network library."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from mcpgw.core.errors import ConfigError

MIN_SECRET_BYTES = 16
"""Shortest key of a webhook: what is shorter can be guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust, and who we are; PEM files. An empty `ca` is the system's list; an empty certificate is none."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What every sink has. `name` names the cursor's file as well."""

    name: str
    max_events: int = 500
    """In one batch."""
    max_bytes: int = 1_000_000
    """In one batch; one event that is larger goes alone. Splunk and most proxies take at least this much."""
    from_now: bool = False
    """Begin behind the newest record instead of at the first, where there is no cursor yet."""

    @property
    def kind(self) -> str:
        return type(self).__name__.removesuffix("Sink").removeprefix("Notice").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSink(Feed):
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink(Feed):
    url: str
    secret: str = field(repr=False)
    """The HMAC key: `whsec_` and base64 (Standard Webhooks), or any other text of at least `MIN_SECRET_BYTES`."""
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _require_https(self.name, self.url)
        if len(self.secret.encode()) < MIN_SECRET_BYTES:
            raise ConfigError(f"the secret is shorter than {MIN_SECRET_BYTES} bytes", where=f"sinks.{self.name}.secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplunkSink(Feed):
    url: str
    """Of the HTTP Event Collector, without a path: `https://splunk.bank.example:8088`."""
    token: str = field(repr=False)
    acknowledge: bool = False
    """Wait until the events are indexed, where the token has indexer acknowledgement enabled."""
    acknowledge_within_s: float = 60.0
    """Splunk indexes within seconds, or is in trouble; a batch that is sent again is told by its events' uid."""
    host: str = "mcpgw"
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _require_https(self.name, self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSink(Feed):
    url: str
    """`tls://logs.bank.example:6514`; the port may be left out."""
    host: str = "mcpgw"
    """HOSTNAME of the messages: who says this."""
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        if _split(self.name, self.url).scheme != "tls":
            hint = "Only syslog over TLS is supported: `tls://logs.bank.example:6514`."
            raise ConfigError("is no tls:// address", where=f"sinks.{self.name}.url", hint=hint)

    @property
    def address(self) -> tuple[str, int]:
        parts = _split(self.name, self.url)
        return parts.hostname or "", parts.port or SYSLOG_TLS_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSink(Feed):
    url: str
    """Of the collector's logs: `https://otel.bank.example:4318/v1/logs`."""
    token: str = field(default="", repr=False)
    """Sent as a bearer token, where the collector asks for one."""
    host: str = "mcpgw"
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _require_https(self.name, self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticSink(Feed):
    url: str
    """Of the cluster: `https://elastic.bank.example:9200`."""
    index: str
    """An index, an alias that writes to one, or a data stream."""
    credential: str = field(repr=False)
    """An encoded API key, or `user:password`."""
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _require_https(self.name, self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFeed(Feed):
    """What tells people that a held call needs them, or what became of it."""

    occasions: frozenset[str]
    """Names of `notice.OCCASIONS`."""
    rules: tuple[str, ...] = ()
    """Globs over rule ids; none: every rule."""
    console_url: str = ""
    """Where the console is; a notice links to the approval's page there. Empty: no link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeWebhook(NoticeFeed):
    to: WebhookSink
    """A signed POST as a sink makes it, with notices instead of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeApprise(NoticeFeed):
    addresses: tuple[str, ...] = field(repr=False)
    """Apprise URLs: they hold credentials."""


SYSLOG_TLS_PORT = 6514
"""RFC 5425 section 4.1."""

SinkConfig: TypeAlias = FileSink | WebhookSink | SplunkSink | SyslogSink | OtlpSink | ElasticSink
NoticeConfig: TypeAlias = NoticeWebhook | NoticeApprise


def _require_https(name: str, url: str) -> None:
    parts = _split(name, url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    hint = "Plain http is for loopback alone: events name people and what they did."
    raise ConfigError("is no https:// address", where=f"sinks.{name}.url", hint=hint)


def _split(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0 and parts.username is None:
            return parts
    except ValueError:
        pass  # no address either
    hint = "Write https://HOST/PATH, or tls://HOST:6514 for syslog; a login stands in `secret`."
    raise ConfigError("is no address of a host, or has a login in it", where=f"sinks.{name}.url", hint=hint)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
