"""Syslog: RFC 5424 messages over TLS (RFC 5425), each preceded by its length (RFC 6587 section 3.4.1).

Syslog has no acknowledgement, and what waits in a socket is lost when a connection dies. So a batch is one connection, ended
in order: we say that no more will come (TLS close_notify), and wait until the receiver closes as well. A kernel that holds
bytes which its process has not read answers a close with a reset, and never acknowledges what comes after one. So an orderly
end, with nothing of ours unacknowledged, means: read, all of it. What the receiver's process does then is out of sight.
"""

import contextlib
import fcntl
import re
import ssl
import struct
import termios
from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from mcpgw.sinks.config import SyslogSink
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkUnavailable
from mcpgw.sinks.tls import client_context

_FACILITY = 13
"""Log audit, RFC 5424 section 6.2.1."""
_SEVERITIES = {1: 6, 2: 5, 3: 4, 4: 3}
"""OCSF severity to that of syslog: informational, notice, warning, error."""
_TIMEOUT_S = 30.0
"""For one batch, from connecting to the receiver's orderly end."""
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


class SyslogReceiver:
    """Acknowledges a batch when the receiver's process has read it to the end."""

    def __init__(self, config: SyslogSink) -> None:
        """Raises `ConfigError` if the TLS files cannot be used."""
        self._address = config.address
        self._host = config.host
        self._context = client_context(config.name, config.tls)

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        data = b"".join(framed(message(event, self._host)) for event in events)
        try:
            with anyio.fail_after(_TIMEOUT_S):
                await self._converse(data)
        except TimeoutError as error:
            raise SinkUnavailable(f"the receiver did not take the events and close within {_TIMEOUT_S:.0f} s") from error
        except ssl.SSLError as error:
            raise SinkUnavailable(f"TLS with the receiver failed: {error.reason or type(error).__name__}") from error
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise SinkUnavailable(f"the connection to the receiver failed ({type(error).__name__})") from error

    async def _converse(self, data: bytes) -> None:
        host, port = self._address
        async with await anyio.connect_tcp(host, port) as tcp:
            stream = await TLSStream.wrap(
                tcp, server_side=False, hostname=host, ssl_context=self._context, standard_compatible=False
            )
            await stream.send(data)
            with contextlib.suppress(anyio.EndOfStream):  # closed below TLS, without a close_notify: many receivers do
                await stream.unwrap()
            if _unacknowledged(tcp):
                raise SinkUnavailable("the receiver closed before it had everything")


def _unacknowledged(tcp: SocketStream) -> int:
    """Return how many bytes the receiver's kernel has not acknowledged. Linux (tcp(7), SIOCOUTQ).

    Raises:
        OSError: this system cannot tell.
    """
    raw = tcp.extra(SocketAttribute.raw_socket)  # noqa: S610 - the rule means Django's `extra`
    (waiting,) = struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, struct.pack("i", 0)))
    return int(waiting)


def message(event: OutgoingEvent, host: str) -> bytes:
    """Return the event as an RFC 5424 message; its text is the OCSF event."""
    priority = _FACILITY * 8 + _SEVERITIES.get(event.severity, 5)
    when = datetime.fromtimestamp(event.time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = event.time_ns % 10**9 // 1000  # RFC 5424 section 6.2.3: at most six digits
    header = f"<{priority}>1 {when}.{micros:06}Z {_named(host, 255)} mcpgw - {_named(event.kind, 32)} - "
    return header.encode() + event.body


def framed(text: bytes) -> bytes:
    return str(len(text)).encode() + b" " + text


def _named(text: str, longest: int) -> str:
    """RFC 5424 section 6: printable ASCII without blanks, bounded; `-` where nothing is left."""
    return _UNPRINTABLE.sub("_", text)[:longest] or "-"
