"""The HTTP client of one upstream, hardened: nothing is followed, remembered, unpacked or taken from the environment."""

import errno

import aiohttp
from yarl import URL

from mcpgw.core.addresses import Reach, is_written_out
from mcpgw.core.errors import UpstreamError
from mcpgw.outgoing import AddressRefused, sockets
from mcpgw.upstream.config import HttpServer, Limits, SseServer

KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which uvicorn and Node close an idle connection: a request must not race with that."""
CONNECTIONS = 100
"""Per upstream; further requests wait for a free one, within their own timeout."""


def http_client(url: URL, config: HttpServer | SseServer, limits: Limits) -> aiohttp.ClientSession:
    """Return a pooled client for one URL that sends the configured headers and connects where that may lead.

    Every request must say `allow_redirects=False`.
    """
    most = Reach.PRIVATE if config.private or is_written_out(url.raw_host or "") else Reach.PUBLIC
    return aiohttp.ClientSession(
        headers={
            "User-Agent": "mcpgw",
            **config.headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",  # so that the size limit counts what really arrives
        },
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S, socket_factory=sockets(most)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s),  # each request has its own deadline
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def http_url(name: str, text: str) -> URL:
    """Raises `UpstreamError` if the text is no absolute http or https URL. It is not quoted: it may hold a credential."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or _is_disguised(url.host):
        raise UpstreamError(f"The upstream server {name!r} has an address that is no http or https URL.", sent=False)
    return url


def _is_disguised(host: str) -> bool:
    """Tell whether it is an address of IPv4 in a form that only some programs take for one (`2130706433`, `127.1`)."""
    return host.replace(".", "").isdigit() and not is_written_out(host)


def unreachable(error: aiohttp.ClientError) -> str:
    """Return why no connection came about, in our own words: nothing was sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "presented a TLS certificate that is not trusted"
        case aiohttp.ClientConnectorSSLError():
            return "failed the TLS handshake"
        case aiohttp.ClientConnectorDNSError():
            return "has a host name that does not resolve"
        case aiohttp.ConnectionTimeoutError():
            return "did not accept a connection in time"
        case aiohttp.ClientConnectorError(os_error=AddressRefused(reach=Reach.PRIVATE)):
            return 'has a name that leads into a private network, which takes addresses = "private" in its catalog file'
        case aiohttp.ClientConnectorError(os_error=AddressRefused()):
            return "has a link-local, metadata or reserved address, to which the gateway never connects"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({errno.errorcode.get(error.os_error.errno or 0, 'no connection')})"
        case _:
            return "cannot be reached"


def refusal(status: int) -> str:
    """Say what an HTTP status means that carries no JSON-RPC answer."""
    if status in (401, 403):
        return f"refused the gateway's credential (HTTP {status})"
    if 300 <= status < 400:
        return f"answered with a redirect (HTTP {status}), which is not followed"
    if status >= 400:
        return f"answered with HTTP {status}"
    return f"answered with HTTP {status} and neither JSON nor an event stream"
