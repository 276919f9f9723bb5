"""From a configuration to its receiver."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcpgw.sinks.apprise import AppriseReceiver
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
    WebhookSink,
)
from mcpgw.sinks.elastic import ElasticReceiver
from mcpgw.sinks.file import FileReceiver
from mcpgw.sinks.http import open_client
from mcpgw.sinks.otlp import OtlpReceiver
from mcpgw.sinks.receiver import Receiver
from mcpgw.sinks.splunk import SplunkReceiver
from mcpgw.sinks.syslog import SyslogReceiver
from mcpgw.sinks.webhook import WebhookReceiver


@asynccontextmanager
async def open_receiver(config: SinkConfig | NoticeConfig) -> AsyncIterator[Receiver]:
    """Yield the receiver; nothing is connected before the first event.

    Raises:
        ConfigError: a key, a TLS file or an address cannot be used.
    """
    match config:
        case NoticeApprise():
            yield AppriseReceiver(config)
        case NoticeWebhook():
            async with open_client(config.name, config.to.tls) as client:
                yield WebhookReceiver(config.to, client)
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
        case OtlpSink():
            async with open_client(config.name, config.tls) as client:
                yield OtlpReceiver(config, client)
        case ElasticSink():
            async with open_client(config.name, config.tls) as client:
                yield ElasticReceiver(config, client)
