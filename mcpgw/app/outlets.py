"""Settings in, what leaves the gateway by itself out: the sinks of a SIEM, and the notifiers of people."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mcpgw.catalog import references
from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of
from mcpgw.settings import Notifier, Settings, Sink
from mcpgw.sinks.config import (
    ElasticSink,
    FileSink,
    NoticeApprise,
    NoticeConfig,
    NoticeWebhook,
    OtlpSink,
    SinkConfig,
    SplunkSink,
    SyslogSink,
    Tls,
    WebhookSink,
)

CURSORS = "sinks"
"""Folder of the cursors, below `data`."""
_NOTICES = "notify."
"""Begins the name of a notifier's cursor: no sink's name holds a dot."""
_MAY_HAVE = {"otlp": {"secret"}}
_NEEDS = {
    "file": {"path"},
    "webhook": {"url", "secret"},
    "splunk": {"url", "secret"},
    "syslog": {"url"},
    "otlp": {"url"},
    "elastic": {"url", "index", "secret"},
    "apprise": {"addresses"},
}


def outlets(settings: Settings, environ: Mapping[str, str]) -> list[SinkConfig | NoticeConfig]:
    """Return all that `sinks` and `notifiers` return. Raises as they do."""
    return [*sinks(settings, environ), *notifiers(settings, environ)]


def sinks(settings: Settings, environ: Mapping[str, str]) -> tuple[SinkConfig, ...]:
    """Return the sinks of config.toml, with their secrets filled in.

    Raises:
        ConfigError: two have one name, a key is missing or wrong, or a reference cannot be resolved; with its file and line.
    """
    return tuple(_sink(_Entry(settings, environ, "sinks", index)) for index in range(len(settings.sinks)))


def notifiers(settings: Settings, environ: Mapping[str, str]) -> tuple[NoticeConfig, ...]:
    """Return the notifiers of config.toml, with their secrets filled in.

    Raises:
        ConfigError: as `sinks`.
    """
    return tuple(_notifier(_Entry(settings, environ, "notify", index)) for index in range(len(settings.notify)))


class _Entry:
    """One table of an array of config.toml, checked for what every kind of it needs."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], table: str, index: int) -> None:
        self.settings = settings
        self._environ = environ
        self._table = table
        self._index = index
        entries: Sequence[Any] = getattr(settings, table)
        self.found: Any = entries[index]
        if self.found.name in [other.name for other in entries[:index]]:
            self.fail("name", f"there is a {self.what} of that name already")
        for key in ("path", "url", "index", "secret", "addresses"):
            needed = key in _NEEDS[self.found.kind]
            if key not in _MAY_HAVE.get(self.found.kind, ()) and needed != bool(getattr(self.found, key, "")):
                self.fail(key, f"a {self.what} of kind {self.found.kind} {'needs' if needed else 'has no'} `{key}`")

    @property
    def what(self) -> str:
        return "sink" if self._table == "sinks" else "notifier"

    @property
    def tls(self) -> Tls:
        folder = self.settings.folder
        files = {key: getattr(self.found, key) for key in ("ca", "certificate", "key")}
        return Tls(**{key: str(folder / file) if file else "" for key, file in files.items()})

    def secret(self, key: str, text: str) -> str:
        """Return what the reference in the text leads to."""
        wrong = references.malformed(text)
        if wrong or not references.has_reference(text):
            hint = "Write ${env:NAME} or ${file:path}: secrets have no place in this file."
            self.fail(key, wrong or "is written out", hint=hint)
        try:
            return references.substitute(text, self.settings.folder, self._environ)
        except references.ReferenceUnresolved as error:
            self.fail(key, str(error))

    def fail(self, key: str, message: str, *, hint: str = "") -> NoReturn:
        where = f"{self._table}.{self.found.name}.{key}"
        try:
            text = self.settings.config_file.read_text(encoding="utf-8")
        except OSError:
            raise ConfigError(message, where=where, hint=hint) from None  # settings that come from no file
        line = line_of(text, [self._table, self._index, key])
        raise ConfigError(message, where=f"{self.settings.config_file}:{line}: `{where}`", hint=hint) from None

    def refuse(self, error: ConfigError) -> NoReturn:
        """Say where in the file it is that a receiver's configuration objects to."""
        self.fail(error.where.rpartition(".")[2], str(error).removeprefix(f"{error.where}: "), hint=error.hint)


def _sink(entry: _Entry) -> SinkConfig:
    sink: Sink = entry.found
    feed: Mapping[str, Any] = {"name": sink.name, "max_events": sink.batch, "from_now": sink.begin == "now"}
    secret = entry.secret("secret", sink.secret) if sink.secret else ""
    host = socket.gethostname()
    try:
        match sink.kind:
            case "file":
                return FileSink(**feed, path=entry.settings.folder / sink.path)
            case "webhook":
                return WebhookSink(**feed, url=sink.url, secret=secret, tls=entry.tls)
            case "splunk":
                return SplunkSink(
                    **feed, url=sink.url, token=secret, acknowledge=sink.acknowledge, host=host, tls=entry.tls
                )  # fmt: skip
            case "otlp":
                return OtlpSink(**feed, url=sink.url, token=secret, host=host, tls=entry.tls)
            case "elastic":
                return ElasticSink(**feed, url=sink.url, index=sink.index, credential=secret, tls=entry.tls)
        return SyslogSink(**feed, url=sink.url, host=host, tls=entry.tls)
    except ConfigError as error:
        entry.refuse(error)


def _notifier(entry: _Entry) -> NoticeConfig:
    notifier: Notifier = entry.found
    feed: Mapping[str, Any] = {
        "name": _NOTICES + notifier.name,
        "from_now": True,
        "occasions": frozenset(notifier.on),
        "rules": tuple(notifier.rules),
        "console_url": entry.settings.public_url if entry.settings.console.enabled else "",
    }
    if notifier.kind == "apprise":
        return NoticeApprise(**feed, addresses=tuple(entry.secret("addresses", text) for text in notifier.addresses))
    secret = entry.secret("secret", notifier.secret)
    try:
        return NoticeWebhook(**feed, to=WebhookSink(name=feed["name"], url=notifier.url, secret=secret, tls=entry.tls))
    except ConfigError as error:
        entry.refuse(error)
