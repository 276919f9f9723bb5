"""From a configuration to its receiver."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcpgw.sinks.config import FileSink, SinkConfig, SplunkSink, SyslogSink, WebhookSink
from mcpgw.sinks.file import FileReceiver
from mcpgw.sinks.http import open_client
from mcpgw.sinks.receiver import Receiver
from mcpgw.sinks.splunk import SplunkReceiver
from mcpgw.sinks.syslog import SyslogReceiver
from mcpgw.sinks.webhook import WebhookReceiver


@asynccontextmanager
async def open_receiver(config: SinkConfig) -> AsyncIterator[Receiver]:
    """Yield the receiver; nothing is connected before the first event.

    Raises:
        ConfigError: a key or a TLS file cannot be used.
    """
    match config:
        case FileSink():
            yield FileReceiver(config)
        case SyslogSink():
            yield SyslogReceiver(config)
        case WebhookSink():
            async with open_client(config.name, config.tls) as client:
                yield WebhookReceiver(config, client)
        case SplunkSink():
            async with open_client(config.name, config.tls) as client:
                yield SplunkReceiver(config, client)
