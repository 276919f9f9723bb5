"""HTTP towards anchors: one bounded request and answer; nothing is followed, remembered or taken from the environment."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from mcpgw.core.addresses import Reach
from mcpgw.core.errors import ConfigError
from mcpgw.ledger.anchors.anchor import AnchorFailed
from mcpgw.outgoing import sockets

_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)
"""In seconds. Calls may be waiting for the answer, so one that hangs is given up and asked again."""
_MAX_ANSWER_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


def client_context(ca: str, where: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities of that PEM file, or the system's for an empty name.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # `ssl.SSLError` is one
        raise ConfigError(f"no PEM file of authorities: {error.strerror or type(error).__name__}", where=where) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def post(url: str, body: bytes, headers: Mapping[str, str], context: ssl.SSLContext) -> Answer:
    """Post once and return the answer, whatever its status.

    Raises:
        AnchorFailed: no answer, or one that is too long. The body may have arrived.
    """
    try:
        async with (
            aiohttp.ClientSession(
                headers={"User-Agent": "mcpgw", "Accept-Encoding": "identity"},
                connector=aiohttp.TCPConnector(ssl=context, force_close=True, socket_factory=sockets(Reach.PRIVATE)),
                timeout=_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as client,
            client.post(url, data=body, headers=dict(headers), allow_redirects=False) as response,
        ):
            content = b""
            async for chunk in response.content.iter_chunked(_MAX_ANSWER_BYTES):
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise AnchorFailed(f"it answered with more than {_MAX_ANSWER_BYTES} bytes")
            return Answer(response.status, response.content_type, content)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise AnchorFailed(f"it gave no answer ({type(error).__name__})") from error
