"""HTTP towards a receiver: nothing is followed, remembered, unpacked or taken from the environment; answers are bounded."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from mcpgw.core.addresses import Reach
from mcpgw.outgoing import sockets
from mcpgw.sinks.config import Tls
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable
from mcpgw.sinks.tls import client_context

_TIMEOUT_S = 30.0
"""For one request: a SIEM that indexes a full batch before it answers needs seconds."""
_CONNECT_S = 10.0
_KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection."""
_MAX_ANSWER_BYTES = 65_536
_REFUSALS = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
"""The statuses that speak of the body. Every other failure (401, 404, 429, 503, a redirect) is the receiver's state, which may
change, so the events wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    retry_after_s: float

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@asynccontextmanager
async def open_client(name: str, tls: Tls) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client with one kept connection.

    Raises:
        ConfigError: the TLS files cannot be used.
    """
    connector = aiohttp.TCPConnector(
        ssl=client_context(name, tls), limit=1, keepalive_timeout=_KEEPALIVE_S, socket_factory=sockets(Reach.PRIVATE)
    )
    async with aiohttp.ClientSession(
        headers={"User-Agent": "mcpgw", "Accept-Encoding": "identity"},
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as client:
        yield client


async def post(
    client: aiohttp.ClientSession,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    max_answer_bytes: int = _MAX_ANSWER_BYTES,
) -> Answer:
    """Post once and return the answer, whatever its status.

    Raises:
        SinkUnavailable: no answer, or one that is too long. The body may have arrived.
    """
    try:
        async with client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            content = await _bounded(response, max_answer_bytes)
            return Answer(response.status, content, _retry_after(response.headers.get("Retry-After", "")))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SinkUnavailable(f"the receiver gave no answer ({type(error).__name__})") from error


def require_success(answer: Answer) -> None:
    """Return if the receiver has taken the events.

    Raises:
        SinkRefused: its status speaks of the events.
        SinkUnavailable: its status speaks of the receiver.
    """
    if answer.is_success:
        return
    said = f"the receiver answered {answer.status}"
    if answer.status in _REFUSALS:
        raise SinkRefused(said)
    raise SinkUnavailable(said, retry_after_s=answer.retry_after_s)


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    content = b""
    async for chunk in response.content.iter_chunked(_MAX_ANSWER_BYTES):
        content += chunk
        if len(content) > max_bytes:
            raise SinkUnavailable(f"the receiver answered with more than {max_bytes} bytes")
    return content


def _retry_after(value: str) -> float:
    """RFC 9110 section 10.2.3; the form with a date is not honoured, as clocks differ."""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else 0.0
